// SPDX-License-Identifier: Apache-2.0
// Buckets of a real S3 server as directories of sandboxes: what can be done with them, what never
// gets inside, and what becomes of them when sandbox, daemon or store go away.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, preparedState} from './support/daemon.mjs';
import {FaultyProxy} from './support/faulty_proxy.mjs';
import {ofProcess, processesOf} from './support/host.mjs';
import {assertError} from './support/http.mjs';
import {aws} from './support/processes.mjs';
import {atoll, missing, RGW_PROGRAMS} from './support/remote_store.mjs';
import {startRgw} from './support/rgw.mjs';
import {SmallDisk} from './support/small_disk.mjs';

const LIMIT = {timeout: 240_000};
const noCriu = fs.existsSync(path.join(preparedState, 'criu', 'criu')) ? false : "there is no CRIU: 'make criu' builds it";

/** The clients of buckets of this daemon. */
const clientsOf = (daemon) => processesOf(daemon).filter((pid) => ofProcess(pid, 'cmdline').startsWith('/usr/bin/s3fs\0'));

const LONG = process.env.ATOLL_TEST_LONG !== undefined;

describe('buckets', {skip: missing('s3fs', ...RGW_PROGRAMS)}, () => {
  let server;
  let proxy;
  let daemon;
  let box;
  const other = 'atoll-other';

  const api = (id, options) => daemon.request('', {path: `/v1/sandboxes/${id}/buckets`, ...options});
  const credentials = () => ({accessKeyId: server.accessKey, secretAccessKey: server.secretKey});
  const mount = (more, id = box.id) => api(id, {
    method: 'POST',
    json: {bucket: server.bucket, endpoint: proxy.endpoint, credentials: credentials(), ...more},
    limitMs: 60_000,
  });
  async function mounted(more, id) {
    const answer = await mount(more, id);
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  }
  const unmount = (where, id = box.id) => daemon.request('', {
    method: 'DELETE', path: `/v1/sandboxes/${id}/buckets?path=${encodeURIComponent(where)}`, limitMs: 60_000});
  async function unmounted(where, id) {
    const answer = await unmount(where, id);
    assert.equal(answer.status, 204, answer.text);
  }
  const list = async (id = box.id) => (await api(id)).json().buckets;
  async function put(key, text, bucket = server.bucket) {
    const file = path.join(daemon.dir, 'object');
    fs.writeFileSync(file, text);
    await aws(server, ['s3api', 'put-object', '--bucket', bucket, '--key', key, '--body', file]);
  }
  async function get(key) {
    const file = path.join(daemon.dir, 'fetched');
    await aws(server, ['s3api', 'get-object', '--bucket', server.bucket, '--key', key, file]);
    return fs.readFileSync(file, 'utf8');
  }

  before(async () => {
    server = await startRgw();
    proxy = await FaultyProxy.start(server.endpoint);
    daemon = await Daemon.start({
      sections: {
        buckets: {names: ['team']},
        'buckets.team': {
          endpoint: proxy.endpoint, bucket: server.bucket, access_key: server.accessKey,
          secret_key: server.secretKey,
        },
        'snapshots.auto': {interval: 'off', on_stop: false},
      },
    });
    box = daemon.sandbox('reader');
    await box.create();
    await aws(server, ['s3api', 'create-bucket', '--bucket', other]);
    await put('secret.txt', 'of the other bucket', other);
    await put('top.txt', 'at the top');
    await put('shared/data/a.txt', 'a in data');
    await put('shared/data/deep/er/b.txt', 'b far down');
    await put('shared/private.txt', 'beside the prefix');
  }, LIMIT);
  after(async () => {
    try {
      await daemon?.cleanup();
    } finally {
      await proxy?.stop();
      await server?.stop();
    }
  }, LIMIT);

  it('shows what is below a prefix, and nothing else, to whoever is inside', async () => {
    const answer = await mounted({path: '/workspace/data', prefix: '/shared/data/', readOnly: true});
    assert.deepEqual(answer, {
      bucket: server.bucket, path: '/workspace/data', endpoint: proxy.endpoint, region: 'us-east-1',
      prefix: 'shared/data', readOnly: true, mounted: true,
    });
    assert.equal(await box.sh('cat /workspace/data/a.txt'), 'a in data');
    assert.equal(await box.sh('cd /workspace/data && find . -type f | sort'), './a.txt\n./deep/er/b.txt\n');
    assert.equal(await box.sh('setpriv --reuid 1234 --clear-groups cat /workspace/data/deep/er/b.txt'), 'b far down');
    for (const way of ['../private.txt', '../../top.txt', '%2e%2e/private.txt', '..%2fprivate.txt',
                       '../../../atoll-other/secret.txt']) {
      const tried = await box.run(`cat '/workspace/data/${way}'`);
      assert.notEqual(tried.exitCode, 0, way);
    }
    assert.deepEqual(await list(), [answer]);
  });

  it('lets nobody inside change what is read-only, nor make it writable', async () => {
    for (const command of ['echo x > data/new', 'echo x >> data/a.txt', 'rm data/a.txt', 'mkdir data/dir',
                           'mv data/a.txt data/z.txt', 'chmod 600 data/a.txt', 'touch data/a.txt', 'ln -s a data/l',
                           'mount -o remount,rw data', 'umount data']) {
      const tried = await box.run(`cd /workspace && ${command}`);
      assert.notEqual(tried.exitCode, 0, command);
    }
    assert.equal(await get('shared/data/a.txt'), 'a in data');
  });

  it('shows what others put there within seconds', async () => {
    await box.run('ls /workspace/data; cat /workspace/data/late.txt');
    await put('shared/data/late.txt', 'came later');
    await eventually('the new object is seen', async () =>
      (await box.run('cat /workspace/data/late.txt')).stdout === 'came later');
  });

  it('keeps the credential outside: in no file, variable, argument or memory that is seen inside', async () => {
    const {secretKey, accessKey} = server;
    const found = await box.python(`
import json, os
needles = [bytes(x, 'ascii') for x in ('${secretKey.slice(0, 9)}', '${accessKey.slice(0, 10)}')]
needles = [n + m for n, m in zip(needles, (b'${secretKey.slice(9)}', b'${accessKey.slice(10)}'))]
places = []
me = str(os.getpid())
for top in ('/proc', '/etc', '/run', '/tmp', '/root', '/workspace', '/dev/shm', '/.atoll', '/var'):
    for base, dirs, files in os.walk(top):
        if top == '/proc':
            dirs[:] = [d for d in dirs if d not in ('sys', 'task', 'fd', 'map_files', me, 'self', 'thread-self')]
        for name in files:
            if name in ('kmsg', 'kcore', 'mem', 'pagemap', 'clear_refs'): continue
            try:
                fd = os.open(os.path.join(base, name), os.O_RDONLY | os.O_NONBLOCK)
                text = os.read(fd, 1 << 20)
                os.close(fd)
            except OSError:
                continue
            if any(n in text for n in needles): places.append(os.path.join(base, name))
names = []
for pid in os.listdir('/proc'):
    if pid.isdigit():
        try: names.append(open('/proc/' + pid + '/comm').read().strip())
        except OSError: pass
print(json.dumps({'places': places, 's3fs': 's3fs' in names, 'dev': os.path.exists('/dev/fuse')}))
`);
    assert.deepEqual(found, {places: [], s3fs: false, dev: false});
    assert.ok(!(await box.sh('cat /proc/self/mountinfo')).includes(accessKey));
    // Nor where the host's people look: the answer, the log, the events and command lines.
    const texts = [JSON.stringify(await list()), fs.readFileSync(daemon.log, 'utf8'),
      (await daemon.request('', {path: '/v1/events'})).text, spawnSync('ps', ['axww', '-o', 'args']).stdout.toString()];
    for (const text of texts) assert.ok(!text.includes(secretKey), text);
    const [client] = clientsOf(daemon);
    assert.ok(client, 'its client is in the group of its sandbox');
    const status = fs.readFileSync(`/proc/${client}/status`, 'utf8');
    assert.match(status, /^CapEff:\s+0+$/m);
    assert.match(status, /^NoNewPrivs:\s+1$/m);
    assert.doesNotMatch(status, /^Uid:.*\b0\b/m);
    assert.ok(!fs.readFileSync(`/proc/${client}/environ`, 'utf8').includes(secretKey));
  });

  it('writes: what is closed is in the store', async () => {
    await mounted({path: '/workspace/out', prefix: 'made/by agents'});
    await box.sh(`cd /workspace/out && mkdir d && printf one > d/f && printf ' two' >> d/f && printf x > gone &&
      rm gone && mv d/f d/g && head -c 30000000 /dev/zero > big`);
    assert.equal(await get('made/by agents/d/g'), 'one two');
    const keys = (await aws(server, ['s3api', 'list-objects-v2', '--bucket', server.bucket, '--prefix', 'made/',
      '--query', 'Contents[].[Key,Size]', '--output', 'text'])).trim().split('\n').map((line) => line.split('\t'));
    const sizes = Object.fromEntries(keys);
    assert.equal(sizes['made/by agents/big'], '30000000');
    assert.ok(!('made/by agents/d/f' in sizes) && !('made/by agents/gone' in sizes), JSON.stringify(sizes));
    assert.equal(await box.sh('setpriv --reuid 1234 --clear-groups sh -c "printf u > /workspace/out/u; cat /workspace/out/u"'), 'u');
    assert.notEqual((await box.run('ln /workspace/out/u /workspace/out/hard')).exitCode, 0);
    // Two sandboxes may share one.
    const second = daemon.sandbox('second');
    await second.create();
    await mounted({path: '/mnt/same', prefix: 'made/by agents', secret: 'team', credentials: undefined,
      endpoint: undefined}, 'second');
    assert.equal(await second.sh('cat /mnt/same/d/g'), 'one two');
    assert.equal((await list('second'))[0].secret, 'team');
    await second.delete();
  });

  it('takes large files in flat memory and a file system of its own', async () => {
    const client = clientsOf(daemon).find((pid) => ofProcess(pid, 'cmdline').includes('made/by agents'));
    const mib = 1200;
    const made = await box.run(`set -o pipefail; cd /workspace/out && openssl rand 1048576 > /tmp/one &&
      for i in $(seq ${mib}); do cat /tmp/one; done | tee huge | sha256sum`, {limitMs: 240_000});
    assert.deepEqual([made.exitCode, made.stderr], [0, '']);
    const sum = made.stdout.trim();
    const [object] = (await aws(server, ['s3api', 'list-objects-v2', '--bucket', server.bucket, '--prefix', 'made/by agents/huge',
      '--query', 'Contents[].Size', '--output', 'text'])).trim().split('\t');
    assert.equal(object, String(mib * 1048576));
    assert.equal((await box.run('sha256sum < /workspace/out/huge', {limitMs: 240_000})).stdout.trim(), sum);
    const status = fs.readFileSync(`/proc/${client}/status`, 'utf8');
    assert.ok(Number(/VmHWM:\s+(\d+)/.exec(status)[1]) < 200 * 1024, status);
    const spool = fs.statfsSync(`/proc/${client}/root/tmp`);
    assert.ok(spool.blocks * spool.bsize <= 4 * 2 ** 30, 'its file system is small');
    assert.deepEqual(fs.readdirSync(path.join(daemon.stateDir, 'buckets', 'spool')), []);
    await box.sh('rm /workspace/out/huge');
  });

  it('bounds what the clients of a sandbox take of the host, all together', async () => {
    const third = daemon.sandbox('third');
    await third.create();
    const before = new Set(clientsOf(daemon));
    await mounted({path: '/mnt/a', prefix: 'shared'}, 'third');
    await mounted({path: '/mnt/b', prefix: 'made/by agents'}, 'third');
    const clients = clientsOf(daemon).filter((pid) => !before.has(pid));
    assert.equal(clients.length, 2);
    const groups = clients.map((pid) => fs.readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n')
      .map((line) => line.split(':')).filter(([, controllers]) => /^(|.*,)(memory|pids)(,.*|)$|^$/.test(controllers ?? '-')));
    let limits = 0;
    for (const [, controllers, group] of groups.flat()) {
      if (!group.endsWith('/clients')) continue;  // the unified hierarchy of a hybrid host
      const dir = path.join('/sys/fs/cgroup', controllers, group);
      for (const [file, most] of [['memory.max', 2 ** 30], ['memory.limit_in_bytes', 2 ** 30], ['pids.max', 512]]) {
        if (!fs.existsSync(path.join(dir, file))) continue;
        assert.equal(Number(fs.readFileSync(path.join(dir, file), 'utf8')), most);
        ++limits;
      }
    }
    assert.equal(limits, 4, 'memory and processes of both');
    const spools = clients.map((pid) => fs.statSync(`/proc/${pid}/root/tmp`).dev);
    assert.equal(spools[0], spools[1], 'one file system for content on its way');
    assert.notEqual(spools[0], fs.statSync(`/proc/${[...before][0]}/root/tmp`).dev, 'and not another sandbox\'s');
    // It goes on when the one that came first has gone.
    await unmounted('/mnt/a', 'third');
    await third.sh('echo more > /mnt/b/more');
    assert.equal(await get('made/by agents/more'), 'more\n');
    await mounted({path: '/mnt/a', prefix: 'shared'}, 'third');
    await third.delete();
  });

  it('leaves half of a disk alone, and says when nothing more fits', async () => {
    const disk = await SmallDisk.start({size: '1200M', sections: {'snapshots.auto': {interval: 'off', on_stop: false}}});
    try {
      const ask = (id, options) => disk.daemon.request('', {path: `/v1/sandboxes/${id}/buckets`, limitMs: 60_000, ...options});
      const json = {path: '/mnt/b', bucket: server.bucket, endpoint: proxy.endpoint, prefix: 'shared', credentials: credentials()};
      for (const id of ['one', 'two', 'three']) await disk.daemon.sandbox(id).create();
      for (const id of ['one', 'two']) assert.equal((await ask(id, {method: 'POST', json})).status, 200);
      assertError(await ask('three', {method: 'POST', json}), 503, 'NO_SPACE');
      // A file for which there is no room is an error, and the next one is written.
      const one = disk.daemon.sandbox('one');
      const large = await one.run('head -c 300M /dev/zero > /mnt/b/large', {limitMs: 120_000});
      assert.notEqual(large.exitCode, 0, 'it does not fit');
      assert.equal(await one.sh('echo fits > /mnt/b/small && cat /mnt/b/small'), 'fits\n');
      assert.equal((await disk.daemon.request('', {method: 'DELETE', path: '/v1/sandboxes/two/buckets?path=/mnt/b', limitMs: 60_000})).status, 204);
      assert.equal((await ask('three', {method: 'POST', json})).status, 200);
    } finally {
      await disk.stop();
    }
  });

  // The client asks several times, and waits each time.
  it('answers a program whose store hangs with an error', {skip: LONG ? false : 'takes minutes: make soak'}, async () => {
    await mounted({path: '/workspace/hangs', prefix: 'shared'});
    proxy.set(() => ({stall: true}));
    try {
      const tried = await box.run('cat /workspace/hangs/data/deep/er/b.txt', {limitMs: 200_000});
      assert.match(tried.stderr, /Input\/output error|No such file/);
      assert.notEqual(tried.exitCode, 0);
    } finally {
      proxy.set(null);
    }
    assert.equal(await box.sh('sleep 11; cat /workspace/hangs/data/deep/er/b.txt'), 'b far down');
    // Whoever stands in it does not keep it.
    await box.run('cd /workspace/hangs && (sleep 300 < private.txt > /dev/null 2>&1 &)');
    await unmounted('/workspace/hangs');
    assert.equal(await box.sh('ls /workspace/hangs'), '');
  });

  it('lets go of a sandbox whose store hangs', async () => {
    const stuck = daemon.sandbox('stuck');
    await stuck.create({opencode: false});
    await mounted({path: '/workspace/stuck', prefix: 'shared'}, 'stuck');
    const before = clientsOf(daemon).length;
    proxy.set(() => ({stall: true}));
    try {
      await stuck.background('exec cat /workspace/stuck/private.txt');
      await eventually('the store is asked', () => proxy.spoiled > 0);
      // Its client would wait for longer.
      const gone = await daemon.request('', {method: 'DELETE', path: '/v1/sandboxes/stuck', limitMs: 20_000});
      assert.equal(gone.status, 204, gone.text);
      assert.equal(clientsOf(daemon).length, before - 1);
    } finally {
      proxy.set(null);
    }
  });

  it('refuses what makes no sense or is not there', async () => {
    const bad = [
      [{path: '/workspace/x', bucket: '../other'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/x', bucket: 'a,ro'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/x', bucket: '-o'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/x', prefix: 'a/../b'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/x', prefix: 'a,passwd_file=x'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/x', endpoint: 'http://h/path'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/x', endpoint: 'http://h,ro'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/x', region: 'a,b'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/x', s3fsOptions: ['x']}, 400, 'VALIDATION_FAILED'],
      [{path: '/'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/proc/x'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/.atoll'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/a/../../etc'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/x', credentials: undefined}, 400, 'MISSING_CREDENTIALS'],
      [{path: '/workspace/x', credentials: undefined, secret: 'nobody'}, 400, 'MISSING_CREDENTIALS'],
      [{path: '/workspace/x', credentials: undefined, endpoint: undefined, secret: 'team', bucket: other}, 400,
        'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/x', credentials: undefined, endpoint: 'http://127.0.0.1:1', secret: 'team'}, 400,
        'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/data'}, 409, 'RESOURCE_BUSY'],
      [{path: '/workspace/data/deeper'}, 409, 'RESOURCE_BUSY'],
      [{path: '/workspace/out/deeper'}, 409, 'RESOURCE_BUSY'],
      [{path: '/workspace/full'}, 409, 'RESOURCE_BUSY'],
      [{path: '/workspace/link'}, 400, 'INVALID_MOUNT_CONFIG'],
      [{path: '/workspace/x', bucket: 'no-such-bucket'}, 500, 'BUCKET_MOUNT_ERROR'],
      [{path: '/workspace/x', credentials: {accessKeyId: 'wrong', secretAccessKey: 'wrong'}}, 500,
        'BUCKET_MOUNT_ERROR'],
      [{path: '/workspace/x', endpoint: 'http://127.0.0.1:1'}, 500, 'BUCKET_MOUNT_ERROR'],
    ];
    await box.sh('mkdir -p /workspace/full /workspace/empty; touch /workspace/full/f; ln -s /etc /workspace/link');
    for (const [more, status, code] of bad) assertError(await mount(more), status, code);
    assertError(await unmount('/workspace/nothing'), 404, 'BUCKET_NOT_MOUNTED');
    assertError(await mount({path: '/workspace/x'}, 'nobody'), 404, 'SANDBOX_NOT_FOUND');
    assert.equal((await list()).length, 2);
    assert.equal(clientsOf(daemon).length, 2);
  });

  it('is left out of snapshots, and forks have none', async () => {
    await box.sh('echo own > /workspace/own');
    const taken = await box.post('/snapshot', {dir: '/workspace'}, {limitMs: 120_000});
    assert.equal(taken.status, 200, taken.text);
    await box.sh('echo changed > /workspace/own');
    const back = await box.post(`/restore/${taken.json().snapshotId}`, {}, {limitMs: 120_000});
    assert.equal(back.status, 200, back.text);
    assert.equal(await box.sh('cat /workspace/own'), 'own\n');
    assert.equal(await box.sh('cat /workspace/data/a.txt'), 'a in data', 'a restore leaves it where it is');
    const copy = daemon.sandbox('copy');
    await copy.create();
    const there = await copy.post(`/restore/${taken.json().snapshotId}`, {anySandbox: true}, {limitMs: 120_000});
    if (there.status === 200) assert.equal(await copy.sh('ls /workspace/data 2>/dev/null || true'), '');
    await copy.delete();
    const forked = await box.post('/fork', {id: 'forked', opencode: false}, {limitMs: 120_000});
    assert.equal(forked.status, 200, forked.text);
    const fork = daemon.sandbox('forked');
    assert.equal(await fork.sh('ls /workspace/data'), '');
    assert.deepEqual(await list('forked'), []);
    await fork.delete();
  });

  it('is there again after stop and start, sleep and wake, and another daemon', async () => {
    const stopped = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/reader/stop', json: {}, limitMs: 60_000});
    assert.equal(stopped.status, 200, stopped.text);
    assert.deepEqual(clientsOf(daemon), []);
    assert.deepEqual((await list()).map((one) => one.mounted), [false, false]);
    assert.equal(await box.sh('cat /workspace/data/a.txt /workspace/out/d/g'), 'a in dataone two');
    const asleep = await daemon.request('', {
      method: 'POST', path: '/v1/sandboxes/reader/sleep', json: {force: true}, limitMs: 60_000});
    assert.equal(asleep.status, 200, asleep.text);
    assert.equal(await box.sh('cat /workspace/data/a.txt'), 'a in data');
    const before = clientsOf(daemon);
    await daemon.kill9();
    await daemon.launch();
    assert.equal(await box.sh('cat /workspace/data/a.txt /workspace/out/d/g'), 'a in dataone two');
    assert.deepEqual(clientsOf(daemon), before, 'clients outlive the daemon');
    assert.deepEqual((await list()).map((one) => one.mounted), [true, true]);
  });

  describe('beside kept memory', {skip: noCriu}, () => {
    const stop = async () => {
      const answer = await daemon.request('', {
        method: 'POST', path: '/v1/sandboxes/reader/stop', json: {keepMemory: true}, limitMs: 120_000});
      assert.equal(answer.status, 200, answer.text);
      return answer.json();
    };
    const run = async (command) => {
      const answer = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/reader/processes', json: {command}});
      assert.equal(answer.status, 200, answer.text);
    };
    const runs = async (what) => (await box.run(`pgrep -f '${what}'`)).exitCode === 0;

    it('is there again for programs that go on', async () => {
      await run('echo $$ > /tmp/pid; i=0; while :; do i=$((i+1)); echo $i > /dev/shm/n; sleep 0.02; done');
      await eventually('it counts', async () => Number(await box.sh('cat /dev/shm/n || echo 0')) > 5);
      const pid = await box.sh('cat /tmp/pid');
      const stopped = await stop();
      assert.equal(stopped.memoryKept, true, JSON.stringify(stopped));
      assert.deepEqual(clientsOf(daemon), []);
      assert.equal(await box.sh('cat /workspace/data/a.txt /workspace/out/d/g'), 'a in dataone two');
      assert.equal(await box.sh('kill -0 $(cat /tmp/pid); cat /tmp/pid'), pid, 'it goes on');
      assert.deepEqual((await list()).map((one) => one.mounted), [true, true]);
      await box.sh('kill $(cat /tmp/pid)');
    });

    for (const [how, command] of [
      ['has a file in it open', 'exec sleep 76541 < /workspace/data/a.txt'],
      ['stands in it', 'cd /workspace/data/deep; exec sleep 76541'],
      ['writes to it', 'exec sleep 76541 > /workspace/out/being-written'],
    ]) {
      it(`stops without memory when a program ${how}, and says why`, async () => {
        await run(command);
        // Itself, not the shell that is about to become it.
        await eventually('it runs', () => runs('^sleep 7654[1]'));
        const stopped = await stop();
        assert.equal(stopped.memoryKept, false, JSON.stringify(stopped));
        assert.match(JSON.stringify(stopped), /bucket/);
        assert.deepEqual(clientsOf(daemon), []);
        assert.equal(await box.sh('cat /workspace/data/a.txt'), 'a in data');
        assert.equal(await runs('^sleep 7654[1]'), false);
      });
    }

    it('is forked with its files alone', async () => {
      const answer = await box.post('/fork', {id: 'copied', memory: true, opencode: false}, {limitMs: 120_000});
      assertError(answer, 409, 'FORK_MEMORY_FAILED');
      assert.match(answer.text, /bucket/);
      assert.equal(await box.sh('cat /workspace/data/a.txt'), 'a in data');
      assert.deepEqual((await daemon.list()).map((one) => one.id), ['reader']);
    });
  });

  it('says so when its client has died, until it is mounted again', async () => {
    const victim = clientsOf(daemon).find((pid) => fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('shared/data'));
    process.kill(Number(victim), 'SIGKILL');
    await eventually('it is noticed', async () => (await list()).some((one) => !one.mounted && one.failure));
    assert.notEqual((await box.run('ls /workspace/data')).exitCode, 0);
    await mounted({path: '/workspace/data', prefix: 'shared/data', readOnly: true});
    assert.equal(await box.sh('cat /workspace/data/a.txt'), 'a in data');
  });

  it('is taken out again, whatever the programs inside do to the way there', async () => {
    await mounted({path: '/workspace/way/there', prefix: 'shared/data'});
    await box.sh('cd /workspace && mv way elsewhere && ln -s /proc way');
    await unmounted('/workspace/way/there');
    assert.equal(await box.sh('ls /workspace/elsewhere/there'), '');
    assert.ok((await box.sh('grep -c . /proc/self/mountinfo')) > 5);
    await unmounted('/workspace/out');
    assert.equal(await box.sh('ls /workspace/out'), '');
    assert.deepEqual((await list()).map((one) => one.path), ['/workspace/data']);
    assert.equal(await get('made/by agents/d/g'), 'one two');
  });

  it('is mounted and unmounted by the bridge', async () => {
    const bridge = (route, json) => daemon.request('', {
      method: 'POST', path: `/v1/sandbox/reader/${route}`, json, limitMs: 60_000});
    const options = {endpoint: proxy.endpoint, credentials: credentials(), prefix: '/shared/data', readOnly: true};
    const done = await bridge('mount', {bucket: server.bucket, mountPath: '/workspace/bridged', options});
    assert.deepEqual([done.status, done.json()], [200, {ok: true}]);
    assert.equal(await box.sh('cat /workspace/bridged/a.txt'), 'a in data');
    const wrong = await bridge('mount', {bucket: 'no-such-bucket', mountPath: '/workspace/y', options});
    assert.deepEqual([wrong.status, wrong.json().code], [502, 'mount_error']);
    const bad = await bridge('mount', {bucket: server.bucket, mountPath: '/proc', options});
    assert.deepEqual([bad.status, bad.json().code], [400, 'invalid_request']);
    const gone = await bridge('unmount', {mountPath: '/workspace/bridged'});
    assert.deepEqual([gone.status, gone.json()], [200, {ok: true}]);
    const again = await bridge('unmount', {mountPath: '/workspace/bridged'});
    assert.deepEqual([again.status, again.json().code], [502, 'unmount_error']);
  });

  it('is mounted, listed and unmounted by the command line, whose arguments hold no key', async () => {
    const env = {...daemon.env, AWS_ACCESS_KEY_ID: server.accessKey, AWS_SECRET_ACCESS_KEY: server.secretKey};
    const atoll = (...args) => daemon.cliWith({env}, '--config', daemon.config, 'bucket', ...args);
    const where = '/workspace/by hand & so';
    // This process stands still meanwhile, and the proxy with it.
    const made = atoll('mount', 'reader', server.bucket, where, '--endpoint', server.endpoint, '--prefix', 'shared/data', '--read-only');
    assert.deepEqual([made.status, made.stderr], [0, '']);
    assert.equal(await box.sh(`cat '${where}/a.txt'`), 'a in data');
    assert.match(atoll('ls', 'reader').stdout, /^\/workspace\/by hand & so +\S+\/shared\/data +ro mounted *$/m);
    const told = JSON.parse(atoll('ls', 'reader', '--json').stdout).buckets.find((one) => one.path === where);
    assert.equal(told.readOnly, true);
    assert.equal(atoll('unmount', 'reader', where).status, 0);
    const again = atoll('unmount', 'reader', where);
    assert.equal(again.status, 1);
    assert.match(again.stderr, /no bucket is mounted at \/workspace\/by hand & so/);
    assert.match(atoll('mount', 'reader', server.bucket, '/proc').stderr, /\/proc/);
  });

  it('fails inside when the store is gone, and holds nobody up who stops or deletes', async () => {
    await proxy.stop();
    const tried = await box.run('cat /workspace/data/deep/er/b.txt');
    assert.notEqual(tried.exitCode, 0);
    const stopped = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/reader/stop', json: {}, limitMs: 60_000});
    assert.equal(stopped.status, 200, stopped.text);
    // It starts all the same, and nobody takes an empty directory for the bucket.
    assert.equal(await box.sh('echo up'), 'up\n');
    assert.notEqual((await box.run('ls /workspace/data')).exitCode, 0);
    assert.deepEqual((await list()).map((one) => one.mounted), [false]);
    const iid = fs.readdirSync(path.join(daemon.stateDir, 'buckets')).filter((name) => name !== 'spool');
    assert.equal(iid.length, 1);
    assert.equal(fs.statSync(path.join(daemon.stateDir, 'buckets', iid[0])).mode & 0o777, 0o600);
    assert.equal((await box.delete()).status, 204);
    assert.deepEqual(fs.readdirSync(path.join(daemon.stateDir, 'buckets')), ['spool']);
    assert.deepEqual(clientsOf(daemon), []);
    const leaks = JSON.parse(await atoll(daemon, ['doctor', '--leaks', '--json']));
    assert.deepEqual(leaks.leaks, [], JSON.stringify(leaks));
  });

  it('is known as a leak where the database knows no such sandbox', async () => {
    const lost = daemon.sandbox('forgotten');
    await lost.create({opencode: false});
    await mounted({path: '/workspace/lost', prefix: 'shared', endpoint: server.endpoint}, 'forgotten');
    const [client] = clientsOf(daemon);
    const [iid] = fs.readdirSync(path.join(daemon.stateDir, 'buckets')).filter((name) => name !== 'spool');
    await daemon.kill9();
    assert.deepEqual(clientsOf(daemon), [client]);
    const forget = spawnSync('python3', ['-c', `import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("DELETE FROM sandboxes WHERE id = 'forgotten'")
db.commit()`, path.join(daemon.stateDir, 'atoll.db')]);
    assert.equal(forget.status, 0, forget.stderr.toString());
    const look = () => JSON.parse(daemon.cli('doctor', '--leaks', '--json', '--config', daemon.config).stdout).leaks;
    const what = look().map((leak) => leak.what);
    for (const one of [`${client}`, path.join(daemon.stateDir, 'buckets', iid)]) assert.ok(what.includes(one), `${one}: ${what}`);
    const fixed = daemon.cli('doctor', '--leaks', '--fix', '--config', daemon.config);
    assert.equal(fixed.status, 0, fixed.stdout + fixed.stderr);
    assert.deepEqual(clientsOf(daemon), []);
    assert.deepEqual(look().filter((leak) => leak.kind !== 'lost'), []);
    assert.deepEqual(fs.readdirSync(path.join(daemon.stateDir, 'buckets')), ['spool']);
    await daemon.launch();
  });
});
