#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the state directory that the daemon would use when started here.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${ATOLL_STATE_DIR:-}
if [ -z "$dir" ]; then
  for config in atoll.toml /etc/atoll/atoll.toml; do
    [ -r "$config" ] || continue
    # Top-level keys stand before the first section.
    dir=$(sed -n '/^\[/q; s/^state_dir *= *"\([^"]*\)".*/\1/p' "$config")
    break
  done
fi
echo "${dir:-/var/lib/atoll}"
