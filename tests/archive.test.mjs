// SPDX-License-Identifier: Apache-2.0
// Directories as archives, as tar on the outside sees them, and archives that want to do harm.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {assertError, raw} from './support/http.mjs';

function tar(args, input) {
  const result = spawnSync('tar', args, {input, maxBuffer: 1 << 30});
  assert.equal(result.status, 0, `tar ${args.join(' ')}: ${result.stderr}`);
  return result.stdout;
}

/** One header block by hand. */
function header({name, type = '0', size = 0, link = '', mode = 0o644, prefix = ''}) {
  const block = Buffer.alloc(512);
  const octal = (value, width) => value.toString(8).padStart(width - 1, '0') + '\0';
  block.write(name, 0);
  block.write(octal(mode, 8), 100);
  block.write(octal(0, 8), 108);
  block.write(octal(0, 8), 116);
  block.write(octal(size, 12), 124);
  block.write(octal(0, 12), 136);
  block.write(' '.repeat(8), 148);
  block.write(type, 156);
  block.write(link, 157);
  block.write('ustar\0' + '00', 257);
  block.write(prefix, 345);
  const sum = block.reduce((a, b) => a + b, 0);
  block.write(octal(sum, 7) + ' ', 148);
  return block;
}

function archive(...entries) {
  const parts = entries.flatMap((entry) => {
    const body = Buffer.from(entry.body ?? '');
    return [header({...entry, size: entry.size ?? body.length}), body, Buffer.alloc((512 - body.length % 512) % 512)];
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

describe('archives', () => {
  let daemon;
  let box;
  let dir;

  const get = (query) => daemon.request('', {path: `/v1/sandboxes/tars/archive${query}`});
  const put = (query, body) => daemon.request('', {method: 'PUT', path: `/v1/sandboxes/tars/archive${query}`, body});

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('tars');
    await box.create();
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-archive-'));
    await box.python(`
import os, json
os.makedirs("/workspace/src/" + "/".join(["long" * 12] * 8))
os.chdir("/workspace/src")
open("plain", "w").write("text")
open("/".join(["long" * 12] * 8) + "/" + "n" * 200, "w").write("deep")
open("umläut name", "w").write("u")
os.link("plain", "hard")
os.symlink("plain", "soft")
os.symlink("/usr/bin/python3", "abs")
os.mkfifo("fifo")
os.makedirs("empty")
os.chmod("plain", 0o4751); os.chown("plain", 1000, 1001)
os.chmod("plain", 0o4751)
os.utime("plain", (1e9, 1e9))
os.chmod("empty", 0o500)
os.makedirs("node_modules/x"); open("node_modules/x/y", "w").write("z")
open("big", "wb").write(os.urandom(3 << 20))
print(json.dumps(1))`);
  });
  after(async () => {
    fs.rmSync(dir, {recursive: true, force: true});
    await daemon?.cleanup();
  });

  const listing = (at) => box.sh(`cd ${at} && find . -printf '%p %y %m %U %G %n %l\\n' | sort && find . -type f -exec sha256sum {} + | sort -k2`);

  it('gives what tar understands', async () => {
    const got = await get('?path=/workspace/src');
    assert.equal(got.status, 200);
    assert.equal(got.headers['content-type'], 'application/x-tar');
    tar(['-x', '-C', dir, '--no-same-owner'], got.bytes);
    assert.equal(fs.readFileSync(path.join(dir, 'umläut name'), 'utf8'), 'u');
    assert.equal(fs.readFileSync(path.join(dir, ...Array(8).fill('long'.repeat(12)), 'n'.repeat(200)), 'utf8'), 'deep');
    assert.equal(fs.readlinkSync(path.join(dir, 'soft')), 'plain');
    assert.equal(fs.statSync(path.join(dir, 'hard')).ino, fs.statSync(path.join(dir, 'plain')).ino);
    const lines = tar(['-tv', '--numeric-owner'], got.bytes).toString();
    assert.match(lines, /^-rwsr-x--x 1000\/1001 +4 2001-09-09/m);
  });

  for (const format of ['tar', 'tar.zst']) {
    it(`comes back the same: ${format}`, async () => {
      const got = await get(`?path=/workspace/src&format=${format}`);
      const answer = await put(`?path=/workspace/back-${format}&links=any`, got.bytes);
      assert.equal(answer.status, 200, answer.text);
      assert.equal(await listing(`/workspace/back-${format}`), await listing('/workspace/src'));
    });
  }

  it('leaves out what it is told to', async () => {
    const names = tar(['-t'], (await get('?path=src&exclude=node_modules,big')).bytes).toString();
    assert.ok(!names.includes('node_modules') && !names.includes('./big') && names.includes('./plain'));
  });

  it('packs one file', async () => {
    assert.equal(tar(['-xO'], (await get('?path=/workspace/src/plain')).bytes).toString(), 'text');
  });

  it('takes archives of GNU tar and of pax', async () => {
    for (const format of ['gnu', 'pax', 'ustar']) {
      const skip = format === 'ustar' ? ['--exclude=long*'] : [];
      const bytes = tar(['-c', `--format=${format}`, '-C', dir, ...skip, '.']);
      const answer = await put(`?path=/workspace/${format}&links=any`, bytes);
      assert.equal(answer.status, 200, answer.text);
      assert.equal(await box.sh(`cat /workspace/${format}/plain`), 'text');
    }
  });

  it('says what is wrong', async () => {
    assertError(await get('?path=/workspace/none'), 404, 'FILE_NOT_FOUND');
    assertError(await get('?path=/dev/null'), 400, 'NOT_REGULAR_FILE');
    assertError(await get('?format=zip'), 400, 'VALIDATION_FAILED');
    assertError(await put('?path=/workspace/x', ''), 400, 'INVALID_ARCHIVE');
    assertError(await put('?path=/workspace/x', 'no archive at all, whatever it is'.repeat(100)), 400, 'INVALID_ARCHIVE');
    assertError(await put('?path=/workspace/x', Buffer.from([0x1f, 0x8b, 8, 0, 0, 0])), 400, 'INVALID_ARCHIVE');
    assertError(await put('?path=/workspace/x', archive({name: 'a', body: 'abc'}).subarray(0, 513)), 400, 'INVALID_ARCHIVE');
    await box.sh('echo x > /workspace/file');
    assertError(await put('?path=/workspace/file', archive({name: 'a'})), 400, 'NOT_DIRECTORY');
  });

  it('refuses whatever would leave the directory, and devices', async () => {
    await box.sh('rm -rf /workspace/h /tmp/out && mkdir -p /workspace/h /tmp/out && ln -s /tmp/out /workspace/h/there && echo old > /tmp/out/old');
    const hostile = [
      archive({name: '/tmp/out/abs', body: 'x'}),
      archive({name: '../../tmp/out/up', body: 'x'}),
      archive({name: 'a/../../../tmp/out/up', body: 'x'}),
      archive({name: 'out/up', prefix: '/tmp', body: 'x'}),
      archive({name: 'there/through', body: 'x'}),
      archive({name: 'l', type: '2', link: '/tmp/out'}, {name: 'l/through', body: 'x'}),
      archive({name: 'l2', type: '2', link: '../../tmp/out'}),
      archive({name: 'd/l3', type: '2', link: '../../../tmp/out'}),
      archive({name: 'hard', type: '1', link: '../../tmp/out/old'}),
      archive({name: 'hard', type: '1', link: 'there/old'}),
      archive({name: 'hard', type: '1', link: 'there'}),
      archive({name: 'dev', type: '3'}),
      archive({name: 'sparse', type: 'S'}),
      archive({name: 'bad', body: 'x'}).fill('7', 148, 150),
    ];
    for (const [index, bytes] of hostile.entries()) {
      const answer = await put('?path=/workspace/h', bytes);
      assert.equal(answer.status, 400, `${index}: ${answer.text}`);
    }
    const through = await put('?path=/workspace/h&links=any',
                              archive({name: 'l', type: '2', link: '/tmp/out'}, {name: 'l/through', body: 'x'}));
    assert.equal(through.status, 400, through.text);
    assert.equal(await box.sh('cd /tmp/out && ls -A && stat -c %h old && cat old'), 'old\n1\nold\n');
  });

  it('stops an archive that grows without end', async () => {
    await box.sh('mkdir -p /workspace/bomb && truncate -s 2G /workspace/bomb/zeros');
    const small = await get('?path=/workspace/bomb&format=tar.zst');
    assert.ok(small.bytes.length < 1 << 20, `${small.bytes.length}`);
    const before = daemon.residentBytes();
    assertError(await put('?path=/workspace/exploded&maxBytes=100000000', small.bytes), 413, 'FILE_TOO_LARGE');
    assert.ok(daemon.residentBytes() - before < 200 << 20);
    const many = archive(...Array.from({length: 50}, (_, i) => ({name: `f${i}`})));
    assertError(await put('?path=/workspace/exploded&maxEntries=10', many), 413, 'FILE_TOO_LARGE');
  });

  it('stops one that nobody has said a limit for', async () => {
    const small = await get('?path=/workspace/bomb&format=tar.zst');
    const error = assertError(await put('?path=/workspace/exploded', small.bytes), 413, 'FILE_TOO_LARGE');
    assert.match(error.message, /say how much/);
    const taken = Number(await box.sh('du -sb /workspace/exploded | cut -f1'));
    assert.ok(taken < 1 << 30, `${taken}`);
    await box.sh('rm -rf /workspace/exploded');
  });

  it('unpacks as a user', async () => {
    await box.sh('mkdir -p /workspace/mine && chown 1000:1000 /workspace/mine');
    const bytes = archive({name: 'a', body: 'x'});
    assert.equal((await put('?path=/workspace/mine&user=1000', bytes)).status, 200);
    assert.equal(await box.sh('stat -c %u /workspace/mine/a'), '1000\n');
    await box.sh('mkdir -p /workspace/theirs');
    assertError(await put('?path=/workspace/theirs&user=1000', bytes), 403, 'PERMISSION_DENIED');
  });

  it('leaves no process behind when clients leave in the middle', async () => {
    await raw(daemon.port, `PUT /v1/sandboxes/tars/archive?path=/workspace/cut HTTP/1.1\r\nHost: ${daemon.bare}\r\n` +
                           `Content-Length: 1000000\r\n\r\n`, {limitMs: 300});
    await raw(daemon.port, `GET /v1/sandboxes/tars/archive?path=/workspace HTTP/1.1\r\nHost: ${daemon.bare}\r\n\r\n`,
              {until: (text) => text.length > 1000});
    await eventually('no transfer is left', async () =>
      (await box.sh('grep -l atoll-transfer /proc/[0-9]*/comm | wc -l')).trim() === '0');
  });
});
