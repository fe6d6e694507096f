#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Puts the dashboard's files into OUT_DIR: web/build.sh OUT_DIR
set -eu

if [ $# -ne 1 ]; then
  echo "usage: web/build.sh OUT_DIR" >&2
  exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"

# npm keeps a copy of the lock file it installed; reinstall only when ours is another one.
stamp=node_modules/.installed-lock.json
if ! cmp -s package-lock.json "$stamp"; then
  npm ci --no-audit --no-fund --loglevel=error
  cp package-lock.json "$stamp"
fi

place() {
  cmp -s "$1" "$out/$2" || cp "$1" "$out/$2"
}

for file in *.css *.js *.svg explore.html; do
  place "$file" "$file"
done

# A line that says `include` becomes the file that it names.
temporary=$(mktemp)
trap 'rm -f "$temporary"' EXIT
awk '$1 == "<!--" && $2 == "include" { while ((getline line < $3) > 0) print line; close($3); next }
     { print }' index.html > "$temporary"
place "$temporary" index.html

version=$(sed -n 's/.*"@alpinejs\/csp": "\([0-9.]*\)".*/\1/p' package.json)
{
  echo "/*! Alpine.js $version (CSP build) | MIT License | Copyright 2019-2025 Caleb Porzio and contributors */"
  cat node_modules/@alpinejs/csp/dist/cdn.min.js
} > "$temporary"
place "$temporary" alpine.js

version=$(sed -n 's/.*"@xterm\/xterm": "\([0-9.]*\)".*/\1/p' package.json)
{
  echo "/*! xterm.js $version | MIT License | Copyright 2014-2024 The xterm.js authors, SourceLair, Christopher Jeffrey */"
  grep -v '^//# sourceMappingURL=' node_modules/@xterm/xterm/lib/xterm.js
} > "$temporary"
place "$temporary" xterm.js
grep -v '^//# sourceMappingURL=' node_modules/@xterm/addon-fit/lib/addon-fit.js > "$temporary"
place "$temporary" addon-fit.js
place node_modules/@xterm/xterm/css/xterm.css xterm.css
chmod 644 "$out"/*
