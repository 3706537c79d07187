#!/usr/bin/env bash
# Runs a file under a Node that is new enough, fetched into the clone if need be: scripts/node.sh FILE [ARGUMENT…]
set -euo pipefail
# shellcheck source=scripts/toolchain.sh
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
need_node ""
exec node "$@"
