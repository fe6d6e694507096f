#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Set-up on a clean Debian of the host's own release: makes a root with debootstrap, clones the
# committed state into it, runs scripts/setup.sh there and configures the build.
# Exits 77 where that cannot run. FULL=1 builds everything inside too; FORCE=1 runs again although
# nothing that set-up depends on has changed since the last pass.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/support/clean_root.sh

skip() {
  echo "setup_test: skipped: $*"
  exit 77
}

fail() {
  echo "setup_test: $*" >&2
  exit 1
}

[ "$(id -u)" -eq 0 ] || skip "a chroot needs root"
. /etc/os-release
[ "${ID:-}" = debian ] || skip "the host is ${PRETTY_NAME:-unknown}, not Debian"
for tool in debootstrap unshare setpriv git python3 zstd; do
  command -v "$tool" > /dev/null || skip "$tool is missing; 'scripts/setup.sh test' installs it"
done
unshare --mount --pid --fork true 2> /dev/null || skip "this host does not let root unshare"

cache=$PWD/build/setup-test
mkdir -p "$cache/archives"
work=$(mktemp -d "$cache/work-XXXXXX")
child=
# Mounts exist only in the child's mount namespace, which ends with it.
trap '[ -z "$child" ] || { kill -KILL "$child"; wait "$child"; } 2> /dev/null || true
  rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM HUP

# git refuses a checkout of another owner unless the global configuration allows it.
git config --file "$work/.gitconfig" safe.directory '*'
export HOME=$work
git rev-parse -q --verify HEAD > /dev/null || skip "this is no git checkout"
[ -z "$(git status --porcelain -- scripts cmake CMakeLists.txt)" ] ||
  echo "setup_test: note: changes that are not committed are not tested"
inputs=$(git ls-tree -r HEAD -- scripts/setup.sh cmake CMakeLists.txt CMakePresets.json \
  tests/setup_test.sh tests/support/clean_root.sh; git ls-tree -r HEAD -- src | grep CMakeLists.txt || true)
passed=$cache/passed-$(sha256sum <<< "$VERSION_CODENAME $inputs" | cut -c1-32)
if [ -e "$passed" ] && [ -z "${FORCE:-}${FULL:-}" ]; then
  echo "setup_test: ok: nothing has changed since it passed on $(cat "$passed")"
  exit 0
fi

base=$cache/root-$VERSION_CODENAME.tar.zst
clean_root "$cache" "$work"

echo "==> Cloning into a fresh root"
root=$work/root
mkdir "$root"
zstd -qdc "$base" | tar --numeric-owner -C "$root" -x
git clone -q --no-hardlinks "$PWD" "$root/root/atoll"
point_apt "$root"
# A source of somebody else that nobody can reach must not matter.
echo "deb [trusted=yes] http://packages.invalid/apt $VERSION_CODENAME main" \
  > "$root/etc/apt/sources.list.d/foreign.list"

cat > "$root/inside.sh" <<'INSIDE'
set -euo pipefail
fail() {
  echo "setup_test: $*" >&2
  exit 1
}
cd /root/atoll
chmod 755 /root
mkdir -p /fake/node22 /fake/node16 /fake/noapt
printf '#!/bin/sh\necho v22.1.0\n' | tee /fake/node22/node > /fake/node22/npm
printf '#!/bin/sh\necho v16.20.0\n' | tee /fake/node16/node > /fake/node16/npm
printf '#!/bin/sh\necho apt-get was called >&2\nexit 1\n' > /fake/noapt/apt-get
chmod -R +x /fake
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups env "PATH=$1:$PATH" scripts/setup.sh build 2>&1; }

out=$(as_nobody /nowhere) && fail "set-up without root must fail while packages are missing"
[[ $out == *"needs root"* ]] || fail "set-up without root must say so, not: $out"
[[ $out == *" nodejs npm"* ]] || fail "without any Node.js, Debian's must be installed"
out=$(as_nobody /fake/node22) && fail "set-up without root must fail while packages are missing"
[[ $out != *" nodejs"* ]] || fail "a Node.js that is there already must be used"
out=$(as_nobody /fake/node16) && fail "a Node.js that is too old must be refused"
[[ $out == *"v16.20.0"*"18 or newer"* ]] || fail "an old Node.js must be named, not: $out"
echo "ok: refusals are sentences"

scripts/setup.sh build > /tmp/setup.log 2>&1 || { tail -n 40 /tmp/setup.log; fail "set-up failed"; }
[ "$(command -v node)" = /usr/bin/node ] && command -v npm > /dev/null || fail "Node.js is missing"
echo "ok: set-up installs what is missing in spite of a source that cannot be reached"

started=$(date +%s%N)
out=$(PATH=/fake/noapt:$PATH scripts/setup.sh build 2>&1) || fail "the second set-up failed: $out"
took=$((($(date +%s%N) - started) / 1000000))
[[ $out == *"Nothing to install"* ]] || fail "the second set-up must find nothing to do, not: $out"
[ "$took" -lt 3000 ] || fail "the second set-up took $took ms"
echo "ok: the second set-up calls no apt and takes $took ms"

boost=$(sed -n 's/^#define BOOST_VERSION \([0-9]*\).*/\1/p' /usr/include/boost/version.hpp)
[ "$boost" -ge 108100 ] || fail "Boost is $boost, older than 1.81"
cmake --preset release > /tmp/cmake.log 2>&1 || { tail -n 40 /tmp/cmake.log; fail "CMake failed"; }
echo "ok: CMake configures"
if [ -n "${FULL:-}" ]; then
  scripts/build.sh release atoll atoll-agent
  build/release/atoll version
  echo "ok: atoll builds"
fi
INSIDE

cat > "$work/enter.sh" <<'ENTER'
set -euo pipefail
root=$1
. tests/support/clean_root.sh
mount_devices "$root"
mount --bind "$2" "$root/var/cache/apt/archives"
exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 FULL="${FULL:-}" \
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash /inside.sh
ENTER

echo "==> Running set-up inside (minutes: compilers are large)"
setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child=KILL \
  bash "$work/enter.sh" "$root" "$cache/archives" &
child=$!
wait "$child" || {
  child=
  fail "set-up does not work on a clean $VERSION_CODENAME"
}
child=
date -I > "$passed"
echo "setup_test: ok"
