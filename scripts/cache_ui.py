#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cache_ui.py OPENCODE_BINARY CACHE_DIR: keeps the static files of OpenCode's UI in CACHE_DIR.

They are taken from a server that nobody has used: started here with an empty home directory, an
environment without secrets and, when root runs this, a network that has nothing but loopback. What
the page names is fetched, and what that names, down to the chunks that load on demand. Nothing
happens when CACHE_DIR holds what this version of OpenCode serves.

CACHE_DIR/manifest.json lists content type, SHA-256, size and header fields of each path; the files
are named by their SHA-256.
"""

import concurrent.futures
import ctypes
import fcntl
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse

FORMAT = 1
MANIFEST = "manifest.json"
BOOT_LIMIT_S = 120
REQUEST_LIMIT_S = 30
FETCHERS = 4
MAX_FILES = 5000
MAX_BYTES = 256 << 20
READY = b"opencode server listening on"
# What describes one message, or one connection, and not the file.
NOT_KEPT = {
    "connection", "content-length", "content-type", "date", "keep-alive", "transfer-encoding",
}  # fmt: skip
TEXT = re.compile(r"^(text/|application/(javascript|json|manifest\+json)|image/svg)")
# A path or a file name with an ending, as HTML, CSS, scripts and manifests name their files.
NAME = re.compile(
    rb"[A-Za-z0-9_@./-]+\."
    rb"(?:js|mjs|css|html|json|webmanifest|wasm|woff2?|ttf|otf|png|jpe?g|gif|svg|ico|webp|avif|aac"
    rb"|mp3|mp4|ogg|wav|webm|txt|xml)\b"
)


class Problem(Exception):
    """Why there is no cache."""


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14s", b"lo", 0x1 | 0x40, b"")  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(sock.fileno(), 0x8914, request)  # SIOCSIFFLAGS


def leave_network():
    """A network namespace with loopback alone: what starts from here reaches nobody."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
        return
    loopback_up()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Opencode:
    """A server of its own, gone with everything that it wrote when the block ends."""

    def __init__(self, binary):
        self.binary = binary
        self.port = free_port()

    def __enter__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="atoll-ui-"))
        models = self.home / "models.json"
        models.write_text("{}\n")
        environment = {
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "PATH": "/usr/bin:/bin",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_MODELS_PATH": str(models),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_SHARE": "1",
        }
        self.log = self.home / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", "--hostname", "127.0.0.1", "--port", str(self.port)],
                cwd=self.home, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            self.await_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def await_ready(self):
        end = time.monotonic() + BOOT_LIMIT_S
        while READY not in self.log.read_bytes():
            if self.process.poll() is not None:
                tail = self.log.read_bytes()[-500:].decode(errors="replace")
                raise Problem(f"{self.binary} ended with {self.process.returncode}: {tail}")
            if time.monotonic() > end:
                raise Problem(f"{self.binary} was not ready within {BOOT_LIMIT_S} s")
            time.sleep(0.1)

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def get(self, path):
        """The answer to a GET: content type, other header fields, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_LIMIT_S)
        try:
            connection.request("GET", path, headers={"Accept": "*/*"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            return None
        fields = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in NOT_KEPT and not name.lower().startswith("access-control-")
        }
        return answer.getheader("Content-Type", ""), fields, body


def named_in(path, content_type, body):
    """Where the files may be that a file names."""
    if not TEXT.match(content_type):
        return set()
    found = set()
    for match in NAME.finditer(body):
        name = match.group().decode()
        for base in {path, "/assets/", "/"}:
            target = urllib.parse.urlsplit(urllib.parse.urljoin(base, name)).path
            if target.startswith("/") and "//" not in target and len(target) <= 400:
                found.add(target)
    return found


def crawl(server):
    index = server.get("/")
    if index is None or not index[0].startswith("text/html"):
        raise Problem("GET / gave no page")
    files = {"/index.html": index}
    seen = {"/", "/index.html"}
    total = len(index[2])
    wanted = named_in("/", index[0], index[2]) - seen
    with concurrent.futures.ThreadPoolExecutor(FETCHERS) as pool:
        while wanted:
            seen |= wanted
            found = set()
            batch = sorted(wanted)
            for path, answer in zip(batch, pool.map(server.get, batch)):
                # What does not exist is answered with the page.
                if answer is None or answer[2] == index[2]:
                    continue
                files[path] = answer
                total += len(answer[2])
                if len(files) > MAX_FILES or total > MAX_BYTES:
                    raise Problem(f"more than {MAX_FILES} files or {MAX_BYTES} bytes")
                found |= named_in(path, answer[0], answer[2])
            wanted = found - seen
    return files


def write_cache(target, size, files):
    target.parent.mkdir(parents=True, exist_ok=True)
    # What is left of a run that was killed goes by the same name as a fetch's.
    work = pathlib.Path(tempfile.mkdtemp(prefix=".fetch-ui-", dir=target.parent))
    try:
        work.chmod(0o755)
        entries = {}
        for path, (content_type, fields, body) in sorted(files.items()):
            digest = hashlib.sha256(body).hexdigest()
            (work / digest).write_bytes(body)
            entries[path] = {
                "type": content_type,
                "sha256": digest,
                "size": len(body),
                "headers": fields,
            }
        manifest = {"format": FORMAT, "binarySize": size, "files": entries}
        (work / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def is_there(target, size):
    try:
        manifest = json.loads((target / MANIFEST).read_text())
        if manifest["format"] != FORMAT or manifest["binarySize"] != size:
            return False
        files = manifest["files"].values()
        return all((target / one["sha256"]).stat().st_size == one["size"] for one in files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: cache_ui.py OPENCODE_BINARY CACHE_DIR")
    binary, target = os.path.abspath(sys.argv[1]), pathlib.Path(os.path.abspath(sys.argv[2]))
    try:
        # Another executable under the same name serves other files.
        size = os.stat(binary).st_size
        if is_there(target, size):
            return
        print(f"==> Keeping OpenCode's UI in {target}", flush=True)
        leave_network()
        with Opencode(binary) as server:
            files = crawl(server)
        write_cache(target, size, files)
    except (Problem, OSError, http.client.HTTPException) as problem:
        sys.exit(f"cache_ui: keep the UI of {binary} in {target}: {problem}")


if __name__ == "__main__":
    main()
