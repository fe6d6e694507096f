// SPDX-License-Identifier: Apache-2.0
// Whatever comes first to a sandbox that sleeps or has stopped succeeds, and says what it waited for.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon} from './support/daemon.mjs';
import {upgrade} from './support/http.mjs';

/** {name: milliseconds} of an answer's Server-Timing. */
function timing(headers) {
  const said = headers['server-timing'] ?? '';
  return Object.fromEntries(said.split(',').filter(Boolean).map((entry) => {
    const [, name, ms] = entry.trim().match(/^([a-z]+);dur=([\d.]+)$/) ?? assert.fail(`Server-Timing: ${said}`);
    return [name, Number(ms)];
  }));
}

describe('the first request', () => {
  let daemon;
  let snapshot;
  const v1 = (method, what, options = {}) =>
    daemon.request('', {method, path: `/v1/sandboxes/box${what}`, limitMs: 100_000, ...options});
  const mcp = (name, args) => daemon.request('', {
    method: 'POST', path: '/v1/mcp', limitMs: 100_000,
    headers: {Accept: 'application/json, text/event-stream', 'MCP-Protocol-Version': '2025-06-18'},
    json: {jsonrpc: '2.0', id: 1, method: 'tools/call', params: {name, arguments: {sandbox: 'box', ...args}}},
  });
  const socket = (what) => async () => {
    const one = await upgrade(daemon.port, {host: daemon.bare, path: `/v1/sandboxes/box${what}`});
    one.socket.destroy();
    const said = one.head.match(/^server-timing: (.*)$/im)?.[1] ?? '';
    return {status: one.status === 101 ? 200 : one.status, headers: {'server-timing': said.trim()}, text: one.head};
  };

  const requests = {
    create: () => daemon.sandbox('box').post('/create', {opencode: false}, {limitMs: 100_000}),
    wake: () => v1('POST', '/wake', {json: {}}),
    run: () => daemon.sandbox('box').post('/run', {command: 'true'}, {limitMs: 100_000}),
    exec: () => v1('POST', '/exec', {json: {argv: ['true']}}),
    'exec/ws': socket('/exec/ws'),
    pty: socket('/pty'),
    'open a session': () => v1('POST', '/sessions', {json: {}}),
    sessions: () => v1('GET', '/sessions'),
    'start a process': () => v1('POST', '/processes', {json: {command: 'sleep 1000'}}),
    'read a file': () => v1('GET', '/files/etc/hostname'),
    'write a file': () => v1('PUT', '/files/workspace/new', {body: 'text'}),
    list: () => v1('POST', '/fs/list', {json: {path: '/workspace'}}),
    archive: () => v1('GET', '/archive?path=/workspace'),
    'git status': () => v1('POST', '/git/status', {json: {dir: '/workspace/repo'}}),
    snapshot: () => v1('POST', '/snapshot', {json: {dir: '/workspace'}}),
    restore: () => daemon.sandbox('box').post(`/restore/${snapshot}`, {}, {limitMs: 100_000}),
    'mcp run': () => mcp('run', {command: 'true'}),
    'mcp read': () => mcp('read', {path: '/etc/hostname'}),
    'mcp snapshot': () => mcp('snapshot', {}),
  };

  before(async () => {
    daemon = await Daemon.start({sections: {sleep: {after: 'off', stop_after: 'off'}}});
    const box = daemon.sandbox('box');
    await box.create({opencode: false, snapshots: {onStop: false}});
    await box.sh('git init -q /workspace/repo; hostname > /etc/hostname');
    snapshot = (await box.snapshot('/workspace')).snapshotId;
  });
  after(async () => { await daemon?.cleanup(); });

  for (const [name, send] of Object.entries(requests)) {
    it(`${name}`, async () => {
      for (const [rest, entry] of [['/sleep', 'wake'], ['/stop', 'start']]) {
        const laid = await v1('POST', rest, {json: {}});
        assert.equal(laid.status, 200, laid.text);
        const answer = await send();
        assert.ok(answer.status < 300, `${rest}: ${answer.status} ${answer.text}`);
        assert.ok(!answer.text.includes('"isError":true'), answer.text);
        const waited = timing(answer.headers);
        assert.ok(waited[entry] > 0, `${rest}: ${answer.headers['server-timing']}`);
        const again = timing((await v1('GET', '/files/etc/hostname')).headers);
        assert.deepEqual(again, {}, 'what runs is not waited for');
      }
    });
  }

  it('to OpenCode, in one that has stopped', async () => {
    const ready = await daemon.request('box', {path: '/session', headers: {'x-opencode-directory': '/workspace'}, limitMs: 100_000});
    assert.equal(ready.status, 200, ready.text);
    assert.equal((await v1('POST', '/stop', {json: {}})).status, 200);
    const answer = await daemon.request('box', {path: '/session', headers: {'x-opencode-directory': '/workspace'}, limitMs: 100_000});
    assert.equal(answer.status, 200, answer.text);
    const waited = timing(answer.headers);
    assert.ok(waited.start > 0 && waited.opencode > 0, answer.headers['server-timing']);
  });

  it('to one whose files have to come back', async () => {
    await daemon.sandbox('box').sh('echo kept > /workspace/kept');
    const saved = await v1('POST', '/snapshot', {json: {dir: '/workspace'}});
    assert.ok(saved.status < 300, saved.text);
    assert.equal((await v1('POST', '/stop', {json: {}})).status, 200);
    const layers = path.join(daemon.stateDir, 'sandboxes');
    for (const name of fs.readdirSync(layers)) fs.rmSync(path.join(layers, name), {recursive: true});
    const answer = await daemon.sandbox('box').run('cat /workspace/kept');
    assert.equal(answer.stdout, 'kept\n');
    const waited = timing(answer.headers);
    assert.ok(waited.restore > 0 && waited.start >= waited.restore, answer.headers['server-timing']);
  });
});
