// SPDX-License-Identifier: Apache-2.0
// Every stream there is, with clients that leave wherever one can, and with clients that do not read.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {Dialects} from './support/dialects.mjs';
import {WebSocket} from './support/terminal.mjs';

const MIB = 1 << 20;
const LIMIT_MS = 20_000;
// What the daemon may keep for a client that reads nothing: buffers of the connection, of HTTP and of the agent's; of a
// snapshot also what is read ahead.
const KEPT = 24 * MIB;
const KEPT_AHEAD = 48 * MIB;
// Of the agent, for each client: a watch is kept for a minute, a session remembers some shells that were given up, and a
// terminal that has ended can still be read.
const KEPT_FDS = {'a watch': 4, 'a terminal': 0.5, 'the SDK\'s command': 1, 'the SDK\'s stream': 1, 'the SDK\'s file': 1,
                  'the SDK\'s watch': 1};
// Writes for ever, marked; 64 KiB at a time, or line by line.
// An end of it there is all the same, should a test not come to its own.
const FLOOD = `ulimit -t 30; exec -a atoll-flood python3 -c 'while True: print("y" * 4000)'`;
const SILENT = 'exec -a atoll-silent sleep 1000';

describe('streams', () => {
  let daemon;
  let box;
  let every;
  let snapshot;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('streams');
    await box.create();
    every = new Dialects(daemon, 'streams');
    await box.sh(`truncate -s 2G /workspace/large; mkdir -p /workspace/busy /workspace/saved
      head -c 40000000 /dev/urandom > /workspace/saved/noise`);
    snapshot = (await box.snapshot('/workspace/saved')).snapshotId;
    for (const [id, command] of [['talks', FLOOD.replace('flood', 'talks')], ['silent', 'exec sleep 1000']]) {
      const made = await every.api('POST', '/processes', {json: {id, command}});
      assert.equal(made.status, 200, made.text);
    }
    // Something happens there all the time.
    await box.background(`exec python3 -c 'while True: open("/workspace/busy/f", "a").write("x"); import time; time.sleep(0.002)'`);
    // The first of each makes a kernel and a shell that stay.
    assert.equal((await every.api('POST', '/code', {json: {code: '1'}})).status, 200);
    for (const sessionId of ['s', 't']) assert.equal((await every.sdk('execute', {command: 'true', sessionId})).status, 200);
    await every.bridge('POST', '/exec', {json: {argv: ['true']}});
  });
  after(() => daemon?.cleanup());

  /** The bytes of a request. */
  function text(host, method, path, body, headers = {}, length = undefined) {
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body === undefined ? '' : JSON.stringify(body));
    const all = {Host: host, 'Content-Type': 'application/json', 'Content-Length': length ?? bytes.length, ...headers};
    const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join('');
    return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${head}\r\n`), bytes]);
  }
  const api = (method, path, body, headers, length) =>
    text(daemon.bare, method, `/v1/sandboxes/streams${path}`, body, headers, length);
  const bridge = (method, path, body) => text(daemon.bare, method, `/v1/sandbox/streams${path}`, body);
  const sdk = (path, body, method = 'POST') => text(daemon.host('sdk--streams'), method, `/api/${path}`, body);
  const sse = {Accept: 'text/event-stream'};
  const upgrade = {Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': 13,
                   'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ=='};
  // Not all that it can: a kernel whose output waits to be taken is slow to hear of an interrupt.
  const loop = 'import time\nwhile True:\n    print("y" * 4000)\n    time.sleep(0.001)';
  const nap = 'import time\ntime.sleep(1000)';

  /** Request and how much of the answer comes by itself: 'much', 'head' alone, or 'nothing'. */
  const streams = () => ({
    'a command, as events': ['much', api('POST', '/exec', {command: FLOOD}, sse)],
    'a command that says nothing, as events': ['head', api('POST', '/exec', {command: SILENT}, sse)],
    'a command, as bytes': ['much', api('POST', '/exec', {command: FLOOD}, {Accept: 'application/octet-stream'})],
    'a command that is waited for': ['nothing', api('POST', '/exec', {command: SILENT})],
    '/run': ['much', text(daemon.host('streams'), 'POST', '/run', {command: FLOOD})],
    'a log that is followed': ['much', api('GET', '/processes/talks/logs?follow=1', undefined, sse)],
    'a log of which nothing comes': ['head', api('GET', '/processes/silent/logs?follow=1', undefined, sse)],
    'waiting for a line': ['nothing', api('GET', '/processes/silent/wait?for=log&pattern=never')],
    'waiting for an end': ['nothing', api('GET', '/processes/silent/wait?for=exit')],
    'waiting for a port': ['nothing', api('GET', '/processes/silent/wait?for=port&port=9')],
    'a sandbox\'s events': ['some', api('GET', '/events', undefined, sse)],
    'a file': ['much', api('GET', '/files/workspace/large')],
    'an archive': ['much', api('GET', '/archive?path=/workspace')],
    'a compressed archive': ['much', api('GET', '/archive?path=/workspace/saved&format=tar.zst')],
    'a snapshot\'s archive': ['much', text(daemon.bare, 'GET', `/v1/snapshots/${snapshot}/archive`)],
    'code': ['much', api('POST', '/code', {code: loop}, sse)],
    'code before it says anything': ['head', api('POST', '/code', {code: nap}, sse)],
    'code that is waited for': ['nothing', api('POST', '/code', {code: nap})],
    // It goes on without its client, as Cloudflare's does, until its time is up.
    'the bridge\'s command': ['much', bridge('POST', '/exec', {argv: ['bash', '-c', FLOOD], timeout_ms: 1000})],
    'the bridge\'s file': ['much', bridge('GET', '/file/workspace/large')],
    'the bridge\'s workspace': ['much', bridge('POST', '/persist')],
    'the SDK\'s stream': ['much', sdk('execute/stream', {command: FLOOD, sessionId: 's'})],
    'the SDK\'s command': ['nothing', sdk('execute', {command: `( ${SILENT} )`, sessionId: 's'})],
    'the SDK\'s file': ['much', sdk('read/stream', {path: '/workspace/large', sessionId: 't'})],
    'the SDK\'s log': ['much', sdk('process/talks/stream', undefined, 'GET')],
    'the SDK\'s watch': ['some', sdk('watch', {path: '/workspace/busy', sessionId: 't'})],
    'the SDK\'s code': ['much', sdk('execute/code', {code: loop, language: 'python'})],
    'a file that is written': ['nothing', api('PUT', '/files/workspace/new', Buffer.alloc(MIB), {}, 4 * MIB)],
    'an archive that is unpacked': ['nothing', api('PUT', '/archive?path=/workspace/saved/new', Buffer.alloc(512), {}, 4 * MIB)],
    'a terminal': ['some', api('GET', `/pty?command=${encodeURIComponent(FLOOD)}&linger=1`, undefined, upgrade)],
    'a command on a WebSocket': ['head', api('GET', '/exec/ws', undefined, upgrade)],
    'the SDK\'s WebSocket': ['head', text(daemon.host('sdk--streams'), 'GET', '/ws', undefined, upgrade)],
    // The last, for what is kept of it.
    'a watch': ['some', api('GET', '/watch?path=/workspace/busy', undefined, sse)],
  });

  /** Sends `bytes` and leaves: at once, with the head, or in the middle of the answer's body. */
  function leave(what, bytes, point, how) {
    return new Promise((resolve, reject) => {
      const socket = net.connect(daemon.port, '127.0.0.1');
      let got = Buffer.alloc(0);
      const timer = setTimeout(() => done(new Error(`${what}: it came to no ${point}: ${got.subarray(0, 500)}`)), LIMIT_MS);
      const done = (error) => {
        clearTimeout(timer);
        socket.removeAllListeners('data');
        if (how === 'reset') socket.resetAndDestroy(); else socket.destroy();
        if (error) reject(error); else resolve();
      };
      socket.on('error', (error) => done(error));
      socket.on('end', () => done(new Error(`${what}: ended by itself: ${got.subarray(0, 500)}`)));
      socket.on('data', (data) => {
        got = Buffer.concat([got, data]);
        const end = got.indexOf('\r\n\r\n');
        if (end < 0) return;
        const status = Number(got.subarray(9, 12));
        if (status >= 300) done(new Error(`${what}: ${got.subarray(0, 500)}`));
        else if (point === 'head' || got.length - end - 4 > point) done();
      });
      socket.on('connect', () => {
        if (point === 'half a request') socket.write(bytes.subarray(0, bytes.length / 2), () => done());
        else socket.write(bytes, () => { if (point === 'request') done(); else if (point === 'begun') setTimeout(done, 40); });
      });
    });
  }

  /** What would be left behind: programs that do not belong there, descriptors of the daemon and of the agent. */
  async function standing() {
    const [fds, programs] = (await box.sh(`ls /proc/1/fd 2>/dev/null | wc -l; echo "--"
      ps -e -o args= | grep -E 'atoll-(flood|silent)|^(rg|grep|tar) |sleep 1000' | grep -vE 'grep -E|^sleep 1000$|^ps ' || true`)).split('--\n');
    return {agent: Number(fds), programs, daemon: fs.readdirSync(`/proc/${daemon.pid}/fd`).length};
  }

  const points = {nothing: ['half a request', 'request', 'begun'], head: ['half a request', 'request', 'head'],
                  some: ['request', 'head', 10], much: ['request', 'head', 10, 100_001]};

  it('leave nothing behind, wherever their clients leave', async () => {
    let before;
    await eventually('it is quiet', async () => {
      const now = await standing();
      const quiet = before && now.agent === before.agent && now.daemon === before.daemon && now.programs === '';
      before = now;
      return quiet;
    });
    const left = async (what) => {
      let now;
      await eventually(what, async () => {
        now = await standing();
        return now.programs === '' && now.agent <= before.agent && now.daemon <= before.daemon + 2;
      }, 30_000).catch((error) => assert.fail(`${error.message}: ${JSON.stringify({before, now})}`));
    };
    for (const [what, [comes, bytes]] of Object.entries(streams())) {
      for (const point of points[comes]) {
        await leave(what, bytes, point, 'close');
        await leave(what, bytes, point, 'reset');
      }
      before.agent += 2 * points[comes].length * (KEPT_FDS[what] ?? 0);
      await left(`nothing is left of ${what}`);
    }
    const kernel = await every.api('POST', '/code', {json: {code: '40 + 2'}});
    assert.equal(kernel.json().results[0].text, '42', 'the context goes on');
    for (const id of ['talks', 'silent']) {
      assert.equal((await every.api('GET', `/processes/${id}`)).json().status, 'running', 'a process is not its reader\'s');
    }
    assert.equal((await every.sdk('execute', {command: 'echo on', sessionId: 's'})).json().stdout, 'on\n');
    assert.equal(await box.sh('ls -A /workspace'), 'busy\nlarge\nsaved\n', 'nothing half written');
  });

  describe('that nobody reads', () => {
    /** Sends `bytes` and reads nothing; the socket. */
    const ignore = (bytes) => new Promise((resolve, reject) => {
      const socket = net.connect(daemon.port, '127.0.0.1', () => socket.write(bytes, () => resolve(socket)));
      socket.on('error', reject);
      socket.pause();
    });
    const works = async () => {
      assert.equal((await every.api('POST', '/exec', {json: {argv: ['echo', 'on']}})).json().stdout, 'on\n');
    };

    it('stop what writes, grow nothing, and hold up nobody', async () => {
      const much = Object.entries(streams()).filter(([, [comes]]) => comes === 'much');
      assert.ok(much.length >= 12);
      for (const [what, [, bytes]] of much) {
        const before = daemon.residentBytes();
        const sockets = [];
        for (let i = 0; i < 2; ++i) sockets.push(await ignore(bytes));
        await sleep(250);
        await works();
        const grown = daemon.residentBytes() - before;
        for (const socket of sockets) socket.destroy();
        assert.ok(grown < 2 * (what.startsWith('a snapshot') ? KEPT_AHEAD : KEPT), `${what}: the daemon grew by ${grown}`);
      }
    });

    it('leave room for others: files are read and listed while many snapshots are not taken', async () => {
      const archive = `/v1/snapshots/${snapshot}/archive`;
      const file = `/v1/snapshots/${snapshot}/file?path=noise`;
      const whole = await daemon.request('', {path: archive});
      const sockets = [];
      for (let i = 0; i < 8; ++i) {
        for (const path of [archive, file]) sockets.push(await ignore(text(daemon.bare, 'GET', path)));
      }
      await sleep(500);
      // They are given up after half a minute; nobody else waits for that.
      const soon = async (path, headers = {}) => {
        const answer = await daemon.request('', {path, headers, limitMs: 15_000});
        assert.ok(answer.status < 300, `${path}: ${answer.text}`);
        return answer;
      };
      assert.equal((await soon('/v1/sandboxes/streams/files/etc/hostname')).text, 'sandbox\n');
      await soon(`/v1/snapshots/${snapshot}/tree`);
      const noise = (await soon('/v1/sandboxes/streams/files/workspace/saved/noise')).bytes;
      assert.ok((await soon(file)).bytes.equals(noise), 'the file of the snapshot');
      const across = await soon(file, {Range: 'bytes=8388000-16778000'});
      assert.ok(across.bytes.equals(noise.subarray(8388000, 16778001)), 'a part of it');
      for (const socket of sockets) socket.destroy();
      const later = await daemon.request('', {path: archive});
      assert.equal(later.bytes.length, whole.bytes.length, 'those behind them get theirs');
    });

    it('go on where they were when somebody does', async () => {
      const numbers = `exec -a atoll-flood python3 -c 'for i in range(300000): print(i)'`;
      for (const [what, bytes] of [['events', api('POST', '/exec', {command: numbers}, sse)],
                                   ['code', api('POST', '/code', {code: 'for i in range(50000): print(i)', maxOutputBytes: 64 * MIB}, sse)]]) {
        const socket = await ignore(bytes);
        await sleep(300);
        let said = '';
        let rest = '';
        socket.on('data', (data) => { rest += data.toString('latin1'); });
        socket.resume();
        await eventually(`${what} come to their end`, () => rest.endsWith('\r\n0\r\n\r\n'), 60_000);
        const body = rest.slice(rest.indexOf('\r\n\r\n') + 4).replace(/(?:^|\r\n)[0-9a-f]+\r\n/g, '');
        for (const block of body.split('\n\n')) {
          if (!block.startsWith('data: ')) continue;
          const event = JSON.parse(block.slice(6).trim());
          if (event.type === 'stdout') said += event.data ?? event.text;
        }
        const lines = said.split('\n').slice(0, -1);
        assert.equal(lines.length, what === 'code' ? 50_000 : 300_000, what);
        assert.ok(lines.every((line, i) => line === `${i}`), what);
        socket.destroy();
      }
    });

    it('on a WebSocket: a command waits for its client', async () => {
      const before = daemon.residentBytes();
      const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/v1/sandboxes/streams/exec/ws`,
                                   {headers: {Host: daemon.bare}, perMessageDeflate: false});
      await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
      let bytes = 0;
      socket.on('message', (data, binary) => { if (binary) bytes += data.length - 1; });
      socket.pause();
      socket.send(JSON.stringify({command: 'head -c 100000000 /dev/zero; echo end > /tmp/end'}));
      await sleep(500);
      await works();
      assert.ok(daemon.residentBytes() - before < KEPT, `grew by ${daemon.residentBytes() - before}`);
      assert.equal((await box.run('test -e /tmp/end')).exitCode, 1, 'it waits');
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.resume();
      assert.equal(await closed, 1000);
      assert.equal(bytes, 100_000_000);
    });

    it('on the SDK\'s WebSocket: many streams at once, in bounded memory, each to its end', async () => {
      const before = daemon.residentBytes();
      const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/ws`,
                                   {headers: {Host: daemon.host('sdk--streams')}, perMessageDeflate: false});
      await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
      const said = {};
      const ended = new Set();
      socket.on('message', (data) => {
        const message = JSON.parse(data);
        if (message.type === 'stream') {
          const event = JSON.parse(message.data);
          if (event.type === 'stdout') said[message.id] = (said[message.id] ?? 0) + event.data.length;
        } else if (message.done) {
          ended.add(message.id);
        }
      });
      socket.pause();
      const ask = (id, command) => socket.send(JSON.stringify({
        type: 'request', id, method: 'POST', path: '/api/execute/stream', body: {command, sessionId: 's'}}));
      for (let i = 0; i < 8; ++i) ask(`big-${i}`, 'head -c 8000000 /dev/zero | tr "\\0" y');
      await sleep(700);
      await works();
      assert.ok(daemon.residentBytes() - before < 2 * KEPT, `grew by ${daemon.residentBytes() - before}`);
      // One that flows beside others that flow.
      socket.resume();
      ask('small', 'echo small');
      await eventually('all have ended', () => ended.size === 9, 60_000);
      assert.deepEqual(Object.values(said).sort(), [6, ...Array(8).fill(8_000_000)].sort());
      socket.terminate();
    });
  });
});
