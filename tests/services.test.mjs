// SPDX-License-Identifier: Apache-2.0
// Processes that begin again with their sandbox: after a stop, after its end, with a new daemon.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {assertError} from './support/http.mjs';
import {eventBytes} from './support/sandbox.mjs';

/** The parent, as the host counts them, of the one process with this command line. */
function parentOf(commandLine) {
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1') !== commandLine) continue;
      return Number(fs.readFileSync(`/proc/${pid}/status`, 'latin1').match(/^PPid:\s+(\d+)/m)[1]);
    } catch {
      // It has just ended.
    }
  }
  throw new Error(`no process is ${commandLine}`);
}

describe('services', () => {
  let daemon;
  before(async () => { daemon = await Daemon.start({sections: {sleep: {busy_cpus: 0}}}); });
  after(() => daemon?.cleanup());

  const ask = (id, method, path, json) =>
    daemon.request('', {method, path: `/v1/sandboxes/${id}/${path}`, json, limitMs: 120_000});
  async function ok(...args) {
    const answer = await ask(...args);
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  }
  const start = (id, json) => ok(id, 'POST', 'processes', json);
  const list = async (id) => Object.fromEntries(
    (await ok(id, 'GET', 'processes')).processes.map((one) => [one.id, one]));
  const log = async (id, process) => {
    const {chunks} = await ok(id, 'GET', `processes/${process}/logs`);
    return Buffer.concat(chunks.map(eventBytes)).toString();
  };
  const logged = (id, process, text) =>
    eventually(`the log of ${process} is ${JSON.stringify(text)}`, async () => await log(id, process) === text);
  const state = async (id) => (await daemon.list()).find((one) => one.id === id)?.state;
  const stop = async (id) => {
    await ok(id, 'POST', 'stop', {});
    assert.equal(await state(id), 'stopped');
  };

  it('begin again after a stop, by their names, and their logs go on', async () => {
    const box = daemon.sandbox('again');
    await box.create({env: {COMMON: 'of-all'}});
    await box.sh('mkdir /workspace/sub; chown 1234 /workspace/sub');
    const made = await start('again', {
      id: 'web', command: 'echo "$COMMON $OWN $(pwd) $(id -u)"; echo err >&2; exec sleep 1000', env: {OWN: "it's"},
      cwd: '/workspace/sub', user: '1234', service: true});
    assert.deepEqual([made.service, made.keepAwake, made.restart], [true, false, 'always']);
    await start('again', {id: 'once', argv: ['sh', '-c', 'echo once; exit 0'], service: true, restart: 'never'});
    await start('again', {id: 'plain', command: 'sleep 1000'});
    const line = "of-all it's /workspace/sub 1234\nerr\n";
    await logged('again', 'web', line);
    await logged('again', 'once', 'once\n');
    for (const times of [2, 3]) {
      await stop('again');
      const all = await list('again');
      assert.deepEqual(Object.keys(all).sort(), ['once', 'web']);
      assert.deepEqual([all.web.status, all.web.service, all.web.cwd], ['running', true, '/workspace/sub']);
      assert.deepEqual([all.once.restart, all.once.service], ['never', true]);
      await logged('again', 'web', line.repeat(times));
      await logged('again', 'once', 'once\n'.repeat(times));
      assert.equal((await ok('again', 'GET', 'processes/web')).logEnd, line.length * times);
    }
  });

  it('go on with a new daemon, and begin again when their sandbox has ended', async () => {
    const box = daemon.sandbox('crash');
    await box.create();
    const program = `1000.${daemon.pid}`;
    const {pid} = await start('crash', {id: 'svc', command: `echo begun; exec sleep ${program}`, service: true});
    await logged('crash', 'svc', 'begun\n');
    await daemon.kill9();
    await daemon.restart();
    const adopted = (await list('crash')).svc;
    assert.deepEqual([adopted.pid, adopted.service, adopted.status], [pid, true, 'running']);
    // Its PID 1 ends, as if the host had ended it.
    process.kill(parentOf(`sleep\0${program}\0`), 'SIGKILL');
    await eventually('it is seen to have ended', async () => await state('crash') === 'stopped');
    assert.equal((await list('crash')).svc.status, 'running');
    await logged('crash', 'svc', 'begun\nbegun\n');
    // A daemon that finds it stopped knows them, too.
    await stop('crash');
    await daemon.kill9();
    await daemon.restart();
    assert.equal((await list('crash')).svc.status, 'running');
    await logged('crash', 'svc', 'begun\nbegun\nbegun\n');
  });

  it('that cannot begin are told of, and are no failure of the sandbox', async () => {
    const box = daemon.sandbox('broken');
    await box.create();
    await box.sh('cp /bin/sleep /workspace/mine');
    await start('broken', {id: 'gone', argv: ['/workspace/mine', '1000'], service: true});
    await start('broken', {id: 'fine', argv: ['sleep', '1000'], service: true});
    await box.sh('rm /workspace/mine');
    await stop('broken');
    const all = await list('broken');
    assert.equal(all.fine.status, 'running');
    assert.equal(all.gone.status, 'error');
    assert.match(all.gone.error, /mine/);
    assert.equal(all.gone.startTime, undefined);
    assert.equal((await ok('broken', 'GET', 'processes/gone')).status, 'error');
    assert.equal((await ok('broken', 'DELETE', 'processes/gone')).status, 'error');
    assertError(await ask('broken', 'GET', 'processes/gone'), 404, 'PROCESS_NOT_FOUND');
  });

  it('are none any more once they are deleted, or another process has their name', async () => {
    const box = daemon.sandbox('forget');
    await box.create();
    for (const id of ['one', 'two', 'three', 'four']) await start('forget', {id, command: 'sleep 1000', service: true});
    const ended = await ok('forget', 'DELETE', 'processes/one');
    assert.deepEqual([ended.status, ended.service], ['killed', undefined]);
    assertError(await ask('forget', 'POST', 'processes', {id: 'two', command: 'true'}), 409, 'PROCESS_ALREADY_EXISTS');
    await ok('forget', 'DELETE', 'processes/three');
    const plain = await start('forget', {id: 'three', command: 'exit 0'});
    assert.equal(plain.service, undefined);
    await stop('forget');
    assert.deepEqual(Object.keys(await list('forget')).sort(), ['four', 'two']);
    await ok('forget', 'DELETE', 'processes');
    await stop('forget');
    assert.deepEqual(await list('forget'), {});
    // One that is made anew under the name has none of it.
    await start('forget', {id: 'four', command: 'sleep 1000', service: true});
    assert.equal((await box.delete()).status, 204);
    await box.create();
    assert.deepEqual(await list('forget'), {});
  });

  it('are refused as a whole when they cannot be', async () => {
    const box = daemon.sandbox('refuse');
    await box.create();
    assertError(await ask('refuse', 'POST', 'processes', {command: 'true', keepAwake: true}), 400, 'VALIDATION_FAILED');
    assertError(await ask('refuse', 'POST', 'processes', {argv: ['no-such'], service: true}), 404, 'COMMAND_NOT_FOUND');
    assert.deepEqual(await list('refuse'), {});
    for (let i = 0; i < 64; ++i) await start('refuse', {id: `s${i}`, argv: ['sleep', '1000'], service: true});
    assertError(await ask('refuse', 'POST', 'processes', {id: 'more', argv: ['sleep', '1000'], service: true}), 503,
                'TOO_MANY_SERVICES');
    assert.equal((await list('refuse')).more?.status, 'killed');
    // One that is there already is no other.
    await ok('refuse', 'DELETE', 'processes');
  });

  it('keep their sandbox awake when they are asked to, and only as long as they run', async () => {
    for (const [id, keepAwake] of [['awake', true], ['asleep', false]]) {
      await daemon.sandbox(id).create({sleepAfter: '1s'});
      const made = await start(id, {id: 'svc', command: 'exec sleep 1000', service: true, restart: 'never', keepAwake});
      assert.equal(made.keepAwake, keepAwake);
    }
    await eventually('the other one sleeps', async () => await state('asleep') === 'paused', 60_000);
    // Longer than the other has taken.
    await new Promise((resolve) => setTimeout(resolve, 4000));
    assert.equal(await state('awake'), 'running');
    await daemon.sandbox('awake').sh('pkill -x sleep');
    await eventually('it sleeps, too', async () => await state('awake') === 'paused', 60_000);
  });
});
