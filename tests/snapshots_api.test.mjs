// SPDX-License-Identifier: Apache-2.0
// What can be done with snapshots: look for them, look into them, compare, hand out, change, put back.

import assert from 'node:assert/strict';
import {spawn, spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {buildDir, Daemon, eventually} from './support/daemon.mjs';
import {assertError, events, open} from './support/http.mjs';

describe('snapshots over HTTP', () => {
  let daemon;
  let box;
  let first;
  let second;

  const get = (rest, options = {}) => daemon.request('', {path: `/v1/snapshots${rest}`, ...options});
  const ok = async (rest, options) => {
    const answer = await get(rest, options);
    assert.equal(answer.status, 200, `${rest}: ${answer.text}`);
    return answer;
  };
  const list = async (query) => (await ok(query)).json();
  const v1 = (id, what, json, options = {}) =>
    daemon.request('', {method: 'POST', path: `/v1/sandboxes/${id}/${what}`, json, ...options});

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('look');
    await box.create();
    await box.sh(`cd /workspace && mkdir -p src/deep 'odd names' && echo one > src/one && echo two > src/deep/two &&
      head -c 3000000 /dev/urandom > large && printf 'a\\377b\\0c' > binary && : > nothing && echo gone > gone &&
      ln -s src/one link && echo l > "$(printf 'odd names/latin\\351')" && echo p > 'odd names/a%20b+c & d' &&
      chmod 640 src/one && truncate -s 5000000 holes`);
    first = (await box.post('/snapshot', {dir: '/workspace', name: 'first', tags: ['a', 'b'], ttl: '2h'})).json();
    await box.sh('cd /workspace && echo more >> src/one && rm gone && mkdir new && echo n > new/file && chmod 600 src/deep/two && rm link && ln -s src link');
    second = (await box.post('/snapshot', {dir: '/workspace', name: 'second'})).json();
  });
  after(() => daemon?.cleanup());

  describe('a list', () => {
    it('is of everything, newest first, with what a snapshot holds', async () => {
      const {snapshots, cursor} = await list('');
      assert.equal(cursor, undefined);
      assert.deepEqual(snapshots.map((one) => one.name), ['second', 'first']);
      const [newer, older] = snapshots;
      assert.equal(older.snapshotId, first.snapshotId);
      assert.equal(older.sandbox, 'look');
      assert.equal(older.dir, '/workspace');
      assert.equal(older.trigger, 'manual');
      assert.deepEqual(older.tags, ['a', 'b']);
      assert.equal(older.files, first.files, 'the same count as when it was taken');
      assert.equal(older.bytes, first.bytesTotal);
      assert.equal(older.bytesAdded, first.bytesAdded);
      assert.equal(newer.parent, first.snapshotId);
      assert.ok(Date.parse(newer.createdAt) > Date.parse(older.createdAt));
      assert.ok(Date.parse(older.expiresAt) - Date.parse(older.createdAt) <= 7_200_000);
    });

    it('is filtered', async () => {
      const other = daemon.sandbox('filter');
      await other.create();
      await other.sh('mkdir -p "/workspace/a dir, odd" && echo x > "/workspace/a dir, odd/x"');
      const odd = (await other.post('/snapshot', {dir: '/workspace/a dir, odd', name: 'x & y', tags: ['t+1']})).json();
      await v1('filter', 'stop');
      const ids = async (query) => (await list(query)).snapshots.map((one) => one.snapshotId);
      const enc = encodeURIComponent;
      assert.deepEqual(await ids(`?sandbox=filter&dir=${enc('/workspace/a dir, odd')}`), [odd.snapshotId]);
      assert.deepEqual(await ids(`?name=${enc('x & y')}`), [odd.snapshotId]);
      assert.deepEqual(await ids(`?tag=${enc('t+1')}`), [odd.snapshotId]);
      assert.deepEqual(await ids('?tag=a'), [first.snapshotId]);
      assert.deepEqual(await ids('?sandbox=look'), [second.snapshotId, first.snapshotId]);
      assert.deepEqual(await ids('?sandbox=look&name=first&trigger=manual&dir=/workspace'), [first.snapshotId]);
      assert.deepEqual(await ids('?sandbox=nobody'), []);
      const stops = (await list('?trigger=stop')).snapshots;
      assert.ok(stops.length > 0 && stops.every((one) => one.sandbox === 'filter' && one.consistency === 'frozen'));
      const own = await daemon.request('', {path: '/v1/sandboxes/filter/snapshots?trigger=manual'});
      assert.deepEqual(own.json().snapshots.map((one) => one.snapshotId), [odd.snapshotId]);
      assert.equal((await other.delete()).status, 204);
      assert.ok((await ids('?sandbox=filter')).length > 0, 'snapshots outlive their sandbox');
    });

    it('comes in pages', async () => {
      const all = (await list('')).snapshots.map((one) => one.snapshotId);
      assert.ok(all.length >= 4);
      const got = [];
      let cursor = '';
      do {
        const page = await list(`?limit=1${cursor && `&cursor=${cursor}`}`);
        assert.equal(page.snapshots.length, 1);
        got.push(page.snapshots[0].snapshotId);
        cursor = page.cursor;
      } while (cursor);
      assert.deepEqual(got, all);
      const paged = await list('?sandbox=look&limit=1');
      assert.deepEqual((await list(`?sandbox=look&limit=1&cursor=${paged.cursor}`)).snapshots.map((one) => one.snapshotId),
                       [first.snapshotId]);
    });
  });

  it('shows one, by its id or the beginning of it', async () => {
    const whole = (await ok(`/${first.snapshotId}`)).json();
    assert.equal(whole.name, 'first');
    assert.deepEqual((await ok(`/${first.snapshotId.slice(0, 8)}`)).json(), whole);
    assertError(await get('/00000000'), 404, 'BACKUP_NOT_FOUND');
  });

  it('says what differs between two', async () => {
    const diff = (await ok(`/${first.snapshotId}/diff?to=${second.snapshotId}`)).json();
    const changes = Object.fromEntries(diff.entries.map((one) => [one.path.replace(/^\//, ''), one.change]));
    assert.equal(changes['src/one'], 'changed');
    assert.equal(changes.gone, 'removed');
    assert.equal(changes.new, 'added');
    assert.equal(changes['new/file'], 'added');
    assert.equal(changes['src/deep/two'], 'metadata');
    assert.equal(changes.link, 'changed');
    assert.ok(!('large' in changes) && !('binary' in changes));
    assert.equal(diff.added, 2);
    assert.equal(diff.removed, 1);
    assert.ok(diff.bytesAdded > 0 && diff.bytesAdded < 100);
    assert.equal(diff.truncated, false);
    const none = (await ok(`/${first.snapshotId}/diff?to=${first.snapshotId}`)).json();
    assert.deepEqual(none.entries, []);
    const short = (await ok(`/${first.snapshotId}/diff?to=${second.snapshotId}&limit=1`)).json();
    assert.equal(short.entries.length, 1);
    assert.equal(short.truncated, true);
    assert.equal(short.added, 2, 'counted all the same');
  });

  it('lists a directory of a snapshot', async () => {
    const tree = async (query) => (await ok(`/${first.snapshotId}/tree${query}`)).json();
    const root = await tree('');
    assert.deepEqual(root.entries.map((one) => one.name).sort(),
                     ['binary', 'gone', 'holes', 'large', 'link', 'nothing', 'odd names', 'src']);
    const entry = (name) => root.entries.find((one) => one.name === name);
    assert.equal(entry('src').type, 'dir');
    assert.deepEqual([entry('link').type, entry('link').target], ['symlink', 'src/one']);
    assert.deepEqual([entry('large').type, entry('large').size], ['file', 3_000_000]);
    const src = await tree('?path=src');
    assert.deepEqual(src.entries.map((one) => [one.name, one.type]), [['deep', 'dir'], ['one', 'file']]);
    assert.equal(src.entries[1].mode, '0640');
    assert.ok(!Number.isNaN(Date.parse(src.entries[1].mtime)));
    assert.deepEqual((await tree('?path=src/deep')).entries.map((one) => one.name), ['two']);
    const odd = await tree(`?path=${encodeURIComponent('odd names')}`);
    const latin = odd.entries.find((one) => one.nameBase64);
    assert.deepEqual(Buffer.from(latin.nameBase64, 'base64'), Buffer.from('latin\xe9', 'latin1'));
    assert.deepEqual((await tree('?path=src/one')).entries, [], 'a file has none');
    assert.equal((await tree('?path=src/one')).node.size, 4);
    // In pages.
    const names = [];
    let cursor = '';
    do {
      const page = await tree(`?limit=3${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
      names.push(...page.entries.map((one) => one.name));
      cursor = page.cursor;
    } while (cursor);
    assert.deepEqual(names, root.entries.map((one) => one.name));
    assertError(await get(`/${first.snapshotId}/tree?path=nowhere`), 404, 'PATH_NOT_FOUND');
    assertError(await get(`/${first.snapshotId}/tree?path=link/one`), 404, 'PATH_NOT_FOUND');
  });

  it('reads one file, whole or a range of it', async () => {
    const file = (name, options) => get(`/${first.snapshotId}/file?path=${name}`, options);
    const one = await file('src/one');
    assert.equal(one.text, 'one\n');
    assert.equal(one.headers['content-length'], '4');
    assert.match(one.headers['content-disposition'], /attachment/);
    assert.match(one.headers['content-type'], /octet-stream/);
    assert.equal(one.headers['x-content-type-options'], 'nosniff');
    assert.deepEqual((await file('binary')).bytes, Buffer.from('a\xffb\0c', 'latin1'));
    assert.equal((await file('nothing')).bytes.length, 0);
    assert.equal((await file('odd%20names/latin%E9')).text, 'l\n');
    assert.equal((await file(encodeURIComponent('odd names/a%20b+c & d'))).text, 'p\n');
    const large = (await file('large')).bytes;
    assert.equal(large.length, 3_000_000);
    assert.equal((await box.sh('sha256sum < /workspace/large')).slice(0, 64),
                 (await import('node:crypto')).createHash('sha256').update(large).digest('hex'));
    const range = async (text, name = 'large') => file(name, {headers: {Range: text}});
    for (const [text, from, to] of [['bytes=0-0', 0, 1], ['bytes=100-199', 100, 200], ['bytes=1500000-', 1_500_000, 3_000_000],
                                    ['bytes=-10', 2_999_990, 3_000_000], ['bytes=2999999-9999999', 2_999_999, 3_000_000],
                                    ['bytes=700000-2200000', 700_000, 2_200_001]]) {
      const part = await range(text);
      assert.equal(part.status, 206, text);
      assert.equal(part.headers['content-range'], `bytes ${from}-${to - 1}/3000000`);
      assert.ok(part.bytes.equals(large.subarray(from, to)), text);
    }
    assert.equal((await range('bytes=3000000-')).status, 416);
    assert.equal((await range('bytes=0-', 'nothing')).status, 416);
    for (const text of ['bytes=5-1', 'bytes=a-b', 'items=0-1', 'bytes=0-1,5-6', 'bytes=']) {
      const whole = await range(text, 'src/one');
      assert.deepEqual([whole.status, whole.text], [200, 'one\n'], text);
    }
    const holes = await range('bytes=4999990-', 'holes');
    assert.deepEqual(holes.bytes, Buffer.alloc(10));
    const head = await file('large', {method: 'HEAD'});
    assert.deepEqual([head.status, head.headers['content-length'], head.bytes.length], [200, '3000000', 0]);
    assertError(await file('src'), 400, 'IS_DIRECTORY');
    assertError(await file('link'), 400);
    assertError(await file('no'), 404, 'PATH_NOT_FOUND');
  });

  it('gives all of it as an archive that tar unpacks', async () => {
    const answer = await ok(`/${first.snapshotId}/archive`);
    assert.match(answer.headers['content-type'], /zstd/);
    assert.match(answer.headers['content-disposition'], /\.tar\.zst/);
    const dir = path.join(daemon.dir, 'unpacked');
    const archive = path.join(daemon.dir, 'archive.tar.zst');
    fs.mkdirSync(dir);
    fs.writeFileSync(archive, answer.bytes);
    const tar = spawnSync('tar', ['--zstd', '-xpf', archive, '-C', dir, '--numeric-owner'], {encoding: 'utf8'});
    assert.equal(tar.status, 0, tar.stderr);
    // Of a name that is not UTF-8 GNU tar says that it does not know how to say so.
    assert.ok(tar.stderr.split('\n').length <= 2, tar.stderr);
    // The same again inside: what tar unpacks is what a restore gives.
    await box.restore(first.snapshotId);
    const sums = 'find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; find . -printf "%p %y %m %l %s %T@ %U\\n" | grep -v " d " | LC_ALL=C sort';
    const here = spawnSync('bash', ['-c', sums], {cwd: dir, encoding: 'utf8', maxBuffer: 16 << 20});
    assert.equal(here.status, 0, here.stderr);
    assert.equal(here.stdout, await box.sh(sums, {cwd: '/workspace'}));
    await box.restore(second.snapshotId);
  });

  it('has no URLs of archives where the store is a directory', async () => {
    const answer = await get(`/${first.snapshotId}/archive?presign=1`);
    assertError(answer, answer.status, 'PRESIGN_UNSUPPORTED');
    assert.ok(answer.status >= 400 && answer.status < 500, String(answer.status));
    assert.equal(fs.existsSync(path.join(daemon.stateDir, 'snapshots', 'archives')), false);
  });

  it('changes name, tags, pin and life, and keeps the id', async () => {
    const patch = (json) => get(`/${first.snapshotId}`, {method: 'PATCH', json});
    const changed = (await patch({name: 'renamed, twice', tags: ['x', 'ü'], pinned: true, ttl: 'never'})).json();
    assert.equal(changed.snapshotId, first.snapshotId);
    assert.deepEqual([changed.name, changed.tags, changed.pinned, changed.expiresAt], ['renamed, twice', ['x', 'ü'], true, undefined]);
    assert.equal((await ok(`/${first.snapshotId}`)).json().name, 'renamed, twice');
    assert.deepEqual((await list('?tag=x')).snapshots.map((one) => one.snapshotId), [first.snapshotId]);
    const same = (await patch({})).json();
    assert.deepEqual(same, changed);
    const back = (await patch({name: 'first', tags: [], pinned: false, ttl: '3d'})).json();
    assert.deepEqual([back.name, back.tags, back.pinned], ['first', [], false]);
    assert.ok(back.expiresAt);
    assert.equal(back.createdAt, changed.createdAt);
    await box.restore(first.snapshotId);
    await box.restore(second.snapshotId);
    // Its place in the order stays.
    assert.deepEqual((await list('?sandbox=look')).snapshots.map((one) => one.name), ['second', 'first']);
  });

  it('deletes', async () => {
    const {snapshotId} = await box.snapshot('/workspace', 'short');
    const remove = () => get(`/${snapshotId}`, {method: 'DELETE'});
    await get(`/${snapshotId}`, {method: 'PATCH', json: {pinned: true}});
    assertError(await remove(), 409, 'SNAPSHOT_PINNED');
    await get(`/${snapshotId}`, {method: 'PATCH', json: {pinned: false}});
    assert.equal((await remove()).status, 204);
    assertError(await remove(), 404, 'BACKUP_NOT_FOUND');
    assertError(await box.post(`/restore/${snapshotId}`), 404, 'BACKUP_NOT_FOUND');
    assert.ok(!(await list('')).snapshots.some((one) => one.snapshotId === snapshotId));
    await box.restore(second.snapshotId);
  });

  describe('progress', () => {
    const stream = async (sandbox, rest, json) => {
      const answer = await open(daemon.port, {host: daemon.host(sandbox), method: 'POST', path: rest, json,
                                              headers: {Accept: 'text/event-stream'}});
      if (answer.status !== 200) {
        const parts = [];
        for await (const part of answer.stream) parts.push(part);
        return {...answer, json: JSON.parse(Buffer.concat(parts))};
      }
      assert.match(answer.headers['content-type'], /^text\/event-stream/);
      const all = [];
      for await (const event of events(answer.stream)) all.push(event);
      return {...answer, events: all};
    };

    it('is told while a snapshot is taken and a restore goes on', async () => {
      await box.sh('mkdir -p /workspace/many && cd /workspace/many && python3 -c "\nimport os\nfor i in range(6000): open(str(i), \'wb\').write(os.urandom(20000))"');
      const taken = await stream('look', '/snapshot', {dir: '/workspace/many'});
      const last = taken.events.at(-1);
      assert.equal(last.type, 'complete');
      assert.match(last.snapshotId, /^[0-9a-f]{64}$/);
      assert.equal(last.files, 6000);
      const progress = taken.events.slice(0, -1);
      assert.ok(progress.length > 0, 'a long one says how far it is');
      let files = 0;
      for (const event of progress) {
        assert.equal(event.type, 'progress');
        assert.equal(typeof event.phase, 'string');
        for (const name of ['filesDone', 'filesTotal', 'bytesDone', 'bytesTotal']) assert.equal(typeof event[name], 'number');
        assert.ok(event.filesDone >= files, 'it goes forward');
        files = event.filesDone;
      }
      await box.sh('rm -rf /workspace/many/*');
      const restored = await stream('look', `/restore/${last.snapshotId}`);
      assert.equal(restored.events.at(-1).type, 'complete');
      assert.equal(restored.events.at(-1).filesWritten, 6000);
      assert.ok(restored.events.length > 1);
      await box.sh('rm -rf /workspace/many');
    });

    it('has a status when it fails before it begins', async () => {
      const missing = await stream('look', '/snapshot', {dir: '/nowhere'});
      assert.deepEqual([missing.status, missing.json.code], [404, 'DIRECTORY_NOT_FOUND']);
      const unknown = await stream('look', `/restore/${'0'.repeat(64)}`);
      assert.deepEqual([unknown.status, unknown.json.code], [404, 'BACKUP_NOT_FOUND']);
      const wrong = await stream('look', '/snapshot', {dir: 5});
      assert.equal(wrong.status, 400);
      const nobody = await stream('nobody', '/snapshot', {dir: '/workspace'});
      assert.deepEqual([nobody.status, nobody.json.code], [404, 'SANDBOX_NOT_FOUND']);
    });

    it('may be left: the work goes on', async () => {
      await box.sh('mkdir -p /workspace/left && head -c 60000000 /dev/urandom > /workspace/left/file');
      const answer = await open(daemon.port, {host: daemon.host('look'), method: 'POST', path: '/snapshot',
                                              json: {dir: '/workspace/left', name: 'left alone'}, headers: {Accept: 'text/event-stream'}});
      answer.stream.on('error', () => {});
      answer.close();
      await eventually('it is there', async () => (await list('?name=left%20alone')).snapshots.length === 1);
      await box.sh('rm -rf /workspace/left');
    });
  });

  describe('a restore', () => {
    const at = (dir, command) => box.sh(`cd ${dir} && ${command}`);
    let kept;

    before(async () => {
      await box.sh('rm -rf /workspace/r && mkdir -p /workspace/r/sub/deep && cd /workspace/r && echo a > a && echo b > sub/b && echo d > sub/deep/d');
      kept = await box.snapshot('/workspace/r');
    });

    it('merges when asked to', async () => {
      await at('/workspace/r', 'echo changed > a && rm sub/b && echo mine > mine && echo too > sub/mine');
      const answer = await box.post(`/restore/${kept.snapshotId}`, {mode: 'merge'});
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.json().removed, 0);
      assert.equal(await at('/workspace/r', 'cat a sub/b mine sub/mine sub/deep/d'), 'a\nb\nmine\ntoo\nd\n');
      await box.post(`/restore/${kept.snapshotId}`, {mode: 'replace'});
      assert.equal(await at('/workspace/r', 'find . -type f | sort'), './a\n./sub/b\n./sub/deep/d\n');
    });

    it('goes elsewhere, also where nothing is', async () => {
      const answer = await box.post(`/restore/${kept.snapshotId}`, {dir: '/workspace/other/place'});
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.json().dir, '/workspace/other/place');
      assert.equal(await at('/workspace/other/place', 'cat a sub/b sub/deep/d'), 'a\nb\nd\n');
      const outside = await box.post(`/restore/${kept.snapshotId}`, {dir: '/srv/data'});
      assert.equal(outside.status, 200, outside.text);
      assert.equal(await at('/srv/data', 'cat a'), 'a\n');
      for (const dir of ['/proc/x', '/sys', '/dev/shm/../x', '/']) {
        const refused = await box.post(`/restore/${kept.snapshotId}`, {dir});
        assert.ok(refused.status >= 400 && refused.status < 500, `${dir}: ${refused.text}`);
      }
    });

    it('takes a directory of the snapshot alone', async () => {
      const answer = await box.post(`/restore/${kept.snapshotId}`, {from: 'sub', dir: '/workspace/part'});
      assert.equal(answer.status, 200, answer.text);
      assert.equal(await at('/workspace/part', 'find . -type f | sort'), './b\n./deep/d\n');
      const absolute = await box.post(`/restore/${kept.snapshotId}`, {from: '/workspace/r/sub/deep', dir: '/workspace/part'});
      assert.equal(absolute.status, 200, absolute.text);
      assert.equal(await at('/workspace/part', 'find . -type f'), './d\n');
      assertError(await box.post(`/restore/${kept.snapshotId}`, {from: 'nowhere', dir: '/workspace/part'}), 404, 'PATH_NOT_FOUND');
      assert.equal(await at('/workspace/part', 'find . -type f'), './d\n');
    });

    it('goes into another sandbox on the bare domain, and nowhere else', async () => {
      const other = daemon.sandbox('copy');
      await other.create();
      assertError(await other.post(`/restore/${kept.snapshotId}`), 404, 'BACKUP_NOT_FOUND');
      const answer = await v1('copy', `restore/${kept.snapshotId}`);
      assert.equal(answer.status, 200, answer.text);
      assert.equal(await other.sh('cat /workspace/r/sub/deep/d'), 'd\n');
      const into = await v1('copy', `restore/${kept.snapshotId}`, {dir: '/workspace/x', mode: 'merge'});
      assert.equal(into.status, 200, into.text);
      assert.equal(await other.sh('cat /workspace/x/a'), 'a\n');
      assertError(await v1('nobody', `restore/${kept.snapshotId}`), 404, 'SANDBOX_NOT_FOUND');
      await other.delete();
    });

    it('keeps the directory itself: a shell stays in it', async () => {
      const inode = await box.sh('stat -c %i /workspace/r');
      await box.sh('mkfifo /tmp/go');
      const shell = box.sh('cd /workspace/r && cat /tmp/go > /dev/null && cat a && pwd -P');
      await box.sh('cd /workspace/r && rm -rf a sub && echo 1 > other');
      await box.restore(kept.snapshotId);
      await box.sh('echo > /tmp/go');
      assert.equal(await shell, 'a\n/workspace/r\n');
      assert.equal(await box.sh('stat -c %i /workspace/r'), inode);
    });

    it('does not touch what is equal', async () => {
      await box.restore(kept.snapshotId);
      const before = await box.sh('cd /workspace/r && stat -c "%n %i %Z" a sub/b sub/deep/d');
      await at('/workspace/r', 'echo other > sub/b; true');
      const answer = await box.restore(kept.snapshotId);
      assert.equal(answer.filesWritten, 1);
      const now = await box.sh('cd /workspace/r && stat -c "%n %i %Z" a sub/b sub/deep/d');
      assert.deepEqual(now.split('\n').map((line, i) => line === before.split('\n')[i]), [true, false, true, true]);
    });

    it('starts a sandbox that is stopped', async () => {
      assert.equal((await v1('look', 'stop')).status, 200);
      await box.restore(kept.snapshotId);
      assert.equal(await box.sh('cat /workspace/r/a'), 'a\n');
    });
  });

  describe('on the command line', () => {
    const atoll = (...args) => daemon.cli('--config', daemon.config, ...args);
    const okCli = (...args) => {
      const result = atoll(...args);
      assert.equal(result.status, 0, `atoll ${args.join(' ')}: ${result.stdout}${result.stderr}`);
      return result.stdout;
    };

    it('takes, lists, shows, compares, reads, changes, restores and removes', async () => {
      await box.sh('rm -rf /workspace/* && cd /workspace && mkdir sub && echo 1 > a && echo 2 > sub/b');
      const one = JSON.parse(okCli('snapshot', 'look', '--name', 'by hand', '--tag', 'cli', '--ttl', 'never', '--freeze', '--json'));
      assert.match(one.snapshotId, /^[0-9a-f]{64}$/);
      assert.ok(one.freezeMs > 0);
      await box.sh('cd /workspace && echo more > a && echo 3 > c && rm -r sub');
      const text = okCli('snapshot', 'look');
      const two = text.slice(0, 64);
      assert.match(text, /^[0-9a-f]{64} {2}2 files/);
      const table = okCli('snapshots', '--sandbox', 'look', '--tag', 'cli');
      assert.match(table, new RegExp(`^${one.snapshotId.slice(0, 8)} .*look .*/workspace .*manual .*by hand`, 'm'));
      assert.ok(!table.includes(two.slice(0, 8)));
      const rows = okCli('snapshots', '--sandbox', 'look', '--json').trim().split('\n').map((line) => JSON.parse(line));
      assert.ok(rows.length > 2 && rows[0].snapshotId === two);
      assert.match(okCli('snapshots', 'show', one.snapshotId), /name +by hand/);
      assert.equal(JSON.parse(okCli('snapshots', 'show', two, '--json')).snapshotId, two);
      const diff = okCli('snapshots', 'diff', one.snapshotId, two);
      for (const line of [/^M {2}\/?a$/m, /^\+ {2}\/?c$/m, /^- {2}\/?sub\/b$/m]) assert.match(diff, line);
      assert.match(okCli('snapshots', 'tree', one.snapshotId), /^dir .* sub$/m);
      assert.match(okCli('snapshots', 'tree', one.snapshotId, 'sub'), /^file .* b$/m);
      assert.equal(okCli('snapshots', 'cat', one.snapshotId, 'sub/b'), '2\n');
      okCli('snapshots', 'archive', one.snapshotId, 'out.tar.zst');
      const names = spawnSync('tar', ['--zstd', '-tf', path.join(daemon.dir, 'out.tar.zst')], {encoding: 'utf8'});
      assert.match(names.stdout, /\.\/sub\/b/);
      assert.ok(!fs.existsSync(path.join(daemon.dir, 'out.tar.zst.part')));
      okCli('snapshots', 'tag', one.snapshotId, 'x', 'y');
      okCli('snapshots', 'pin', one.snapshotId);
      const changed = JSON.parse(okCli('snapshots', 'show', one.snapshotId, '--json'));
      assert.deepEqual([changed.tags, changed.pinned, changed.expiresAt], [['x', 'y'], true, undefined]);
      assert.notEqual(atoll('snapshots', 'rm', one.snapshotId).status, 0, 'it is pinned');
      okCli('snapshots', 'unpin', one.snapshotId);
      assert.match(okCli('restore', 'look', one.snapshotId.slice(0, 10)), /\/workspace .*written/);
      assert.equal(await box.sh('cd /workspace && cat a sub/b && ls'), '1\n2\na\nsub\n');
      okCli('restore', 'look', two, '--merge');
      assert.equal(await box.sh('cd /workspace && cat a sub/b c'), 'more\n2\n3\n');
      okCli('restore', 'look', one.snapshotId, '--from', 'sub', '--dir', '/workspace/z');
      assert.equal(await box.sh('cat /workspace/z/b'), '2\n');
      okCli('snapshots', 'rm', one.snapshotId, two);
      const gone = atoll('snapshots', 'show', two);
      assert.notEqual(gone.status, 0);
      assert.match(gone.stderr, /no snapshot/);
    });

    it('says what went wrong', () => {
      for (const [args, words] of [[['snapshot', 'nobody'], /nobody/], [['snapshot', 'look', '--dir', '/nowhere'], /nowhere/],
                                   [['restore', 'look', '0'.repeat(64)], /no snapshot/], [['snapshot', 'look', '--ttl', 'soon'], /ttl|soon/],
                                   [['stop', 'nobody'], /nobody/], [['snapshots', 'archive', second.snapshotId, '--presign'], /URL/]]) {
        const result = atoll(...args);
        assert.notEqual(result.status, 0, args.join(' '));
        assert.match(result.stderr, words);
        assert.equal(result.stdout, '');
      }
    });

    it('shows a bar on a terminal', async () => {
      await box.sh('mkdir -p /workspace/bar && head -c 120000000 /dev/urandom > /workspace/bar/file');
      // `script` gives the command a terminal.
      const child = spawn('script', ['-qec', `${path.join(buildDir, 'atoll')} --config ${daemon.config} snapshot look --dir /workspace/bar`, '/dev/null'],
                          {cwd: daemon.dir, env: daemon.env, stdio: ['ignore', 'pipe', 'inherit']});
      let text = '';
      child.stdout.on('data', (data) => { text += data; });
      assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 0, text);
      assert.match(text, /\[#* *\] +\d+ %/);
      assert.match(text, /[0-9a-f]{64} {2}1 files/);
      await box.sh('rm -rf /workspace/bar');
    });

    it('stops, and uses again', async () => {
      await box.sh('echo stays > /workspace/stays');
      okCli('stop', 'look');
      assert.match(okCli('ls'), /look.*stopped/);
      assert.equal(okCli('run', 'look', '--', 'cat', '/workspace/stays'), 'stays\n');
      okCli('stop', 'look');
      okCli('stop', 'look');
    });
  });
});
