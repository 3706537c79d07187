#!/usr/bin/env bash
# Shows the exact line that installs what only root can install, and runs it once someone agreed.
# usage: system-packages.sh [--yes] node|python|bubblewrap …      ends with 3 when nothing was installed
set -euo pipefail

agreed=
if [[ ${1:-} == --yes ]]; then
  agreed=1
  shift
fi

# shellcheck source=/dev/null
family=" $([[ -r /etc/os-release ]] && . /etc/os-release && echo "${ID:-} ${ID_LIKE:-}") "
case $family in
  *" debian "* | *" ubuntu "*) manager=apt ;;
  *" fedora "* | *" rhel "* | *" centos "*) manager=dnf ;;
  *" arch "*) manager=pacman ;;
  *) manager= ;;
esac

# Enterprise and older systems call an old Python `python3` and carry a newer one under its own name.
old_python() { command -v python3 >/dev/null && ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }

packages_for() {
  case $1-$manager in
    node-*) echo nodejs npm ;;
    bubblewrap-*) echo bubblewrap ;;
    python-apt) if old_python; then echo python3.11 python3.11-venv; else echo python3 python3-venv; fi ;;
    python-dnf) if old_python; then echo python3.12; else echo python3; fi ;;
    python-pacman) echo python ;;
    python-) echo "python 3.11 or newer with venv" ;;
    *) echo "$0: unknown item $1" >&2 && exit 2 ;;
  esac
}

packages=()
for item in "$@"; do
  # shellcheck disable=SC2207
  packages+=($(packages_for "$item"))
done

if [[ -z $manager ]]; then
  printf 'Install with your package manager: %s\n' "${packages[*]}" >&2
  exit 3
fi
as_root=
[[ $(id -u) == 0 ]] || as_root="sudo "
case $manager in
  apt) line="${as_root}apt-get update && ${as_root}apt-get install -y ${packages[*]}" ;;
  dnf) line="${as_root}dnf install -y ${packages[*]}" ;;
  pacman) line="${as_root}pacman -S --needed --noconfirm ${packages[*]}" ;;
esac
printf 'Only root can install what is missing:\n\n  %s\n\n' "$line" >&2

if [[ -n $as_root ]] && ! command -v sudo >/dev/null; then
  echo "There is no sudo here: let an administrator run that line, then run this again." >&2
  exit 3
fi
if [[ -z $agreed && -t 0 ]]; then
  read -r -p "Run it now? [Y/n] " answer
  case $answer in "" | [Yy]*) agreed=1 ;; esac
fi
if [[ -z $agreed ]]; then
  echo "Run that line, then run this again (or give --yes)." >&2
  exit 3
fi
export DEBIAN_FRONTEND=noninteractive
if ! bash -c "$line" >&2; then
  echo "That line failed. Put right what it names, then run this again." >&2
  exit 3
fi
