// SPDX-License-Identifier: Apache-2.0
// The warm pool: what waits for nobody becomes somebody's, whole, once, and without a trace of
// having been anything else.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {buildDir, Daemon, eventually, preparedState} from './support/daemon.mjs';
import {ofProcess, processesOf} from './support/host.mjs';

// The host is busy with other tests: that is no reason here.
const pool = (more = {}) => ({warm_target: 1, max: 4, refresh_interval: '2s', max_load: 100_000,
  free_memory: '64M', ...more});
const start = (more, options = {}) =>
  Daemon.start({...options, sections: {...options.sections, pool: pool(more)}});

async function stats(daemon) {
  const answer = await daemon.request('', {path: '/v1/pool/stats'});
  assert.equal(answer.status, 200, answer.text);
  return answer.json();
}
const waiting = (daemon, count = 1) => eventually(`${count} members wait`, async () =>
  (await stats(daemon)).warm >= count, 180_000);

async function post(daemon, what) {
  const answer = await daemon.request('', {method: 'POST', path: `/v1/pool/${what}`});
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(answer.json(), {ok: true});
}

const claimed = (created) => created.phases.claim !== undefined;
// Internal ids of what has a writable layer.
const layers = (daemon) => fs.readdirSync(path.join(daemon.stateDir, 'sandboxes')).sort();
/** PID 1 of each container, by internal id. */
function agents(daemon) {
  const dir = path.join(daemon.runDir, 'crun');
  return new Map(fs.readdirSync(dir).map((iid) => [iid,
    JSON.parse(fs.readFileSync(path.join(dir, iid, 'status'), 'utf8')).pid]));
}

/** Processes of the host that are OpenCode in sandboxes of the daemon. */
const serversOf = (daemon) => processesOf(daemon).filter((pid) => /opencode\0serve/.test(ofProcess(pid, 'cmdline')));

describe('a member with OpenCode', () => {
  let daemon;

  before(async () => {
    daemon = await start({});
    await waiting(daemon);
  });
  after(() => daemon?.cleanup());

  it('is nobody\'s: neither listed nor reached', async () => {
    assert.deepEqual(await daemon.ids(), []);
    const [iid] = layers(daemon);
    for (const label of [`~${iid}`, iid]) {
      const answer = await daemon.request('', {path: `/v1/sandboxes/${encodeURIComponent(label)}`});
      assert.ok([400, 404].includes(answer.status), `${label}: ${answer.status}`);
    }
    const run = await daemon.request('', {method: 'POST', path: `/v1/sandboxes/~${iid}/run`,
      json: {command: 'id'}});
    assert.ok([400, 404].includes(run.status), `${run.status}`);
    const {warm, assigned, total, config, maxInstances} = await stats(daemon);
    assert.deepEqual({warm, assigned, total, maxInstances},
      {warm: 1, assigned: 0, total: 1, maxInstances: null});
    assert.deepEqual(config,
      {warmTarget: 1, refreshInterval: 2000, min: 0, max: 4, maxInstances: 0, scaleBatchSize: 5});
    daemon.assertNoLeaks();
  });

  it('becomes somebody\'s: name, limits, environment, and OpenCode that answers', async () => {
    const [iid] = layers(daemon);
    const box = daemon.sandbox('first');
    const created = await box.create({opencode: true, memory: '1G', cpus: 0.5, pids: 500,
      env: {GREETING: 'it\'s "me"'}});
    assert.ok(claimed(created), JSON.stringify(created));
    assert.deepEqual([created.id, created.state, created.opencode], ['first', 'running', 'ready']);
    assert.ok(layers(daemon).includes(iid), 'it is the one that waited');
    const health = await daemon.request('first', {path: '/global/health'});
    assert.equal(health.status, 200);
    assert.equal(health.json().healthy, true);
    assert.equal(await box.sh('hostname; getent hosts first | wc -l; grep -c sandbox /etc/hosts || true'),
      'first\n1\n0\n');
    assert.equal(await box.sh('printf %s "$GREETING"'), 'it\'s "me"');
    const [info] = await daemon.list();
    assert.deepEqual([info.memory, info.cpus, info.pids], [2 ** 30, 0.5, 500]);
    const grown = await box.run(
      'python3 -c "import os\nfor i in range(600):\n  if os.fork() == 0:\n    import time; time.sleep(5); os._exit(0)"');
    assert.notEqual(grown.exitCode, 0, 'the limit of processes is the one that was asked for');
  });

  it('has tools that see the environment of its owner', async () => {
    // What OpenCode starts inherits from it, and it was there before the environment was.
    const box = daemon.sandbox('first');
    const seen = await box.python(`
import json, os, subprocess
env = None
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        command = open('/proc/%s/cmdline' % pid, 'rb').read().split(b'\\0')
        if command[0].endswith(b'opencode') and command[1] == b'serve':
            env = dict(one.split(b'=', 1) for one in open('/proc/%s/environ' % pid, 'rb').read().split(b'\\0') if one)
    except OSError:
        pass
print(json.dumps(subprocess.run(['bash', '-c', 'printf %s "$GREETING"'], env=env, capture_output=True, text=True).stdout))
`);
    assert.equal(seen, 'it\'s "me"');
  });

  it('is replaced when it was taken, and OpenCode serves the sandbox after a restart of the daemon', async () => {
    await waiting(daemon);
    const before = layers(daemon);
    await daemon.restart();
    await waiting(daemon);
    assert.deepEqual(layers(daemon), before, 'the member is adopted');
    const health = await daemon.request('first', {path: '/global/health', limitMs: 60_000});
    assert.equal(health.json().healthy, true);
    const created = await daemon.sandbox('second').create({opencode: true});
    assert.ok(claimed(created), 'an adopted member is as good');
    assert.equal(created.opencode, 'ready');
  });

  it('is not used for variables that OpenCode itself might heed', async () => {
    await waiting(daemon);
    const created = await daemon.sandbox('third').create({env: {SOME_API_KEY: 'x'}});
    assert.ok(!claimed(created));
    assert.equal(await daemon.sandbox('third').sh('echo $SOME_API_KEY'), 'x\n');
  });

  it('gets the files of an id that had some, and OpenCode sees them', async () => {
    await waiting(daemon);
    const box = daemon.sandbox('second');
    await box.sh('echo kept > /workspace/kept && mkdir -p /root/.local/share && echo r > /root/mark');
    await box.snapshot('/workspace');
    await box.snapshot('/root');
    const plain = daemon.sandbox('plain');
    await plain.create({opencode: false});
    await plain.sh('echo files > /workspace/alone');
    await plain.snapshot('/workspace');
    // Another host, with the same repository.
    const other = await start({}, {sections: {snapshots: {
      store: path.join(daemon.stateDir, 'snapshots'),
      password_file: path.join(daemon.stateDir, 'snapshots.password')}}});
    try {
      await waiting(other);
      // What comes back does not concern OpenCode: the one that waits goes on.
      const [before] = serversOf(other);
      const alone = other.sandbox('plain');
      const made = await alone.create({opencode: true});
      assert.ok(claimed(made), JSON.stringify(made));
      assert.equal(await alone.sh('cat /workspace/alone'), 'files\n');
      assert.ok(serversOf(other).includes(before), 'OpenCode was started anew');
      await waiting(other);
      const there = other.sandbox('second');
      const created = await there.create({opencode: true});
      assert.ok(claimed(created), JSON.stringify(created));
      assert.equal(created.restored.length, 2);
      assert.equal(await there.sh('cat /workspace/kept /root/mark; hostname'), 'kept\nr\nsecond\n');
      const health = await other.request('second', {path: '/global/health', limitMs: 120_000});
      assert.equal(health.json().healthy, true);
    } finally {
      await other.cleanup();
    }
  });

  it('is replaced when OpenCode is another one', async () => {
    await waiting(daemon);
    // Those that wait and those that are made for a demand there was.
    const members = () => {
      const sql = "SELECT iid FROM sandboxes WHERE pool_key <> ''";
      return spawnSync('sqlite3', ['-readonly', path.join(daemon.stateDir, 'atoll.db'), sql], {encoding: 'utf8'})
        .stdout.trim().split('\n').filter(Boolean);
    };
    const old = members();
    assert.match(old[0] ?? '', /^[0-9a-f]{16}$/);
    const other = path.join(daemon.dir, 'opencode');
    fs.cpSync(path.join(preparedState, 'opencode'), other, {recursive: true});
    await daemon.stop();
    const text = fs.readFileSync(daemon.config, 'utf8');
    fs.writeFileSync(daemon.config, text.replace(/^opencode_dir = .*$/m, `opencode_dir = ${JSON.stringify(other)}`));
    await daemon.launch();
    await eventually('another member waits', async () =>
      (await stats(daemon)).warm > 0 && !members().some((iid) => old.includes(iid)), 180_000);
    assert.ok(!layers(daemon).some((iid) => old.includes(iid)));
    const created = await daemon.sandbox('fourth').create({opencode: true});
    assert.ok(claimed(created), JSON.stringify(created));
    const [version] = fs.readdirSync(other).filter((name) => /^\d/.test(name));
    assert.equal(await daemon.sandbox('fourth').sh('stat -c %i /opt/opencode/bin/opencode'),
                 `${fs.statSync(path.join(other, version, 'opencode')).ino}\n`);
    assert.equal((await daemon.request('fourth', {path: '/global/health'})).json().healthy, true);
  });
});

describe('a pool without OpenCode', () => {
  let daemon;
  let images;

  before(async () => {
    // Images of its own, so that one can be replaced; the files are those of the prepared one.
    images = fs.mkdtempSync(path.join(process.env.ATOLL_TEST_TMP ?? os.tmpdir(), 'atoll-images-'));
    fs.chmodSync(images, 0o755);
    fs.mkdirSync(path.join(images, 'default'));
    for (const name of fs.readdirSync(path.join(preparedState, 'images', 'default'))) {
      const from = path.join(preparedState, 'images', 'default', name);
      const to = path.join(images, 'default', name);
      if (name === 'image.json') fs.copyFileSync(from, to);
      else fs.symlinkSync(from, to);
    }
    daemon = await start({opencode: false, warm_target: 3, max: 3},
      {sections: {sandbox: {images_dir: images}}});
    await waiting(daemon, 3);
  });
  after(async () => {
    await daemon?.cleanup();
    if (images) fs.rmSync(images, {recursive: true});
  });

  it('gives each member to one of many who ask at once', async () => {
    const ids = Array.from({length: 6}, (_, i) => `one${i}`);
    const all = await Promise.all(ids.map((id) => daemon.sandbox(id).create()));
    assert.ok(all.filter(claimed).length >= 3, JSON.stringify(all.map((one) => one.phases)));
    const names = await Promise.all(ids.map(async (id) => {
      await daemon.sandbox(id).write('/workspace/mine', id);
      return daemon.sandbox(id).sh('hostname');
    }));
    assert.deepEqual(names, ids.map((id) => `${id}\n`));
    for (const id of ids) assert.equal(await daemon.sandbox(id).sh('cat /workspace/mine'), id);
    const {hits, misses, assigned} = await stats(daemon);
    assert.equal(hits + misses, 6);
    assert.equal(assigned, 6);
    for (const id of ids) await daemon.sandbox(id).delete();
  });

  it('makes another when a member was killed, and nobody notices', async () => {
    await waiting(daemon, 3);
    const old = layers(daemon);
    for (const pid of agents(daemon).values()) process.kill(pid, 'SIGKILL');
    const box = daemon.sandbox('fallen');
    await box.create();
    assert.equal(await box.sh('hostname'), 'fallen\n');
    await eventually('those that have died are replaced', async () =>
      (await stats(daemon)).warm === 3 && layers(daemon).filter((iid) => old.includes(iid)).length <= 1);
    await box.delete();
  });

  it('makes another when a member fails as it is given away', async () => {
    await waiting(daemon, 3);
    // Whoever asks the agent gets no answer: it stands still, and then it dies.
    const pids = [...agents(daemon).values()];
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    const box = daemon.sandbox('stuck');
    const creating = box.create();
    await eventually('the member is somebody\'s', async () => (await stats(daemon)).assigned === 1);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await creating;
    assert.equal(await box.sh('hostname; ls /workspace'), 'stuck\n');
    await box.delete();
  });

  it('replaces its members when the image is another one', async () => {
    await waiting(daemon, 3);
    const old = layers(daemon);
    const file = path.join(images, 'default', 'image.json');
    const json = JSON.parse(fs.readFileSync(file, 'utf8'));
    fs.writeFileSync(file, JSON.stringify({...json, created: '2001-01-01T00:00:00Z'}));
    const created = await daemon.sandbox('fresh').create();
    assert.ok(!claimed(created), 'what was made of the old one is not given away');
    await eventually('all members are new', async () => (await stats(daemon)).warm === 3 &&
      layers(daemon).every((iid) => !old.includes(iid)), 60_000);
    await daemon.sandbox('fresh').delete();
  });

  it('is emptied and filled when told', async () => {
    await waiting(daemon, 3);
    const old = layers(daemon);
    await post(daemon, 'shutdown-prewarmed');
    assert.equal((await stats(daemon)).warm, 0);
    await post(daemon, 'prime');
    await waiting(daemon, 3);
    assert.ok(layers(daemon).every((iid) => !old.includes(iid)));
    for (const [method, what, status] of [['GET', 'prime', 405], ['POST', 'stats', 405], ['GET', 'else', 404]]) {
      const answer = await daemon.request('', {method, path: `/v1/pool/${what}`});
      assert.equal(answer.status, status, `${method} ${what}`);
    }
  });

  it('finishes after a crash what it had begun', async () => {
    await waiting(daemon, 3);
    const creating = daemon.sandbox('torn').create().then(() => true, () => false);
    await eventually('it is somebody\'s', async () =>
      (await daemon.request('', {path: '/v1/sandboxes/torn'})).status === 200);
    await daemon.kill9();
    await creating;
    await daemon.launch();
    await eventually('it can be used', async () => (await daemon.list())[0]?.state === 'running');
    assert.equal(await daemon.sandbox('torn').sh('hostname'), 'torn\n');
    await waiting(daemon, 3);
    daemon.assertNoLeaks();
    await daemon.sandbox('torn').delete();
  });
});

describe('a host that is short of memory', () => {
  let daemon;

  before(async () => {
    daemon = await start({opencode: false, max: 1}, {sections: {limits: {memory_reserve: '1000T'}}});
    await waiting(daemon);
  });
  after(() => daemon?.cleanup());

  it('gives away what waits, which has its memory already, and makes nothing new', async () => {
    const odd = await daemon.sandbox('odd').post('/create', {opencode: false, disk: '3G'});
    assert.equal(odd.json().code, 'CAPACITY_EXCEEDED', `${odd.status} ${odd.text}`);
    // Of those who come at once one gets it, or each one of those that were made in between.
    const boxes = ['one', 'two', 'three', 'four'].map((id) => daemon.sandbox(id));
    const answers = await Promise.all(boxes.map((box) => box.post('/create', {opencode: false})));
    const made = answers.filter((answer) => answer.status === 200);
    assert.ok(made.length >= 1, answers.map((answer) => answer.text).join());
    for (const answer of answers) {
      if (answer.status === 200) assert.ok(claimed(answer.json()), answer.text);
      else assert.equal(answer.json().code, 'CAPACITY_EXCEEDED', answer.text);
    }
    assert.equal((await daemon.ids()).length, made.length);
    const [id] = await daemon.ids();
    assert.equal(await daemon.sandbox(id).sh('hostname'), `${id}\n`);
  });
});

describe('a host whose memory runs short while members wait', () => {
  let daemon;
  let dir;
  const MEGABYTE = 1024;  // in the kernel's kB
  const RESERVE = 100 * MEGABYTE;
  const START = 64 * MEGABYTE;  // what one that starts is taken to need
  // What the daemon sees as /proc/meminfo; always of one length, so that no reader sees half of it.
  const hasMemory = (available) => {
    const line = (name, kilobytes) => `${name}:`.padEnd(16) + `${kilobytes}`.padStart(12) + ' kB\n';
    const file = fs.openSync(path.join(dir, 'meminfo'), fs.constants.O_WRONLY | fs.constants.O_CREAT, 0o644);
    fs.writeSync(file, line('MemTotal', 4_000_000) + line('MemAvailable', available), 0);
    fs.closeSync(file);
  };

  before(async () => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-meminfo-'));
    fs.mkdirSync(path.join(dir, 'proc'));
    hasMemory(3_000_000);
    fs.writeFileSync(path.join(dir, 'atoll'), `#!/bin/sh
[ "$1" = serve ] || exec ${buildDir}/atoll "$@"
exec unshare --mount --propagation slave sh -c '
  # The kernel lets nobody inside mount a /proc where no whole one is to be seen.
  mount -t proc proc ${dir}/proc && mount --bind ${dir}/meminfo /proc/meminfo && exec "$@"' sh ${buildDir}/atoll "$@"
`, {mode: 0o755});
    daemon = await Daemon.start({programs: dir, sections: {
      pool: pool({opencode: false, warm_target: 3, max: 3}), limits: {memory_reserve: `${RESERVE / MEGABYTE}M`, memory_pressure: 0}}});
    await waiting(daemon, 3);
  });
  after(async () => {
    await daemon?.cleanup();
    fs.rmSync(dir, {recursive: true, force: true});
  });
  // One that no member can become: it has a disk of its own.
  const create = (id) => daemon.sandbox(id).post('/create', {opencode: false, disk: '64M'});

  it('ends none when all of them together would not be enough', async () => {
    const before = agents(daemon);
    hasMemory(RESERVE + START - 125 * MEGABYTE);
    const refused = await create('large');
    assert.equal(refused.json().code, 'CAPACITY_EXCEEDED', `${refused.status} ${refused.text}`);
    assert.deepEqual(agents(daemon), before);
  });

  it('ends the oldest for one that they cannot become', async () => {
    const before = agents(daemon);
    // It has enough again once one has ended.
    hasMemory(RESERVE + START - 256);
    const watching = setInterval(() => {
      const now = layers(daemon);
      if ([...before.keys()].some((iid) => !now.includes(iid))) hasMemory(RESERVE + START + 256);
    }, 1);
    const created = await create('room');
    clearInterval(watching);
    assert.equal(created.status, 200, created.text);
    assert.ok(!claimed(created.json()), created.text);
    const ended = [...before.keys()].filter((iid) => !agents(daemon).has(iid));
    assert.ok(ended.length >= 1 && ended.length < before.size, `${ended.length} of ${before.size} have ended`);
    assert.match(fs.readFileSync(daemon.log, 'utf8'), new RegExp(`member ${ended[0]} is removed: somebody needs its memory`));
    assert.equal(await daemon.sandbox('room').sh('hostname'), 'room\n');
  });
});
