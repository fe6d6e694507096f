// SPDX-License-Identifier: Apache-2.0
// What belongs to nothing is named and, when that is wanted, removed; what belongs to somebody is
// left alone.

import assert from 'node:assert/strict';
import {spawn, spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';

const IID = 'feedfacefeedface';

function must(command, ...args) {
  const done = spawnSync(command, args, {encoding: 'utf8'});
  assert.equal(done.status, 0, `${command} ${args.join(' ')}: ${done.stdout}${done.stderr}`);
  return done.stdout;
}

/** Runs SQL on the database of a daemon that does not run. */
function sql(daemon, text) {
  must('python3', '-c', `import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute(sys.argv[2])
db.commit()`, path.join(daemon.stateDir, 'atoll.db'), text);
}

/** The groups of all sandboxes of a daemon, one in each hierarchy. */
function groupRoots(daemon) {
  return must('find', '/sys/fs/cgroup/', '-maxdepth', '4', '-type', 'd', '-name', daemon.cgroup).trim().split('\n');
}

function controlFile(daemon, iid) {
  for (const root of groupRoots(daemon)) {
    for (const name of ['cgroup.freeze', 'freezer.state']) {
      const file = path.join(root, iid, 'work', name);
      if (fs.existsSync(file)) return [file, name === 'cgroup.freeze' ? ['1', '0'] : ['FROZEN', 'THAWED']];
    }
  }
  return assert.fail('no freezer');
}

function isAlive(pid) {
  try {
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

describe('leaks', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('healthy');
    await box.create();
    await box.sh('echo kept > /workspace/file');
  });
  after(() => daemon?.cleanup());

  const look = () => {
    const result = daemon.cli('doctor', '--leaks', '--json', '--config', daemon.config);
    const leaks = JSON.parse(result.stdout).leaks;
    assert.equal(result.status, leaks.length === 0 ? 0 : 1);
    return leaks;
  };
  const kinds = (leaks) => [...new Set(leaks.map((one) => one.kind))].sort();
  /** Named before, removed now, gone at a second look. */
  const fixes = (...expected) => {
    const found = look();
    for (const kind of expected) assert.ok(kinds(found).includes(kind), `${kind}: ${JSON.stringify(found)}`);
    const fixed = daemon.cli('doctor', '--leaks', '--fix', '--config', daemon.config);
    assert.equal(fixed.status, 0, fixed.stdout + fixed.stderr);
    for (const leak of found) assert.ok(fixed.stdout.includes(leak.what), `${leak.what}\n${fixed.stdout}`);
    assert.deepEqual(look(), []);
    return found;
  };
  const healthy = async () => assert.equal(await box.sh('cat /workspace/file'), 'kept\n');

  const plant = () => {
    const planted = {};
    // A program in a group of its own that stands still.
    planted.child = spawn('sleep', ['7777'], {stdio: 'ignore'});
    for (const root of groupRoots(daemon)) {
      for (const leaf of ['work', 'agent']) fs.mkdirSync(path.join(root, IID, leaf), {recursive: true});
      const cpus = ['cpuset.cpus', 'cpuset.mems'];
      for (const dir of [IID, `${IID}/work`, `${IID}/agent`]) {
        for (const name of cpus) {
          const file = path.join(root, dir, name);
          if (fs.existsSync(file)) fs.writeFileSync(file, fs.readFileSync(path.join(root, dir, '..', name)));
        }
      }
      fs.writeFileSync(path.join(root, IID, 'work', 'cgroup.procs'), `${planted.child.pid}`);
    }
    const [control, [freeze]] = controlFile(daemon, IID);
    fs.writeFileSync(control, freeze);
    // Directories, with a mount and a namespace in them.
    const run = path.join(daemon.runDir, 'sandboxes', IID);
    fs.mkdirSync(path.join(run, 'rootfs'), {recursive: true});
    planted.outside = path.join(daemon.dir, 'outside');
    fs.mkdirSync(planted.outside, {recursive: true});
    fs.writeFileSync(path.join(planted.outside, 'file'), 'not theirs');
    must('mount', '--bind', planted.outside, path.join(run, 'rootfs'));
    fs.writeFileSync(path.join(run, 'netns'), '');
    must('unshare', `--net=${path.join(run, 'netns')}`, 'true');
    fs.mkdirSync(path.join(daemon.stateDir, 'sandboxes', IID, 'upper'), {recursive: true});
    fs.mkdirSync(path.join(daemon.runDir, 'sandboxes', 'nonsense'), {recursive: true});
    fs.mkdirSync(path.join(daemon.runDir, 'crun', IID), {recursive: true});
    fs.mkdirSync(path.join(daemon.stateDir, 'lost', `${IID}-then`, 'upper'), {recursive: true});
    return planted;
  };
  const ALL = ['cgroup', 'container', 'directory', 'lost', 'mount', 'namespace', 'process'];

  it('are none of a healthy daemon', async () => {
    assert.deepEqual(look(), []);
    // Whatever it does meanwhile.
    let done = false;
    const work = (async () => {
      for (let i = 0; i < 12 || !done; ++i) {
        const one = daemon.sandbox(`busy-${i % 3}`);
        await one.create();
        if (i % 2) await daemon.request('', {method: 'POST', path: `/v1/sandboxes/busy-${i % 3}/stop`});
        assert.equal((await one.delete()).status, 204);
        if (i > 400) break;
      }
    })();
    for (let i = 0; i < 5; ++i) {
      const child = spawn(process.env.ATOLL_BUILD_DIR + '/atoll',
                          ['doctor', '--leaks', '--fix', '--json', '--config', daemon.config], {cwd: daemon.dir});
      let out = '';
      child.stdout.on('data', (part) => { out += part; });
      const code = await new Promise((resolve) => child.once('exit', resolve));
      assert.equal(code, 0, out);
      assert.deepEqual(JSON.parse(out).leaks, []);
    }
    done = true;
    await work;
    await healthy();
  });

  it('are found and removed beside a running daemon', async () => {
    const planted = plant();
    const found = fixes(...ALL);
    assert.ok(found.every((leak) => [IID, 'nonsense', ''].includes(leak.owner)), JSON.stringify(found));
    await eventually('the program has ended', () => !isAlive(planted.child.pid));
    assert.equal(fs.readFileSync(path.join(planted.outside, 'file'), 'utf8'), 'not theirs');
    assert.doesNotMatch(fs.readFileSync('/proc/mounts', 'utf8'), new RegExp(IID));
    await healthy();
  });

  it('are found and removed without one', async () => {
    await daemon.kill9();
    const planted = plant();
    fs.mkdirSync(path.join(daemon.stateDir, 'trash', IID, 'upper'), {recursive: true});
    fixes(...ALL, 'trash');
    await eventually('the program has ended', () => !isAlive(planted.child.pid));
    await daemon.launch();
    assert.match(fs.readFileSync(daemon.log, 'utf8'), /healthy is running: adopted/);
    await healthy();
  });

  it('are whole sandboxes that nobody knows', async () => {
    const lost = daemon.sandbox('forgotten');
    await lost.create({disk: '64M'});
    await lost.background('exec sleep 8888');
    await daemon.kill9();
    sql(daemon, "DELETE FROM sandboxes WHERE id = 'forgotten'");
    const found = fixes('cgroup', 'container', 'directory', 'process');
    assert.equal(new Set(found.map((leak) => leak.owner)).size, 1, JSON.stringify(found));
    await daemon.launch();
    assert.deepEqual(await daemon.ids(), ['healthy']);
    await healthy();
  });

  it('are groups that were left frozen', async () => {
    const [iid] = fs.readdirSync(path.join(daemon.runDir, 'sandboxes'));
    await daemon.kill9();
    const [control, [freeze, thaw]] = controlFile(daemon, iid);
    fs.writeFileSync(control, freeze);
    const found = fixes('frozen');
    assert.deepEqual(found.map((leak) => [leak.kind, leak.owner]), [['frozen', iid]]);
    assert.equal(fs.readFileSync(control, 'utf8').trim(), thaw);
    await daemon.launch();
    await healthy();
  });

  it('are locks of the repository, whose owner is gone', async () => {
    await box.sh('head -c 60M /dev/urandom > /workspace/large');
    const locks = path.join(daemon.stateDir, 'snapshots/locks');
    const taken = box.snapshot('/workspace').catch(() => null);
    await eventually('the snapshot holds a lock', () => fs.readdirSync(locks).some((name) => name.length === 64));
    await daemon.kill9();
    await taken;
    const found = fixes('lock');
    assert.deepEqual(fs.readdirSync(locks), [], JSON.stringify(found));
    await daemon.launch();
    await box.snapshot('/workspace');
    await box.sh('rm /workspace/large');
    await healthy();
  });

  // A template that is whole, with what starts have left in it, and one that is not.
  const template = () => {
    const all = path.join(daemon.stateDir, 'templates');
    const [iid] = fs.readdirSync(path.join(daemon.runDir, 'sandboxes'));
    const planted = {all, part: path.join(all, 'other.part'), left: path.join(all, 'key', `view-${IID}`),
                     used: path.join(all, 'key', `view-${iid}`), whole: path.join(all, 'key', 'layer')};
    for (const dir of [planted.left, planted.used, planted.whole, path.join(planted.part, 'layer')]) {
      fs.mkdirSync(dir, {recursive: true});
      const file = path.join(dir, 'file');
      fs.writeFileSync(file, 'content');
      // A layer has the ids of the sandbox that the template was made of.
      if (dir.endsWith('layer')) fs.chownSync(file, NOBODYS, NOBODYS);
    }
    return planted;
  };
  const NOBODYS = 0x10000000 + 40_000 * 65536;

  it('are parts of templates that nobody makes, and of starts that are over', async () => {
    const {all, part, left, used, whole} = template();
    const making = spawn('flock', [all, 'sh', '-c', 'echo locked; exec sleep 600'], {stdio: ['ignore', 'pipe', 'ignore'], detached: true});
    try {
      await new Promise((resolve) => making.stdout.once('data', resolve));
      const named = look().map((leak) => leak.what);
      assert.ok(!named.some((what) => what.startsWith(part)), `${named}`);
      assert.ok(named.includes(left));
    } finally {
      process.kill(-making.pid, 'SIGKILL');
    }
    const named = fixes('temporary').filter((leak) => leak.kind === 'temporary').map((leak) => leak.what);
    assert.deepEqual(named.sort(), [left, part].sort());
    assert.ok(fs.existsSync(path.join(whole, 'file')) && fs.existsSync(used) && !fs.existsSync(part));

    // A daemon that starts does the same, and removes templates that nobody can use any more.
    await daemon.kill9();
    template();
    await daemon.launch();
    assert.ok(!fs.existsSync(part) && !fs.existsSync(left));
    fs.rmSync(all, {recursive: true});
    await healthy();
  });

  it('are files with user ids that no sandbox has', async () => {
    const [iid] = fs.readdirSync(path.join(daemon.runDir, 'sandboxes'));
    const layer = path.join(daemon.stateDir, 'sandboxes', iid);
    const own = fs.statSync(path.join(layer, 'upper')).uid;
    const memory = path.join(daemon.stateDir, 'memory');
    const paths = [path.join(layer, 'copy'), path.join(memory, `${iid}.part`), path.join(memory, `${iid}.taken`)];
    for (const [i, dir] of paths.entries()) {
      fs.mkdirSync(dir, {recursive: true});
      fs.chownSync(dir, ...(i < 2 ? [NOBODYS, NOBODYS] : [own, own]));
    }
    const inside = path.join(layer, 'upper/workspace/foreign');
    fs.writeFileSync(inside, 'content');
    fs.chownSync(inside, NOBODYS, NOBODYS);
    const found = fixes('ids');
    assert.deepEqual(found.map((leak) => [leak.kind, leak.what]).sort(), [['ids', paths[1]], ['ids', paths[0]]].sort());
    assert.deepEqual(paths.map((dir) => fs.existsSync(dir)), [false, false, true]);
    assert.ok(fs.existsSync(inside), 'what is in a layer is somebody\'s');
    fs.rmdirSync(paths[2]);
    fs.rmSync(inside);
    await healthy();
  });

  it('are no files, when an older database is put back', async () => {
    await daemon.stop();
    const db = path.join(daemon.stateDir, 'atoll.db');
    fs.copyFileSync(db, `${db}.old`);
    await daemon.launch();
    const work = daemon.sandbox('work');
    await work.create();
    await work.sh('echo precious > /workspace/file');
    await daemon.kill9();
    for (const end of ['-wal', '-shm']) fs.rmSync(db + end, {force: true});
    fs.renameSync(`${db}.old`, db);
    await daemon.launch();
    assert.deepEqual(await daemon.ids(), ['healthy']);
    const [name] = fs.readdirSync(path.join(daemon.stateDir, 'lost'));
    const file = path.join(daemon.stateDir, 'lost', name, 'upper/workspace/file');
    assert.equal(fs.readFileSync(file, 'utf8'), 'precious\n');
    assert.match(fs.readFileSync(daemon.log, 'utf8'), new RegExp(`set aside in .*${name}`));
    // Their user ids are given to nobody else as long as they are there.
    const another = daemon.sandbox('another');
    await another.create();
    const uidOf = (dir) => fs.statSync(path.join(daemon.stateDir, dir, 'upper')).uid;
    const uids = fs.readdirSync(path.join(daemon.stateDir, 'sandboxes')).map((iid) => uidOf(`sandboxes/${iid}`));
    assert.equal(uids.length, 2);
    assert.ok(!uids.includes(uidOf(`lost/${name}`)), `${uids}`);
    await another.delete();
    fixes('lost');
    assert.ok(!fs.existsSync(file));
    await healthy();
  });

  it('are not everything, when the database is gone', async () => {
    await daemon.stop();
    const db = path.join(daemon.stateDir, 'atoll.db');
    fs.renameSync(db, `${db}.away`);
    const refused = daemon.cli('doctor', '--leaks', '--fix', '--config', daemon.config);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /atoll\.db is not there/);
    fs.renameSync(`${db}.away`, db);
    await daemon.launch();
    await healthy();
  });
});
