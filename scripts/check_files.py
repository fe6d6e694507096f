#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what every file of the project must have: licence line, include guard, a readable length,
and lock files that pin by content and name no server."""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES = 500
LICENSED = {".cc", ".h", ".py", ".sh", ".js", ".mjs"}
VENDORED = re.compile(r"(^|/)(node_modules|corpus|files)/")


def check_source(name, text):
    lines = text.splitlines()
    if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:5]):
        yield f"{name}: no SPDX-License-Identifier line at the top"
    if name.endswith(".h") and "#pragma once" not in lines:
        yield f"{name}: no #pragma once"
    if name.endswith((".cc", ".h")) and len(lines) > MAX_LINES:
        yield f"{name}: {len(lines)} lines; more than {MAX_LINES} means that two nouns live in it"


def check_lock(name, text):
    for package, entry in json.loads(text).get("packages", {}).items():
        if "resolved" in entry:
            yield f"{name}: {package} names a server; use omit-lockfile-registry-resolved"
        elif package and not entry.get("integrity") and not entry.get("inBundle"):
            yield f"{name}: {package} is not pinned by integrity"


def main():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    problems = []
    for name in sorted(filter(None, listed.split("\0"))):
        path = ROOT / name
        if VENDORED.search(name) or not path.is_file():
            continue
        if path.suffix in LICENSED:
            problems += check_source(name, path.read_text(encoding="utf-8"))
        elif path.name == "package-lock.json":
            problems += check_lock(name, path.read_text(encoding="utf-8"))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
