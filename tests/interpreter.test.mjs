// SPDX-License-Identifier: Apache-2.0
// /v1/sandboxes/{id}/contexts and /code: the code interpreter, with real kernels.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {events, open} from './support/http.mjs';

// One pixel.
const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const base = '/v1/sandboxes/code';
let daemon;
// A sandbox whose Node.js and Python never answer: how long is waited for them goes on beside the other tests.
let hanging;
const hang = (path, json) => daemon.request('', {method: 'POST', path: `/v1/sandboxes/hang${path}`, json, limitMs: 200_000});
const hangSdk = (path, json) => daemon.request('sdk--hang', {method: 'POST', path: `/api${path}`, json, limitMs: 200_000});
async function startHanging() {
  const made = await daemon.request('', {
    method: 'POST', path: '/v1/sandboxes', json: {id: 'hang', opencode: false}});
  assert.ok(made.status < 300, made.text);
  const placed = await hang('/exec', {command: `for name in node python3; do
    printf '#!/bin/sh\\nexec sleep 4242\\n' > /usr/local/bin/$name; chmod +x /usr/local/bin/$name; done; type -p node python3`});
  assert.equal(placed.json().stdout, '/usr/local/bin/node\n/usr/local/bin/python3\n');
  return [hang('/code', {language: 'javascript', code: '1'}), hang('/contexts', {language: 'python'}),
    hangSdk('/contexts', {language: 'typescript'})];
}
before(async () => {
  daemon = await Daemon.start();
  const made = await daemon.request('', {
    method: 'POST', path: '/v1/sandboxes', json: {id: 'code', opencode: false}});
  assert.ok(made.status < 300, made.text);
});
after(() => daemon.cleanup());

const ask = (method, path, json) => daemon.request('', {method, path: base + path, json});
async function ok(method, path, json) {
  const answer = await ask(method, path, json);
  assert.equal(answer.status, 200, answer.text);
  return answer.json();
}
const create = async (json = {}) => (await ok('POST', '/contexts', json)).id;
const run = (context, code, more = {}) => ok('POST', `/contexts/${context}/run`, {code, ...more});
const value = async (context, code, more) => {
  const answer = await run(context, code, more);
  assert.equal(answer.error, undefined, JSON.stringify(answer.error));
  return answer.results.find((result) => result.isValue)?.text;
};
const start = (context, code, more = {}) => open(daemon.port, {
  host: daemon.bare, method: 'POST', path: `${base}/contexts/${context}/run`, json: {code, ...more},
  headers: {Accept: 'text/event-stream'}});
const busy = async (context) => (await ok('GET', `/contexts/${context}`)).busy;

describe('the context of code that names none', () => {
  it('is there by default, and outlives the daemon', async () => {
    const [one, two] = await Promise.all(
        ['x = 1', 'y = 2'].map((code) => ok('POST', '/code', {language: 'python', code})));
    assert.equal(one.contextId, two.contextId);
    await daemon.kill9();
    await daemon.launch();
    const third = await ok('POST', '/code', {code: 'x + y'});
    assert.equal(third.results[0].text, '3');
    assert.equal((await ok('POST', '/code', {code: '1', context: one.contextId})).executionCount, 4);
  });

  // The daemon stays the same one from here on, so these can take their time beside all that follows.
  after(async () => { hanging = await startHanging(); });
});

describe('a Python context', () => {
  it('keeps what code has defined, and counts', async () => {
    const id = await create({cwd: '/usr', env: {FROM: 'create'}});
    await run(id, 'import os\nx = 20\ndef double(n): return 2 * n');
    const second = await run(id, 'print(os.getcwd(), os.environ["FROM"]); double(x) + 2');
    assert.deepEqual(second.logs, {stdout: ['/usr create\n'], stderr: []});
    assert.deepEqual(second.results, [{text: '42', isValue: true}]);
    assert.equal(second.executionCount, 2);
    assert.equal(second.success, true);
    // Another one knows nothing of it.
    const other = await run(await create(), 'x');
    assert.equal(other.error.name, 'NameError');
    const listed = (await ok('GET', '/contexts')).contexts.find((context) => context.id === id);
    assert.equal(listed.language, 'python');
    assert.equal(listed.cwd, '/usr');
    assert.equal(listed.executionCount, 2);
  });

  it('has variables of one run for that alone', async () => {
    const id = await create({env: {KEPT: 'old'}});
    const code = 'import os; (os.environ.get("KEPT"), os.environ.get("NEW"))';
    assert.equal(await value(id, code, {env: {KEPT: 'new', NEW: "it's"}}), `('new', "it's")`);
    assert.equal(await value(id, code), "('old', None)");
  });

  it('says what went wrong, and where', async () => {
    const id = await create();
    const {error, success} = await run(id, 'def f():\n  return 1 / 0\nf()');
    assert.equal(success, false);
    assert.equal(error.name, 'ZeroDivisionError');
    assert.equal(error.message, 'division by zero');
    assert.match(error.traceback.join('\n'), /return 1 \/ 0/);
    assert.doesNotMatch(error.traceback.join('\n'), /\x1b/);
    assert.equal((await run(id, 'def')).error.name, 'SyntaxError');
    assert.equal(await value(id, '1 + 1'), '2');
  });

  it('gives results in every form that they have', async () => {
    const id = await create();
    const {results} = await run(id, `
from IPython.display import *
import base64
display(HTML('<b>bold</b>'), Markdown('*m*'), Latex('$x$'), SVG('<svg xmlns="http://www.w3.org/2000/svg"/>'))
display(JSON({'a': [1, None]}), Javascript('alert(1)'))
display({'application/pdf': base64.b64encode(b'%PDF').decode(), 'image/jpeg': '/9j/'}, raw=True)
Image(data=base64.b64decode('${png}'))`);
    const form = (name) => results.find((result) => result[name] !== undefined)?.[name];
    assert.equal(form('html'), '<b>bold</b>');
    assert.equal(form('markdown'), '*m*');
    assert.equal(form('latex'), '$x$');
    assert.match(form('svg'), /^<svg/);
    assert.deepEqual(form('json'), {a: [1, null]});
    assert.equal(form('javascript'), 'alert(1)');
    assert.equal(form('pdf'), 'JVBERg==');
    assert.equal(form('jpeg'), '/9j/');
    assert.equal(results.at(-1).png, png);
    assert.equal(results.at(-1).isValue, true);
  });

  it('streams output as it comes', async () => {
    const id = await create();
    const streamed = await start(id, `
import sys, os, time
print('one', flush=True)
while not os.path.exists('/tmp/go'): time.sleep(0.05)
print('two', file=sys.stderr)
3`);
    const seen = [];
    for await (const event of events(streamed.stream)) {
      seen.push(event);
      // It waits until we have the first line.
      if (event.text === 'one\n') await ok('POST', '/exec', {command: 'touch /tmp/go'});
    }
    assert.deepEqual(seen.map((event) => [event.type, event.text]),
                     [['stdout', 'one\n'], ['stderr', 'two\n'], ['result', '3'], ['complete', undefined]]);
    assert.equal(seen.at(-1).success, true);
  });

  it('is interrupted in a busy loop, by request and by time, and goes on', async () => {
    const id = await create();
    await run(id, 'x = 1');
    const endless = run(id, 'while True: pass');
    await eventually('the loop runs', () => busy(id));
    await ok('POST', `/contexts/${id}/interrupt`);
    assert.equal((await endless).error.name, 'KeyboardInterrupt');
    const late = await run(id, 'while True: pass', {timeoutMs: 300});
    assert.equal(late.timedOut, true);
    assert.equal(late.success, false);
    assert.equal(late.restarted, false);
    // The client leaves.
    const left = await start(id, 'import time\nprint("begun", flush=True)\ntime.sleep(1000)');
    for await (const event of events(left.stream)) {
      assert.equal(event.text, 'begun\n');
      break;
    }
    left.stream.destroy();
    assert.equal(await value(id, 'x'), '1');
    // Nothing runs: nothing happens.
    await ok('POST', `/contexts/${id}/interrupt`);
    assert.equal(await value(id, 'x'), '1');
  });

  it('gets a new kernel when code does not stop, kills it or is restarted', async () => {
    const id = await create();
    const deaf = 'import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(1)';
    const stubborn = await run(id, deaf, {timeoutMs: 100});
    const exits = await run(id, 'x = 1\nimport os; os._exit(3)');
    assert.equal(stubborn.timedOut, true);
    assert.equal(stubborn.restarted, true);
    assert.equal(stubborn.error.name, 'KernelDied');
    assert.equal(exits.error.name, 'KernelDied');
    assert.match(exits.error.message, /exit code 3/);
    assert.equal(exits.restarted, true);
    assert.equal((await run(id, 'x')).error.name, 'NameError');
    const sleeping = run(id, 'import time; time.sleep(1000)');
    await eventually('it sleeps', () => busy(id));
    await ok('POST', `/contexts/${id}/restart`);
    const restarted = await sleeping;
    assert.equal(restarted.error.name, 'KernelDied');
    assert.equal(restarted.restarted, true);
    assert.equal(await value(id, '2 + 2'), '4');
  });

  it('drops output beyond the limit, not the end', async () => {
    const id = await create();
    const code = 'for i in range(100): print("x" * 100000)\n1 / 0';
    const {logs, truncated, error} = await run(id, code, {maxOutputBytes: 50_000});
    const size = logs.stdout.join('').length;
    assert.ok(size > 30_000 && size <= 50_000, `${size}`);
    assert.equal(truncated, true);
    assert.equal(error.name, 'ZeroDivisionError');
    assert.equal(await value(id, '"after"'), "'after'");
  });

  it('takes one after the other, beside others', async () => {
    const [one, two] = await Promise.all([create(), create()]);
    // Each waits for the other.
    const meet = (mine, other) => `
import os, time
open('/tmp/${mine}', 'w').close()
while not os.path.exists('/tmp/${other}'): time.sleep(0.02)`;
    const both = await Promise.all([run(one, meet('a', 'b')), run(two, meet('b', 'a'))]);
    assert.ok(both.every((answer) => answer.success), JSON.stringify(both));
    await run(one, 'log = []');
    const append = (n) => run(one, `log.append(${n}); time.sleep(0.05); log.append(${n})`);
    await Promise.all([append(1), append(2), append(3)]);
    const log = JSON.parse(await value(one, 'log'));
    assert.deepEqual(log.filter((_, i) => i % 2 === 0), log.filter((_, i) => i % 2 === 1));
  });

  it('ends with what it has started when it is deleted, also in sessions of its own', async () => {
    const id = await create();
    await run(id, `import subprocess
for own in (False, True): subprocess.Popen(["sleep", "98765" if own else "98764"], start_new_session=own)
subprocess.Popen(["sh", "-c", "sleep 98764 & setsid sleep 98765 &"]).wait()
subprocess.Popen(["env", "-u", "ATOLL_PROCESS", "sleep", "98766"], start_new_session=True)`);
    const left = async () => (await ok('POST', '/exec', {argv: ['pgrep', '-a', '-x', 'sleep']})).stdout.match(/sleep 9876\d/g) ?? [];
    await eventually('all of them run', async () => (await left()).length === 5);
    await ok('DELETE', `/contexts/${id}`);
    assert.equal((await ask('GET', `/contexts/${id}`)).json().code, 'CONTEXT_NOT_FOUND');
    assert.deepEqual(await left(), ['sleep 98766'], 'what does not say whose it is goes on');
    await ok('POST', '/exec', {command: 'pkill -f "^sleep 98766"'});
    await eventually('and ends as any other', async () => (await left()).length === 0);
    for (const [method, path] of [['DELETE', ''], ['POST', '/interrupt'], ['POST', '/restart']]) {
      const answer = await ask(method, `/contexts/${id}${path}`);
      assert.equal(answer.status, 404, answer.text);
    }
    const gone = await ask('POST', `/contexts/${id}/run`, {code: '1'});
    assert.equal(gone.json().code, 'CONTEXT_NOT_FOUND');
    assert.match(gone.json().suggestion, /contexts/);
    assert.equal((await ask('GET', '/contexts/..%2f..%2fetc')).status, 404);
  });
});

describe('a JavaScript context', () => {
  it('keeps what code has declared, awaits and imports', async () => {
    const id = await create({language: 'javascript', cwd: '/usr', env: {FROM: 'create'}});
    await run(id, 'const x = 20; class Pair { constructor(a) { this.a = a; } }\nfunction double(n) { return 2 * n; }');
    const second = await run(id, `
import fs, {existsSync as exists} from 'node:fs';
import * as path from 'path';
await new Promise((resolve) => setTimeout(resolve, 10));
console.log(process.cwd(), process.env.FROM, exists('/usr'), typeof fs.statSync, (await import('os')).EOL === '\\n');
console.error('careful');
path.join('a', String(double(x) + 2))`);
    assert.equal(second.error, undefined, JSON.stringify(second.error));
    assert.deepEqual(second.logs, {stdout: ['/usr create true function true\n'], stderr: ['careful\n']});
    assert.deepEqual(second.results, [{text: `'a/42'`, isValue: true}]);
    assert.equal(second.executionCount, 2);
    const {results} = await run(id, 'const x = {again: new Pair(1).a}; x');
    assert.deepEqual(results, [{text: '{ again: 1 }', json: {again: 1}, isValue: true}]);
    assert.equal(await value(id, 'process.env.NEW', {env: {NEW: 'n'}}), `'n'`);
    assert.equal(await value(id, 'process.env.NEW'), undefined);
  });

  it('shows results in the forms that it is given', async () => {
    const id = await create({language: 'js'});
    const {results} = await run(id, `
display.html('<b>bold</b>');
display.png(Buffer.from('${png}', 'base64'));
display.mime({'image/svg+xml': '<svg/>', 'text/plain': 'a drawing'});`);
    assert.deepEqual(results, [
      {html: '<b>bold</b>', isValue: false}, {png, isValue: false},
      {svg: '<svg/>', text: 'a drawing', isValue: false}]);
  });

  it('says what went wrong, is interrupted wherever it is, and goes on', async () => {
    const id = await create({language: 'javascript'});
    const {error} = await run(id, 'let kept = 1;\nfunction f() { throw new TypeError("bad"); }\nf()');
    assert.deepEqual([error.name, error.message], ['TypeError', 'bad']);
    assert.match(error.traceback.join('\n'), /at f \(<anonymous>:2:\d+\)\n/);
    assert.equal((await run(id, 'let = ;')).error.name, 'SyntaxError');
    for (const code of ['for (;;);', 'await new Promise(() => {})',
      'await new Promise((resolve) => setTimeout(resolve, 1)); for (;;);']) {
      const late = await run(id, code, {timeoutMs: 200});
      assert.equal(late.timedOut, true);
      assert.equal(late.error.name, 'Interrupted', code);
      assert.equal(late.restarted, false, code);
    }
    const endless = run(id, 'for (;;);');
    await eventually('the loop runs', () => busy(id));
    await ok('POST', `/contexts/${id}/interrupt`);
    assert.equal((await endless).error.name, 'Interrupted');
    assert.equal(await value(id, 'kept'), '1');
    // What nobody awaits goes wrong in the background.
    const {logs} = await run(id, 'setTimeout(() => { throw new Error("late"); }, 1); await new Promise((r) => setTimeout(r, 50))');
    assert.match(logs.stderr.join(''), /Uncaught exception: Error: late/);
    const exits = await run(id, 'process.exit(3)');
    assert.equal(exits.error.name, 'KernelDied');
    assert.match(exits.error.message, /exit code 3/);
    assert.equal((await run(id, 'kept')).error.name, 'ReferenceError');
  });

  it('is restarted and deleted with all that it has started', async () => {
    const id = await create({language: 'javascript'});
    await run(id, 'let x = 1; require("child_process").spawn("sleep", ["98764"]); null');
    const endless = run(id, 'for (;;);');
    await eventually('the loop runs', () => busy(id));
    await ok('POST', `/contexts/${id}/restart`);
    assert.equal((await endless).restarted, true);
    assert.equal(await value(id, 'typeof x'), `'undefined'`);
    await run(id, 'require("child_process").spawn("sleep", ["98764"]); null');
    await ok('DELETE', `/contexts/${id}`);
    const left = await ok('POST', '/exec', {argv: ['pgrep', '-f', 'sleep 98764']});
    assert.equal(left.stdout, '');
  });
});

describe('the interpreter', () => {
  it('says what is missing', async () => {
    // Of the default image, node-typescript is none.
    const answer = await ask('POST', '/code', {language: 'typescript', code: '1'});
    assert.equal(answer.status, 409, answer.text);
    assert.equal(answer.json().code, 'INTERPRETER_NOT_AVAILABLE');
    assert.match(answer.json().message, /node-typescript/);
    assert.match(answer.json().suggestion, /apt-get install .* node-typescript for TypeScript.*image build notebook/);
    for (const wrong of [{language: 'cobol', code: '1'}, {}, {code: 1}, {code: '1', timeoutMs: 0},
      {code: 'x'.repeat((1 << 20) + 1)}, {code: '1', env: {'A B': 'c'}}, {code: 'a\0b'}, {code: '1', maxOutputBytes: 1 << 30}]) {
      const refused = await ask('POST', '/code', wrong);
      assert.ok([400, 413].includes(refused.status), refused.text);
    }
    assert.equal((await ask('POST', '/contexts', {cwd: '/nowhere'})).status, 400);
  });

  it('has a bounded number of contexts', async () => {
    for (const {id} of (await ok('GET', '/contexts')).contexts) await ok('DELETE', `/contexts/${id}`);
    const ids = await Promise.all(Array.from({length: 4}, () => create({language: 'javascript'})));
    while (ids.length < 16) ids.push(await create({language: 'javascript'}));
    const answer = await ask('POST', '/contexts', {language: 'javascript'});
    assert.equal(answer.status, 503, answer.text);
    assert.equal(answer.json().code, 'TOO_MANY_CONTEXTS');
    await Promise.all(ids.map((id) => ok('DELETE', `/contexts/${id}`)));
    assert.deepEqual((await ok('GET', '/contexts')).contexts, []);
  });

  it('believes nothing that a bridge says', async () => {
    const id = 'context-python-hostile';
    const folder = `/run/atoll/interpreter/${id}`;
    const program = `
import os, socket, threading
os.makedirs('${folder}')
listener = socket.socket(socket.AF_UNIX)
listener.bind('${folder}/socket')
listener.listen()
print('ready', flush=True)
def serve(client):
    said = client.makefile().readline()
    with open('/tmp/say', 'rb') as f: what = f.read()
    try:
        if what == b'endless':
            while True: client.sendall(b'x' * 65536)
        if what == b'flood':
            while True: client.sendall(b'{"type":"stdout","text":"' + b'y' * 60000 + b'"}\\n')
        client.sendall(what)
    except OSError: pass
    client.close()
while True: threading.Thread(target=serve, args=(listener.accept()[0],)).start()`;
    await ok('POST', '/processes', {id, argv: ['python3', '-c', program]});
    await ok('GET', `/processes/${id}/wait?for=log&pattern=ready&timeoutMs=20000`);
    const deep = '['.repeat(100) + ']'.repeat(100);
    for (const said of ['endless', 'flood', '', 'nonsense\n', '[]\n', '{"type":"x"}\n', '{"type":"stdout"}\n',
      '{"type":"stdout","text":"\xff"}\n', '{"type":"result","forms":{"png":"<script>"}}\n',
      '{"type":"result","forms":{"json":"1,\\"success\\":true"}}\n', `{"type":"result","forms":{"json":"${deep}"}}\n`,
      '{"type":"done","count":-1}\n', '{"type":"error","name":5}\n', '{"type":"done","ms":"x"}\n']) {
      const wrote = await daemon.request('', {
        method: 'PUT', path: `${base}/files/tmp/say`, body: Buffer.from(said, 'latin1')});
      assert.ok(wrote.status < 300, wrote.text);
      const answer = await ask('POST', `/contexts/${id}/run`, {code: '1', maxOutputBytes: 100_000});
      assert.equal(answer.status, 500, `${said.slice(0, 60)}: ${answer.text.slice(0, 300)}`);
      assert.equal(answer.json().code, 'CODE_EXECUTION_ERROR');
    }
    await ok('DELETE', `/processes/${id}`);
    assert.equal((await ok('POST', '/code', {language: 'javascript', code: '6 * 7'})).results[0].text, '42');
  });

  it('that does not get ready is an error and leaves nothing, and the next one is tried anew', async () => {
    for (const answer of await Promise.all(hanging)) {
      assert.equal(answer.status, 503, answer.text);
      assert.equal(answer.json().code, 'INTERPRETER_NOT_READY');
      assert.match(answer.json().message, /not ready after/);
    }
    await eventually('nothing of them runs', async () => (await hang('/exec', {argv: ['pgrep', '-fx', 'sleep 4242']})).json().exitCode === 1);
    await hang('/exec', {command: 'rm /usr/local/bin/node'});
    const mended = await hang('/code', {language: 'javascript', code: '6 * 7'});
    assert.equal(mended.status, 200, mended.text);
    assert.equal(mended.json().results[0].text, '42');
    // A kernel that is missing is another matter.
    const missing = await hang('/exec', {command: 'printf "#!/bin/sh\\nexec /usr/bin/python3 -S \\"\\$@\\"\\n" > /usr/local/bin/python3'});
    assert.equal(missing.json().exitCode, 0);
    const without = await hang('/contexts', {language: 'python'});
    assert.equal(without.json().code, 'INTERPRETER_NOT_AVAILABLE', without.text);
  });

  it('ends with the sandbox, and says so', async () => {
    const id = await create();
    await ok('POST', '/stop');
    const gone = await ask('POST', `/contexts/${id}/run`, {code: '1'});
    assert.equal(gone.json().code, 'CONTEXT_NOT_FOUND', gone.text);
    assert.deepEqual((await ok('GET', '/contexts')).contexts, []);
    assert.equal((await ok('POST', '/code', {code: '1 + 1'})).results[0].text, '2');
  });
});
