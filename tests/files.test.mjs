// SPDX-License-Identifier: Apache-2.0
// Files of a sandbox: content, entries, lists, and whatever a hostile sandbox puts in the way.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import http from 'node:http';
import {Readable} from 'node:stream';
import {text as readAll} from 'node:stream/consumers';
import {pipeline} from 'node:stream/promises';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {Files} from './support/files.mjs';
import {assertError, open, raw} from './support/http.mjs';

describe('files', () => {
  let daemon;
  let box;
  let files;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('files');
    await box.create();
    files = new Files(daemon, 'files');
  });
  after(() => daemon?.cleanup());

  describe('content', () => {
    it('comes back as it was written, whatever it is', async () => {
      for (const bytes of [Buffer.from(''), Buffer.from('text\n'), crypto.randomBytes(3 << 20)]) {
        const path = '/workspace/some name äöü';
        const put = await files.put(path, bytes);
        assert.ok([200, 201].includes(put.status), put.text);
        assert.equal(put.json().size, bytes.length);
        const got = await files.get(path);
        assert.equal(got.status, 200);
        assert.ok(got.bytes.equals(bytes));
        const [sum] = (await box.sh(`sha256sum < "${path}"`)).split(' ');
        assert.equal(sum, crypto.createHash('sha256').update(bytes).digest('hex'));
      }
    });

    it('goes through memory file systems too', async () => {
      const bytes = crypto.randomBytes(3 << 20);
      assert.equal((await files.put('/dev/shm/memory', bytes)).status, 201);
      assert.ok((await files.get('/dev/shm/memory')).bytes.equals(bytes));
    });

    it('says 201 for a new file and 200 for one that is replaced', async () => {
      assert.equal((await files.put('/workspace/new', 'a')).status, 201);
      assert.equal((await files.put('/workspace/new', 'b')).status, 200);
      assertError(await files.put('/workspace/new', 'c', {headers: {'If-None-Match': '*'}}), 409, 'FILE_EXISTS');
      assert.equal((await files.get('/workspace/new')).text, 'b');
    });

    it('takes a chunked body', async () => {
      const answer = await files.put('/workspace/chunked', 'abc'.repeat(100_000), {
        headers: {'Transfer-Encoding': 'chunked'}});
      assert.equal(answer.json().size, 300_000);
    });

    it('keeps mode and owner of the file that it replaces, and takes others', async () => {
      await box.sh('cd /workspace && echo x > own && chown 1000:1001 own && chmod 751 own');
      const kept = (await files.put('/workspace/own', 'y')).json();
      assert.deepEqual([kept.mode, kept.uid, kept.gid], ['0751', 1000, 1001]);
      assert.equal((await files.put('/workspace/own', 'z', {query: '?mode=0600'})).json().mode, '0600');
      assert.equal((await files.put('/workspace/fresh', 'z')).json().mode, '0644');
      assertError(await files.put('/workspace/fresh', 'z', {query: '?mode=999'}), 400, 'VALIDATION_FAILED');
    });

    it('replaces a file at once: who reads has the old one or the new one, whole', async () => {
      await files.put('/workspace/atomic', 'a'.repeat(1 << 20));
      await box.background(`python3 -c '
import time
end = time.time() + 120
while time.time() < end:
    text = open("/workspace/atomic").read()
    if len(text) != 1 << 20 or len(set(text)) != 1:
        open("/workspace/torn", "w").write("torn")
    if text[0] == "z":
        open("/workspace/last", "w").write("z")
        break
'`);
      for (const c of 'bcdefghz') await files.put('/workspace/atomic', c.repeat(1 << 20));
      await eventually('the last one was read', async () => (await files.get('/workspace/last')).status === 200);
      assertError(await files.get('/workspace/torn'), 404, 'FILE_NOT_FOUND');
    });

    it('changes nothing when a client leaves in the middle of an upload', async () => {
      await files.put('/workspace/half', 'whole');
      const before = await box.sh('ls -A /workspace');
      await raw(daemon.port, `PUT ${files.url('/workspace/half')} HTTP/1.1\r\nHost: ${daemon.bare}\r\n` +
                             `Content-Length: 1000000\r\n\r\npart`, {limitMs: 500});
      assert.equal((await files.get('/workspace/half')).text, 'whole');
      assert.equal(await box.sh('ls -A /workspace'), before);
    });

    it('appends', async () => {
      await files.put('/workspace/log', 'a\n', {query: '?append=1'});
      await files.put('/workspace/log', 'b\n', {query: '?append=1'});
      assert.equal((await files.get('/workspace/log')).text, 'a\nb\n');
    });

    it('makes the directories above a file when asked', async () => {
      assertError(await files.put('/workspace/p/q/r', 'x'), 404, 'FILE_NOT_FOUND');
      assert.equal((await files.put('/workspace/p/q/r', 'x', {query: '?parents=1'})).status, 201);
    });

    it('reads ranges', async () => {
      await files.put('/workspace/range', '0123456789');
      const range = async (value) => files.get('/workspace/range', {headers: {Range: value}});
      const part = await range('bytes=2-4');
      assert.equal(part.status, 206);
      assert.equal(part.text, '234');
      assert.equal(part.headers['content-range'], 'bytes 2-4/10');
      assert.equal((await range('bytes=-3')).text, '789');
      assert.equal((await range('bytes=8-')).text, '89');
      assert.equal((await range('bytes=10-')).status, 416);
      assert.equal((await range('lines=1')).text, '0123456789');
      assert.equal((await files.get('/workspace/range', {query: '?offset=3&length=2'})).text, '34');
      assert.equal((await files.get('/workspace/range', {query: '?offset=30'})).text, '');
    });

    it('has an entity tag that changes with the file', async () => {
      await files.put('/workspace/tag', 'one');
      const first = await files.get('/workspace/tag');
      const known = {headers: {'If-None-Match': first.headers.etag}};
      assert.equal((await files.get('/workspace/tag', known)).status, 304);
      await files.put('/workspace/tag', 'two');
      const second = await files.get('/workspace/tag', known);
      assert.equal(second.status, 200);
      assert.notEqual(second.headers.etag, first.headers.etag);
      assert.ok(!Number.isNaN(Date.parse(second.headers['last-modified'])));
    });

    it('answers HEAD with what GET would say', async () => {
      await files.put('/workspace/head.json', '{}');
      const head = await files.get('/workspace/head.json', {method: 'HEAD'});
      assert.equal(head.status, 200);
      assert.equal(head.headers['content-length'], '2');
      assert.equal(head.headers['content-type'], 'application/json');
      assert.equal(head.bytes.length, 0);
      assert.equal((await files.get('/workspace/none', {method: 'HEAD'})).status, 404);
    });

    it('never lets content run on the origin of the dashboard', async () => {
      await files.put('/workspace/evil.html', '<script>alert(1)</script>');
      const got = await files.get('/workspace/evil.html', {query: '?download=1'});
      assert.match(got.headers['content-security-policy'], /^sandbox/);
      assert.equal(got.headers['x-content-type-options'], 'nosniff');
      assert.equal(got.headers['content-disposition'], 'attachment; filename="evil.html"');
    });

    it('reads what the kernel shows as a file without a size', async () => {
      const status = await files.get('/proc/self/status');
      assert.equal(status.status, 200);
      assert.match(status.text, /^Name:\tagent\n[^]*\nPid:\t1\n/);
    });

    it('keeps memory flat while files are large', async () => {
      await box.sh('truncate -s 300M /workspace/large');
      await files.get('/workspace/large', {headers: {Range: 'bytes=0-100'}});
      const before = daemon.residentBytes();
      const answer = await open(daemon.port, {host: daemon.bare, path: files.url('/workspace/large')});
      let bytes = 0;
      let peak = 0;
      for await (const part of answer.stream) {
        bytes += part.length;
        peak = Math.max(peak, daemon.residentBytes());
      }
      assert.equal(bytes, 300 << 20);
      assert.ok(peak - before < 32 << 20, `grew by ${peak - before}`);
    });

    it('keeps memory flat while a large file is written', async () => {
      const MIB = 1 << 20;
      const TOTAL = 320 * MIB;
      await box.sh('rm -f /workspace/large');
      await files.put('/workspace/uploaded', Buffer.alloc(MIB));
      const agent = async () => 1024 * Number(await box.sh(`awk '/^RssAnon/ {print $2}' /proc/1/status`));
      const before = {daemon: daemon.residentBytes(), agent: await agent()};
      const peak = {...before};
      const look = async () => {
        peak.daemon = Math.max(peak.daemon, daemon.residentBytes());
        peak.agent = Math.max(peak.agent, await agent());
      };
      const sent = http.request({
        host: '127.0.0.1', port: daemon.port, method: 'PUT', path: files.url('/workspace/uploaded'),
        headers: {Host: daemon.bare, 'Content-Length': TOTAL}});
      const answered = new Promise((resolve, reject) => {
        sent.on('response', (answer) => readAll(answer).then((text) => resolve(JSON.parse(text)), reject)).on('error', reject);
      });
      await pipeline(Readable.from((async function* () {
        for (let at = 0; at < TOTAL; at += MIB) {
          yield Buffer.alloc(MIB, at / MIB);
          if (at % (32 * MIB) === 0) await look();
        }
      })()), sent);
      const answer = await answered;
      await look();
      assert.equal(answer.size, TOTAL, JSON.stringify(answer));
      assert.ok(peak.daemon - before.daemon < 32 * MIB, `the daemon grew by ${peak.daemon - before.daemon}`);
      assert.ok(peak.agent - before.agent < 16 * MIB, `the agent grew by ${peak.agent - before.agent}`);
      const [first, last] = (await box.sh(
        `head -c 1 /workspace/uploaded | od -An -tu1; tail -c 1 /workspace/uploaded | od -An -tu1`)).trim().split('\n').map(Number);
      assert.deepEqual([first, last], [0, (TOTAL / MIB - 1) % 256]);
      await box.sh('rm /workspace/uploaded');
    });

    it('says so by cutting the answer when a file shrinks while it is read', async () => {
      await box.sh('head -c 200M /dev/zero > /workspace/shrinks');
      const answer = await open(daemon.port, {host: daemon.bare, path: files.url('/workspace/shrinks')});
      answer.stream.pause();
      await box.sh(': > /workspace/shrinks');
      await assert.rejects(async () => {
        for await (const part of answer.stream) void part;
      });
    });
  });

  describe('users', () => {
    it('reads and writes as somebody, with the rights of that one', async () => {
      await box.sh('mkdir -p /workspace/u && chown 1000:1000 /workspace/u && echo s > /workspace/secret && chmod 600 /workspace/secret');
      const mine = await files.put('/workspace/u/mine', 'x', {query: '?user=1000'});
      assert.deepEqual([mine.json().uid, mine.json().gid], [1000, 1000]);
      assertError(await files.put('/workspace/other', 'x', {query: '?user=1000'}), 403, 'PERMISSION_DENIED');
      assertError(await files.get('/workspace/secret', {query: '?user=1000'}), 403, 'PERMISSION_DENIED');
      assertError(await files.ask('chmod', {path: 'secret', mode: '0777', user: '1000'}), 403, 'PERMISSION_DENIED');
      assert.equal((await files.get('/workspace/secret', {query: '?user=root'})).text, 's\n');
      assertError(await files.get('/workspace/secret', {query: '?user=nobody-of-that-name'}), 400, 'USER_NOT_FOUND');
    });

    it('is in the groups that it is in', async () => {
      await box.sh('echo member:x:4000:4000::/home/member:/bin/sh >> /etc/passwd && echo team:x:4242:x,member >> /etc/group && ' +
                   'echo t > /workspace/team && chgrp team /workspace/team && chmod 640 /workspace/team');
      assert.equal((await files.get('/workspace/team', {query: '?user=member'})).text, 't\n');
    });
  });

  describe('entries', () => {
    it('says what is there', async () => {
      await box.sh('cd /workspace && echo hello > s && ln -sf s l && mkdir -p d && mkfifo f');
      const s = await files.act('stat', {path: 's'});
      assert.deepEqual([s.path, s.name, s.type, s.size], ['/workspace/s', 's', 'file', 6]);
      assert.equal((await files.act('stat', {path: 'l'})).type, 'file');
      const l = await files.act('stat', {path: 'l', follow: false});
      assert.deepEqual([l.type, l.target], ['symlink', 's']);
      assert.equal((await files.act('stat', {path: '/workspace/d'})).type, 'directory');
      assert.equal((await files.act('stat', {path: 'f'})).type, 'fifo');
      assertError(await files.ask('stat', {path: 'none'}), 404, 'FILE_NOT_FOUND');
      assertError(await files.ask('stat', {path: 's/x'}), 400, 'NOT_DIRECTORY');
      assertError(await files.ask('stat', {path: 'n'.repeat(300)}), 400, 'NAME_TOO_LONG');
      assertError(await files.ask('stat', {}), 400, 'VALIDATION_FAILED');
      assert.deepEqual(await files.act('exists', {path: 's'}), {exists: true});
      assert.deepEqual(await files.act('exists', {path: 's/x'}), {exists: false});
    });

    it('makes directories', async () => {
      assertError(await files.ask('mkdir', {path: 'm/n'}), 404, 'FILE_NOT_FOUND');
      const made = await files.act('mkdir', {path: 'm/n', parents: true, mode: '0700'});
      assert.deepEqual([made.type, made.mode], ['directory', '0700']);
      await files.act('mkdir', {path: 'm/n', parents: true});
      assertError(await files.ask('mkdir', {path: 'm/n'}), 409, 'FILE_EXISTS');
    });

    it('moves, and refuses to replace when told so', async () => {
      await box.sh('cd /workspace && echo 1 > from && echo 2 > to');
      assertError(await files.ask('move', {from: 'from', to: 'to', overwrite: false}), 409, 'FILE_EXISTS');
      await files.act('move', {from: 'from', to: 'to'});
      assert.equal((await files.get('/workspace/to')).text, '1\n');
      assertError(await files.ask('move', {from: 'from', to: 'x'}), 404, 'FILE_NOT_FOUND');
      await files.act('move', {from: 'to', to: 'a/b/c', parents: true});
      await files.act('move', {from: 'a/b/c', to: '/dev/shm/moved'});
      assert.equal(await box.sh('cat /dev/shm/moved; ls -A /workspace/a/b'), '1\n');
    });

    it('copies trees with modes, links and holes', async () => {
      await box.sh('cd /workspace && mkdir -p t/sub && echo x > t/sub/x && chmod 640 t/sub/x && chown 7:8 t/sub/x && ' +
                   'ln -s sub/x t/link && truncate -s 1G t/hole && touch -d 2001-02-03 t/sub/x');
      assertError(await files.ask('copy', {from: 't', to: 't2'}), 400, 'IS_DIRECTORY');
      await files.act('copy', {from: 't', to: 't2', recursive: true});
      assert.equal(await box.sh('cd /workspace && stat -c "%a %u %g %Y" t2/sub/x; readlink t2/link; du -k t2/hole | cut -f1; stat -c %s t2/hole'),
                   `640 7 8 ${Date.parse('2001-02-03T00:00:00Z') / 1000}\nsub/x\n0\n${2 ** 30}\n`);
      assertError(await files.ask('copy', {from: 't', to: 't2', recursive: true}), 409, 'FILE_EXISTS');
      assertError(await files.ask('copy', {from: 't', to: 't/sub/t', recursive: true}), 400, 'VALIDATION_FAILED');
    });

    it('removes directories only when told so', async () => {
      await box.sh('mkdir -p /workspace/r/a/b && echo x > /workspace/r/a/b/c && ln -s /etc /workspace/r/etc');
      assertError(await files.remove('/workspace/r'), 400, 'IS_DIRECTORY');
      assert.equal((await files.remove('/workspace/r', '?recursive=1')).status, 204);
      assert.equal(await box.sh('test ! -e /workspace/r && ls -d /etc'), '/etc\n');
      assertError(await files.remove('/workspace/r'), 404, 'FILE_NOT_FOUND');
      await files.act('remove', {path: 'r', missingOk: true});
      assertError(await files.ask('remove', {path: '/', recursive: true}), 400, 'VALIDATION_FAILED');
    });

    it('changes modes and owners', async () => {
      await files.put('/workspace/attr', 'x');
      const set = await files.act('chmod', {path: 'attr', mode: '4750', owner: '1000:root'});
      assert.deepEqual([set.mode, set.uid, set.gid], ['4750', 1000, 0]);
      assertError(await files.ask('chmod', {path: 'attr'}), 400, 'VALIDATION_FAILED');
    });
  });

  describe('lists', () => {
    before(() => box.sh('mkdir -p /workspace/list/.git /workspace/list/a/b && cd /workspace/list && ' +
                        'for i in 1 2 3; do echo $i > a/b/f$i.txt; done; echo x > a.txt; echo y > .git/config; truncate -s 5000 big.bin'));

    it('lists a directory, or all below it, in order', async () => {
      const names = (list) => list.files.map((one) => one.path.slice('/workspace/list/'.length));
      assert.deepEqual(names(await files.act('list', {path: 'list'})), ['.git', 'a', 'a.txt', 'big.bin']);
      assert.deepEqual(names(await files.act('list', {path: 'list', includeHidden: false, recursive: true})),
                       ['a', 'a/b', 'a/b/f1.txt', 'a/b/f2.txt', 'a/b/f3.txt', 'a.txt', 'big.bin']);
      assert.deepEqual(names(await files.act('list', {path: 'list', depth: 2, exclude: ['.git']})),
                       ['a', 'a/b', 'a.txt', 'big.bin']);
      assertError(await files.ask('list', {path: 'list/a.txt'}), 400, 'NOT_DIRECTORY');
      assertError(await files.ask('list', {path: 'nowhere'}), 404, 'FILE_NOT_FOUND');
    });

    it('gives the same in pages of any size', async () => {
      const whole = await files.act('list', {path: 'list', recursive: true});
      for (const limit of [1, 2, 3, 5]) {
        assert.deepEqual(await files.all('list', {path: 'list', recursive: true, limit}), whole.files, `by ${limit}`);
      }
      assert.equal(whole.cursor, undefined);
    });

    it('finds by name, type, size and time', async () => {
      const find = async (what) => (await files.all('find', {path: 'list', ...what})).map((one) => one.name);
      assert.deepEqual(await find({name: 'f[12].*'}), ['f1.txt', 'f2.txt']);
      assert.deepEqual(await find({type: 'directory', exclude: ['.git']}), ['a', 'b']);
      assert.deepEqual(await find({minSize: 4000}), ['big.bin']);
      assert.deepEqual(await find({olderThan: 1000}), []);
      assert.equal((await find({newerThan: 1000, type: 'file'})).length, 6);
      assert.deepEqual(await find({name: 'f*', limit: 1}), ['f1.txt', 'f2.txt', 'f3.txt']);
    });
  });

  describe('hostile', () => {
    it('waits for nobody: FIFOs, devices, sockets', async () => {
      await box.sh('cd /workspace && mkfifo fifo && python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(\'sock\')"');
      for (const path of ['/workspace/fifo', '/dev/zero', '/dev/tty', '/workspace/sock']) {
        assertError(await files.get(path), 400, 'NOT_REGULAR_FILE');
        assertError(await files.put(path, 'x'), 400, 'NOT_REGULAR_FILE');
      }
      assertError(await files.get('/workspace'), 400, 'IS_DIRECTORY');
      assertError(await files.put('/workspace', 'x'), 400, 'IS_DIRECTORY');
    });

    it('follows symlinks inside, and none of the magic ones that lead to the agent', async () => {
      await box.sh('cd /workspace && ln -s loop loop && ln -s /etc/hostname host && ln -s /proc/self/fd/3 agent && ' +
                   'ln -s /proc/self/root root && ln -s mem2 mem && ln -s /proc/self/mem mem2');
      assertError(await files.get('/workspace/loop'), 400, 'TOO_MANY_LINKS');
      assertError(await files.put('/workspace/loop', 'x'), 400, 'TOO_MANY_LINKS');
      assert.equal((await files.get('/workspace/host')).text, await box.sh('cat /etc/hostname'));
      for (const path of ['/workspace/agent', '/proc/self/root/etc/hostname', '/workspace/root/etc/passwd', '/proc/1/exe']) {
        assert.equal((await files.get(path)).status, 400, path);
      }
      const written = await files.put('/workspace/mem', 'x');
      assert.ok(written.status >= 400 && written.status < 500, written.text);
      assert.equal(await box.sh('echo alive'), 'alive\n');
    });

    it('writes through a symlink to where it leads', async () => {
      await box.sh('cd /workspace && echo old > real && ln -s real via');
      await files.put('/workspace/via', 'new');
      assert.equal(await box.sh('cd /workspace && readlink via && cat real'), 'real\nnew');
    });

    it('stays inside of the sandbox whatever the path', async () => {
      await box.sh('mkdir -p /workspace/x');
      const inside = await box.sh('cat /etc/hostname');
      for (const path of ['/../../../../etc/hostname', '/workspace/x/../../etc/hostname']) {
        assert.equal((await files.get(path)).text, inside);
      }
      for (const path of [`${files.base}/files/a%00b`, `${files.base}/files/%ff`, `${files.base}/files/%zz`]) {
        assertError(await daemon.request('', {path}), 400, 'VALIDATION_FAILED');
      }
      assertError(await files.ask('stat', {path: 'a\0b'}), 400, 'VALIDATION_FAILED');
    });

    it('survives deep trees and long lists', async () => {
      await box.python(`
import os, json
os.makedirs("/workspace/deep", exist_ok=True)
os.chdir("/workspace/deep")
for i in range(600):
    os.mkdir("d" * 100)
    os.chdir("d" * 100)
os.makedirs("/workspace/many")
for i in range(3000):
    open("/workspace/many/" + str(i), "w").close()
print(json.dumps(1))`);
      const deep = await files.act('list', {path: 'deep', recursive: true});
      assert.ok(deep.files.length > 10 && deep.files.length < 512);
      assert.equal((await files.all('list', {path: 'many', limit: 700})).length, 3000);
      await files.act('remove', {path: 'deep', recursive: true});
      assert.deepEqual(await files.act('exists', {path: 'deep'}), {exists: false});
    });

    it('serves others while a client reads nothing', async () => {
      await box.sh('head -c 100M /dev/zero > /workspace/slow');
      const slow = await Promise.all(Array.from({length: 20}, () =>
        open(daemon.port, {host: daemon.bare, path: files.url('/workspace/slow')})));
      for (const one of slow) one.stream.pause();
      assert.equal((await files.put('/workspace/meanwhile', 'x')).status, 201);
      assert.equal((await files.get('/workspace/meanwhile')).text, 'x');
      for (const one of slow) one.close();
    });
  });

  it('knows no files of a sandbox that is not there', async () => {
    const none = new Files(daemon, 'nobody');
    assertError(await none.get('/etc/hostname'), 404, 'SANDBOX_NOT_FOUND');
    assertError(await none.ask('stat', {path: '/'}), 404, 'SANDBOX_NOT_FOUND');
  });

  it('wakes a sandbox that sleeps, and starts one that is stopped', async () => {
    await files.put('/workspace/kept', 'kept');
    for (const [how, json] of [['sleep', {force: true}], ['stop', {}]]) {
      assert.equal((await daemon.request('', {method: 'POST', path: `${files.base}/${how}`, json})).status, 200);
      assert.equal((await files.get('/workspace/kept')).text, 'kept');
    }
  });
});

describe('search', () => {
  let daemon;
  let files;

  before(async () => {
    daemon = await Daemon.start();
    const box = daemon.sandbox('search');
    await box.create();
    files = new Files(daemon, 'search');
    await box.sh('mkdir -p /workspace/s/node_modules /workspace/s/.hide && cd /workspace/s && printf "one\\nTwo two\\nthree: 3:4\\n" > a.txt && ' +
                 'echo two > b.js && echo two > node_modules/c.js && echo two > .hide/d && printf "two\\0two" > bin && echo "a.*b" > expr && ' +
                 'python3 -c "print(\'x\' * 1000000 + \'two\')" > long');
  });
  after(() => daemon?.cleanup());

  const grep = async (what) => (await files.act('grep', {path: 's', ...what})).matches
    .map((one) => `${one.path.slice('/workspace/s/'.length)}:${one.line}`).sort();

  for (const without of ['', 'rg']) {
    it(`finds lines ${without ? 'with grep where there is no ripgrep' : 'with ripgrep'}`, async () => {
      const box = daemon.sandbox('search');
      if (without) await box.sh('rm -f "$(command -v rg)"');
      const where = {exclude: ['node_modules', 'long'], includeHidden: false};
      assert.deepEqual(await grep({pattern: 'two', ...where}), ['a.txt:2', 'b.js:1']);
      assert.deepEqual(await grep({pattern: 'TWO', ...where}), []);
      assert.deepEqual(await grep({pattern: '^TWO', ignoreCase: true, ...where}), ['a.txt:2', 'b.js:1']);
      assert.deepEqual(await grep({pattern: 'a.*b', fixed: true}), ['expr:1']);
      assert.deepEqual(await grep({pattern: 'two', include: ['*.js']}), ['b.js:1', 'node_modules/c.js:1']);
      assert.deepEqual(await grep({pattern: 'two', include: ['d']}), ['.hide/d:1']);
      assert.deepEqual(await grep({pattern: '-e'}), []);
      const [three] = (await files.act('grep', {path: 's', pattern: 'three'})).matches;
      assert.equal(three.text, 'three: 3:4');
      const long = await files.act('grep', {path: 's/long', pattern: 'two'});
      assert.ok(long.matches.every((one) => one.text.length <= 4096));
      const few = await files.act('grep', {path: 's', pattern: 'two', limit: 2});
      assert.deepEqual([few.count, few.more], [2, true]);
      await box.sh('mkdir -p u; echo two > u/open; echo two > u/closed; chmod 600 u/closed');
      const theirs = await files.act('grep', {path: 'u', pattern: 'two', user: '1234'});
      assert.deepEqual(theirs.matches.map((one) => one.path.split('/').pop()), ['open']);
      assertError(await files.ask('grep', {path: 's', pattern: '('}), 400, 'VALIDATION_FAILED');
      assertError(await files.ask('grep', {path: 'none', pattern: 'x'}), 404, 'FILE_NOT_FOUND');
    });
  }
});
