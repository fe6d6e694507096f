#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lint.py --build DIR [check]...: every check that needs no running program (default: all).

clang-tidy and the co_await shapes look only at files that changed since they last passed, in whatever
clone on this machine: a stamp in the user's cache is named after the content of the file, of every
project header that it includes, of its compile command and of the rules.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
STAMPS = pathlib.Path(CACHE) / "atoll" / "lint"
QUERY = ROOT / "scripts" / "coawait.query"
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def run(command):
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return result.returncode, result.stdout.decode(errors="replace")


def script(name):
    def check(_):
        code, output = run([sys.executable, f"scripts/{name}"])
        return [] if code == 0 else [output.strip()]

    return check


def check_format(_):
    code, files = run(["git", "ls-files", "-co", "--exclude-standard", "*.cc", "*.h"])
    files = [f for f in files.split("\n") if f and (ROOT / f).is_file()]
    if code != 0 or not files:
        return [] if code == 0 else [files]
    code, output = run(["clang-format-19", "--dry-run", "--Werror", *files])
    return [] if code == 0 else [output.strip() + "\n'make fmt' formats the sources"]


def project_files(path, seen):
    """`path` and every project header that it includes, directly or not."""
    if path in seen or not path.is_file():
        return
    seen.add(path)
    for name in INCLUDE.findall(path.read_text(encoding="utf-8", errors="replace")):
        for folder in (ROOT / "src", path.parent):
            project_files((folder / name).resolve(), seen)


def compile_commands(build):
    path = build / "compile_commands.json"
    if not path.exists():
        sys.exit(f"lint: {path} is missing; configure {build} first")
    entries = {}
    for entry in json.loads(path.read_text()):
        source = pathlib.Path(entry["file"]).resolve()
        if ROOT / "src" in source.parents and source.is_file():
            entries[source] = entry["command"]
    return entries


def stamp(kind, rules, source, command):
    digest = hashlib.sha256()
    digest.update(rules.read_bytes() + command.replace(str(ROOT), "").encode())
    seen = set()
    project_files(source, seen)
    for path in sorted(seen):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return STAMPS / kind / digest.hexdigest()


def check_changed(kind, rules, sources, look):
    """Runs look(source), which returns a set of problems or None, on each source without a stamp.

    A problem in a header shows once, not once per file that includes it.
    """
    (STAMPS / kind).mkdir(parents=True, exist_ok=True)
    todo = []
    for source, command in sources:
        mark = stamp(kind, rules, source, command)
        if mark.exists():
            # Stamps in use stay young; those of old content are removed below.
            os.utime(mark)
        else:
            todo.append((source, mark))
    problems = set()
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for (_, mark), found in zip(todo, pool.map(lambda item: look(item[0]), todo)):
            if found:
                problems |= found
            else:
                mark.touch()
    marks = sorted((STAMPS / kind).iterdir(), key=lambda m: m.stat().st_mtime, reverse=True)
    for old in marks[8000:]:
        old.unlink()
    return sorted(problems)


def diagnostics(output):
    """The output of a clang tool cut into messages, without the summaries."""
    blocks = []
    for line in output.splitlines():
        if re.match(r"\d+ (warnings?|errors?)\b|Error while processing|Suppressed |Use -header", line):
            continue
        if re.match(r"\S+:\d+:\d+: (error|warning):|error:", line) or not blocks:
            blocks.append([])
        blocks[-1].append(line)
    return {"\n".join(block) for block in blocks if any(block)}


def check_tidy(build):
    def look(source):
        code, output = run(["clang-tidy-19", "--quiet", "-p", str(build), str(source)])
        return (diagnostics(output) or {f"clang-tidy-19 failed on {source}"}) if code else None

    sources = [(s, c) for s, c in compile_commands(build).items() if not s.name.endswith("_test.cc")]
    return check_changed("tidy", ROOT / ".clang-tidy", sources, look)


def check_coawait(build):
    def look(source):
        command = ["clang-query-19", "-p", str(build), "-f", str(QUERY), str(source)]
        code, output = run(command)
        lines = output.splitlines()
        found = [l for l in lines if "binds here" in l or ": error:" in l]
        if code == 0 and not found and "0 matches." in output:
            return None
        return set(found) or {output.strip() or f"clang-query-19 failed on {source}"}

    sources = []
    for source, command in compile_commands(build).items():
        text = source.read_text(encoding="utf-8")
        if "co_await" in text:
            sources.append((source, command))
    return check_changed("coawait", QUERY, sources, look)


CHECKS = {
    "rooms": script("check_rooms.py"),
    "files": script("check_files.py"),
    "format": check_format,
    "coawait": check_coawait,
    "tidy": check_tidy,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("checks", nargs="*", metavar="check", help=", ".join(CHECKS))
    options = parser.parse_args()
    failed = 0
    for name in options.checks or CHECKS:
        if name not in CHECKS:
            sys.exit(f"lint: there is no check '{name}'; there are {', '.join(CHECKS)}")
        problems = CHECKS[name](options.build.resolve())
        print(f"==> lint {name}: {'ok' if not problems else 'failed'}", flush=True)
        for problem in problems:
            print(problem)
        failed += bool(problems)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
