#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build.sh ROOTFS_DIR [PACKAGE...]: makes the root file system of the default sandbox image there:
# Debian of the host's own release from the host's own package sources, plus what coding agents
# expect, plus the packages named. Run as root. ROOTFS_DIR must be empty or absent. Whatever happens,
# no process and no mount is left.
# build.sh --check ROOTFS_DIR: whether a root that was made earlier has what this one would have.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
scripts=$(cd "$here/../../scripts" && pwd)

fail() {
  echo "image default: $*" >&2
  exit 1
}

packages=(
  bash ca-certificates coreutils curl git iproute2 less nano nodejs openssh-client procps python3
  python3-ipykernel ripgrep
)

if [ "${1:-}" = --check ]; then
  for package in "${packages[@]}"; do
    grep -qx "Package: $package" "$2/var/lib/dpkg/status" 2> /dev/null || exit 1
  done
  exit
fi

# The build runs in mount and pid namespaces of its own: when this shell ends, even by SIGKILL, the
# kernel ends every process of the build and drops every mount.
if [ "${1:-}" != --inside ]; then
  [ $# -ge 1 ] || fail "usage: build.sh ROOTFS_DIR [PACKAGE...]"
  [ "$(id -u)" -eq 0 ] || fail "must run as root"
  for tool in mmdebstrap unshare setpriv python3 npm; do
    command -v "$tool" > /dev/null || fail "$tool is missing; run 'make setup' first"
  done
  setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child=KILL \
    --mount-proc bash "$here/build.sh" --inside "$@" &
  child=$!
  trap 'kill -KILL "$child" 2> /dev/null || true; wait "$child" 2> /dev/null || true; exit 130' \
    INT TERM HUP
  wait "$child"
  exit
fi

root=$2
packages+=("${@:3}")
umask 022
mkdir -p "$root"
root=$(cd "$root" && pwd)
[ -z "$(ls -A "$root")" ] || fail "$root is not empty"

sources=$("$scripts/debian_sources.py")
apt_options=()
while IFS= read -r option; do
  [ -z "$option" ] || apt_options+=("--aptopt=$option")
done < <("$scripts/debian_sources.py" apt-conf)

echo "==> Making a root from $(awk '{print $(NF-1)}' <<< "$sources" | xargs)"
mmdebstrap --mode=root --variant=minbase --format=directory --quiet \
  --include="$(IFS=,; echo "${packages[*]}")" \
  "${apt_options[@]}" \
  --aptopt='APT::Install-Recommends "false";' --aptopt='Acquire::Languages "none";' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root" - <<< "$sources" ||
  fail "mmdebstrap could not make the root; its messages stand above"
# The proxies of the host mean nothing inside.
rm -f "$root"/etc/apt/apt.conf.d/99mmdebstrap
printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n' \
  > "$root/etc/apt/apt.conf.d/90atoll"

echo "==> Adding npm"
# Inside the root, so that a build that is killed leaves nothing elsewhere.
work=$root/tmp/npm
mkdir "$work"
cp "$here/package.json" "$here/package-lock.json" "$work/"
(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
  fail "npm could not fetch the npm package; check the network and npm's registry setting"
mkdir -p "$root/usr/local/lib/node_modules" "$root/usr/local/bin"
cp -a --no-preserve=ownership "$work/node_modules/npm" "$root/usr/local/lib/node_modules/npm"
rm -rf "$root"/usr/local/lib/node_modules/npm/{docs,man}
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
ln -s ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"

echo "==> Adding Atoll's files"
cp -a --no-preserve=ownership "$here/files/." "$root/"
chmod 0700 "$root/root"
mkdir -p "$root/workspace" "$root/.atoll" "$root/opt/opencode/bin" \
  "$root/root/.config/opencode/node_modules"
# Targets of bind mounts.
install -m 0755 /dev/null "$root/.atoll/agent"
install -m 0755 /dev/null "$root/opt/opencode/bin/opencode"

inside() {
  chroot "$root" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/tmp "$@"
}
for command in git node npm npx rg curl python3 ssh ip ps less nano; do
  inside sh -c "command -v $command" > /dev/null || fail "the finished root has no $command"
done
inside npm --version > /dev/null || fail "npm does not run in the finished root"

find "$root/dev" "$root/run" "$root/tmp" "$root/var/tmp" "$root/var/cache/apt" \
  "$root/var/lib/apt/lists" -mindepth 1 -delete
rm -f "$root"/var/log/{apt/*,dpkg.log,alternatives.log,bootstrap.log} "$root"/var/cache/debconf/*-old \
  "$root"/var/lib/dpkg/*-old
: > "$root/etc/machine-id"
chown -Rh 0:0 "$root/usr/local" "$root/workspace" "$root/.atoll" "$root/opt" "$root/root"

echo "==> $(du -sh "$root" | cut -f1) in $root"
