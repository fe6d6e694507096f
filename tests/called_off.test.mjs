// SPDX-License-Identifier: Apache-2.0
// A stop because nobody uses a sandbox is called off when somebody does. Where it cannot be, because what stands still
// stays so, the sandbox stops without having been saved, and that is not forgotten.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {SilentStore} from './support/stores.mjs';

function must(command, ...args) {
  const done = spawnSync(command, args, {encoding: 'utf8'});
  assert.equal(done.status, 0, `${command} ${args.join(' ')}: ${done.stdout}${done.stderr}`);
  return done.stdout;
}

describe('a stop that cannot be called off', () => {
  let store;
  let daemon;
  before(async () => {
    // Saving to it lasts.
    store = await SilentStore.start();
    daemon = await Daemon.start({sections: {sleep: {after: '1s', stop_after: '1s'}, snapshots: store.snapshots}});
  });
  after(async () => {
    await daemon?.cleanup();
    store?.stop();
  });

  it('leaves the sandbox marked as unsaved, and serves who wanted it', async () => {
    const info = async () => (await daemon.list())[0];
    const box = daemon.sandbox('box');
    await box.create({opencode: false, snapshots: {onStart: false}});
    await box.sh('echo kept > /workspace/file');
    const [iid] = fs.readdirSync(path.join(daemon.runDir, 'sandboxes'));
    // Of the group of its programs, beside which the agent has one.
    const programs = path.join('*', daemon.cgroup, iid, 'work', '*');
    const controls = must('find', '/sys/fs/cgroup/', '-path', programs,
                          '(', '-name', 'freezer.state', '-o', '-name', 'cgroup.freeze', ')').trim().split('\n');
    assert.equal(controls.length, 1);
    const [control] = controls;
    await eventually('it is saved for its stop', async () => (await info()).state === 'stopping');
    await eventually('it stands still', () => /^(FROZEN|1)/.test(fs.readFileSync(control, 'utf8')));
    const inDaemon = (...command) => must('nsenter', '-t', `${daemon.child.pid}`, '-m', ...command);
    // Whoever writes to it is refused.
    inDaemon('mount', '--bind', '/dev/full', control);
    const wanted = box.run('cat /workspace/file');
    await eventually('it stops unsaved', () => fs.readFileSync(daemon.log, 'utf8').includes('sandbox box stops unsaved'));
    inDaemon('umount', control);
    fs.writeFileSync(control, control.endsWith('freezer.state') ? 'THAWED' : '0');
    const served = await wanted;
    assert.equal(served.status, 200, served.text);
    assert.equal(served.stdout, 'kept\n');
    assert.equal((await info()).unsaved, true);
    const events = await daemon.request('', {path: '/v1/sandboxes/box/events'});
    assert.ok(!/"state":"failed"/.test(events.text), events.text);
  });
});
