// SPDX-License-Identifier: Apache-2.0
// A sandbox with a limit of disk: what does not fit fails inside, what fits survives, and nothing of
// it stays behind.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';

const MB = 1024 * 1024;

/** What the sandboxes' layers take on the host, in bytes. */
function bytesOnHost(daemon) {
  let total = 0;
  for (const entry of fs.readdirSync(path.join(daemon.stateDir, 'sandboxes'),
                                     {recursive: true, withFileTypes: true})) {
    if (!entry.isFile()) continue;
    total += fs.lstatSync(path.join(entry.parentPath ?? entry.path, entry.name)).blocks * 512;
  }
  return total;
}

/** The loop devices that show a file of this daemon. */
function loopsOf(daemon) {
  const loops = [];
  for (const name of fs.readdirSync('/sys/block')) {
    if (!name.startsWith('loop')) continue;
    try {
      const file = fs.readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8');
      if (file.startsWith(daemon.stateDir)) loops.push(name);
    } catch {
      // It shows nothing.
    }
  }
  return loops;
}

describe('a limit of disk', () => {
  let daemon;
  let small;

  before(async () => {
    daemon = await Daemon.start();
    small = daemon.sandbox('small');
    await small.create({disk: '64M'});
  });
  after(async () => { await daemon?.cleanup(); });

  it('is told', async () => {
    const info = (await daemon.list()).find((one) => one.id === 'small');
    assert.equal(info.disk, 64 * MB);
    // What programs see of their disk is the limit, not the host's.
    const size = Number((await small.sh('df --output=size -B1 / | tail -1')).trim());
    assert.ok(size <= 64 * MB, `${size}`);
  });

  it('stops a write that goes past it, and the host is not filled', async () => {
    const result = await small.run('head -c 200M /dev/zero > /workspace/big');
    assert.notEqual(result.exitCode, 0);
    assert.match(result.stderr, /No space left on device|Disk quota exceeded/);
    assert.ok(bytesOnHost(daemon) < 80 * MB, `${bytesOnHost(daemon)}`);
    // Outside /workspace it is the same disk.
    assert.notEqual((await small.run('head -c 200M /dev/zero > /root/big')).exitCode, 0);
  });

  it('is what a refused file is told, and what to do about it', async () => {
    const answer = await daemon.request('', {
      method: 'PUT', path: '/v1/sandboxes/small/files/workspace/sent', body: Buffer.alloc(100 * MB)});
    assert.equal(answer.json().code, 'NO_SPACE', answer.text);
    assert.match(answer.json().suggestion, /^Delete files in the sandbox, or make one with a larger "disk"/);
  });

  it('lets work go on once there is room again', async () => {
    await small.sh('rm -f /workspace/big /root/big');
    await small.sh('head -c 20M /dev/urandom > /workspace/kept && sync');
    assert.equal((await small.sh('echo fine')).trim(), 'fine');
  });

  it('does not touch its neighbours', async () => {
    const free = daemon.sandbox('free');
    await free.create();
    await free.sh('head -c 100M /dev/zero > /workspace/big');
    assert.equal((await free.delete()).status, 204);
  });

  it('survives a stop and a start', async () => {
    const sum = await small.sh('sha256sum /workspace/kept');
    const stopped = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/small/stop'});
    assert.equal(stopped.status, 200, stopped.text);
    daemon.assertNoLeaks();
    assert.equal(await small.sh('sha256sum /workspace/kept'), sum);
    assert.notEqual((await small.run('head -c 200M /dev/zero > /workspace/big')).exitCode, 0);
    await small.sh('rm -f /workspace/big');
  });

  it('survives a new daemon, running and stopped', async () => {
    const sum = await small.sh('sha256sum /workspace/kept');
    await daemon.restart();
    assert.equal(await small.sh('sha256sum /workspace/kept'), sum);
    await daemon.kill9();
    await daemon.launch();
    assert.equal(await small.sh('sha256sum /workspace/kept'), sum);
    // The device that the sandbox uses is found again, not shown a second time.
    await daemon.request('', {method: 'POST', path: '/v1/sandboxes/small/stop'});
    assert.equal(await small.sh('sha256sum /workspace/kept'), sum);
    await daemon.request('', {method: 'POST', path: '/v1/sandboxes/small/stop'});
    await daemon.restart();
    assert.equal(await small.sh('sha256sum /workspace/kept'), sum);
    assert.ok(loopsOf(daemon).length <= 1, loopsOf(daemon).join());
  });

  it('is kept when its programs are killed with the agent', async () => {
    const sum = await small.sh('sha256sum /workspace/kept');
    await small.run('kill -9 -1', {timeout: 2000}).catch(() => {});
    assert.equal(await small.sh('sha256sum /workspace/kept'), sum);
  });

  it('holds for what a snapshot brings back', async () => {
    const {snapshotId} = await small.snapshot('/workspace');
    await small.sh('rm /workspace/kept');
    await small.restore(snapshotId);
    assert.equal((await small.sh('stat -c %s /workspace/kept')).trim(), String(20 * MB));

    const large = daemon.sandbox('large');
    await large.create();
    await large.sh('head -c 120M /dev/urandom > /workspace/large');
    const taken = await large.snapshot('/workspace');
    const answer = await daemon.request('', {
      method: 'POST', path: `/v1/sandboxes/small/restore/${taken.snapshotId}`, json: {dir: '/workspace/in'}});
    assert.ok(answer.status >= 400, answer.text);
    assert.ok(bytesOnHost(daemon) < 220 * MB);
    assert.equal((await small.sh('stat -c %s /workspace/kept')).trim(), String(20 * MB),
                 'what was there is untouched');
    assert.equal((await large.delete()).status, 204);
  });

  it('bounds the number of files', async () => {
    const few = daemon.sandbox('few');
    await few.create({disk: '128M', inodes: 600});
    const result = await few.run('cd /workspace && for i in $(seq 3000); do : > file-$i || exit 7; done');
    assert.equal(result.exitCode, 7, result.stderr);
    assert.match(result.stderr, /No space left on device|Disk quota exceeded/);
    const made = Number((await few.sh('ls /workspace | wc -l')).trim());
    assert.ok(made >= 500 && made < 1200, `${made} files`);
    // Without one that it could make, it is stopped and comes back, twice, and has what it had.
    await few.run('cd /tmp && for i in $(seq 3000); do : > more-$i || exit 7; done');
    for (let i = 0; i < 2; i++) {
      const stopped = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/few/stop', json: {}, limitMs: 100_000});
      assert.equal(stopped.status, 200, stopped.text);
      assert.equal(Number((await few.sh('ls /workspace | wc -l')).trim()), made);
      assert.notEqual((await few.run('cd /tmp && for i in $(seq 100); do : > again-$i || exit 7; done')).exitCode, 0);
    }
    await few.sh('rm -rf /workspace/* /tmp/*; echo room > /workspace/file');
    assert.equal((await few.delete()).status, 204);
  });

  it('refuses what makes no sense', async () => {
    for (const body of [{disk: '1M'}, {disk: 'much'}, {disk: -1}, {inodes: 500}, {disk: '64M', inodes: 3},
                        {disk: '64M', inodes: 1e9}, {weight: 0}]) {
      const answer = await daemon.sandbox('odd').post('/create', {opencode: false, ...body});
      assert.equal(answer.status, 400, `${JSON.stringify(body)}: ${answer.text}`);
    }
    assert.ok(!(await daemon.ids()).includes('odd'));
  });

  it('is gone with the sandbox: file and device', async () => {
    assert.equal((await small.delete()).status, 204);
    assert.deepEqual(fs.readdirSync(path.join(daemon.stateDir, 'sandboxes')), []);
    await eventually('the loop device is free', () => loopsOf(daemon).length === 0);
    daemon.assertNoLeaks();
  });
});

describe('a default limit of disk', () => {
  let daemon;
  before(async () => { daemon = await Daemon.start({sections: {limits: {disk: '64M'}}}); });
  after(async () => { await daemon?.cleanup(); });

  it('is of every sandbox whose creator names none', async () => {
    const one = daemon.sandbox('one');
    await one.create();
    assert.notEqual((await one.run('head -c 200M /dev/zero > /workspace/big')).exitCode, 0);
    const other = daemon.sandbox('other');
    await other.create({disk: 0});
    await other.sh('head -c 100M /dev/zero > /workspace/big');
  });

  it('many are made and deleted at once', async () => {
    const ids = Array.from({length: 12}, (_, i) => `many${i}`);
    await Promise.all(ids.map((id) => daemon.sandbox(id).create()));
    const all = await Promise.all(ids.map((id) => daemon.sandbox(id).sh(`echo ${id} > /workspace/x; cat /workspace/x`)));
    assert.deepEqual(all.map((one) => one.trim()), ids);
    await Promise.all(ids.map((id) => daemon.sandbox(id).delete()));
  });
});
