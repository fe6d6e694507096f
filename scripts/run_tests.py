#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run_tests.py [step]...: builds, then lint, unit, e2e, package and setup (default: all of them).

A step that fails does not keep the others from running; a build that fails does. The last line is
"N passed, N failed".
"""

import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent
ASAN = ROOT / "build" / "asan"
RELEASE = ROOT / "build" / "release"
SKIPPED = 77


def say(text):
    print(f"==> {text}", flush=True)


def run(*command, **options):
    return subprocess.run(command, cwd=ROOT, check=False, **options).returncode


def run_and_read(*command):
    """Runs a program whose output passes on as it comes; returns its exit code and the output."""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    ) as process:
        lines = []
        for raw in process.stdout:
            line = raw.decode(errors="replace")
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line)
        return process.wait(), "".join(lines)


def test_lint():
    _, output = run_and_read(sys.executable, "scripts/lint.py", "--build", str(ASAN))
    passed = len(re.findall(r"^==> lint \w+: ok$", output, re.MULTILINE))
    failed = len(re.findall(r"^==> lint \w+: failed$", output, re.MULTILINE))
    return passed, failed if passed + failed else 1


def count_gtest(path):
    """The cases of one test program: passed, failed, skipped."""
    passed = failed = skipped = 0
    for case in xml.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None:
            failed += 1
        elif case.find("skipped") is not None or case.get("result") == "skipped":
            skipped += 1
        elif case.get("status") != "notrun":
            passed += 1
    return passed, failed, skipped


def test_unit():
    reports = ASAN / "gtest"
    reports.mkdir(exist_ok=True)
    for old in reports.glob("*.xml"):
        old.unlink()
    junit = ASAN / "ctest.xml"
    junit.unlink(missing_ok=True)
    code = run(
        "env", f"GTEST_OUTPUT=xml:{reports}/", "ASAN_OPTIONS=detect_stack_use_after_return=1",
        "ctest", "--test-dir", str(ASAN), "--output-on-failure", "--no-tests=error",
        "-j2", "--output-junit", str(junit),
    )  # fmt: skip
    passed = failed = skipped = 0
    for report in reports.glob("*.xml"):
        counts = count_gtest(report)
        passed, failed, skipped = passed + counts[0], failed + counts[1], skipped + counts[2]
    if junit.exists():
        # A program that crashed or is missing leaves no report of its own: it is one failure.
        for case in xml.parse(junit).getroot().iter("testcase"):
            report = reports / f"{case.get('name').replace('/', '_')}_test.xml"
            if case.get("status") not in ("fail", "notrun"):
                continue
            if not report.exists() or count_gtest(report)[1] == 0:
                failed += 1
    if code != 0 and failed == 0:
        failed = 1
    say(f"unit tests: {passed} passed, {failed} failed, {skipped} skipped")
    return passed, failed


def state_dir():
    """Where the prepared images and OpenCode are: the tests borrow them, their own state is elsewhere."""
    if "ATOLL_TEST_STATE" not in os.environ:
        found = subprocess.run(["scripts/state_dir.sh"], cwd=ROOT, check=True, capture_output=True)
        os.environ["ATOLL_TEST_STATE"] = found.stdout.decode().strip()
    return os.environ["ATOLL_TEST_STATE"]


class Preparation:
    """What the end-to-end tests need, made beside the steps before them; mostly it waits for the network."""

    def __init__(self):
        self.environment = dict(os.environ, ATOLL_STATE_DIR=state_dir())
        self.output = ""
        self.error = None
        say("Images, OpenCode and CRIU are made beside what follows")
        self.thread = threading.Thread(target=self.prepare, daemon=True)
        self.thread.start()

    def make(self, *command):
        done = subprocess.run(
            ["nice", "-n", "10", *command], cwd=ROOT, env=self.environment, check=False, text=True,
            errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.output += done.stdout
        return done.returncode == 0

    def prepare(self):
        if not self.make("make", "image", "opencode", "criu"):
            self.error = "without an image and OpenCode nothing can be tested"
            return
        # The image with which plots are tested: made once, as somebody who wants plots would.
        image = pathlib.Path(self.environment["ATOLL_STATE_DIR"]) / "images" / "notebook" / "image.json"
        if not image.exists() and not self.make(str(RELEASE / "atoll"), "image", "build", "notebook"):
            self.error = "the image notebook cannot be made, so plots cannot be tested"

    def wait(self):
        if self.thread.is_alive():
            say("Waiting until images, OpenCode and CRIU are made")
        self.thread.join()
        if self.error:
            print(self.output, flush=True)
            say(f"end-to-end: {self.error}")
        return self.error is None


preparation = None


def test_e2e():
    if not preparation.wait():
        return 0, 1
    code, output = run_and_read("tests/run.sh", str(RELEASE))
    counts = {"pass": 0, "fail": 0, "cancelled": 0}
    for word, count in re.findall(r"^(?:#|ℹ) (pass|fail|cancelled) (\d+)$", output, re.MULTILINE):
        counts[word] += int(count)
    failed = counts["fail"] + counts["cancelled"]
    if (code != 0 or counts["pass"] == 0) and failed == 0:
        failed = 1
    return counts["pass"], failed


def test_script(*command):
    code = run(*command)
    return (1, 0) if code == 0 else (0, 0) if code == SKIPPED else (0, 1)


def test_package():
    return test_script("tests/package_test.sh", str(RELEASE))


def test_setup():
    return test_script("tests/setup_test.sh")


STEPS = {
    "lint": test_lint, "unit": test_unit, "e2e": test_e2e, "package": test_package, "setup": test_setup,
}  # fmt: skip
TITLES = {
    "lint": "Lint",
    "unit": "Unit tests under AddressSanitizer",
    "e2e": "End-to-end tests of the release build",
    "package": "The Debian package on a clean Debian",
    "setup": "Set-up on a clean Debian",
}


def build(steps):
    ok = True
    if {"lint", "unit"} & set(steps):
        ok = run("scripts/build.sh", "asan") == 0
    if {"e2e", "package"} & set(steps) and ok:
        targets = ("atoll", "atoll-agent", "atoll-newer", "atoll-agent-older")
        ok = run("scripts/build.sh", "release", *targets) == 0
    return ok


def main():
    steps = sys.argv[1:] or list(STEPS)
    for step in steps:
        if step not in STEPS:
            sys.exit(f"run_tests: there is no step '{step}'; there are {', '.join(STEPS)}")
    passed = failed = 0
    if not build(steps):
        failed = 1
        steps = [step for step in steps if step == "setup"]
    if "e2e" in steps:
        global preparation
        preparation = Preparation()
    for step in steps:
        say(TITLES[step])
        started = time.monotonic()
        counts = STEPS[step]()
        passed, failed = passed + counts[0], failed + counts[1]
        verdict = "failed" if counts[1] else "ok"
        say(f"{TITLES[step]}: {verdict} after {time.monotonic() - started:.0f} s")
    if failed:
        say("Not everything holds; the failures stand above")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
