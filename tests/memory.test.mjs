// SPDX-License-Identifier: Apache-2.0
// What runs in a sandbox that is stopped with its memory goes on at the next start, where it was; and
// a sandbox whose memory cannot be used starts all the same, with its files.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, preparedState} from './support/daemon.mjs';
import {SmallStore} from './support/stores.mjs';

const criu = path.join(preparedState, 'criu', 'criu');
const skip = fs.existsSync(criu) ? false : "there is no CRIU: 'make criu' builds it";

const counter = 'i=0; while :; do i=$((i+1)); echo $i > /dev/shm/n; sleep 0.02; done';

async function call(daemon, method, target, json) {
  const answer = await daemon.request('', {method, path: `/v1/sandboxes/${target}`, json, limitMs: 120_000});
  assert.ok(answer.status < 300, `${method} ${target}: ${answer.status} ${answer.text}`);
  return answer.text ? answer.json() : null;
}
async function stop(daemon, id) {
  const stopped = await call(daemon, 'POST', `${id}/stop`, {keepMemory: true});
  assert.equal(stopped.memoryKept, true, JSON.stringify(stopped));
}
const kept = (daemon) => {
  const dir = path.join(daemon.stateDir, 'memory');
  return fs.existsSync(dir) ? fs.readdirSync(dir) : [];
};
const number = async (box) => Number(await box.sh('cat /dev/shm/n'));
const pidOf = async (box, what) => Number(await box.sh(`pgrep -o -f '${what}' || true`));

describe('a sandbox that is stopped with its memory', {skip}, () => {
  let daemon;
  let box;
  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('demo');
    await box.create({opencode: false});
  });
  after(async () => { await daemon?.cleanup(); });

  it('goes on: background processes, shells, terminals, what was in memory', async () => {
    const started = await call(daemon, 'POST', 'demo/processes', {command: counter});
    const session = await call(daemon, 'POST', 'demo/sessions', {});
    const inSession = (command) =>
      call(daemon, 'POST', `demo/exec`, {command, session: session.id});
    await inSession('cd /tmp; secret=of-this-shell; twice() { echo $1$1; }');
    await eventually('it counts', async () => await number(box) > 5);

    await stop(daemon, 'demo');
    assert.equal((await daemon.list())[0].state, 'stopped');
    assert.equal(kept(daemon).length, 1);
    const before = await sleep(500).then(() => number(box));
    assert.ok(before > 5, 'it did not begin anew');
    await eventually('it goes on', async () => await number(box) > before);
    const process = await call(daemon, 'GET', `demo/processes/${started.id}`);
    assert.equal(process.status, 'running', JSON.stringify(process));
    assert.equal(process.pid, started.pid);
    const said = await inSession('pwd; echo $secret; twice ab');
    assert.equal(said.stdout, '/tmp\nof-this-shell\nabab\n');
    assert.deepEqual(kept(daemon), [], 'one start uses it up');
  });

  it('has its services go on, and does not start them a second time', async () => {
    const started = await call(daemon, 'POST', 'demo/processes', {
      id: 'svc', command: 'echo begun; exec sleep 4321', service: true});
    const text = async () => (await call(daemon, 'GET', 'demo/processes/svc/logs')).chunks.map(({data}) => data).join('');
    await eventually('it has begun', async () => await text() === 'begun\n');
    await stop(daemon, 'demo');
    const service = await call(daemon, 'GET', 'demo/processes/svc');
    assert.deepEqual([service.status, service.pid, service.service], ['running', started.pid, true]);
    assert.equal(await text(), 'begun\n');
    await call(daemon, 'DELETE', 'demo/processes/svc');
  });

  it('more than once, by a new daemon, from sleep, and out again to the network', async () => {
    const pid = await pidOf(box, '/dev/shm/n');
    await stop(daemon, 'demo');
    await daemon.restart();
    assert.equal(await pidOf(box, '/dev/shm/n'), pid);
    await call(daemon, 'POST', 'demo/sleep', {force: true});
    await stop(daemon, 'demo');
    await stop(daemon, 'demo');
    assert.equal(await pidOf(box, '/dev/shm/n'), pid);
    assert.equal(await box.sh('hostname; id -u; cat /proc/sys/net/ipv4/ip_unprivileged_port_start'), 'demo\n0\n0\n');
    assert.match(await box.sh('ip -o addr 2>/dev/null || cat /proc/net/dev'), /lo/);
  });

  it('ends who has an exec running, as any stop does, and closes connections', async () => {
    const running = box.run('echo here; sleep 1000; echo not here');
    await eventually('it runs', () => pidOf(box, 'sleep 1000').then(Boolean));
    await stop(daemon, 'demo');
    await running.catch(() => {});
    assert.equal(await pidOf(box, 'sleep 100[0]'), 0);
  });

  it('is stopped without it when nobody asks', async () => {
    await box.sh('echo file > /workspace/file');
    await call(daemon, 'POST', 'demo/stop');
    assert.deepEqual(kept(daemon), []);
    assert.equal(await box.sh('cat /workspace/file; cat /dev/shm/n 2>/dev/null || echo gone'), 'file\ngone\n');
  });

  it('starts with its files when its memory is broken', async () => {
    await call(daemon, 'POST', 'demo/processes', {command: counter});
    await eventually('it counts', async () => await number(box).catch(() => 0) > 1);
    await stop(daemon, 'demo');
    const [iid] = kept(daemon);
    const images = path.join(daemon.stateDir, 'memory', iid, 'images');
    for (const name of fs.readdirSync(images)) {
      if (name.startsWith('core-')) fs.writeFileSync(path.join(images, name), 'no core');
    }
    assert.equal(await box.sh('cat /workspace/file; cat /dev/shm/n 2>/dev/null || echo gone'), 'file\ngone\n');
    assert.deepEqual(kept(daemon), []);
  });

  it('starts with what was saved when its files are gone, then and ever after', async () => {
    await call(daemon, 'POST', 'demo/processes', {command: counter});
    await eventually('it counts', async () => await number(box).catch(() => 0) > 1);
    await stop(daemon, 'demo');
    const [iid] = kept(daemon);
    fs.rmSync(path.join(daemon.stateDir, 'sandboxes', iid), {recursive: true});
    const look = 'cat /workspace/file; cat /dev/shm/n 2>/dev/null || echo gone';
    assert.equal(await box.sh(look), 'file\ngone\n');
    assert.deepEqual(kept(daemon), [], 'what ran with other files is of no use');
    await call(daemon, 'POST', 'demo/stop');
    assert.equal(await box.sh(look), 'file\ngone\n');
  });

  it('leaves nothing when it is deleted', async () => {
    await stop(daemon, 'demo');
    assert.equal(kept(daemon).length, 1);
    await box.delete();
    assert.deepEqual(kept(daemon), []);
  });

  // The host's view, as somebody inside may have guessed it.
  const namesOfLeaves = (box) => {
    const [iid] = fs.readdirSync(path.join(daemon.runDir, 'sandboxes'));
    const {pid} = JSON.parse(fs.readFileSync(path.join(daemon.runDir, 'crun', iid, 'status')));
    const fds = `/proc/${pid}/fd`;
    const leaves = fs.readdirSync(fds).filter((number) => fs.readlinkSync(`${fds}/${number}`).endsWith('/agent/cgroup.procs'));
    assert.ok(leaves.length > 0, box.id);
    return leaves.map((number) => {
      const mount = fs.readFileSync(`/proc/${pid}/fdinfo/${number}`, 'utf8').match(/mnt_id:\s*(\d+)/)[1];
      return `ile[${Number(mount).toString(16)}:${fs.statSync(`${fds}/${number}`, {bigint: true}).ino.toString(16)}]`;
    });
  };

  it('gets no file of the host for one that has its name', async () => {
    const other = daemon.sandbox('names');
    await other.create({opencode: false});
    const [name] = namesOfLeaves(other);
    await other.sh(`touch '/${name}'; chmod 200 '/${name}'`);
    await call(daemon, 'POST', 'names/processes', {command: `exec sleep 87654 > '/${name}'`});
    await eventually('it has it open', () => pidOf(other, 'sleep 8765[4]').then(Boolean));
    const stopped = await call(daemon, 'POST', 'names/stop', {keepMemory: true});
    assert.equal(stopped.memoryKept, false);
    assert.match(JSON.stringify(stopped), /stands for one outside/);
    assert.deepEqual(kept(daemon), []);
    await other.delete();
  });

  it('reaches no file of the host by what it has removed', async () => {
    const outside = path.join(daemon.dir, 'outside');
    fs.mkdirSync(outside);
    fs.writeFileSync(path.join(outside, 'file'), 'precious', {mode: 0o600});
    const other = daemon.sandbox('ghosts');
    await other.create({opencode: false});
    await other.sh('mkdir -p /workspace/dir/file');
    await call(daemon, 'POST', 'ghosts/processes', {command: 'exec sleep 76543 < /workspace/dir/file'});
    await eventually('it has it open', () => pidOf(other, 'sleep 7654[3]').then(Boolean));
    await other.sh(`rm -r /workspace/dir; ln -s ${outside} /workspace/dir`);
    const stopped = await call(daemon, 'POST', 'ghosts/stop', {keepMemory: true});
    assert.equal(await other.sh('echo works'), 'works\n');
    assert.deepEqual(fs.readdirSync(outside), ['file']);
    assert.equal(stopped.memoryKept, false);
    assert.match(JSON.stringify(stopped), /was removed, which is not restored/);
    await other.delete();
  });

  it('takes no more of the disk than it may have of memory, whatever its programs share', async () => {
    const other = daemon.sandbox('shares');
    await other.create({opencode: false, memory: '128M'});
    await other.write('/root/share.py', `
import os, time
shared = os.urandom(40 << 20)
for _ in range(12):
    if os.fork() == 0: break
open('/dev/shm/there', 'a').write('x')
time.sleep(1000)
`);
    await call(daemon, 'POST', 'shares/processes', {command: 'exec python3 /root/share.py'});
    await eventually('all are there', async () => await other.sh('wc -c < /dev/shm/there || true') === '13\n');
    const stopped = await call(daemon, 'POST', 'shares/stop', {keepMemory: true});
    assert.equal(stopped.memoryKept, false);
    assert.match(JSON.stringify(stopped), /takes more than 192 MiB/);
    assert.deepEqual(kept(daemon), []);
    await other.delete();
  });

  it('refuses what is no wish', async () => {
    await daemon.sandbox('odd').create({opencode: false});
    for (const keepMemory of ['yes', 1, {}]) {
      const answer = await daemon.request('', {
        method: 'POST', path: '/v1/sandboxes/odd/stop', json: {keepMemory},
      });
      assert.equal(answer.status, 400, answer.text);
    }
    assert.equal((await daemon.list()).find((one) => one.id === 'odd').state, 'running');
  });
});

describe('one that could not be saved', {skip}, () => {
  let daemon;
  let store;
  before(async () => {
    store = new SmallStore();
    daemon = await Daemon.start({sections: {snapshots: {store: store.dir}}});
  });
  after(async () => {
    await daemon?.cleanup();
    store?.remove();
  });

  it('still has its memory when it has been saved later', async () => {
    const box = daemon.sandbox('large');
    await box.create({opencode: false, snapshots: {paths: ['/workspace']}});
    const started = await call(daemon, 'POST', 'large/processes', {command: counter});
    await box.sh('head -c 20000000 /dev/urandom > /workspace/noise');
    await eventually('it counts', async () => await number(box) > 5);
    const stopped = await call(daemon, 'POST', 'large/stop', {keepMemory: true});
    assert.equal(stopped.saved, false, JSON.stringify(stopped));
    assert.equal(stopped.memoryKept, true, JSON.stringify(stopped));
    store.grow();
    const info = async () => (await daemon.list())[0];
    await eventually('it is saved', async () => !(await info()).unsaved, 90_000);
    await eventually('it is stopped again', async () => (await info()).state === 'stopped');
    assert.equal(kept(daemon).length, 1);
    const before = await number(box);
    assert.ok(before > 5, 'it did not begin anew');
    await eventually('it goes on', async () => await number(box) > before);
    const process = await call(daemon, 'GET', `large/processes/${started.id}`);
    assert.equal(process.status, 'running', JSON.stringify(process));
    assert.equal(process.pid, started.pid);
  });
});

describe('one that nobody uses', {skip}, () => {
  it('is stopped with its memory where that is configured', async () => {
    const daemon = await Daemon.start({sections: {sleep: {keep_memory: true, after: '1s', stop_after: '1s'}}});
    try {
      const box = daemon.sandbox('idle');
      await box.create({opencode: false});
      await call(daemon, 'POST', 'idle/processes', {command: 'exec sleep 98765'});
      const pid = await pidOf(box, 'sleep 9876[5]');
      assert.ok(pid > 0);
      await eventually('it is stopped', async () => (await daemon.list())[0].state === 'stopped', 60_000);
      assert.equal(await pidOf(box, 'sleep 9876[5]'), pid);
    } finally {
      await daemon.cleanup();
    }
  });
});

describe('OpenCode', {skip}, () => {
  it('goes on after a stop with its memory, the same process with the same sessions', async () => {
    const daemon = await Daemon.start();
    try {
      const box = daemon.sandbox('code');
      await box.create({opencode: true});
      const session = (await daemon.request('code', {method: 'POST', path: '/session', json: {}})).json();
      const pid = await pidOf(box, 'opencode serve');
      assert.ok(pid > 0);
      await stop(daemon, 'code');
      const answer = await daemon.request('code', {path: '/session', limitMs: 60_000});
      assert.deepEqual(answer.json().map((one) => one.id), [session.id]);
      assert.equal(await pidOf(box, 'opencode serve'), pid);
    } finally {
      await daemon.cleanup();
    }
  });
});
