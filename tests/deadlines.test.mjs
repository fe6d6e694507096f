// SPDX-License-Identifier: Apache-2.0
// Whoever is waited for may never answer: agents, crun and CRIU that stand still, a store that takes connections and
// says nothing. Every call ends, says why, leaves no sandbox on its way from one state to another, and deleting works.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, preparedState} from './support/daemon.mjs';
import {assertError} from './support/http.mjs';
import {SilentStore} from './support/stores.mjs';

const SHORT = {runtime_deadline: '2s', checkpoint_deadline: '2s', agent_deadline: '2s'};
const AWAKE = {after: 'off', stop_after: 'off'};
const CRIU = path.join(preparedState, 'criu', 'criu');

/** A program in the place of a real one, which stands still, or ends, when it is called with a word of `during`. */
function standIn(dir, name, real) {
  const order = path.join(dir, `${name}.hangs`);
  const file = path.join(dir, name);
  fs.writeFileSync(file, `#!/bin/sh
if [ -e ${order} ]; then
  read -r signal words < ${order}
  for word in $words; do case " $* " in *" $word "*) kill -$signal $$ ;; esac; done
  case $(cat ${order}) in *at-the-end*) set -- "$@" --action-script ${file}.at-the-end ;; esac
fi
exec ${real} "$@"
`, {mode: 0o755});
  fs.writeFileSync(`${file}.at-the-end`, `#!/bin/sh
[ "$CRTOOLS_SCRIPT_ACTION" != post-dump ] || kill -STOP $$
`, {mode: 0o755});
  return {
    file,
    async during(words, work, signal = 'STOP') {
      fs.writeFileSync(order, `${signal} ${words}\n`);
      try {
        return await work();
      } finally {
        fs.rmSync(order);
      }
    },
  };
}

/** Requests about sandboxes of `daemon`, and signals to their agents. */
function handle(daemon) {
  const v1 = (id, method, what = '', json = undefined) =>
    daemon.request('', {method, path: `/v1/sandboxes/${id}${what}`, ...(json && {json}), limitMs: 100_000});
  const stateOf = async (id) => (await daemon.list()).find((one) => one.id === id)?.state;
  const running = () => {
    const dir = path.join(daemon.runDir, 'sandboxes');
    return fs.existsSync(dir) ? fs.readdirSync(dir) : [];
  };
  return {
    v1, stateOf,
    /** A new sandbox, and what sends a signal to its agent. */
    async make(id, options = {}) {
      const others = running();
      const box = daemon.sandbox(id);
      await box.create(options);
      const [iid] = running().filter((name) => !others.includes(name));
      const pid = () => Number(fs.readFileSync(path.join(daemon.runDir, 'sandboxes', iid, 'bundle', 'pid'), 'utf8'));
      return Object.assign(box, {agent: (signal) => process.kill(pid(), signal)});
    },
    /** It can be deleted, as it is, and nothing of it is left. */
    async assertDeletable(id) {
      const gone = await v1(id, 'DELETE');
      assert.equal(gone.status, 204, gone.text);
      assert.equal(await stateOf(id), undefined);
      const again = await v1(id, 'DELETE');
      assert.ok([204, 404].includes(again.status), again.text);
      daemon.assertNoLeaks();
    },
  };
}

/** 503 or 504 with a code and a sentence. */
function assertGivenUp(answer, pattern = /./) {
  assert.ok([503, 504].includes(answer.status), `${answer.status} ${answer.text}`);
  const {code, message} = assertError(answer, answer.status);
  assert.match(message, pattern);
  return code;
}

describe('what stands still', () => {
  let programs;
  let crun;
  let criu;
  let daemon;
  let on;
  before(async () => {
    programs = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-programs-'));
    crun = standIn(programs, 'crun', '/usr/bin/crun');
    criu = standIn(programs, 'criu', CRIU);
    daemon = await Daemon.start({
      sections: {limits: SHORT, sleep: AWAKE, pool: {criu: criu.file}},
      env: {PATH: `${programs}:${process.env.PATH}`},
    });
    on = handle(daemon);
  });
  after(async () => {
    await daemon?.cleanup();
    fs.rmSync(programs, {recursive: true, force: true});
  });

  it('crun: a create is given up and undone', async () => {
    await crun.during('run', async () => {
      const answer = await daemon.sandbox('made').post('/create', {opencode: false}, {limitMs: 100_000});
      assert.equal(assertGivenUp(answer, /crun/), 'RUNTIME_TIMEOUT');
      assert.equal(await on.stateOf('made'), undefined);
      daemon.assertNoLeaks();
    });
    await on.make('made');
    await on.assertDeletable('made');
  });

  it('crun: two creates and a delete at once all end', async () => {
    await crun.during('run delete', async () => {
      const create = () => daemon.sandbox('both').post('/create', {opencode: false}, {limitMs: 100_000});
      const [one, two, gone] = await Promise.all([create(), create(), on.v1('both', 'DELETE')]);
      assertGivenUp(one);
      assertGivenUp(two);
      assert.ok([204, 404].includes(gone.status), gone.text);
    });
    assert.equal(await on.stateOf('both'), undefined);
    daemon.assertNoLeaks();
  });

  it('crun: a start fails, leaves the sandbox stopped, and works later', async () => {
    const box = await on.make('started');
    await box.sh('echo kept > /workspace/file');
    assert.equal((await on.v1('started', 'POST', '/stop', {})).status, 200);
    await crun.during('run delete', async () => {
      assertGivenUp(await on.v1('started', 'POST', '/wake'), /crun/);
      assert.equal(await on.stateOf('started'), 'stopped');
    });
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
    await crun.during('run delete', () => on.assertDeletable('started'));
  });

  it('a crun that is killed: a create is undone, a start leaves it stopped, a stop and a delete are done without it', async () => {
    const killed = (words, work) => crun.during(words, work, 'KILL');
    await killed('run', async () => {
      const answer = await daemon.sandbox('shot').post('/create', {opencode: false});
      assertError(answer, 503, 'CONTAINER_UNAVAILABLE');
      assert.match(answer.text, /crun run/);
      assert.equal(await on.stateOf('shot'), undefined);
      daemon.assertNoLeaks();
    });
    const box = await on.make('shot');
    await box.sh('echo kept > /workspace/file');
    await killed('delete', async () => {
      const stopped = await on.v1('shot', 'POST', '/stop', {});
      // It ends or is said to have failed; then it is tried again by itself.
      if (stopped.status !== 200) assert.equal(assertGivenUp(stopped, /crun/) && await on.stateOf('shot'), 'failed');
    });
    await eventually('it is stopped', async () => await on.stateOf('shot') === 'stopped');
    await killed('run', async () => {
      const answer = await on.v1('shot', 'POST', '/wake');
      assertError(answer, 503, 'CONTAINER_UNAVAILABLE');
      assert.equal(await on.stateOf('shot'), 'stopped');
    });
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
    await killed('delete', () => on.assertDeletable('shot'));
  });

  it('an agent: a stop ends it, says that nothing was saved, and the files are there', async () => {
    const box = await on.make('stopped');
    await box.sh('echo kept > /workspace/file');
    box.agent('SIGSTOP');
    const answer = await on.v1('stopped', 'POST', '/stop', {});
    assert.equal(answer.status, 200, answer.text);
    assert.match(answer.text, /agent/);
    assert.equal(await on.stateOf('stopped'), 'stopped');
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
    await on.assertDeletable('stopped');
  });

  it('an agent: a delete in the middle of a stop', async () => {
    const box = await on.make('between');
    box.agent('SIGSTOP');
    const stop = on.v1('between', 'POST', '/stop', {});
    await eventually('it is being stopped', async () => await on.stateOf('between') === 'stopping');
    await on.assertDeletable('between');
    await stop;
  });

  it('an agent: sleep, wake, commands and fork', async () => {
    const box = await on.make('asleep');
    // Its agent leaves the group that stands still right after its start: that has happened.
    assert.ok((await on.v1('asleep', 'POST', '/sleep', {})).status < 300);
    assert.ok((await on.v1('asleep', 'POST', '/wake')).status < 300);
    box.agent('SIGSTOP');
    assert.ok((await on.v1('asleep', 'POST', '/sleep', {})).status < 300);
    assert.equal(await on.stateOf('asleep'), 'paused');
    assert.ok((await on.v1('asleep', 'POST', '/wake')).status < 300);
    assert.equal(await on.stateOf('asleep'), 'running');
    assertGivenUp(await on.v1('asleep', 'POST', '/exec', {command: 'true'}), /answer/);
    const copied = await on.v1('asleep', 'POST', '/fork', {id: 'copied', opencode: false});
    if (copied.status === 200) await on.assertDeletable('copied');
    else assertGivenUp(copied);
    assert.equal(await on.stateOf('asleep'), 'running');
    await on.assertDeletable('asleep');
  });

  it('an agent: snapshot and restore are given up, and work when it goes on', async () => {
    const box = await on.make('saved');
    await box.sh('echo one > /workspace/file');
    const {snapshotId} = await box.snapshot('/workspace');
    await box.sh('echo two > /workspace/file');
    box.agent('SIGSTOP');
    assertGivenUp(await box.post('/snapshot', {dir: '/workspace'}, {limitMs: 100_000}), /agent/);
    assertGivenUp(await box.post(`/restore/${snapshotId}`, undefined, {limitMs: 100_000}), /agent/);
    assert.equal(await on.stateOf('saved'), 'running');
    box.agent('SIGCONT');
    assert.equal(await box.sh('cat /workspace/file'), 'two\n');
    await box.restore(snapshotId);
    assert.equal(await box.sh('cat /workspace/file'), 'one\n');
    box.agent('SIGSTOP');
    const restoring = box.post(`/restore/${snapshotId}`, undefined, {limitMs: 100_000});
    await eventually('it is being restored', async () => await on.stateOf('saved') === 'restoring');
    await on.assertDeletable('saved');
    assert.ok((await restoring).status >= 400);
  });

  it('an agent: a new daemon stops what it cannot adopt', async () => {
    const box = await on.make('adopted');
    await box.sh('echo kept > /workspace/file');
    box.agent('SIGSTOP');
    await daemon.kill9();
    await daemon.launch();
    assert.equal(await on.stateOf('adopted'), 'stopped');
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
    await on.assertDeletable('adopted');
  });

  it('a stop that had failed is finished by itself', async () => {
    const box = await on.make('failed');
    await box.sh('echo kept > /workspace/file');
    await daemon.kill9();
    const sql = "UPDATE sandboxes SET state = 'failed' WHERE id = 'failed'";
    assert.equal(spawnSync('sqlite3', [path.join(daemon.stateDir, 'atoll.db'), sql]).status, 0);
    await daemon.launch();
    await eventually('it is stopped', async () => await on.stateOf('failed') === 'stopped');
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
    await on.assertDeletable('failed');
  });

  it('a wake that could not be written is written later', async () => {
    const box = await on.make('woken');
    const sqlite = (sql) => {
      const done = spawnSync('sqlite3', [path.join(daemon.stateDir, 'atoll.db'), '.timeout 10000', sql], {encoding: 'utf8'});
      assert.equal(done.status, 0, done.stderr);
      return done.stdout.trim();
    };
    const row = () => sqlite("SELECT state FROM sandboxes WHERE id = 'woken'");
    assert.ok((await on.v1('woken', 'POST', '/sleep', {})).status < 300);
    sqlite("CREATE TRIGGER refuse BEFORE UPDATE OF state ON sandboxes BEGIN SELECT RAISE(ABORT, 'no room'); END");
    assert.equal(await box.sh('echo works'), 'works\n');
    assert.equal(row(), 'paused');
    sqlite('DROP TRIGGER refuse');
    await eventually('its row says so', () => row() === 'running');
    await on.assertDeletable('woken');
  });

  describe('CRIU', {skip: fs.existsSync(CRIU) ? false : 'there is no CRIU'}, () => {
    it('a stop that keeps memory stops without it', async () => {
      await on.make('kept');
      const answer = await criu.during('dump', () => on.v1('kept', 'POST', '/stop', {keepMemory: true}));
      assert.equal(answer.status, 200, answer.text);
      assert.match(answer.text, /criu dump/);
      assert.equal(await on.stateOf('kept'), 'stopped');
      await on.assertDeletable('kept');
    });

    it('a start from kept memory begins without it', async () => {
      const box = await on.make('revived');
      await box.sh('echo kept > /workspace/file');
      const answer = await on.v1('revived', 'POST', '/stop', {keepMemory: true});
      assert.equal(answer.json().memoryKept, true, answer.text);
      assert.equal(await criu.during('restore', () => box.sh('cat /workspace/file')), 'kept\n');
      await on.assertDeletable('revived');
    });

    it('a fork with memory is given up; its source can be used, and deleted meanwhile', async () => {
      const box = await on.make('source');
      await box.sh('echo kept > /workspace/file');
      await criu.during('dump', async () => {
        const answer = await on.v1('source', 'POST', '/fork', {id: 'copy', memory: true, opencode: false});
        assertGivenUp(answer, /criu dump/);
        assert.equal(await on.stateOf('copy'), undefined);
        assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
        const fork = on.v1('source', 'POST', '/fork', {id: 'copy', memory: true, opencode: false});
        await eventually('it is begun', async () => await on.stateOf('copy') === 'creating');
        await on.assertDeletable('source');
        assert.ok((await fork).status >= 400);
        assert.equal(await on.stateOf('copy'), undefined);
      });
    });

    it('a fork with memory that is cut short when all stands still: the source begins again, or is deleted', async () => {
      const box = await on.make('held');
      await box.sh('echo kept > /workspace/file');
      const fork = () => on.v1('held', 'POST', '/fork', {id: 'copy', memory: true, opencode: false});
      await criu.during('at-the-end', async () => {
        assertGivenUp(await fork(), /criu dump/);
        assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
        const forking = fork();
        await eventually('it is begun', async () => await on.stateOf('copy') === 'creating');
        await on.assertDeletable('held');
        assert.ok((await forking).status >= 400);
        assert.equal(await on.stateOf('copy'), undefined);
      });
    });
  });
});

describe('a store that says nothing', () => {
  let store;
  let daemon;
  let on;
  before(async () => {
    store = await SilentStore.start();
    daemon = await Daemon.start({sections: {limits: SHORT, sleep: AWAKE, snapshots: store.snapshots}});
    on = handle(daemon);
  });
  after(async () => {
    await daemon?.cleanup();
    store?.stop();
  });
  const alone = {snapshots: {onStart: false}};

  it('a create that cannot know whether there are files fails; a delete does not wait for it', async () => {
    const create = () => daemon.sandbox('new').post('/create', {opencode: false}, {limitMs: 100_000});
    assertGivenUp(await create(), /store|snapshots/);
    assert.equal(await on.stateOf('new'), undefined);
    const waiting = create();
    const gone = await on.v1('new', 'DELETE');
    assert.ok([204, 404].includes(gone.status), gone.text);
    const cut = await waiting;
    if (cut.status !== 409) assertGivenUp(cut);
    assert.equal(await on.stateOf('new'), undefined);
  });

  it('snapshot and restore are given up, a stop leaves the files here', async () => {
    const box = await on.make('box', alone);
    await box.sh('echo kept > /workspace/file');
    assertGivenUp(await box.post('/snapshot', {dir: '/workspace'}, {limitMs: 100_000}));
    assertGivenUp(await box.post(`/restore/${'0'.repeat(64)}`, undefined, {limitMs: 100_000}));
    assert.equal(await on.stateOf('box'), 'running');
    const stopped = await on.v1('box', 'POST', '/stop', {});
    assert.equal(stopped.status, 200, stopped.text);
    assert.equal(await on.stateOf('box'), 'stopped');
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
    const copied = await on.v1('box', 'POST', '/fork', {id: 'copy', opencode: false});
    assert.equal(copied.status, 200, copied.text);
    await on.assertDeletable('copy');
    await on.assertDeletable('box');
  });

  it('a delete in the middle of a stop', async () => {
    const box = await on.make('box', alone);
    // A store that has just failed is not asked again, and a stop then ends before it can be seen.
    const stop = await eventually('a stop lasts', async () => {
      await box.sh('true');
      let ended = false;
      const one = on.v1('box', 'POST', '/stop', {}).finally(() => { ended = true; });
      let seen = false;
      while (!ended && !seen) seen = await on.stateOf('box') === 'stopping';
      return seen && {one};
    });
    await on.assertDeletable('box');
    await stop.one;
  });
});
