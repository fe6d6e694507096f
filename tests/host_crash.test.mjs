// SPDX-License-Identifier: Apache-2.0
// The host ends without a word: no process, mount, group, loop device or run directory is left. What was in whichever state
// is there again with its files, and what ran before runs no more.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, preparedState} from './support/daemon.mjs';
import {processesOf} from './support/host.mjs';

const criu = path.join(preparedState, 'criu', 'criu');
const pool = {warm_target: 1, max: 1, opencode: false, refresh_interval: '1s', max_load: 100_000, free_memory: '64M'};

const groups = (daemon) => spawnSync('find', ['/sys/fs/cgroup', '-depth', '-type', 'd', '-path', `*/${daemon.cgroup}*`],
                                     {encoding: 'utf8'}).stdout.split('\n').filter(Boolean);

async function endHost(daemon) {
  await daemon.kill9();
  for (const dir of groups(daemon)) {
    const frozen = path.join(dir, 'freezer.state');
    if (fs.existsSync(frozen)) fs.writeFileSync(frozen, 'THAWED');
    else if (fs.existsSync(path.join(dir, 'cgroup.freeze'))) fs.writeFileSync(path.join(dir, 'cgroup.freeze'), '0');
  }
  await eventually('nothing runs', () => {
    for (const pid of processesOf(daemon)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended with another one.
      }
    }
    return processesOf(daemon).length === 0;
  });
  for (const dir of groups(daemon)) fs.rmdirSync(dir);
  const loops = JSON.parse(spawnSync('losetup', ['--json', '-O', 'NAME,BACK-FILE'], {encoding: 'utf8'}).stdout || '{"loopdevices":[]}');
  for (const one of loops.loopdevices) {
    if (one['back-file']?.startsWith(daemon.stateDir)) spawnSync('losetup', ['-d', one.name]);
  }
  fs.rmSync(daemon.runDir, {recursive: true});
}

describe('a host that ends without a word', () => {
  let daemon;
  let member;
  const v1 = (id, what, json = {}) => daemon.request('', {method: 'POST', path: `/v1/sandboxes/${id}${what}`, json, limitMs: 120_000});
  const sqlite = (sql) => {
    const done = spawnSync('sqlite3', [path.join(daemon.stateDir, 'atoll.db'), '.timeout 10000', sql], {encoding: 'utf8'});
    assert.equal(done.status, 0, done.stderr);
    return done.stdout.trim();
  };
  const ids = ['running', 'asleep', 'stopping', 'restoring', 'limited', 'kept'];

  before(async () => {
    daemon = await Daemon.start({sections: {pool, sleep: {after: 'off', stop_after: 'off'}}});
    for (const id of ids) {
      // None of them is the member.
      await daemon.sandbox(id).create({disk: id === 'limited' ? '64M' : '3G'});
      await daemon.sandbox(id).sh(`echo ${id} > /workspace/file; sync; echo x > /dev/shm/x; setsid -f sleep 4321 </dev/null >/dev/null 2>&1`);
    }
    await eventually('a member waits', () => {
      member = sqlite("SELECT iid FROM sandboxes WHERE pool_key <> '' AND state IN ('running', 'paused')");
      return member;
    });
    assert.equal((await v1('asleep', '/sleep')).status, 200);
    const stopped = await v1('kept', '/stop', {keepMemory: fs.existsSync(criu)});
    assert.equal(stopped.status, 200, stopped.text);
    await endHost(daemon);
    // What is kept was kept by another boot.
    const memory = path.join(daemon.stateDir, 'memory');
    for (const iid of fs.existsSync(memory) ? fs.readdirSync(memory) : []) fs.writeFileSync(path.join(memory, iid, 'key'), 'another');
    for (const id of ['stopping', 'restoring']) sqlite(`UPDATE sandboxes SET state = '${id}' WHERE id = '${id}'`);
    await daemon.launch();
  });
  after(() => daemon?.cleanup());

  it('leaves all of them stopped', async () => {
    const list = await eventually('all of them are stopped', async () => {
      const all = await daemon.list();
      return all.every((one) => one.state === 'stopped') && all;
    });
    assert.deepEqual(list.map((one) => one.id).sort(), [...ids].sort());
    // The others are being saved meanwhile.
    assert.ok(!list.find((one) => one.id === 'kept').unsaved, 'it was saved when it was stopped');
    daemon.assertNoLeaks();
  });

  it('lets each be used again, with its files and nothing that ran', async () => {
    for (const id of ids) {
      const look = 'hostname; cat /workspace/file; ls /dev/shm; pgrep -fx "sleep 4321" || echo nothing runs';
      assert.equal(await daemon.sandbox(id).sh(look), `${id}\n${id}\nnothing runs\n`);
    }
  });

  it('leaves no limit behind', async () => {
    const more = await daemon.sandbox('limited').run('head -c 100M /dev/zero > /workspace/large');
    assert.notEqual(more.exitCode, 0);
    await daemon.sandbox('limited').sh('rm /workspace/large; cat /workspace/file');
  });

  it('has another member made, and what it was of the other is gone', async () => {
    await eventually('another one waits', () =>
      sqlite("SELECT iid FROM sandboxes WHERE pool_key <> '' AND state IN ('running', 'paused')").length > 0);
    assert.equal(sqlite(`SELECT count(*) FROM sandboxes WHERE iid = '${member}'`), '0');
    assert.ok(!fs.existsSync(path.join(daemon.stateDir, 'sandboxes', member)));
    const created = await daemon.sandbox('new').create();
    assert.notEqual(created.phases.claim, undefined);
    assert.equal(await daemon.sandbox('new').sh('hostname'), 'new\n');
  });

  it('can have all of them deleted', async () => {
    for (const id of ids) assert.equal((await daemon.sandbox(id).delete()).status, 204);
    daemon.assertNoLeaks();
  });
});
