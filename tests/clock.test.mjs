// SPDX-License-Identifier: Apache-2.0
// The wall clock jumps, ahead by a year and back by an hour: what is timed goes on, nothing is
// removed for its age, and what was saved last is what comes back.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';

const LIBRARIES = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map((arch) =>
  `/usr/lib/${arch}/faketime/libfaketimeMT.so.1`);
const HOUR = 3600;
const YEAR = 365 * 24 * HOUR;

describe('the clock', () => {
  let daemon;
  let offsetFile;

  /** Sets the daemon's wall clock to that many seconds from the true time. Steady clocks go on. */
  async function jump(seconds) {
    fs.writeFileSync(`${offsetFile}.new`, `${seconds < 0 ? '' : '+'}${seconds}\n`);
    fs.renameSync(`${offsetFile}.new`, offsetFile);
  }
  const v1 = async (id, what, method = 'POST', json = undefined) => {
    const answer = await daemon.request('', {method, path: `/v1/sandboxes/${id}${what}`, json, limitMs: 120_000});
    assert.equal(answer.status, 200, `${what}: ${answer.text}`);
    return answer.json();
  };
  const infoOf = async (id) => (await daemon.list()).find((one) => one.id === id);
  /** Of the only sandbox that there is, which is stopped. */
  async function loseLayerOf(id) {
    assert.deepEqual(await daemon.ids(), [id]);
    const layers = path.join(daemon.stateDir, 'sandboxes');
    for (const name of fs.readdirSync(layers)) fs.rmSync(path.join(layers, name), {recursive: true});
  }
  const snapshots = async (id) => (await v1(id, '/snapshots', 'GET')).snapshots;
  const logged = (text) => eventually(text, () => fs.readFileSync(daemon.log, 'utf8').includes(text));

  before(async () => {
    const library = LIBRARIES.find((one) => fs.existsSync(one));
    assert.ok(library, 'libfaketime is not installed (Debian package faketime)');
    offsetFile = path.join(fs.mkdtempSync('/tmp/atoll-clock-'), 'offset');
    await jump(0);
    daemon = await Daemon.start({
      env: {LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: offsetFile, FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1', NO_FAKE_STAT: '1'},
      sections: {sleep: {after: 'off', stop_after: 'off'},
        snapshots: {ttl: '1h', prune_interval: '2s'}},
    });
  });
  after(async () => {
    if (offsetFile) await jump(0);
    await daemon?.cleanup();
    if (offsetFile) fs.rmSync(path.dirname(offsetFile), {recursive: true});
  });

  it('tells when something happened', async () => {
    await jump(YEAR);
    await daemon.sandbox('later').create();
    await jump(0);
    await daemon.sandbox('now').create();
    const [later, now] = [await infoOf('later'), await infoOf('now')].map((one) => Date.parse(one.createdAt));
    assert.ok(Math.abs(later - now - YEAR * 1000) < 120_000, `${later} ${now}`);
    await daemon.sandbox('later').delete();
  });

  it('decides neither when a sandbox sleeps nor when a command is over', async () => {
    const used = daemon.sandbox('now');
    const idle = daemon.sandbox('idle');
    await v1('now', '', 'PATCH', {sleepAfter: '1h', stopAfter: '2h'});
    const running = used.run('sleep 3; echo over', {timeoutSeconds: 60});
    await sleep(500);
    await jump(YEAR);
    assert.equal((await running).stdout, 'over\n');
    await sleep(3000);
    assert.equal((await infoOf('now')).state, 'running', 'nobody has let it alone for an hour');
    await idle.create({sleepAfter: 2});
    await jump(-HOUR);
    await eventually('it sleeps although the clock was set back', async () =>
      (await infoOf('idle')).state === 'paused');
    assert.equal(await idle.sh('echo awake'), 'awake\n');
    await jump(0);
    await idle.delete();
  });

  it('removes nothing when it has jumped ahead, also under the next daemon', async () => {
    const box = daemon.sandbox('now');
    await box.sh('echo kept > /workspace/file');
    const taken = await Promise.all([1, 2].map(async (i) => {
      await box.sh(`echo ${i} >> /workspace/file`);
      const answer = await box.post('/snapshot', {dir: '/workspace', ttl: 60, name: `n${i}`});
      assert.equal(answer.status, 200, answer.text);
      return answer.json().snapshotId;
    }));
    const ids = async () => (await snapshots('now')).map((one) => one.snapshotId);
    await jump(YEAR);
    await logged('hours ahead of what it was');
    await daemon.restart();
    fs.writeFileSync(daemon.log, '');
    await logged('hours ahead of what it was');
    for (const id of taken) assert.ok((await ids()).includes(id));
    await jump(0);
    await box.restore(taken[0]);
  });

  it('set right again, brings back what was saved last', async () => {
    const box = daemon.sandbox('saved');
    await box.create({snapshots: {paths: ['/workspace']}});
    for (const [offset, text] of [[0, 'first'], [YEAR, 'ahead'], [0, 'last'], [0, 'very last']]) {
      await jump(offset);
      await box.sh(`echo ${text} > /workspace/file`);
      assert.equal((await v1('saved', '/stop')).saved, true);
    }
    await daemon.sandbox('now').delete();
    await loseLayerOf('saved');
    assert.equal(await box.sh('cat /workspace/file'), 'very last\n');
  });

  it('set right again, does not take what is new for deleted', async () => {
    const box = daemon.sandbox('again');
    await jump(YEAR);
    await box.create({snapshots: {paths: ['/workspace']}});
    await box.sh('echo old > /workspace/file');
    await v1('again', '/stop');
    assert.equal((await box.delete()).status, 204);
    await jump(0);
    await box.create({snapshots: {paths: ['/workspace']}});
    assert.equal(await box.sh('cat /workspace/file 2>/dev/null || echo none'), 'none\n');
    await box.sh('echo new > /workspace/file');
    await v1('again', '/stop');
    await daemon.sandbox('saved').delete();
    await loseLayerOf('again');
    assert.equal(await box.sh('cat /workspace/file'), 'new\n');
  });
});
