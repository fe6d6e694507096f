// SPDX-License-Identifier: Apache-2.0
// The daemon dies in the middle of things. The next one finds every sandbox that was running, and
// nothing half-made.

import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, beforeEach, describe, it} from 'node:test';

import {buildDir, Daemon, eventually, sleep} from './support/daemon.mjs';
import {GitServer} from './support/git_server.mjs';
import {assertSound} from './support/restic.mjs';

// One that ends by itself meanwhile, with its parent, is as good.
function endProcess(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

describe('a daemon that dies', () => {
  let daemon;
  let git;
  let survivor;
  let marker;

  before(async () => {
    git = await GitServer.start();
    daemon = await Daemon.start({sections: {egress: {host_ports: [git.port]}}});
    survivor = daemon.sandbox('survivor');
    await survivor.create();
    await survivor.background('exec sleep 77777');
    marker = await survivor.sh('pgrep -f "^sleep 77777"; cat /proc/sys/kernel/random/boot_id; hostname');
    await survivor.sh('echo kept > /workspace/file');
  });
  after(async () => {
    await git?.stop();
    await daemon?.cleanup();
  });

  async function assertSurvived() {
    assert.equal(await survivor.sh('pgrep -f "^sleep 77777"; cat /proc/sys/kernel/random/boot_id; hostname'), marker);
    const one = (await daemon.list()).find((each) => each.id === 'survivor');
    assert.equal(one.state, 'running');
    assert.ok((await survivor.sh('cat /workspace/file')).includes('kept'));
  }

  // Begins something, kills the daemon after a while, and starts the next one.
  async function interrupt(operation, afterMs) {
    const running = operation().catch(() => null);
    await sleep(afterMs);
    await daemon.kill9();
    const result = await running;
    await daemon.launch();
    return result;
  }

  it('during create leaves a whole sandbox or none', async () => {
    for (const ms of [1, 5, 10, 15, 20, 30, 45, 70, 120]) {
      const id = `made-${ms}`;
      await interrupt(() => daemon.sandbox(id).create(), ms);
      const found = (await daemon.list()).find((each) => each.id === id);
      if (found) {
        assert.ok(['running', 'stopped'].includes(found.state), `after ${ms} ms: ${found.state}`);
        assert.equal(await daemon.sandbox(id).sh('echo works'), 'works\n');
      }
      daemon.assertNoLeaks();
      // The id can be used whatever became of it.
      await daemon.sandbox(id).create();
      assert.equal((await daemon.sandbox(id).delete()).status, 204);
    }
    await assertSurvived();
  });

  it('during delete leaves nothing of it', async () => {
    for (const ms of [1, 6, 15, 40]) {
      const box = daemon.sandbox('deleted');
      await box.create();
      await interrupt(() => box.delete(), ms);
      const found = (await daemon.list()).find((each) => each.id === 'deleted');
      // The request may not have been read yet; what was begun is finished.
      if (found) assert.equal((await box.delete()).status, 204);
      daemon.assertNoLeaks();
    }
    await assertSurvived();
  });

  it('during run ends that command and nothing else', async () => {
    const result = await interrupt(async () => {
      const run = await survivor.start('echo begun; exec sleep 66666');
      const seen = [];
      for await (const event of run.events) seen.push(event);
      return seen;
    }, 400);
    assert.ok(result === null || result.every((event) => event.type !== 'complete'), 'no made-up completion');
    await eventually('the command is gone', async () =>
      await survivor.sh('pgrep -fc "^sleep 66666" || true') === '0\n');
    await assertSurvived();
  });

  it('during a snapshot keeps a whole one or none', async () => {
    await survivor.sh('mkdir -p /workspace/tree && cd /workspace/tree && ' +
                      'for i in $(seq 1 300); do head -c 100000 /dev/urandom > $i; done');
    const sums = await survivor.sh('cd /workspace/tree && cat * | sha256sum');
    for (const ms of [5, 25, 60, 120, 250, 500]) {
      await interrupt(() => survivor.snapshot('/workspace/tree'), ms);
      const answer = await daemon.request('', {path: '/v1/sandboxes/survivor/snapshots'});
      for (const one of answer.json().snapshots) {
        await survivor.sh('rm -rf /workspace/tree');
        await survivor.restore(one.snapshotId);
        assert.equal(await survivor.sh('cd /workspace/tree && cat * | sha256sum'), sums);
      }
      daemon.assertNoLeaks();
      assertSound(daemon);
    }
    // No lock is left that keeps the next one waiting, and what was half there is no obstacle.
    const {snapshotId} = await survivor.snapshot('/workspace/tree');
    const list = (await daemon.request('', {path: '/v1/sandboxes/survivor/snapshots'})).json().snapshots;
    assert.equal(list[0].snapshotId, snapshotId);
    assert.deepEqual(fs.readdirSync(path.join(daemon.stateDir, 'snapshots', 'locks')), []);
    assertSound(daemon, '--read-data');
    await assertSurvived();
  });

  it('during prune and forget loses nothing', async () => {
    await survivor.sh('mkdir -p /workspace/churn');
    for (const ms of [0, 10, 30, 60, 120]) {
      await survivor.sh('head -c 3000000 /dev/urandom > /workspace/churn/noise');
      const gone = await survivor.snapshot('/workspace/churn');
      await survivor.sh('echo kept > /workspace/churn/noise');
      const kept = await survivor.snapshot('/workspace/churn');
      assert.equal((await daemon.request('', {method: 'DELETE', path: `/v1/snapshots/${gone.snapshotId}`})).status, 204);
      const prune = spawn(path.join(buildDir, 'atoll'), ['--config', daemon.config, 'repo', 'prune'],
                          {cwd: daemon.dir, env: daemon.env, stdio: 'ignore'});
      const ended = new Promise((resolve) => prune.once('exit', resolve));
      await sleep(700 + ms);
      prune.kill('SIGKILL');
      await ended;
      await survivor.sh('rm /workspace/churn/noise');
      await survivor.restore(kept.snapshotId);
      assert.equal(await survivor.sh('cat /workspace/churn/noise'), 'kept\n');
      await survivor.snapshot('/workspace/churn');
      assertSound(daemon, '--read-data');
    }
    const whole = daemon.cli('--config', daemon.config, 'repo', 'prune');
    assert.equal(whole.status, 0, whole.stderr);
    assertSound(daemon, '--read-data');
    await survivor.sh('rm -rf /workspace/churn');
  });

  it('during a restore leaves the old directory or the kept one', async () => {
    const kept = await survivor.sh('cd /workspace/tree && cat * | sha256sum');
    const {snapshotId} = await survivor.snapshot('/workspace/tree');
    for (const ms of [5, 30, 80, 160, 300]) {
      await survivor.sh('cd /workspace/tree && rm -rf -- * && echo old > old');
      const old = await survivor.sh('cd /workspace/tree && cat * | sha256sum');
      await interrupt(() => survivor.restore(snapshotId), ms);
      const now = await survivor.sh('cd /workspace/tree && cat * | sha256sum');
      assert.ok([kept, old].includes(now), `after ${ms} ms the directory is neither`);
      assert.equal(await survivor.sh('ls -A /workspace'), 'file\ntree\n');
      await survivor.restore(snapshotId);
      assert.equal(await survivor.sh('cd /workspace/tree && cat * | sha256sum'), kept);
    }
    daemon.assertNoLeaks();
    assertSound(daemon);
    await assertSurvived();
  });

  it('during a clone leaves nothing of it', async () => {
    const before = await survivor.sh('ls -A /workspace');
    const cloning = survivor.post('/gitClone', {repo: git.url('hang.git'), dir: '/workspace/hung'}).catch(() => null);
    await eventually('it clones', async () =>
      (await survivor.sh('ls -A /workspace')).includes('.clone-'), 20_000);
    await daemon.kill9();
    await cloning;
    await daemon.launch();
    await eventually('it is gone', async () => await survivor.sh('ls -A /workspace') === before, 20_000);
    assert.equal(await survivor.sh('pgrep -c "^git" || true'), '0\n');
    await assertSurvived();
  });

  it('during everything at once', async () => {
    for (const ms of [20, 100]) {
      await interrupt(() => Promise.allSettled([
        daemon.sandbox('a1').create(), daemon.sandbox('a2').create(), survivor.snapshot('/workspace/tree'),
        survivor.run('seq 1 1000000'), daemon.sandbox('a1').delete(),
      ]), ms);
      daemon.assertNoLeaks();
      for (const id of ['a1', 'a2']) {
        await daemon.sandbox(id).create();
        assert.equal((await daemon.sandbox(id).delete()).status, 204);
      }
      await assertSurvived();
    }
  });
});

describe('a daemon that is asked to end', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('drain');
    await box.create();
  });
  beforeEach(async () => {
    if (!daemon.isRunning()) await daemon.launch();
  });
  after(() => daemon?.cleanup());

  it('lets a short command finish', async () => {
    const running = box.run('sleep 1; echo finished');
    await sleep(300);
    const {code} = await daemon.stop();
    assert.equal(code, 0);
    const {stdout, exitCode} = await running;
    assert.equal(stdout, 'finished\n');
    assert.equal(exitCode, 0);
  });

  it('leaves sandboxes running for the next one', async () => {
    await box.background('exec sleep 55555');
    const pid = await box.sh('pgrep -f "^sleep 55555"');
    await daemon.restart();
    assert.equal(await box.sh('pgrep -f "^sleep 55555"'), pid);
    assert.equal((await daemon.list())[0].state, 'running');
  });

  it('does not wait forever for a client that stays', async () => {
    const run = await box.start('exec sleep 44444');
    for await (const event of run.events) if (event.type === 'start') break;
    const {code} = await daemon.stop();
    assert.equal(code, 0);
    run.close();
  });

  it('is one at a time for a run directory', async () => {
    const second = daemon.cliWith({timeout: 20_000}, 'serve', '--config', daemon.config);
    assert.notEqual(second.status, 0);
    assert.equal(await box.sh('echo undisturbed'), 'undisturbed\n');
  });

  for (const [what, own] of [['state directory', ['run_dir', 'cgroup']], ['name for cgroups', ['run_dir', 'state_dir']]]) {
    it(`is one at a time for a ${what}`, async () => {
      let text = fs.readFileSync(daemon.config, 'utf8');
      for (const key of own) text = text.replace(new RegExp(`^${key} = "(.*)"$`, 'm'), `${key} = "$1-second"`);
      const config = path.join(daemon.dir, 'second.toml');
      fs.writeFileSync(config, text, {mode: 0o600});
      const second = daemon.cliWith({timeout: 20_000}, 'serve', '--config', config);
      assert.notEqual(second.status, 0);
      assert.match(second.stderr, /another daemon/);
      assert.equal(await box.sh('echo undisturbed'), 'undisturbed\n');
      assert.equal((await daemon.list())[0].state, 'running');
    });
  }

  it('shows what its database holds to nobody else', () => {
    const files = fs.readdirSync(daemon.stateDir).filter((name) => name.startsWith('atoll.db'));
    assert.ok(files.includes('atoll.db-wal'), String(files));
    for (const name of files) assert.equal(fs.statSync(path.join(daemon.stateDir, name)).mode & 0o077, 0, name);
  });

  it('takes a sandbox whose programs died with the machine as stopped, and starts it again', async () => {
    await box.sh('echo layer > /workspace/layer');
    await daemon.stop();
    // As after a reboot: no process, no mount of the sandbox is left.
    const [id] = fs.readdirSync(path.join(daemon.runDir, 'sandboxes'));
    for (const pid of containerProcesses(id)) endProcess(pid, 'SIGKILL');
    await daemon.launch();
    const known = await eventually('it is found stopped', async () => {
      const one = (await daemon.list()).find((item) => item.id === box.id);
      return one.state === 'stopped' && one;
    });
    assert.equal(known.unsaved, true, 'what it held was not saved before it ended');
    assert.equal(await box.sh('cat /workspace/layer'), 'layer\n');
  });

  // Processes whose cgroup is that of the sandbox with the internal id.
  function containerProcesses(id) {
    return fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter((pid) => {
      try {
        return fs.readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(id);
      } catch {
        return false;
      }
    }).map(Number);
  }
});
