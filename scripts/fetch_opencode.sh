#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fetch_opencode.sh STATE_DIR: puts the OpenCode executable at STATE_DIR/opencode/<version>/opencode
# and the static files of its UI into STATE_DIR/opencode/ui-<version>. It comes from npm, pinned by
# images/opencode/package-lock.json; nothing happens when both are there.
set -euo pipefail

fail() {
  echo "fetch_opencode: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: fetch_opencode.sh STATE_DIR"
here=$(cd "$(dirname "$0")" && pwd)
recipe=$(cd "$here/../images/opencode" && pwd)
case $(uname -m) in
  x86_64) package=opencode-linux-x64 ;;
  *) fail "no OpenCode is pinned for $(uname -m); sandboxes without it work" ;;
esac
version=$(sed -n "s/^ *\"$package\": \"\([0-9.]*\)\".*/\1/p" "$recipe/package.json")
[ -n "$version" ] || fail "$recipe/package.json names no version of $package"

home=$1/opencode
target=$home/$version/opencode

# Without it everything works, but the page waits for OpenCode.
keep_ui() {
  "$here/cache_ui.py" "$target" "$home/ui-$version" ||
    echo "fetch_opencode: the UI of OpenCode is not kept; its page waits until it has started" >&2
}

mkdir -p "$home"
exec 9> "$home/.lock"
flock 9
if [ -x "$target" ]; then
  keep_ui
  exit 0
fi
command -v npm > /dev/null || fail "npm is missing; run 'make setup' first"

echo "==> Fetching OpenCode $version from npm"
# Under the lock, so what lies here belongs to a fetch that was killed.
rm -rf "$home"/.fetch-*
work=$(mktemp -d "$home/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
cp "$recipe/package.json" "$recipe/package-lock.json" "$work/"
(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error 9>&-) ||
  fail "npm could not fetch $package $version; check the network and npm's registry setting"
elf=$work/node_modules/$package/bin/opencode
[ "$(head -c 4 "$elf" 2> /dev/null)" = $'\x7fELF' ] ||
  fail "npm delivered no executable of $package $version"
chmod 0755 "$elf"
mkdir -p "$home/$version"
mv -T "$elf" "$target"
keep_ui
