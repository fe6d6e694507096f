# SPDX-License-Identifier: Apache-2.0
# Sourced by tests that need a clean Debian of the host's own release. The caller has skip() and fail() and
# runs in the source tree, with VERSION_CODENAME of /etc/os-release.

# clean_root CACHE WORK: makes CACHE/root-<release>.tar.zst with debootstrap, unless there is one.
# It is kept for two weeks: a test on a root that is too old tests apt.
clean_root() {
  local cache=$1 work=$2 mirror proxy
  local base=$cache/root-$VERSION_CODENAME.tar.zst
  [ -z "$(find "$base" -mtime -14 2> /dev/null)" ] || return 0
  echo "==> Making a clean $VERSION_CODENAME root"
  mirror=$(scripts/debian_sources.py | awk -v suite="$VERSION_CODENAME" \
    '$(NF-1) == suite {print $(NF-2); exit}')
  proxy=$(apt-config shell proxy Acquire::http::Proxy | sed -n "s/^proxy='\(.*\)'$/\1/p")
  [ -z "$proxy" ] || export http_proxy=$proxy
  debootstrap --variant=minbase "$VERSION_CODENAME" "$work/base" "${mirror:?}" \
    > "$work/debootstrap.log" 2>&1 || {
    tail -n 5 "$work/debootstrap.log"
    skip "debootstrap could not make a root from $mirror"
  }
  rm -f "$work/base"/var/cache/apt/archives/*.deb
  tar --one-file-system --numeric-owner -C "$work/base" -c . | zstd -q -T0 -o "$work/base.tar.zst"
  mv "$work/base.tar.zst" "$base"
  rm -rf --one-file-system "$work/base"
}

# point_apt ROOT: the package sources of this host, for apt inside; nothing installed is started.
point_apt() {
  local root=$1
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
  rm -f "$root/etc/apt/sources.list"
  scripts/debian_sources.py > "$root/etc/apt/sources.list.d/debian.list"
  scripts/debian_sources.py apt-conf > "$root/etc/apt/apt.conf.d/90host"
  echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
  printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
  chmod +x "$root/usr/sbin/policy-rc.d"
}

# mount_devices ROOT: /proc and a small /dev, in the caller's own mount namespace.
mount_devices() {
  local root=$1 device
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
  for device in null zero full random urandom tty; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  mkdir -p "$root/dev/pts" "$root/dev/shm"
  ln -s /proc/self/fd "$root/dev/fd"
}

# root_with CACHE WORK BASE DEB [package...]: WORK/root, a clean Debian with these packages and all
# that DEB depends on, but without DEB. BASE keeps it for two weeks, so that a warm run needs no
# network; of other bases with its name up to the last '-' it takes the place.
root_with() {
  local cache=$1 work=$2 base=$3 deb=$4
  local root=$work/root
  shift 4
  mkdir "$root"
  if [ -n "$(find "$base" -mtime -14 2> /dev/null)" ]; then
    zstd -qdc "$base" | tar --numeric-owner -C "$root" -x
    return
  fi
  clean_root "$cache" "$work"
  zstd -qdc "$cache/root-$VERSION_CODENAME.tar.zst" | tar --numeric-owner -C "$root" -x
  point_apt "$root"
  cp "$deb" "$root/atoll.deb"
  echo "==> Installing what it depends on"
  setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child=KILL \
    bash -euc '. tests/support/clean_root.sh
      root=$1
      mount_devices "$root"
      mount --bind "$2" "$root/var/cache/apt/archives"
      shift 2
      chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive bash -euc "apt-get update -q
          apt-get install -q -y --no-install-recommends /atoll.deb $*
          dpkg --purge atoll"' - "$root" "$cache/archives" "$@" > "$work/apt.log" 2>&1 || {
    tail -n 20 "$work/apt.log"
    fail "apt could not install what is needed"
  }
  rm -rf "$root/atoll.deb" "$root/var/lib/atoll"
  rm -f "${base%-*}"-*.tar.zst
  tar --one-file-system --numeric-owner -C "$root" -c . | zstd -q -T0 -o "$work/base.tar.zst"
  mv "$work/base.tar.zst" "$base"
}
