// SPDX-License-Identifier: Apache-2.0
// The bridge API route by route: what it answers, and how it says that something is wrong.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import {after, before, describe, it} from 'node:test';

import {WebSocket} from 'ws';

import {Daemon, eventually} from './support/daemon.mjs';
import {open, raw, request} from './support/http.mjs';

const LIMIT = 32 << 20;

function assertFailure(answer, status, code) {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.headers['content-type'], /^application\/json/);
  const body = answer.json();
  assert.deepEqual(Object.keys(body), ['error', 'code']);
  assert.equal(body.code, code);
  assert.ok(body.error.length > 0);
  return body.error;
}

/** The events of an answer, in order: [name, decoded data]. */
function parseEvents(text) {
  assert.ok(text.endsWith('\n\n'), 'the stream ends after a whole event');
  return text.split('\n\n').slice(0, -1).map((block) => {
    const match = block.match(/^event: (\w+)\ndata: (.*)$/);
    assert.ok(match, `a named event, not ${JSON.stringify(block)}`);
    const [, name, data] = match;
    if (name !== 'stdout' && name !== 'stderr') return [name, JSON.parse(data)];
    return [name, Buffer.from(data, 'base64')];
  });
}

const joined = (events, name) =>
  Buffer.concat(events.filter(([each]) => each === name).map(([, data]) => data));

function tar(args, input) {
  const result = spawnSync('tar', args, {input, maxBuffer: 1 << 28});
  assert.equal(result.status, 0, `tar ${args.join(' ')}: ${result.stderr}`);
  return result.stdout;
}

describe('bridge', () => {
  let daemon;
  let id;

  const at = (path, options) => daemon.request('', {path: `/v1/sandbox${path}`, ...options});
  const post = (path, json, options) => at(path, {method: 'POST', json, ...options});
  const newId = async (headers) => {
    const answer = await at('', {method: 'POST', headers});
    assert.equal(answer.status, 200, answer.text);
    return answer.json().id;
  };
  async function exec(argv, more = {}, of = id) {
    const answer = await post(`/${of}/exec`, {argv, ...more});
    assert.equal(answer.status, 200, answer.text);
    assert.match(answer.headers['content-type'], /^text\/event-stream/);
    const events = parseEvents(answer.text);
    const [last, data] = events.at(-1);
    return {
      events,
      out: joined(events, 'stdout').toString(),
      err: joined(events, 'stderr').toString(),
      code: last === 'exit' ? data.exit_code : undefined,
      error: last === 'error' ? data : undefined,
    };
  }
  // Refused by its length alone: nothing of the body is sent.
  async function assertAnnouncedTooLarge(method, path, status = 413, code = 'payload_too_large') {
    const head = `${method} /v1/sandbox${path} HTTP/1.1\r\nHost: ${daemon.bare}\r\nContent-Length: ${LIMIT + 1}\r\n\r\n`;
    const text = await raw(daemon.port, head, {limitMs: 20_000, until: (got) => got.includes(code)});
    assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} [^]*"code":"${code}"`));
  }
  const sh = (script, more, of) => exec(['sh', '-c', script], more, of);

  before(async () => {
    daemon = await Daemon.start();
    id = await newId();
  });
  after(() => daemon?.cleanup());

  describe('ids', () => {
    it('gives one without starting anything, and the same for the same key', async () => {
      const before = await daemon.ids();
      const one = await newId({'Idempotency-Key': 'k1', 'Authorization': 'Bearer anything'});
      assert.match(one, /^[a-z2-7]{26}$/);
      assert.equal(await newId({'Idempotency-Key': 'k1'}), one);
      assert.notEqual(await newId({'Idempotency-Key': 'k2'}), one);
      assert.notEqual(await newId(), await newId());
      assert.deepEqual(await daemon.ids(), before);
      assertFailure(await at('', {method: 'POST', headers: {'Idempotency-Key': 'k'.repeat(256)}}),
                    400, 'invalid_request');
    });

    it('takes a body that says what only Cloudflare has', async () => {
      const answer = await post('', {exposedPorts: [3000], timeoutMs: 1000});
      assert.match(answer.json().id, /^[a-z2-7]{26}$/);
    });

    it('makes the sandbox when its id is first used, also one of the client\'s', async () => {
      for (const one of [await newId(), 'chosen']) {
        assert.ok(!(await daemon.ids()).includes(one));
        const answer = await at(`/${one}/running`);
        assert.deepEqual(answer.json(), {running: true});
        assert.ok((await daemon.ids()).includes(one));
        assert.equal((await at(`/${one}`, {method: 'DELETE'})).status, 204);
      }
    });

    it('makes one sandbox for many first uses at once', async () => {
      const one = await newId();
      const ran = await Promise.all(Array.from({length: 5}, () =>
        sh('echo x >> /workspace/all; hostname', {}, one)));
      assert.deepEqual(ran.map(({code}) => code), [0, 0, 0, 0, 0]);
      assert.equal((await sh('wc -l < /workspace/all', {}, one)).out.trim(), '5');
      assert.equal((await at(`/${one}`, {method: 'DELETE'})).status, 204);
    });

    it('is the same sandbox as that of the API', async () => {
      await sh('echo shared > /workspace/shared');
      const answer = await daemon.request('', {path: `/v1/sandboxes/${id}/files/workspace/shared`});
      assert.equal(answer.text, 'shared\n');
    });

    it('refuses what cannot be an id, wherever it stands', async () => {
      for (const [method, path] of [['POST', 'exec'], ['GET', 'file/workspace/a'], ['PUT', 'file/workspace/a'],
                                    ['GET', 'running'], ['POST', 'persist'], ['POST', 'hydrate'],
                                    ['POST', 'tunnel/3000'], ['DELETE', 'tunnel/3000']]) {
        const json = path === 'exec' ? {argv: ['true']} : undefined;
        const body = path === 'hydrate' ? 'x' : undefined;
        assertFailure(await at(`/Not_One/${path}`, {method, json, body}), 400, 'invalid_request');
      }
      assertFailure(await at('/Not_One', {method: 'DELETE'}), 400, 'invalid_request');
    });

    it('says which methods there are, and what is nowhere, as it says everything', async () => {
      const answer = await at(`/${id}/exec`);
      assertFailure(answer, 405, 'invalid_request');
      assert.equal(answer.headers.allow, 'POST');
      assertFailure(await at(`/${id}/nothing`), 404, 'invalid_request');
      assertFailure(await at(`/${id}/file/workspace/%zz`), 400, 'invalid_request');
      assertFailure(await at(`/%ff/exec`, {method: 'POST', json: {argv: ['true']}}), 400, 'invalid_request');
      // Other paths are the API's.
      const v1 = await daemon.request('', {path: '/v1/sandboxes/x/nothing'});
      assert.equal(v1.json().code, 'NOT_FOUND');
    });

    it('is as healthy as its clients want to read it', async () => {
      const health = await daemon.request('', {path: '/health'});
      assert.equal(health.status, 200);
      assert.equal(health.json().ok, true);
    });
  });

  describe('delete', () => {
    it('is 204 for what is there and what is not, and the id can be used again', async () => {
      const one = await newId();
      assert.equal((await at(`/${one}`, {method: 'DELETE'})).status, 204);
      await sh('echo 1 > /workspace/old', {}, one);
      assert.equal((await at(`/${one}`, {method: 'DELETE'})).status, 204);
      assert.ok(!(await daemon.ids()).includes(one));
      assert.equal((await at(`/${one}`, {method: 'DELETE'})).status, 204);
      assert.equal((await sh('echo back', {}, one)).out, 'back\n');
      assert.equal((await at(`/${one}`, {method: 'DELETE'})).status, 204);
    });
  });

  describe('exec', () => {
    it('gives output by stream and the exit code', async () => {
      const ran = await sh('echo out; echo err >&2; exit 3');
      assert.equal(ran.out, 'out\n');
      assert.equal(ran.err, 'err\n');
      assert.equal(ran.code, 3);
      assert.equal(ran.events.filter(([name]) => name === 'exit').length, 1);
    });

    it('passes arguments as they are, without a shell', async () => {
      const ran = await exec(['printf', '%s|', 'a b', '$HOME', '"\'', 'ü\n']);
      assert.equal(ran.out, 'a b|$HOME|"\'|ü\n|');
    });

    it('begins in /workspace, or where the request says below it', async () => {
      assert.equal((await exec(['pwd'])).out, '/workspace\n');
      await sh('mkdir -p /workspace/sub');
      for (const cwd of ['sub', '/workspace/sub', '/workspace/x/../sub/']) {
        assert.equal((await exec(['pwd'], {cwd})).out, '/workspace/sub\n');
      }
      for (const cwd of ['/', '/tmp', '..', '/workspace/../etc', '/workspaces']) {
        assertFailure(await post(`/${id}/exec`, {argv: ['pwd'], cwd}), 403, 'invalid_request');
      }
      const missing = await exec(['pwd'], {cwd: '/workspace/nowhere'});
      assert.equal(missing.error.code, 'exec_error');
      assert.match(missing.error.error, /nowhere/);
    });

    it('decodes event by event whatever the bytes are', async () => {
      const text = 'aä€😀'.repeat(40_000);
      await at(`/${id}/file/workspace/text`, {method: 'PUT', body: text});
      const {events} = await exec(['cat', '/workspace/text']);
      const each = events.filter(([name]) => name === 'stdout').map(([, data]) => data.toString());
      assert.ok(each.length > 1);
      assert.equal(each.join(''), text);
      // One byte at a time, and what never becomes a character.
      const slow = await sh('printf "\\360\\237"; sleep 0.1; printf "\\230\\200"; printf "\\377\\000\\303"');
      assert.deepEqual(joined(slow.events, 'stdout'), Buffer.from('f09f9880ff00c3', 'hex'));
      assert.equal(slow.code, 0);
    });

    it('gives output as it comes', async () => {
      const answer = await open(daemon.port, {
        host: daemon.bare, path: `/v1/sandbox/${id}/exec`, method: 'POST',
        json: {argv: ['sh', '-c', 'echo first; until test -e /workspace/go; do sleep 0.05; done; echo second']}});
      let text = '';
      for await (const part of answer.stream) {
        if (text === '') await at(`/${id}/file/workspace/go`, {method: 'PUT', body: ''});
        text += part;
      }
      assert.equal(joined(parseEvents(text), 'stdout').toString(), 'first\nsecond\n');
    });

    it('ends what takes too long with 124', async () => {
      const ran = await sh('echo begun; sleep 60', {timeout_ms: 300});
      assert.equal(ran.code, 124);
      assert.equal(ran.out, 'begun\n');
      assert.equal(ran.err, 'Command timed out after 300ms\n');
    });

    it('says of a program that is not there what a shell says', async () => {
      const missing = await exec(['no-such-program', 'x']);
      assert.equal(missing.code, 127);
      assert.equal(missing.err, 'no-such-program: command not found\n');
      await sh('echo hi > /workspace/plain');
      const plain = await exec(['/workspace/plain']);
      assert.equal(plain.code, 126);
      assert.match(plain.err, /Permission denied/);
    });

    it('leaves what runs in the background', async () => {
      await sh('nohup sleep 1000 > /dev/null 2>&1 & echo $! > /workspace/pid');
      assert.equal((await sh('kill -0 $(cat /workspace/pid) && echo lives')).out, 'lives\n');
      await sh('kill $(cat /workspace/pid)');
    });

    it('goes on when the client has gone away', async () => {
      const answer = await open(daemon.port, {
        host: daemon.bare, path: `/v1/sandbox/${id}/exec`, method: 'POST',
        json: {argv: ['sh', '-c', 'echo x; until test -e /workspace/left; do sleep 0.05; done; echo y > /workspace/after']}});
      await new Promise((resolve) => answer.stream.once('data', resolve));
      answer.close();
      await at(`/${id}/file/workspace/left`, {method: 'PUT', body: ''});
      await eventually('it has gone on', async () =>
        (await at(`/${id}/file/workspace/after`)).status === 200);
    });

    it('refuses bodies that say nothing to run', async () => {
      for (const json of [{}, {argv: []}, {argv: 'ls'}, {argv: [1]}, {argv: ['a\0b']},
                          {argv: ['true'], timeout_ms: 0}, {argv: ['true'], timeout_ms: 'x'},
                          {argv: ['true'], cwd: 7}]) {
        assertFailure(await post(`/${id}/exec`, json), 400, 'invalid_request');
      }
      for (const body of ['', '[]', '{', 'no']) {
        assertFailure(await at(`/${id}/exec`, {method: 'POST', body}), 400, 'invalid_request');
      }
    });
  });

  describe('files', () => {
    it('writes and reads every byte', async () => {
      const bytes = crypto.randomBytes(3 << 20);
      const path = `/${id}/file/workspace/${encodeURIComponent('a b#?ü%.bin')}`;
      const put = await at(path, {method: 'PUT', body: bytes});
      assert.deepEqual(put.json(), {ok: true});
      const got = await at(path);
      assert.equal(got.status, 200);
      assert.equal(got.headers['content-type'], 'application/octet-stream');
      assert.ok(got.bytes.equals(bytes));
      assert.equal((await at(path, {method: 'PUT', body: ''})).status, 200);
      assert.equal((await at(path)).bytes.length, 0);
    });

    it('says what is not there', async () => {
      for (const path of ['nothing', 'nothing/below', 'shared/below']) {
        const why = assertFailure(await at(`/${id}/file/workspace/${path}`), 404, 'workspace_read_not_found');
        assert.ok(why.includes(path));
      }
      assertFailure(await at(`/${id}/file/workspace`), 400, 'invalid_request');
      assertFailure(await at(`/${id}/file/workspace/no/parent`, {method: 'PUT', body: 'x'}),
                    502, 'workspace_archive_write_error');
      assert.equal((await at(`/${id}/file/workspace/no`)).status, 404);
    });

    it('stays in /workspace', async () => {
      for (const path of ['etc/passwd', 'workspace/../etc/passwd', 'workspace/%2e%2e/etc/passwd',
                          'workspacex', '%2fetc%2fpasswd']) {
        assertFailure(await at(`/${id}/file/${path}`), 403, 'invalid_request');
        assertFailure(await at(`/${id}/file/${path}`, {method: 'PUT', body: 'x'}), 403, 'invalid_request');
      }
      assert.match((await sh('head -1 /etc/passwd')).out, /^root:/);
    });

    it('takes 32 MiB and not a byte more, however it is sent', async () => {
      const most = Buffer.alloc(LIMIT, 'x');
      const path = `/${id}/file/workspace/most`;
      assert.equal((await at(path, {method: 'PUT', body: most})).status, 200);
      const more = Buffer.alloc(LIMIT + 1, 'y');
      await assertAnnouncedTooLarge('PUT', path);
      assertFailure(await at(path, {method: 'PUT', body: more, headers: {'Transfer-Encoding': 'chunked'}}),
                    413, 'payload_too_large');
      assert.equal((await sh('stat -c %s /workspace/most; head -c 1 /workspace/most; rm /workspace/most')).out,
                   `${LIMIT}\nx`);
    });
  });

  describe('persist and hydrate', () => {
    it('moves a workspace to another sandbox, without what is excluded', async () => {
      await sh(`rm -rf /workspace/*; cd /workspace; mkdir -p src/deep src/cache src/data/big cache data/big; echo code > src/deep/a;
                echo s > src/cache/s; echo n > src/data/big/n; echo c > cache/c; echo d > data/d; echo b > data/big/b; ln -s src/deep/a link;
                ln -s /usr/bin/env outside; chmod 750 src`);
      const packed = await post(`/${id}/persist?excludes=cache,./data/big`);
      assert.equal(packed.status, 200, packed.text);
      assert.equal(packed.headers['content-type'], 'application/octet-stream');
      const names = tar(['t'], packed.bytes).toString();
      assert.match(names, /src\/deep\/a\n/);
      // Only those at the top are meant, not what is called so deeper in the tree.
      assert.match(names, /src\/cache\/s\n/);
      assert.match(names, /src\/data\/big\/n\n/);
      assert.ok(!/^(\.\/)?(cache|data\/big)/m.test(names), names);

      const other = await newId();
      const done = await at(`/${other}/hydrate`, {method: 'POST', body: packed.bytes});
      assert.equal(done.status, 200, done.text);
      assert.deepEqual(done.json(), {ok: true});
      const found = await sh('cd /workspace; cat src/deep/a link data/d; readlink link outside; stat -c %a src; ls', {}, other);
      assert.equal(found.out, 'code\ncode\nd\nsrc/deep/a\n/usr/bin/env\n750\ndata\nlink\noutside\nsrc\n');
      assert.equal((await at(`/${other}`, {method: 'DELETE'})).status, 204);
    });

    it('refuses excludes that lead out', async () => {
      for (const excludes of ['..', 'a,../b', 'a/../b']) {
        assertFailure(await post(`/${id}/persist?excludes=${encodeURIComponent(excludes)}`), 400, 'invalid_request');
      }
    });

    it('refuses what is no archive, and what is too much', async () => {
      const path = `/${id}/hydrate`;
      assertFailure(await at(path, {method: 'POST', body: ''}), 400, 'invalid_request');
      assertFailure(await at(path, {method: 'POST', body: 'x'.repeat(2000)}), 502, 'workspace_archive_write_error');
      await assertAnnouncedTooLarge('POST', path, 400, 'invalid_request');
    });

    it('refuses an archive that would leave the workspace, or fill the disk', async () => {
      const path = `/${id}/hydrate`;
      await sh('rm -rf /workspace/* /tmp/out; mkdir -p /tmp/out; echo old > /tmp/out/old; ln -s /tmp/out /workspace/there');
      const dir = fs.mkdtempSync(join(os.tmpdir(), 'atoll-hydrate-'));
      try {
        fs.writeFileSync(join(dir, 'x'), 'x');
        fs.symlinkSync('/tmp/out', join(dir, 'l'));
        const renamed = (name) => tar(['c', '-P', '--transform', `s,^x$,${name},`, '-C', dir, 'x']);
        const through = tar(['c', '-P', '--transform', 's,^x$,l/through,', '-C', dir, 'l', 'x']);
        for (const bytes of [renamed('/tmp/out/abs'), renamed('../../tmp/out/up'), renamed('a/../../tmp/out/up'),
                             renamed('there/through'), through]) {
          assertFailure(await at(path, {method: 'POST', body: bytes}), 502, 'workspace_archive_write_error');
        }
      } finally {
        fs.rmSync(dir, {recursive: true});
      }
      assert.equal((await sh('cd /tmp/out && ls -A && cat old')).out, 'old\nold\n');
      await sh('rm -rf /workspace/*; mkdir /workspace/bomb && truncate -s 2G /workspace/bomb/zeros');
      const bomb = await daemon.request('', {path: `/v1/sandboxes/${id}/archive?path=/workspace/bomb&format=tar.zst`});
      await sh('rm -rf /workspace/bomb');
      assertFailure(await at(path, {method: 'POST', body: bomb.bytes}), 413, 'payload_too_large');
      const [taken] = (await sh('du -sb /workspace')).out.split('\t');
      assert.ok(Number(taken) < 1 << 30, taken);
      await sh('rm -rf /workspace/*');
    });
  });

  describe('sessions', () => {
    it('keep their directory and variables between commands', async () => {
      const made = await post(`/${id}/session`, {id: 's.1', env: {COLOUR: 'red'}});
      assert.deepEqual(made.json(), {id: 's.1'});
      const inside = async (argv) => {
        const answer = await post(`/${id}/exec`, {argv}, {headers: {'Session-Id': 's.1'}});
        assert.equal(answer.status, 200, answer.text);
        return joined(parseEvents(answer.text), 'stdout').toString();
      };
      await inside(['mkdir', '-p', 'a b']);
      await inside(['cd', 'a b']);
      assert.equal(await inside(['sh', '-c', 'pwd; echo $COLOUR']), '/workspace/a b\nred\n');
      assert.equal((await exec(['pwd'])).out, '/workspace\n');
      assertFailure(await post(`/${id}/session`, {id: 's.1'}), 502, 'session_error');
      assert.equal((await at(`/${id}/session/s.1`, {method: 'DELETE'})).status, 200);
      assertFailure(await at(`/${id}/session/s.1`, {method: 'DELETE'}), 502, 'session_error');
      assert.match((await post(`/${id}/session`, {})).json().id, /^[\w.-]+$/);
    });

    it('are made by their first use', async () => {
      const inside = async (argv) => {
        const answer = await post(`/${id}/exec`, {argv}, {headers: {'Session-Id': 'unopened'}});
        assert.equal(answer.status, 200, answer.text);
        const events = parseEvents(answer.text);
        assert.deepEqual(events.at(-1), ['exit', {exit_code: 0}], answer.text);
        return joined(events, 'stdout').toString();
      };
      await inside(['cd', '/usr']);
      assert.equal(await inside(['pwd']), '/usr\n');
      assert.equal((await at(`/${id}/session/unopened`, {method: 'DELETE'})).status, 200);
    });

    it('take what the SDK takes', async () => {
      const inside = async (session, argv) => {
        const answer = await post(`/${id}/exec`, {argv}, {headers: {'Session-Id': session}});
        return parseEvents(answer.text);
      };
      const made = await post(`/${id}/session`, {id: 'wide', cwd: '/usr', env: {A: 'b', GONE: null}, commandTimeoutMs: 5000});
      assert.equal(made.status, 200, made.text);
      assert.equal(joined(await inside('wide', ['sh', '-c', 'pwd; echo $A']), 'stdout').toString(), '/usr\nb\n');
      assert.equal((await inside('wide', ['sleep', '60'])).at(-1)[1].exit_code, 124);
      for (const body of ['{', '[]', 'no']) {
        const answer = await at(`/${id}/session`, {method: 'POST', body});
        assert.match(answer.json().id, /^[\w.-]+$/, body);
      }
    });

    it('have terminals that begin where they are', async () => {
      const long = 'l'.repeat(128);
      assert.equal((await post(`/${id}/session`, {id: long, cwd: '/usr', env: {COLOUR: 'red'}})).status, 200);
      await post(`/${id}/exec`, {argv: ['cd', '/usr/share']}, {headers: {'Session-Id': long}});
      const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/v1/sandbox/${id}/pty?session=${long}`,
                                   {headers: {Host: daemon.bare}});
      let text = '';
      socket.on('message', (data, binary) => { if (binary) text += data; });
      await new Promise((resolve, reject) => { socket.once('open', resolve).once('error', reject); });
      socket.send(Buffer.from('echo "at=$PWD=$COLOUR="\n'));
      await eventually('it has said where it is', () => /at=\/usr\/share=red=/.test(text));
      assert.equal((await at(`/${id}/session/${long}`, {method: 'DELETE'})).status, 200);
      await eventually('it has ended with its session', () => socket.readyState === WebSocket.CLOSED);
    });

    it('refuse ids that are none', async () => {
      for (const sid of ['..', 'a b', 'x'.repeat(129), 'ü']) {
        assertFailure(await post(`/${id}/session`, {id: sid}), 400, 'invalid_request');
      }
      const answer = await post(`/${id}/exec`, {argv: ['pwd']}, {headers: {'Session-Id': 'a b'}});
      assertFailure(answer, 400, 'invalid_request');
    });
  });

  it('refuses a terminal to what is no WebSocket', async () => {
    assertFailure(await at(`/${id}/pty`), 400, 'invalid_request');
  });

  describe('tunnels', () => {
    it('gives a port an URL that works, the same again, and takes it back', async () => {
      await exec(['sh', '-c', 'cd /workspace; echo tunneled > page; nohup node -e "' +
        "require('http').createServer((q, a) => a.end('tunneled ' + q.url)).listen(3000)" +
        '" > /dev/null 2>&1 &']);
      const made = await post(`/${id}/tunnel/3000`, {name: 'site'});
      assert.equal(made.status, 200, made.text);
      const tunnel = made.json();
      assert.equal(tunnel.port, 3000);
      assert.equal(tunnel.name, 'site');
      assert.ok(tunnel.id);
      assert.ok(!Number.isNaN(Date.parse(tunnel.createdAt)));
      assert.equal(tunnel.url, `http://${tunnel.hostname}:${daemon.port}`);
      const page = await eventually('the page', async () => {
        const answer = await request(daemon.port, {host: `${tunnel.hostname}:${daemon.port}`, path: '/x'});
        return answer.status === 200 && answer.text;
      });
      assert.equal(page, 'tunneled /x');
      assert.deepEqual((await at(`/${id}/tunnel/3000`, {method: 'POST'})).json(), tunnel);

      assert.equal((await at(`/${id}/tunnel/3000`, {method: 'DELETE'})).status, 204);
      const gone = await request(daemon.port, {host: `${tunnel.hostname}:${daemon.port}`});
      assert.notEqual(gone.status, 200);
      assert.equal((await at(`/${id}/tunnel/3000`, {method: 'DELETE'})).status, 204);
    });

    it('refuses what is no port, and those that are Atoll\'s own', async () => {
      for (const port of ['0', '65536', 'x', '-1', '1e3', '4096']) {
        assertFailure(await at(`/${id}/tunnel/${port}`, {method: 'POST'}), 400, 'invalid_request');
      }
      assertFailure(await at(`/${id}/tunnel/x`, {method: 'DELETE'}), 400, 'invalid_request');
      assertFailure(await at(`/${id}/tunnel/3000`, {method: 'POST', body: '{'}), 400, 'invalid_request');
      assert.equal((await at('/nobody/tunnel/3000', {method: 'DELETE'})).status, 204);
    });
  });

  it('stands in the description of the API', async () => {
    const {paths} = (await daemon.request('', {path: '/v1/openapi.json'})).json();
    assert.ok(paths['/v1/sandbox'].post);
    assert.ok(paths['/v1/sandbox/{sandbox}/exec'].post);
    assert.deepEqual(Object.keys(paths['/v1/sandbox/{sandbox}/file/{path}']).sort(), ['get', 'put']);
    assert.ok(paths['/v1/sandboxes/{id}/exec'].post);
  });

  it('says that there is no room', async () => {
    const full = await Daemon.start({sections: {limits: {max_sandboxes: 1}}});
    try {
      const use = (one) => full.request('', {path: `/v1/sandbox/${one}/running`});
      assert.equal((await use('first')).status, 200);
      const refused = await use('second');
      assertFailure(refused, 503, 'capacity_exceeded');
      assert.ok(Number(refused.headers['retry-after']) > 0);
    } finally {
      await full.cleanup();
    }
  });
});
