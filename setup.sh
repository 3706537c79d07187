#!/usr/bin/env bash
# Sets Cloche up on this machine: Node, packages, build, sandbox, launcher, registration, and a first proven cell.
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'TEXT'
usage: ./setup.sh [options]

Sets Cloche up, or brings an existing set-up up to date. Safe to run again.

  --yes               install what only root can install without asking
  --sandbox KIND      docker, bubblewrap, auto (Docker where an engine answers, else bubblewrap) or all
  --base-image REF    base of the Docker image, for a company's mirror (any Debian with Python 3.11 to 3.14 and venv)
  --packages FILE     add the packages of this requirements file to the sandbox; kept until --packages none
  --no-register       leave Claude Code and Claude Desktop as they are
  --uninstall         undo everything and keep sessions
  --purge             undo everything and remove sessions too
  --help              this text

Proxies (https_proxy, npm_config_*, PIP_*) and a company's CA (NODE_EXTRA_CA_CERTS, SSL_CERT_FILE,
REQUESTS_CA_BUNDLE, PIP_CERT, CURL_CA_BUNDLE) are honoured for every download.
TEXT
}

fail() {
  printf '%s\n' "$*" >&2
  exit 2
}

options=() yes='' remove='' purge=''
while (($#)); do
  case $1 in
    --yes) yes=--yes ;;
    --no-register) ;;
    --uninstall) remove=1 ;;
    --purge) remove=1 purge=1 ;;
    --sandbox)
      case ${2:-} in docker | bubblewrap | auto | all) ;; *) fail "--sandbox takes docker, bubblewrap, auto or all, not \"${2:-}\"." ;; esac
      ;;
    --base-image)
      [[ -n ${2:-} ]] || fail "--base-image takes the name of an image, such as mirror.example.com/python:3.13-slim."
      ;;
    --packages)
      file=${2:-}
      [[ $file == none || $file == /* ]] || file=$called_from/$file
      [[ $file == none || (-f $file && -r $file) ]] || fail "--packages takes a requirements file that can be read, or none; \"${2:-}\" is neither."
      set -- "$1" "$file" "${@:3}"
      ;;
    -h | --help) usage && exit ;;
    *) fail "Unknown option $1; ./setup.sh --help names them." ;;
  esac
  options+=("$1")
  case $1 in --sandbox | --base-image | --packages) options+=("$2") && shift ;; esac
  shift
done

case $(uname -s) in
  MINGW* | MSYS* | CYGWIN*)
    fail "Cloche runs on Windows inside WSL2. In PowerShell: wsl --install. Then open the Linux it installs, clone the repository there and run ./setup.sh again."
    ;;
esac

# shellcheck source=scripts/toolchain.sh
. scripts/toolchain.sh

if [[ -n $remove ]]; then
  if ! find_node || [[ ! -d node_modules ]]; then
    state=$(state_directory)
    if [[ -n $purge && -d $state && ! -e $state/install.json ]]; then
      rm -rf "$state"
      say "Removed the sessions in $state."
    else
      say "Nothing to undo: Cloche is not set up from $clone."
    fi
    exit
  fi
  other=$(recorded_clone)
  [[ -z $other || $other == "$clone" ]] || fail "Cloche is set up from $other: run ./setup.sh there to undo it."
  install_step "${options[@]}"
  rm -rf .toolchain dist node_modules
  say "Removed Node, packages and build from $clone. The clone itself is yours to delete."
  exit
fi

say "Cloche will
  - use Node 22.19 or newer, or fetch Node 24 into this clone       up to 60 MB to download
  - install its npm packages and build itself in this clone         about 90 MB to download
  - make one sandbox: a Docker image where an engine answers,
    else a Python environment for bubblewrap                        about 350 MB to download
  - install the command cloche, and register with Claude Code and Claude Desktop where they are
  - run one cell to prove that it works
It takes about 2 GB of disk and 2 to 5 minutes, less when it ran before.
"
[[ ! -e $(state_directory)/install.json ]] || say "It has been set up before: what is up to date stays as it is.
"
need_node "$yes"
need_modules
build
install_step ${options[@]+"${options[@]}"}
