#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Measures what Atoll promises beside what it is compared with, in the same run, interleaved:
#   bench/run.sh BUILD_DIR [--only sandboxes|exec|lifecycle|snapshots|proxy|files|terminal] [--write] [--check] [--quick]
# --only runs one part, --write puts its table into bench/RESULTS.md, --check fails when a promise is
# not kept. ATOLL_TEST_STATE names the state directory with the prepared image and OpenCode,
# ATOLL_BENCH_DIR where the trees of files are kept and measured (default /var/tmp/atoll-bench).
set -eu

if [ $# -lt 1 ]; then
  echo "usage: bench/run.sh BUILD_DIR [--only sandboxes|exec|lifecycle|snapshots|proxy|files|terminal] [--write] [--check] [--quick]" >&2
  exit 2
fi
build=$(cd "$1" && pwd)
shift
here=$(cd "$(dirname "$0")" && pwd)
tests=$here/../tests
# The same clients as those of the tests.
if ! cmp -s "$tests/package-lock.json" "$tests/node_modules/.installed-lock.json"; then
  (cd "$tests" && npm ci --no-audit --no-fund --loglevel=error)
  cp "$tests/package-lock.json" "$tests/node_modules/.installed-lock.json"
fi
export ATOLL_BUILD_DIR="$build"
exec node "$here/bench.mjs" "$@"
