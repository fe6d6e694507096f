// SPDX-License-Identifier: Apache-2.0
// Who reaches whom by host name and origin, and what the proxy does to messages on their way.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {assertError, open, raw, readExactly, statusOf, upgrade} from './support/http.mjs';

// A server inside the sandbox: shows what arrives, streams, upgrades, and answers in odd ways.
const SERVER = `
const http = require('http');
const net = require('net');
const server = http.createServer((request, answer) => {
  const path = request.url.split('?')[0];
  if (path === '/echo') {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      answer.writeHead(200, {'Content-Type': 'application/json'});
      answer.end(JSON.stringify({method: request.method, url: request.url, raw: request.rawHeaders,
                                 headers: request.headers, body: Buffer.concat(parts).toString('base64')}));
    });
  } else if (path === '/cookies') {
    answer.writeHead(200, [['Set-Cookie', 'a=1; Domain=localhost; Path=/; HttpOnly'],
                           ['Set-Cookie', 'b=2; path=/; DOMAIN=.demo.localhost; SameSite=Lax'],
                           ['Set-Cookie', 'c=domain=x; Path=/']].flat());
    answer.end('ok');
  } else if (path === '/hop') {
    answer.writeHead(200, {'Connection': 'close, X-Drop', 'X-Drop': '1', 'X-Keep': '2', 'Keep-Alive': 'timeout=5',
                           'Proxy-Authenticate': 'Basic'});
    answer.end('ok');
  } else if (path === '/sse') {
    answer.writeHead(200, {'Content-Type': 'text/event-stream'});
    let n = 0;
    const next = () => { answer.write('data: ' + n++ + '\\n\\n'); };
    next();
    server.once('go', () => { next(); answer.end(); });
  } else if (path === '/go') {
    server.emit('go');
    answer.end('went');
  } else if (path === '/big') {
    answer.writeHead(200, {'Content-Type': 'application/octet-stream'});
    let left = 400;
    const piece = Buffer.alloc(65536, 'x');
    const pump = () => { while (left > 0) { left--; if (!answer.write(piece)) return answer.once('drain', pump); } answer.end(); };
    pump();
  } else if (path === '/status') {
    answer.writeHead(Number(request.url.split('?')[1]));
    answer.end();
  } else {
    answer.end('port ' + process.argv[2]);
  }
});
server.on('upgrade', (request, socket, head) => {
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\nwelcome');
  if (head.length) socket.write(head);
  socket.on('error', () => {});
  socket.pipe(socket);
});
server.listen(Number(process.argv[2]), '127.0.0.1');
// Answers as it is told to, byte by byte: what a hostile server would say.
net.createServer((socket) => {
  socket.on('error', () => {});
  socket.once('data', (data) => {
    const wanted = decodeURIComponent(data.toString('latin1').split(' ')[1].slice(1));
    socket.end(Buffer.from(wanted, 'latin1'));
  });
}).listen(Number(process.argv[2]) + 1000, '127.0.0.1');
`;

describe('gateway', () => {
  let daemon;
  let demo;

  before(async () => {
    daemon = await Daemon.start();
    demo = daemon.sandbox('demo');
    await Promise.all([demo.create(), daemon.sandbox('other').create()]);
    await demo.write('/tmp/server.js', SERVER);
    await demo.background('exec node /tmp/server.js 8080');
    await demo.background('exec node /tmp/server.js 8081');
    for (const label of ['8080-demo', '8081-demo']) {
      await eventually(`${label} answers`, async () => (await daemon.request(label)).status === 200);
    }
  });
  after(() => daemon?.cleanup());

  const origin = (label) => `http://${label === '' ? daemon.bare : daemon.host(label)}`;

  describe('hosts', () => {
    it('sends a port host to that port', async () => {
      assert.equal((await daemon.request('8080-demo')).text, 'port 8080');
      assert.equal((await daemon.request('8081-demo')).text, 'port 8081');
    });

    it('says with a sentence that nothing listens', async () => {
      const answer = await daemon.request('9999-demo');
      assert.equal(answer.status, 502);
      assert.match(answer.text, /9999/);
      assert.match(answer.text, /\w+ \w+ \w+/);
      const other = await daemon.request('8080-other');
      assert.equal(other.status, 502, 'a port belongs to its own sandbox');
    });

    it('knows no other hosts', async () => {
      const hosts = ['evil.example', 'localhost.evil.example', 'demo.localhost.evil.example', 'demo.example', 'xlocalhost',
                     `x.demo.localhost:${daemon.port}`, `8080-demo.x.localhost:${daemon.port}`, '10.0.0.1',
                     `www.localhost:${daemon.port}`, `api.localhost:${daemon.port}`, `0-demo.localhost:${daemon.port}`,
                     `65536-demo.localhost:${daemon.port}`];
      for (const host of hosts) {
        for (const path of ['/', '/health', '/v1/sandboxes']) {
          const answer = await daemon.request('', {host, path});
          assert.ok([400, 404].includes(answer.status), `${host}${path}: ${answer.status}`);
          assert.doesNotMatch(answer.text, /x-data|"sandboxes"|"ok":true/);
        }
      }
    });

    it('does not mind the case of a host name, nor its address forms', async () => {
      const host = (name) => daemon.request('', {host: `${name}:${daemon.port}`, path: '/health'});
      assert.equal((await host('LOCALHOST')).status, 200);
      assert.equal((await host('127.0.0.1')).status, 200);
      assert.equal((await daemon.request('', {host: `8080-DEMO.LocalHost:${daemon.port}`})).text, 'port 8080');
    });

    it('serves the API only on the bare domain', async () => {
      for (const label of ['8080-demo', 'never-made']) {
        const answer = await daemon.request(label, {path: '/v1/sandboxes', headers: {Accept: 'application/json'}});
        assert.doesNotMatch(answer.text, /"sandboxes"/);
      }
    });
  });

  describe('origins', () => {
    const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD'];

    it('refuses a foreign or null Origin, whatever the method', async () => {
      const foreign = ['http://evil.example', 'null', origin('other'),
                       'http://localhost', `http://demo.localhost:${daemon.port + 1}`, 'garbage', ''];
      for (const label of ['', 'demo', '8080-demo']) {
        for (const method of METHODS) {
          for (const from of foreign) {
            if (from === '' && label !== '') continue;
            const answer = await daemon.request(label, {
              method, path: label === '' ? '/v1/sandboxes' : '/echo', headers: {Origin: from}});
            assert.ok([403, 400].includes(answer.status) && (from === '' || answer.status === 403),
                      `${method} ${label} from ${from}: ${answer.status}`);
          }
        }
      }
    });

    it('creates and deletes nothing for a foreign page', async () => {
      for (const from of ['http://evil.example', 'null', origin('demo'), origin('8080-demo')]) {
        const path = '/v1/sandboxes/stolen/create';
        assert.equal((await daemon.request('', {method: 'POST', path, headers: {Origin: from}, json: {}})).status, 403);
        const text = {'Origin': from, 'Content-Type': 'text/plain'};
        assert.equal((await daemon.request('', {method: 'POST', path, headers: text, body: '{}'})).status, 403);
        assert.equal((await daemon.request('', {method: 'DELETE', path: '/v1/sandboxes/demo', headers: {Origin: from}})).status, 403);
        assert.equal((await daemon.request('stolen', {method: 'POST', path: '/create', headers: {Origin: from}, json: {}})).status, 403);
      }
      assert.deepEqual(await daemon.ids(), ['demo', 'other']);
    });

    it('lets a page talk to its own origin', async () => {
      assert.equal((await daemon.request('', {path: '/v1/sandboxes', headers: {Origin: origin('')}})).status, 200);
      assert.equal((await daemon.request('8080-demo', {method: 'POST', path: '/echo', headers: {Origin: origin('8080-demo')}, body: ''})).status, 200);
      const ran = await daemon.request('demo', {method: 'POST', path: '/run', headers: {Origin: origin('demo')}, json: {command: 'true'}});
      assert.equal(ran.status, 200);
    });

    it('lets ports of one sandbox call each other, but never the sandbox itself', async () => {
      assert.equal((await daemon.request('8081-demo', {headers: {Origin: origin('8080-demo')}})).status, 200);
      assert.equal((await daemon.request('8081-demo', {headers: {Origin: origin('8080-other')}})).status, 403);
      for (const path of ['/run', '/session']) {
        const answer = await daemon.request('demo', {method: 'POST', path, json: {command: 'true'}, headers: {Origin: origin('8080-demo')}});
        assert.equal(answer.status, 403);
      }
    });

    it('refuses a foreign Upgrade', async () => {
      for (const from of ['http://evil.example', 'null', origin('other'), origin('8080-other')]) {
        const answer = await upgrade(daemon.port, {host: daemon.host('8080-demo'), headers: {Origin: from}});
        assert.equal(answer.status, 403, from);
        answer.socket.destroy();
        const main = await upgrade(daemon.port, {host: daemon.host('demo'), path: '/pty/x/connect', headers: {Origin: from}});
        assert.equal(main.status, 403, from);
        main.socket.destroy();
      }
      const sibling = await upgrade(daemon.port, {host: daemon.host('demo'), headers: {Origin: origin('8080-demo')}});
      assert.equal(sibling.status, 403);
      sibling.socket.destroy();
    });
  });

  describe('messages', () => {
    it('keeps method, target, body and Host with its port', async () => {
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
        const body = method === 'GET' ? undefined : 'some\u0000bytes';
        const answer = await daemon.request('8080-demo', {method, path: '/echo?a=b%20c&d=/../x', body});
        const seen = answer.json();
        assert.equal(seen.method, method);
        assert.equal(seen.url, '/echo?a=b%20c&d=/../x');
        assert.equal(seen.headers.host, daemon.host('8080-demo'));
        assert.equal(Buffer.from(seen.body, 'base64').toString(), body ?? '');
      }
    });

    it('removes hop-by-hop fields both ways', async () => {
      const seen = (await daemon.request('8080-demo', {path: '/echo', headers: {
        'Connection': 'close, X-Secret', 'X-Secret': '1', 'Keep-Alive': 'timeout=5', 'TE': 'trailers',
        'Proxy-Authorization': 'Basic x', 'Proxy-Connection': 'keep-alive', 'X-Fine': 'yes'}})).json();
      for (const name of ['x-secret', 'keep-alive', 'te', 'proxy-authorization', 'proxy-connection']) {
        assert.ok(!(name in seen.headers), name);
      }
      assert.equal(seen.headers['x-fine'], 'yes');
      const answer = await daemon.request('8080-demo', {path: '/hop'});
      assert.equal(answer.headers['x-keep'], '2');
      for (const name of ['x-drop', 'proxy-authenticate']) assert.ok(!(name in answer.headers), name);
      assert.doesNotMatch(answer.headers['keep-alive'] ?? '', /timeout=5$/);
    });

    it('makes its own framing', async () => {
      const answer = await daemon.request('8080-demo', {method: 'POST', path: '/echo', body: 'chunks',
                                                        headers: {'Transfer-Encoding': 'chunked'}});
      const seen = answer.json();
      assert.equal(Buffer.from(seen.body, 'base64').toString(), 'chunks');
      const names = seen.raw.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
      for (const name of ['content-length', 'transfer-encoding', 'host']) {
        assert.ok(names.filter((one) => one === name).length <= 1, name);
      }
      assert.ok(!(names.includes('content-length') && names.includes('transfer-encoding')));
    });

    it('removes Domain from cookies and nothing else', async () => {
      const cookies = (await daemon.request('8080-demo', {path: '/cookies'})).headers['set-cookie'];
      assert.equal(cookies.length, 3);
      assert.match(cookies[0], /^a=1; *Path=\/; *HttpOnly$/);
      assert.match(cookies[1], /^b=2; *path=\/; *SameSite=Lax$/);
      assert.match(cookies[2], /^c=domain=x; *Path=\/$/);
    });

    it('passes event streams on unbuffered', async () => {
      const answer = await open(daemon.port, {host: daemon.host('8080-demo'), path: '/sse'});
      const seen = [];
      for await (const part of answer.stream) {
        seen.push(part.toString());
        // The server sends the second event only once the first was seen here.
        if (seen.length === 1) assert.equal((await daemon.request('8080-demo', {path: '/go'})).text, 'went');
      }
      assert.equal(seen.join(''), 'data: 0\n\ndata: 1\n\n');
    });

    it('streams large answers, with memory bounded when the client is slow', async () => {
      assert.equal((await daemon.request('8080-demo', {path: '/big'})).bytes.length, 400 * 65536);
      const before = daemon.residentBytes();
      const slow = await open(daemon.port, {host: daemon.host('8080-demo'), path: '/big'});
      slow.stream.pause();
      await sleep(1000);
      assert.ok(daemon.residentBytes() - before < 24 << 20);
      slow.stream.on('error', () => {});
      slow.close();
    });

    it('streams large requests', async () => {
      const body = Buffer.alloc(40 << 20, 'y');
      const seen = (await daemon.request('8080-demo', {method: 'POST', path: '/echo', body})).json();
      assert.equal(Buffer.from(seen.body, 'base64').length, body.length);
    });

    it('keeps answers without a body as they are', async () => {
      for (const status of [204, 304, 404, 500]) {
        const answer = await daemon.request('8080-demo', {path: `/status?${status}`});
        assert.equal(answer.status, status);
        assert.equal(answer.bytes.length, 0);
      }
      const head = await daemon.request('8080-demo', {method: 'HEAD', path: '/big'});
      assert.equal(head.status, 200);
      assert.equal(head.bytes.length, 0);
    });

    it('answers Expect: 100-continue', async () => {
      const answer = await raw(daemon.port, `POST /echo HTTP/1.1\r\nHost: ${daemon.host('8080-demo')}\r\n` +
          'Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n',
          {limitMs: 5000, until: (text) => /^HTTP\/1\.1 100 /.test(text)});
      assert.equal(statusOf(answer), 100, answer);
    });

    it('tunnels an Upgrade, with the bytes that follow at once', async () => {
      const {status, socket, rest} = await upgrade(daemon.port, {host: daemon.host('8080-demo'),
          headers: {Origin: origin('8080-demo')}});
      assert.equal(status, 101);
      assert.equal((await readExactly(socket, 7, rest)).toString(), 'welcome');
      const noise = Buffer.alloc(3 << 20, 'z');
      const back = readExactly(socket, noise.length);
      socket.write(noise);
      assert.equal(Buffer.compare(await back, noise), 0);
      socket.destroy();
    });

    it('carries bytes sent together with an Upgrade', async () => {
      const {status, socket, rest} = await upgrade(daemon.port, {host: daemon.host('8080-demo'), first: 'early'});
      assert.equal(status, 101);
      assert.equal((await readExactly(socket, 12, rest)).toString(), 'welcomeearly');
      socket.destroy();
    });

    it('does not pass on an answer whose framing is wrong', async () => {
      const answers = {
        'TE and CL': 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n',
        'two lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello',
        'a wrong encoding': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
        'a folded field': 'HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok',
        'no HTTP at all': 'SSH-2.0-OpenSSH_9\r\n',
        'nothing': '',
        'control bytes': 'HTTP/1.1 200 OK\r\nX-A: b\u0001c\r\nContent-Length: 2\r\n\r\nok',
        'an endless head': 'HTTP/1.1 200 OK\r\nX-A: ' + 'y'.repeat(12000),
      };
      for (const [name, text] of Object.entries(answers)) {
        const got = await raw(daemon.port, `GET /${encodeURIComponent(text)} HTTP/1.1\r\n` +
            `Host: ${daemon.host('9080-demo')}\r\nConnection: close\r\n\r\n`, {limitMs: 15_000});
        const status = statusOf(got);
        assert.ok(status === 502 || status === 414 || status === 431, `${name}: ${status} ${got.slice(0, 200)}`);
      }
    });

    it('ends the client\'s answer when the server breaks off', async () => {
      const got = await raw(daemon.port, `GET /${encodeURIComponent('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf')} HTTP/1.1\r\n` +
          `Host: ${daemon.host('9080-demo')}\r\n\r\n`, {limitMs: 15_000});
      assert.match(got, /half$/);
    });

    it('forgets a sandbox\'s ports when it is deleted', async () => {
      const gone = daemon.sandbox('gone');
      await gone.create();
      await gone.delete();
      assert.equal((await daemon.request('8080-gone')).status, 404);
      assertError(await gone.post('/run', {command: 'true'}), 404, 'SANDBOX_NOT_FOUND');
    });
  });
});

describe('start', () => {
  it('refuses to listen where others could reach it', async () => {
    for (const address of ['0.0.0.0:0', '[::]:0', '10.0.0.1:0']) {
      await assert.rejects(async () => {
        const daemon = await Daemon.start({env: {ATOLL_LISTEN: address}});
        await daemon.cleanup();
      }, /loopback/, address);
    }
  });
});
