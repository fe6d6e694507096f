// SPDX-License-Identifier: Apache-2.0
// A restored directory equals the one that was kept.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {assertError} from './support/http.mjs';

// Everything about a tree that has to come back, one line per entry.
const DESCRIBE = `
import hashlib, json, os, stat, sys
root = sys.argv[1]
rows, links = [], {}
def entry(path):
    s = os.lstat(path)
    row = {'path': os.path.relpath(path, root), 'mode': oct(s.st_mode), 'uid': s.st_uid, 'gid': s.st_gid}
    if not stat.S_ISLNK(s.st_mode):
        row['mtime'] = s.st_mtime_ns // 1000
    if stat.S_ISREG(s.st_mode):
        row['sha'] = hashlib.sha256(open(path, 'rb').read()).hexdigest()
        row['size'] = s.st_size
        if s.st_nlink > 1:
            links.setdefault(s.st_ino, []).append(row['path'])
    if stat.S_ISLNK(s.st_mode):
        row['target'] = os.readlink(path)
    rows.append(row)
for base, dirs, files in os.walk(root):
    entry(base)
    for name in files + [d for d in dirs if os.path.islink(os.path.join(base, d))]:
        entry(os.path.join(base, name))
rows.sort(key=lambda row: row['path'])
print(json.dumps({'rows': rows, 'links': sorted(sorted(group) for group in links.values())}))
`;

describe('snapshots', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('keep');
    await box.create();
    await box.write('/tmp/describe.py', DESCRIBE);
  });
  after(() => daemon?.cleanup());

  const describeTree = async (dir) => JSON.parse(await box.sh(`python3 /tmp/describe.py ${dir}`));

  it('keeps modes, owners, times, links and empty directories, and removes what came later', async () => {
    await box.sh(`set -e; mkdir -p /workspace/tree && cd /workspace/tree
      mkdir -p empty/nested deep/a/b/c 'with space' 'ünï-漢'
      echo text > plain; printf 'a\\0b\\377' > binary; : > nothing
      head -c 3000000 /dev/urandom > large
      dd if=/dev/zero of=sparse bs=1 count=1 seek=1048575 status=none
      echo x > 'with space/a file'; echo y > 'ünï-漢/ƒ'; echo z > "$(printf 'new\\nline')"
      echo secret > private; chmod 600 private; echo s > suid; chmod 4755 suid; echo r > readonly; chmod 444 readonly
      chmod 1777 empty; chmod 700 deep/a; chown 1000:1001 plain; chown 33:33 deep
      ln plain hard; ln -s plain soft; ln -s /nowhere dangling; ln -s ../tree loop; ln -s deep dirlink
      long=$(printf 'n%.0s' $(seq 1 200)); mkdir -p $long/$long; echo long > $long/$long/$long
      touch -d '2001-02-03 04:05:06.123456' plain; touch -d '1999-12-31' deep/a/b
      touch -d '2030-01-01' binary; mkfifo pipe; for i in $(seq 1 500); do echo $i > deep/a/b/c/$i; done`);
    const before = await describeTree('/workspace/tree');
    assert.equal(before.links.length, 1);
    const kept = await box.snapshot('/workspace/tree', 'whole tree');
    assert.match(kept.snapshotId, /^[0-9a-f]{64}$/);
    assert.equal(kept.dir, '/workspace/tree');
    await box.sh(`cd /workspace/tree && echo new > added && mkdir -p newdir/x && echo changed > plain && rm large &&
      rm -rf deep && mkdir nothing-else && chmod 777 private && rm dirlink && mkdir dirlink && echo in > dirlink/in &&
      rm -rf empty && echo 'now a file' > empty`);
    await box.restore(kept.snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), before);
    // Again, onto a tree that is equal already, and onto nothing.
    await box.restore(kept.snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), before);
    await box.sh('rm -rf /workspace/tree');
    await box.restore(kept.snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), before);
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

  it('passes over the holes of a sparse file', async () => {
    await box.sh('mkdir -p /workspace/z && cd /workspace/z && truncate -s 1T sparse && printf end | dd of=sparse bs=1 seek=1000000000000 conv=notrunc status=none');
    const {snapshotId} = await box.snapshot('/workspace/z');
    await box.sh('rm /workspace/z/sparse');
    await box.restore(snapshotId);
    assert.equal(await box.sh('cd /workspace/z; stat -c %s sparse; dd if=sparse bs=1 skip=1000000000000 count=3 status=none'),
                 '1099511627776\nend');
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

describe('a full store', () => {
  let daemon;
  let store;

  before(async () => {
    store = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-full-'));
    const made = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=700', 'tmpfs', store]);
    assert.equal(made.status, 0, String(made.stderr));
    daemon = await Daemon.start({sections: {snapshots: {dir: store}}});
  });
  after(async () => {
    await daemon?.cleanup();
    spawnSync('umount', [store]);
    fs.rmdirSync(store);
  });

  it('is an error, keeps no half snapshot, and keeps the older ones', async () => {
    const box = daemon.sandbox('full');
    await box.create();
    await box.sh('echo small > /workspace/small');
    const small = await box.snapshot('/workspace');
    const files = () => fs.readdirSync(store, {recursive: true}).filter((name) =>
      fs.statSync(path.join(store, name)).isFile()).sort();
    const kept = files();
    await box.sh('head -c 20000000 /dev/urandom > /workspace/large');
    const answer = await box.post('/snapshot', {dir: '/workspace'});
    assertError(answer, answer.status);
    assert.ok(answer.status >= 500, String(answer.status));
    assert.match(answer.json().code, /NO_SPACE|BACKUP_CREATE_FAILED/);
    await eventually('nothing half is kept', () => JSON.stringify(files()) === JSON.stringify(kept));
    const list = (await daemon.request('', {path: '/v1/sandboxes/full/snapshots'})).json().snapshots;
    assert.deepEqual(list.map((one) => one.snapshotId), [small.snapshotId]);
    await box.restore(small.snapshotId);
    assert.equal(await box.sh('ls /workspace'), 'small\n');
    // With room again it works again.
    assert.match((await box.snapshot('/workspace')).snapshotId, /^[0-9a-f]{64}$/);
  });
});
