#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# vm_test.sh [BUILD_DIR]: installs the Debian package of a build (default build/release) on a Debian
# of the host's own release with its own kernel, systemd and cgroup v2, in a virtual machine, and
# does there what no host of tests does: restarts and upgrades of the unit, a reboot, zram, CRIU
# below cgroup2. Without KVM the machine is emulated: five minutes, and ten the first time.
# ATOLL_TEST_STATE has the image, OpenCode and CRIU. Exits 77 where that cannot run.
set -euo pipefail
build=$(realpath "${1:-$(dirname "$0")/../build/release}")
cd "$(dirname "$0")/.."
. tests/support/clean_root.sh

skip() {
  echo "vm_test: skipped: $*"
  exit 77
}

fail() {
  echo "vm_test: $*" >&2
  exit 1
}

[ "$(id -u)" -eq 0 ] || skip "a root of its own needs root"
. /etc/os-release
[ "${ID:-}" = debian ] || skip "the host is ${PRETTY_NAME:-unknown}, not Debian"
for tool in qemu-system-x86_64 debootstrap mke2fs zstd cpack; do
  command -v "$tool" > /dev/null || skip "$tool is missing; 'scripts/setup.sh build test vm' installs it"
done
state=${ATOLL_TEST_STATE:-/var/lib/atoll}
[ -d "$state/images/default/rootfs" ] || skip "$state has no image; 'make image' makes it"
[ -x "$build/atoll" ] || fail "$build/atoll does not exist: build it first"

cache=$PWD/build/setup-test
mkdir -p "$cache/archives"
work=$(mktemp -d "$cache/vm-XXXXXX")
machine=
clean_up() {
  [ -z "$machine" ] || { kill -KILL "$machine" && wait "$machine"; } 2> /dev/null || true
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

deb=$(scripts/package.sh "$build" | tail -n 1)
# A Debian with all that the package depends on or can use; kept, so that a warm run needs no
# network.
key=$(dpkg-deb -f "$deb" Depends | sha256sum | cut -c1-16)
base=$cache/vm-$VERSION_CODENAME-$key.tar.zst
root=$work/root
root_with "$cache" "$work" "$base" "$deb" \
  linux-image-amd64 initramfs-tools systemd-sysv udev dbus kmod procps curl \
  libprotobuf-c1 libnl-3-200 libnet1 s3fs
rm -f "$root/usr/sbin/policy-rc.d"

echo "==> Making the machine"
cp "$deb" "$root/root/atoll.deb"
cp tests/support/vm_inside.sh "$root/root/inside.sh"
install -d -m 0711 "$root/var/lib/atoll"
for part in images opencode criu; do
  [ ! -d "$state/$part" ] || cp -a "$state/$part" "$root/var/lib/atoll/"
done
echo '/dev/vda / ext4 defaults 0 1' > "$root/etc/fstab"
cat > "$root/etc/systemd/system/inside.service" << 'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /root/inside.sh
StandardOutput=file:/dev/ttyS1
StandardError=file:/dev/ttyS1
TimeoutStartSec=infinity
[Install]
WantedBy=graphical.target
UNIT
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -sf ../inside.service "$root/etc/systemd/system/graphical.target.wants/inside.service"
ln -sf /lib/systemd/system/graphical.target "$root/etc/systemd/system/default.target"
cp "$root"/boot/vmlinuz-* "$work/kernel"
cp "$root"/boot/initrd.img-* "$work/initrd"
truncate -s 16G "$work/disk"
mke2fs -q -t ext4 -d "$root" "$work/disk"
rm -rf --one-file-system "$root"

accelerate=(-accel tcg,thread=multi -cpu max)
if [ -w /dev/kvm ]; then accelerate=(-accel kvm -cpu host); fi
: > "$work/said"
for boot in 1 2; do
  echo "==> Boot $boot"
  : > "$work/serial"
  qemu-system-x86_64 -machine q35 "${accelerate[@]}" -smp 2 -m 4G -display none -no-reboot \
    -kernel "$work/kernel" -initrd "$work/initrd" \
    -append "console=ttyS0 root=/dev/vda rw quiet net.ifnames=0" \
    -drive "file=$work/disk,if=virtio,format=raw,cache=unsafe" -nic none \
    -device virtio-rng-pci -serial "file:$work/console" -serial "file:$work/serial" -monitor none &
  machine=$!
  tail -n +1 -f --pid=$machine "$work/serial" &
  timeout 2400 tail --pid=$machine -f /dev/null || fail "the machine did not end: $(tail -n 5 "$work/console")"
  wait $machine || fail "qemu failed"
  machine=
  cat "$work/serial" >> "$work/said"
  ! grep -q '^failed:' "$work/serial" || fail "it does not work with systemd and cgroup v2"
done
grep -q '^done' "$work/said" || fail "the machine said no more: $(tail -n 5 "$work/console")"
echo "vm_test: ok"
