#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""debian_sources.py [sources|apt-conf]: what a Debian root made on this host should use.

sources (default): this host's Debian package sources, one-line style, one per suite.
apt-conf: how this host's apt reaches its mirrors (proxies, retries, mirrors frozen in time).

Image recipes and the set-up test make Debian roots from the mirrors that the host itself uses. Entries
of others (NodeSource, Docker, PostgreSQL, ...) are left out: a root must not depend on what
somebody once added to the host, nor on a server that may not be reachable.
"""

import glob
import os
import re
import subprocess
import sys
import urllib.parse

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
OPTION = re.compile(r"^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)$")


def codename():
    with open("/etc/os-release", encoding="utf-8") as f:
        match = re.search(r"^VERSION_CODENAME=\"?([a-z]+)\"?$", f.read(), re.MULTILINE)
    if not match:
        sys.exit("debian_sources: /etc/os-release names no VERSION_CODENAME; is this Debian 12 or 13?")
    return match.group(1)


def one_line_entries(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            match = OPTION.match(line.split("#", 1)[0].strip())
            if not match:
                continue
            options = dict(o.split("=", 1) for o in (match.group(1) or "").split() if "=" in o)
            yield match.group(2), match.group(3), match.group(4).split(), options.get("signed-by", "")


def deb822_entries(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        lines = [line.rstrip("\n") for line in f if not line.startswith("#")]
    for stanza in "\n".join(lines).split("\n\n"):
        fields, key = {}, None
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t") and key:
                fields[key] += "\n" + line.strip()
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield uri, suite, fields.get("components", "").split(), fields.get("signed-by", "")


def is_debians_own(uri, suite, components, signed_by, name):
    url = urllib.parse.urlsplit(uri)
    aliases = {"bookworm": "oldstable", "trixie": "stable"}.get(name, name)
    suites = {base + tail for base in (name, aliases) for tail in ("", "-updates", "-security")}
    if url.scheme not in ("http", "https", "file") or suite not in suites:
        return False
    if "main" not in components:
        return False
    if signed_by and not signed_by.startswith("-----BEGIN") and "debian-archive" not in signed_by:
        return False
    host = url.hostname or ""
    folders = url.path.strip("/").split("/")
    return host.endswith(".debian.org") or any(re.match(r"debian(-security)?$", p) for p in folders)


def apt_conf():
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, check=True, text=True)
    wanted = re.compile(r'^Acquire::(https?|Check-[A-Za-z-]+|Retries|ForceIPv[46])\b.* "[^"]+";$')
    return [line for line in dump.stdout.splitlines() if wanted.match(line)]


def sources():
    name = codename()
    found = []
    paths = ["/etc/apt/sources.list"] if os.path.exists("/etc/apt/sources.list") else []
    paths += sorted(glob.glob("/etc/apt/sources.list.d/*.list"))
    for path in paths:
        found += one_line_entries(path)
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        found += deb822_entries(path)
    lines = []
    for uri, suite, components, signed_by in found:
        if not is_debians_own(uri, suite, components, signed_by, name):
            continue
        keyring = signed_by if signed_by.startswith("/") else KEYRING
        option = f"[signed-by={keyring}] " if os.path.exists(keyring) else ""
        line = f"deb {option}{uri} {suite} main"
        if line not in lines:
            lines.append(line)
    # A security suite alone is no root.
    if not any(not line.split()[-2].endswith(("-updates", "-security")) for line in lines):
        sys.exit(
            f"debian_sources: apt names no mirror of Debian {name} here; add one to"
            " /etc/apt/sources.list, then run this again"
        )
    return lines


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else "sources"
    if what not in ("sources", "apt-conf"):
        sys.exit("usage: debian_sources.py [sources|apt-conf]")
    print("\n".join(sources() if what == "sources" else apt_conf()))


if __name__ == "__main__":
    main()
