// SPDX-License-Identifier: Apache-2.0
// Stores that fail, lie, stand still or refuse: a snapshot is whole or an error, a sandbox's content is the old or the
// new, and the repository stays sound. Ceph RGW behind a proxy that misbehaves on request.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {FaultyProxy} from './support/faulty_proxy.mjs';
import {assertError} from './support/http.mjs';
import {freePorts, run} from './support/processes.mjs';
import {assertNoUploads, assertSound, keysOf, missing, onStore, RGW_PROGRAMS} from './support/remote_store.mjs';
import {startRgw} from './support/rgw.mjs';

const SERVERS_LIMIT = {timeout: 240_000};
const PREFIX = 'faults';

const isPut = (kind) => ({method, path}) => ['PUT', 'POST'].includes(method) && path.includes(`/${kind}/`);
const isGet = (kind) => ({method, path}) => method === 'GET' && path.includes(`/${kind}/`);
const firstTimes = (times, match, fault) => (request) => (request.count <= times && match(request) ? fault : null);
const once = (match, fault) => {
  let done = false;
  return (request) => {
    if (done || !match(request)) return null;
    done = true;
    return fault;
  };
};
const always = (match, fault) => firstTimes(Infinity, match, fault);

describe('snapshots on a store that fails', {skip: missing(...RGW_PROGRAMS, 'openssl')}, () => {
  let server;
  let proxy;
  let daemon;
  let direct;  // a configuration that leaves out the proxy
  let box;
  let good;    // a snapshot of what the sandbox holds

  before(async () => {
    server = await startRgw();
    proxy = await FaultyProxy.start(server.endpoint);
    daemon = await Daemon.start({sections: onStore({...server, endpoint: proxy.endpoint}, PREFIX)});
    direct = path.join(daemon.dir, 'direct.toml');
    const text = fs.readFileSync(daemon.config, 'utf8').replace(proxy.endpoint, server.endpoint);
    fs.writeFileSync(direct, text, {mode: 0o600});
    box = daemon.sandbox('faulty');
    await box.create();
    await box.sh('cd /workspace && head -c 3000000 /dev/urandom > large && mkdir d && for i in $(seq 50); do echo $i > d/$i; done');
    good = (await box.snapshot('/workspace')).snapshotId;
  }, SERVERS_LIMIT);
  after(async () => {
    await daemon?.cleanup();
    await proxy?.stop();
    await server?.stop();
  }, SERVERS_LIMIT);

  const content = () => box.sh('cd /workspace && find . | sort && find . -type f | sort | xargs sha256sum');
  const change = (bytes = 300_000) => box.sh(`head -c ${bytes} /dev/urandom > /workspace/changed`);
  const v1 = (id, rest, method, json) =>
    daemon.request('', {method, path: `/v1/sandboxes/${id}${rest}`, ...(json && {json}), limitMs: 110_000});
  const stateOf = async (id) => (await daemon.list()).find((one) => one.id === id)?.state;

  it('a store that stands still while one that nobody uses is saved: whoever wants it does not wait', async () => {
    const idle = daemon.sandbox('idle');
    await idle.create({opencode: false, sleepAfter: 1, stopAfter: 1});
    await idle.sh('echo mine > /workspace/file');
    proxy.set(always(isPut('data'), {stall: true}));
    try {
      await eventually('it stops', async () => await stateOf('idle') === 'stopping');
      const answer = await idle.run('cat /workspace/file');
      assert.equal(answer.stdout, 'mine\n');
      assert.doesNotMatch(answer.headers['server-timing'] ?? '', /start/, 'it has not been stopped and started');
      assert.equal(await stateOf('idle'), 'running');
    } finally {
      proxy.set(null);
    }
    await eventually('it is saved and stopped later', async () => await stateOf('idle') === 'stopped');
    assert.equal(await idle.sh('cat /workspace/file'), 'mine\n');
    await idle.delete();
  });

  it('a store that stands still while files come back: deleting does not wait', async () => {
    const back = daemon.sandbox('back');
    const layers = () => fs.readdirSync(path.join(daemon.stateDir, 'sandboxes'));
    const others = layers();
    await back.create({opencode: false});
    const [own] = layers().filter((name) => !others.includes(name));
    await back.sh('head -c 2000000 /dev/urandom > /workspace/file');
    assert.equal((await v1('back', '/stop', 'POST', {})).status, 200);
    fs.rmSync(path.join(daemon.stateDir, 'sandboxes', own), {recursive: true});
    proxy.set(always(isGet('data'), {stall: true}));
    try {
      const waits = back.run('true', {limitMs: 110_000}).catch((error) => error);
      await eventually('it starts', async () => await stateOf('back') === 'running');
      // Less than what the store is given.
      const deleted = await daemon.request('back', {method: 'DELETE', path: '/', limitMs: 25_000});
      assert.equal(deleted.status, 204, deleted.text);
      await waits;
    } finally {
      proxy.set(null);
    }
  });
  const sound = () => assertSound(daemon, server, PREFIX, {config: direct});
  const list = async () => {
    const answer = await daemon.request('', {path: '/v1/snapshots?sandbox=faulty&limit=1000'});
    assert.equal(answer.status, 200, answer.text);
    return answer.json().snapshots.map((one) => one.snapshotId);
  };

  async function keeps(fault) {
    await change();
    const now = await content();
    const {snapshotId} = await proxy.during(fault, () => box.snapshot('/workspace'));
    await box.sh('rm -rf /workspace/*');
    await forgetCache();
    await box.restore(snapshotId);
    assert.equal(await content(), now);
  }

  async function refusesToKeep(fault, status, code) {
    await change();
    const before = await list();
    const answer = await proxy.during(fault, () => box.post('/snapshot', {dir: '/workspace'}, {limitMs: 120_000}));
    const error = assertError(answer, status, code);
    assert.ok(!error.message.includes(server.secretKey), 'no secret is told');
    assert.deepEqual(await list(), before, 'no snapshot is half there');
    return error.message;
  }

  const forgetCache = () => fs.rmSync(path.join(daemon.stateDir, 'cache'), {recursive: true, force: true});

  async function restores(fault) {
    await box.restore(good);
    const right = await content();
    await box.sh('cd /workspace && rm -rf large d && echo other > d');
    await forgetCache();
    await proxy.during(fault, () => box.restore(good));
    assert.equal(await content(), right);
  }

  async function refusesToRestore(fault) {
    await box.sh('cd /workspace && rm -rf large d && echo other > d');
    const right = await content();
    await forgetCache();
    const answer = await proxy.during(fault, () => daemon.request('faulty', {
      method: 'POST', path: `/restore/${good}`, limitMs: 120_000}));
    assert.ok(answer.status >= 500, `${answer.status} ${answer.text}`);
    const {code} = assertError(answer, answer.status);
    assert.equal(await content(), right, 'what was there is there');
    assert.equal(await box.sh('ls -A /workspace | grep atoll || true'), '', 'nothing else is left');
    return code;
  }

  it('tries again after bursts of 503', async () => {
    await keeps(firstTimes(2, () => true, {status: 503, code: 'SlowDown'}));
    await restores(firstTimes(2, () => true, {status: 503, code: 'SlowDown'}));
    await sound();
  });

  it('tries again when connections are cut', async () => {
    await keeps(firstTimes(1, () => true, {reset: true}));
    await keeps(firstTimes(2, isPut('data'), {resetUploadAfter: 100_000}));
    await restores(firstTimes(2, isGet('data'), {resetAfter: 5000}));
    await sound();
  });

  it('counts what the store has, not what it says', async () => {
    const before = (await list()).length;
    await keeps(firstTimes(1, ({method}) => method === 'PUT', {loseAnswer: true}));
    assert.equal((await list()).length, before + 1);
    await sound();
  });

  it('gives up a store that does not recover, and keeps the content', async () => {
    await refusesToKeep(always(isPut('data'), {status: 503, code: 'ServiceUnavailable'}), 503, 'STORE_UNAVAILABLE');
    await refusesToKeep(always(isPut('snapshots'), {status: 500}), 503, 'STORE_UNAVAILABLE');
    await refusesToKeep(always(isPut('index'), {reset: true}), 503, 'STORE_UNAVAILABLE');
    await sound();
    assert.equal(await refusesToRestore(always(isGet('data'), {status: 503})), 'STORE_UNAVAILABLE');
    assert.equal(await refusesToRestore(always(isGet('data'), {resetAfter: 5000})), 'STORE_UNAVAILABLE');
    await box.restore(good);
  });

  it('says that the store is full', async () => {
    const full = {status: 507, code: 'InsufficientStorage'};
    assert.match(await refusesToKeep(always(isPut('data'), full), 503, 'NO_SPACE'), /507 InsufficientStorage/);
    await refusesToKeep(always(isPut('data'), {status: 403, code: 'QuotaExceeded'}), 503, 'NO_SPACE');
    await refusesToKeep(always(isPut('locks'), {status: 507, code: ''}), 503, 'NO_SPACE');
    await sound();
  });

  it('believes no body that is cut short or another one', async () => {
    await refusesToRestore(always(isGet('data'), {truncateTo: 5000}));
    await refusesToRestore(always(isGet('data'), {flipAt: 2000}));
    await sound();
  });

  it('goes on after an answer that does not come or stands still', async () => {
    await keeps(once(isPut('data'), {stall: true}));
    await restores(once(isGet('data'), {stallAfter: 1000}));
    await sound();
  });

  it('says that keys have expired, or that clocks differ', async () => {
    const expired = {status: 400, code: 'ExpiredToken'};
    assert.match(await refusesToKeep(always(() => true, expired), 403, 'STORE_ACCESS_DENIED'), /ExpiredToken/);
    const skewed = {status: 403, code: 'RequestTimeTooSkewed', headers: {Date: 'Mon, 01 Jan 2001 00:00:00 GMT'}};
    assert.match(await refusesToKeep(always(() => true, skewed), 409, 'STORE_CLOCK_SKEW'), /clock/);
  });

  it('hands out no archive that is not whole, and leaves no upload', async () => {
    const big = daemon.sandbox('big');
    await big.create();
    await big.sh('head -c 40000000 /dev/urandom > /workspace/large');
    const {snapshotId} = await big.snapshot('/workspace');
    const url = `/v1/snapshots/${snapshotId}/archive?presign=1`;
    const fault = always(({method, path, query}) => method === 'PUT' && path.includes('/archives/') &&
      /partNumber=2/.test(query), {status: 503});
    const answer = await proxy.during(fault, () => daemon.request('', {path: url, limitMs: 120_000}));
    assertError(answer, 503, 'STORE_UNAVAILABLE');
    await assertNoUploads(server);
    assert.deepEqual((await keysOf(server, PREFIX)).filter((key) => key.startsWith('archives/')), []);
    const again = await daemon.request('', {path: url, limitMs: 120_000});
    assert.equal(again.status, 200, again.text);
    const file = path.join(server.dir, 'archive.tar.zst');
    await run('curl', ['-sf', '-o', file, again.json().url]);
    assert.match(await run('tar', ['--zstd', '-tvf', file]), /40000000 .*large/);
  });

  it('keeps its cache within bounds', async () => {
    const small = await Daemon.start({
      sections: onStore({...server, endpoint: proxy.endpoint}, 'cached', {cache: '40M'})});
    try {
      const one = small.sandbox('one');
      await one.create();
      const taken = [];
      for (let i = 0; i < 5; ++i) {
        await one.sh(`rm -rf /workspace/* && head -c 12000000 /dev/urandom > /workspace/${i}`);
        taken.push((await one.snapshot('/workspace')).snapshotId);
      }
      for (const id of [...taken, ...taken.toReversed()]) {
        await one.sh('rm -rf /workspace/*');
        await one.restore(id);
        const cached = await run('du', ['-sb', '--apparent-size', path.join(small.stateDir, 'cache')]);
        assert.ok(Number.parseInt(cached) < (40 << 20) + 100_000, cached);
      }
      assert.equal(await one.sh('ls /workspace'), '0\n');
      await one.sh('rm -rf /workspace/*');
      const {requests} = await proxy.counted(() => one.restore(taken[0]));
      assert.equal(requests.filter(isGet('data')).length, 0, 'the latest is still cached');
    } finally {
      await small.cleanup();
    }
  });

  describe('that is misconfigured or not there', () => {
    const begin = async (one) => {
      await one.create({snapshots: {onStart: false}});
      await one.sh('echo precious > /workspace/file');
    };
    const take = (one) => one.post('/snapshot', {dir: '/workspace'}, {limitMs: 120_000});
    const stop = async (bad, id) => {
      const answer = await bad.request('', {method: 'POST', path: `/v1/sandboxes/${id}/stop`, limitMs: 120_000});
      assert.equal(answer.status, 200, answer.text);
      return answer.json();
    };
    const infoOf = async (bad, id) => (await bad.list()).find((one) => one.id === id);

    it('wrong keys: says so, keeps the layer, and saves it when they are right', async () => {
      const wrong = 'not-the-secret-key-at-all';
      const bad = await Daemon.start({sections: onStore(server, 'keys', {secret_key: wrong})});
      try {
        const one = bad.sandbox('one');
        await begin(one);
        const error = assertError(await take(one), 403, 'STORE_ACCESS_DENIED');
        assert.ok(!error.message.includes(wrong));
        const stopped = await stop(bad, 'one');
        assert.equal(stopped.saved, false);
        assert.match(stopped.saveFailure, /403|denied|Signature/i);
        assert.equal((await infoOf(bad, 'one')).unsaved, true);
        assert.ok(!bad.logTail(1000).includes(wrong), 'the log has no secret');
        await bad.stop();
        fs.writeFileSync(bad.config, fs.readFileSync(bad.config, 'utf8').replace(wrong, server.secretKey));
        await bad.launch();
        assert.equal(await one.sh('cat /workspace/file'), 'precious\n');
        const saved = await stop(bad, 'one');
        assert.equal(saved.saved, true, JSON.stringify(saved));
        assert.ok(saved.snapshots.length > 0);
        assert.notEqual((await infoOf(bad, 'one')).unsaved, true);
      } finally {
        await bad.cleanup();
      }
    });

    it('no such bucket: says so', async () => {
      const bad = await Daemon.start({sections: onStore({...server, bucket: 'no-such-bucket'}, 'x')});
      try {
        const one = bad.sandbox('one');
        await begin(one);
        const error = assertError(await take(one), 404, 'STORE_BUCKET_NOT_FOUND');
        assert.match(error.message, /no-such-bucket/);
      } finally {
        await bad.cleanup();
      }
    });

    it('down when the daemon starts: works when it is up', async () => {
      const [port] = await freePorts(1);
      const late = new FaultyProxy(server.endpoint);
      const bad = await Daemon.start({sections: onStore({...server, endpoint: `http://127.0.0.1:${port}`}, 'late')});
      try {
        const one = bad.sandbox('one');
        const other = bad.sandbox('other');
        assertError(await other.post('/create', {opencode: false}, {limitMs: 120_000}), 503, 'STORE_UNAVAILABLE');
        await begin(one);
        assertError(await take(one), 503, 'STORE_UNAVAILABLE');
        await late.listen(port);
        const answer = await eventually('the store is used', async () => {
          const taken = await take(one);
          return taken.status === 200 ? taken : null;
        });
        assert.match(answer.json().snapshotId, /^[0-9a-f]{64}$/);
        await other.create();
        await late.stop();
        assertError(await take(one), 503, 'STORE_UNAVAILABLE');
      } finally {
        await bad.cleanup();
        await late.stop().catch(() => {});
      }
    });

    it('a certificate of its own: only by whom the configuration trusts', async () => {
      const make = (name) => run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
        '-nodes', '-keyout', `${name}.key`, '-out', `${name}.pem`, '-days', '2', '-subj', `/CN=${name}`,
        '-addext', 'subjectAltName=IP:127.0.0.1'], {cwd: server.dir});
      await Promise.all([make('right'), make('wrong')]);
      const file = (name) => path.join(server.dir, name);
      const tls = await FaultyProxy.start(server.endpoint, {tls: {key: file('right.key'), cert: file('right.pem')}});
      const sections = (ca_file) => onStore({...server, endpoint: tls.endpoint}, 'tls', ca_file ? {ca_file} : {});
      const trusting = await Daemon.start({sections: sections(file('right.pem'))});
      const wary = await Daemon.start({sections: sections(file('wrong.pem'))});
      const system = await Daemon.start({sections: sections()});
      try {
        const one = trusting.sandbox('one');
        await begin(one);
        const {snapshotId} = await one.snapshot('/workspace');
        await one.sh('rm /workspace/file');
        await one.restore(snapshotId);
        assert.equal(await one.sh('cat /workspace/file'), 'precious\n');
        for (const bad of [wary, system]) {
          await begin(bad.sandbox('one'));
          assertError(await take(bad.sandbox('one')), 503, 'STORE_TLS_UNTRUSTED');
        }
      } finally {
        for (const each of [trusting, wary, system]) await each.cleanup();
        await tls.stop();
      }
    });
  });
});
