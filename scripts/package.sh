#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# package.sh BUILD_DIR: makes a Debian package of what is built there and prints its path last.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: package.sh BUILD_DIR" >&2; exit 2; }
build=$(cd "$1" && pwd)
command -v dpkg-shlibdeps > /dev/null || {
  echo "package: dpkg-dev is missing; 'scripts/setup.sh build' installs it" >&2
  exit 1
}
rm -rf "$build/package"
umask 022
# CPack reads the configuration that the build directory was made with.
(cd "$build" && cmake . > package.log 2>&1 && cpack -G DEB >> package.log 2>&1) || {
  tail -n 30 "$build/package.log" >&2
  echo "package: CPack could not make a package; $build/package.log has it all" >&2
  exit 1
}
rm -rf "$build/package/_CPack_Packages"
ls "$build"/package/*.deb
