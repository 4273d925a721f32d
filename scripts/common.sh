# Shared by the scripts: where things are, and how to say what is being done.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '\033[1m[%s]\033[0m %s\n' "${0##*/}" "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Prints the comment at the top of the calling script as its help and leaves, when asked to.
help_on_request() {
  case "${1:-}" in
    -h|--help) sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  esac
}

# Runs "$@" as root, with sudo where that is needed.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

seconds_since() { echo $(($(date +%s) - $1)); }

project_version() { sed -n 's/^project(troupe VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt; }

# The image of a service or of the command line: image_name gateway
image_name() {
  echo "${TROUPE_IMAGES:-troupe}/$1:${TROUPE_TAG:-$(project_version)}"
}
