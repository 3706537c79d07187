#!/usr/bin/env bash
# Runs the tests, also straight after the clone: Node, packages, build and the sandboxes this machine can have come first.
# usage: scripts/test.sh [--long] [vitest argument …]      the last line is the total of everything that ran
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/toolchain.sh
. scripts/toolchain.sh

if [[ ${1:-} == --long ]]; then
  export CLOCHE_TEST_LONG=1
  shift
fi
# No test may reach a paid service or a company's account.
unset ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN OPENAI_API_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE

need_node ""
need_modules
build
other=$(recorded_clone)
if [[ -n $other && $other != "$clone" ]]; then
  # Another clone serves this user: its sandboxes stay as they are, and the tests keep theirs beside them.
  XDG_STATE_HOME=$(state_directory)/tests/$(cksum <<<"$clone" | cut -d' ' -f1)
  export XDG_STATE_HOME
  say "Cloche is set up from $other; these tests use $XDG_STATE_HOME."
fi
install_step --prepare

results=$(mktemp)
trap 'rm -f "$results"' EXIT
status=0
node node_modules/vitest/vitest.mjs run --reporter=default --reporter=json --outputFile.json="$results" "$@" || status=$?
node scripts/closing-line.mjs "$results" || status=1
exit "$status"
