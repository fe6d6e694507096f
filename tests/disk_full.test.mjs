// SPDX-License-Identifier: Apache-2.0
// Sandboxes with a limit of disk whose sum the host's disk does not have: what a program could write is kept, what has
// no room fails in its hands, and everybody else lives on.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {eventually} from './support/daemon.mjs';
import {SmallDisk} from './support/small_disk.mjs';

const MB = 1 << 20;
const sections = {sleep: {after: 'off', stop_after: 'off'}, limits: {disk_reserve: '48M'}};

// Files of 4 MB until there is no room, as fast as the memory takes them. What is said to be written is in `list`.
const fill = (list) => `cd /workspace && for i in $(seq 100000); do
  yes "$HOSTNAME $i" | head -c 4M > ${list}-$i || { rm -f ${list}-$i; break; }
  echo $i >> ${list}
done; test $i -gt 3`;
const check = (list) => `cd /workspace && n=0 && for i in $(cat ${list}); do
  yes "$HOSTNAME $i" | head -c 4M | cmp - ${list}-$i || exit 1; n=$((n + 1));
done; echo $n`;
const CLEAR = 'rm -rf /workspace/* && sync -f /workspace';

function loopsOf(dir) {
  return fs.readdirSync('/sys/block').filter((name) => {
    try {
      return fs.readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').startsWith(`${dir}/sandboxes/`);
    } catch {
      return false;
    }
  });
}

describe('a disk that has less than its sandboxes may use', () => {
  let disk;
  const boxes = [];

  before(async () => {
    disk = await SmallDisk.start({size: '640M', sections});
    for (const id of ['one', 'two']) {
      const box = disk.daemon.sandbox(id);
      await box.create({disk: '2G', snapshots: {onStop: false}});
      boxes.push(box);
    }
  });
  after(async () => { await disk?.stop(); });

  const left = () => {
    const {bavail, bsize} = fs.statfsSync(disk.dir);
    return bavail * bsize;
  };
  /** No write was refused when it was too late. */
  const assertUnharmed = () => {
    for (const name of loopsOf(disk.dir)) {
      assert.equal(fs.readFileSync(`/sys/fs/ext4/${name}/errors_count`, 'utf8').trim(), '0');
    }
  };
  const stop = async (id) => {
    const answer = await disk.daemon.request('', {method: 'POST', path: `/v1/sandboxes/${id}/stop`, json: {}, limitMs: 100_000});
    assert.equal(answer.status, 200, answer.text);
  };
  /** What they hold, read from the disk again. */
  const assertKept = async (list) => {
    spawnSync('sync', ['-f', disk.dir]);
    for (const box of boxes) await stop(box.id);
    await eventually('the images are in nobody\'s use', () => loopsOf(disk.dir).length === 0);
    for (const entry of fs.readdirSync(path.join(disk.dir, 'sandboxes'))) {
      const image = path.join(disk.dir, 'sandboxes', entry, 'disk.img');
      if (!fs.existsSync(image)) continue;
      const checked = spawnSync('e2fsck', ['-f', '-n', image], {encoding: 'utf8'});
      assert.equal(checked.status, 0, checked.stdout + checked.stderr);
    }
    let files = 0;
    for (const box of boxes) files += Number(await box.sh(check(list)));
    return files;
  };

  it('keeps what was written, and refuses the rest at once', async () => {
    const ended = await Promise.all(boxes.map((box) => box.run(fill('list'))));
    for (const {exitCode, stderr} of ended) {
      assert.equal(exitCode, 0, stderr);
      assert.match(stderr, /No space left on device/);
      assert.doesNotMatch(stderr, /Input\/output error|Read-only/);
    }
    await Promise.all(boxes.map((box) => box.run('sync -f /workspace').then(({exitCode, stderr}) => assert.equal(exitCode, 0, stderr))));
    assertUnharmed();
    assert.ok(left() > 8 * MB, `${left()} bytes are left to the host`);
    const files = await assertKept('list');
    assert.ok(files * 4 * MB > 300 * MB, `${files} files: the disk was used`);
  });

  it('takes in nobody meanwhile, and who is there lives on', async () => {
    await boxes[0].run(fill('more'));
    await eventually('a create is refused', async () => {
      const answer = await disk.daemon.sandbox('late').post('/create', {opencode: false, disk: '64M'});
      if (answer.status === 200) {
        await disk.daemon.sandbox('late').delete();
        return false;
      }
      assert.equal(answer.status, 503, answer.text);
      assert.equal(answer.json().code, 'CAPACITY_EXCEEDED');
      assert.ok(answer.headers['retry-after']);
      return true;
    });
    for (const box of boxes) {
      assert.equal(await box.sh('cd /workspace && head -n 1 list && cat list-1 | wc -c'), `1\n${4 * MB}\n`);
      await box.sh('cd /workspace && echo changed | dd of=list-1 conv=notrunc status=none && sync list-1 && rm list-1');
    }
  });

  it('gives room that became free to whoever wants it', async () => {
    await boxes[0].sh(CLEAR);
    await boxes[1].sh(CLEAR);
    await eventually('there is room', () => left() > 300 * MB);
    const {exitCode, stderr} = await boxes[1].run('cd /workspace && sleep 1; for i in $(seq 40); do yes a | head -c 4M > $i || exit 1; done; sync -f .');
    assert.equal(exitCode, 0, stderr);
    await boxes[1].sh(CLEAR);
  });

  it('does so without a daemon, and with a new one', async () => {
    await Promise.all(boxes.map((box) => box.background(`${fill('list')}; touch /dev/shm/done`)));
    await disk.daemon.kill9();
    await eventually('the disk has no room', async () => {
      const before = left();
      await new Promise((resolve) => setTimeout(resolve, 1000));
      return before === left();
    });
    await disk.daemon.launch();
    for (const box of boxes) await eventually('it ends', async () => (await box.run('test -e /dev/shm/done')).exitCode === 0);
    assertUnharmed();
    assert.ok(await assertKept('list') > 0);
    for (const box of boxes) await box.sh(CLEAR);
  });

  it('holds beside a sandbox without a limit', async () => {
    const free = disk.daemon.sandbox('free');
    await free.create({disk: 0, snapshots: {onStop: false}});
    const filled = boxes[0].run(fill('list'));
    await free.run('head -c 150M /dev/zero > /workspace/big; sync /workspace/big');
    const {stderr} = await filled;
    assert.match(stderr, /No space left on device/);
    await boxes[0].sh('sync -f /workspace');
    assertUnharmed();
    assert.ok(await assertKept('list') > 0);
    assert.equal((await free.delete()).status, 204);
  });

  it('is clean in the end', async () => {
    for (const box of boxes) assert.equal((await box.delete()).status, 204);
    disk.daemon.assertNoLeaks();
  });
});

describe('promises of disk', () => {
  it('are counted where a factor says so: who comes after them is refused, or waits', async () => {
    const disk = await SmallDisk.start({size: '512M', sections: {...sections, limits: {disk_overcommit: 2}}});
    try {
      const create = (id, more) => disk.daemon.sandbox(id).post('/create', {opencode: false, disk: '400M', ...more}, {limitMs: 60_000});
      assert.equal((await create('one')).status, 200);
      assert.equal((await create('two')).status, 200);
      const refused = await create('three');
      assert.equal(refused.status, 503, refused.text);
      assert.equal(refused.json().code, 'CAPACITY_EXCEEDED');
      assert.equal((await create('free', {disk: 0})).status, 200, 'it is promised nothing');
      const waits = create('three', {wait: 30});
      assert.equal((await disk.daemon.sandbox('one').delete()).status, 204);
      assert.equal((await waits).status, 200);
    } finally {
      await disk.stop();
    }
  });
});

describe('an image whose file system has met errors', () => {
  it('is mended before it is used again', async () => {
    const disk = await SmallDisk.start({size: '512M', sections});
    try {
      const box = disk.daemon.sandbox('hurt');
      await box.create({disk: '64M', snapshots: {onStop: false}});
      await box.sh('echo kept > /workspace/file && sync -f /workspace');
      for (const name of loopsOf(disk.dir)) fs.writeFileSync(`/sys/fs/ext4/${name}/trigger_fs_error`, 'by a test');
      assert.notEqual((await box.run('echo more > /workspace/other')).exitCode, 0);
      const answer = await disk.daemon.request('', {method: 'POST', path: '/v1/sandboxes/hurt/stop', json: {}, limitMs: 100_000});
      assert.equal(answer.status, 200, answer.text);
      assert.equal(await box.sh('echo more > /workspace/other && cat /workspace/file /workspace/other'), 'kept\nmore\n');
    } finally {
      await disk.stop();
    }
  });
});
