// SPDX-License-Identifier: Apache-2.0
// What a program inside a sandbox must not see, reach or break.

import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';

const CAP_NET_ADMIN = 12n;
const CAP_SYS_MODULE = 16n;
const CAP_SYS_RAWIO = 17n;
const CAP_SYS_PTRACE = 19n;
const CAP_SYS_ADMIN = 21n;

describe('isolation', () => {
  let daemon;
  let one;
  let two;
  let neighbour;  // a process of the host

  before(async () => {
    daemon = await Daemon.start();
    one = daemon.sandbox('one');
    two = daemon.sandbox('two');
    await Promise.all([one.create(), two.create()]);
    neighbour = spawn('sleep', ['54321'], {stdio: 'ignore'});
  });
  after(async () => {
    neighbour?.kill('SIGKILL');
    await daemon?.cleanup();
  });

  it('shows no process of the host or of another sandbox', async () => {
    await one.background('exec sleep 98765');
    const seen = await two.sh('ps -eo args=');
    assert.doesNotMatch(seen, /sleep 98765|sleep 54321|atoll serve/);
    const pids = (await two.sh('ls /proc | grep -c "^[0-9]"')).trim();
    assert.ok(Number(pids) < 20, `${pids} processes`);
  });

  it('shows no file of another sandbox, and none of the daemon', async () => {
    await one.sh('echo mine > /workspace/secret-of-one');
    assert.equal(await two.sh('ls /workspace'), '');
    const find = 'find / -xdev \\( -name secret-of-one -o -name agent.sock -o -name atoll.db ' +
        '-o -name atoll.toml -o -name .dev.vars \\) 2>/dev/null; true';
    assert.equal(await two.sh(find), '');
    for (const dir of [daemon.stateDir, daemon.runDir, daemon.dir]) {
      const {exitCode} = await two.run(`ls ${dir}`);
      assert.notEqual(exitCode, 0, dir);
    }
    assert.notEqual((await two.run('cat /.atoll/agent > /dev/null && echo x >> /.atoll/agent')).exitCode, 0);
  });

  it('shows no socket of the host', async () => {
    const unix = await two.sh('cat /proc/net/unix');
    assert.doesNotMatch(unix, /agent\.sock|systemd|dbus|docker|containerd/);
    await one.background('python3 -m http.server 7777 --bind 127.0.0.1');
    await eventually('a server inside one', async () =>
      (await one.run('python3 -c "import socket; socket.create_connection((\'127.0.0.1\', 7777), 2)"')).exitCode === 0);
    const other = await two.run('python3 -c "import socket; socket.create_connection((\'127.0.0.1\', 7777), 2)"');
    assert.notEqual(other.exitCode, 0);
  });

  it('leaks no descriptor into programs', async () => {
    const fds = await two.sh('ls -l /proc/self/fd | tail -n +2 | sed "s/.* -> //"');
    for (const target of fds.trim().split('\n')) {
      assert.match(target, /^(pipe:|\/dev\/null|\/proc\/\d+\/fd|socket:)/, fds);
    }
    assert.ok(fds.trim().split('\n').length <= 4, fds);
  });

  it('has no way into PID 1', async () => {
    const got = await two.python(`
import ctypes, errno, json, os
libc = ctypes.CDLL(None, use_errno=True)
out = {}
def call(name, *args):
    ctypes.set_errno(0)
    result = getattr(libc, name)(*args) if isinstance(name, str) else libc.syscall(name, *args)
    return result, errno.errorcode.get(ctypes.get_errno(), '')
out['attach'] = call('ptrace', 16, 1, None, None)
out['seize'] = call('ptrace', 0x4206, 1, None, None)
fd, why = call(434, 1, 0)
out['pidfd'] = (fd, why)
out['getfd'] = [call(438, fd, n, 0)[0] for n in range(0, 8)] if fd >= 0 else []
buffer = ctypes.create_string_buffer(16)
class Iov(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
local = Iov(ctypes.cast(buffer, ctypes.c_void_p), 16)
remote = Iov(0x400000, 16)
out['vm_readv'] = call(310, 1, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
for name in ('mem', 'environ', 'maps', 'auxv', 'syscall', 'stack'):
    try:
        with open('/proc/1/' + name, 'rb') as f:
            out[name] = len(f.read(64))
    except OSError as e:
        out[name] = -1
try:
    with open('/proc/1/mem', 'r+b', buffering=0) as f:
        out['write'] = 1
except OSError as e:
    out['write'] = -1
# The numbers in fd can be listed; what matters is that nothing behind them can be reached.
try:
    fds = os.listdir('/proc/1/fd')
except OSError:
    fds = []
out['fd'] = -1
for fd in fds:
    try:
        os.readlink('/proc/1/fd/' + fd)
        out['fd'] = 1
    except OSError:
        pass
    try:
        os.close(os.open('/proc/1/fd/' + fd, os.O_RDONLY))
        out['fd'] = 1
    except OSError:
        pass
for name in ('map_files', 'root', 'cwd'):
    try:
        out[name] = len(os.listdir('/proc/1/' + name))
    except OSError:
        out[name] = -1
try:
    os.readlink('/proc/1/exe')
    out['exe'] = 1
except OSError:
    out['exe'] = -1
print(json.dumps(out))
`);
    for (const key of ['attach', 'seize', 'vm_readv']) assert.equal(got[key][0], -1, `${key}: ${got[key]}`);
    for (const fd of got.getfd) assert.equal(fd, -1);
    for (const key of ['mem', 'environ', 'maps', 'auxv', 'write', 'fd', 'map_files', 'root', 'cwd', 'exe']) {
      assert.ok(got[key] === -1 || (got[key] === 0 && key !== 'write'), `${key}: ${got[key]}`);
    }
    assert.equal(await two.sh('kill -9 1; sleep 0.1; echo alive'), 'alive\n');
  });

  it('cannot take limits from PID 1', async () => {
    const answer = await two.run("python3 -c 'import resource; resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3))'");
    assert.notEqual(answer.exitCode, 0);
    assert.equal(await two.sh('ulimit -n 64; ulimit -n'), '64\n');
  });

  it('has few capabilities, a seccomp filter and no new privileges', async () => {
    const status = await two.sh('cat /proc/self/status');
    for (const set of ['CapEff', 'CapPrm', 'CapBnd', 'CapInh', 'CapAmb']) {
      const bits = BigInt('0x' + status.match(new RegExp(`${set}:\\s+([0-9a-f]+)`))[1]);
      for (const cap of [CAP_NET_ADMIN, CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_PTRACE, CAP_SYS_ADMIN]) {
        assert.equal(bits >> cap & 1n, 0n, `${set} holds capability ${cap}`);
      }
    }
    assert.match(status, /NoNewPrivs:\s+1/);
    assert.match(status, /Seccomp:\s+2/);
    for (const command of ['mount -t tmpfs none /mnt', 'umount /proc', 'mknod /tmp/sda b 8 0 && cat /tmp/sda',
                           'dmesg', 'nsenter -t 1 -m true', 'chroot /proc/1/root true',
                           'echo 1 > /proc/sys/kernel/sysrq', 'echo b > /proc/sysrq-trigger',
                           'echo x > /sys/fs/cgroup/cgroup.procs', 'swapoff -a && mkswap /dev/sda',
                           'ip link add dummy0 type dummy', 'nft flush ruleset', 'ip route flush table local']) {
      assert.notEqual((await two.run(command)).exitCode, 0, command);
    }
  });

  it('masks what tells about the host', async () => {
    for (const file of ['/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/sched_debug']) {
      const {stdout} = await two.run(`head -c 16 ${file} 2>/dev/null | wc -c`);
      assert.equal(stdout.trim(), '0', file);
    }
    assert.equal(await two.sh('ls /sys/firmware 2>/dev/null | wc -l'), '0\n');
    const devices = (await two.sh('ls /dev')).trim().split('\n');
    for (const name of devices) assert.doesNotMatch(name, /^(sd|nvme|vd|mem$|kmsg$|kvm$|fuse$|loop)/);
    // Device files work: the fresh /dev has the usual ones.
    await two.sh('head -c 1 /dev/urandom > /dev/null && : > /dev/null && test -e /dev/tty && test -d /dev/shm');
  });

  it('keeps a fork bomb to its own sandbox', async () => {
    const bomb = daemon.sandbox('bomb');
    await bomb.create({pids: 64});
    const running = bomb.run('f() { f | f & }; f; sleep 30', {timeout: 3000});
    for (let i = 0; i < 5; i++) assert.equal(await two.sh('echo fine'), 'fine\n');
    const {last} = await running;
    assert.equal(last.type, 'complete');
    await bomb.run('kill -9 -1');
    await eventually('the bombed sandbox works again', async () => {
      try {
        return (await bomb.run('echo ok')).stdout === 'ok\n';
      } catch {
        return false;
      }
    });
    assert.equal((await bomb.delete()).status, 204);
  });

  it('deletes a sandbox in the middle of a fork bomb', async () => {
    const bomb = daemon.sandbox('bomb');
    await bomb.create({pids: 64});
    const started = await bomb.start('f() { f | f & }; f; sleep 60');
    for await (const event of started.events) if (event.type === 'start') break;
    assert.equal((await bomb.delete()).status, 204);
    started.close();
    assert.equal(await two.sh('echo fine'), 'fine\n');
  });

  it('keeps a memory hog to its own sandbox', async () => {
    const hog = daemon.sandbox('hog');
    await hog.create({memory: '128M'});
    const {exitCode} = await hog.run('python3 -c "x = bytearray(1 << 30); print(len(x))"');
    assert.notEqual(exitCode, 0);
    assert.equal(await two.sh('echo fine'), 'fine\n');
    assert.equal(await hog.sh('echo recovered'), 'recovered\n');
    assert.equal((await hog.delete()).status, 204);
  });

  it('gives neither snapshot nor restore a way out through symlinks', async () => {
    const canary = path.join(daemon.dir, 'canary');
    fs.mkdirSync(canary);
    fs.writeFileSync(path.join(canary, 'file'), 'untouched');
    const passwd = fs.readFileSync('/etc/passwd', 'utf8');
    await one.sh(`mkdir -p /workspace/d/sub && echo x > /workspace/d/sub/file && cd /workspace/d &&
      ln -s ${canary} out && ln -s / root && ln -s ../../../../../../../etc/passwd deep && ln -s /proc/1/root p`);
    const {snapshotId} = await one.snapshot('/workspace/d');
    // The directory, and then its parent, become symlinks before the restore.
    await one.sh(`rm -rf /workspace/d && ln -s /etc /workspace/d && md5sum /etc/passwd > /tmp/sum`);
    const first = await daemon.request('one', {method: 'POST', path: `/restore/${snapshotId}`});
    assert.equal(await one.sh('md5sum -c --quiet /tmp/sum; ls -d /etc/sub 2>/dev/null; true'), '');
    if (first.status === 200) {
      assert.equal(await one.sh('cat /workspace/d/sub/file; readlink /workspace/d/out'), `x\n${canary}\n`);
    }
    await one.sh('rm -rf /workspace/d && mkdir -p /workspace/d/sub && rm -rf /workspace/d/sub && ' +
                 'ln -s /root /workspace/d/sub');
    await one.restore(snapshotId);
    assert.equal(await one.sh('cat /workspace/d/sub/file; ls /root/file 2>/dev/null; true'), 'x\n');
    assert.equal(fs.readFileSync('/etc/passwd', 'utf8'), passwd);
    assert.deepEqual(fs.readdirSync(canary), ['file']);
    assert.equal(fs.readFileSync(path.join(canary, 'file'), 'utf8'), 'untouched');
    assert.equal((await one.sh('test -L /workspace/d/root && echo link')), 'link\n');
  });
});
