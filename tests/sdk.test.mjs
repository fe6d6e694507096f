// SPDX-License-Identifier: Apache-2.0
// The Sandbox SDK's control API route by route: what it answers, and how it says that something is wrong.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {WebSocket} from 'ws';

import {Daemon, eventually} from './support/daemon.mjs';
import {open, raw} from './support/http.mjs';

const LIMIT = 32 << 20;

function assertFailure(answer, status, code) {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.headers['content-type'], /^application\/json/);
  const body = answer.json();
  assert.equal(body.code, code, answer.text);
  assert.equal(body.httpStatus, status);
  assert.ok(body.message.length > 0);
  assert.equal(typeof body.context, 'object');
  assert.ok(!Number.isNaN(Date.parse(body.timestamp)));
  return body;
}

/** Unnamed events alone, each one JSON object in one line. */
function parseEvents(text) {
  assert.ok(text.endsWith('\n\n'), 'the stream ends after a whole event');
  return text.split('\n\n').slice(0, -1).map((block) => {
    assert.match(block, /^data: \{[^\n]*\}$/);
    return JSON.parse(block.slice(6));
  });
}

const joined = (events, type) =>
  events.filter((event) => event.type === type).map((event) => event.data).join('');

describe('the SDK\'s control API', () => {
  let daemon;

  const at = (id) => ({
    get: (path, options) => daemon.request(`sdk--${id}`, {path, ...options}),
    del: (path, options) => daemon.request(`sdk--${id}`, {method: 'DELETE', path, ...options}),
    post: (path, json, options) => daemon.request(`sdk--${id}`, {method: 'POST', path, json, ...options}),
    async ok(path, json) {
      const answer = await this.post(path, json);
      assert.equal(answer.status, 200, `${path}: ${answer.text}`);
      const body = answer.json();
      assert.ok(!Number.isNaN(Date.parse(body.timestamp)));
      return body;
    },
    exec(command, more = {}) { return this.ok('/api/execute', {command, sessionId: 's', ...more}); },
    async stream(command, more = {}) {
      const answer = await this.post('/api/execute/stream', {command, sessionId: 's', ...more});
      assert.equal(answer.status, 200, answer.text);
      assert.match(answer.headers['content-type'], /^text\/event-stream/);
      return parseEvents(answer.text);
    },
  });
  const sdk = at('sdk-one');

  before(async () => { daemon = await Daemon.start(); });
  after(() => daemon?.cleanup());

  describe('hosts', () => {
    it('makes the sandbox with the first use, and once for many', async () => {
      assert.ok(!(await daemon.ids()).includes('first'));
      assert.equal((await at('first').get('/api/ping')).json().message, 'pong');
      assert.ok(!(await daemon.ids()).includes('first'), 'a ping uses nothing');
      const ran = await Promise.all(Array.from({length: 4}, () => at('first').exec('hostname')));
      assert.deepEqual(new Set(ran.map(({stdout}) => stdout)), new Set(['first\n']));
      assert.equal((await daemon.ids()).filter((id) => id === 'first').length, 1);
      assert.equal((await daemon.sandbox('first').delete()).status, 204);
    });

    it('knows nothing that is no id', async () => {
      for (const label of ['sdk--', 'sdk--a--b', 'sdk--3000-a', 'sdk--www', `sdk--${'a'.repeat(40)}`]) {
        const answer = await daemon.request(label, {path: '/api/ping'});
        assert.equal(answer.status, 404, label);
        assert.equal(answer.json().code, 'INVALID_SANDBOX_ID', label);
      }
    });

    it('answers no page of another origin, its own sandbox\'s included', async () => {
      for (const from of [daemon.host('sdk-one'), daemon.host('3000-sdk-one'), daemon.bare, 'evil.example']) {
        const answer = await sdk.post('/api/execute', {command: 'touch /foreign'},
                                      {headers: {Origin: `http://${from}`}});
        assert.equal(answer.status, 403, from);
        assert.equal(answer.json().code, 'FOREIGN_ORIGIN');
      }
      assert.equal((await sdk.exec('test -e /foreign')).exitCode, 1);
    });

    it('says which routes there are', async () => {
      assertFailure(await sdk.get('/api/nothing'), 404, 'NOT_FOUND');
      assertFailure(await sdk.get('/'.padEnd(3000, 'x')), 404, 'NOT_FOUND');
      const wrong = await sdk.get('/api/execute');
      assertFailure(wrong, 405, 'METHOD_NOT_ALLOWED');
      assert.equal(wrong.headers.allow, 'POST');
    });
  });

  describe('bodies', () => {
    it('refuses what is no object of the right fields', async () => {
      const bad = [
        ['{', {}], ['[]', {}], ['"x"', {}], ['null', {}], ['', {}], ['{"command":"a"} x', {}],
        [Buffer.from('{"command":"\xff"}', 'latin1'), {}], ['{"command":"\\ud800"}', {}],
        ['['.repeat(5000), {}], [`{"command":"true","env":${'{"a":'.repeat(40)}1${'}'.repeat(40)}}`, {}],
      ];
      for (const [body] of bad) {
        const answer = await sdk.post('/api/execute', undefined, {body});
        assert.equal(answer.status, 400, String(body).slice(0, 60));
        assert.match(answer.json().code, /^(VALIDATION_FAILED|INVALID_COMMAND|NAME_TOO_LONG)$/);
      }
      const fields = [
        {command: 1}, {command: ''}, {command: ['a']}, {command: 'a\0b'}, {command: 'a'.repeat(200_000)},
        {command: 'true', sessionId: 1}, {command: 'true', sessionId: '../x'}, {command: 'true', sessionId: ''},
        {command: 'true', sessionId: 'x'.repeat(129)}, {command: 'true', sessionId: '.x'},
        {command: 'true', timeoutMs: 0}, {command: 'true', timeoutMs: 1.5}, {command: 'true', timeoutMs: '1'},
        {command: 'true', timeoutMs: 1e12}, {command: 'true', cwd: 1}, {command: 'true', cwd: '/\0'},
        {command: 'true', cwd: `/${'a'.repeat(5000)}`},
        {command: 'true', env: []}, {command: 'true', env: {A: 1}}, {command: 'true', env: {'A=B': 'c'}},
        {command: 'true', env: {'A;touch /x': 'c'}}, {command: 'true', env: {A: 'b\0'}},
        {command: 'true', cwd: `/${'a'.repeat(5000)}`, sessionId: '__DISABLE_SESSION__'},
        {command: 'true', background: true}, {command: 'true', background: 1},
      ];
      for (const path of ['/api/execute', '/api/execute/stream']) {
        for (const json of fields) {
          const answer = await sdk.post(path, json);
          assert.equal(answer.status, 400, `${path} ${JSON.stringify(json).slice(0, 80)}: ${answer.text}`);
          assert.match(answer.json().code, /^(VALIDATION_FAILED|INVALID_COMMAND|NAME_TOO_LONG)$/);
        }
      }
    });

    it('says what is wrong in the context', async () => {
      const body = assertFailure(await sdk.post('/api/execute', {command: 'true', timeoutMs: -1}),
                                 400, 'VALIDATION_FAILED');
      assert.match(body.context.validationErrors[0].message, /timeoutMs/);
    });

    it('refuses one that is too large by its length alone', async () => {
      for (const [path, length, code] of [['execute', LIMIT + 1, 'PAYLOAD_TOO_LARGE'],
                                          ['write', 48 * (1 << 20) + 1, 'FILE_TOO_LARGE']]) {
        const head = `POST /api/${path} HTTP/1.1\r\nHost: ${daemon.host('sdk--sdk-one')}\r\n` +
          `Content-Length: ${length}\r\n\r\n`;
        const text = await raw(daemon.port, head, {limitMs: 20_000, until: (got) => got.includes(code)});
        assert.match(text, new RegExp(`^HTTP/1\\.1 413 [^]*"code":"${code}"`));
      }
    });
  });

  describe('commands', () => {
    it('answers with output and exit code', async () => {
      const ran = await sdk.exec('echo out; echo err >&2; (exit 3)');
      assert.equal(ran.success, false);
      assert.equal(ran.exitCode, 3);
      assert.equal(ran.stdout, 'out\n');
      assert.equal(ran.stderr, 'err\n');
      assert.equal(ran.command, 'echo out; echo err >&2; (exit 3)');
      assert.equal(ran.sessionId, 's');
      assert.equal(typeof ran.duration, 'number');
    });

    it('keeps what a session is, and gives a command its own directory and variables', async () => {
      await sdk.exec('cd /usr; export KEPT=yes; greet() { echo "hello $1"; }');
      assert.equal((await sdk.exec('pwd; echo $KEPT; greet you')).stdout, '/usr\nyes\nhello you\n');
      const other = await sdk.exec('pwd; echo "$KEPT$ONCE"', {cwd: '/tmp', env: {ONCE: 'now', KEPT: null}});
      assert.equal(other.stdout, '/tmp\nyesnow\n');
      assert.equal((await sdk.exec('pwd; echo "$KEPT$ONCE"')).stdout, '/usr\nyes\n');
      assert.equal((await sdk.exec('pwd', {sessionId: 'another'})).stdout, '/workspace\n');
      assert.equal((await sdk.exec('pwd', {cwd: 'tmp/..'})).exitCode, 1, 'it is below /workspace');
    });

    it('needs no session', async () => {
      const none = {sessionId: '__DISABLE_SESSION__'};
      await sdk.exec('cd /usr; export X=y', none);
      const ran = await sdk.exec('pwd; echo "[$X]"; cat', none);
      assert.equal(ran.stdout, '/workspace\n[]\n');
      assert.equal('sessionId' in ran, false);
      const left = await sdk.exec('sleep 300 >/dev/null 2>&1 & echo $!', none);
      assert.equal((await sdk.exec(`kill ${left.stdout.trim()}`, none)).exitCode, 0, 'what was left running runs');
    });

    it('says that a directory is missing as a shell does', async () => {
      for (const sessionId of ['s', '__DISABLE_SESSION__']) {
        const ran = await sdk.exec('pwd', {sessionId, cwd: '/nowhere'});
        assert.equal(ran.exitCode, 1);
        assert.match(ran.stderr, /\/nowhere: No such file or directory/);
        const events = await sdk.stream('pwd', {sessionId, cwd: '/nowhere'});
        assert.match(joined(events, 'stderr'), /\/nowhere: No such file or directory/);
        assert.equal(events.at(-1).type, 'complete');
        assert.equal(events.at(-1).exitCode, 1);
      }
    });

    it('ends a command that takes too long, and the session goes on', async () => {
      await sdk.exec('cd /usr');
      const late = assertFailure(await sdk.post('/api/execute', {command: 'sleep 300', sessionId: 's', timeoutMs: 200}),
                                 500, 'COMMAND_EXECUTION_ERROR');
      assert.match(late.message, /Command timeout after 200ms/);
      assert.equal((await sdk.exec('pwd; pgrep -fx "sleep 300" || echo gone')).stdout, '/usr\ngone\n');
      const none = await sdk.exec('echo begun; sleep 300', {sessionId: '__DISABLE_SESSION__', timeoutMs: 200});
      assert.equal(none.exitCode, 124);
      assert.equal(none.stdout, 'begun\n');
      assert.match(none.stderr, /timed out after 200ms/);
    });

    it('tells of a shell that was ended, and gives another', async () => {
      await sdk.exec('cd /usr', {sessionId: 'ends'});
      const ended = assertFailure(await sdk.post('/api/execute', {command: 'exit 5', sessionId: 'ends'}),
                                  410, 'SESSION_TERMINATED');
      assert.equal(ended.context.sessionId, 'ends');
      assert.equal((await sdk.exec('pwd', {sessionId: 'ends'})).stdout, '/workspace\n');
    });

    it('ends a command whose client has left', async () => {
      for (const sessionId of ['leaver', '__DISABLE_SESSION__']) {
        for (const path of ['/api/execute', '/api/execute/stream']) {
          const mark = `4${sessionId.length}${path.length}`;
          const leaving = open(daemon.port, {
            host: daemon.host('sdk--sdk-one'), method: 'POST', path, limitMs: 3_000,
            json: {command: `echo x; sleep ${mark}`, sessionId},
          });
          const there = async () => (await sdk.exec(`pgrep -fx "sleep ${mark}"`)).exitCode === 0;
          await eventually('it runs', there);
          if (path.endsWith('stream')) (await leaving).close();
          else await assert.rejects(leaving);
          await eventually('it has ended', async () => !(await there()));
        }
      }
    });

    it('gives bytes that are no text as replacement characters, and drops nothing else', async () => {
      const ran = await sdk.exec('printf "a\\377b\\0c"; printf x; printf "gr\\303\\266\\303"');
      assert.equal(ran.stdout, 'a\ufffdb\0cxgrö\ufffd');
      const events = await sdk.stream('printf "gr\\303"; sleep 0.2; printf "\\266"; printf "\\377\\n\\n"');
      assert.equal(joined(events, 'stdout'), 'grö\ufffd\n\n');
    });

    it('has much output', async () => {
      const ran = await sdk.exec('head -c 20000000 /dev/zero | tr "\\0" x');
      assert.equal(ran.stdout.length, 20_000_000);
      const events = await sdk.stream('seq 200000');
      assert.equal(joined(events, 'stdout'), Array.from({length: 200_000}, (_, i) => `${i + 1}\n`).join(''));
    });
  });

  describe('streams', () => {
    it('tells the start, output as it comes, and the end', async () => {
      const events = await sdk.stream('echo out; echo err >&2; exit 7');
      assert.equal(events[0].type, 'start');
      assert.equal(events[0].command, 'echo out; echo err >&2; exit 7');
      assert.ok(events[0].pid > 0);
      assert.equal(joined(events, 'stdout'), 'out\n');
      assert.equal(joined(events, 'stderr'), 'err\n');
      assert.equal(events.at(-1).type, 'complete');
      assert.equal(events.at(-1).exitCode, 7);
      assert.ok(events.every(({timestamp}) => !Number.isNaN(Date.parse(timestamp))));
      assert.equal((await sdk.exec('echo alive')).stdout, 'alive\n', 'an exit ends no session');
    });

    it('begins where the session is, changes nothing there and does not keep it', async () => {
      await sdk.exec('cd /usr; export SEEN="a\nb" HIDDEN=1; unset HIDDEN', {sessionId: 'busy'});
      const answer = await open(daemon.port, {
        host: daemon.host('sdk--sdk-one'), method: 'POST', path: '/api/execute/stream',
        json: {command: 'pwd; echo "$SEEN $MINE"; cd /; export SEEN=z; sleep 300', sessionId: 'busy', env: {MINE: 'm'}},
      });
      let text = '';
      answer.stream.on('data', (data) => { text += data; });
      await eventually('output', () => text.includes('"stdout"') && text.includes('b m'));
      assert.equal(joined(parseEvents(text), 'stdout'), '/usr\na\nb m\n');
      assert.equal((await sdk.exec('pwd; echo "$SEEN"', {sessionId: 'busy'})).stdout, '/usr\na\nb\n');
      answer.close();
    });

    it('ends what takes too long', async () => {
      const events = await sdk.stream('echo begun; sleep 300', {timeoutMs: 200});
      assert.equal(joined(events, 'stdout'), 'begun\n');
      assert.match(joined(events, 'stderr'), /timed out after 200ms/);
      assert.equal(events.at(-1).exitCode, 124);
    });
  });

  describe('sessions', () => {
    it('are made with a directory and variables, listed, and ended', async () => {
      const made = await sdk.ok('/api/session/create', {id: 'work', cwd: '/usr', env: {A: 'b', GONE: null}});
      assert.equal(made.success, true);
      assert.equal(made.id, 'work');
      assert.equal((await sdk.exec('pwd; echo $A', {sessionId: 'work'})).stdout, '/usr\nb\n');
      const again = assertFailure(await sdk.post('/api/session/create', {id: 'work'}), 409, 'SESSION_ALREADY_EXISTS');
      assert.equal(again.context.sessionId, 'work');
      assert.ok((await sdk.get('/api/session/list')).json().sessions.includes('work'));
      await sdk.exec('sleep 4343 >/dev/null 2>&1 &', {sessionId: 'work'});
      assert.equal((await sdk.ok('/api/session/delete', {sessionId: 'work'})).sessionId, 'work');
      assert.equal((await sdk.exec('pgrep -fx "sleep 4343"')).exitCode, 1, 'what ran in it has ended');
      assertFailure(await sdk.post('/api/session/delete', {sessionId: 'work'}), 404, 'SESSION_NOT_FOUND');
      assert.match((await sdk.ok('/api/session/create', {})).id, /^session-\d+$/);
    });

    it('has a limit of time for commands that have none', async () => {
      await sdk.ok('/api/session/create', {id: 'hasty', commandTimeoutMs: 300});
      assertFailure(await sdk.post('/api/execute', {command: 'sleep 300', sessionId: 'hasty'}),
                    500, 'COMMAND_EXECUTION_ERROR');
      assert.equal((await sdk.exec('sleep 0.4; echo done', {sessionId: 'hasty', timeoutMs: 60_000})).stdout, 'done\n');
    });

    it('have long ids, and terminals that begin where they are', async () => {
      const id = 's'.repeat(128);
      await sdk.ok('/api/session/create', {id, cwd: '/usr', env: {COLOUR: 'red'}});
      await sdk.exec('cd /usr/share', {sessionId: id});
      // The terminal does not wait for what the session does.
      const busy = sdk.exec('sleep 20', {sessionId: id}).catch(() => {});
      const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/ws/pty?sessionId=${id}`,
                                   {headers: {Host: daemon.host('sdk--sdk-one')}});
      let text = '';
      socket.on('message', (data, binary) => { if (binary) text += data; });
      await new Promise((resolve, reject) => { socket.once('open', resolve).once('error', reject); });
      socket.send(Buffer.from('echo "at=$PWD=$COLOUR="\n'));
      await eventually('it has said where it is', () => /at=\/usr\/share=red=/.test(text));
      await sdk.ok('/api/session/delete', {sessionId: id});
      await eventually('it has ended with its session', () => socket.readyState === WebSocket.CLOSED);
      await busy;
    });

    it('make room for others when nobody has opened or uses them, and are refused at once when there is none', async () => {
      const many = at('sdk-many');
      const each = async (count, what) => {
        let next = 0;
        await Promise.all(Array.from({length: 8}, async () => {
          while (next < count) await what(next++);
        }));
      };
      await many.ok('/api/session/create', {id: 'opened', env: {KEPT: 'yes'}});
      await many.exec('sleep 5353 >/dev/null 2>&1 &', {sessionId: 'works'});
      await many.exec('X=old', {sessionId: 'idle'});
      await each(260, (i) => many.exec('true', {sessionId: `used-${i}`}));
      assert.equal((await many.exec('echo $KEPT', {sessionId: 'opened'})).stdout, 'yes\n');
      assert.equal((await many.exec('pgrep -fx "sleep 5353" | wc -l', {sessionId: 'works'})).stdout, '1\n');
      assert.equal((await many.exec('echo "[$X]"', {sessionId: 'idle'})).stdout, '[]\n', 'it was made anew');
      await each(254, (i) => many.ok('/api/session/create', {id: `opened-${i}`}));
      const begun = Date.now();
      assertFailure(await many.post('/api/execute', {command: 'true', sessionId: 'one-more'}), 409, 'RESOURCE_BUSY');
      assert.ok(Date.now() - begun < 10_000);
      assert.equal((await many.exec('echo $KEPT', {sessionId: 'opened'})).stdout, 'yes\n');
    });

    it('refuses ids that are none', async () => {
      for (const id of ['', '../x', 'a b', '__DISABLE_SESSION__', 'x'.repeat(129), 1, null]) {
        const answer = await sdk.post('/api/session/delete', {sessionId: id});
        assert.equal(answer.status, 400, JSON.stringify(id));
      }
    });
  });

  describe('files', () => {
    const file = (path, json) => sdk.ok(`/api/${path}`, {sessionId: 'files', ...json});
    const fails = async (path, json, status, code) =>
      assertFailure(await sdk.post(`/api/${path}`, {sessionId: 'files', ...json}), status, code);

    it('are written and read, text and bytes', async () => {
      await file('write', {path: '/workspace/a.txt', content: 'größe 😀\n'});
      const text = await file('read', {path: '/workspace/a.txt'});
      assert.equal(text.content, 'größe 😀\n');
      assert.deepEqual([text.encoding, text.isBinary, text.mimeType, text.size], ['utf-8', false, 'text/plain', 13]);
      const bytes = Buffer.from([0, 255, 1, 2, 254]);
      await file('write', {path: '/workspace/b.png', content: bytes.toString('base64'), encoding: 'base64'});
      const read = await file('read', {path: '/workspace/b.png'});
      assert.deepEqual(Buffer.from(read.content, 'base64'), bytes);
      assert.deepEqual([read.encoding, read.isBinary, read.mimeType, read.size], ['base64', true, 'image/png', 5]);
      assert.equal((await file('read', {path: '/workspace/b.png', encoding: 'utf-8'})).content, '\0\ufffd\x01\x02\ufffd');
      const asked = await file('read', {path: '/workspace/a.txt', encoding: 'base64'});
      assert.equal(Buffer.from(asked.content, 'base64').toString(), 'größe 😀\n');
      await file('write', {path: '/workspace/empty', content: ''});
      assert.equal((await file('read', {path: '/workspace/empty'})).content, '');
    });

    it('have 32 MiB and not a byte more', async () => {
      const most = Buffer.alloc(LIMIT, 'x').toString('base64');
      const written = await sdk.post('/api/write', {path: '/workspace/most', content: most, encoding: 'base64'},
                                     {limitMs: 60_000});
      assert.equal(written.status, 200, written.text);
      assert.equal((await sdk.exec('stat -c %s /workspace/most; rm /workspace/most')).stdout, `${LIMIT}\n`);
      const more = Buffer.alloc(LIMIT + 1, 'x').toString('base64');
      assertFailure(await sdk.post('/api/write', {path: '/workspace/most', content: more, encoding: 'base64'},
                                   {limitMs: 60_000}), 413, 'FILE_TOO_LARGE');
    });

    it('are found from where the session is', async () => {
      await sdk.exec('mkdir -p /workspace/sub && cd /workspace/sub', {sessionId: 'files'});
      await file('write', {path: 'here.txt', content: 'x'});
      assert.equal((await file('exists', {path: '/workspace/sub/here.txt'})).exists, true);
      assert.equal((await file('read', {path: 'here.txt'})).content, 'x');
      const none = await sdk.ok('/api/exists', {path: 'sub/here.txt', sessionId: '__DISABLE_SESSION__'});
      assert.equal(none.exists, true);
    });

    it('are moved, renamed and deleted', async () => {
      await file('write', {path: '/workspace/m1', content: 'm'});
      const renamed = await file('rename', {oldPath: '/workspace/m1', newPath: '/workspace/m2'});
      assert.deepEqual([renamed.path, renamed.newPath], ['/workspace/m1', '/workspace/m2']);
      await file('move', {sourcePath: '/workspace/m2', destinationPath: '/tmp/m3'});
      assert.equal((await file('read', {path: '/tmp/m3'})).content, 'm');
      await file('delete', {path: '/tmp/m3'});
      assert.equal((await file('exists', {path: '/tmp/m3'})).exists, false);
    });

    it('are listed', async () => {
      await sdk.exec('rm -rf /workspace/l; mkdir -p /workspace/l/d; cd /workspace/l; echo 1 > f; chmod 640 f; ' +
                     'ln -s f s; mkfifo p; echo 2 > d/g; echo 3 > .h; touch -d 2020-01-02T03:04:05Z f');
      const list = async (options) => (await file('list-files', {path: '/workspace/l', options})).files;
      const plain = await list({});
      assert.deepEqual(plain.map(({name, type}) => [name, type]),
                       [['d', 'directory'], ['f', 'file'], ['p', 'other'], ['s', 'symlink']]);
      assert.deepEqual(plain[1], {
        name: 'f', absolutePath: '/workspace/l/f', relativePath: 'f', type: 'file', size: 2,
        modifiedAt: '2020-01-02T03:04:05.000Z', mode: 'rw-r-----',
        permissions: {readable: true, writable: true, executable: false},
      });
      const all = await list({recursive: true, includeHidden: true});
      assert.deepEqual(all.map(({relativePath}) => relativePath), ['.h', 'd', 'd/g', 'f', 'p', 's']);
      assert.equal(all[2].absolutePath, '/workspace/l/d/g');
    });

    it('fail with the SDK\'s codes', async () => {
      const missing = await fails('read', {path: '/nowhere'}, 404, 'FILE_NOT_FOUND');
      assert.equal(missing.context.path, '/nowhere');
      await fails('read/stream', {path: '/nowhere'}, 404, 'FILE_NOT_FOUND');
      await fails('read', {path: '/usr'}, 400, 'IS_DIRECTORY');
      await fails('delete', {path: '/usr'}, 400, 'IS_DIRECTORY');
      await fails('delete', {path: '/nowhere'}, 404, 'FILE_NOT_FOUND');
      await fails('write', {path: '/nowhere/x', content: ''}, 404, 'FILE_NOT_FOUND');
      await fails('write', {path: '/usr', content: ''}, 400, 'IS_DIRECTORY');
      await fails('write', {path: '/etc/passwd/x', content: ''}, 400, 'NOT_DIRECTORY');
      await fails('rename', {oldPath: '/nowhere', newPath: '/tmp/x'}, 404, 'FILE_NOT_FOUND');
      await fails('mkdir', {path: '/usr'}, 409, 'FILE_EXISTS');
      await fails('mkdir', {path: '/nowhere/x'}, 404, 'FILE_NOT_FOUND');
      await fails('list-files', {path: '/nowhere'}, 404, 'FILE_NOT_FOUND');
      await fails('list-files', {path: '/etc/passwd'}, 400, 'NOT_DIRECTORY');
      await fails('write', {path: `/tmp/${'x'.repeat(300)}`, content: ''}, 400, 'NAME_TOO_LONG');
      await fails('read', {path: '/dev/zero'}, 400, 'FILESYSTEM_ERROR');
      await sdk.exec('truncate -s 33554433 /workspace/large');
      await fails('read', {path: '/workspace/large'}, 413, 'FILE_TOO_LARGE');
      assert.equal((await file('mkdir', {path: '/workspace/x/y', recursive: true})).recursive, true);
      await file('mkdir', {path: '/workspace/x/y', recursive: true});
    });

    it('refuse what is no path and no content', async () => {
      for (const path of [undefined, null, '', 1, '/a\0b', ['/a'], `/${'a'.repeat(5000)}`]) {
        for (const route of ['read', 'read/stream', 'delete', 'mkdir', 'exists', 'list-files', 'write']) {
          const answer = await sdk.post(`/api/${route}`, {path, content: ''});
          assert.equal(answer.status, 400, `${route} ${JSON.stringify(path)?.slice(0, 20)}: ${answer.text}`);
        }
        const moved = await sdk.post('/api/move', {sourcePath: '/tmp/a', destinationPath: path});
        assert.equal(moved.status, 400, moved.text);
      }
      const more = [
        ['write', {content: 1}], ['write', {}], ['write', {content: 'a', encoding: 'latin1'}],
        ['write', {content: '!!', encoding: 'base64'}], ['write', {content: 'YQ', encoding: 'base64'}],
        ['read', {encoding: 'none'}], ['read', {encoding: 1}], ['mkdir', {recursive: 'yes'}],
        ['list-files', {options: []}], ['list-files', {options: {recursive: 1}}], ['read', {sessionId: 'a/b'}],
      ];
      for (const [route, json] of more) {
        const answer = await sdk.post(`/api/${route}`, {path: '/tmp/x', ...json});
        assert.equal(answer.status, 400, `${route} ${JSON.stringify(json)}: ${answer.text}`);
        assert.equal(answer.json().code, 'VALIDATION_FAILED');
      }
    });

    it('are streamed in chunks that are whole', async () => {
      const read = async (path) => {
        const answer = await sdk.post('/api/read/stream', {path, sessionId: 'files'});
        assert.equal(answer.status, 200, answer.text);
        return parseEvents(answer.text);
      };
      const text = 'größe 😀 '.repeat(30_000);
      await file('write', {path: '/workspace/long.md', content: text});
      const events = await read('/workspace/long.md');
      const size = Buffer.byteLength(text);
      assert.deepEqual(events[0], {type: 'metadata', mimeType: 'text/markdown', size, isBinary: false, encoding: 'utf-8'});
      assert.equal(joined(events, 'chunk'), text);
      assert.ok(events.length > 5);
      assert.deepEqual(events.at(-1), {type: 'complete', bytesRead: size});
      await sdk.exec('head -c 200000 /dev/zero > /workspace/z; printf "\\377" >> /workspace/z');
      const bytes = await read('/workspace/z');
      assert.deepEqual([bytes[0].isBinary, bytes[0].encoding, bytes[0].size], [true, 'base64', 200_001]);
      const chunks = bytes.filter(({type}) => type === 'chunk').map(({data}) => Buffer.from(data, 'base64'));
      assert.deepEqual(Buffer.concat(chunks), Buffer.concat([Buffer.alloc(200_000), Buffer.from([255])]));
      await file('write', {path: '/workspace/none', content: ''});
      assert.deepEqual((await read('/workspace/none')).map(({type}) => type), ['metadata', 'complete']);
    });
  });

  describe('processes and ports', () => {
    it('refuses what is none', async () => {
      for (const json of [{}, {command: ' '}, {command: 1}, {command: 'true', processId: 'a/b'}, {command: 'true', env: 1},
                          {command: 'true', timeoutMs: -1}, {command: 'true', cwd: '/\0'}, {command: 'true', autoCleanup: 1}]) {
        const answer = await sdk.post('/api/process/start', json);
        assert.equal(answer.status, 400, `${JSON.stringify(json)}: ${answer.text}`);
      }
      for (const json of [{}, {port: 0}, {port: 65536}, {port: '80'}, {port: 80, mode: 'udp'}, {port: 80, path: 'x'},
                          {port: 80, path: '/a b'}, {port: 80, path: '/\r\nX: y'}, {port: 80, statusMin: 1}]) {
        const answer = await sdk.post('/api/port-watch', json);
        assertFailure(answer, 400, 'VALIDATION_FAILED');
      }
      const missing = assertFailure(await sdk.get('/api/process/nobody'), 404, 'PROCESS_NOT_FOUND');
      assert.equal(missing.context.processId, 'nobody');
      assertFailure(await sdk.get('/api/process/%00'), 400, 'VALIDATION_FAILED');
      assertFailure(await sdk.get('/api/process/%ff/logs'), 400, 'VALIDATION_FAILED');
    });

    it('gives a port a preview URL, and takes it back', async () => {
      await sdk.ok('/api/process/start', {
        command: 'node -e "require(\'http\').createServer((q, a) => a.end(\'served\')).listen(8090)"', processId: 'web'});
      const exposed = await sdk.ok('/api/expose-port', {port: 8090, name: 'web', token: 'abc_1'});
      assert.equal(exposed.url, `http://8090-sdk-one--abc_1.localhost:${daemon.port}`);
      assert.deepEqual([exposed.port, exposed.name], [8090, 'web']);
      assertFailure(await sdk.post('/api/expose-port', {port: 8090}), 409, 'PORT_ALREADY_EXPOSED');
      const {ports} = (await sdk.get('/api/exposed-ports')).json();
      assert.deepEqual(ports, [{port: 8090, url: exposed.url, name: 'web', status: 'active'}]);
      const page = () => daemon.request('8090-sdk-one--abc_1', {path: '/'});
      await eventually('the page', async () => (await page()).text === 'served');
      assert.equal((await sdk.del('/api/exposed-ports/8090')).status, 200);
      assert.equal((await page()).status, 404);
      assert.deepEqual((await sdk.get('/api/exposed-ports')).json().ports, []);
      for (const port of ['0', 'x', '65536', '080x']) assert.equal((await sdk.del(`/api/exposed-ports/${port}`)).status, 400);
      assertFailure(await sdk.post('/api/expose-port', {port: 4096}), 400, 'INVALID_PORT');
    });
  });

  describe('the WebSocket', () => {
    const connect = async (id = 'sdk-one', path = '/ws', headers = {}) => {
      const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}${path}`,
                                   {headers: {Host: daemon.host(`sdk--${id}`), ...headers}});
      const messages = [];
      const waiting = [];
      socket.on('message', (data, binary) => {
        messages.push(binary ? data : JSON.parse(data));
        for (const wake of waiting.splice(0)) wake();
      });
      await new Promise((resolve, reject) => { socket.once('open', resolve).once('error', reject); });
      const next = async (accept) => {
        for (;;) {
          const found = messages.findIndex(accept);
          if (found >= 0) return messages.splice(found, 1)[0];
          await new Promise((resolve) => { waiting.push(resolve); });
        }
      };
      const send = (message) => socket.send(typeof message === 'string' ? message : JSON.stringify(message));
      const ask = (id, method, path, body) => {
        send({type: 'request', id, method, path, body});
        return next((one) => one.id === id && (one.done || one.type === 'error'));
      };
      return {socket, messages, next, send, ask};
    };

    it('answers as HTTP does, out of order where that is sooner', async () => {
      const {socket, ask} = await connect();
      const slow = ask('slow', 'POST', '/api/execute', {command: 'sleep 0.5; echo slow', sessionId: 'ws-1'});
      const fast = await ask('fast', 'POST', '/api/execute', {command: 'echo fast', sessionId: 'ws-2'});
      assert.deepEqual([fast.type, fast.status, fast.body.stdout], ['response', 200, 'fast\n']);
      assert.equal((await slow).body.stdout, 'slow\n');
      const missing = await ask('m', 'POST', '/api/read', {path: '/nowhere'});
      assert.deepEqual([missing.status, missing.body.code, missing.body.context.path], [404, 'FILE_NOT_FOUND', '/nowhere']);
      assert.equal((await ask('p', 'GET', '/api/ping')).body.message, 'pong');
      assert.equal((await ask('n', 'GET', '/api/none')).status, 404);
      assert.equal((await ask('w', 'GET', '/ws')).status, 426, 'no socket in a socket');
      assert.equal((await ask('d', 'DELETE', '/api/process/nobody')).status, 404);
      socket.close();
    });

    it('streams, and stops when it is told to', async () => {
      const {socket, ask, next, send, messages} = await connect();
      send({type: 'request', id: 's', method: 'POST', path: '/api/execute/stream',
            body: {command: 'echo "a\nö"; exit 3', sessionId: 'ws-1'}});
      const end = await next((one) => one.done);
      assert.deepEqual([end.id, end.status], ['s', 200]);
      const events = messages.splice(0).map(({type, id, data}) => {
        assert.deepEqual([type, id], ['stream', 's']);
        return JSON.parse(data);
      });
      // In as many parts as it came in.
      const out = events.filter(({type}) => type === 'stdout');
      assert.deepEqual([events[0].type, out.length, events.at(-1).type], ['start', events.length - 2, 'complete']);
      assert.equal(out.map(({data}) => data).join(''), 'a\nö\n');
      send({type: 'request', id: 'c', method: 'POST', path: '/api/execute/stream',
            body: {command: 'echo begun; exec sleep 8181', sessionId: 'ws-1'}});
      await next((one) => one.id === 'c' && one.data?.includes('begun'));
      send({type: 'cancel', id: 'c'});
      send({type: 'cancel', id: 'nobody'});
      const waits = 'while pgrep -fx "sleep 8181"; do sleep 0.05; done';
      assert.equal((await ask('e', 'POST', '/api/execute', {command: waits, timeoutMs: 20_000})).body.exitCode, 0);
      socket.close();
    });

    it('ends what its client leaves behind', async () => {
      const {socket, send, next} = await connect();
      send({type: 'request', id: 'x', method: 'POST', path: '/api/execute', body: {command: 'sleep 8282', sessionId: 'ws-1'}});
      send({type: 'request', id: 'y', method: 'POST', path: '/api/execute/stream', body: {command: 'exec sleep 8383'}});
      await next((one) => one.id === 'y');
      await sdk.exec('until pgrep -fx "sleep 8282"; do sleep 0.05; done', {timeoutMs: 20_000});
      socket.terminate();
      await sdk.exec('while pgrep -fx "sleep 8282|sleep 8383"; do sleep 0.05; done', {timeoutMs: 20_000});
    });

    it('refuses what is no request, and goes on', async () => {
      const {socket, send, next, ask} = await connect();
      const bad = [
        '{', '[]', 'null', '{}', {type: 'other'}, {type: 'request'}, {type: 'request', id: ''}, {type: 'cancel'},
        {type: 'request', id: 1, method: 'GET', path: '/'}, {type: 'request', id: 'x'.repeat(129), method: 'GET', path: '/'},
        {type: 'request', id: 'a', method: 'TRACE', path: '/'}, {type: 'request', id: 'a', method: 'GET', path: 'x'},
        {type: 'request', id: 'a', method: 'GET', path: '/a b'}, {type: 'request', id: 'a', method: 'GET', path: '/\n'},
        {type: 'request', id: 'a', method: 'GET', path: `/${'x'.repeat(9000)}`}, {type: 'request', id: 'a', method: 'GET'},
        `{"a":${'['.repeat(3000)}`,
      ];
      for (const message of bad) {
        send(message);
        const answer = await next((one) => one.type === 'error');
        assert.equal(answer.status, 400, JSON.stringify(message).slice(0, 60));
        assert.equal(typeof answer.message, 'string');
      }
      socket.send(Buffer.from([1, 2]));
      assert.equal((await next((one) => one.type === 'error')).status, 400);
      const deep = JSON.parse(`${'{"a":'.repeat(36)}1${'}'.repeat(36)}`);
      assert.equal((await ask('d', 'POST', '/api/execute', {command: 'true', deep})).status, 400);
      assert.equal((await ask('t', 'POST', '/api/execute', 'text')).status, 400);
      send({type: 'request', id: 'same', method: 'POST', path: '/api/execute', body: {command: 'sleep 1', sessionId: 'ws-3'}});
      send({type: 'request', id: 'same', method: 'GET', path: '/api/ping'});
      assert.match((await next((one) => one.type === 'error')).message, /under way/);
      assert.equal((await next((one) => one.id === 'same')).body.exitCode, 0);
      socket.close();
    });

    it('has a limit of requests at a time', async () => {
      const {socket, send, next, ask} = await connect();
      for (let i = 0; i < 257; ++i) {
        send({type: 'request', id: `r${i}`, method: 'POST', path: '/api/port-watch', body: {port: 9, mode: 'tcp'}});
      }
      const refused = await next((one) => one.type === 'error');
      assert.deepEqual([refused.id, refused.status, refused.code], ['r256', 429, 'RESOURCE_BUSY']);
      for (let i = 0; i < 256; ++i) send({type: 'cancel', id: `r${i}`});
      await eventually('there is room', async () => (await ask('p', 'GET', '/api/ping')).status === 200);
      socket.close();
    });

    it('is refused to other pages and without a handshake', async () => {
      await assert.rejects(connect('sdk-one', '/ws', {Origin: `http://${daemon.host('sdk-one')}`}), /403/);
      assert.equal((await sdk.get('/ws')).status, 426);
      assert.equal((await sdk.get('/ws/pty')).status, 426);
    });

    it('has terminals', async () => {
      const {socket, send, messages} = await connect('sdk-one', '/ws/pty?sessionId=term&cols=90&rows=20');
      await eventually('it is ready', () => messages.some(({type}) => type === 'ready'));
      socket.send(Buffer.from('stty size; echo do""ne\n'));
      const text = () => Buffer.concat(messages.filter((one) => Buffer.isBuffer(one))).toString();
      await eventually('output', () => /20 90[^]*done/.test(text()));
      send({type: 'resize', cols: 100, rows: 30});
      socket.send(Buffer.from('stty size; exit 3\n'));
      await eventually('its end', () => messages.some(({type, code, exitCode}) => type === 'exit' && (code ?? exitCode) === 3));
      assert.match(text(), /30 100/);
      socket.close();
    });
  });

  describe('the interpreter', () => {
    it('is healthy when there is a language that it can run', async () => {
      const health = (await sdk.get('/api/interpreter/health')).json();
      assert.deepEqual([health.success, health.status], [true, 'healthy']);
      assert.deepEqual(health.languages, ['python', 'javascript']);
      const bare = at('sdk-bare');
      await bare.exec('rm -f "$(command -v node)"');
      assert.deepEqual((await bare.get('/api/interpreter/health')).json().languages, ['python']);
      await bare.exec('rm -f $(command -v python3)');
      assertFailure(await bare.get('/api/interpreter/health'), 501, 'PYTHON_NOT_AVAILABLE');
    });
  });

  describe('what is not offered', () => {
    it('says so, with a status that no client repeats', async () => {
      assertFailure(await sdk.get('/rpc'), 501, 'NOT_OFFERED');
      assertFailure(await sdk.post('/api/backup/upload-parts', {parts: []}), 501, 'NOT_OFFERED');
    });
  });
});
