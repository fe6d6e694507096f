// SPDX-License-Identifier: Apache-2.0
// What listens inside, preview URLs and who may use them, and what passes through them.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import http from 'node:http';
import {after, before, describe, it} from 'node:test';
import {WebSocket} from 'ws';

import {Daemon, eventually} from './support/daemon.mjs';
import {assertError, open, raw, request} from './support/http.mjs';

// Shows what arrives, takes and gives much, streams, upgrades.
const SERVER = `
const http = require('http');
const crypto = require('crypto');
const server = http.createServer((request, answer) => {
  const path = request.url.split('?')[0];
  if (path === '/sum') {
    const hash = crypto.createHash('sha256');
    let size = 0;
    request.on('data', (part) => { hash.update(part); size += part.length; });
    request.on('end', () => answer.end(JSON.stringify({size, hash: hash.digest('hex')})));
  } else if (path === '/give') {
    let left = Number(request.url.split('?')[1]);
    answer.writeHead(200, {'Content-Length': left});
    const piece = Buffer.alloc(1 << 16, 'x');
    const pump = () => {
      while (left > 0) {
        const part = piece.subarray(0, Math.min(left, piece.length));
        left -= part.length;
        if (!answer.write(part)) return answer.once('drain', pump);
      }
      answer.end();
    };
    pump();
  } else if (path === '/sse') {
    answer.writeHead(200, {'Content-Type': 'text/event-stream'});
    answer.write('data: first\\n\\n');
    server.once('go', () => answer.end('data: second\\n\\n'));
  } else if (path === '/go') {
    server.emit('go');
    answer.end('went');
  } else if (path === '/cookies') {
    answer.writeHead(200, [['Set-Cookie', 'atoll_preview=stolen; Path=/'], ['Set-Cookie', 'own=1; Path=/']].flat());
    answer.end();
  } else {
    answer.writeHead(200, {'Content-Type': 'application/json'});
    answer.end(JSON.stringify({url: request.url, headers: request.headers, port: server.address().port}));
  }
});
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.on('error', () => {});
  if (request.headers.upgrade !== 'websocket') {
    // Another protocol: what has come is given back when the client has ended its half.
    socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: ' + request.headers.upgrade +
                 '\\r\\nConnection: Upgrade\\r\\n\\r\\n');
    const parts = [];
    socket.on('data', (part) => parts.push(part));
    socket.on('end', () => socket.end('all: ' + Buffer.concat(parts)));
    return;
  }
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n' +
               'Sec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
  // Small unfragmented frames alone: unmasked and given back.
  let rest = Buffer.alloc(0);
  socket.on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    for (;;) {
      if (rest.length < 6) return;
      let size = rest[1] & 127, at = 2;
      if (size === 126) { size = rest.readUInt16BE(2); at = 4; }
      if (size === 127) { size = Number(rest.readBigUInt64BE(2)); at = 10; }
      if (rest.length < at + 4 + size) return;
      const mask = rest.subarray(at, at + 4);
      const body = Buffer.from(rest.subarray(at + 4, at + 4 + size));
      for (let i = 0; i < size; i++) body[i] ^= mask[i & 3];
      const head = Buffer.from(rest.subarray(0, at));
      head[1] &= 127;
      socket.write(Buffer.concat([head, body]));
      if ((head[0] & 15) === 8) socket.end();
      rest = rest.subarray(at + 4 + size);
    }
  });
});
server.listen(Number(process.argv[2]), process.argv[3] || '127.0.0.1');
`;

const HTML = {Accept: 'text/html'};

describe('ports', () => {
  let daemon;
  let demo;

  const api = (id, path, options = {}) =>
    daemon.request('', {path: `/v1/sandboxes/${id}/ports${path}`, ...options});
  const expose = async (id, port, json = {}) => {
    const answer = await api(id, `/${port}/expose`, {method: 'POST', json});
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  };
  const unexpose = async (id, port) => {
    const answer = await api(id, `/${port}/expose`, {method: 'DELETE'});
    assert.equal(answer.status, 204, answer.text);
  };
  /** Follows an URL that the API gave. */
  const get = (url, options = {}) => {
    const {host, pathname, search} = new URL(url);
    return request(daemon.port, {host, path: pathname + search, ...options});
  };

  before(async () => {
    daemon = await Daemon.start();
    demo = daemon.sandbox('demo');
    await demo.create();
    await demo.write('/tmp/server.js', SERVER);
    await demo.background('exec node /tmp/server.js 3000');
    await demo.background('exec node /tmp/server.js 3001 ::');
    for (const label of ['3000-demo', '3001-demo']) {
      await eventually(`${label} answers`, async () => (await daemon.request(label)).status === 200);
    }
  });
  after(() => daemon?.cleanup());

  describe('list', () => {
    it('names what listens and whose it is, and nothing of Atoll', async () => {
      await expose('demo', 3001, {name: 'web'});
      const {ports, complete} = (await api('demo', '')).json();
      assert.equal(complete, true);
      assert.deepEqual(ports.map((one) => [one.port, one.address]), [[3000, '127.0.0.1'], [3001, '::']]);
      for (const one of ports) {
        assert.match(one.process.name, /node|MainThread/);
        assert.deepEqual(one.process.argv.slice(1, 3), ['/tmp/server.js', String(one.port)]);
        assert.equal(one.url, daemon.url(`${one.port}-demo`));
        assert.equal(Number(await demo.sh(`readlink -f /proc/${one.process.pid}/exe | grep -c node`)), 1);
      }
      assert.equal(ports[0].exposed, null);
      assert.equal(ports[1].exposed.name, 'web');
      await unexpose('demo', 3001);
    });

    it('leaves out OpenCode\'s', async () => {
      const list = async () => (await api('demo', '')).json().ports.map((one) => one.port);
      await demo.background('exec node /tmp/server.js 4096');
      await demo.background('exec node /tmp/server.js 4097');
      await eventually('the last one listens', async () => (await list()).includes(4097));
      assert.ok(!(await list()).includes(4096));
      await demo.sh('pkill -f "server.js 409"');
    });

    it('neither wakes nor starts a sandbox', async () => {
      const rests = daemon.sandbox('rests');
      await rests.create();
      const state = async () => (await daemon.request('', {path: '/v1/sandboxes/rests'})).json().state;
      await daemon.request('', {method: 'POST', path: '/v1/sandboxes/rests/sleep', json: {force: true}});
      assert.deepEqual((await api('rests', '')).json().ports, []);
      assert.equal(await state(), 'paused');
      await daemon.request('', {method: 'POST', path: '/v1/sandboxes/rests/stop'});
      assert.deepEqual((await api('rests', '')).json().ports, []);
      assert.equal(await state(), 'stopped');
      await rests.delete();
      assertError(await api('rests', ''), 404, 'SANDBOX_NOT_FOUND');
    });
  });

  describe('expose', () => {
    it('gives an URL that works until it is taken back', async () => {
      const made = await expose('demo', 3000, {name: 'app'});
      assert.match(made.token, /^[a-z0-9]{13}$/);
      assert.equal(made.url, daemon.url(`3000-demo--${made.token}`));
      assert.equal(made.expiresAt, null);
      assert.equal((await get(made.url)).json().port, 3000);
      assert.deepEqual((await api('demo', '/exposed')).json().ports, [made]);
      assertError(await api('demo', '/3000/expose', {method: 'POST', json: {}}), 409, 'PORT_ALREADY_EXPOSED');
      await unexpose('demo', 3000);
      await unexpose('demo', 3000);
      assertError(await get(made.url), 404, 'INVALID_TOKEN');
      assert.deepEqual((await api('demo', '/exposed')).json().ports, []);
    });

    it('takes a token of one\'s own, and no other one fits', async () => {
      const made = await expose('demo', 3000, {token: 'my_token_0123456'});
      assert.equal(made.token, 'my_token_0123456');
      assert.equal((await get(made.url)).status, 200);
      for (const label of ['3000-demo--my_token_012345', '3000-demo--x', '3001-demo--my_token_0123456',
                           '3000-nobody--my_token_0123456']) {
        assertError(await daemon.request(label), 404, 'INVALID_TOKEN');
      }
      await unexpose('demo', 3000);
      const random = await expose('demo', 3000);
      assertError(await get(made.url), 404, 'INVALID_TOKEN');
      assert.equal((await get(random.url)).status, 200);
      await unexpose('demo', 3000);
    });

    it('refuses what it cannot expose, and says why', async () => {
      for (const port of ['0', '65536', 'x', '-1', '4096', '3000.5']) {
        assertError(await api('demo', `/${port}/expose`, {method: 'POST', json: {}}), 400, 'INVALID_PORT');
      }
      for (const json of [{token: ''}, {token: 'UPPER'}, {token: 'a-b'}, {token: 'x'.repeat(17)}, {ttl: 0}, {ttl: 'x'},
                          {name: 'x'.repeat(65)}, {name: 'a\nb'}, {signed: 'yes'}]) {
        const answer = await api('demo', '/3000/expose', {method: 'POST', json});
        assertError(answer, 400, 'VALIDATION_FAILED');
      }
      assertError(await api('nobody', '/3000/expose', {method: 'POST', json: {}}), 404, 'SANDBOX_NOT_FOUND');
      assertError(await api('nobody', '/3000/expose', {method: 'DELETE'}), 404, 'SANDBOX_NOT_FOUND');
      assert.deepEqual((await api('demo', '/exposed')).json().ports, []);
    });

    it('reaches the longest id with the longest token and port', async () => {
      const id = 'l'.repeat(39);
      const long = daemon.sandbox(id);
      await long.create();
      const made = await expose(id, 65535, {token: 'x'.repeat(16)});
      assert.equal(new URL(made.url).hostname.split('.')[0].length, 63);
      assertError(await get(made.url), 502, 'SERVICE_NOT_RESPONDING');
      await long.delete();
    });

    it('ends with its time', async () => {
      const made = await expose('demo', 3000, {ttl: 1});
      assert.ok(Date.parse(made.expiresAt) > Date.parse(made.createdAt));
      await eventually('it is over', async () => (await get(made.url)).status === 410);
      assertError(await get(made.url), 410, 'STALE_PREVIEW_URL');
      assert.deepEqual((await api('demo', '/exposed')).json().ports, []);
      await expose('demo', 3000, {ttl: '3d'});
      await unexpose('demo', 3000);
    });

    it('is not inherited by another sandbox of the same id', async () => {
      const again = daemon.sandbox('again');
      await again.create();
      const made = await expose('again', 3000, {token: 'same'});
      assertError(await get(made.url), 502, 'SERVICE_NOT_RESPONDING');
      await again.delete();
      assertError(await get(made.url), 410, 'STALE_PREVIEW_URL');
      await again.create();
      assertError(await get(made.url), 410, 'STALE_PREVIEW_URL');
      assert.deepEqual((await api('again', '/exposed')).json().ports, []);
      await expose('again', 3000, {token: 'same'});
      assertError(await get(made.url), 502, 'SERVICE_NOT_RESPONDING');
      await again.delete();
    });
  });

  describe('signed', () => {
    it('works with its signature alone, which the program never sees', async () => {
      const made = await expose('demo', 3000, {signed: true});
      assert.equal(made.signed, true);
      assert.ok(made.expiresAt);
      const bare = new URL(made.url);
      const signature = bare.searchParams.get('atoll_preview');
      bare.search = '';
      assertError(await get(bare), 404, 'INVALID_TOKEN');
      // A program: passed on at once.
      const seen = await get(`${bare}x?a=1&atoll_preview=${signature}&b=%20`);
      assert.equal(seen.json().url, '/x?a=1&b=%20');
      assert.equal((await get(made.url)).json().url, '/');
      // A browser: the cookie carries it from then on.
      const first = await get(`${bare}/evil.example/?a=1&atoll_preview=${signature}`, {headers: HTML});
      assert.equal(first.status, 302);
      assert.equal(first.headers.location, `${bare}/evil.example/?a=1`);
      const [cookie] = first.headers['set-cookie'];
      assert.match(cookie, /; HttpOnly/);
      assert.doesNotMatch(cookie, /domain/i);
      const pair = cookie.split(';')[0];
      const page = await get(bare, {headers: {...HTML, Cookie: `mine=1; ${pair}; other=2`}});
      assert.equal(page.json().headers.cookie, 'mine=1; other=2');
      assert.equal((await get(bare, {headers: {Cookie: pair}})).json().headers.cookie, undefined);
      // The program neither sets nor deletes it.
      const set = await get(`${bare}cookies`, {headers: {Cookie: pair}});
      assert.deepEqual(set.headers['set-cookie'], ['own=1; Path=/']);
      await unexpose('demo', 3000);
    });

    it('cannot be changed, prolonged, or used elsewhere or later', async () => {
      const one = await expose('demo', 3000, {signed: true, token: 'one', ttl: 3600});
      const two = await expose('demo', 3001, {signed: true, token: 'two', ttl: 3600});
      const signature = (made) => new URL(made.url).searchParams.get('atoll_preview');
      const show = (label, text) => daemon.request(label, {path: `/?atoll_preview=${text}`});
      assert.equal((await show('3000-demo--one', signature(one))).status, 200);
      const [until, mac] = signature(one).split('.');
      for (const text of [signature(two), `${Number(until) + 1}.${mac}`, `${until}.${mac.slice(1)}0`, `${until}.`,
                          mac, '', '.', `${until}`, `+${until}.${mac}`]) {
        assertError(await show('3000-demo--one', text), 404, 'INVALID_TOKEN');
      }
      await unexpose('demo', 3000);
      await expose('demo', 3000, {signed: true, token: 'one', ttl: 3600});
      assertError(await show('3000-demo--one', signature(one)), 404, 'INVALID_TOKEN');
      await unexpose('demo', 3000);
      await unexpose('demo', 3001);
    });
  });

  it('can be listed, exposed and unexposed from the command line', async () => {
    const atoll = (...args) => {
      const result = daemon.cli('--config', daemon.config, ...args);
      assert.equal(result.status, 0, `atoll ${args.join(' ')}: ${result.stdout}${result.stderr}`);
      return result.stdout;
    };
    assert.match(atoll('ports', 'demo'), /3000 +127\.0\.0\.1 .*node \/tmp\/server\.js 3000/);
    const url = atoll('expose', 'demo', '3000', '--ttl', '1h', '--name', 'app').trim();
    assert.equal((await get(url)).status, 200);
    assert.ok(atoll('ports', 'demo').includes(url));
    assert.equal(JSON.parse(atoll('ports', 'demo', '--json')).ports[0].exposed.name, 'app');
    const signed = atoll('expose', 'demo', '3700', '--signed').trim();
    assert.match(signed, /\?atoll_preview=/);
    assert.match(atoll('ports', 'demo'), /3700 +nothing listens/);
    atoll('unexpose', 'demo', '3000');
    atoll('unexpose', 'demo', '3700');
    assertError(await get(url), 404, 'INVALID_TOKEN');
    assert.notEqual(daemon.cli('--config', daemon.config, 'expose', 'demo', '4096').status, 0);
  });

  it('keeps what is exposed when the daemon is restarted', async () => {
    const plain = await expose('demo', 3000);
    const sealed = await expose('demo', 3001, {signed: true});
    await daemon.restart();
    const moved = (url) => url.replace(/:\d+\//, `:${daemon.port}/`);
    assert.equal((await get(moved(plain.url))).status, 200);
    assert.equal((await get(moved(sealed.url))).status, 200);
    await unexpose('demo', 3000);
    await unexpose('demo', 3001);
  });

  describe('what passes', () => {
    let labels;

    before(async () => {
      labels = ['3000-demo', `3000-demo--${(await expose('demo', 3000)).token}`];
    });
    after(() => unexpose('demo', 3000));

    const both = (what, run) => it(what, async () => {
      for (const label of labels) await run(label);
    });

    both('says where a request came from', async (label) => {
      const headers = {'X-Forwarded-For': '1.2.3.4', 'X-Forwarded-Proto': 'https'};
      const seen = (await daemon.request(label, {headers})).json().headers;
      assert.equal(seen['x-forwarded-host'], daemon.host(label));
      assert.equal(seen['x-forwarded-for'], '127.0.0.1');
      assert.equal(seen['x-forwarded-proto'], 'https');
      assert.equal(seen.host, daemon.host(label));
    });

    both('refuses pages of other origins', async (label) => {
      for (const from of ['http://evil.example', `http://${daemon.bare}`, `http://${daemon.host('demo')}`,
                          `http://${daemon.host('3000-other')}`, 'null']) {
        assertError(await daemon.request(label, {headers: {Origin: from}}), 403, 'FOREIGN_ORIGIN');
      }
      assert.equal((await daemon.request(label, {headers: {Origin: `http://${daemon.host(label)}`}})).status, 200);
    });

    it('keeps pages of previews away from the owner\'s hosts', async () => {
      const answer = await daemon.request('3001-demo', {headers: {Origin: `http://${daemon.host(labels[1])}`}});
      assertError(answer, 403, 'FOREIGN_ORIGIN');
    });

    both('carries WebSockets', async (label) => {
      const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/`, {headers: {Host: daemon.host(label)},
                                                                       perMessageDeflate: false});
      await new Promise((resolve, reject) => { socket.once('open', resolve); socket.once('error', reject); });
      for (const message of ['hello', 'x'.repeat(100_000), crypto.randomBytes(70_000)]) {
        const back = new Promise((resolve) => socket.once('message', resolve));
        socket.send(message);
        assert.ok(Buffer.from(message).equals(await back));
      }
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.close(1000);
      assert.equal(await closed, 1000);
    });

    both('carries other protocols, each half to its own end', async (label) => {
      const answer = await new Promise((resolve, reject) => {
        const sent = http.request({host: '127.0.0.1', port: daemon.port,
                                   headers: {Host: daemon.host(label), Connection: 'Upgrade', Upgrade: 'echo/1'}});
        sent.on('error', reject);
        sent.on('upgrade', (head, socket) => {
          let text = '';
          socket.on('data', (part) => { text += part; });
          socket.on('end', () => resolve({upgrade: head.headers.upgrade, text}));
          socket.end('one two');
        });
        sent.end();
      });
      assert.deepEqual(answer, {upgrade: 'echo/1', text: 'all: one two'});
    });

    both('streams events as they come', async (label) => {
      const answer = await open(daemon.port, {host: daemon.host(label), path: '/sse'});
      const parts = answer.stream[Symbol.asyncIterator]();
      assert.equal((await parts.next()).value.toString(), 'data: first\n\n');
      await daemon.request(label, {path: '/go'});
      assert.equal((await parts.next()).value.toString(), 'data: second\n\n');
      assert.equal((await parts.next()).done, true);
    });

    both('takes and gives much without keeping it', async (label) => {
      const size = 96 << 20;
      const before = daemon.residentBytes();
      const piece = crypto.randomBytes(1 << 20);
      const hash = crypto.createHash('sha256');
      const answer = await new Promise((resolve, reject) => {
        const sent = http.request({host: '127.0.0.1', port: daemon.port, method: 'POST', path: '/sum',
                                   headers: {Host: daemon.host(label), 'Content-Length': size}}, (got) => {
          let text = '';
          got.on('data', (part) => { text += part; });
          got.on('end', () => resolve(JSON.parse(text)));
        });
        sent.on('error', reject);
        let left = size;
        const pump = () => {
          while (left > 0) {
            left -= piece.length;
            hash.update(piece);
            if (!sent.write(piece)) return sent.once('drain', pump);
          }
          sent.end();
        };
        pump();
      });
      assert.deepEqual(answer, {size, hash: hash.digest('hex')});
      const given = await open(daemon.port, {host: daemon.host(label), path: `/give?${size}`});
      let received = 0;
      for await (const part of given.stream) received += part.length;
      assert.equal(received, size);
      assert.ok(daemon.residentBytes() - before < 32 << 20, 'bodies pass, they are not kept');
    });

    both('answers one request after the other on a connection', async (label) => {
      const one = `GET /x HTTP/1.1\r\nHost: ${daemon.host(label)}\r\n\r\n`;
      const text = await raw(daemon.port, one.repeat(20), {until: (all) => all.split('"url":"/x"').length > 20});
      assert.equal(text.split('HTTP/1.1 200').length - 1, 20);
    });
  });

  describe('connections that are kept', () => {
    // Counts what arrives; /close ends the connection behind an answer that does not say so, /extra
    // says more than it was asked for.
    const COUNTING = `
const net = require('net');
let connections = 0, posts = 0;
net.createServer((socket) => {
  connections++;
  socket.on('error', () => {});
  let text = '';
  socket.on('data', (data) => {
    text += data.toString('latin1');
    for (let end = text.indexOf('\\r\\n\\r\\n'); end >= 0; end = text.indexOf('\\r\\n\\r\\n')) {
      const head = text.slice(0, end);
      text = text.slice(end + 4 + Number((head.match(/content-length: (\\d+)/i) || [0, 0])[1]));
      if (head.startsWith('POST')) posts++;
      const body = JSON.stringify({connections, posts, path: head.split(' ')[1]});
      const answer = 'HTTP/1.1 200 OK\\r\\nContent-Length: ' + body.length + '\\r\\n\\r\\n' + body;
      socket.write(head.includes(' /extra') ? answer + 'HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nevil' : answer);
      if (head.includes(' /close')) socket.end();
    }
  });
}).listen(3500, '127.0.0.1');
`;
    const ask = async (path, options = {}) => {
      const answer = await daemon.request('3500-demo', {path, ...options});
      assert.equal(answer.status, 200, answer.text);
      return answer.json();
    };

    before(async () => {
      await demo.write('/tmp/counting.js', COUNTING);
      await demo.background('exec node /tmp/counting.js');
      await eventually('it counts', async () => (await daemon.request('3500-demo')).status === 200);
    });
    after(() => demo.sh('pkill -f counting.js'));

    it('carry many requests', async () => {
      const {connections} = await ask('/');
      for (let i = 0; i < 50; i++) await ask('/');
      assert.ok((await ask('/')).connections - connections < 25, 'most have gone over one that was there');
    });

    it('may be closed by the program without anybody noticing', async () => {
      for (let i = 0; i < 30; i++) assert.equal((await ask(`/close?${i}`)).path, `/close?${i}`);
    });

    it('never make a request happen twice', async () => {
      const {posts} = await ask('/');
      for (let i = 0; i < 20; i++) await ask('/close', {method: 'POST', body: 'x'});
      assert.equal((await ask('/')).posts, posts + 20);
    });

    it('give nobody what was not meant for him', async () => {
      for (let i = 0; i < 20; i++) {
        assert.equal((await ask('/extra')).path, '/extra');
        assert.equal((await ask(`/next?${i}`)).path, `/next?${i}`);
      }
    });
  });

  describe('nothing listens', () => {
    it('tells programs by a code and people by a page that goes on by itself', async () => {
      const made = await expose('demo', 3999);
      for (const label of ['3999-demo', `3999-demo--${made.token}`]) {
        assertError(await daemon.request(label), 502, 'SERVICE_NOT_RESPONDING');
        const page = await daemon.request(label, {headers: HTML});
        assert.equal(page.status, 502);
        assert.match(page.text, /port 3999/);
        // Only the owner is told what else there is.
        assert.equal(page.text.includes('3001'), label === '3999-demo');
        assert.match(page.headers['content-security-policy'], /default-src 'none'/);
        assert.doesNotMatch(page.text, /src="http/);
      }
      await demo.background('exec node /tmp/server.js 3999');
      await eventually('it goes on', async () => (await get(made.url)).status === 200);
      await demo.sh('pkill -f "server.js 3999"');
      await unexpose('demo', 3999);
    });
  });

  it('wakes and starts a sandbox for its preview', async () => {
    const sleepy = daemon.sandbox('sleepy');
    await sleepy.create();
    await sleepy.write('/tmp/server.js', SERVER);
    await sleepy.background('exec node /tmp/server.js 3000');
    const made = await expose('sleepy', 3000);
    await eventually('it answers', async () => (await get(made.url)).status === 200);
    await daemon.request('', {method: 'POST', path: '/v1/sandboxes/sleepy/sleep', json: {force: true}});
    assert.equal((await get(made.url)).json().port, 3000);
    await daemon.request('', {method: 'POST', path: '/v1/sandboxes/sleepy/stop'});
    // Its programs are gone, it runs again.
    assertError(await get(made.url), 502, 'SERVICE_NOT_RESPONDING');
    assert.equal((await daemon.request('', {path: '/v1/sandboxes/sleepy'})).json().state, 'running');
    await sleepy.background('exec node /tmp/server.js 3000');
    await eventually('the same URL answers', async () => (await get(made.url)).status === 200);
    await sleepy.delete();
  });
});
