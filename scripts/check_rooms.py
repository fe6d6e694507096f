#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Refuses an include that points upward: see the table of rooms in docs/architecture.md.

A room may include rooms of lower levels, and rooms of its own level that its CMakeLists.txt lists
in DEPS. Its tests may include what TEST_LIBS lists as atoll_<room> as well. Only src/http names
Beast; only src/async and src/http name Asio.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
LEVELS = {
    "base": 0,
    "sys": 1, "async": 1, "crypto": 1, "metrics": 1,
    "http": 2, "json": 2, "db": 2, "blob": 2,
    "protocol": 3, "agent": 3, "oci": 3, "repository": 3, "snapshot": 3, "egress": 3,
    "sandbox": 4, "opencode": 4,
    "gateway": 5, "api": 5,
    "daemon": 6, "cli": 6,
}  # fmt: skip
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')
BANNED = [("boost/beast", {"http"}), ("boost/asio", {"http", "async"})]


def room_of(path):
    """The room of a path below src/: its first folder, or two for the dialects of api/."""
    parts = pathlib.PurePosixPath(path).parts
    if parts[0] == "api" and len(parts) > 2:
        return f"api/{parts[1]}"
    return parts[0]


def level_of(room):
    return LEVELS.get(room.split("/")[0])


def dependencies(room):
    """The rooms that a room lists in DEPS, and those that its tests have besides in TEST_LIBS."""
    cmake = SRC / room / "CMakeLists.txt"
    text = re.sub(r"#.*", "", cmake.read_text()) if cmake.exists() else ""
    match = re.search(r"atoll_room\(\s*\S+(.*?)\)", text, re.DOTALL)
    listed, of_tests, keyword = set(), set(), None
    for word in match.group(1).split() if match else []:
        if word in ("DEPS", "LIBS", "TEST_LIBS", "EXCLUDE"):
            keyword = word
        elif keyword == "DEPS":
            listed.add(word)
        elif keyword == "TEST_LIBS" and word.startswith("atoll_"):
            of_tests.add(word.removeprefix("atoll_"))
    return listed, of_tests


def is_test(path):
    return path.stem.endswith("_test")


def check_cmake(room, keyword, deps):
    for dep in sorted(deps):
        if level_of(dep) is None or not (SRC / dep).is_dir():
            yield f"src/{room}/CMakeLists.txt: {keyword} names {dep}, which is no room"
        elif level_of(dep) > level_of(room):
            yield f"src/{room}/CMakeLists.txt: {keyword} names {dep}, a room above {room}"


def check_file(path, room, deps):
    name = path.relative_to(ROOT)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        included = match.group(1) or match.group(2)
        for prefix, allowed in BANNED:
            if included.startswith(prefix) and room not in allowed:
                where = " and ".join(f"src/{r}" for r in sorted(allowed))
                yield f"{name}:{number}: only {where} may include {prefix}"
        if match.group(2) or not (SRC / included).exists():
            continue
        target = room_of(included)
        if target == room:
            continue
        if level_of(target) is None:
            yield f"{name}:{number}: {included} belongs to no room that check_rooms.py knows"
        elif level_of(target) > level_of(room):
            yield f"{name}:{number}: {room} must not know {target}, a room above it"
        elif level_of(target) == level_of(room) and target not in deps:
            yield f"{name}:{number}: {room} does not list {target} in the DEPS of its CMakeLists.txt"


def check_cycles(graph):
    done, trail = set(), []

    def visit(room):
        if room in trail:
            yield "src: rooms depend on each other: " + " -> ".join(trail[trail.index(room):] + [room])
            return
        if room in done:
            return
        trail.append(room)
        for dep in sorted(graph.get(room, ())):
            yield from visit(dep)
        trail.pop()
        done.add(room)

    for room in sorted(graph):
        yield from visit(room)


def main():
    problems, graph, of_tests = [], {}, {}
    for path in sorted(SRC.rglob("*")):
        if path.suffix not in (".cc", ".h"):
            continue
        room = room_of(path.relative_to(SRC).as_posix())
        if level_of(room) is None:
            problems.append(f"{path.relative_to(ROOT)}: {room} is no room that check_rooms.py knows")
            continue
        if room not in graph:
            graph[room], of_tests[room] = dependencies(room)
            problems += check_cmake(room, "DEPS", graph[room])
            problems += check_cmake(room, "TEST_LIBS", of_tests[room])
        deps = graph[room] | of_tests[room] if is_test(path) else graph[room]
        problems += check_file(path, room, deps)
    problems += check_cycles(graph)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
