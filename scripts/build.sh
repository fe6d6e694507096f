#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build.sh PRESET [target]...: configures build/PRESET once and builds the targets (default: all).
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
dir=build/$preset
if [ ! -f "$dir/build.ninja" ]; then
  echo "==> Configuring $dir"
  mkdir -p "$dir"
  cmake --preset "$preset" > "$dir/configure.log" 2>&1 || {
    cat "$dir/configure.log" >&2
    # A cache from before the compiler was there keeps what was not found.
    rm -rf "$dir/build.ninja" "$dir/CMakeCache.txt" "$dir/CMakeFiles"
    echo "build: CMake could not configure $dir; 'make setup' installs what it needs" >&2
    exit 1
  }
fi
echo "==> Building $dir"
# A clone elsewhere on this machine shares what was compiled before.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
# Ninja's default job count assumes more memory per core than small machines have.
memory_jobs=$(awk '/^MemAvailable/ {print int($2 / 1500000)}' /proc/meminfo)
jobs=$(nproc)
[ "$memory_jobs" -ge "$jobs" ] || jobs=$((memory_jobs > 0 ? memory_jobs : 1))
cmake --build "$dir" -j "$jobs" ${1:+--target "$@"} || {
  echo "build: $dir did not build; the compiler's messages stand above" >&2
  exit 1
}
