#!/usr/bin/env bash
# Measures Cloche on this machine against what people use today; the sandboxes this machine can have come first.
# usage: scripts/bench.sh [name …]      scripts/bench.sh --help says more; --markdown prints the README's table
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/toolchain.sh
. scripts/toolchain.sh

need_node ""
need_modules
case " $* " in
  *" --help "* | *" --markdown "*) ;;
  *)
    build
    install_step --prepare
    ;;
esac
exec node --disable-warning=ExperimentalWarning tests/bench/main.ts "$@"
