// SPDX-License-Identifier: Apache-2.0
// Requests that are wrong: a 4xx with a reason, nothing created, and the daemon goes on.

import assert from 'node:assert/strict';
import net from 'node:net';
import {after, before, describe, it} from 'node:test';

import {Daemon} from './support/daemon.mjs';
import {assertError, raw, statusOf} from './support/http.mjs';

describe('bad input', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('fine');
    await box.create();
  });
  after(() => daemon?.cleanup());

  const onlyFine = async () => assert.deepEqual(await daemon.ids(), ['fine']);
  const post = (path, body) => daemon.request('fine', {
    method: 'POST', path, body, headers: {'Content-Type': 'application/json'}});

  it('refuses malformed JSON', async () => {
    for (const body of ['{', '{"command":', '[]', '"text"', '5', 'null', '{"command":"true"} x', '\u0000',
                        '{"command":"a\u0001b"}', '{"a":'.repeat(5000) + '1' + '}'.repeat(5000),
                        Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])]) {
      for (const path of ['/run', '/gitClone', '/snapshot']) assertError(await post(path, body), 400);
      const answer = await daemon.request('fresh', {method: 'POST', path: '/create', body,
                                                    headers: {'Content-Type': 'application/json'}});
      assert.equal(answer.status, 400, `create with ${String(body).slice(0, 40)}: ${answer.text}`);
    }
    await onlyFine();
  });

  it('refuses fields of the wrong type', async () => {
    const wrong = {
      '/run': [{command: 5}, {command: ['ls']}, {command: null}, {command: {}}, {command: ''},
               {command: 'true', cwd: 1}, {command: 'true', env: []}, {command: 'true', env: {A: 1}},
               {command: 'true', env: {'A=B': 'x'}}, {command: 'true', env: {'': 'x'}},
               {command: 'true', timeout: '5'}, {command: 'true', timeout: -1},
               {command: 'true', timeout: 1.5}, {command: 'true', timeout: 1e300},
               {command: 'true', cwd: 'relative'}, {command: 'a\u0000b'},
               {command: 'true', env: {A: 'a\u0000b'}}],
      '/gitClone': [{repo: 5}, {repo: ''}, {repo: 'x'}, {repo: 'ftp://example.org/a.git'},
                    {repo: 'file:///etc'}, {repo: 'ext::sh -c id'}, {repo: '--upload-pack=id'},
                    {repo: 'https://'}, {repo: 'https://example.org/a b.git\n'},
                    {repo: 'https://example.org/a.git', branch: 1},
                    {repo: 'https://example.org/a.git', dir: 1},
                    {repo: 'https://example.org/a.git', depth: 'x'},
                    {repo: 'https://example.org/a.git', depth: 0}],
      '/snapshot': [{dir: 5}, {dir: ''}, {dir: 'relative'}, {dir: null}, {dir: '/workspace', name: 5},
                    {dir: '/workspace', name: 'x'.repeat(5000)}, {dir: '/a\u0000b'},
                    {dir: '/workspace', name: 'a\nb'}, {dir: '/workspace/../etc'}, {dir: '/'},
                    {dir: '/' + 'x'.repeat(5000)}, {dir: '/workspace', freeze: 'yes'},
                    {dir: '/workspace', ttl: 0}, {dir: '/workspace', ttl: -5}, {dir: '/workspace', ttl: '3 years'},
                    {dir: '/workspace', ttl: '0d'}, {dir: '/workspace', ttl: true},
                    {dir: '/workspace', tags: 'x'}, {dir: '/workspace', tags: [5]}, {dir: '/workspace', tags: ['']},
                    {dir: '/workspace', tags: ['a,b']}, {dir: '/workspace', tags: ['sandbox=other']},
                    {dir: '/workspace', tags: ['pinned']}, {dir: '/workspace', tags: ['x'.repeat(5000)]},
                    {dir: '/workspace', tags: Array(100).fill('x')},
                    {dir: '/workspace', exclude: 'x'}, {dir: '/workspace', exclude: ['relative']},
                    {dir: '/workspace', exclude: [5]}],
      [`/restore/${'0'.repeat(64)}`]: [{dir: 5}, {dir: 'relative'}, {dir: '/'}, {dir: '/a/../b'},
                                       {mode: 'other'}, {mode: 5}, {from: 5}],
    };
    for (const [path, bodies] of Object.entries(wrong)) {
      for (const body of bodies) {
        const answer = await box.post(path, body);
        assert.equal(answer.status, 400, `${path} ${JSON.stringify(body).slice(0, 80)}: ${answer.text}`);
        assertError(answer, 400);
      }
    }
    for (const body of [{opencode: 'yes'}, {memory: 5.5}, {memory: 'much'}, {memory: '-1'}, {memory: '0'},
                        {memory: '99999999999999999999T'}, {cpus: 'two'}, {cpus: 0}, {cpus: -1},
                        {cpus: 1e9}, {pids: 'x'}, {pids: 0}, {pids: 2.5}, {pids: 1e18}, {env: 'A=B'},
                        {env: {A: 1}}, {image: 5}, {image: '../../etc'}, {image: 'no-such-image'},
                        {snapshots: 5}, {snapshots: []}, {snapshots: {onStop: 'yes'}}, {snapshots: {other: 1}},
                        {snapshots: {interval: '1s'}}, {snapshots: {interval: 600}}, {snapshots: {interval: 'often'}},
                        {snapshots: {paths: '/x'}}, {snapshots: {paths: ['relative']}}, {snapshots: {paths: ['/']}},
                        {snapshots: {paths: ['/a', '/a/b']}}, {snapshots: {paths: Array(100).fill('/a')}}]) {
      const answer = await daemon.sandbox('fresh').post('/create', body);
      assert.ok([400, 404].includes(answer.status), `create ${JSON.stringify(body)}: ${answer.status} ${answer.text}`);
      assertError(answer, answer.status);
    }
    await onlyFine();
  });

  it('refuses missing fields', async () => {
    for (const path of ['/run', '/gitClone', '/snapshot']) {
      assertError(await box.post(path, {}), 400);
      assertError(await daemon.request('fine', {method: 'POST', path}), 400);
    }
  });

  it('refuses ids of every wrong shape', async () => {
    const bad = ['-a', 'a-', 'a--b', 'A', 'Demo', 'a_b', 'a.b', 'a b', 'www', 'api', 'sdk', '3000-a', '1-2',
                 'a'.repeat(40), 'ü', 'a%2fb', '..', '.', '%00', 'a%00b', '%2e%2e%2fetc', "a'b", 'a$b',
                 'x'.repeat(5000)];
    for (const id of bad) {
      const path = `/v1/sandboxes/${encodeURIComponent(id).replaceAll('%25', '%')}/create`;
      const answer = await daemon.request('', {method: 'POST', path, json: {opencode: false}});
      assert.ok(answer.status >= 400 && answer.status < 500, `${id}: ${answer.status}`);
    }
    for (const id of ['-a', 'a--b', 'a_b', 'www', 'api', 'sdk', 'a'.repeat(40)]) {
      assertError(await daemon.request('', {method: 'POST', path: `/v1/sandboxes/${id}/create`, json: {}}), 400,
                  'INVALID_SANDBOX_ID');
    }
    for (const label of ['-a', 'a-', 'a--b', 'a_b', 'a.b', 'www', 'api', 'sdk', '0-a', '99999-a',
                         'a'.repeat(40)]) {
      const answer = await daemon.request(label, {method: 'POST', path: '/create', json: {opencode: false}});
      assert.ok([400, 403, 404].includes(answer.status), `${label}: ${answer.status}`);
    }
    await onlyFine();
  });

  it('refuses snapshot ids of every wrong shape', async () => {
    for (const id of ['x', '0'.repeat(7), '0'.repeat(63), '0'.repeat(65), 'G'.repeat(64), 'A'.repeat(64), '..%2f..%2fetc%2fpasswd',
                      '%00', '%20', '..', `%2e%2e%2f${'0'.repeat(8)}`]) {
      const answer = await daemon.request('fine', {method: 'POST', path: `/restore/${id}`});
      assert.ok([400, 404].includes(answer.status), `${id}: ${answer.status} ${answer.text}`);
      for (const rest of ['', '/tree', '/file?path=a', '/archive', `/diff?to=${id}`]) {
        const got = await daemon.request('', {path: `/v1/snapshots/${id}${rest}`});
        assert.ok([400, 404].includes(got.status), `${id}${rest}: ${got.status} ${got.text}`);
      }
      const removed = await daemon.request('', {method: 'DELETE', path: `/v1/snapshots/${id}`});
      assert.ok([400, 404, 405].includes(removed.status), `${id}: ${removed.status} ${removed.text}`);
    }
    for (const id of ['0'.repeat(64), '0'.repeat(8)]) {
      assertError(await daemon.request('fine', {method: 'POST', path: `/restore/${id}`}), 404, 'BACKUP_NOT_FOUND');
      assertError(await daemon.request('', {path: `/v1/snapshots/${id}`}), 404, 'BACKUP_NOT_FOUND');
    }
  });

  it('refuses queries about snapshots that are wrong', async () => {
    const {snapshotId} = await box.snapshot('/workspace');
    for (const path of ['?limit=0', '?limit=-1', '?limit=x', '?limit=99999999', `/${snapshotId}/tree?limit=0`,
                        `/${snapshotId}/diff?limit=x&to=${snapshotId}`, `/${snapshotId}/archive?presign=1&valid=0`,
                        `/${snapshotId}/archive?presign=1&valid=99999999999`]) {
      assertError(await daemon.request('', {path: `/v1/snapshots${path}`}), 400);
    }
    for (const path of ['tree?path=nowhere', 'tree?path=..%2f..', 'file?path=nowhere', 'file?path=..%2f..%2fetc%2fpasswd',
                        'file?path=%00']) {
      const answer = await daemon.request('', {path: `/v1/snapshots/${snapshotId}/${path}`});
      assert.ok([400, 404].includes(answer.status), `${path}: ${answer.status} ${answer.text}`);
    }
    assertError(await daemon.request('', {path: `/v1/snapshots/${snapshotId}/file?path=`}), 400);
    assertError(await daemon.request('', {path: `/v1/snapshots/${snapshotId}/diff`}), 400, 'VALIDATION_FAILED');
    for (const json of [{pinned: 'yes'}, {tags: 'x'}, {tags: [1]}, {tags: ['a,b']}, {tags: ['pinned']},
                        {ttl: '0d'}, {ttl: 'soon'}, {name: 5}, {name: 'a\u0007'}, {name: 'x'.repeat(5000)}]) {
      const answer = await daemon.request('', {method: 'PATCH', path: `/v1/snapshots/${snapshotId}`, json});
      assert.equal(answer.status, 400, `${JSON.stringify(json).slice(0, 80)}: ${answer.text}`);
      assertError(answer, 400);
    }
    for (const [method, path] of [['POST', ''], ['PUT', `/${snapshotId}`], ['POST', `/${snapshotId}/tree`],
                                  ['GET', `/${snapshotId}/other`], ['GET', `/${snapshotId}/tree/more`]]) {
      const answer = await daemon.request('', {method, path: `/v1/snapshots${path}`});
      assert.ok([404, 405].includes(answer.status), `${method} ${path}: ${answer.status}`);
    }
    assertError(await daemon.request('', {path: `/v1/snapshots/${snapshotId}/restore`}), 404);
  });

  it('refuses bodies past 32 MiB on JSON routes', async () => {
    const host = daemon.host('fine');
    for (const path of ['/run', '/gitClone', '/snapshot', '/create']) {
      const announced = await raw(daemon.port, `POST ${path} HTTP/1.1\r\nHost: ${host}\r\n` +
          'Content-Type: application/json\r\nContent-Length: 33554433\r\n\r\n{"command":"',
          {limitMs: 20_000, until: (text) => text.includes('\r\n\r\n')});
      assert.equal(statusOf(announced), 413, `${path}: ${announced.slice(0, 200)}`);
    }
    const chunk = `100000\r\n${' '.repeat(0x100000)}\r\n`;
    const chunked = await raw(daemon.port, `POST /run HTTP/1.1\r\nHost: ${host}\r\n` +
        'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n' + chunk.repeat(34),
        {limitMs: 30_000, until: (text) => text.includes('\r\n\r\n')});
    // The answer may be lost to the reset that ends an upload nobody reads.
    if (chunked !== '') assert.equal(statusOf(chunked), 413, chunked.slice(0, 200));
    assert.equal(await box.sh('echo on'), 'on\n');
  });

  it('takes a large body that is allowed', async () => {
    const answer = await box.post('/run', {command: 'echo ok #' + 'x'.repeat(60_000)});
    assert.equal(answer.status, 200);
    const huge = await box.post('/run', {command: ': ' + 'x'.repeat(20 << 20)});
    // Linux limits one argument to 128 KiB: an error, not a crash.
    assert.ok([200, 400].includes(huge.status), String(huge.status));
  });

  it('goes on with more than 1024 open descriptors', async () => {
    const held = [];
    for (let i = 0; i < 1300; ++i) {
      held.push(await new Promise((resolve, reject) => {
        const socket = net.connect(daemon.port, '127.0.0.1', () => resolve(socket));
        socket.once('error', reject);
      }));
    }
    const box = daemon.sandbox('crowded');
    await box.create();
    assert.equal(await box.sh('echo here'), 'here\n');
    await box.sh('for i in 1 2 3; do p=/workspace/$i; for j in $(seq 300); do p=$p/a; done; mkdir -p $p; done');
    assert.equal((await box.delete()).status, 204);
    for (const socket of held) socket.destroy();
  });

  describe('framing', () => {
    const body = '{"opencode":false}';
    const length = `Content-Length: ${body.length}`;
    const chunkedBody = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    const cases = {
      'two Host headers': (h) => [`POST /create HTTP/1.1`, [`Host: ${h}`, `Host: ${h}`, length], body],
      'two different Host headers': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Host: localhost', length], body],
      'no Host': () => ['POST /create HTTP/1.1', [length], body],
      'an empty Host': () => ['POST /create HTTP/1.1', ['Host:', length], body],
      'TE and CL': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Transfer-Encoding: chunked', length], chunkedBody],
      'CL and TE': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, length, 'Transfer-Encoding: chunked'], chunkedBody],
      'TE gzip with CL': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Transfer-Encoding: gzip', length], body],
      'TE gzip, chunked': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Transfer-Encoding: gzip, chunked'], chunkedBody],
      'TE chunked, gzip': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Transfer-Encoding: chunked, gzip'], chunkedBody],
      'TE xchunked': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Transfer-Encoding: xchunked'], chunkedBody],
      'TE identity': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Transfer-Encoding: identity', length], body],
      'TE twice': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], chunkedBody],
      'chunked on HTTP/1.0': (h) => ['POST /create HTTP/1.0', [`Host: ${h}`, 'Transfer-Encoding: chunked'], chunkedBody],
      'two different lengths': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, length, 'Content-Length: 5'], body],
      'a list of lengths': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, `Content-Length: ${body.length}, 5`], body],
      'a negative length': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Content-Length: -1'], body],
      'a signed length': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, `Content-Length: +${body.length}`], body],
      'a hexadecimal length': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Content-Length: 0x12'], body],
      'a length past 64 bits': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Content-Length: 99999999999999999999'], body],
      'a folded header': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'X-A: a', ' b', length], body],
      'a space before the colon': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, `Content-Length : ${body.length}`], body],
      'a header without a colon': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'nonsense', length], body],
      'a control byte in a header': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'X-A: a\u0001b', length], body],
      'a NUL in a header': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'X-A: a\u0000b', length], body],
      'a bare CR in a header': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'X-A: a\rb', length], body],
      'a control byte in the target': (h) => ['POST /cre\u0001ate HTTP/1.1', [`Host: ${h}`, length], body],
      'a target with a space': (h) => ['POST /cre ate HTTP/1.1', [`Host: ${h}`, length], body],
      'an absolute form of another host': (h) => ['POST http://localhost/create HTTP/1.1', [`Host: ${h}`, length], body],
      'a target without a slash': (h) => ['POST create HTTP/1.1', [`Host: ${h}`, length], body],
      'CONNECT': (h) => [`CONNECT ${h} HTTP/1.1`, [`Host: ${h}`], ''],
      'HTTP/2.0': (h) => ['POST /create HTTP/2.0', [`Host: ${h}`, length], body],
      'a Host with a path': (h) => ['POST /create HTTP/1.1', [`Host: ${h}/x`, length], body],
      'a Host with a user': (h) => ['POST /create HTTP/1.1', [`Host: a@${h}`, length], body],
      'a Host with a wrong port': (h) => ['POST /create HTTP/1.1', [`Host: ${h.split(':')[0]}:99999`, length], body],
      'a chunk size that is no number': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, 'Transfer-Encoding: chunked'], `zz\r\n${body}\r\n0\r\n\r\n`],
      'too many headers': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, length, ...Array.from({length: 20_000}, (_, i) => `X-${i}: y`)], body],
      'a header that is too long': (h) => ['POST /create HTTP/1.1', [`Host: ${h}`, length, 'X-A: ' + 'y'.repeat(1 << 20)], body],
      'a target that is too long': (h) => [`POST /create?${'y'.repeat(1 << 20)} HTTP/1.1`, [`Host: ${h}`, length], body],
    };
    for (const [name, make] of Object.entries(cases)) {
      it(`refuses ${name}`, async () => {
        const [line, headers, text] = make(daemon.host('framed'));
        const follow = `GET /health HTTP/1.1\r\nHost: ${daemon.bare}\r\n\r\n`;
        const answer = await raw(daemon.port, `${line}\r\n${headers.join('\r\n')}\r\n\r\n${text}${follow}`,
                                 {limitMs: 10_000});
        const status = statusOf(answer);
        // A reset may eat the answer to a head that was too large to read.
        if (/too (many|long)/.test(name) && answer === '') return onlyFine();
        assert.ok(status >= 400 && status < 500 || (name === 'HTTP/2.0' && status === 505),
                  `${status}: ${answer.slice(0, 300)}`);
        assert.doesNotMatch(answer.slice(10), /HTTP\/1\.1 200/, 'nothing behind it is answered');
        await onlyFine();
      });
    }

    it('answers two requests in one packet in order', async () => {
      const one = `GET /health HTTP/1.1\r\nHost: ${daemon.bare}\r\n\r\n`;
      const two = `GET /health HTTP/1.1\r\nHost: ${daemon.bare}\r\nConnection: close\r\n\r\n`;
      const answer = await raw(daemon.port, one + two, {limitMs: 10_000});
      assert.equal(answer.match(/HTTP\/1\.1 200/g)?.length, 2, answer);
    });

    it('does not wait forever for a head that never ends', async () => {
      const many = await Promise.all(Array.from({length: 50}, () =>
        raw(daemon.port, 'GET / HTTP/1.1\r\nHost: loc', {limitMs: 1000})));
      assert.equal(many.length, 50);
      assert.equal((await daemon.request('', {path: '/health'})).status, 200);
    });
  });
});
