#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# setup.sh [build|run|test]...: installs what Atoll needs and this host lacks (default: build run).
# build: compilers and libraries; run: what the daemon and image recipes call; test: what only the
# tests need. When nothing is missing it takes a moment and does not call apt.
set -euo pipefail

fail() {
  echo "setup: $*" >&2
  exit 1
}

[ -r /etc/os-release ] || fail "this is not Debian (no /etc/os-release); use Debian 12 or 13"
. /etc/os-release
# Debian 12's default Boost is 1.74, which is too old: its packages are named with their version.
case "${ID:-}:${VERSION_ID:-}" in
  debian:12) boost=1.81 ;;
  debian:13) boost=1.83 ;;
  *) fail "this is ${PRETTY_NAME:-an unknown system}; Atoll is built on Debian 12 and 13" ;;
esac

common=(ca-certificates curl git python3)
build=(
  clang-19 clang-tidy-19 clang-format-19 clang-tools-19 lld-19 libclang-rt-19-dev
  cmake ninja-build ccache make pkg-config dpkg-dev file
  "libboost$boost-dev" "libboost-json$boost-dev"
  libssl-dev libsqlite3-dev libexpat1-dev libzstd-dev libarchive-dev libspdlog-dev
  libfmt-dev libcli11-dev libtomlplusplus-dev libseccomp-dev libcap-ng-dev libre2-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)
run=(crun mmdebstrap nftables iproute2 procps e2fsprogs golang-github-containers-common
     s3fs)  # buckets as directories of sandboxes
test=(
  debootstrap chromium fonts-dejavu-core jq openssl zstd
  faketime                                        # a wall clock that jumps
  xfsprogs                                        # a file system that shares content of files
  restic squashfs-tools                           # what snapshots are checked and measured against
  awscli radosgw ceph-mon ceph-osd python3-swift  # S3 servers, started by the tests themselves
)
# A proxy to compare with, what loads both, and the usual way to run a command elsewhere.
bench=(nginx-light wrk openssh-server openssh-client)
vm=(qemu-system-x86)

[ $# -gt 0 ] || set -- build run
wanted=("${common[@]}")
for group in "$@"; do
  case $group in
    build) wanted+=("${build[@]}") ;;
    run) wanted+=("${run[@]}") ;;
    test) wanted+=("${test[@]}") ;;
    bench) wanted+=("${bench[@]}") ;;
    vm) wanted+=("${vm[@]}") ;;
    *) fail "there is no group '$group'; name build, run, test, bench or vm" ;;
  esac
done

# Node.js may come from anywhere (NodeSource, nvm, a tarball), as long as it is recent enough.
if ! command -v node > /dev/null && ! command -v npm > /dev/null; then
  wanted+=(nodejs npm)
elif ! command -v node > /dev/null; then
  fail "npm is here but node is not; install Node.js 18 or newer, or remove npm"
elif ! command -v npm > /dev/null; then
  [ "$(command -v node)" = /usr/bin/node ] && dpkg-query -W nodejs > /dev/null 2>&1 ||
    fail "$(command -v node) came without npm; install the npm that belongs to it"
  wanted+=(npm)
fi
if command -v node > /dev/null; then
  node_version=$(node --version)
  node_major=${node_version#v}
  [ "${node_major%%.*}" -ge 18 ] ||
    fail "$(command -v node) is $node_version; install Node.js 18 or newer, or remove it"
fi

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2> /dev/null || true)
missing=()
for package in "${wanted[@]}"; do
  [[ $'\n'$installed$'\n' == *$'\n'"installed $package"$'\n'* ]] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "==> Nothing to install"
  exit 0
fi

echo "==> To install: ${missing[*]}"
[ "$(id -u)" -eq 0 ] || fail "installing packages needs root; run 'sudo make setup' once"

export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 -o Acquire::http::Timeout=20
  -o Acquire::https::Timeout=20)
# A foreign source that cannot be reached or has lost its key ends the update with an error although
# Debian's own lists are fresh; what counts is whether the packages can be installed.
echo "==> Reading the package lists"
"${apt[@]}" update -q || echo "==> Some package sources cannot be read; going on with the others"
echo "==> Installing ${#missing[@]} packages"
# --no-remove: nothing that somebody else needs is taken away to make room.
# Nothing that comes along is started (ceph-crash of ceph-base, say), unless the host has rules of its
# own for that.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' > $policy
  chmod 755 $policy
fi
"${apt[@]}" install -q -y --no-install-recommends --no-remove "${missing[@]}" ||
  fail "apt-get could not install the packages named above; mend what it says, then run this again"
echo "==> Set-up is complete"
