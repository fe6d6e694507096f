// SPDX-License-Identifier: Apache-2.0
// A newer daemon takes the place of a running one, and nobody who asks notices.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {alive, holder, upgrade as replace} from './support/upgrade.mjs';

describe('a newer daemon', () => {
  let daemon;
  const olds = [];
  before(async () => { daemon = await Daemon.start(); });
  after(async () => {
    await daemon?.cleanup();
    for (const old of olds) await eventually(`${old} has ended`, () => !alive(old));
  });

  const upgrade = async () => {
    const old = await replace(daemon);
    olds.push(old);
    return old;
  };

  it('takes over without a refused or failed request, and without an end of what runs', async () => {
    const box = daemon.sandbox('kept');
    await box.create();
    await box.sh('echo mine > /workspace/file');
    await box.background('echo $$ > /tmp/pid; exec sleep 88888');
    await box.sh('until [ -s /tmp/pid ]; do sleep 0.01; done');
    const long = await box.start('for i in $(seq 60); do echo $i; sleep 0.1; done');
    const lines = (async () => {
      const all = [];
      for await (const event of long.events) all.push(event);
      return all;
    })();
    let asking = true;
    let count = 0;
    const failures = [];
    const askers = Array.from({length: 4}, async (_, i) => {
      while (asking) {
        try {
          const answer = i % 2 === 0 ? await daemon.request('', {path: '/v1/sandboxes'}) :
            await daemon.sandbox('kept').post('/run', {command: 'cat /workspace/file'});
          if (answer.status !== 200) failures.push(`${answer.status} ${answer.text}`);
          else if (i % 2 === 1 && !answer.text.includes('mine')) failures.push(answer.text);
        } catch (error) {
          failures.push(error.message);
        }
        count++;
      }
    });
    await sleep(500);
    const old = await upgrade();
    await sleep(500);
    asking = false;
    await Promise.all(askers);
    assert.deepEqual(failures, [], `${failures.length} of ${count}`);
    assert.ok(count > 20, `${count} requests`);
    assert.ok(alive(old), 'the old one has a stream to end');
    const events = await lines;
    assert.equal(events.at(-1).type, 'complete');
    const text = events.filter((one) => one.type === 'stdout').map((one) => one.data).join('');
    assert.equal(text, Array.from({length: 60}, (_, i) => `${i + 1}\n`).join(''));
    await eventually('the old one ends with its last stream', () => !alive(old));
    assert.equal(await box.sh('kill -0 $(cat /tmp/pid) && cat /workspace/file'), 'mine\n');
    daemon.assertNoLeaks();
  });

  it('is called by a command that says when it serves', async () => {
    const old = daemon.pid;
    olds.push(old);
    const told = daemon.cli('upgrade');
    assert.equal(told.status, 0, told.stderr);
    assert.match(told.stdout, new RegExp(`^pid \\d+ serves now; pid ${old} ends`));
    Object.assign(daemon, holder(daemon));
    assert.notEqual(daemon.pid, old);
    assert.equal(await daemon.sandbox('kept').sh('echo served'), 'served\n');
  });

  it('takes over from one that took over, with sandboxes asleep and at rest', async () => {
    const [asleep, stopped] = [daemon.sandbox('asleep'), daemon.sandbox('stopped')];
    await asleep.create();
    await stopped.create();
    await stopped.sh('echo saved > /workspace/file');
    await daemon.request('', {method: 'POST', path: '/v1/sandboxes/asleep/sleep', json: {}});
    await daemon.request('', {method: 'POST', path: '/v1/sandboxes/stopped/stop', json: {}});
    const old = await upgrade();
    await eventually('the old one has ended', () => !alive(old));
    const states = Object.fromEntries((await daemon.list()).map((one) => [one.id, one.state]));
    assert.deepEqual([states.asleep, states.stopped, states.kept], ['paused', 'stopped', 'running']);
    assert.equal(await asleep.sh('echo awake'), 'awake\n');
    assert.equal(await stopped.sh('cat /workspace/file'), 'saved\n');
    const mounts = fs.readFileSync(`/proc/${daemon.pid}/mounts`, 'utf8').split('\n').length;
    await upgrade();
    const later = fs.readFileSync(`/proc/${daemon.pid}/mounts`, 'utf8').split('\n').length;
    assert.ok(later <= mounts + 4, `mounts do not pile up: ${mounts}, then ${later}`);
  });

  it('that cannot start leaves the running one at its place', async () => {
    const config = fs.readFileSync(daemon.config, 'utf8');
    fs.writeFileSync(daemon.config, 'no_such_key = 1\n' + config);
    process.kill(daemon.pid, 'SIGUSR2');
    await eventually('it is said', () => daemon.logTail().includes('this one goes on'));
    assert.equal(await daemon.sandbox('kept').sh('echo served'), 'served\n');
    fs.writeFileSync(daemon.config, config);
    await upgrade();
    assert.equal(await daemon.sandbox('kept').sh('echo served'), 'served\n');
  });
});
