// SPDX-License-Identifier: Apache-2.0
// clients/typescript as a program uses it: built from its sources, against a real daemon.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {eventually} from './support/daemon.mjs';
import {home, startClient} from './support/typescript.mjs';

describe('the TypeScript client', () => {
  let daemon;
  let git;
  let client;
  let stop;
  let atoll;
  let sandbox;

  before(async () => {
    ({git, daemon, client, atoll, sandbox, stop} = await startClient('typed'));
  });
  after(() => stop?.());

  const refused = (promise, code, status) => assert.rejects(promise, (error) => {
    assert.ok(error instanceof client.AtollError, error.stack);
    assert.equal(error.code, code, error.message);
    if (status !== undefined) assert.equal(error.status, status);
    return true;
  });

  it('has the types of the requests that the daemon takes', async () => {
    const {generate} = await import(path.join(home, 'generate.mjs'));
    const openapi = (await daemon.request('', {path: '/v1/openapi.json'})).json();
    assert.equal(fs.readFileSync(path.join(home, 'src', 'operations.ts'), 'utf8'), generate(openapi),
                 'clients/typescript/src/operations.ts is stale: make it anew with generate.mjs');
  });

  it('makes, lists and deletes sandboxes', async () => {
    const made = await atoll.create({opencode: false}, {idempotencyKey: 'one'});
    assert.equal((await atoll.create({opencode: false}, {idempotencyKey: 'one'})).id, made.id);
    assert.deepEqual((await atoll.list()).map(({id}) => id).sort(), [made.id, 'typed'].sort());
    assert.equal((await made.getState()).status, 'healthy');
    assert.equal((await made.info()).state, 'running');
    await made.setKeepAlive(true);
    const [copy] = await made.fork({opencode: false});
    assert.notEqual(copy.id, made.id);
    for (const one of [made, copy]) await one.destroy();
    await refused(made.info(), 'SANDBOX_NOT_FOUND', 404);
  });

  it('runs commands', async () => {
    const done = await sandbox.exec('echo "$A"; echo err >&2; exit 3', {env: {A: 'ü'}});
    assert.deepEqual([done.success, done.exitCode, done.stdout, done.stderr], [false, 3, 'ü\n', 'err\n']);
    assert.equal((await sandbox.exec(['printf', '%s', "it's $HOME"])).stdout, "it's $HOME");
    assert.equal((await sandbox.exec('cat', {stdin: 'fed'})).stdout, 'fed');
    assert.equal((await sandbox.exec('sleep 100', {timeout: 100})).exitCode, 124);
    assert.match((await sandbox.exec('kill -9 $$')).signal, /KILL/);
    sandbox.setEnvVars({COMMON: 'c', GONE: 'g'});
    sandbox.setEnvVars({GONE: undefined});
    assert.equal((await sandbox.exec('echo $COMMON-$GONE')).stdout, 'c-\n');
    let seen = '';
    await sandbox.exec('echo a; echo b', {onOutput: (stream, text) => { seen += text; }});
    assert.equal(seen, 'a\nb\n');
    const types = [];
    for await (const event of sandbox.execStream('echo streamed')) types.push(event.type);
    assert.deepEqual(types, ['start', 'stdout', 'complete']);
    await refused(sandbox.exec(['no-such-program']), 'COMMAND_NOT_FOUND', 404);
    const abort = new AbortController();
    const waiting = sandbox.exec('exec sleep 987', {signal: abort.signal});
    await new Promise((resolve) => setTimeout(resolve, 300));
    abort.abort();
    await assert.rejects(waiting);
    await sandbox.exec('for i in $(seq 100); do pgrep -f "^sleep 987" || exit 0; sleep 0.1; done; exit 1')
      .then(({exitCode}) => assert.equal(exitCode, 0, 'a command that is aborted ends'));
  });

  it('keeps sessions', async () => {
    const session = await sandbox.createSession({id: 'shell', cwd: '/tmp'});
    await session.exec('cd /usr; X=1');
    assert.equal((await sandbox.getSession('shell').exec('echo $PWD $X')).stdout, '/usr 1\n');
    await session.close();
    await refused(session.exec('true'), 'SESSION_NOT_FOUND');
  });

  it('starts processes and waits for them', async () => {
    const server = await sandbox.startProcess(
      'echo begins; exec python3 -m http.server 3456 --bind 127.0.0.1', {processId: 'web', cwd: '/etc', service: true});
    assert.equal(server.id, 'web');
    assert.equal((await server.waitForLog(/beg(\w+)/, 30_000)).groups[0], 'ins');
    await server.waitForPort(3456, {path: '/hostname', status: 200, timeout: 60_000});
    const answer = await sandbox.containerFetch('/hostname', 3456);
    assert.equal(answer.status, 200);
    assert.match(await answer.text(), /\w/);
    const [listed] = (await sandbox.listProcesses()).filter(({id}) => id === 'web');
    assert.deepEqual([listed.status, listed.info.service], ['running', true]);

    const exposed = await sandbox.exposePort(3456, {name: 'files'});
    assert.match(exposed.url, /3456-typed--/);
    assert.deepEqual((await sandbox.getExposedPorts()).map(({port, name}) => [port, name]), [[3456, 'files']]);
    await sandbox.unexposePort(3456);
    assert.equal(await sandbox.isPortExposed(3456), false);

    await server.kill();
    assert.equal(await server.getStatus(), 'killed');
    const counted = await sandbox.startProcess(['sh', '-c', 'seq 100000; echo e >&2; exit 4']);
    assert.equal((await counted.waitForExit()).exitCode, 4);
    const logs = await counted.getLogs();
    assert.equal(logs.stdout, Array.from({length: 100_000}, (_, i) => `${i + 1}\n`).join(''));
    assert.equal(logs.stderr, 'e\n');
    const events = [];
    for await (const event of counted.streamLogs()) events.push(event.type);
    assert.equal(events.at(-1), 'exit');
    assert.equal(await sandbox.getProcess('none'), null);
    await refused(sandbox.killProcess('none'), 'PROCESS_NOT_FOUND', 404);
    const napping = await sandbox.startProcess('exec sleep 1000');
    await napping.kill('SIGUSR1');
    await napping.waitForExit(30_000);
    assert.equal((await sandbox.getProcess(napping.id)).info.signal, 'SIGUSR1');
  });

  it('reads, writes and watches files', async () => {
    await sandbox.mkdir('/workspace/dir/sub', {recursive: true});
    await sandbox.writeFile('dir/a b%25?.txt', 'text ü');
    const {timestamp, ...text} = await sandbox.readFile('dir/a b%25?.txt');
    assert.deepEqual(text, {success: true, path: 'dir/a b%25?.txt', content: 'text ü', encoding: 'utf-8', isBinary: false,
                            mimeType: 'text/plain', size: 7});
    const bytes = Buffer.from([0, 255, 254, 10]);
    await sandbox.writeFile('/workspace/dir/bytes', bytes.toString('base64'), {encoding: 'base64'});
    const read = await sandbox.readFile('dir/bytes');
    assert.deepEqual([read.encoding, read.content], ['base64', bytes.toString('base64')]);
    const big = Buffer.alloc(3 << 20, 'x');
    await sandbox.writeFile('dir/big', big);
    let length = 0;
    for await (const part of await sandbox.readFileStream('dir/big')) length += part.length;
    assert.equal(length, big.length);
    await sandbox.renameFile('dir/bytes', 'dir/renamed');
    assert.deepEqual([(await sandbox.exists('dir/bytes')).exists, (await sandbox.exists('dir/renamed')).exists], [false, true]);
    const {files} = await sandbox.listFiles('/workspace/dir', {recursive: true});
    const names = files.map(({absolutePath}) => absolutePath);
    assert.deepEqual(names.sort(), ['a b%25?.txt', 'big', 'renamed', 'sub'].map((name) => `/workspace/dir/${name}`));
    await sandbox.deleteFile('dir/renamed');
    await refused(sandbox.readFile('dir/renamed'), 'FILE_NOT_FOUND', 404);

    const {version} = await sandbox.checkChanges('/workspace/dir');
    const watched = [];
    for await (const event of sandbox.watch('/workspace/dir')) {
      if (event.type === 'watching') await sandbox.writeFile('dir/new', 'x');
      watched.push(event);
      if (event.type === 'event' && event.path === '/workspace/dir/new') break;
    }
    assert.equal(watched[0].type, 'watching');
    assert.equal((await sandbox.checkChanges('/workspace/dir', {since: version})).status, 'changed');
  });

  it('goes on watching and waiting when its connection is lost, and when the daemon is another', async () => {
    await sandbox.mkdir('/workspace/kept');
    // A proxy whose connections can be cut.
    const sockets = new Set();
    const proxy = net.createServer((socket) => {
      const upstream = net.connect(daemon.port, '127.0.0.1');
      for (const one of [socket, upstream]) {
        sockets.add(one);
        one.on('error', () => {}).on('close', () => { sockets.delete(one); socket.destroy(); upstream.destroy(); });
      }
      socket.pipe(upstream).pipe(socket);
    });
    await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const cut = () => { for (const one of sockets) one.destroy(); };
    const through = new client.Atoll({url: `http://localhost:${proxy.address().port}`}).sandbox('typed');
    const seen = [];
    let watching = 0;
    const watched = (async () => {
      for await (const event of through.watch('/workspace/kept')) {
        if (event.type === 'watching') ++watching;
        if (event.eventType === 'create') seen.push(path.basename(event.path));
        if (event.path === '/workspace/kept/last') break;
      }
    })();
    await eventually('it watches', () => watching === 1);
    const slow = await through.startProcess(
      'echo early; until [ -e kept/last ]; do sleep 0.1; done; echo late; exit 3', {cwd: '/workspace'});
    const waits = Promise.all([slow.waitForLog('late'), slow.waitForExit()]);
    waits.catch(() => {});
    await sandbox.writeFile('kept/first', '1');
    await eventually('it tells', () => seen.includes('first'));
    cut();
    await sandbox.writeFile('kept/meanwhile', '1');
    await eventually('it tells what has happened meanwhile', () => seen.includes('meanwhile'));
    await daemon.restart();
    atoll = new client.Atoll({url: `http://localhost:${daemon.port}`});
    sandbox = atoll.sandbox('typed');
    cut();
    await sandbox.writeFile('kept/last', '1');
    await watched;
    const [{line}, {exitCode}] = await waits;
    assert.deepEqual([line, exitCode], ['late', 3]);
    assert.deepEqual(seen, ['first', 'meanwhile', 'last']);
    assert.ok(watching >= 3, `${watching}`);
    const once = sandbox.watch('/workspace/kept', {resume: false, lastEventId: 'nobody-1'});
    const {value} = await once.next();
    assert.deepEqual([value.type, value.resumed], ['watching', false]);
    await once.return();
    await refused(sandbox.watch('/nowhere').next(), 'FILE_NOT_FOUND', 404);
    await new Promise((resolve) => { proxy.close(resolve); cut(); });
  });

  it('runs code', async () => {
    sandbox.setEnvVars({COMMON: 'c'});
    const context = await sandbox.createCodeContext({language: 'python', cwd: '/usr', env: {FROM: 'typed'}});
    assert.deepEqual([context.language, context.cwd], ['python', '/usr']);
    await sandbox.runCode('import os\nx = 20', {context});
    const done = await sandbox.runCode('print(os.getcwd(), os.environ["FROM"], os.environ["COMMON"]); 2 * x + 2', {context: context.id});
    assert.deepEqual([done.success, done.contextId, done.logs.stdout, done.results],
                     [true, context.id, ['/usr typed c\n'], [{text: '42', isValue: true}]]);
    const failed = await sandbox.runCode('nothing', {context});
    assert.deepEqual([failed.success, failed.error.name], [false, 'NameError']);
    assert.equal((await sandbox.runCode('while True: pass', {context, timeout: 300})).timedOut, true);
    assert.equal((await sandbox.runCode('await Promise.resolve(6 * 7)', {language: 'javascript'})).results[0].text, '42');
    assert.ok((await sandbox.listCodeContexts()).some(({id}) => id === context.id));
    const events = [];
    for await (const event of sandbox.runCodeStream('print("a"); 1', {context})) events.push(event);
    assert.deepEqual(events.map(({type}) => type), ['stdout', 'result', 'complete']);
    assert.equal(events[0].text, 'a\n');
    for await (const event of sandbox.runCodeStream('import time\nprint("on", flush=True)\ntime.sleep(1000)', {context})) {
      if (event.type === 'stdout') break;
    }
    assert.equal((await sandbox.runCode('x', {context})).results[0].text, '20', 'who leaves interrupts, and loses nothing');
    await sandbox.deleteCodeContext(context.id);
    await refused(sandbox.runCode('1', {context}), 'CONTEXT_NOT_FOUND', 404);
  });

  it('works with repositories', async () => {
    const phases = [];
    const cloned = await sandbox.gitCheckout(git.url('slow.git'), {
      targetDir: '/workspace/repo', onProgress: ({phase}) => phases.push(phase)});
    assert.deepEqual([cloned.branch, cloned.targetDir, cloned.commit], ['main', '/workspace/repo', git.mainCommit]);
    assert.ok(phases.length > 0);
    await refused(sandbox.gitCheckout(git.url('missing.git')), 'GIT_REPOSITORY_NOT_FOUND');
    const dir = '/workspace/repo';
    assert.equal((await sandbox.git.status({dir})).clean, true);
    await sandbox.writeFile('repo/new.txt', 'n');
    await sandbox.git.checkout({dir, ref: 'topic/x', create: true});
    await sandbox.git.commit({dir, message: 'New', all: true, author: {name: 'A', email: 'a@example.org'}});
    assert.equal((await sandbox.git.log({dir, limit: 1})).commits[0].message, 'New');
    await sandbox.git.checkout({dir, ref: 'main'});
    await refused(sandbox.git.deleteBranch('topic/x', {dir}), 'GIT_BRANCH_NOT_MERGED', 409);
    await sandbox.git.deleteBranch('topic/x', {dir, force: true});
    assert.deepEqual((await sandbox.git.branches({dir})).branches.map(({name}) => name), ['main']);
  });

  it('makes and restores backups', async () => {
    await sandbox.mkdir('/workspace/saved');
    await sandbox.writeFile('saved/a', '1');
    const backup = await sandbox.createBackup({dir: '/workspace/saved', name: 'first', ttl: 3600});
    await sandbox.writeFile('saved/a', '2');
    assert.deepEqual(await sandbox.restoreBackup(backup), {success: true, id: backup.id, dir: '/workspace/saved'});
    assert.equal((await sandbox.readFile('saved/a')).content, '1');
    await refused(sandbox.restoreBackup({id: 'f'.repeat(64)}), 'BACKUP_NOT_FOUND', 404);
  });

  it('has terminals', async () => {
    const terminal = await sandbox.terminal({session: 'main', cols: 91, rows: 17});
    let text = '';
    const says = (wanted) => new Promise((resolve) => {
      const look = () => { if (text.includes(wanted)) resolve(); };
      terminal.on('data', look);
      look();
    });
    terminal.on('data', (data) => { text += data; });
    await terminal.ready;
    terminal.write('stty size; echo a"b"c\n');
    await says('abc');
    assert.match(text, /17 91/);
    terminal.resize(100, 30);
    terminal.write(`head -c 300000 /dev/zero | tr '\\0' x; stty size; echo d"e"f\n`);
    await says('def');
    assert.match(text, /30 100/);
    const exited = new Promise((resolve) => terminal.on('exit', resolve));
    const closed = new Promise((resolve) => terminal.on('close', resolve));
    terminal.write('exit 5\n');
    assert.equal((await exited).code, 5);
    await closed;
    const timed = await sandbox.terminal({session: 'timed', command: 'echo "$GREETING $USER"; sleep 300', env: {GREETING: 'a & b+c'},
                                          user: 'nobody', timeoutMs: 1500});
    let said = '';
    timed.on('data', (data) => { said += data; });
    const hung = await new Promise((resolve) => timed.on('exit', resolve));
    assert.deepEqual([said, hung.timedOut], ['a & b+c nobody\r\n', true]);
    await assert.rejects(atoll.sandbox('Not An Id').terminal(), (error) => error instanceof client.AtollError);
  });

  it('finds a daemon by its address, whatever its name is', async () => {
    const other = new client.Atoll({url: `http://localhost:${daemon.port}`, address: '127.0.0.1'});
    assert.equal((await other.sandbox('typed').exec('echo found')).stdout, 'found\n');
    await assert.rejects(new client.Atoll({url: 'http://127.0.0.1:1'}).list(), /ECONNREFUSED/);
  });
});
