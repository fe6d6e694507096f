// SPDX-License-Identifier: Apache-2.0
// A restored directory equals the one that was kept.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {assertError} from './support/http.mjs';
import {assertSound} from './support/restic.mjs';
import {SmallStore} from './support/stores.mjs';
import {ATTRIBUTES, DESCRIBE, makeTree} from './support/tree.mjs';

describe('snapshots', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('keep');
    await box.create();
    await box.write('/tmp/describe.py', DESCRIBE);
    await box.write('/tmp/attributes.py', ATTRIBUTES);
  });
  after(() => daemon?.cleanup());

  const describeTree = async (dir) => JSON.parse(await box.sh(`python3 /tmp/describe.py ${dir}`));

  it('keeps modes, owners, times, links, attributes and empty directories, and removes what came later', async () => {
    await box.sh(makeTree('/workspace/tree'));
    const before = await describeTree('/workspace/tree');
    assert.equal(before.links.length, 1);
    const attributes = before.rows.flatMap((row) => Object.keys(row.xattrs ?? {}));
    for (const name of ['user.note', 'user.empty', 'user.long', 'user.of-a-directory', 'security.capability',
                        'system.posix_acl_access', 'system.posix_acl_default']) {
      assert.ok(attributes.includes(name), name);
    }
    const kept = await box.snapshot('/workspace/tree', 'whole tree');
    assert.match(kept.snapshotId, /^[0-9a-f]{64}$/);
    assert.equal(kept.dir, '/workspace/tree');
    assert.equal(kept.skipped, 0, JSON.stringify(kept));
    await box.sh(`cd /workspace/tree && echo new > added && mkdir -p newdir/x && echo changed > plain && rm large &&
      rm -rf deep && mkdir nothing-else && chmod 777 private && rm dirlink && mkdir dirlink && echo in > dirlink/in &&
      rm -rf empty && echo 'now a file' > empty`);
    await box.restore(kept.snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), before);
    // Again, onto a tree that is equal already, and onto nothing.
    const again = await box.restore(kept.snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), before);
    assert.equal(again.filesWritten, 0, 'nothing is written that is there');
    await box.sh('rm -rf /workspace/tree');
    await box.restore(kept.snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), before);
    assertSound(daemon);
  });

  it('takes attributes, owners and modes back alone', async () => {
    await box.sh(`rm -rf /workspace/tree; ${makeTree('/workspace/tree')}`);
    const before = await describeTree('/workspace/tree');
    const {snapshotId} = await box.snapshot('/workspace/tree');
    await box.sh(`cd /workspace/tree && python3 -c "
import os
os.setxattr('plain', 'user.note', b'other'); os.setxattr('private', 'user.more', b'1')
os.removexattr('with space', 'user.of-a-directory'); os.removexattr('binary', 'system.posix_acl_access')
os.removexattr('suid', 'security.capability')" && chmod 644 suid && chown 7:8 large deep && touch deep/a readonly`);
    assert.notDeepEqual(await describeTree('/workspace/tree'), before);
    await box.restore(snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), before);
  });

  it('says what it read, what it added, how long it took and how consistent it is', async () => {
    await box.sh('mkdir -p /workspace/count/sub && cd /workspace/count && for i in 1 2 3 4 5; do head -c 100000 /dev/urandom > $i; done; echo s > sub/s; sleep 0.1');
    const first = await box.snapshot('/workspace/count', 'counted');
    assert.equal(first.files, 6);
    assert.equal(first.filesChanged, 6);
    assert.equal(first.bytesTotal, 500_002);
    assert.ok(first.bytesAdded > 500_000 && first.bytesAdded < 520_000, String(first.bytesAdded));
    assert.equal(first.name, 'counted');
    assert.equal(first.trigger, 'manual');
    assert.equal(first.consistency, 'best-effort');
    assert.equal(first.freezeMs, 0);
    assert.ok(first.durationMs > 0);
    assert.ok(Object.keys(first.phases).length > 0);
    for (const ms of Object.values(first.phases)) assert.equal(typeof ms, 'number');
    const second = await box.snapshot('/workspace/count');
    assert.equal(second.files, 6);
    assert.equal(second.filesChanged, 0);
    assert.equal(second.bytesTotal, 500_002);
    assert.ok(second.bytesAdded < 2000, String(second.bytesAdded));
    await box.sh('cd /workspace/count && echo changed > 3');
    const third = await box.snapshot('/workspace/count');
    assert.equal(third.filesChanged, 1);
    assert.equal(third.bytesTotal, 400_010);
    assert.ok(third.bytesAdded < 5000, String(third.bytesAdded));
    // What another sandbox has is not stored again.
    const twin = daemon.sandbox('twin');
    await twin.create();
    await twin.sh('mkdir -p /workspace/elsewhere && head -c 100000 /dev/zero | tr "\\0" x > /workspace/elsewhere/x; sleep 0.1');
    await box.sh('head -c 100000 /dev/zero | tr "\\0" x > /workspace/count/x');
    await box.snapshot('/workspace/count');
    const same = await twin.snapshot('/workspace/elsewhere');
    assert.ok(same.bytesAdded < 2000, String(same.bytesAdded));
    await twin.delete();
    const restored = await box.restore(first.snapshotId);
    assert.equal(restored.dir, '/workspace/count');
    assert.equal(restored.files, 6);
    assert.equal(restored.filesWritten, 1);
    assert.equal(restored.filesKept, 5);
    assert.equal(restored.removed, 1);
    assert.ok(restored.durationMs > 0);
  });

  it('freezes programs when asked to, and measures it', async () => {
    const {freezeMs, consistency} = (await box.post('/snapshot', {dir: '/workspace', freeze: true})).json();
    assert.ok(freezeMs > 0);
    assert.equal(consistency, 'frozen');
    assert.equal(await box.sh('echo on'), 'on\n');
  });

  it('leaves out what it is told to, and keeps that at a restore', async () => {
    await box.sh('mkdir -p /workspace/ex/node_modules && cd /workspace/ex && echo a > a && echo m > node_modules/m');
    const {snapshotId, files} = (await box.post('/snapshot', {
      dir: '/workspace/ex', exclude: ['/workspace/ex/node_modules']})).json();
    assert.equal(files, 1);
    await box.sh('cd /workspace/ex && rm a && echo later > node_modules/later');
    await box.restore(snapshotId);
    assert.equal(await box.sh('cd /workspace/ex && cat a && ls node_modules'), 'a\nlater\nm\n');
  });

  it('restores /workspace itself, and an empty directory', async () => {
    await box.sh('cd /workspace && rm -rf * && echo 1 > one');
    const {snapshotId} = await box.snapshot('/workspace');
    await box.sh('rm one; echo 2 > two; echo 3 > .hidden');
    await box.restore(snapshotId);
    assert.equal(await box.sh('ls -A'), 'one\n');
    await box.sh('mkdir /workspace/void');
    const empty = await box.snapshot('/workspace/void');
    await box.sh('touch /workspace/void/a');
    await box.restore(empty.snapshotId);
    assert.equal(await box.sh('ls -A /workspace/void'), '');
  });

  it('can be restored into a sandbox of the same name that is made again', async () => {
    const again = daemon.sandbox('reborn');
    await again.create();
    await again.sh('echo survives > /workspace/file');
    const {snapshotId} = await again.snapshot('/workspace');
    await again.delete();
    await again.create();
    await again.restore(snapshotId);
    assert.equal(await again.sh('cat /workspace/file'), 'survives\n');
    await again.delete();
  });

  it('is not another sandbox\'s to restore', async () => {
    const {snapshotId} = await box.snapshot('/workspace');
    const other = daemon.sandbox('other');
    await other.create();
    assertError(await daemon.request('other', {method: 'POST', path: `/restore/${snapshotId}`}), 404,
                'BACKUP_NOT_FOUND');
    await other.delete();
  });

  it('passes over the holes of a sparse file, and keeps them', async () => {
    await box.sh('mkdir -p /workspace/z && cd /workspace/z && truncate -s 20G sparse && printf end | dd of=sparse bs=1 seek=10000000000 conv=notrunc status=none');
    const kept = await box.snapshot('/workspace/z');
    assert.equal(kept.skipped, 0);
    assert.equal(kept.bytesTotal, 20 * 2 ** 30);
    assert.ok(kept.bytesAdded < 4 << 20, String(kept.bytesAdded));
    await box.sh('rm /workspace/z/sparse');
    await box.restore(kept.snapshotId);
    assert.equal(await box.sh('cd /workspace/z; stat -c %s sparse; dd if=sparse bs=1 skip=10000000000 count=3 status=none'),
                 '21474836480\nend');
    const used = Number(await box.sh('du -k /workspace/z/sparse | cut -f1'));
    assert.ok(used < 4096, `${used} KiB are used`);
    await box.sh('rm -rf /workspace/z');
  });

  it('says which file was too large, and keeps the others', async () => {
    await box.sh('mkdir -p /workspace/z && cd /workspace/z && truncate -s 1T sparse && echo x > other');
    const kept = await box.snapshot('/workspace/z');
    assert.equal(kept.skipped, 1);
    assert.deepEqual(kept.skippedPaths, ['sparse']);
    assert.equal(kept.files, 1);
    await box.sh('rm -rf /workspace/z');
  });

  it('says clearly what cannot be kept', async () => {
    await box.sh('ln -sfn /etc /workspace/link; echo x > /workspace/file');
    const answers = {};
    for (const dir of ['/nowhere', '/workspace/file', '/workspace/link', '/proc', '/proc/self', '/sys', '/dev', '/']) {
      answers[dir] = await box.post('/snapshot', {dir});
      assert.ok([400, 404].includes(answers[dir].status), `${dir}: ${answers[dir].status} ${answers[dir].text}`);
      assertError(answers[dir], answers[dir].status);
      assert.match(answers[dir].json().message, new RegExp(dir), 'the message names the directory');
    }
    assertError(answers['/nowhere'], 404, 'DIRECTORY_NOT_FOUND');
    assertError(answers['/workspace/file'], 400, 'NOT_DIRECTORY');
  });

  it('restores while a program writes into what it replaces', async () => {
    const box = daemon.sandbox('busy');
    await box.create();
    await box.sh('mkdir -p /workspace/sub && echo kept > /workspace/sub/kept && echo top > /workspace/top');
    const {snapshotId} = await box.snapshot('/workspace');
    await box.background('cd /workspace/sub && i=0; while :; do echo x > w$i; i=$((i+1)); done');
    await box.sh('echo later > /workspace/later');
    await box.restore(snapshotId);
    assert.equal(await box.sh('cat /workspace/sub/kept /workspace/top; ls /workspace'), 'kept\ntop\nsub\ntop\n');
    assert.equal((await box.delete()).status, 204);
  });

  it('runs at the same time in several sandboxes', async () => {
    const boxes = ['s1', 's2', 's3'].map((id) => daemon.sandbox(id));
    await Promise.all(boxes.map(async (each) => {
      await each.create();
      await each.sh(`echo ${each.id} > /workspace/who; head -c 2000000 /dev/urandom > /workspace/noise`);
      const {snapshotId} = await each.snapshot('/workspace');
      await each.sh('rm -rf /workspace/*');
      await each.restore(snapshotId);
      assert.equal(await each.sh('cat /workspace/who; wc -c < /workspace/noise'), `${each.id}\n2000000\n`);
      assert.equal((await each.delete()).status, 204);
    }));
  });
});

describe('a damaged repository', () => {
  let daemon;
  let box;
  let snapshotId;
  let sums;
  const where = (kind) => path.join(daemon.stateDir, 'snapshots', kind);

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('hurt');
    await box.create();
    await box.sh('mkdir -p /workspace/sub && cd /workspace && for i in 1 2 3; do head -c 300000 /dev/urandom > $i; done; echo s > sub/s');
    sums = await box.sh('cd /workspace && cat 1 2 3 sub/s | sha256sum');
    ({snapshotId} = await box.snapshot('/workspace'));
  });
  after(() => daemon?.cleanup());

  const files = (kind) => fs.readdirSync(where(kind), {recursive: true})
    .map((name) => path.join(where(kind), name)).filter((name) => fs.statSync(name).isFile());
  const changes = {
    'a flipped byte in the middle': (bytes) => { bytes[bytes.length >> 1] ^= 0x10; return bytes; },
    'a flipped last byte': (bytes) => { bytes[bytes.length - 1] ^= 1; return bytes; },
    'a truncated file': (bytes) => bytes.subarray(0, bytes.length >> 1),
    'an empty file': () => Buffer.alloc(0),
  };

  for (const kind of ['data', 'index', 'snapshots']) {
    for (const [what, change] of Object.entries(changes)) {
      it(`${kind}: ${what} is found and named, nothing is half restored`, async () => {
        const whole = new Map(files(kind).map((name) => [name, fs.readFileSync(name)]));
        await box.sh('cd /workspace && rm -rf 2 sub && echo mine > mine && echo other > 1');
        const look = () => box.sh('cd /workspace && ls -A && sha256sum 1 3 mine');
        const old = await look();
        try {
          for (const [name, bytes] of whole) fs.writeFileSync(name, change(Buffer.from(bytes)));
          await daemon.restart();
          const answer = await box.post(`/restore/${snapshotId}`);
          // The last byte of a pack is of its header's length, which no restore needs.
          if (kind !== 'data' || what !== 'a flipped last byte') {
            assert.ok(kind === 'snapshots' ? [404, 500].includes(answer.status) : answer.status >= 500, answer.text);
            assertError(answer, answer.status);
            assert.equal(await look(), old);
          }
          const check = daemon.cli('--config', daemon.config, 'repo', 'check', '--read-data');
          const said = check.stdout + check.stderr;
          assert.equal(check.status, 1, said);
          assert.ok([...whole.keys()].some((name) => said.includes(path.basename(name).slice(0, 8))), said);
        } finally {
          for (const [name, bytes] of whole) fs.writeFileSync(name, bytes);
        }
      });
    }
  }

  it('keys, config: it is said when it is opened', async () => {
    await box.sh('echo mine > /workspace/mine');
    for (const name of [files('keys')[0], where('config')]) {
      const whole = fs.readFileSync(name);
      try {
        fs.writeFileSync(name, changes['a flipped byte in the middle'](Buffer.from(whole)));
        await daemon.restart();
        const answer = await box.post(`/restore/${snapshotId}`);
        assertError(answer, answer.status);
        assert.ok(answer.status >= 400, answer.text);
        assertError(await box.post('/snapshot', {dir: '/workspace'}), answer.status);
        assert.equal(await box.sh('cat /workspace/mine'), 'mine\n');
      } finally {
        fs.writeFileSync(name, whole);
      }
    }
  });

  it('that is whole again is used again', async () => {
    await daemon.restart();
    await box.restore(snapshotId);
    assert.equal(await box.sh('cd /workspace && cat 1 2 3 sub/s | sha256sum'), sums);
    assertSound(daemon, '--read-data');
  });
});

describe('a full store', () => {
  let daemon;
  let store;

  before(async () => {
    store = new SmallStore();
    daemon = await Daemon.start({sections: {snapshots: {dir: store.dir}}});
  });
  after(async () => {
    await daemon?.cleanup();
    store?.remove();
  });

  it('is an error, keeps no half snapshot, and keeps the older ones', async () => {
    const box = daemon.sandbox('full');
    await box.create();
    await box.sh('echo small > /workspace/small');
    const small = await box.snapshot('/workspace');
    const files = () => fs.readdirSync(store.dir, {recursive: true}).filter((name) =>
      fs.statSync(path.join(store.dir, name)).isFile()).sort();
    const kept = files();
    await box.sh('head -c 20000000 /dev/urandom > /workspace/large');
    const answer = await box.post('/snapshot', {dir: '/workspace'});
    assertError(answer, answer.status);
    assert.ok(answer.status >= 500, String(answer.status));
    assert.match(answer.json().code, /NO_SPACE|BACKUP_CREATE_FAILED/);
    await eventually('nothing half is kept', () => JSON.stringify(files()) === JSON.stringify(kept), 5000);
    const list = (await daemon.request('', {path: '/v1/sandboxes/full/snapshots'})).json().snapshots;
    assert.deepEqual(list.map((one) => one.snapshotId), [small.snapshotId]);
    await box.restore(small.snapshotId);
    assert.equal(await box.sh('ls /workspace'), 'small\n');
    // With room again it works again.
    assert.match((await box.snapshot('/workspace')).snapshotId, /^[0-9a-f]{64}$/);
  });
});
