// SPDX-License-Identifier: Apache-2.0
// Clients that were written for Cloudflare's bridge, unmodified, against a daemon.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {request} from './support/http.mjs';

describe('clients of the bridge', () => {
  let daemon;
  let url;

  before(async () => {
    daemon = await Daemon.start();
    url = `http://127.0.0.1:${daemon.port}`;
  });
  after(() => daemon?.cleanup());

  describe('@openai/agents-extensions', () => {
    let client;
    let session;
    let Manifest;

    before(async () => {
      ({Manifest} = await import('@openai/agents-core/sandbox'));
      const {CloudflareSandboxClient} = await import('@openai/agents-extensions/sandbox/cloudflare');
      client = new CloudflareSandboxClient({workerUrl: url, apiKey: 'any'});
      session = await client.create(new Manifest({
        root: '/workspace',
        entries: {
          'README.md': {type: 'file', content: '# Hello\n'},
          'src/deep/main.txt': {type: 'file', content: 'größe 😀\n'},
        },
        environment: {GREETING: 'good morning'},
      }));
    });
    after(() => session?.close());

    const text = async (path) => new TextDecoder().decode(await session.readFile({path}));

    it('makes the files of a manifest', async () => {
      assert.match(session.state.sandboxId, /^[a-z2-7]{26}$/);
      assert.ok((await daemon.ids()).includes(session.state.sandboxId));
      assert.equal(await text('README.md'), '# Hello\n');
      assert.equal(await text('/workspace/src/deep/main.txt'), 'größe 😀\n');
    });

    it('runs commands', async () => {
      const ran = await session.execCommand({cmd: 'echo "$GREETING"; pwd; echo oops >&2; exit 4'});
      assert.match(ran, /good morning\n\/workspace\noops/);
      assert.match(ran, /exited with code 4/);
      const below = await session.execCommand({cmd: 'cat main.txt', workdir: 'src/deep'});
      assert.match(below, /größe 😀/);
    });

    it('knows what is there and what is not', async () => {
      assert.equal(await session.pathExists('README.md'), true);
      assert.equal(await session.pathExists('nothing'), false);
      await assert.rejects(session.readFile({path: 'nothing'}), /not found/);
      // Its own word: it asks no bridge for what is not below its root.
      await assert.rejects(session.readFile({path: '/etc/passwd'}), /escapes|outside|workspace/i);
    });

    it('edits files', async () => {
      const editor = session.createEditor();
      const made = await editor.createFile({type: 'create_file', path: 'new/file.txt', diff: '+one\n+two\n'});
      assert.notEqual(made?.status, 'failed', JSON.stringify(made));
      assert.match(await text('new/file.txt'), /^one\ntwo/);
      const gone = await editor.deleteFile({type: 'delete_file', path: 'new/file.txt'});
      assert.notEqual(gone?.status, 'failed', JSON.stringify(gone));
      assert.equal(await session.pathExists('new/file.txt'), false);
    });

    it('runs, and can be taken up again', async () => {
      assert.equal(await session.running(), true);
      const again = await client.resume(session.state);
      assert.equal(again.state.sandboxId, session.state.sandboxId);
      assert.equal(new TextDecoder().decode(await again.readFile({path: 'README.md'})), '# Hello\n');
    });

    it('has terminals, one for each command', async () => {
      const first = await session.execCommand({cmd: 'test -t 0 && echo "is a $TERM"; read line; echo "got $line"', tty: true});
      assert.match(first, /is a xterm-256color/);
      const sessionId = Number(first.match(/session ID (\d+)/)[1]);
      const second = await session.execCommand({cmd: 'echo second', tty: true});
      assert.match(second, /second/);
      assert.doesNotMatch(second, /is a xterm/);
      let told = await session.writeStdin({sessionId, chars: 'hello\n'});
      // It answers with what has come so far.
      await eventually('the answer', async () => /got hello/.test(told) || void (told += await session.writeStdin({sessionId, chars: ''})));
    });

    it('leaves out of a workspace what is ephemeral, and not its namesakes', async () => {
      const made = await client.create(new Manifest({
        root: '/workspace',
        entries: {
          build: {type: 'dir', ephemeral: true},
          'src/build/kept.txt': {type: 'file', content: 'kept\n'},
        },
      }));
      const other = await client.create(new Manifest({root: '/workspace'}));
      try {
        await made.execCommand({cmd: 'mkdir -p build && echo gone > build/gone.txt'});
        await other.hydrateWorkspace(await made.persistWorkspace());
        assert.equal(new TextDecoder().decode(await other.readFile({path: 'src/build/kept.txt'})), 'kept\n');
        assert.equal(await other.pathExists('build/gone.txt'), false);
      } finally {
        await made.close();
        await other.close();
      }
    });

    it('takes a workspace to another sandbox', async () => {
      await session.execCommand({cmd: 'mkdir -p many && for i in $(seq 200); do echo $i > many/$i; done'});
      const archive = await session.persistWorkspace();
      const other = await client.create(new Manifest({root: '/workspace'}));
      try {
        await other.hydrateWorkspace(archive);
        assert.match(await other.execCommand({cmd: 'ls many | wc -l; cat many/200 README.md'}),
                     /200\n200\n# Hello/);
      } finally {
        await other.close();
      }
      assert.ok(!(await daemon.ids()).includes(other.state.sandboxId));
    });
  });

  describe('@computesdk/cloudflare', () => {
    let sandbox;

    before(async () => {
      const {cloudflare} = await import('@computesdk/cloudflare');
      const provider = cloudflare({sandboxUrl: url, sandboxApiKey: 'any'});
      sandbox = await provider.sandbox.create({envs: {GREETING: 'good morning'}});
    });
    after(async () => {
      await sandbox?.destroy();
      assert.ok(!(await daemon.ids()).includes(sandbox.sandboxId));
    });

    it('runs commands', async () => {
      const ran = await sandbox.runCommand('echo "$GREETING"; echo oops >&2; exit 4');
      assert.equal(ran.stdout, 'good morning\n');
      assert.equal(ran.stderr, 'oops\n');
      assert.equal(ran.exitCode, 4);
      assert.equal((await sandbox.getInfo()).status, 'running');
    });

    it('has files', async () => {
      const files = sandbox.filesystem;
      await files.mkdir('/workspace/dir');
      await files.writeFile('/workspace/dir/a.txt', 'größe 😀\n');
      assert.equal(await files.readFile('/workspace/dir/a.txt'), 'größe 😀\n');
      assert.equal(await files.exists('/workspace/dir/a.txt'), true);
      assert.equal(await files.exists('/workspace/dir/b.txt'), false);
      assert.ok((await files.readdir('/workspace/dir')).some(({name}) => name === 'a.txt'));
      await files.remove('/workspace/dir/a.txt');
      assert.equal(await files.exists('/workspace/dir/a.txt'), false);
      await assert.rejects(files.readFile('/workspace/dir/a.txt'), /404/);
    });

    it('serves a port at an URL', async () => {
      const served = 'node -e "require(\'http\').createServer((q, a) => a.end(\'served \' + q.url)).listen(3000)"';
      await sandbox.runCommand(served, {background: true});
      const {hostname, port} = new URL(await sandbox.getUrl({port: 3000}));
      assert.equal(Number(port), daemon.port);
      assert.equal(await eventually('the page', async () => {
        const answer = await request(daemon.port, {host: `${hostname}:${port}`, path: '/x'});
        return answer.status === 200 && answer.text;
      }), 'served /x');
    });
  });
});
