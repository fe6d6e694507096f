#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# soak.sh BUILD_DIR MINUTES TEST...: runs end-to-end tests again and again until the time has
# passed; ends at the first round that fails.
set -euo pipefail
build=$(cd "$1" && pwd)
minutes=$2
shift 2
cd "$(dirname "$0")/.."
round=0
SECONDS=0
while [ "$SECONDS" -lt $((minutes * 60)) ]; do
  round=$((round + 1))
  echo "==> Round $round after $((SECONDS / 60)) of $minutes min"
  tests/run.sh "$build" "$@" > build/soak.log 2>&1 || {
    cat build/soak.log
    echo "soak: round $round failed; its output stands above" >&2
    exit 1
  }
done
echo "==> $round rounds, none failed"
