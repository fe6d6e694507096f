#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run_fuzzers.sh BUILD_DIR SECONDS: runs each fuzzer that long, from its checked-in seeds plus what
# earlier runs found. A crash leaves its input in BUILD_DIR and fails.
set -euo pipefail
build=$(cd "$1" && pwd)
seconds=$2
cd "$(dirname "$0")/.."
failed=0
for fuzzer in "$build"/fuzz/*_fuzzer; do
  [ -x "$fuzzer" ] || {
    echo "fuzz: no fuzzers in $build/fuzz" >&2
    exit 1
  }
  name=$(basename "$fuzzer")
  corpus=$build/corpus/$name
  mkdir -p "$corpus"
  seeds=()
  [ ! -d "fuzz/corpus/$name" ] || seeds=("fuzz/corpus/$name")
  echo "==> $name for $seconds s"
  "$fuzzer" "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    "-artifact_prefix=$build/$name-" -print_final_stats=0 -verbosity=0 "$corpus" "${seeds[@]}" || {
    echo "fuzz: $name failed; the input is $build/$name-*" >&2
    failed=1
  }
done
exit "$failed"
