// SPDX-License-Identifier: Apache-2.0
// What is told of the resources that a command in a session, a process and one on a terminal used.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';

// Until it has used this much processor time itself, however slow the machine is.
const BURN = 'import time\nwhile time.process_time() < 0.4: pass\n';
const HOG = "python3 -c 'x = bytearray(600 << 20)'";

describe('usage', () => {
  let daemon;
  before(async () => {
    daemon = await Daemon.start();
    await daemon.sandbox('used').create({memory: '128M'});
  });
  after(() => daemon?.cleanup());

  const ask = async (method, path, json) => {
    const answer = await daemon.request('', {method, path: `/v1/sandboxes/used${path}`, json});
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  };
  const session = async () => (await ask('POST', '/sessions', {})).id;
  const ended = async (id) => (await ask('GET', `/processes/${id}/wait?for=exit&timeoutMs=60000`)).process;

  it('of a command in a session is of it alone', async () => {
    const id = await session();
    const run = (command, more = {}) => ask('POST', '/exec', {session: id, command, ...more});
    const busy = await run(`python3 -c '${BURN}'`);
    assert.ok(busy.cpuMs >= 350, JSON.stringify(busy));
    assert.ok(busy.maxRssBytes > 1 << 20, JSON.stringify(busy));
    const idle = await run('true');
    assert.ok(idle.cpuMs < 350, JSON.stringify(idle));
    const large = await run("python3 -c 'x = bytearray(64 << 20); import time; time.sleep(1.5)'");
    assert.ok(large.maxRssBytes >= 64 << 20, JSON.stringify(large));
    const after = await run('true');
    assert.ok(after.maxRssBytes < 64 << 20, JSON.stringify(after));
    const late = await run("python3 -c 'while True: pass'", {timeoutMs: 1500});
    assert.equal(late.timedOut, true);
    assert.ok(late.cpuMs > 0, JSON.stringify(late));
  });

  it('says that memory ended a command in a session, and the session goes on', async () => {
    const id = await session();
    await ask('POST', '/exec', {session: id, command: 'X=kept'});
    const answer = await ask('POST', '/exec', {session: id, command: HOG});
    assert.deepEqual([answer.exitCode, answer.oomKilled], [137, true]);
    const next = await ask('POST', '/exec', {session: id, command: 'echo $X; sh -c "kill -9 \\$\\$"'});
    assert.deepEqual([next.stdout, next.exitCode, next.oomKilled], ['kept\n', 137, false]);
  });

  it('says that memory ended a process that nobody waited for', async () => {
    const {id} = await ask('POST', '/processes', {command: HOG});
    await eventually('it has ended', async () => (await ask('GET', `/processes/${id}`)).endTime !== undefined);
    const process = await ask('GET', `/processes/${id}`);
    assert.deepEqual([process.exitCode, process.oomKilled], [137, true]);
    assert.equal((await ask('GET', '/processes')).processes.find((one) => one.id === id).oomKilled, true);
    // Killed by somebody, and later than what the agent may take to notice an end.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const other = await ask('POST', '/processes', {command: 'sleep 1000'});
    await ask('POST', `/processes/${other.id}/signal`, {signal: 'KILL'});
    const killed = await ended(other.id);
    assert.deepEqual([killed.exitCode, killed.oomKilled], [137, false]);
    const fine = await ended((await ask('POST', '/processes', {command: 'true'})).id);
    assert.equal(fine.oomKilled, false);
    assert.equal((await ask('GET', `/processes/${id}`)).oomKilled, true, 'it still is');
  });

  it('says of everything that ends at the same moment whether memory ended it', async () => {
    for (const code of [137, 0]) {
      const other = ask('POST', '/exec', {argv: ['sleep', '41001']});
      await eventually('it runs', async () => (await ask('POST', '/exec', {argv: ['pgrep', '-fx', 'sleep 41001']})).exitCode === 0);
      // A child was ended for memory; what is killed right behind that was not.
      const hog = await ask('POST', '/exec', {command: `${HOG}; pkill -9 -fx 'sleep 41001'; exit ${code}`});
      assert.deepEqual([hog.exitCode, hog.oomKilled], [code, code === 137]);
      const killed = await other;
      assert.deepEqual([killed.exitCode, killed.oomKilled], [137, false], `beside one that ends with ${code}`);
    }
    const slow = await ask('POST', '/exec', {command: `${HOG}; sleep 1.5; exit 137`});
    assert.deepEqual([slow.exitCode, slow.oomKilled], [137, true], 'the shell went on for a while');
    const later = await ask('POST', '/exec', {command: 'kill -9 $$'});
    assert.deepEqual([later.exitCode, later.oomKilled], [137, false], 'that one has its owner');
    const both = await Promise.all([0, 1].map(() => ask('POST', '/exec', {command: HOG})));
    assert.deepEqual(both.map(({exitCode, oomKilled}) => [exitCode, oomKilled]), [[137, true], [137, true]]);
  });
});
