#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# raise_limits.sh FILE: gives the kernel the settings of a sysctl.d file until the next boot, where
# they are lower now. One that cannot be set is named and no failure: sandboxes work, with less.
set -eu
[ $# -eq 1 ] || { echo "usage: raise_limits.sh FILE" >&2; exit 2; }

while read -r name equals value; do
  [ "$equals" = = ] || continue
  file=/proc/sys/$(echo "$name" | tr . /)
  now=$(cat "$file" 2> /dev/null) || continue
  [ "$now" -lt "$value" ] || continue
  if (echo "$value" > "$file") 2> /dev/null; then
    echo "==> $name is $value now (was $now)"
  else
    echo "==> $name is $now and cannot be raised here; $value is recommended"
  fi
done < "$1"
