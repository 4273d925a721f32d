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

# far PERCENT WHAT BEGAN: how far WHAT is, which began at BEGAN (seconds), and about how long it will take; in place on a terminal,
# else a line every ten seconds.
far_next=0
far() {
  local now left=''
  printf -v now '%(%s)T' -1
  if [ "$1" -ge 5 ] && [ "$1" -lt 100 ]; then
    left=$(((now - $3) * (100 - $1) / $1))
    if [ $left -ge 90 ]; then left=", about $(((left + 30) / 60)) min left"; else left=", about $left s left"; fi
  fi
  if [ -t 1 ]; then printf '\r\033[K%3d %% %s%s' "$1" "$2" "$left"
  elif [ "$now" -ge "$far_next" ]; then printf '%3d %% %s%s\n' "$1" "$2" "$left"; far_next=$((now + 10)); fi
}
far_done() { [ ! -t 1 ] || printf '\r\033[K'; }

project_version() { sed -n 's/^project(troupe VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt; }

# The image of a service or of the command line: image_name gateway
image_name() {
  echo "${TROUPE_IMAGES:-troupe}/$1:${TROUPE_TAG:-$(project_version)}"
}
