#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# package_test.sh [BUILD_DIR]: makes the Debian package of a build (default build/release), installs
# it on a clean Debian of the host's own release, starts the daemon as the unit says, uses it, and
# removes everything again. Sandboxes are made when ATOLL_TEST_STATE has an image.
# Exits 77 where that cannot run.
set -euo pipefail
build=$(realpath "${1:-$(dirname "$0")/../build/release}")
cd "$(dirname "$0")/.."
. tests/support/clean_root.sh

skip() {
  echo "package_test: skipped: $*"
  exit 77
}

fail() {
  echo "package_test: $*" >&2
  exit 1
}

[ "$(id -u)" -eq 0 ] || skip "a root of its own needs root"
. /etc/os-release
[ "${ID:-}" = debian ] || skip "the host is ${PRETTY_NAME:-unknown}, not Debian"
for tool in cpack dpkg-shlibdeps file debootstrap unshare setpriv pivot_root zstd; do
  command -v "$tool" > /dev/null || skip "$tool is missing; 'scripts/setup.sh build test' installs it"
done
unshare --mount --pid --fork true 2> /dev/null || skip "this host does not let root unshare"
[ -x "$build/atoll" ] || fail "$build/atoll does not exist: build it first"

cache=$PWD/build/setup-test
mkdir -p "$cache/archives"
work=$(mktemp -d "$cache/work-XXXXXX")
cgroup=atoll-package-$$
child=
# Mounts and processes exist only in the child's namespaces, which end with it.
clean_up() {
  [ -z "$child" ] || { kill -KILL "$child" && wait "$child"; } 2> /dev/null || true
  rm -rf --one-file-system "$work"
  find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2> /dev/null || true
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

echo "==> Making the package"
deb=$(scripts/package.sh "$build" | tail -n 1)
files=$(dpkg-deb -c "$deb" | awk '{print $6}')
for path in ./usr/bin/atoll ./usr/lib/atoll/atoll-agent ./usr/lib/systemd/system/atoll.service \
  ./usr/lib/systemd/system/atoll-sandboxes.service ./etc/needrestart/conf.d/atoll.conf \
  ./etc/atoll/atoll.toml ./usr/share/doc/atoll/README.md ./usr/share/doc/atoll/copyright \
  ./usr/share/atoll/images/default/build.sh ./usr/share/atoll/images/opencode/package-lock.json \
  ./usr/share/atoll/scripts/fetch_opencode.sh ./usr/share/atoll/scripts/debian_sources.py \
  ./usr/lib/sysctl.d/60-atoll.conf ./usr/share/atoll/scripts/raise_limits.sh \
  ./usr/share/atoll/scripts/build_criu.sh ./usr/share/atoll/scripts/criu_owner.patch; do
  grep -qx "$path" <<< "$files" || fail "$path is not in the package"
done
! grep -E '^./(usr/local|home|root|work|build)/|node_modules|\.cc$|_test' <<< "$files" ||
  fail "this does not belong into the package"
! dpkg-deb -c "$deb" | awk '$2 != "root/root"' | grep . || fail "not everything belongs to root"
[ "$(dpkg-deb -I "$deb" conffiles | xargs)" = "/etc/atoll/atoll.toml /etc/needrestart/conf.d/atoll.conf" ] || fail "conffiles are not as they should be"
depends=$(dpkg-deb -f "$deb" Depends)
for package in crun nftables libc6 libsqlite3-0; do
  [[ $depends == *"$package"* ]] || fail "the package does not depend on $package: $depends"
done
if command -v systemd-analyze > /dev/null; then
  sed "s|=/usr/bin/atoll|=$build/atoll|" packaging/atoll.service > "$work/atoll.service"
  cp packaging/atoll-sandboxes.service "$work/"
  said=$(systemd-analyze verify "$work/atoll.service" 2>&1) && [ -z "$said" ] || fail "the unit: $said"
fi
echo "ok: the package is complete"

# With everything that it depends on, so that a warm run needs no network.
key=$(sha256sum <<< "$depends" | cut -c1-16)
base=$cache/package-$VERSION_CODENAME-$key.tar.zst
root=$work/root
root_with "$cache" "$work" "$base" "$deb"
cp "$deb" "$root/atoll.deb"
cp tests/support/package_inside.sh "$root/inside.sh"
mkdir -p "$root/srv/images" "$root/.old"
images=${ATOLL_TEST_STATE:-/var/lib/atoll}/images
[ -d "$images/default/rootfs" ] || images=

cat > "$work/enter.sh" << 'ENTER'
set -euo pipefail
root=$1 images=$2 cgroup=$3
. tests/support/clean_root.sh
# A root that is a mount point and no chroot: from within one nobody may make user namespaces.
mount --bind "$root" "$root"
mount_devices "$root"
mount --rbind /sys "$root/sys"
[ -z "$images" ] || mount --bind "$images" "$root/srv/images"
cd "$root"
pivot_root . .old
umount -l /.old
rmdir /.old
exec /usr/bin/env -i HOME=/root LANG=C.UTF-8 CGROUP="$cgroup" IMAGES="$images" \
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash /inside.sh
ENTER

echo "==> Installing, using and removing it"
setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child=KILL \
  bash "$work/enter.sh" "$root" "$images" "$cgroup" &
child=$!
wait "$child" || {
  child=
  fail "the package does not work on a clean $VERSION_CODENAME"
}
child=
left=$(find /sys/fs/cgroup -type d -path "*/$cgroup*" | head -n 3)
[ -z "$left" ] || fail "cgroups are left: $left"
echo "package_test: ok"
