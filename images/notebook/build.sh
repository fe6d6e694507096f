#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build.sh ROOTFS_DIR: the default image with what the code interpreter wants: a Jupyter kernel, the
# packages that notebooks begin with, and TypeScript.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../default/build.sh" "$1" \
  python3-ipykernel python3-jupyter-client python3-matplotlib python3-numpy python3-pandas python3-pil \
  node-typescript
