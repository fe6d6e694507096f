#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Starts containers with crun alone, from the bundle that Atoll wrote for one of its sandboxes.

bare_crun.py CONFIG_JSON IMAGE_ROOTFS WORK_DIR [CRUN]: for every line on stdin, one container: overlay mount,
`crun run`, first byte of `echo hi`; prints the milliseconds that took and cleans up. Runs in a mount
namespace of its own.
"""

import ctypes
import glob
import json
import os
import subprocess
import sys
import time

USERS = {"containerID": 0, "hostID": 1_900_000_000, "size": 65536}

libc = ctypes.CDLL(None, use_errno=True)

SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442
OPEN_TREE_CLONE, AT_EMPTY_PATH, AT_FDCWD = 1, 0x1000, -100
MOVE_MOUNT_F_EMPTY_PATH, MOUNT_ATTR_IDMAP = 4, 0x100000
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_SLAVE = 0x20000, 1 << 14, 1 << 18, 1 << 19


class MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clr", "propagation", "userns_fd")]


def check(result, what):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def enter_mount_namespace():
    check(libc.unshare(CLONE_NEWNS), "unshare")
    check(libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None), "make / a slave")
    # crun refuses hosts that mount cgroup2 beside cgroup v1.
    if os.path.ismount("/sys/fs/cgroup/unified"):
        check(libc.umount2(b"/sys/fs/cgroup/unified", 2), "umount unified")


def id_mapped(image, target, base, size):
    holder = subprocess.Popen(["unshare", "-U", "sh", "-c", "echo ready; read wait"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    for kind in ("uid_map", "gid_map"):
        with open(f"/proc/{holder.pid}/{kind}", "w") as f:
            f.write(f"0 {base} {size}")
    userns = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    tree = check(libc.syscall(SYS_OPEN_TREE, AT_FDCWD, image.encode(), OPEN_TREE_CLONE | os.O_CLOEXEC),
                 "open_tree")
    attr = MountAttr(MOUNT_ATTR_IDMAP, 0, 0, userns)
    check(libc.syscall(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, ctypes.byref(attr),
                       ctypes.sizeof(attr)), "mount_setattr")
    os.makedirs(target, exist_ok=True)
    check(libc.syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, target.encode(), MOVE_MOUNT_F_EMPTY_PATH),
          "move_mount")
    os.close(tree)
    os.close(userns)
    holder.stdin.close()
    holder.wait()


def one(config, lower, work, number, program):
    base = USERS["hostID"]
    home = os.path.join(work, str(number))
    begin = time.monotonic()
    for name in ("upper", "work", "rootfs"):
        os.makedirs(os.path.join(home, name))
        os.chown(os.path.join(home, name), base, base)
    rootfs = os.path.join(home, "rootfs")
    options = f"lowerdir={lower},upperdir={home}/upper,workdir={home}/work"
    check(libc.mount(b"overlay", rootfs.encode(), b"overlay", 0, options.encode()), "mount overlay")
    name = f"atoll-bench-{os.getpid()}-{number}"
    config["root"] = {"path": rootfs, "readonly": False}
    config["linux"]["cgroupsPath"] = f"/atoll-bench/{name}"
    config["process"]["args"] = ["/bin/bash", "-c", "echo hi; exec sleep 1000"]
    config["process"]["terminal"] = False
    with open(os.path.join(home, "config.json"), "w") as f:
        json.dump(config, f)
    crun = [program, "--root", os.path.join(work, "crun")]
    output, write_end = os.pipe()
    with open(os.path.join(home, "log"), "wb") as log:
        child = subprocess.Popen(crun + ["run", "-d", "--bundle", home, name],
                                 stdin=subprocess.DEVNULL, stdout=write_end, stderr=log)
    os.close(write_end)
    got = os.read(output, 100)
    taken = (time.monotonic() - begin) * 1000
    os.close(output)
    try:
        child.wait(timeout=1)
    except subprocess.TimeoutExpired:
        pass  # one that is watched ends with what it began
    subprocess.run(crun + ["delete", "-f", name], check=False, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    child.wait()
    libc.umount2(rootfs.encode(), 2)
    if got != b"hi\n":
        with open(os.path.join(home, "log")) as log:
            raise RuntimeError(f"crun: {log.read()}")
    return taken


def main():
    config_path, image, work, program = (sys.argv[1:] + ["crun"])[:4]
    with open(config_path) as f:
        config = json.load(f)
    os.makedirs(work, exist_ok=True)
    os.chmod(work, 0o711)
    enter_mount_namespace()
    # The user namespace of the sandbox has gone with it; crun makes one of its own.
    linux = config["linux"]
    linux["namespaces"] = [{"type": one["type"]} for one in linux["namespaces"]]
    linux["uidMappings"] = linux["gidMappings"] = [USERS]
    lower = os.path.join(work, "lower")
    id_mapped(image, lower, USERS["hostID"], USERS["size"])
    print(json.dumps({"ready": True}), flush=True)
    try:
        for number, _ in enumerate(sys.stdin):
            print(json.dumps({"ms": one(config, lower, work, number, program)}), flush=True)
    finally:
        for parent in glob.glob("/sys/fs/cgroup/atoll-bench") + glob.glob("/sys/fs/cgroup/*/atoll-bench"):
            try:
                os.rmdir(parent)
            except OSError:
                pass


main()
