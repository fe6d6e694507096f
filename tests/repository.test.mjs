// SPDX-License-Identifier: Apache-2.0
// The repository is restic's: its own command line reads what Atoll wrote, and the other way round.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {assertError} from './support/http.mjs';
import {assertSound, repositoryEnv, restic, tryRestic} from './support/restic.mjs';
import {ATTRIBUTES, DESCRIBE, makeTree} from './support/tree.mjs';

const cli = (daemon, ...args) => daemon.cli('--config', daemon.config, ...args);
const cliOk = (daemon, ...args) => {
  const result = cli(daemon, ...args);
  assert.equal(result.status, 0, `atoll ${args.join(' ')}: ${result.stdout}${result.stderr}`);
  return result.stdout;
};
const listed = async (daemon, query = '') => {
  const answer = await daemon.request('', {path: `/v1/snapshots${query}`});
  assert.equal(answer.status, 200, answer.text);
  return answer.json().snapshots;
};

/** What the program says of a tree on this host. */
function describeHere(dir) {
  const result = spawnSync('python3', ['-', dir], {input: DESCRIBE, encoding: 'utf8', maxBuffer: 64 << 20});
  assert.equal(result.status, 0, result.stderr);
  return JSON.parse(result.stdout);
}

describe('restic and Atoll on one repository', () => {
  let daemon;
  let box;
  let tree;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('both');
    await box.create();
    await box.write('/tmp/describe.py', DESCRIBE);
    await box.write('/tmp/attributes.py', ATTRIBUTES);
    await box.sh(makeTree('/workspace/tree'));
    tree = await describeTree('/workspace/tree');
  });
  after(() => daemon?.cleanup());

  const describeTree = async (dir) => JSON.parse(await box.sh(`python3 /tmp/describe.py ${dir}`));
  const snapshots = () => JSON.parse(restic(daemon, ['snapshots', '--json']));

  it('keeps the password where only its owner reads it', () => {
    const file = path.join(daemon.stateDir, 'snapshots.password');
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
    assert.match(fs.readFileSync(file, 'utf8'), /^[0-9a-f]{64}\n$/);
    assert.deepEqual(repositoryEnv(daemon), {RESTIC_REPOSITORY: path.join(daemon.stateDir, 'snapshots'),
                                             RESTIC_PASSWORD_FILE: file});
    const text = cliOk(daemon, 'repo', 'env');
    const shown = spawnSync('sh', ['-c', `${text}\nenv | grep ^RESTIC_ | sort`], {encoding: 'utf8', env: {PATH: process.env.PATH}});
    assert.equal(shown.stdout, `RESTIC_PASSWORD_FILE=${file}\nRESTIC_REPOSITORY=${path.join(daemon.stateDir, 'snapshots')}\n`);
  });

  it('restic checks and restores what Atoll wrote, to the last attribute', async () => {
    const kept = await box.snapshot('/workspace/tree', 'a name, with = and %');
    assertSound(daemon, '--read-data');
    const target = path.join(daemon.dir, 'restored');
    restic(daemon, ['restore', kept.snapshotId, '--target', target]);
    assert.deepEqual(describeHere(path.join(target, 'workspace/tree')), tree);
    const verified = restic(daemon, ['restore', kept.snapshotId, '--target', target + '-2', '--verify']);
    assert.doesNotMatch(verified, /error/i);
    const [one] = snapshots().filter((each) => each.id === kept.snapshotId);
    assert.deepEqual(one.paths, ['/workspace/tree']);
    for (const tag of ['sandbox=both', 'dir=/workspace/tree', 'trigger=manual']) assert.ok(one.tags.includes(tag), String(one.tags));
    assert.equal(one.tags.filter((tag) => tag.startsWith('name=a name')).length, 1);
    assert.ok(!one.tags.some((tag) => tag.includes(',')), 'restic takes a comma for the end of a tag');
    assert.equal((await listed(daemon))[0].name, 'a name, with = and %');
    // The next one has the first as its parent, and is as whole.
    await box.sh('cd /workspace/tree && echo more >> plain && rm private');
    const next = await box.snapshot('/workspace/tree');
    assert.equal(snapshots().find((each) => each.id === next.snapshotId).parent, kept.snapshotId);
    restic(daemon, ['restore', next.snapshotId, '--target', target + '-3']);
    assert.deepEqual(describeHere(path.join(target + '-3', 'workspace/tree')), await describeTree('/workspace/tree'));
    assert.match(restic(daemon, ['diff', kept.snapshotId, next.snapshotId]), /M\s+\/workspace\/tree\/plain/);
    await box.restore(kept.snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), tree);
  });

  it('Atoll lists and restores what restic wrote', async () => {
    const source = path.join(daemon.dir, 'restored', 'workspace', 'tree');
    const wanted = describeHere(source);
    const said = restic(daemon, ['backup', source, '--json', '--tag', 'sandbox=both,dir=/workspace/from-restic,name=elsewhere', '--tag', 'mine']);
    const id = JSON.parse(said.trim().split('\n').at(-1)).snapshot_id;
    const one = (await eventually('it is listed', async () => {
      const found = (await listed(daemon, '?sandbox=both')).filter((each) => each.dir === '/workspace/from-restic');
      return found.length > 0 && found;
    }))[0];
    assert.ok(one.snapshotId.startsWith(id));
    assert.equal(one.name, 'elsewhere');
    assert.deepEqual(one.tags, ['mine']);
    await box.sh('mkdir -p /workspace/from-restic && echo old > /workspace/from-restic/old');
    await box.restore(one.snapshotId);
    assert.deepEqual(await describeTree('/workspace/from-restic'), wanted);
    // One that says nothing of a sandbox: into any, by way of /v1.
    const plain = restic(daemon, ['backup', source, '--json']);
    const plainId = JSON.parse(plain.trim().split('\n').at(-1)).snapshot_id;
    const into = await daemon.request('', {method: 'POST', path: `/v1/sandboxes/both/restore/${plainId}`,
                                           json: {dir: '/workspace/plain'}});
    assert.equal(into.status, 200, into.text);
    assert.deepEqual(await describeTree('/workspace/plain'), wanted);
    assertError(await box.post(`/restore/${plainId}`), 404, 'BACKUP_NOT_FOUND');
    await box.sh('rm -rf /workspace/from-restic /workspace/plain');
  });

  it('restic restores a part, and a dump of a file is that file', async () => {
    const {snapshotId} = await box.snapshot('/workspace/tree');
    assert.equal(restic(daemon, ['dump', snapshotId, '/workspace/tree/plain']), 'text\n');
    const ls = restic(daemon, ['ls', snapshotId]);
    assert.match(ls, /\/workspace\/tree\/ünï-漢\/ƒ/);
  });

  it('restic forgets and prunes beside the daemon, which goes on', async () => {
    await box.sh('head -c 5000000 /dev/urandom > /workspace/tree/noise');
    const gone = await box.snapshot('/workspace/tree', 'goes');
    await box.sh('echo small > /workspace/tree/noise');
    const stays = await box.snapshot('/workspace/tree', 'stays');
    const before = await describeTree('/workspace/tree');
    restic(daemon, ['forget', '--prune', gone.snapshotId]);
    await eventually('it is no longer listed', async () =>
      !(await listed(daemon)).some((each) => each.snapshotId === gone.snapshotId));
    assertError(await box.post(`/restore/${gone.snapshotId}`), 404, 'BACKUP_NOT_FOUND');
    await box.sh('cd /workspace/tree && rm -rf deep plain noise');
    await box.restore(stays.snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), before);
    // The blobs that are gone are stored again, not taken as there.
    await box.sh('head -c 5000000 /dev/urandom > /workspace/tree/noise');
    const again = await box.snapshot('/workspace/tree');
    const sum = await box.sh('sha256sum < /workspace/tree/noise');
    restic(daemon, ['forget', '--prune', again.snapshotId]);
    const third = await box.snapshot('/workspace/tree');
    await box.sh('rm -rf /workspace/tree');
    await box.restore(third.snapshotId);
    assert.equal(await box.sh('sha256sum < /workspace/tree/noise'), sum);
    assertSound(daemon, '--read-data');
    // Everything but the newest, all at once.
    const [newest] = await listed(daemon, '?sandbox=both');
    restic(daemon, ['forget', '--prune', '--group-by', '', '--keep-last', '1']);
    assert.equal(snapshots().length, 1);
    await box.sh('rm -rf /workspace/tree');
    await box.restore(newest.snapshotId);
    await box.snapshot('/workspace/tree');
    assertSound(daemon, '--read-data');
  });

  it('restic prunes while snapshots are taken', async () => {
    const prune = async () => {
      for (let i = 0; i < 3; ++i) {
        await sleep(100);
        const {stdout, stderr, status} = tryRestic(daemon, ['forget', '--prune', '--keep-last', '2', '--group-by', 'tags']);
        assert.ok(status === 0 || /locked/.test(stderr), stdout + stderr);
      }
    };
    const take = async () => {
      for (let i = 0; i < 8; ++i) {
        await box.sh(`head -c 1000000 /dev/urandom > /workspace/tree/noise${i % 3}`);
        await box.snapshot('/workspace/tree');
      }
    };
    await Promise.all([take(), prune()]);
    const [newest] = await listed(daemon, '?dir=/workspace/tree');
    const before = await describeTree('/workspace/tree');
    await box.sh('rm -rf /workspace/tree');
    await box.restore(newest.snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), before);
    assertSound(daemon, '--read-data');
  });

  it('a snapshot that restic tagged goes by its old id', async () => {
    const {snapshotId} = await box.snapshot('/workspace/tree', 'first name');
    const before = await describeTree('/workspace/tree');
    restic(daemon, ['tag', '--add', 'reviewed', snapshotId]);
    assert.ok(!snapshots().some((each) => each.id === snapshotId), 'restic gave it another');
    const one = await eventually('it is listed with its tag', async () =>
      (await listed(daemon)).find((each) => each.snapshotId === snapshotId && each.tags.includes('reviewed')));
    assert.equal(one.name, 'first name');
    await box.sh('rm -rf /workspace/tree/*');
    await box.restore(snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), before);
    // By the new id and a prefix of the old as well.
    const edition = snapshots().find((each) => each.original === snapshotId);
    await box.restore(edition.id);
    await box.restore(snapshotId.slice(0, 8));
    // And what Atoll tags, restic understands.
    const changed = await daemon.request('', {method: 'PATCH', path: `/v1/snapshots/${snapshotId}`, json: {tags: ['x'], pinned: true}});
    assert.equal(changed.status, 200, changed.text);
    assert.equal(changed.json().snapshotId, snapshotId);
    const after = snapshots().filter((each) => each.original === snapshotId);
    assert.equal(after.length, 1);
    assert.ok(after[0].tags.includes('x') && after[0].tags.includes('sandbox=both'));
    assertSound(daemon);
  });

  it('waits for a lock that restic holds, and removes one whose process is gone', async () => {
    const locks = path.join(daemon.stateDir, 'snapshots', 'locks');
    const held = spawnSync('sh', ['-c', 'restic --no-cache check --read-data & pid=$!; ' +
      `for i in $(seq 200); do ls ${locks} | grep -qv tmp && break; sleep 0.02; done; kill -9 $pid; ls ${locks} | grep -vc tmp`],
      {encoding: 'utf8', env: {PATH: process.env.PATH, HOME: daemon.dir, ...repositoryEnv(daemon)}});
    assert.equal(held.stdout.trim().split('\n').at(-1), '1', held.stdout + held.stderr);
    await box.snapshot('/workspace/tree');
    assert.deepEqual(fs.readdirSync(locks), []);
  });

  it('is examined by atoll too', () => {
    const check = JSON.parse(cliOk(daemon, 'repo', 'check', '--read-data', '--json'));
    assert.deepEqual(check.errors, []);
    assert.equal(check.snapshots, snapshots().length);
    assert.match(cliOk(daemon, 'repo', 'check'), /no errors were found/);
    const stats = JSON.parse(cliOk(daemon, 'repo', 'stats', '--json'));
    assert.equal(stats.snapshots, snapshots().length);
    assert.equal(stats.sandboxes, 1);
    assert.ok(stats.storedBytes > 0 && stats.plainBytes > 0 && stats.restoredBytes >= stats.plainBytes / 2);
    assert.match(cliOk(daemon, 'repo', 'stats'), /snapshots/);
  });

  it('opens with more than one key', () => {
    const file = path.join(daemon.dir, 'second-password');
    fs.writeFileSync(file, 'another secret\n', {mode: 0o600});
    assert.match(cliOk(daemon, 'repo', 'key', 'add', file), /opens the repository/);
    const keys = cliOk(daemon, 'repo', 'key', '--json').trim().split('\n').map((line) => JSON.parse(line));
    assert.equal(keys.length, 2);
    const second = {...repositoryEnv(daemon), RESTIC_PASSWORD_FILE: file};
    assert.ok(JSON.parse(restic(daemon, ['snapshots', '--json'], {env: second})).length > 0);
    // The one that is in use stays.
    const refused = keys.map(({id}) => cli(daemon, 'repo', 'key', 'rm', id));
    assert.deepEqual(refused.map((one) => one.status).sort(), [0, 1]);
    assert.notEqual(tryRestic(daemon, ['snapshots'], {env: second}).status, 0, 'it opens no longer');
    assert.equal(cliOk(daemon, 'repo', 'key', '--json').trim().split('\n').length, 1);
    // One that restic added.
    const added = path.join(daemon.dir, 'third-password');
    fs.writeFileSync(added, 'of restic\n', {mode: 0o600});
    restic(daemon, ['key', 'add', '--new-password-file', added]);
    const config = path.join(daemon.dir, 'third.toml');
    fs.writeFileSync(config, fs.readFileSync(daemon.config, 'utf8') + `\n[snapshots]\npassword_file = ${JSON.stringify(added)}\n`, {mode: 0o600});
    assert.equal(daemon.cli('--config', config, 'repo', 'stats').status, 0);
    assert.notEqual(cli(daemon, 'repo', 'key', 'rm', 'abc').status, 0, 'a prefix that is too short');
  });

  it('is made once', () => {
    const again = cli(daemon, 'repo', 'init');
    assert.notEqual(again.status, 0);
    assert.match(again.stderr, /there is a repository already/);
  });

  it('atoll prunes as well as restic', async () => {
    await box.sh('head -c 5000000 /dev/urandom > /workspace/tree/noise');
    const {snapshotId} = await box.snapshot('/workspace/tree');
    await box.sh('rm /workspace/tree/noise');
    const stays = await box.snapshot('/workspace/tree');
    const before = await describeTree('/workspace/tree');
    assert.equal((await daemon.request('', {method: 'DELETE', path: `/v1/snapshots/${snapshotId}`})).status, 204);
    const result = JSON.parse(cliOk(daemon, 'repo', 'prune', '--json'));
    assert.ok(result.bytesFreed > 4_900_000, JSON.stringify(result));
    assertSound(daemon, '--read-data');
    await box.sh('rm -rf /workspace/tree');
    await box.restore(stays.snapshotId);
    assert.deepEqual(await describeTree('/workspace/tree'), before);
    await box.snapshot('/workspace/tree');
    assertSound(daemon, '--read-data');
    assert.equal(JSON.parse(cliOk(daemon, 'repo', 'prune', '--json')).packsRemoved, 0);
  });
});

describe('a repository that cannot be used', () => {
  let daemon;

  before(async () => {
    daemon = await Daemon.start();
  });
  after(() => daemon?.cleanup());

  const store = () => path.join(daemon.stateDir, 'snapshots');

  async function refusesAll(code, words) {
    const box = daemon.sandbox('without');
    const refused = await box.post('/create', {opencode: false});
    assertError(refused, refused.status, code);
    assert.match(refused.json().message, words);
    assert.deepEqual(await daemon.ids(), [], 'nothing is left of it');
    await box.create({snapshots: {onStart: false}});
    assert.equal(await box.sh('echo works'), 'works\n');
    for (const answer of [await box.post('/snapshot', {dir: '/workspace'}), await box.post(`/restore/${'0'.repeat(64)}`),
                          await daemon.request('', {path: '/v1/snapshots'})]) {
      assertError(answer, answer.status, code);
      assert.match(answer.json().message, words);
    }
    // A stop keeps what cannot be saved.
    await box.sh('echo only here > /workspace/only');
    const stopped = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/without/stop'});
    assert.equal(stopped.status, 200, stopped.text);
    assert.equal(stopped.json().saved, false);
    assert.match(stopped.json().saveFailure, words);
    assert.equal(await box.sh('cat /workspace/only'), 'only here\n');
    assert.equal((await box.delete()).status, 204);
    const check = cli(daemon, 'repo', 'check');
    assert.equal(check.status, 1);
    assert.match(check.stderr, words);
  }

  it('for its password is another one says so', async () => {
    const file = path.join(daemon.stateDir, 'snapshots.password');
    await eventually('it is made', () => fs.existsSync(path.join(store(), 'config')));
    const right = fs.readFileSync(file);
    fs.writeFileSync(file, 'wrong\n');
    await daemon.restart();
    await eventually('the log says it at the start', () => /error.*password/i.test(daemon.logTail()));
    await refusesAll('REPOSITORY_PASSWORD_WRONG', /password/);
    fs.writeFileSync(file, right);
    // Nobody has to start the daemon again.
    await sleep(1100);
    const box = daemon.sandbox('again');
    await box.create();
    await box.snapshot('/workspace');
    await box.delete();
  });

  it('for its password file is empty says so', async () => {
    const file = path.join(daemon.stateDir, 'snapshots.password');
    const right = fs.readFileSync(file);
    fs.writeFileSync(file, '\n');
    await daemon.restart();
    const refused = await daemon.sandbox('empty').post('/create', {opencode: false});
    assert.ok(refused.status >= 400);
    assert.match(refused.json().message, /snapshots\.password is empty/);
    fs.writeFileSync(file, right);
    await sleep(1100);
  });

  it('for it is of version 1 says so', async () => {
    await daemon.stop();
    fs.renameSync(store(), store() + '-2');
    restic(daemon, ['init', '--repository-version', '1'], {});
    await daemon.launch();
    await refusesAll('REPOSITORY_VERSION', /version 1/);
    await daemon.stop();
    fs.rmSync(store(), {recursive: true});
    fs.renameSync(store() + '-2', store());
    await daemon.launch();
  });
});

describe('how long snapshots stay', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start({sections: {snapshots: {ttl: '1h', prune_interval: '0'}}});
    box = daemon.sandbox('ages');
    await box.create();
  });
  after(() => daemon?.cleanup());

  const take = async (text, options = {}) => {
    await box.sh(`echo ${text} > /workspace/text`);
    const answer = await box.post('/snapshot', {dir: '/workspace', ...options});
    assert.equal(answer.status, 200, answer.text);
    return answer.json().snapshotId;
  };
  const patch = async (id, json) => {
    const answer = await daemon.request('', {method: 'PATCH', path: `/v1/snapshots/${id}`, json});
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  };
  const ids = async () => (await listed(daemon)).map((each) => each.snapshotId);

  it('is as configured, as asked for, or for ever', async () => {
    const life = async (id) => {
      const one = (await listed(daemon)).find((each) => each.snapshotId === id);
      return one.expiresAt === undefined ? null : Math.round((Date.parse(one.expiresAt) - Date.parse(one.createdAt)) / 1000);
    };
    const near = async (id, seconds) => assert.ok(Math.abs(await life(id) - seconds) <= 3, `${await life(id)} is not ${seconds}`);
    await near(await take('default'), 3600);
    await near(await take('days', {ttl: '2d'}), 2 * 86400);
    await near(await take('seconds', {ttl: 90}), 90);
    const never = await take('never', {ttl: 'never'});
    assert.equal(await life(never), null);
    await patch(never, {ttl: '1d'});
    assert.ok(await life(never) > 86000);
    await patch(never, {ttl: 'never'});
    assert.equal(await life(never), null);
  });

  it('ends: what has expired is not restored, and pruned; what is pinned or newest stays', async () => {
    const expired = await take('expired', {ttl: '2s'});
    const pinned = await take('pinned', {ttl: '2s'});
    const lives = await take('lives');
    const newest = await take('newest', {ttl: '2s'});
    await patch(pinned, {pinned: true});
    await sleep(3000);
    assertError(await box.post(`/restore/${expired}`), 410, 'BACKUP_EXPIRED');
    await box.restore(pinned);
    assert.equal(await box.sh('cat /workspace/text'), 'pinned\n');
    await box.restore(newest);
    assert.equal(await box.sh('cat /workspace/text'), 'newest\n');
    assertError(await daemon.request('', {method: 'DELETE', path: `/v1/snapshots/${pinned}`}), 409, 'SNAPSHOT_PINNED');
    cliOk(daemon, 'repo', 'prune');
    await eventually('it is gone', async () => !(await ids()).includes(expired));
    const left = await ids();
    for (const id of [pinned, lives, newest]) assert.ok(left.includes(id), id);
    await eventually('the daemon knows', async () =>
      (await box.post(`/restore/${expired}`)).status === 404);
    await patch(pinned, {pinned: false});
    cliOk(daemon, 'repo', 'prune');
    await eventually('it is gone', async () => !(await ids()).includes(pinned));
    assertSound(daemon, '--read-data');
    await box.restore(lives);
    assert.equal(await box.sh('cat /workspace/text'), 'lives\n');
  });

  it('ends for the newest as well once its sandbox is gone', async () => {
    const other = daemon.sandbox('leaves');
    await other.create();
    const {snapshotId} = (await other.post('/snapshot', {dir: '/workspace', ttl: '1s'})).json();
    await sleep(2000);
    cliOk(daemon, 'repo', 'prune');
    await sleep(1100);
    assert.ok((await ids()).includes(snapshotId), 'it is the only one');
    await other.delete();
    cliOk(daemon, 'repo', 'prune');
    await eventually('it is gone', async () => !(await ids()).includes(snapshotId));
  });

  it('is longer by rules', async () => {
    const config = path.join(daemon.dir, 'rules.toml');
    fs.writeFileSync(config, fs.readFileSync(daemon.config, 'utf8') + '\n[snapshots.keep]\nlast = 2\n', {mode: 0o600});
    const old = [];
    for (const text of ['r1', 'r2', 'r3', 'r4']) old.push(await take(text, {ttl: '1s'}));
    await sleep(2000);
    const pruned = daemon.cli('--config', config, 'repo', 'prune');
    assert.equal(pruned.status, 0, pruned.stderr);
    await sleep(1100);
    const left = await ids();
    assert.deepEqual(old.map((id) => left.includes(id)), [false, false, true, true]);
    assertSound(daemon);
  });
});

describe('two daemons on one repository', () => {
  let first;
  let second;

  before(async () => {
    first = await Daemon.start();
    await eventually('the repository is there', () => fs.existsSync(path.join(first.stateDir, 'snapshots', 'config')));
    second = await Daemon.start({sections: {snapshots: {
      store: path.join(first.stateDir, 'snapshots'),
      password_file: path.join(first.stateDir, 'snapshots.password'),
    }}});
  });
  after(async () => {
    await second?.cleanup();
    await first?.cleanup();
  });

  it('see what the other one made', async () => {
    const [a, b] = [first.sandbox('here'), second.sandbox('there')];
    await Promise.all([a.create(), b.create()]);
    await a.sh('echo of the first > /workspace/text');
    const {snapshotId} = await a.snapshot('/workspace');
    await eventually('it is listed there', async () =>
      (await listed(second)).some((each) => each.snapshotId === snapshotId));
    const answer = await second.request('', {method: 'POST', path: `/v1/sandboxes/there/restore/${snapshotId}`});
    assert.equal(answer.status, 200, answer.text);
    assert.equal(await b.sh('cat /workspace/text'), 'of the first\n');
    const same = await b.snapshot('/workspace');
    assert.ok(same.bytesAdded < 2000, String(same.bytesAdded));
  });

  it('write and prune at the same time', async () => {
    const work = async (daemon, id) => {
      const box = daemon.sandbox(id);
      await box.create();
      for (let i = 0; i < 6; ++i) {
        await box.sh(`cd /workspace && head -c 1500000 /dev/urandom > noise${i % 2} && echo ${id}${i} > text`);
        const {snapshotId} = await box.snapshot('/workspace');
        if (i % 2) assert.equal((await daemon.request('', {method: 'DELETE', path: `/v1/snapshots/${snapshotId}`})).status, 204);
      }
    };
    const prune = async () => {
      for (let i = 0; i < 3; ++i) {
        await sleep(200);
        cliOk(second, 'repo', 'prune');
        cliOk(first, 'repo', 'prune');
      }
    };
    await Promise.all([work(first, 'p1'), work(first, 'p2'), work(second, 'p3'), work(second, 'p4'), prune()]);
    for (const [daemon, id] of [[first, 'p1'], [first, 'p2'], [second, 'p3'], [second, 'p4']]) {
      const box = daemon.sandbox(id);
      const [newest] = await listed(daemon, `?sandbox=${id}&dir=/workspace`);
      await box.sh('rm -rf /workspace/*');
      await box.restore(newest.snapshotId);
      assert.equal(await box.sh('cat /workspace/text; wc -c < /workspace/noise0'), `${id}4\n1500000\n`);
    }
    assertSound(first, '--read-data');
    assert.deepEqual(fs.readdirSync(path.join(first.stateDir, 'snapshots', 'locks')), []);
  });
});
