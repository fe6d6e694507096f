// SPDX-License-Identifier: Apache-2.0
// The clients of @cloudflare/sandbox, unmodified, against a daemon: the same cases for each of their transports.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {GitServer} from './support/git_server.mjs';
import {optionsFor, sdk, transports} from './support/sdk_clients.mjs';

const {SandboxClient, CommandClient, FileClient, parseSSEStream, streamFile, collectFile} = sdk;

async function all(stream) {
  const events = [];
  for await (const event of parseSSEStream(stream)) events.push(event);
  return events;
}

const joined = (events, type) =>
  events.filter((event) => event.type === type).map((event) => event.data).join('');

/** Rejects with the SDK's class of this name and code. */
const rejects = (promise, name, code) => assert.rejects(promise, (error) => {
  assert.equal(error.name, name, error.stack);
  assert.equal(error.code, code);
  return true;
});

let daemon;
let git;
before(async () => {
  git = await GitServer.start();
  daemon = await Daemon.start({sections: {egress: {host_ports: [git.port]}}});
});
after(async () => {
  await git?.stop();
  await daemon?.cleanup();
});

for (const transport of transports) {
  describe(`@cloudflare/sandbox over ${transport}`, () => {
    const id = `over-${transport}`;
    let options;
    let client;

    before(() => {
      options = optionsFor(daemon, id, transport);
      client = new SandboxClient(options);
    });
    after(() => client.disconnect());

    it('talks over the transport that was chosen', async () => {
      await client.connect();
      assert.equal(client.getTransportMode(), transport);
      assert.equal(await client.utils.ping(), 'pong');
      if (transport === 'websocket') assert.equal(client.isWebSocketConnected(), true);
    });

    describe('UtilityClient', () => {
      it('knows version and commands', async () => {
        assert.equal(await client.utils.getVersion(), '0.12.10');
        const commands = await client.utils.getCommands();
        assert.ok(commands.includes('bash') && commands.includes('git'));
      });

      it('makes and ends sessions', async () => {
        const made = await client.utils.createSession({id: 'mine', cwd: '/usr', env: {A: 'b', C: undefined}});
        assert.equal(made.id, 'mine');
        assert.equal((await client.commands.execute('pwd; echo $A', 'mine')).stdout, '/usr\nb\n');
        await rejects(client.utils.createSession({id: 'mine'}), 'SessionAlreadyExistsError', 'SESSION_ALREADY_EXISTS');
        assert.equal((await client.utils.deleteSession('mine')).sessionId, 'mine');
        await assert.rejects(client.utils.deleteSession('mine'), /no session mine/);
      });
    });

    describe('CommandClient', () => {
      it('runs commands in a shell that lasts', async () => {
        const ran = await client.commands.execute('cd /tmp; export X=y; echo out; echo err >&2; (exit 3)', 'shell');
        assert.deepEqual([ran.success, ran.exitCode, ran.stdout, ran.stderr], [false, 3, 'out\n', 'err\n']);
        const next = await client.commands.execute('pwd; echo "$X $Y"', 'shell', {env: {Y: 'z'}});
        assert.equal(next.stdout, '/tmp\ny z\n');
        assert.equal((await client.commands.execute('pwd', 'shell', {cwd: '/usr', origin: 'user'})).stdout, '/usr\n');
      });

      it('runs many at once', async () => {
        const ran = await Promise.all(Array.from({length: 30}, (_, i) =>
          client.commands.execute(`echo ${i}`, `many-${i % 5}`)));
        assert.deepEqual(ran.map(({stdout}) => stdout), Array.from({length: 30}, (_, i) => `${i}\n`));
      });

      it('streams with all that the session has, and leaves that as it is', async () => {
        await client.commands.execute(
          `cd /usr; shopt -s extglob; greet() { echo "hi $1 $MINE"; }; alias hey='greet there'; MINE="it's"; list=(a "b c"); export OUT=out`, 'beside');
        const stream = async (command, options) => all(await client.commands.executeStream(command, 'beside', options));
        const told = await stream('hey; echo "${list[1]} $OUT $PWD"; cd /; MINE=changed; echo $0; cat; nothing-here',
                                  {env: {OUT: "o'u\nt"}});
        assert.equal(joined(told, 'stdout'), "hi there it's\nb c o'u\nt /usr\nbash\n");
        assert.equal(joined(told, 'stderr'), 'bash: line 1: nothing-here: command not found\n');
        assert.equal(told.at(-1).exitCode, 127);
        const later = await client.commands.execute('hey; pwd', 'beside');
        assert.equal(later.stdout, "hi there it's\n/usr\n");
        assert.equal(joined(await stream('set -e; false; echo no'), 'stdout'), '');
        // A function as long as this would be too long for an argument; functions may have any name.
        await client.commands.execute(
          `x=$(head -c 200000 /dev/zero | tr '\\0' x); eval "long() { : $x; echo long; }"; unset x; eval() { echo mine; }; unset OUT HOME; set -u; set -x`, 'beside');
        const last = await stream('long; echo "${OUT-none} ${HOME-none} $#"; (eval); nothing=$unset; echo no');
        assert.equal(joined(last, 'stdout'), 'long\nnone none 0\nmine\n');
        assert.match(joined(last, 'stderr'), /^\++ long\n/, 'traced are its own commands');
        assert.notEqual(last.at(-1).exitCode, 0);
      });

      it('calls back', async () => {
        const called = [];
        const own = new CommandClient({
          ...options,
          onCommandComplete: (...args) => called.push(args),
          onError: (message, command) => called.push([message, command]),
        });
        await own.execute('echo hi', 'shell');
        assert.deepEqual(called.pop(), [true, 0, 'hi\n', '', 'echo hi']);
        await rejects(own.execute('', 'shell'), 'CommandError', 'INVALID_COMMAND');
        // By its request, which knows no command, and by itself.
        assert.equal(called.length, 2);
        for (const [message] of called) assert.match(message, /missing or empty|INVALID_COMMAND/);
        assert.equal(called[1][1], '');
        own.transport?.disconnect?.();
      });

      it('says which error it was', async () => {
        await rejects(client.commands.execute('sleep 300', 'shell', {timeoutMs: 200}),
                      'CommandError', 'COMMAND_EXECUTION_ERROR');
        const ended = await client.commands.execute('exit 4', 'shell').catch((error) => error);
        assert.equal(ended.name, 'SessionTerminatedError');
        assert.equal(ended.sessionId, 'shell');
        await rejects(client.commands.execute('true', 'a/b'), 'ValidationFailedError', 'VALIDATION_FAILED');
        await rejects(client.commands.execute('', 'shell'), 'CommandError', 'INVALID_COMMAND');
      });

      it('streams output', async () => {
        const stream = await client.commands.executeStream('echo "größe $X"; echo err >&2; seq 20000; exit 3', 'shell',
                                                           {env: {X: 'y'}});
        const events = await all(stream);
        assert.equal(events[0].type, 'start');
        const numbers = Array.from({length: 20_000}, (_, i) => `${i + 1}\n`).join('');
        assert.equal(joined(events, 'stdout'), `größe y\n${numbers}`);
        assert.equal(joined(events, 'stderr'), 'err\n');
        assert.equal(events.at(-1).type, 'complete');
        assert.equal(events.at(-1).exitCode, 3);
      });

      it('ends what it streams when nobody reads it any more', async () => {
        const stream = await client.commands.executeStream('echo begun; sleep 7171', 'shell');
        for await (const event of parseSSEStream(stream)) if (event.type === 'stdout') break;
        await client.commands.execute('while pgrep -fx "sleep 7171"; do sleep 0.05; done', 'other', {timeoutMs: 20_000});
      });

      it('fails to stream what cannot be run', async () => {
        await assert.rejects(client.commands.executeStream('', 'shell'), /INVALID_COMMAND|missing or empty/);
      });
    });

    describe('FileClient', () => {
      const files = () => client.files;

      it('writes and reads', async () => {
        await files().mkdir('/workspace/a/b', 'files', {recursive: true});
        await files().writeFile('/workspace/a/b/t.txt', 'größe 😀\n', 'files');
        const text = await files().readFile('/workspace/a/b/t.txt', 'files');
        assert.deepEqual([text.content, text.encoding, text.isBinary], ['größe 😀\n', 'utf-8', false]);
        const bytes = Buffer.from([0, 1, 254, 255]);
        await files().writeFile('/workspace/a/x.bin', bytes.toString('base64'), 'files', {encoding: 'base64'});
        const read = await files().readFile('/workspace/a/x.bin', 'files');
        assert.deepEqual([Buffer.from(read.content, 'base64'), read.isBinary, read.size], [bytes, true, 4]);
      });

      it('writes much', async () => {
        const content = 'ö'.repeat(5_000_000);
        await files().writeFile('/workspace/much', content, 'files');
        assert.equal((await files().readFile('/workspace/much', 'files')).content, content);
      });

      it('lists, moves, renames, deletes', async () => {
        await files().writeFile('/workspace/a/m', 'm', 'files');
        assert.equal((await files().renameFile('/workspace/a/m', '/workspace/a/n', 'files')).newPath, '/workspace/a/n');
        await files().moveFile('/workspace/a/n', '/workspace/a/b/n', 'files');
        const flat = await files().listFiles('/workspace/a', 'files');
        assert.deepEqual(flat.files.map(({name, type}) => [name, type]), [['b', 'directory'], ['x.bin', 'file']]);
        const deep = await files().listFiles('/workspace/a', 'files', {recursive: true, includeHidden: true});
        assert.deepEqual(deep.files.map(({relativePath}) => relativePath), ['b', 'b/n', 'b/t.txt', 'x.bin']);
        assert.equal(deep.count, 4);
        assert.equal((await files().deleteFile('/workspace/a/b/n', 'files')).success, true);
        assert.equal((await files().exists('/workspace/a/b/n', 'files')).exists, false);
        assert.equal((await files().exists('/workspace/a/b', 'files')).exists, true);
      });

      it('finds relative paths where the session is', async () => {
        await client.commands.execute('cd /workspace/a/b', 'files');
        assert.equal((await files().readFile('t.txt', 'files')).content, 'größe 😀\n');
      });

      it('says which error it was', async () => {
        const missing = await files().readFile('/nowhere', 'files').catch((error) => error);
        assert.equal(missing.name, 'FileNotFoundError');
        assert.equal(missing.path, '/nowhere');
        await rejects(files().deleteFile('/usr', 'files'), 'FileSystemError', 'IS_DIRECTORY');
        await rejects(files().mkdir('/usr', 'files'), 'FileExistsError', 'FILE_EXISTS');
        await client.commands.execute('truncate -s 40M /workspace/large', 'files');
        await rejects(files().readFile('/workspace/large', 'files'), 'FileTooLargeError', 'FILE_TOO_LARGE');
        await rejects(files().readFile('/a\0b', 'files'), 'ValidationFailedError', 'VALIDATION_FAILED');
        await assert.rejects(new FileClient(options).readFileStream('/nowhere', 'files'), /FILE_NOT_FOUND|No such file/);
      });

      it('streams text and bytes', async () => {
        const text = 'größe 😀 '.repeat(50_000);
        await files().writeFile('/workspace/long.txt', text, 'files');
        const whole = await collectFile(await files().readFileStream('/workspace/long.txt', 'files'));
        assert.equal(whole.content, text);
        assert.equal(whole.metadata.mimeType, 'text/plain');
        await client.commands.execute('head -c 300000 /dev/zero > /workspace/zeros', 'files');
        const bytes = await collectFile(await files().readFileStream('/workspace/zeros', 'files'));
        assert.ok(bytes.content instanceof Uint8Array);
        assert.deepEqual(Buffer.from(bytes.content), Buffer.alloc(300_000));
        let pieces = 0;
        for await (const piece of streamFile(await files().readFileStream('/workspace/long.txt', 'files'))) {
          assert.ok(text.includes(piece));
          ++pieces;
        }
        assert.ok(pieces > 1);
      });
    });

    describe('ProcessClient', () => {
      const serve = (port) => `node -e "setTimeout(() => require('http').createServer((q, a) => ` +
        `{ a.statusCode = q.url === '/late' ? 500 : 200; a.end('served') }).listen(${port}), 300)"`;

      it('starts, shows and ends processes', async () => {
        await client.commands.execute('cd /usr; export FROM=session', 'proc');
        const started = await client.processes.startProcess('echo "$FROM $MINE $PWD"; echo err >&2; sleep 300', 'proc',
                                                            {processId: 'p1', env: {MINE: 'm', NOT: undefined}});
        assert.deepEqual([started.success, started.processId], [true, 'p1']);
        assert.ok(started.pid > 0);
        const {process} = await client.processes.getProcess('p1');
        assert.deepEqual([process.id, process.status, process.command],
                         ['p1', 'running', 'echo "$FROM $MINE $PWD"; echo err >&2; sleep 300']);
        assert.ok(!Number.isNaN(Date.parse(process.startTime)));
        const logs = await eventually('the output', async () => {
          const got = await client.processes.getProcessLogs('p1');
          return got.stdout && got.stderr && got;
        });
        assert.deepEqual([logs.stdout, logs.stderr], ['session m /usr\n', 'err\n']);
        assert.equal((await client.processes.killProcess('p1')).processId, 'p1');
        const ended = (await client.processes.getProcess('p1')).process;
        assert.deepEqual([ended.status, ended.exitCode], ['killed', 143]);
        assert.ok(Date.parse(ended.endTime) >= Date.parse(ended.startTime));
      });

      it('tells how one ended, and lists all', async () => {
        await client.processes.startProcess('exit 3', 'proc', {processId: 'p2', cwd: '/tmp'});
        const made = await client.processes.startProcess('pwd', 'proc', {cwd: '/tmp', autoCleanup: true});
        assert.match(made.processId, /^proc_\d+_\w+$/);
        const statusOf = async (name) => (await client.processes.getProcess(name)).process.status;
        await eventually('they end', async () =>
          await statusOf('p2') === 'failed' && await statusOf(made.processId) === 'completed');
        assert.equal((await client.processes.getProcessLogs(made.processId)).stdout, '/tmp\n');
        const {processes} = await client.processes.listProcesses();
        assert.deepEqual(processes.find((one) => one.id === 'p2').exitCode, 3);
      });

      it('obeys a limit of time', async () => {
        await client.processes.startProcess('sleep 300', 'proc', {processId: 'p3', timeoutMs: 300});
        await eventually('it ends', async () => (await client.processes.getProcess('p3')).process.status !== 'running');
        const {process} = await client.processes.getProcess('p3');
        assert.deepEqual([process.exitCode, process.command], [124, 'sleep 300']);
      });

      it('streams logs until the end', async () => {
        await client.processes.startProcess('echo one; sleep 0.3; printf "größe"; echo err >&2; exit 4', 'proc',
                                            {processId: 'p4'});
        const events = await all(await client.processes.streamProcessLogs('p4'));
        assert.equal(joined(events, 'stdout'), 'one\ngröße');
        assert.equal(joined(events, 'stderr'), 'err\n');
        assert.equal(events.at(-1).type, 'exit');
        assert.equal(events.at(-1).exitCode, 4);
        assert.ok(events.every((event) => event.processId === 'p4'));
      });

      it('ends all of them', async () => {
        await client.processes.startProcess('sleep 300', 'proc', {processId: 'p5'});
        await client.processes.startProcess('sleep 300', 'proc', {processId: 'p6'});
        assert.equal((await client.processes.killAllProcesses()).cleanedCount, 2);
        assert.equal((await client.processes.getProcess('p6')).process.status, 'killed');
        assert.equal((await client.processes.killAllProcesses()).cleanedCount, 0);
      });

      it('says which error it was', async () => {
        await rejects(client.processes.getProcess('nobody'), 'ProcessNotFoundError', 'PROCESS_NOT_FOUND');
        await rejects(client.processes.killProcess('nobody'), 'ProcessNotFoundError', 'PROCESS_NOT_FOUND');
        await rejects(client.processes.getProcessLogs('nobody'), 'ProcessNotFoundError', 'PROCESS_NOT_FOUND');
        await assert.rejects(client.processes.streamProcessLogs('nobody'), /nobody/);
        await rejects(client.processes.startProcess('', 'proc'), 'CommandError', 'INVALID_COMMAND');
        await client.processes.startProcess('sleep 300', 'proc', {processId: 'runs'});
        await rejects(client.processes.startProcess('true', 'proc', {processId: 'runs'}), 'ProcessError', 'PROCESS_ERROR');
        await assert.rejects(client.processes.startProcess('true', 'proc', {processId: '../x'}), {httpStatus: 400});
      });

      it('waits for a port', async () => {
        await client.processes.startProcess(serve(8123), 'proc', {processId: 'web'});
        const wait = async (request) => all(await client.ports.watchPort({processId: 'web', port: 8123, ...request}));
        const http = await wait({mode: 'http', path: '/', statusMin: 200, statusMax: 399, interval: 100});
        assert.deepEqual(http.map(({type}) => type), ['watching', 'ready']);
        assert.deepEqual([http[1].port, http[1].statusCode], [8123, 200]);
        assert.equal((await wait({mode: 'tcp'})).at(-1).type, 'ready');
        assert.equal((await wait({mode: 'http', path: '/late', statusMin: 500, statusMax: 500})).at(-1).statusCode, 500);
        assert.equal((await wait({mode: 'tcp', processId: undefined})).at(-1).type, 'ready');
      });

      it('does not wait for what has ended, nor for ever', async () => {
        await client.processes.startProcess('sleep 0.2; exit 5', 'proc', {processId: 'short'});
        const events = await all(await client.ports.watchPort({processId: 'short', port: 8999, mode: 'tcp'}));
        assert.deepEqual(events.at(-1), {type: 'process_exited', port: 8999, exitCode: 5});
        const stream = await client.ports.watchPort({port: 8999, mode: 'tcp'});
        for await (const event of parseSSEStream(stream)) {
          assert.equal(event.type, 'watching');
          break;
        }
        await assert.rejects(client.ports.watchPort({port: 8999, mode: 'tcp', processId: 'nobody'}), /nobody/);
        await assert.rejects(client.ports.watchPort({port: 0, mode: 'tcp'}), /port/);
      });
    });

    describe('GitClient', () => {
      it('clones', async () => {
        const cloned = await client.git.checkout(git.url('public.git'), 'git');
        assert.deepEqual([cloned.success, cloned.branch, cloned.targetDir], [true, 'main', '/workspace/public']);
        assert.equal(cloned.repoUrl, git.url('public.git'));
        assert.equal((await client.files.readFile('/workspace/public/README.md', 'git')).content, '# some\n');
        const other = await client.git.checkout(git.url('public.git'), 'git',
                                                {branch: 'feature', targetDir: '/workspace/f', depth: 1});
        assert.equal(other.branch, 'feature');
        assert.equal((await client.files.exists('/workspace/f/feature.txt', 'git')).exists, true);
        const url = git.url('private.git').replace('//', '//u:p@');
        assert.equal((await client.git.checkout(url, 'git')).repoUrl, git.url('private.git'), 'no password comes back');
      });

      it('says which error it was', async () => {
        const clone = (name, more) => client.git.checkout(git.url(name), 'git', {targetDir: '/workspace/no', ...more});
        await rejects(clone('private.git'), 'GitAuthenticationError', 'GIT_AUTH_FAILED');
        await rejects(clone('nothing.git'), 'GitRepositoryNotFoundError', 'GIT_REPOSITORY_NOT_FOUND');
        await rejects(clone('public.git', {branch: 'nothing'}), 'GitBranchNotFoundError', 'GIT_BRANCH_NOT_FOUND');
        await rejects(clone('hang.git', {timeoutMs: 500}), 'GitNetworkError', 'GIT_NETWORK_ERROR');
        for (const url of ['--upload-pack=x', 'file:///etc', 'ext::sh -c x', 'git://127.0.0.1/a']) {
          await rejects(client.git.checkout(url, 'git', {targetDir: '/workspace/no'}), 'InvalidGitUrlError', 'INVALID_GIT_URL');
        }
        assert.equal((await client.files.exists('/workspace/no', 'git')).exists, false);
      });
    });

    describe('WatchClient', () => {
      it('tells what changes', async () => {
        await client.commands.execute('mkdir -p /workspace/w/node_modules', 'watch');
        const stream = await client.watch.watch({path: '/workspace/w'});
        await client.commands.execute('echo x > /workspace/w/node_modules/no; echo x > /workspace/w/yes', 'watch');
        const seen = [];
        for await (const event of parseSSEStream(stream)) {
          seen.push(event);
          if (event.eventType === 'create' && event.path.endsWith('/yes')) break;
        }
        assert.equal(seen[0].type, 'watching');
        assert.equal(seen[0].path, '/workspace/w');
        assert.ok(seen[0].watchId.length > 0);
        const made = seen.find((event) => event.eventType === 'create');
        assert.deepEqual([made.path, made.isDirectory], ['/workspace/w/yes', false]);
        assert.ok(seen.every((event) => !event.path.includes('node_modules')));
      });

      it('tells only of what was asked for, and when it is over', async () => {
        const stream = await client.watch.watch({path: '/workspace/w', include: ['*.ts'], events: ['create']});
        await client.commands.execute('echo x > /workspace/w/a.js; echo x > /workspace/w/a.ts', 'watch');
        const seen = [];
        for await (const event of parseSSEStream(stream)) {
          seen.push(event);
          if (event.type === 'event') await client.commands.execute('rm -rf /workspace/w', 'watch');
        }
        assert.deepEqual(seen.map(({type, path}) => [type, path]),
                         [['watching', '/workspace/w'], ['event', '/workspace/w/a.ts'], ['stopped', undefined]]);
      });

      it('knows whether something has changed', async () => {
        await client.commands.execute('mkdir -p /workspace/c', 'watch');
        const first = await client.watch.checkChanges({path: '/workspace/c'});
        assert.deepEqual([first.success, first.status], [true, 'unchanged']);
        const again = await client.watch.checkChanges({path: '/workspace/c', since: first.version});
        assert.equal(again.status, 'unchanged');
        await client.commands.execute('touch /workspace/c/new', 'watch');
        const changed = await client.watch.checkChanges({path: '/workspace/c', since: again.version});
        assert.equal(changed.status, 'changed');
        const lost = await client.watch.checkChanges({path: '/workspace/c', since: 'nothing'});
        assert.deepEqual([lost.status, lost.reason], ['resync', 'expired']);
        const check = (since) => client.watch.checkChanges({path: '/workspace/c', include: ['*.ts'], since});
        const some = await check();
        await client.commands.execute('touch /workspace/c/a.js', 'watch');
        assert.equal((await check(some.version)).status, 'unchanged');
        await client.commands.execute('touch /workspace/c/a.ts', 'watch');
        assert.equal((await check(some.version)).status, 'changed');
      });

      it('says which error it was', async () => {
        await assert.rejects(client.watch.watch({path: '/nowhere'}), /nowhere/);
        await rejects(client.watch.checkChanges({path: '/nowhere'}), 'FileNotFoundError', 'FILE_NOT_FOUND');
        await rejects(client.watch.checkChanges({path: '/tmp', include: ['a'], exclude: ['b']}),
                      'ValidationFailedError', 'VALIDATION_FAILED');
      });
    });

    describe('BackupClient', () => {
      const run = (command) => client.commands.execute(command, 'backup');
      const archive = '/var/backups/one.sqsh';

      it('takes a directory back to what it was', async () => {
        await run('mkdir -p /workspace/b/sub; cd /workspace/b; echo one > a; echo two > sub/c');
        const made = await client.backup.createArchive('/workspace/b', archive, 'backup');
        assert.deepEqual([made.success, made.archivePath, made.sizeBytes], [true, archive, 8]);
        await run('cd /workspace/b; echo changed > a; rm -r sub; echo more > new');
        const back = await client.backup.restoreArchive('/workspace/b', archive, 'backup');
        assert.deepEqual([back.success, back.dir], [true, '/workspace/b']);
        assert.equal((await run('cd /workspace/b; cat a sub/c; ls')).stdout, 'one\ntwo\na\nsub\n');
        await client.backup.restoreArchive('/workspace/elsewhere', archive, 'backup');
        assert.equal((await run('cat /workspace/elsewhere/sub/c')).stdout, 'two\n');
      });

      it('restores the newest of a name', async () => {
        await run('echo newer > /workspace/b/a');
        await client.backup.createArchive('/workspace/b', archive, 'backup');
        await run('rm /workspace/b/a');
        await client.backup.restoreArchive('/workspace/b', archive, 'backup');
        assert.equal((await run('cat /workspace/b/a')).stdout, 'newer\n');
      });

      it('leaves out what it is told to', async () => {
        await run('rm -rf /workspace/e; mkdir -p /workspace/e/x/node_modules /workspace/e/node_modules /workspace/e/build; ' +
                  'cd /workspace/e; touch keep x/keep x/node_modules/a node_modules/b a.log x/b.log build/c x/build; ' +
                  'mkdir x/y; touch x/y/z; git init -q; echo secret > .gitignore; touch secret x/secret');
        await client.backup.createArchive('/workspace/e', '/var/backups/e', 'backup', {
          excludes: ['**/node_modules/**', '*.log', 'x/y', 'build'], gitignore: true,
          compression: {format: 'zstd', threads: 2},
        });
        await client.backup.restoreArchive('/workspace/e2', '/var/backups/e', 'backup');
        assert.equal((await run('cd /workspace/e2; find . -path ./.git -prune -o -type f -print | sort')).stdout,
                     './.gitignore\n./keep\n./x/keep\n');
      });

      it('takes the patterns of mksquashfs', async () => {
        await run('rm -rf /workspace/g /workspace/g2; mkdir -p /workspace/g && cd /workspace/g && ' +
                  'mkdir -p packages/one/dist packages/two/dist packages/dist src/deep/x src/keep top/packages/three/dist && ' +
                  'for d in $(find . -type d); do touch $d/f; done');
        await client.backup.createArchive('/workspace/g', '/var/backups/g', 'backup',
                                          {excludes: ['packages/*/dist', 'src/**/deep', '/**/keep']});
        await client.backup.restoreArchive('/workspace/g2', '/var/backups/g', 'backup');
        assert.equal((await run('cd /workspace/g2; find . -type f | sort')).stdout,
                     ['', 'packages/', 'packages/dist/', 'packages/one/', 'packages/two/', 'src/', 'top/', 'top/packages/',
                      'top/packages/three/'].map((dir) => `./${dir}f`).sort().join('\n') + '\n');
      });

      it('says which error it was', async () => {
        const missing = await client.backup.restoreArchive('/workspace/b', '/var/backups/no', 'backup').catch((error) => error);
        assert.deepEqual([missing.name, missing.backupId], ['BackupNotFoundError', '/var/backups/no']);
        await rejects(client.backup.createArchive('/nowhere', archive, 'backup'), 'FileNotFoundError', 'FILE_NOT_FOUND');
        for (const excludes of [['../x'], ['a/../b'], ['x'.repeat(1025)], [`${'x'.repeat(1 << 20)}/*`], [`${'a/'.repeat(17)}*`]]) {
          await rejects(client.backup.createArchive('/workspace', archive, 'backup', {excludes}),
                        'InvalidBackupConfigError', 'INVALID_BACKUP_CONFIG');
        }
        await rejects(client.backup.createArchive('relative', archive, 'backup'),
                      'InvalidBackupConfigError', 'INVALID_BACKUP_CONFIG');
        await rejects(client.backup.uploadParts({archivePath: archive, parts: []}), 'SandboxError', 'NOT_OFFERED');
      });
    });
  });
}
