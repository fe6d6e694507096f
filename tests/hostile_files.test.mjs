// SPDX-License-Identifier: Apache-2.0
// Files that never end, files that are none, and expressions that explode, by every way to read or search them.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {Dialects} from './support/dialects.mjs';
import {assertError, open} from './support/http.mjs';

const MIB = 1 << 20;

// Makes /workspace/g/grows longer all the time, faster than anybody reads, and back to 1 MiB when asked to.
// Holes cost no disk. /workspace/g/lines is text, as fast as a program writes it, up to a bound.
const GROWERS = `
import os, time
grows = os.open("/workspace/g/grows", os.O_RDWR | os.O_CREAT)
lines = os.open("/workspace/g/lines", os.O_RDWR | os.O_CREAT)
text = b"a line of text\\n" * 4096
size = 0
def reset():
    os.ftruncate(grows, 1 << 20)
    os.pwrite(grows, b"the first line\\n", 0)
    os.ftruncate(lines, 0)
reset()
while True:
    if os.path.exists("/workspace/reset"):
        reset()
        size = 0
        os.unlink("/workspace/reset")
    os.ftruncate(grows, os.fstat(grows).st_size + (1 << 20))
    if size < 400 << 20:
        size += os.pwrite(lines, text, size)
    time.sleep(0.0005)
`;

describe('hostile files', () => {
  let daemon;
  let box;
  let every;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('hostile');
    await box.create();
    every = new Dialects(daemon, 'hostile');
  });
  after(() => daemon?.cleanup());

  const running = async (pattern) => (await box.run(`pgrep -f '${pattern}'`)).stdout !== '';
  const sizeOf = async (path) => (await every.files.act('stat', {path})).size;

  describe('a file that grows for ever', () => {
    before(async () => {
      await box.write('/tmp/growers.py', GROWERS);
      await box.sh('mkdir -p /workspace/g');
      await box.background('exec python3 /tmp/growers.py');
      await eventually('they grow', async () => (await box.run('test -s /workspace/g/lines')).exitCode === 0);
    });
    after(() => box.sh('pkill -f "growers[.]py"; rm -rf /workspace/g'));
    const reset = () => box.sh('touch /workspace/reset; while [ -e /workspace/reset ]; do sleep 0.01; done');

    for (const way of ['api', 'bridge', 'sdkStream']) {
      it(`ends where it was when it was opened: ${way}`, async () => {
        await reset();
        const {bytes, size, code, last} = await every.reads()[way]('/workspace/g/grows');
        assert.equal(code, undefined);
        assert.equal(bytes.length, size);
        assert.equal(bytes.subarray(0, 15).toString(), 'the first line\n');
        assert.ok(size >= MIB);
        if (last) assert.deepEqual(last, {type: 'complete', bytesRead: size});
        assert.ok(await sizeOf('/workspace/g/grows') > size, 'it has grown meanwhile');
      });
    }

    it('is read as a whole up to the bound, and refused from there on: sdk', async () => {
      await reset();
      const {bytes, size, code} = await every.reads().sdk('/workspace/g/grows');
      if (code) assert.equal(code, 'FILE_TOO_LARGE');
      else assert.equal(bytes.length, size);
      await eventually('it is too large', async () => await sizeOf('/workspace/g/grows') > 64 * MIB);
      assert.equal((await every.reads().sdk('/workspace/g/grows')).code, 'FILE_TOO_LARGE');
    });

    it('is read by lines, so many and no more: mcp', async () => {
      await reset();
      await eventually('there are many lines', async () => await sizeOf('/workspace/g/lines') > MIB);
      const {structuredContent} = await every.tool('read', {path: '/workspace/g/lines'});
      assert.equal(structuredContent.content, 'a line of text\n'.repeat(2000));
      assert.deepEqual([structuredContent.more, structuredContent.nextOffset], [true, 2001]);
      // Lines that never come: everything that there was is looked through, once.
      const {structuredContent: none} = await every.tool('read', {path: '/workspace/g/lines', offset: 1e9});
      assert.deepEqual([none.content, none.more], ['', false]);
    });

    it('is packed as long as its header says', async () => {
      await reset();
      const answer = await every.api('GET', '/archive?path=/workspace/g');
      assert.equal(answer.status, 200);
      const listed = spawnSync('tar', ['-tv'], {input: answer.bytes, encoding: 'utf8', maxBuffer: 64 * MIB});
      assert.equal(listed.status, 0, listed.stderr);
      assert.match(listed.stdout, / \.?\/?grows$/m);
      assert.match(listed.stdout, / \.?\/?lines$/m);
    });

    it('is copied as it was', async () => {
      await reset();
      await every.files.act('copy', {from: 'g', to: 'copied', recursive: true});
      const copied = await sizeOf('/workspace/copied/grows');
      assert.ok(copied >= MIB && copied < await sizeOf('/workspace/g/grows'));
      assert.equal(await box.sh('head -c 15 /workspace/copied/grows'), 'the first line\n');
      await box.sh('rm -r /workspace/copied');
    });

    for (const tool of ['rg', 'grep']) {
      it(`is searched until the limit or the time is reached: ${tool}`, async () => {
        if (tool === 'grep') await box.sh('[ ! -e /usr/bin/rg ] || mv /usr/bin/rg /usr/bin/rg.away');
        await reset();
        await eventually('there are many lines', async () => await sizeOf('/workspace/g/lines') > MIB);
        const some = await every.files.act('grep', {path: 'g', pattern: 'line', limit: 100});
        assert.deepEqual([some.count, some.more, some.timedOut], [100, true, false]);
        const none = await every.files.act('grep', {path: 'g', pattern: 'nothing of that', timeout: 500});
        assert.equal(none.count, 0);
        assert.equal(none.more, none.timedOut);
        await eventually('nobody searches', async () => !await running('^(rg|grep) .*(line|nothing)'));
        if (tool === 'grep') await box.sh('[ ! -e /usr/bin/rg.away ] || mv /usr/bin/rg.away /usr/bin/rg');
      });
    }

    it('does not hold up the daemon, whose memory stays what it was', async () => {
      await reset();
      const before = daemon.residentBytes();
      const slow = await open(daemon.port, {host: daemon.bare, path: every.files.url('/workspace/g/grows')});
      slow.stream.pause();
      await eventually('it is large', async () => await sizeOf('/workspace/g/grows') > 512 * MIB);
      assert.ok(daemon.residentBytes() - before < 32 * MIB, `grew by ${daemon.residentBytes() - before}`);
      slow.close();
    });
  });

  describe('FIFOs, devices and sockets', () => {
    before(() => box.sh(`mkdir -p /workspace/odd && cd /workspace/odd && mkfifo fifo && ln -s fifo link && echo needle > file &&
      python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")' && { mknod null c 1 3 || true; }`));

    it('keep no reader waiting, whatever it speaks', async () => {
      for (const [way, read] of Object.entries(every.reads())) {
        for (const path of ['/workspace/odd/fifo', '/workspace/odd/link', '/workspace/odd/sock', '/dev/zero', '/dev/tty']) {
          const {code, status, bytes} = await read(path);
          assert.equal(bytes, undefined, `${way} ${path}`);
          // The bridge has files of the workspace alone; its codes and the SDK's are their own.
          const expected = {sdk: 'FILESYSTEM_ERROR', sdkStream: 'FILESYSTEM_ERROR', bridge: 'invalid_request'}[way] ?? 'NOT_REGULAR_FILE';
          assert.ok(status >= 400 && status < 500, `${way} ${path}: ${status} ${code}`);
          if (way !== 'bridge') assert.equal(code, expected, `${way} ${path}`);
        }
      }
    });

    it('keep no writer waiting', async () => {
      for (const path of ['/workspace/odd/fifo', '/workspace/odd/sock']) {
        assertError(await every.files.put(path, 'x'), 400, 'NOT_REGULAR_FILE');
        assert.ok((await every.bridge('PUT', `/file${path}`, {body: 'x'})).status >= 400, path);
        assert.ok((await every.sdk('write', {path, content: 'x'})).status >= 400, path);
        assert.equal((await every.tool('write', {path, content: 'x'})).isError, true, path);
        assert.equal((await every.tool('edit', {path, old_string: 'a', new_string: 'b'})).isError, true, path);
      }
    });

    for (const tool of ['rg', 'grep']) {
      it(`keep no search waiting: ${tool}`, async () => {
        if (tool === 'grep') await box.sh('[ ! -e /usr/bin/rg ] || mv /usr/bin/rg /usr/bin/rg.away');
        const around = await every.files.act('grep', {path: 'odd', pattern: 'needle'});
        assert.deepEqual([around.matches.map((one) => one.path), around.timedOut], [['/workspace/odd/file'], false]);
        for (const path of ['odd/fifo', 'odd/link', '/dev/zero', 'odd/sock']) {
          assertError(await every.files.ask('grep', {path, pattern: 'needle'}), 400, 'NOT_REGULAR_FILE');
          const {isError, structuredContent} = await every.tool('grep', {path: path.replace(/^o/, '/workspace/o'), pattern: 'needle'});
          assert.deepEqual([isError, structuredContent.code], [true, 'NOT_REGULAR_FILE'], path);
        }
        assert.equal(await running('^(rg|grep) .*needl[e]'), false);
        if (tool === 'grep') await box.sh('[ ! -e /usr/bin/rg.away ] || mv /usr/bin/rg.away /usr/bin/rg');
      });
    }

    it('are no archive, and in one only as what they are', async () => {
      for (const path of ['/workspace/odd/fifo', '/dev/zero', '/workspace/odd/sock']) {
        assertError(await every.api('GET', `/archive?path=${path}`), 400, 'NOT_REGULAR_FILE');
      }
      const answer = await every.api('GET', '/archive?path=/workspace/odd');
      const listed = spawnSync('tar', ['-tv'], {input: answer.bytes, encoding: 'utf8'});
      assert.match(listed.stdout, /^p.* \.?\/?fifo$/m);
      assert.doesNotMatch(listed.stdout, /sock|null/);
      const persisted = await every.bridge('POST', '/persist');
      assert.equal(persisted.status, 200);
      assert.equal(spawnSync('tar', ['-t'], {input: persisted.bytes}).status, 0);
    });

    it('are told when they change, or are refused', async () => {
      const first = await every.api('POST', '/changes', {json: {path: '/workspace/odd'}});
      assert.equal(first.status, 200, first.text);
      const {version} = first.json();
      const since = async () => (await every.api('POST', '/changes', {json: {path: '/workspace/odd', since: version}})).json();
      assert.equal((await since()).status, 'unchanged');
      await box.sh('rm /workspace/odd/fifo && mkfifo /workspace/odd/fifo /workspace/odd/other');
      assert.equal((await since()).status, 'changed');
      for (const path of ['/workspace/odd/fifo', '/dev/zero', '/workspace/odd/sock']) {
        const answer = await every.api('POST', '/changes', {json: {path}});
        assert.ok([200, 400].includes(answer.status), answer.text);
      }
    });
  });

  describe('an expression that explodes', () => {
    // Back references cannot be matched without trying everything.
    const pattern = '^(aa+)\\1+$';
    before(() => box.sh(`mkdir -p /workspace/e && cd /workspace/e && head -c 30011 /dev/zero | tr '\\0' a > long && echo >> long
      [ ! -e /usr/bin/rg ] || mv /usr/bin/rg /usr/bin/rg.away`));
    after(() => box.sh('[ ! -e /usr/bin/rg.away ] || mv /usr/bin/rg.away /usr/bin/rg'));

    it('ends with its time, and so does the program', async () => {
      const found = await every.files.act('grep', {path: 'e', pattern, timeout: 700});
      assert.deepEqual(found, {matches: [], count: 0, more: true, timedOut: true});
      await eventually('it does not run', async () => !await running('^grep .*[(]'));
      const {structuredContent, content} = await every.tool('grep', {path: '/workspace/e', pattern, timeout_ms: 700});
      assert.deepEqual(structuredContent, {matches: [], more: true, timedOut: true});
      assert.match(content[0].text, /time is up/);
      await eventually('it does not run', async () => !await running('^grep .*[(]'));
    });

    it('ends with its client', async () => {
      const asked = every.api('POST', '/fs/grep', {json: {path: 'e', pattern, timeout: 600_000}, limitMs: 1500});
      await Promise.all([assert.rejects(asked), eventually('it runs', () => running('^grep .*[(]'))]);
      await eventually('it does not run', async () => !await running('^grep .*[(]'));
    });
  });
});
