// SPDX-License-Identifier: Apache-2.0
// Snapshots on real S3 servers: Ceph's as the reference, Swift's as a store without conditional writes.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, sleep} from './support/daemon.mjs';
import {FaultyProxy} from './support/faulty_proxy.mjs';
import {assertError} from './support/http.mjs';
import {aws, run} from './support/processes.mjs';
import {
  assertNoUploads, assertSound, atoll, keysOf, missing, missingSwift, onStore, RGW_PROGRAMS,
} from './support/remote_store.mjs';
import {startRgw} from './support/rgw.mjs';
import {startSwift} from './support/swift.mjs';

const SERVERS_LIMIT = {timeout: 240_000};
const PREFIX = 'some/snapshots';

// Where the second daemon's keys come from, who has none in its configuration.
const STORES = [
  {
    name: 'Ceph RGW',
    start: startRgw,
    skip: missing(...RGW_PROGRAMS),
    restic: true,
    env: (server) => ({AWS_ACCESS_KEY_ID: server.accessKey, AWS_SECRET_ACCESS_KEY: server.secretKey}),
    files: () => ({}),
  },
  {
    name: 'Swift with s3api',
    start: startSwift,
    skip: missingSwift(),
    env: () => ({}),
    files: (server) => ({
      '.dev.vars': `R2_ACCESS_KEY_ID=${server.accessKey}\nR2_SECRET_ACCESS_KEY="${server.secretKey}"\n`,
    }),
  },
];

const isPack = (request) => request.method === 'GET' && request.path.includes('/data/');

for (const store of STORES) {
  describe(`snapshots on ${store.name}`, {skip: store.skip}, () => {
    let server;
    let proxy;
    let one;
    let two;
    let work;
    const ids = {};

    before(async () => {
      server = await store.start();
      proxy = await FaultyProxy.start(server.endpoint);
      one = await Daemon.start({sections: onStore({...server, endpoint: proxy.endpoint}, PREFIX)});
      work = one.sandbox('study');
      await work.create();
    }, SERVERS_LIMIT);
    after(async () => {
      await one?.cleanup();
      await two?.cleanup();
      await proxy?.stop();
      await server?.stop();
    }, SERVERS_LIMIT);

    const get = async (daemon, url, limitMs) => {
      const answer = await daemon.request('', {path: url, limitMs});
      assert.equal(answer.status, 200, `${url}: ${answer.text}`);
      return answer;
    };

    it('keeps what changed, in few requests', async () => {
      await work.sh(`set -e; mkdir -p /workspace/src/deep /root/notes; cd /workspace
        for i in $(seq 1 300); do echo "file $i" > src/deep/$i; done
        head -c 20000000 /dev/urandom > large; ln -s large link; echo remembered > /root/notes/one`);
      const first = await work.snapshot('/workspace', 'first');
      ids.first = first.snapshotId;
      assert.ok(first.bytesAdded > 20_000_000, `${first.bytesAdded}`);
      await work.sh('cd /workspace && echo changed > src/deep/7 && echo new > added && rm src/deep/8');
      const {result: second, requests} = await proxy.counted(() => work.snapshot('/workspace', 'second'));
      ids.second = second.snapshotId;
      assert.ok(second.bytesAdded < 100_000, `${second.bytesAdded}`);
      const list = requests.map(({method, path, query}) => `${method} ${path}${query}`).join('\n');
      assert.ok(requests.length <= 6, `${requests.length} requests:\n${list}`);
      assert.equal(second.storeRequests, requests.length, list);
      const again = await proxy.counted(() => work.snapshot('/workspace'));
      assert.ok(again.requests.length <= 6, `${again.requests.length} requests of an unchanged directory`);
    });

    it('restores what was there', async () => {
      const sums = () => work.sh('cd /workspace && find . -type f | sort | xargs sha256sum');
      const now = await sums();
      await work.restore(ids.first);
      assert.equal(await work.sh('cat /workspace/src/deep/7 /workspace/src/deep/8; readlink /workspace/link; ls /workspace'),
                   'file 7\nfile 8\nlarge\nlarge\nlink\nsrc\n');
      await work.restore(ids.second);
      assert.equal(await sums(), now);
      await work.sh('rm -rf /workspace/*');
      await work.restore(ids.second);
      assert.equal(await sums(), now);
    });

    it('lists, compares, shows and hands out', async () => {
      const {snapshots} = (await get(one, '/v1/snapshots?sandbox=study&dir=/workspace')).json();
      assert.deepEqual(snapshots.slice(-2).map(({snapshotId, name}) => [snapshotId, name]),
                       [[ids.second, 'second'], [ids.first, 'first']]);
      const diff = (await get(one, `/v1/snapshots/${ids.first}/diff?to=${ids.second}`)).json();
      assert.deepEqual([diff.added, diff.changed, diff.removed], [1, 1, 1]);
      const file = await get(one, `/v1/snapshots/${ids.first}/file?path=/src/deep/7`);
      assert.equal(file.text, 'file 7\n');
      const archive = await get(one, `/v1/snapshots/${ids.second}/archive`);
      const out = path.join(server.dir, 'archive');
      fs.mkdirSync(out);
      fs.writeFileSync(`${out}.tar.zst`, archive.bytes);
      await run('tar', ['--zstd', '-xf', `${out}.tar.zst`, '-C', out]);
      const added = await run('find', [out, '-name', 'added']);
      assert.equal(fs.readFileSync(added.trim(), 'utf8'), 'new\n');
    });

    it('gives an URL that anybody can use, for a while', async () => {
      const url = (await get(one, `/v1/snapshots/${ids.second}/archive?presign=1&valid=600`, 120_000)).json();
      assert.equal(url.validSeconds, 600);
      const file = path.join(server.dir, 'handed-out.tar.zst');
      const curl = (from) => run('curl', ['-s', '-o', file, '-w', '%{http_code}', from]);
      assert.equal(await curl(url.url), '200');
      assert.equal(fs.statSync(file).size, url.bytes);
      const names = await run('tar', ['--zstd', '-tf', file]);
      assert.match(names, /src\/deep\/300\n/);
      const changed = url.url.replace(/Signature=./, (text) => text.slice(0, -1) + (text.endsWith('0') ? '1' : '0'));
      assert.equal(await curl(changed), '403');
      const short = (await get(one, `/v1/snapshots/${ids.second}/archive?presign=1&valid=1`)).json();
      await sleep(3000);
      assert.equal(await curl(short.url), '403');
      for (const valid of ['0', '-1', 'x', '604801']) {
        assertError(await one.request('', {path: `/v1/snapshots/${ids.second}/archive?presign=1&valid=${valid}`}), 400);
      }
    });

    it('keeps to its prefix and leaves no upload half done', async () => {
      const keys = await keysOf(server, PREFIX);
      const kinds = new Set(keys.map((key) => key.split('/')[0]));
      assert.deepEqual([...kinds].sort(), ['archives', 'config', 'data', 'index', 'keys', 'snapshots']);
      const all = (await aws(server, ['s3', 'ls', '--recursive', `s3://${server.bucket}`])).trim().split('\n');
      assert.equal(all.length, keys.length, 'nothing is outside of the prefix');
      await assertNoUploads(server);
    });

    it('gives another host the sandbox back', async () => {
      await work.sh('echo until the end > /workspace/last');
      const stopped = await one.request('', {method: 'POST', path: '/v1/sandboxes/study/stop'});
      assert.equal(stopped.status, 200, stopped.text);
      assert.equal(stopped.json().saved, true, stopped.text);
      assert.equal(stopped.json().snapshots.length, 2);
      const password_file = path.join(server.dir, 'password');
      fs.copyFileSync(path.join(one.stateDir, 'snapshots.password'), password_file);
      const sections = onStore(server, PREFIX, {password_file});
      delete sections.snapshots.access_key;
      delete sections.snapshots.secret_key;
      two = await Daemon.start({sections, env: store.env(server), files: store.files(server)});
      const there = two.sandbox('study');
      const created = await there.create();
      assert.deepEqual(created.restored?.map(({dir}) => dir).sort(), ['/root', '/workspace'], JSON.stringify(created));
      assert.equal(await there.sh('cat /workspace/last /workspace/src/deep/7 /root/notes/one; wc -c < /workspace/large'),
                   'until the end\nchanged\nremembered\n20000000\n');
    });

    it('needs the store less when a pack is in the cache, and not the cache', async () => {
      const cache = path.join(one.stateDir, 'cache');
      const empty = () => work.sh('rm -rf /workspace/* && ls -A /workspace');
      const sum = () => work.sh('sha256sum < /workspace/large');
      await work.create();
      const right = await sum();
      fs.rmSync(cache, {recursive: true, force: true});
      await empty();
      const cold = await proxy.counted(() => work.restore(ids.second));
      await empty();
      const warm = await proxy.counted(() => work.restore(ids.second));
      assert.ok(warm.requests.filter(isPack).length < cold.requests.filter(isPack).length, 'a large pack is cached');
      assert.ok(warm.requests.length < cold.requests.length);
      const cached = filesBelow(cache);
      assert.ok(cached.length > 0);
      for (const file of cached) damage(file);
      await empty();
      const damaged = await proxy.counted(() => work.restore(ids.second));
      assert.equal(await sum(), right);
      assert.ok(damaged.requests.filter(isPack).length > warm.requests.filter(isPack).length, 'and is fetched again');
      for (const file of filesBelow(cache)) fs.truncateSync(file, 100);
      await empty();
      await work.restore(ids.second);
      assert.equal(await sum(), right);
    });

    it('is made and looked after by the command line', async () => {
      const config = path.join(server.dir, 'other.toml');
      fs.writeFileSync(config, fs.readFileSync(two.config, 'utf8').replace(`/${PREFIX}"`, '/another"'), {mode: 0o600});
      const repo = (...args) => atoll(two, ['repo', ...args], {config});
      assert.match(await repo('init'), /a repository is in s3:\/\/atoll\/another/);
      await assert.rejects(repo('init'), /REPOSITORY_EXISTS|already/);
      assert.match(await repo('check'), /0 snapshots.*no errors were found/);
      assert.match(await repo('stats'), /snapshots {2}0 of 0/);
      assert.equal((await repo('key')).trim().split('\n').length, 1);
    });

    // Debian's Swift knows nothing of the chunked signatures that restic uses.
    const noRestic = store.restic ? missing('restic') : `restic cannot write to ${store.name}`;
    it('is a repository of restic', {skip: noRestic}, async () => {
      const variables = await resticOf(two);
      const restic = (...args) => run('restic', ['--no-cache', ...args], {env: variables, timeout: 120_000});
      assert.match(await restic('check', '--read-data'), /no errors were found/);
      const target = path.join(server.dir, 'by-restic');
      await restic('restore', ids.second, '--target', target);
      const added = (await run('find', [target, '-name', 'added'])).trim();
      assert.equal(fs.readFileSync(added, 'utf8'), 'new\n');
      assert.equal(fs.statSync(path.join(path.dirname(added), 'large')).size, 20_000_000);
    });

    it('serves two daemons at once', async () => {
      const box = one.sandbox('both');
      const other = two.sandbox('both');
      await Promise.all([box.create(), other.create()]);
      const each = async (mine, name) => {
        const taken = [];
        for (let round = 0; round < 3; ++round) {
          await mine.sh(`head -c 500000 /dev/urandom > /workspace/${name}${round}`);
          taken.push((await mine.snapshot('/workspace', `${name}${round}`)).snapshotId);
        }
        return taken;
      };
      const pruned = atoll(one, ['repo', 'prune']);
      const [mine, theirs] = await Promise.all([each(box, 'a'), each(other, 'b'), pruned]);
      await box.restore(theirs[2]);
      assert.equal(await box.sh('ls /workspace'), 'b0\nb1\nb2\n');
      await other.restore(mine[1]);
      assert.equal(await other.sh('ls /workspace'), 'a0\na1\n');
      await assertSound(one, server, PREFIX);
    });

    it('gives room back when snapshots are removed', async () => {
      const {snapshots} = (await get(one, '/v1/snapshots?limit=1000')).json();
      const kept = (await one.sandbox('both').snapshot('/workspace', 'kept')).snapshotId;
      for (const {snapshotId} of snapshots) {
        const answer = await one.request('', {method: 'DELETE', path: `/v1/snapshots/${snapshotId}`});
        assert.equal(answer.status, 204, answer.text);
      }
      const bytes = () => bytesBelow(server);
      const full = await bytes();
      const {bytesFreed} = JSON.parse(await atoll(one, ['--json', 'repo', 'prune']));
      assert.ok(bytesFreed > 20_000_000, `${bytesFreed}`);
      assert.ok(full - await bytes() > 20_000_000);
      const keys = await keysOf(server, PREFIX);
      assert.deepEqual(keys.filter((key) => key.startsWith('archives/')), []);
      assert.equal(keys.filter((key) => key.startsWith('snapshots/')).length, 1);
      await assertSound(two, server, PREFIX);
      await two.sandbox('both').restore(kept);
      assert.equal(await two.sandbox('both').sh('ls /workspace'), 'b0\nb1\nb2\n');
      assertError(await one.request('study', {method: 'POST', path: `/restore/${ids.first}`}), 404, 'BACKUP_NOT_FOUND');
    });
  });
}

async function resticOf(daemon) {
  const env = {PATH: process.env.PATH, HOME: daemon.dir};
  for (const line of (await atoll(daemon, ['repo', 'env'])).trim().split('\n')) {
    const [, name, value] = line.match(/^export (\w+)='(.*)'$/);
    env[name] = value;
  }
  return env;
}

async function bytesBelow(server) {
  const text = await aws(server, ['s3', 'ls', '--recursive', '--summarize', `s3://${server.bucket}/${PREFIX}/`]);
  return Number(text.match(/Total Size: (\d+)/)[1]);
}

function filesBelow(dir) {
  if (!fs.existsSync(dir)) return [];
  return fs.readdirSync(dir, {recursive: true}).map((name) => path.join(dir, name))
    .filter((file) => fs.statSync(file).isFile());
}

// Every 1000th byte is another one.
function damage(file) {
  const bytes = fs.readFileSync(file);
  for (let i = 0; i < bytes.length; i += 1000) bytes[i] ^= 0xff;
  fs.writeFileSync(file, bytes);
}
