#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the end-to-end tests against a build: tests/run.sh BUILD_DIR [files...]
# ATOLL_TEST_STATE names the state directory with the prepared image and OpenCode.
set -eu

if [ $# -lt 1 ]; then
  echo "usage: tests/run.sh BUILD_DIR [files...]" >&2
  exit 2
fi
build=$(cd "$1" && pwd)
shift
if [ ! -x "$build/atoll" ]; then
  echo "tests/run.sh: $build/atoll does not exist: build it first" >&2
  exit 2
fi

here=$(cd "$(dirname "$0")" && pwd)
for dir in "$here" "$here/../clients/typescript"; do
  stamp=$dir/node_modules/.installed-lock.json
  if ! cmp -s "$dir/package-lock.json" "$stamp"; then
    (cd "$dir" && npm ci --no-audit --no-fund --loglevel=error)
    cp "$dir/package-lock.json" "$stamp"
  fi
done

if [ $# -eq 0 ]; then
  set -- "$here"/*.test.mjs
fi
export ATOLL_BUILD_DIR="$build"
# A test that hangs must not hang whoever waits for the whole.
exec timeout --foreground -k 10 2700 node --test --test-concurrency=2 --test-reporter=spec "$@"
