// SPDX-License-Identifier: Apache-2.0
// What is saved and put back without anybody asking.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {assertError} from './support/http.mjs';
import {assertSound} from './support/restic.mjs';
import {SmallStore} from './support/stores.mjs';
import {finalText, StubModel} from './support/stub_model.mjs';

const v1 = (daemon, id, what, json) =>
  daemon.request('', {method: 'POST', path: `/v1/sandboxes/${id}/${what}`, json, limitMs: 200_000});
const infoOf = async (daemon, id) => (await daemon.list()).find((one) => one.id === id);
const listed = async (daemon, id, query = '') => {
  const answer = await daemon.request('', {path: `/v1/sandboxes/${id}/snapshots?limit=1000${query}`});
  assert.equal(answer.status, 200, answer.text);
  return answer.json().snapshots;
};

async function stop(daemon, id) {
  const answer = await v1(daemon, id, 'stop');
  assert.equal(answer.status, 200, answer.text);
  assert.equal((await infoOf(daemon, id)).state, 'stopped');
  return answer.json();
}

/** Where writable layers lie: of the only sandbox, or of all. */
const layers = (daemon) => {
  const dir = path.join(daemon.stateDir, 'sandboxes');
  return fs.readdirSync(dir).map((name) => path.join(dir, name));
};
const loseLayers = (daemon) => {
  for (const layer of layers(daemon)) fs.rmSync(layer, {recursive: true});
};

describe('a stop', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('saved');
    await box.create();
  });
  after(() => daemon?.cleanup());

  it('saves what is worth it, frozen, and keeps the layer', async () => {
    await box.sh(`echo text > /workspace/text && mkdir -p /root/.config/tool /root/.cache/x /home/me &&
      echo c > /root/.config/tool/c && echo x > /root/.cache/x/x && echo m > /home/me/m && echo e > /etc/mine`);
    const stopped = await stop(daemon, 'saved');
    assert.equal(stopped.id, 'saved');
    assert.equal(stopped.state, 'stopped');
    assert.equal(stopped.saved, true);
    const snapshots = await listed(daemon, 'saved');
    assert.deepEqual(snapshots.map((one) => one.dir).sort(), ['/home', '/root', '/workspace']);
    assert.deepEqual(snapshots.map((one) => one.snapshotId).sort(), [...stopped.snapshots].sort());
    for (const one of snapshots) {
      assert.equal(one.trigger, 'stop');
      assert.equal(one.consistency, 'frozen');
    }
    assert.equal(await box.sh('cat /workspace/text /root/.cache/x/x /etc/mine'), 'text\nx\ne\n', 'nothing is restored');
    assertSound(daemon);
  });

  it('saves only what has changed since', async () => {
    const before = (await listed(daemon, 'saved')).length;
    const again = await stop(daemon, 'saved');
    assert.deepEqual([again.saved, again.snapshots], [true, []]);
    await box.sh('echo more >> /workspace/text');
    assert.equal((await stop(daemon, 'saved')).snapshots.length, 1);
    assert.equal((await listed(daemon, 'saved')).length, before + 1);
    assert.deepEqual((await stop(daemon, 'saved')).snapshots, [], 'of a stopped one there is nothing to save');
  });

  it('is followed by a start with everything when the layer is gone', async () => {
    loseLayers(daemon);
    const made = await box.create();
    assert.deepEqual(made.restored.map((one) => one.dir).sort(), ['/home', '/root', '/workspace']);
    assert.equal(await box.sh('cat /workspace/text /root/.config/tool/c /home/me/m; ls -A /root/.cache 2>/dev/null; ls /etc/mine 2>/dev/null || true'),
                 'text\nmore\nc\nm\n');
    // The first use of any kind does the same, once.
    await stop(daemon, 'saved');
    loseLayers(daemon);
    const both = await Promise.all([box.sh('cat /workspace/text'), box.sh('cat /home/me/m'), box.sh('cat /root/.config/tool/c')]);
    assert.deepEqual(both, ['text\nmore\n', 'm\n', 'c\n']);
    assert.equal((await infoOf(daemon, 'saved')).state, 'running');
  });

  it('happens once when asked for often, and beside other things', async () => {
    const running = box.run('sleep 30; echo never');
    await sleep(200);
    const answers = await Promise.all([v1(daemon, 'saved', 'stop'), v1(daemon, 'saved', 'stop'), box.post('/snapshot', {dir: '/workspace'})]);
    assert.deepEqual(answers.map((one) => one.status), [200, 200, 200], answers.map((one) => one.text).join());
    const {last} = await running;
    assert.notEqual(last?.exitCode, 0);
    assert.equal(await box.sh('cat /workspace/text'), 'text\nmore\n');
    assertError(await v1(daemon, 'nobody', 'stop'), 404, 'SANDBOX_NOT_FOUND');
  });

  it('is no save where it is not wanted', async () => {
    const off = daemon.sandbox('off');
    const made = await off.create({snapshots: {onStop: false, interval: 'off'}});
    assert.ok(made.id);
    assert.deepEqual((await infoOf(daemon, 'off')).snapshots, {onStop: false, onStart: true, interval: 'off', paths: ['/home', '/root', '/workspace']});
    await off.sh('echo x > /workspace/x');
    await stop(daemon, 'off');
    assert.deepEqual(await listed(daemon, 'off'), []);
    assert.equal(await off.sh('cat /workspace/x'), 'x\n');
    await off.delete();
    const own = daemon.sandbox('own');
    await own.create({snapshots: {paths: ['/srv/data', '/workspace/only']}});
    await own.sh('mkdir -p /srv/data && echo d > /srv/data/d && echo n > /workspace/not');
    const {snapshots, saved} = await stop(daemon, 'own');
    assert.deepEqual([saved, snapshots.length], [true, 1], 'a directory that does not exist is none to save');
    assert.deepEqual((await listed(daemon, 'own')).map((one) => one.dir), ['/srv/data']);
    await own.delete();
  });

  it('of one that is deleted on purpose leaves a name that begins empty', async () => {
    const gone = daemon.sandbox('gone');
    await gone.create();
    await gone.sh('echo old > /workspace/old');
    await stop(daemon, 'gone');
    assert.equal((await gone.delete()).status, 204);
    const made = await gone.create();
    assert.equal(made.restored, undefined);
    assert.equal(await gone.sh('ls -A /workspace'), '');
    // What it saves from now on comes back, also behind a restart.
    await gone.sh('echo new > /workspace/new');
    await stop(daemon, 'gone');
    await daemon.restart();
    for (const layer of layers(daemon)) if (fs.existsSync(path.join(layer, 'upper/workspace/new'))) fs.rmSync(layer, {recursive: true});
    assert.equal(await gone.sh('cd /workspace && ls -A && cat new'), 'new\nnew\n');
    await gone.delete();
    await daemon.restart();
    await gone.create();
    assert.equal(await gone.sh('ls -A /workspace'), '');
    await gone.delete();
  });

  it('begins empty when that is asked for', async () => {
    const fresh = daemon.sandbox('fresh');
    await fresh.create({snapshots: {onStart: false}});
    await fresh.sh('echo x > /workspace/x');
    await stop(daemon, 'fresh');
    const [layer] = layers(daemon).filter((one) => fs.existsSync(path.join(one, 'upper/workspace/x')));
    fs.rmSync(layer, {recursive: true});
    assert.equal(await fresh.sh('ls -A /workspace'), '');
    await fresh.delete();
  });
});

describe('a start that restores', () => {
  let daemon;
  let box;
  let sums;
  const SUMS = 'cd /workspace && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum';

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('back');
    await box.create();
    await box.sh('cd /workspace && for i in $(seq 400); do head -c 50000 /dev/urandom > $i; done; echo r > /root/mine');
    sums = await box.sh(SUMS);
    await stop(daemon, 'back');
  });
  after(() => daemon?.cleanup());

  it('is finished by the next daemon when one dies in it', async () => {
    for (const ms of [10, 60, 120, 200, 300, 450, 700]) {
      loseLayers(daemon);
      const running = box.create().catch(() => null);
      await sleep(ms);
      await daemon.kill9();
      await running;
      await daemon.launch();
      assert.equal(await box.sh(SUMS), sums, `after ${ms} ms`);
      assert.equal(await box.sh('cat /root/mine'), 'r\n');
      daemon.assertNoLeaks();
      await stop(daemon, 'back');
    }
    assertSound(daemon);
  });

  it('does not begin empty when the repository cannot be read', async () => {
    const store = path.join(daemon.stateDir, 'snapshots');
    loseLayers(daemon);
    await daemon.stop();
    fs.renameSync(store, store + '-away');
    fs.writeFileSync(store, 'no directory');
    await daemon.launch();
    const refused = await box.post('/create', {opencode: false});
    assertError(refused, refused.status);
    assert.ok(refused.status >= 400);
    const run = await box.post('/run', {command: 'ls'});
    assertError(run, run.status);
    fs.unlinkSync(store);
    fs.renameSync(store + '-away', store);
    await sleep(1100);
    assert.equal(await box.sh(SUMS), sums);
  });

  it('does not begin with a half when a pack is damaged', async () => {
    await stop(daemon, 'back');
    const data = path.join(daemon.stateDir, 'snapshots', 'data');
    const packs = fs.readdirSync(data, {recursive: true}).map((name) => path.join(data, name)).filter((name) => fs.statSync(name).isFile());
    const large = packs.sort((a, b) => fs.statSync(b).size - fs.statSync(a).size)[0];
    const whole = fs.readFileSync(large);
    const broken = Buffer.from(whole);
    broken[broken.length >> 1] ^= 1;
    fs.writeFileSync(large, broken);
    loseLayers(daemon);
    const refused = await box.post('/create', {opencode: false});
    assertError(refused, refused.status);
    assert.match(refused.json().message, new RegExp(path.basename(large).slice(0, 8)));
    fs.writeFileSync(large, whole);
    assert.equal(await box.sh(SUMS), sums);
    assert.equal((await infoOf(daemon, 'back')).state, 'running');
  });
});

describe('a conversation', () => {
  const KEY = 'sk-test-conversation';
  const directory = {'x-opencode-directory': '/workspace'};
  let stub;
  let daemon;
  let other;
  let session;

  before(async () => {
    stub = await StubModel.start({key: KEY});
    const model = {model: {provider: 'openai', base_url: stub.baseUrl, model: 'stub-1'}};
    const files = {'.dev.vars': `OPENAI_API_KEY="${KEY}"\n`};
    daemon = await Daemon.start({sections: model, files});
    await eventually('the repository is there', () => fs.existsSync(path.join(daemon.stateDir, 'snapshots', 'config')));
    // Another host: nothing in common but the store and its password.
    const password = path.join(daemon.stateDir, 'snapshots.password');
    other = await Daemon.start({files, sections: {...model, snapshots: {
      store: path.join(daemon.stateDir, 'snapshots'), password_file: password}}});
  });
  after(async () => {
    await other?.cleanup();
    await daemon?.cleanup();
    await stub?.stop();
  });

  async function turn(on) {
    const answer = await on.request('talk', {
      method: 'POST', path: `/session/${session}/message`, headers: directory, limitMs: 120_000,
      json: {parts: [{type: 'text', text: 'Write a file.'}]}});
    assert.equal(answer.status, 200, answer.text);
    assert.ok(answer.json().parts.some((part) => part.type === 'text' && part.text === finalText), answer.text.slice(0, 2000));
  }
  async function messages(on) {
    const answer = await on.request('talk', {path: `/session/${session}/message`, headers: directory, limitMs: 120_000});
    assert.equal(answer.status, 200, answer.text);
    return answer.json().map((one) => one.info.id);
  }

  it('goes on after a stop and a lost layer', async () => {
    const box = daemon.sandbox('talk');
    await box.create({opencode: true});
    const made = await daemon.request('talk', {method: 'POST', path: '/session', headers: directory, json: {}});
    session = made.json().id;
    await turn(daemon);
    const said = await messages(daemon);
    assert.ok(said.length >= 2);
    await stop(daemon, 'talk');
    loseLayers(daemon);
    assert.deepEqual(await messages(daemon), said);
    assert.equal(await box.sh('cat /workspace/agent.txt'), 'from the agent\n');
    await turn(daemon);
    assert.ok((await messages(daemon)).length > said.length);
  });

  it('goes on after its state was restored under it', async () => {
    const said = await messages(daemon);
    const kept = await daemon.sandbox('talk').post('/snapshot', {dir: '/root', freeze: true});
    assert.equal(kept.status, 200, kept.text);
    await turn(daemon);
    assert.ok((await messages(daemon)).length > said.length);
    await daemon.sandbox('talk').restore(kept.json().snapshotId);
    assert.deepEqual(await messages(daemon), said);
    await turn(daemon);
  });

  it('goes on on another host', async () => {
    const said = await messages(daemon);
    await stop(daemon, 'talk');
    const box = other.sandbox('talk');
    const made = await box.create({opencode: true});
    assert.deepEqual(made.restored.map((one) => one.dir).sort(), ['/home', '/root', '/workspace']);
    assert.deepEqual(await messages(other), said);
    assert.equal(await box.sh('cat /workspace/agent.txt'), 'from the agent\n');
    await turn(other);
    // And back again: that host's own layer is older, but it is there, so it stays.
    const there = await messages(other);
    await stop(other, 'talk');
    loseLayers(daemon);
    assert.deepEqual(await messages(daemon), there);
    assertSound(daemon);
  });
});

describe('snapshots at intervals', () => {
  let daemon;

  before(async () => {
    daemon = await Daemon.start({sections: {'snapshots.auto': {interval: '10s', paths: ['/workspace', '/root']}}});
  });
  after(() => daemon?.cleanup());

  it('are taken when something changed, and only then', async () => {
    const box = daemon.sandbox('ticks');
    const idle = daemon.sandbox('idle');
    const none = daemon.sandbox('none');
    await Promise.all([box.create(), idle.create(), none.create({snapshots: {interval: 'off'}})]);
    assert.equal((await infoOf(daemon, 'ticks')).snapshots.interval, '10s');
    await Promise.all([box, none].map((each) => each.sh('echo 1 > /workspace/file')));
    const taken = async (id) => (await listed(daemon, id, '&trigger=interval')).filter((one) => one.dir === '/workspace').length;
    await eventually('the first', async () => await taken('ticks') === 1 && await taken('idle') === 1);
    const all = (await listed(daemon, 'idle')).length;
    await sleep(14_000);
    assert.equal(await taken('ticks'), 1, 'nothing has changed');
    await box.sh('echo 2 > /workspace/file');
    await eventually('the second', async () => await taken('ticks') === 2);
    assert.equal((await listed(daemon, 'idle')).length, all);
    assert.deepEqual(await listed(daemon, 'none'), []);
    const [newest] = await listed(daemon, 'ticks', '&trigger=interval&dir=/workspace');
    assert.equal(newest.consistency, 'frozen');
    await box.sh('rm /workspace/file');
    await box.restore(newest.snapshotId);
    assert.equal(await box.sh('cat /workspace/file'), '2\n');
    // What the last interval has not seen, the stop sees.
    await box.sh('echo 3 > /workspace/file');
    const {snapshots} = await stop(daemon, 'ticks');
    assert.ok(snapshots.length >= 1);
    assert.equal(await box.sh('cat /workspace/file'), '3\n');
  });
});

describe('the end of the host', () => {
  let daemon;

  before(async () => {
    const bin = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-bin-'));
    // What systemd says while it shuts down.
    fs.writeFileSync(path.join(bin, 'systemctl'), '#!/bin/sh\ncat "$0.state"\nexit 1\n', {mode: 0o755});
    fs.writeFileSync(path.join(bin, 'systemctl.state'), 'running\n');
    daemon = await Daemon.start({env: {PATH: `${bin}:${process.env.PATH}`}});
    daemon.bin = bin;
  });
  after(async () => {
    fs.writeFileSync(path.join(daemon.bin, 'systemctl.state'), 'running\n');
    await daemon?.cleanup();
    fs.rmSync(daemon.bin, {recursive: true});
  });

  it('saves every sandbox, the end of the daemon alone does not', async () => {
    const ids = ['h1', 'h2', 'h3', 'h4', 'h5', 'h6'];
    const boxes = ids.map((id) => daemon.sandbox(id));
    await Promise.all(boxes.map((box) => box.create(box.id === 'h6' ? {snapshots: {onStop: false}} : {})));
    for (const box of boxes) await box.sh(`echo ${box.id} > /workspace/who`);
    await daemon.restart();
    for (const id of ids) assert.deepEqual(await listed(daemon, id), []);
    fs.writeFileSync(path.join(daemon.bin, 'systemctl.state'), 'stopping\n');
    const {code} = await daemon.stop();
    assert.equal(code, 0);
    fs.writeFileSync(path.join(daemon.bin, 'systemctl.state'), 'running\n');
    await daemon.launch();
    for (const id of ids.slice(0, 5)) {
      assert.deepEqual((await listed(daemon, id)).map((one) => `${one.dir} ${one.trigger}`).sort(),
                       ['/home stop', '/root stop', '/workspace stop'], id);
    }
    assert.deepEqual(await listed(daemon, 'h6'), []);
    for (const box of boxes) assert.equal(await box.sh('cat /workspace/who'), `${box.id}\n`);
    assertSound(daemon);
  });
});

describe('a stop that cannot save', () => {
  let daemon;
  let store;

  before(async () => {
    store = new SmallStore();
    daemon = await Daemon.start({sections: {snapshots: {store: store.dir}}});
  });
  after(async () => {
    await daemon?.cleanup();
    store?.remove();
  });

  it('keeps the files, says so, and saves them when there is room', async () => {
    const box = daemon.sandbox('large');
    await box.create({snapshots: {paths: ['/workspace']}});
    await box.sh('head -c 20000000 /dev/urandom > /workspace/noise');
    const sum = await box.sh('sha256sum < /workspace/noise');
    const stopped = await stop(daemon, 'large');
    assert.equal(stopped.saved, false);
    assert.match(stopped.saveFailure, /space/i);
    assert.equal((await infoOf(daemon, 'large')).unsaved, true);
    assert.equal(layers(daemon).length, 1);
    assert.equal(await box.sh('sha256sum < /workspace/noise'), sum);
    const cli = daemon.cli('--config', daemon.config, 'stop', 'large');
    assert.equal(cli.status, 1);
    assert.match(cli.stderr, /not saved/);
    await daemon.restart();
    assert.equal((await infoOf(daemon, 'large')).unsaved, true, 'the next daemon knows it too');
    store.grow();
    await eventually('it is saved', async () => !(await infoOf(daemon, 'large')).unsaved, 90_000);
    const {events} = (await daemon.request('', {path: '/v1/sandboxes/large/events'})).json();
    const told = events.filter((one) => one.kind === 'save').map((one) => one.detail);
    assert.match(told[0], /^it is not saved: /);
    assert.equal(told.at(-1), 'all of it is saved now');
    await eventually('it is stopped again', async () => (await infoOf(daemon, 'large')).state === 'stopped');
    assert.equal((await listed(daemon, 'large')).length, 1);
    loseLayers(daemon);
    assert.equal(await box.sh('sha256sum < /workspace/noise'), sum);
    assertSound(daemon);
  });
});

describe('a freeze', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('still');
    await box.create();
    await box.write('/tmp/count.py', `
import json, os, time
last, gap, n = time.monotonic(), 0, 0
while True:
    now = time.monotonic()
    gap = max(gap, now - last)
    last = now
    n += 1
    if n % 5 == 0:
        with open('/tmp/count.new', 'w') as f:
            json.dump({'n': n, 'gap': gap * 1000}, f)
        os.rename('/tmp/count.new', '/tmp/count')
    if os.path.exists('/tmp/reset'):
        os.unlink('/tmp/reset')
        gap = 0
    time.sleep(0.001)
`);
    await box.background('exec python3 /tmp/count.py');
    await eventually('it counts', async () => (await box.run('test -s /tmp/count')).exitCode === 0);
  });
  after(() => daemon?.cleanup());

  const count = async () => JSON.parse(await box.sh('cat /tmp/count'));

  it('stops programs while a snapshot is taken, for as long as it says, and they go on', async () => {
    await box.sh('mkdir -p /workspace/f && cd /workspace/f && for i in $(seq 300); do head -c 100000 /dev/urandom > $i; done; touch /tmp/reset');
    await eventually('it has begun anew', async () => (await box.run('test -e /tmp/reset')).exitCode !== 0);
    const before = await count();
    const answer = await box.post('/snapshot', {dir: '/workspace/f', freeze: true});
    assert.equal(answer.status, 200, answer.text);
    const {freezeMs, consistency} = answer.json();
    assert.equal(consistency, 'frozen');
    assert.ok(freezeMs > 0);
    await eventually('it goes on', async () => (await count()).n > before.n + 20);
    const {gap} = await count();
    assert.ok(gap >= freezeMs * 0.5, `stood still for ${gap} ms, said to be ${freezeMs} ms`);
    // Little changed, little pause; what the agent does is not frozen.
    await box.sh('cd /workspace/f && for i in 1 2 3; do echo $i > $i; done');
    const small = (await box.post('/snapshot', {dir: '/workspace/f', freeze: true})).json();
    assert.ok(small.freezeMs > 0 && small.filesChanged <= 3);
    assert.equal(small.changedWhileRead, 0);
  });

  it('is of one moment: two files that are always equal are equal in it', async () => {
    await box.write('/tmp/pair.sh', 'mkdir -p /workspace/pair; cd /workspace/pair; i=0; while :; do i=$((i+1)); echo $i > a; echo $i > b; done');
    await box.background('exec bash /tmp/pair.sh');
    await sleep(300);
    for (let i = 0; i < 5; ++i) {
      const {snapshotId} = (await box.post('/snapshot', {dir: '/workspace/pair', freeze: true})).json();
      const read = async (name) => Number((await daemon.request('', {path: `/v1/snapshots/${snapshotId}/file?path=${name}`})).text);
      const [a, b] = [await read('a'), await read('b')];
      // At the moment between the two writes they differ by one; `a` may be empty just then.
      assert.ok(a === 0 || b === 0 || a - b === 0 || a - b === 1, `${a} and ${b}`);
    }
  });

  it('does not freeze what takes the snapshot, also when the sandbox has just begun', async () => {
    for (let i = 0; i < 12; ++i) {
      const young = daemon.sandbox(`young-${i}`);
      await young.create({snapshots: {paths: ['/workspace']}});
      const taken = (await young.post('/snapshot', {dir: '/workspace', freeze: true})).json();
      assert.equal(taken.consistency, 'frozen', 'nothing had to be let go on for it to end');
      await young.delete();
      await young.create({snapshots: {onStart: false, paths: ['/workspace']}});
      await stop(daemon, young.id);
      const [newest] = await listed(daemon, young.id, '&trigger=stop');
      assert.ok(newest === undefined || newest.consistency === 'frozen');
      await young.delete();
    }
  });

  it('ends when the daemon dies in it', async () => {
    for (const ms of [5, 20, 50, 100]) {
      await box.sh('cd /workspace/f && for i in $(seq 100); do head -c 100000 /dev/urandom > $i; done');
      const running = box.post('/snapshot', {dir: '/workspace/f', freeze: true}).catch(() => null);
      await sleep(ms);
      await daemon.kill9();
      await running;
      await daemon.launch();
      const {n} = await count();
      await eventually(`it goes on after ${ms} ms`, async () => (await count()).n > n, 10_000);
    }
    await listed(daemon, 'still');
    assertSound(daemon);
  });
});
