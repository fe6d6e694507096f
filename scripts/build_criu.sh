#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build_criu.sh STATE_DIR: puts a CRIU that works on new kernels at STATE_DIR/criu/criu. It is built
# from the source of Debian's unstable distribution, pinned by version and content: what Debian 12
# and 13 have fails on Linux 6.13 and newer. The criu_*.patch beside this say what they let it do.
# Nothing happens when it is there.
set -euo pipefail

version=4.2.1
sha256=29ec0ee09e296479fe7048c80980e8ef1d0684d0b0204c2b101dfea19f6725b9

fail() {
  echo "build_criu: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: build_criu.sh STATE_DIR"
target=$1/criu/criu
patches=$(cd "$(dirname "$0")" && pwd)
made="$version $(cat "$patches"/criu_*.patch | sha256sum | cut -c 1-16)"
if [ -x "$target" ] && [ "$(cat "$1/criu/version" 2> /dev/null)" = "$made" ]; then
  echo "==> CRIU $version is there"
  exit 0
fi
mkdir -p "$1/criu"
exec 9> "$1/criu/.lock"
flock 9

packages=(gcc make patch pkg-config python3 xz-utils libprotobuf-dev libprotobuf-c-dev protobuf-c-compiler
  protobuf-compiler libnl-3-dev libnet1-dev libcap-dev libbsd-dev libnftables-dev uuid-dev binutils)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" -eq 0 ] || fail "installing ${missing[*]} needs root"
  echo "==> Installing ${missing[*]}"
  # A foreign source that cannot be read is no reason to stop; what counts is the installation.
  apt-get update -q > "$1/criu/install.log" 2>&1 || true
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --no-remove "${missing[@]}" \
    >> "$1/criu/install.log" 2>&1 || fail "apt-get could not install them: see $1/criu/install.log"
fi

work=$(mktemp -d "$1/criu/.build-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
# apt knows how this host reaches its mirror; its own lists are left alone.
mirror=$("$(dirname "$0")/debian_sources.py" | sed -n 's/^deb \(\[[^]]*\] \)\?\(http[^ ]*\) .*/\2/p' | head -n 1)
[ -n "$mirror" ] || fail "this host has no Debian mirror to fetch the source from"
archive=$work/criu.tar.xz
echo "==> Fetching the source of CRIU $version"
/usr/lib/apt/apt-helper download-file "${mirror%/}/pool/main/c/criu/criu_$version.orig.tar.xz" "$archive" \
  "SHA256:$sha256" > "$work/fetch.log" 2>&1 ||
  fail "CRIU $version cannot be fetched from $mirror: $(tail -n 1 "$work/fetch.log")"
tar -xf "$archive" -C "$work"
for patch in "$patches"/criu_*.patch; do
  patch -s -p 1 -d "$work/criu-$version" < "$patch" || fail "$patch does not fit CRIU $version"
done
echo "==> Building CRIU $version"
make -C "$work/criu-$version" -j "$(nproc)" criu > "$1/criu/build.log" 2>&1 9>&- ||
  fail "it did not build: see $1/criu/build.log"
strip -o "$work/criu" "$work/criu-$version/criu/criu"
mv -T "$work/criu" "$target"
echo "$made" > "$1/criu/version"
"$target" check > /dev/null 2>&1 || echo "build_criu: it does not work on this kernel ('$target check' says why)" >&2
echo "==> CRIU $version is at $target"
