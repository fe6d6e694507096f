// SPDX-License-Identifier: Apache-2.0
// What runs out, breaks or is not there on the host: the answer says so, what works goes on, and all
// is well when the cause is gone.

import assert from 'node:assert/strict';
import {spawn, spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {buildDir, Daemon, eventually, sleep} from './support/daemon.mjs';
import {assertError} from './support/http.mjs';
import {SmallDisk} from './support/small_disk.mjs';

const create = (daemon, id) =>
  daemon.request(id, {method: 'POST', path: '/create', json: {opencode: false}, limitMs: 120_000});

function sqlite(daemon, sql) {
  const result = spawnSync('sqlite3', ['-bail', path.join(daemon.stateDir, 'atoll.db'), '.timeout 10000', sql],
                           {encoding: 'utf8'});
  assert.equal(result.status, 0, result.stderr);
  return result.stdout.trim();
}

describe('a state directory', () => {
  // Whoever keeps no reserve on the disk meets its very end.
  for (const [what, fill, limits, code] of [
    ['space', 'fillBlocks', {disk_reserve: 0}, 'NO_SPACE'],
    ['inodes', 'fillInodes', {disk_reserve: 0}, 'NO_SPACE'],
    ['reserve', 'fillBlocks', {}, 'CAPACITY_EXCEEDED'],
    ['reserve of inodes', 'fillInodes', {}, 'CAPACITY_EXCEEDED'],
  ]) {
    it(`that has no ${what} left refuses new sandboxes and keeps the others`, async () => {
      const disk = await SmallDisk.start({sections: {limits}});
      try {
        const {daemon} = disk;
        const box = daemon.sandbox('before');
        await box.create();
        await box.sh('echo kept > /workspace/file');
        disk[fill]();
        for (let round = 0; round < 3; ++round) {
          const body = assertError(await create(daemon, 'more'), 503, code);
          assert.match(body.message, /space|full|free/i);
        }
        assert.equal(await box.sh('cat /workspace/file; hostname'), 'kept\nbefore\n');
        assert.notEqual((await box.run('mkdir /workspace/new && head -c 1M /dev/zero > /workspace/new/x')).exitCode, 0);
        assert.deepEqual(await daemon.ids(), ['before']);
        daemon.assertNoLeaks();
        // Nor does a daemon that starts then need more.
        await daemon.kill9();
        await daemon.launch({wait: false});
        assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
        const ready = await daemon.request('', {path: '/ready'});
        assert.equal(ready.status, 503, 'it is ready when there is room again');
        assert.equal(ready.json().checks.find((one) => one.name === 'disk').ok, false);
        disk.free();
        assert.equal((await create(daemon, 'more')).status, 200);
        assert.equal(await daemon.sandbox('more').sh('echo works'), 'works\n');
        await box.sh('rm -rf /workspace/new; echo again > /workspace/file');
        daemon.assertNoLeaks();
      } finally {
        await disk.stop();
      }
    });
  }
});

describe('a daemon', () => {
  let daemon;
  let box;
  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('steady');
    await box.create();
    await box.sh('echo kept > /workspace/file');
  });
  after(async () => { await daemon?.cleanup(); });

  const steady = async () => assert.equal(await box.sh('cat /workspace/file'), 'kept\n');

  it('whose ranges of user ids are all taken says so', async () => {
    // As many as there are between the host's own ids and the end of the 32 bits.
    sqlite(daemon, `INSERT INTO sandboxes (iid, id, state, image, id_index, memory_bytes, cpus, pids, env, created_at_ms)
      WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 61438)
      SELECT 'filler' || i, 'filler-' || i, 'stopped', 'default', i, 1, 1, 16, '[]', 0 FROM n
      WHERE i NOT IN (SELECT id_index FROM sandboxes)`);
    try {
      const body = assertError(await create(daemon, 'one-more'), 503, 'CAPACITY_EXCEEDED');
      assert.match(body.message, /user ids/);
      await steady();
    } finally {
      sqlite(daemon, "DELETE FROM sandboxes WHERE iid LIKE 'filler%'");
    }
    await daemon.sandbox('one-more').create();
    assert.equal((await daemon.sandbox('one-more').delete()).status, 204);
    daemon.assertNoLeaks();
  });

  it('that may open no more files says so, or lets clients wait', async () => {
    const limits = spawnSync('prlimit', ['--pid', daemon.pid, '--nofile', '-o', 'SOFT,HARD', '--noheadings'],
                             {encoding: 'utf8'}).stdout.trim().split(/\s+/);
    const limit = (soft) => {
      const result = spawnSync('prlimit', ['--pid', daemon.pid, `--nofile=${soft}:${limits[1]}`], {encoding: 'utf8'});
      assert.equal(result.status, 0, result.stderr);
    };
    const open = fs.readdirSync(`/proc/${daemon.pid}/fd`).length;
    try {
      for (const room of [2, 3, 5, 8]) {
        limit(open + room);
        const answer = await create(daemon, 'narrow').catch((error) => error);
        limit(limits[0]);
        if (answer.status === 200) assert.equal((await daemon.sandbox('narrow').delete()).status, 204);
        else if (answer.status) assertError(answer, 503);
        await steady();
        assert.deepEqual(await daemon.ids(), ['steady'], `room for ${room}`);
      }
      // Without room for a connection it waits in the queue. The limit is one for the numbers of
      // descriptors: below those that every process has, none is left, whatever was just closed.
      limit(3);
      const waiting = box.sh('echo at last');
      await sleep(500);
      limit(limits[0]);
      assert.equal(await waiting, 'at last\n');
    } finally {
      limit(limits[0]);
    }
    daemon.assertNoLeaks();
  });

  // Holds the right to write in the database until it is ended.
  async function holdDatabase() {
    const child = spawn('sqlite3', [path.join(daemon.stateDir, 'atoll.db')], {stdio: ['pipe', 'pipe', 'inherit']});
    child.stdin.write('.timeout 10000\nBEGIN IMMEDIATE;\nSELECT 1;\n');
    await new Promise((resolve) => child.stdout.once('data', resolve));
    return async () => {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.stdin.end('ROLLBACK;\n');
      await ended;
    };
  }

  it('waits for a database that somebody else writes', async () => {
    const release = await holdDatabase();
    const made = create(daemon, 'patient');
    await sleep(1500);
    await steady();
    await release();
    assert.equal((await made).status, 200);
    assert.equal((await daemon.sandbox('patient').delete()).status, 204);
  });

  it('gives up when that takes too long, and goes on afterwards', async () => {
    const release = await holdDatabase();
    try {
      const made = create(daemon, 'impatient');
      await steady();
      const body = assertError(await made, 503);
      assert.match(body.message, /database/);
      await steady();
    } finally {
      await release();
    }
    assert.deepEqual(await daemon.ids(), ['steady']);
    await daemon.sandbox('impatient').create();
    assert.equal((await daemon.sandbox('impatient').delete()).status, 204);
    daemon.assertNoLeaks();
  });

  it('does not start with a damaged database, and says how to go on', async () => {
    const file = path.join(daemon.stateDir, 'atoll.db');
    // The copy is made at a start.
    await daemon.restart();
    await daemon.stop();
    const bytes = fs.readFileSync(file);
    const broken = Buffer.concat([bytes.subarray(0, 4096), Buffer.alloc(bytes.length - 4096, 0x5a)]);
    fs.writeFileSync(file, broken);
    const refused = daemon.cli('serve', '--config', daemon.config);
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /atoll\.db is damaged .*atoll\.db\.backup/);
    assert.deepEqual(fs.readFileSync(file), broken, 'left as it is');
    // As it says.
    for (const suffix of ['', '-wal', '-shm']) {
      if (fs.existsSync(file + suffix)) fs.renameSync(file + suffix, path.join(daemon.dir, `aside${suffix}`));
    }
    fs.renameSync(`${file}.backup`, file);
    await daemon.launch();
    assert.deepEqual(await daemon.ids(), ['steady']);
    await steady();
    daemon.assertNoLeaks();
  });

  it('does not start without cgroups that it may write, and says what is missing', async () => {
    await daemon.stop();
    const script = `awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts | while read -r one; do
      mount -o remount,ro,bind "$one" || exit 99; done; exec "$0" serve --config "$1"`;
    const refused = spawnSync('unshare', ['-m', 'sh', '-c', script, path.join(buildDir, 'atoll'), daemon.config],
                              {cwd: daemon.dir, env: daemon.env, encoding: 'utf8', timeout: 30_000});
    assert.notEqual(refused.status, 0, refused.stdout);
    assert.notEqual(refused.status, 99, refused.stderr);
    assert.match(refused.stderr, /cgroup/);
    assert.match(refused.stderr, /Delegate=yes|writable/);
    await daemon.launch();
    await steady();
  });
});

describe('a store without room', () => {
  let daemon;
  let store;
  before(async () => {
    daemon = new Daemon({snapshots: {}}, {});
    store = path.join(daemon.dir, 'store');
    fs.mkdirSync(store);
    assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2M', 'tmpfs', store]).status, 0);
    fs.writeFileSync(daemon.config, fs.readFileSync(daemon.config, 'utf8').replace('[snapshots]', `[snapshots]\ndir = "${store}"`));
    await daemon.launch();
  });
  after(async () => {
    try {
      await daemon?.cleanup();
    } catch (error) {
      if (error.code !== 'EBUSY') throw error;
    } finally {
      spawnSync('umount', ['-l', store]);
      fs.rmSync(daemon.dir, {recursive: true, force: true});
    }
  });

  const stops = async (id) => (await daemon.request('', {path: `/v1/sandboxes/${id}/snapshots`})).json().snapshots
    .filter((one) => one.trigger === 'stop' && one.dir === '/workspace');
  const state = async (id) => (await daemon.list()).find((one) => one.id === id)?.state;
  // So many bytes beside what is there.
  const room = (bytes) => {
    const {blocks, bfree, bsize} = fs.statfsSync(store);
    const size = (blocks - bfree) * bsize + bytes;
    assert.equal(spawnSync('mount', ['-o', `remount,size=${size}`, store]).status, 0);
  };

  for (const [how, stop] of [
    ['that is asked for', (id) => daemon.request('', {method: 'POST', path: `/v1/sandboxes/${id}/stop`, limitMs: 120_000})],
    ['of an idle sandbox', null]]) {
    it(`does not keep a stop ${how} from being saved later`, async () => {
      room(2 << 20);
      const id = stop ? 'asked' : 'idle';
      const box = daemon.sandbox(id);
      await box.create(stop ? {} : {sleepAfter: 2, stopAfter: 1});
      await box.sh('head -c 6M /dev/urandom > /workspace/large');
      const sum = await box.sh('sha256sum /workspace/large');
      if (stop) {
        const answer = await stop(id);
        assert.equal(answer.status, 200, answer.text);
        assert.equal(answer.json().saved, false);
      }
      await eventually(`${id} is stopped`, async () => await state(id) === 'stopped', 60_000);
      assert.deepEqual(await stops(id), []);
      room(64 << 20);
      await eventually('it is saved', async () => (await stops(id)).length > 0, 120_000);
      assert.equal(await box.sh('sha256sum /workspace/large'), sum);
      assert.equal((await box.delete()).status, 204);
      daemon.assertNoLeaks();
    });
  }
});
