// SPDX-License-Identifier: Apache-2.0
// A request that came to a daemon which has given its place to a newer one is answered as if there had been but one.

import assert from 'node:assert/strict';
import net from 'node:net';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {alive, upgrade} from './support/upgrade.mjs';

describe('what an earlier daemon has not answered', () => {
  let daemon;
  before(async () => {
    daemon = await Daemon.start({sections: {limits: {max_sandboxes: 9}, sleep: {after: 'off', stop_after: 'off'}}});
  });
  after(async () => { await daemon?.cleanup(); });

  const v1 = (id, method, what, json = undefined) =>
    daemon.request('', {method, path: `/v1/sandboxes/${id}${what}`, json, limitMs: 60_000});

  /** A request whose body lacks its end: `end()` sends that and gives {status, text}. */
  function begun(method, host, path, json, headers = {}) {
    const body = JSON.stringify(json);
    const socket = net.connect(daemon.port, '127.0.0.1');
    const lines = Object.entries({
      Host: `${host}:${daemon.port}`, 'Content-Type': 'application/json', 'Content-Length': body.length, ...headers,
    }).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body.slice(0, -1)}`);
    let text = '';
    socket.on('data', (data) => { text += data; });
    const closed = new Promise((resolve) => {
      socket.once('close', resolve);
      socket.once('error', (error) => { text += error.message; });
    });
    return {
      name: `${method} ${host}${path}`,
      end: async () => {
        socket.write(body.slice(-1));
        await closed;
        return {status: Number(text.split(' ')[1]), text};
      },
    };
  }

  it('is what a newer one answers: of sandboxes that sleep or have stopped, of new ones, and of their ends', async () => {
    const rest = {sleeps: '/sleep', stopped: '/stop', asks: '/stop', mcp: '/sleep', doomed: '/sleep', up: null};
    for (const [id, how] of Object.entries(rest)) {
      const box = daemon.sandbox(id);
      await box.create({opencode: false, snapshots: {onStop: false}});
      await box.sh(`echo file of ${id} > /workspace/file`);
      if (how) assert.equal((await v1(id, 'POST', how, {})).status, 200);
    }
    const cat = {command: 'cat /workspace/file'};
    const mcp = {
      jsonrpc: '2.0', id: 1, method: 'tools/call', params: {name: 'run', arguments: {sandbox: 'mcp', ...cat}},
    };
    const asked = {
      sleeps: begun('POST', 'sleeps.localhost', '/run', cat),
      stopped: begun('POST', 'stopped.localhost', '/run', cat),
      asks: begun('POST', 'sdk--asks.localhost', '/api/execute', cat),
      mcp: begun('POST', 'localhost', '/v1/mcp', mcp,
                 {Accept: 'application/json, text/event-stream', 'MCP-Protocol-Version': '2025-06-18'}),
      made: begun('POST', 'made.localhost', '/create', {opencode: false}),
      stop: begun('POST', 'localhost', '/v1/sandboxes/up/stop', {}),
      doomed: begun('DELETE', 'localhost', '/v1/sandboxes/doomed', {}),
    };
    await sleep(200);
    const old = await upgrade(daemon);
    assert.ok(alive(old), 'it has requests to answer');
    for (const [id, one] of Object.entries(asked)) {
      const answer = await one.end();
      assert.ok(answer.status >= 200 && answer.status < 300, `${one.name}: ${answer.text}`);
      if (id in rest && !['doomed', 'up'].includes(id)) {
        assert.ok(answer.text.includes(`file of ${id}`), `${one.name}: ${answer.text}`);
      }
    }
    const states = Object.fromEntries((await daemon.list()).map((one) => [one.id, one.state]));
    assert.deepEqual(states, {sleeps: 'running', stopped: 'running', asks: 'running', mcp: 'running', made: 'running', up: 'stopped'});
    await eventually('the old one has ended', () => !alive(old));
    await v1('made', 'DELETE', '');
  });

  it('goes on waiting for room, and gets it', async () => {
    for (let i = 0; (await daemon.list()).length < 9; i++) await daemon.sandbox(`full-${i}`).create({opencode: false});
    let answered = false;
    const waiting = daemon.sandbox('patient').post('/create', {opencode: false}, {
      headers: {Prefer: 'wait=60'}, limitMs: 60_000,
    }).finally(() => { answered = true; });
    await sleep(300);
    const old = await upgrade(daemon);
    assert.ok(!answered, 'there is no room yet');
    await v1('full-0', 'DELETE', '');
    const answer = await waiting;
    assert.equal(answer.status, 200, answer.text);
    await eventually('the old one has ended', () => !alive(old));
    assert.equal(await daemon.sandbox('patient').sh('echo works'), 'works\n');
  });

  it('is told to nobody while wakes and starts come all the time', async () => {
    const ids = ['sleeps', 'stopped', 'up', 'patient'];
    const failures = [];
    let asking = true;
    let count = 0;
    const all = ids.flatMap((id, i) => [0, 1].map(async (which) => {
      while (asking) {
        // One puts it to rest, the other wants it.
        const answer = which === 0 ? await v1(id, 'POST', i % 2 ? '/stop' : '/sleep', {}) :
          await daemon.sandbox(id).post('/run', {command: 'echo mine'}, {limitMs: 60_000});
        const inUse = which === 0 && answer.text.includes('SANDBOX_IN_USE');
        if (answer.status !== 200 && !inUse) failures.push(`${id}: ${answer.status} ${answer.text}`);
        count++;
      }
    }));
    for (let i = 0; i < 3; i++) {
      await sleep(300);
      await upgrade(daemon);
    }
    asking = false;
    await Promise.all(all);
    assert.deepEqual(failures.slice(0, 3), [], `${failures.length} of ${count}`);
    assert.ok(count > 50, `${count} requests`);
    daemon.assertNoLeaks();
  });
});
