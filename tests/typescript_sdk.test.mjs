// SPDX-License-Identifier: Apache-2.0
// What was written for Cloudflare's Sandbox SDK, with clients/typescript in its place: the SDK's options, callbacks and
// the shapes of what it answers.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {eventually} from './support/daemon.mjs';
import {startClient} from './support/typescript.mjs';

describe("programs of Cloudflare's SDK on the TypeScript client", () => {
  let daemon;
  let git;
  let client;
  let stop;
  let atoll;
  let sandbox;

  before(async () => {
    ({git, daemon, client, atoll, sandbox, stop} = await startClient('MOVED', {
      normalizeId: true, sleepAfter: '20m', keepAlive: false, transport: 'http', containerTimeouts: {waitIntervalMS: 300}}));
  });
  after(() => stop?.());

  const refused = (promise, code, status) => assert.rejects(promise, (error) => {
    assert.ok(error instanceof client.AtollError, error.stack);
    assert.equal(error.code, code, error.message);
    if (status !== undefined) assert.equal(error.status, status);
    return true;
  });
  const stamped = ({timestamp, ...rest}) => {
    assert.ok(Math.abs(Date.parse(timestamp) - Date.now()) < 600_000, timestamp);
    return rest;
  };

  it('waits for a process as long as it takes', async () => {
    // Each question is a short one here, as if hours had gone by.
    const impatient = new client.Atoll({url: `http://localhost:${daemon.port}`});
    const call = impatient.transport.call.bind(impatient.transport);
    let asked = 0;
    impatient.transport.call = (name, options) => {
      if (name !== 'waitForProcess') return call(name, options);
      ++asked;
      return call(name, {...options, query: {...options.query, timeoutMs: Math.min(options.query.timeoutMs, 100)}});
    };
    const moved = impatient.sandbox('moved');
    const slow = await moved.startProcess(
      'sleep 1.5; echo begun; python3 -m http.server 4567 & sleep 3; kill %1; wait; exit 7', {processId: 'slow'});
    const [port, log, end] = await Promise.all([
      slow.waitForPort(4567, {interval: 500}), slow.waitForLog('begun'), slow.waitForExit()]);
    assert.deepEqual([port, log.line, end.exitCode], [undefined, 'begun', 7]);
    assert.ok(asked > 10, `${asked} questions`);

    const sleeps = await moved.startProcess('exec sleep 1000');
    await refused(sleeps.waitForExit(500), 'PROCESS_READY_TIMEOUT', 408);
    await refused(sleeps.waitForPort(4568, {timeout: 500}), 'PROCESS_READY_TIMEOUT', 408);
    await refused(sleeps.waitForLog('never', 500), 'PROCESS_READY_TIMEOUT', 408);
    for (const wait of [(signal) => sleeps.waitForExit({signal}), (signal) => sleeps.waitForLog(/never/, {signal}),
                        (signal) => sleeps.waitForPort(4568, {signal})]) {
      const abort = new AbortController();
      const waiting = assert.rejects(wait(abort.signal), {name: 'AbortError'});
      setTimeout(() => abort.abort(), 300);
      await waiting;
      await assert.rejects(wait(abort.signal), {name: 'AbortError'});
    }
    assert.equal(await sleeps.getStatus(), 'running', 'who waits no longer ends nothing');
    await sleeps.kill();
    await refused(sleeps.waitForLog('never'), 'PROCESS_EXITED_BEFORE_READY', 500);
  });

  it("looks for JavaScript's expressions in what a process writes", async () => {
    const talks = await sandbox.startProcess(
      `printf 'first\\nServer READY on port 3000\\nü'; sleep 0.3; printf 'ber\\n' >&2; printf ' more'; exec sleep 1000`);
    const sees = (pattern) => talks.waitForLog(pattern, 20_000);
    const found = await sees(/ready ON (?<what>port) (\d+)/i);
    assert.deepEqual([found.line, found.match.groups.what, found.groups], ['Server READY on port 3000', 'port', ['port', '3000']]);
    const again = /^first$/gy;
    for (let i = 0; i < 2; ++i) assert.equal((await sees(again)).line, 'first');
    assert.equal((await sees(/(?<!x)READY(?= on)/)).match[0], 'READY', 'whatever JavaScript knows');
    assert.equal((await sees(/^\p{L} more$/u)).line, 'ü more');
    assert.equal((await sees(/^b.r$/s)).line, 'ber');
    await talks.kill();
  });

  it('starts processes with all their options', async () => {
    const seen = {out: '', err: '', exit: undefined, started: undefined};
    const process = await sandbox.startProcess('echo out; echo err >&2; exit 3', {
      autoCleanup: true, encoding: 'utf8', env: {NONE: undefined},
      onStart: (one) => { seen.started = one.id; }, onExit: (code) => { seen.exit = code; },
      onOutput: (stream, data) => { seen[stream === 'stdout' ? 'out' : 'err'] += data; }});
    await eventually('it tells of its end', () => seen.exit !== undefined);
    assert.deepEqual(seen, {out: 'out\n', err: 'err\n', exit: 3, started: process.id});
    const now = await sandbox.getProcess(process.id);
    assert.deepEqual([now.status, now.exitCode, now.startTime instanceof Date, now.endTime >= now.startTime], ['failed', 3, true, true]);
    assert.equal((await sandbox.startProcess('true').then(async (one) => (await one.waitForExit(), one))).status, 'running');
    const timed = await sandbox.startProcess('echo on; sleep 1000', {timeout: 400});
    assert.equal((await timed.waitForExit()).exitCode, 124);
    assert.equal((await timed.getLogs()).stdout, 'on\n');
    let failure;
    await assert.rejects(sandbox.startProcess('true', {cwd: '/none', onError: (error) => { failure = error; }}));
    assert.ok(failure instanceof client.AtollError);
    await sandbox.killAllProcesses();
    const running = await sandbox.startProcess('exec sleep 1000');
    assert.ok((await sandbox.listProcesses()).some(({id}) => id === running.id));
    assert.equal(await sandbox.killAllProcesses(), 1);
    assert.equal(await sandbox.cleanupCompletedProcesses(), 0);
  });

  it('calls back, and refuses what it cannot do', async () => {
    let completed;
    const done = await sandbox.exec('echo hi', {stream: true, origin: 'user', onComplete: (result) => { completed = result; }});
    assert.equal(completed, done);
    assert.deepEqual([stamped(done).stdout, done.sessionId], ['hi\n', undefined]);
    let failure;
    await assert.rejects(sandbox.exec(['no-such-program'], {onError: (error) => { failure = error; }}));
    assert.equal(failure.code, 'COMMAND_NOT_FOUND');
    await refused(sandbox.exec('true', {encoding: 'latin1'}), 'UNSUPPORTED_OPTION', 400);
    await refused(client.getSandbox(atoll, 'moved', {enableDefaultSession: true}), 'UNSUPPORTED_OPTION', 400);
    const events = [];
    for await (const event of client.parseSSEStream(await sandbox.execStream('echo streamed'))) events.push(event.type);
    assert.deepEqual(events, ['start', 'stdout', 'complete'], "the SDK's loop over a stream");
  });

  it('lets a command go on that is to outlive its client', async () => {
    for await (const event of sandbox.execStream('sleep 1; touch /tmp/survived', {killOnDisconnect: false})) {
      if (event.type === 'start') break;
    }
    const sleeps = async () => (await sandbox.exec(['pgrep', '-fx', 'sleep 41003'])).exitCode === 0;
    for await (const event of sandbox.execStream('sleep 41003; touch /tmp/ended')) {
      if (event.type !== 'start') continue;
      await eventually('it runs', sleeps);
      break;
    }
    await eventually('it has gone on', async () => (await sandbox.exists('/tmp/survived')).exists);
    await eventually('the other one has not', async () => !await sleeps());
    assert.equal((await sandbox.exists('/tmp/ended')).exists, false, 'with its shell');
  });

  it('has sessions that do what the sandbox does, where they are', async () => {
    await sandbox.setEnvVars({COMMON: 'of the sandbox'});
    const session = await sandbox.createSession({
      id: 'work', name: 'Work', cwd: '/tmp', env: {OWN: 'mine', SKIPPED: undefined}, isolation: true, commandTimeoutMs: 5000});
    assert.equal((await session.exec('sleep 100')).exitCode, 124, 'commandTimeoutMs');
    assert.equal((await session.exec('echo "$COMMON $OWN"')).stdout, 'of the sandbox mine\n');
    await session.exec('mkdir -p "/tmp/a b"; cd "/tmp/a b"');
    await session.setEnvVars({QUOTED: "it's $HOME\n", COMMON: 'of the session', OWN: undefined});
    const {stdout, sessionId} = await session.exec('printf "%s|%s|%s" "$QUOTED" "$COMMON" "${OWN-gone}"');
    assert.deepEqual([stdout, sessionId], ["it's $HOME\n|of the session|gone", 'work']);
    await refused(session.setEnvVars({'A; touch /tmp/bad': 'x'}), 'VALIDATION_FAILED', 400);
    assert.equal((await sandbox.exists('/tmp/bad')).exists, false);

    await session.writeFile('file', 'in the session');
    assert.equal((await sandbox.readFile('/tmp/a b/file')).content, 'in the session');
    assert.equal((await session.readFile('file')).content, 'in the session');
    await session.mkdir('sub/dir', {recursive: true});
    await session.moveFile('file', 'sub/moved');
    const {files} = await session.listFiles('.', {recursive: true});
    assert.deepEqual(files.map(({relativePath}) => relativePath).sort(), ['sub', 'sub/dir', 'sub/moved']);
    assert.deepEqual([(await session.exists('file')).exists, (await session.exists('sub/moved')).exists], [false, true]);
    await session.deleteFile('sub/moved');
    for await (const event of session.watch('sub')) {
      if (event.type === 'watching') await session.writeFile('sub/seen', '1');
      if (event.path === '/tmp/a b/sub/seen') break;
    }

    const process = await session.startProcess('echo "$PWD $COMMON"');
    assert.equal(process.sessionId, 'work');
    await process.waitForExit();
    assert.equal((await process.getLogs()).stdout, '/tmp/a b of the session\n');
    const below = await session.startProcess('pwd', {cwd: 'sub'});
    await below.waitForExit();
    assert.equal((await session.getProcessLogs(below.id)).stdout, '/tmp/a b/sub\n');
    const other = await sandbox.createSession({user: 'nobody', cwd: '/tmp'});
    const unsaid = await other.startProcess('id -un; pwd', {user: undefined, cwd: undefined});
    await unsaid.waitForExit();
    assert.equal((await unsaid.getLogs()).stdout, 'nobody\n/tmp\n', 'what is undefined is as if it were not there');
    await other.close();
    assert.equal((await session.getProcess(below.id)).status, 'completed');
    assert.ok((await session.listProcesses()).length >= 2);
    assert.equal(await session.killAllProcesses(), 0);

    assert.equal((await session.gitCheckout(git.url('slow.git'), {targetDir: 'repo', depth: 1})).targetDir, '/tmp/a b/repo');
    const backup = await session.createBackup({dir: '/tmp/a b/sub'});
    await session.deleteFile('sub/seen');
    await session.restoreBackup(backup);
    assert.equal((await session.readFile('sub/seen')).content, '1');
    assert.equal((await session.runCode('6 * 7')).results[0].text, '42');
    assert.ok((await session.listCodeContexts()).length > 0);

    const terminal = await session.terminal({cols: 80, rows: 24});
    let text = '';
    terminal.on('data', (data) => { text += data; });
    await terminal.ready;
    terminal.write('echo "<$PWD|$COMMON>"\n');
    await eventually('the terminal is where the session is', () => text.includes('</tmp/a b|of the session>'));
    terminal.close();
    await refused(session.terminal({env: {LARGE: 'x'.repeat(40_000)}}), 'VALIDATION_FAILED', 400);
    const gone = await sandbox.deleteSession('work');
    assert.deepEqual(stamped(gone), {success: true, sessionId: 'work'});
  });

  it("answers in the SDK's shapes", async () => {
    assert.deepEqual(stamped(await sandbox.writeFile('/workspace/shape.txt', new Blob(['ten bytes\n']).stream())),
                     {success: true, path: '/workspace/shape.txt'});
    assert.deepEqual(stamped(await sandbox.exists('shape.txt')), {success: true, path: 'shape.txt', exists: true});
    assert.deepEqual(stamped(await sandbox.mkdir('shapes')), {success: true, path: 'shapes', recursive: false});
    assert.deepEqual(stamped(await sandbox.renameFile('shape.txt', 'shapes/b')), {success: true, path: 'shape.txt', newPath: 'shapes/b'});
    await sandbox.exec('chmod 640 b; ln -s b c; mkfifo d', {cwd: '/workspace/shapes'});
    const {files, count, ...listed} = await sandbox.listFiles('/workspace/shapes');
    assert.deepEqual([stamped(listed), count], [{success: true, path: '/workspace/shapes'}, 3]);
    const [{modifiedAt, ...file}, link, pipe] = files;
    assert.ok(Date.parse(modifiedAt) > 0);
    assert.deepEqual(file, {name: 'b', absolutePath: '/workspace/shapes/b', relativePath: 'b', type: 'file', size: 10,
                            mode: 'rw-r-----', permissions: {readable: true, writable: true, executable: false}, uid: 0, gid: 0});
    assert.deepEqual([link.type, link.target, pipe.type], ['symlink', 'b', 'other']);
    const {content, ...raw} = await sandbox.readFile('shapes/b', {encoding: 'none'});
    assert.equal(await new Response(content).text(), 'ten bytes\n');
    assert.equal(raw.size, 10);
    const {status, lastChange} = await sandbox.getState();
    assert.equal(status, 'healthy');
    assert.ok(lastChange > Date.now() - 3_600_000 && lastChange <= Date.now() + 1000, `${lastChange}`);
    assert.equal(stamped(await sandbox.checkChanges('/workspace')).success, true);
  });

  it('leaves out of a backup what the SDK would', async () => {
    await sandbox.exec(`mkdir -p kept/node_modules/x/node_modules node_modules/y build/deep src
      touch kept/a node_modules/y/f kept/node_modules/x/f a.log src/b.log src/c build/deep/o .hidden ignored.txt 'star*name'
      git init -q . && printf 'ignored.txt\\nbuild/\\n' > .gitignore`, {cwd: '/workspace/shapes'});
    const dir = '/workspace/shapes';
    const left = async (options) => {
      const backup = await sandbox.createBackup({dir, ...options});
      await sandbox.exec('rm -rf /tmp/out');
      await sandbox.restoreBackup({id: backup.id, dir: '/tmp/out'});
      const {files} = await sandbox.listFiles('/tmp/out', {recursive: true, includeHidden: true});
      return files.map(({relativePath}) => relativePath).filter((one) => !/^\.git(\/|$)/.test(one)).sort();
    };
    const all = await left({name: 'all', ttl: 3600, compression: {format: 'zstd', threads: 2}, multipart: true, localBucket: false});
    const without = (...patterns) => all.filter((one) => !patterns.some((pattern) => pattern.test(one)));
    assert.ok(all.includes('kept/node_modules/x/node_modules') && all.includes('a.log'), all.join(' '));
    assert.deepEqual(await left({excludes: ['node_modules', '*.log']}), without(/(^|\/)node_modules(\/|$)/, /\.log$/));
    assert.deepEqual(await left({excludes: ['**/node_modules/**', 'src/c']}), without(/(^|\/)node_modules(\/|$)/, /^src\/c$/));
    assert.deepEqual(await left({gitignore: true}), without(/^build/, /^ignored/));
    assert.deepEqual(await left({gitignore: true, excludes: ['.hidden', 'none']}), without(/^build/, /^ignored/, /^\.hidden$/));
    await refused(sandbox.createBackup({dir, excludes: ['../up']}), 'INVALID_BACKUP_CONFIG', 400);
    await refused(sandbox.createBackup({dir, excludes: ['a*/b']}), 'INVALID_BACKUP_CONFIG', 400);
    assert.deepEqual(await sandbox.restoreBackup(await sandbox.createBackup({dir: '/workspace/shapes/src', gitignore: true})).then(
      ({success, dir: where}) => [success, where]), [true, '/workspace/shapes/src']);
  });

  it('runs code with callbacks', async () => {
    const context = await sandbox.createCodeContext({language: 'python', envVars: {FROM: 'vars', NONE: undefined}, timeout: 30_000});
    assert.ok(context.createdAt instanceof Date && context.lastUsed instanceof Date);
    const heard = [];
    const done = await sandbox.runCode(
      `import os, sys\nprint(os.environ["FROM"], os.environ["RUN"])\nprint("e", file=sys.stderr)\ndisplay(1)\n1 / 0`, {
        context, envVars: {RUN: 'run'},
        onStdout: ({text, timestamp}) => { heard.push(['out', text, timestamp > 1e12]); },
        onStderr: ({text}) => { heard.push(['err', text]); },
        onResult: ({text}) => { heard.push(['result', text]); },
        onError: ({name}) => { heard.push(['error', name]); }});
    assert.deepEqual(heard.sort(), [['err', 'e\n'], ['error', 'ZeroDivisionError'], ['out', 'vars run\n', true], ['result', '1']]);
    assert.deepEqual([done.success, done.logs.stdout, done.results.length, done.error.name, done.executionCount],
                     [false, ['vars run\n'], 1, 'ZeroDivisionError', 1]);
    assert.equal((await sandbox.runCode('2')).code, '2');
    await sandbox.setEnvVars({LATER: 'set'});
    assert.equal((await sandbox.runCode('import os; os.environ["LATER"]')).results[0].text, "'set'");
  });

  it('gives its variables to terminals', async () => {
    await sandbox.setEnvVars({COMMON: 'everywhere', ONE: 'gone'});
    const terminal = await sandbox.terminal({command: 'echo "<$COMMON $ONE>"', env: {ONE: 'own'}});
    let text = '';
    terminal.on('data', (data) => { text += data; });
    await new Promise((resolve) => terminal.on('exit', resolve));
    assert.match(text, /<everywhere own>/);
  });

  it('talks to ports', async () => {
    const server = await sandbox.startProcess(['node', '-e', `
      const http = require('http'), crypto = require('crypto');
      const server = http.createServer((request, response) => {
        let body = '';
        request.on('data', (part) => { body += part; }).on('end', () => {
          response.writeHead(request.url === '/moved' ? 302 : 200, {'Set-Cookie': ['a=1', 'b=2'], Location: '/'});
          response.end(request.method + ' ' + request.url + ' ' + request.headers['x-mine'] + ' ' + body);
        });
      });
      server.on('upgrade', (request, socket) => {
        const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
        socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n' +
          'Sec-WebSocket-Protocol: ' + request.headers['sec-websocket-protocol'] + '\\r\\n' +
          'Sec-WebSocket-Accept: ' + crypto.createHash('sha1').update(key).digest('base64') + '\\r\\n\\r\\n');
        const text = Buffer.from(request.url + ' ' + request.headers['x-mine']);
        socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
      });
      server.listen(8080);`]);
    await server.waitForPort(8080);
    const sent = await sandbox.containerFetch(
      new Request('http://any/path?q=1', {method: 'POST', body: 'body', headers: {'X-Mine': 'h'}}), 8080);
    assert.deepEqual([sent.status, await sent.text(), sent.headers.getSetCookie()], [200, 'POST /path?q=1 h body', ['a=1', 'b=2']]);
    assert.equal((await sandbox.containerFetch('/moved', {method: 'PUT', body: 'x'}, 8080)).status, 302);
    const socket = await sandbox.wsConnect(new Request('http://any/socket?x=1', {
      headers: {'X-Mine': 'w', 'Sec-WebSocket-Protocol': 'chat', Upgrade: 'websocket'}}), 8080);
    const said = await new Promise((resolve) => { socket.onMessage = (data) => resolve(data.toString()); });
    assert.deepEqual([said, socket.protocol], ['/socket?x=1 w', 'chat']);
    socket.close();
    const {url, token} = await sandbox.exposePort(8080, {hostname: 'example.com', name: 'web', token: 'abc_1'});
    assert.deepEqual([url.includes('8080-moved--abc_1.'), token], [true, 'abc_1']);
    assert.deepEqual((await sandbox.getExposedPorts('example.com')).map(({port, status}) => [port, status]), [[8080, 'active']]);
    assert.deepEqual([await sandbox.validatePortToken(8080, 'abc_1'), await sandbox.validatePortToken(8080, 'abc_2'),
                      await sandbox.validatePortToken(8081, 'abc_1')], [true, false, false]);
  });

  it('gives up a clone that takes too long', async () => {
    await refused(sandbox.gitCheckout(git.url('slow.git'), {targetDir: '/workspace/late', cloneTimeoutMs: 1}), 'GIT_NETWORK_ERROR', 502);
    const {timestamp, branch} = await sandbox.gitCheckout(git.url('slow.git'), {targetDir: '/workspace/late', cloneTimeoutMs: 600_000});
    assert.ok(timestamp);
    assert.equal(branch, 'main');
  });
});
