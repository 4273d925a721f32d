#!/bin/sh
# scripts/licences refuses what it must: dependencies that do not exist, with copyright files of their own.
set -eu
cd "$(dirname "$0")/../.."
TROUPE_DOC=$(mktemp -d)
export TROUPE_DOC
trap 'rm -rf "$TROUPE_DOC"' EXIT
package() { # NAME LICENCE
  mkdir "$TROUPE_DOC/$1"
  printf 'Format: x\n\nFiles: *\nCopyright: somebody\nLicense: %s\n words\n\nFiles: debian/*\nLicense: GPL-2\n' "$2" >"$TROUPE_DOC/$1/copyright"
}
package free Expat
package either 'GPL-2 or Apache-2.0'
package both 'BSD-3-clause and GPL-2'
package lesser LGPL-2.1+
package general GPL-2+
package old GPL-2
package odd Beerware
mkdir "$TROUPE_DOC/prose"
echo 'This program may be copied under the GNU General Public License.' >"$TROUPE_DOC/prose/copyright"

good() { scripts/licences "$@" >/dev/null 2>&1 || { echo "refused, and is good: $*" >&2; exit 1; }; }
bad() { scripts/licences "$@" >/dev/null 2>&1 && { echo "not refused: $*" >&2; exit 1; }; true; }
good compiled-in:free linked:free behind:free compiled-in:either linked:lesser behind:general
bad compiled-in:lesser
bad linked:general
bad linked:old
bad behind:old
bad linked:both
bad linked:odd
bad linked:prose
bad linked:not-there
bad compiled-in:free linked:old
