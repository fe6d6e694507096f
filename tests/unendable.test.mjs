// SPDX-License-Identifier: Apache-2.0
// Sandboxes that end by themselves, and such that cannot be ended for as long as something else holds them: both are
// told of, neither is in anybody's way, and both come to a state that one can go on from.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {ofProcess, processesOf} from './support/host.mjs';

const FREEZER = '/sys/fs/cgroup/freezer';
// On cgroup v2 what stands still ends when it is killed.
const skip = fs.existsSync(FREEZER) ? false : 'only the freezer of cgroup v1 keeps a process from ending';

describe('a sandbox', () => {
  let daemon;
  const v1 = (id, method, what = '', json = undefined) =>
    daemon.request('', {method, path: `/v1/sandboxes/${id}${what}`, ...(json && {json}), limitMs: 100_000});
  const find = async (id) => (await daemon.list()).find((one) => one.id === id);
  const told = async (id) => (await v1(id, 'GET', '/events')).json().events;
  const row = (id) => spawnSync('sqlite3', [path.join(daemon.stateDir, 'atoll.db'), '.timeout 10000',
                                            `SELECT state FROM sandboxes WHERE id = '${id}'`], {encoding: 'utf8'}).stdout.trim();
  /** A new sandbox, its internal id, and what keeps all of its processes from ending. */
  const make = async (id, options = {}) => {
    const others = fs.readdirSync(path.join(daemon.stateDir, 'sandboxes'));
    const box = daemon.sandbox(id);
    await box.create(options);
    const [iid] = fs.readdirSync(path.join(daemon.stateDir, 'sandboxes')).filter((name) => !others.includes(name));
    const agent = () => Number(fs.readFileSync(path.join(daemon.runDir, 'sandboxes', iid, 'bundle', 'pid'), 'utf8'));
    const hold = (state) => {
      const group = `${FREEZER}/${daemon.cgroup}/${iid}/freezer.state`;
      if (fs.existsSync(group)) fs.writeFileSync(group, state);
    };
    return Object.assign(box, {iid, agent, hold});
  };

  before(async () => {
    daemon = await Daemon.start({sections: {sleep: {after: 'off', stop_after: 'off'},
                                            limits: {runtime_deadline: '3s', agent_deadline: '3s'}}});
  });
  after(async () => { await daemon?.cleanup(); });

  it('whose first process dies is stopped without anybody asking for it, and begins again with its files', async () => {
    const box = await make('dies', {snapshots: {onStop: false}});
    await box.sh('echo kept > /workspace/file');
    process.kill(box.agent(), 'SIGKILL');
    await eventually('its row says so', () => row('dies') === 'stopped');
    assert.ok((await told('dies')).some((one) => one.state === 'stopped' && /first process has ended/.test(one.detail)),
              JSON.stringify(await told('dies')));
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
    assert.equal((await box.delete()).status, 204);
  });

  it('has the usual place among those that go for want of memory, whatever the daemon\'s is', async () => {
    // Less than usual is what a service manager gives it, which is allowed here to nobody.
    fs.writeFileSync(`/proc/${daemon.pid}/oom_score_adj`, '300');
    try {
      const box = await make('scored');
      await box.background('sleep 12345');
      const scores = processesOf(daemon).map((pid) => ofProcess(pid, 'oom_score_adj').trim()).filter(Boolean);
      assert.ok(scores.length >= 2, String(scores));
      assert.deepEqual([...new Set(scores)], ['1']);
      assert.equal((await box.delete()).status, 204);
    } finally {
      fs.writeFileSync(`/proc/${daemon.pid}/oom_score_adj`, '0');
    }
  });

  it('that cannot be stopped has failed, says so, and is stopped once it can be', {skip}, async () => {
    const box = await make('held', {snapshots: {onStop: false}});
    await box.sh('echo kept > /workspace/file');
    box.hold('FROZEN');
    try {
      const stopped = await v1('held', 'POST', '/stop', {});
      assert.equal(stopped.status, 503, stopped.text);
      assert.equal((await find('held')).state, 'failed');
      assert.equal(row('held'), 'failed');
      assert.ok((await told('held')).some((one) => one.state === 'failed'));
    } finally {
      box.hold('THAWED');
    }
    await eventually('it is stopped', async () => (await find('held')).state === 'stopped', 60_000);
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
    assert.equal((await box.delete()).status, 204);
  });

  it('that cannot be deleted keeps no other from sleeping, and is gone once it can be', {skip}, async () => {
    const box = await make('clings');
    await make('sleepy', {sleepAfter: 3});
    box.hold('FROZEN');
    try {
      const gone = await box.delete();
      assert.ok(gone.status >= 500, gone.text);
      assert.equal((await find('clings')).state, 'deleting');
      assert.equal(await daemon.sandbox('sleepy').sh('echo awake'), 'awake\n');
      await eventually('the other one sleeps', async () => (await find('sleepy')).state === 'paused', 90_000);
    } finally {
      box.hold('THAWED');
    }
    await eventually('it is deleted', async () => await find('clings') === undefined, 60_000);
    assert.equal(await daemon.sandbox('sleepy').sh('echo awake'), 'awake\n');
    assert.equal((await daemon.sandbox('sleepy').delete()).status, 204);
    daemon.assertNoLeaks();
  });
});
