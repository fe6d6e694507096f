// SPDX-License-Identifier: Apache-2.0
// On a host with swap: who waits or sleeps costs little memory, and is whole when it is wanted.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, preparedState} from './support/daemon.mjs';
import {ofProcess, processesOf} from './support/host.mjs';

const BYTES = 2 ** 30;
const kilobytes = (pid, name) => Number(ofProcess(pid, 'status').match(new RegExp(`^${name}:\\s+(\\d+)`, 'm'))?.[1] ?? 0);
const serverOf = (daemon) => processesOf(daemon).find((pid) => /opencode\0serve/.test(ofProcess(pid, 'cmdline')));

/** A file to swap to, or why there is none. */
function switchOn(file) {
  for (const [program, ...args] of [['fallocate', '-l', String(BYTES), file], ['chmod', '600', file], ['mkswap', file],
                                    ['swapon', file]]) {
    const done = spawnSync(program, args, {encoding: 'utf8'});
    if (done.status !== 0) return `${program} does not work here: ${done.stderr ?? done.error}`;
  }
  return null;
}

describe('a host with swap', () => {
  const file = path.join(preparedState, `swap-of-a-test-${process.pid}`);
  let daemon;
  let missing;

  before(async () => {
    missing = switchOn(file);
    if (missing) return;
    daemon = await Daemon.start({sections: {pool: {warm_target: 1, max: 1, refresh_interval: '2s', max_load: 100_000,
                                                   free_memory: '64M', templates: false},
                                            sleep: {reclaim_after: '6s'}}});
  });
  after(async () => {
    await daemon?.cleanup();
    spawnSync('swapoff', [file]);
    fs.rmSync(file, {force: true});
  });

  it('keeps of a member of the pool what an answer needs', async (t) => {
    if (missing) return t.skip(missing);
    await eventually('a member waits', async () =>
      (await daemon.request('', {path: '/v1/pool/stats'})).json().warm === 1, 180_000);
    const pid = serverOf(daemon);
    const [swapped, private_] = [kilobytes(pid, 'VmSwap'), kilobytes(pid, 'RssAnon')];
    assert.ok(swapped > 2 * private_, `${swapped} kB on swap, ${private_} kB in memory`);
    assert.ok(private_ > 0, 'what an answer needs');
  });

  it('gives it away whole', async (t) => {
    if (missing) return t.skip(missing);
    const pid = serverOf(daemon);
    const box = daemon.sandbox('claimed');
    const created = await box.create({opencode: true});
    assert.notEqual(created.phases.claim, undefined);
    const health = await daemon.request('claimed', {path: '/global/health', limitMs: 60_000});
    assert.equal(health.json().healthy, true, health.text);
    const session = await daemon.request('claimed', {method: 'POST', path: '/session', json: {title: 'from swap'}, limitMs: 60_000});
    assert.equal(session.status, 200, session.text);
    assert.equal(ofProcess(pid, 'cmdline').includes('opencode'), true, 'the one that waited');
  });

  it('takes the memory of a sleeper, and gives it back', async (t) => {
    if (missing) return t.skip(missing);
    const post = (action) => daemon.request('', {method: 'POST', path: `/v1/sandboxes/claimed/${action}`, json: {force: true}});
    const box = daemon.sandbox('claimed');
    await box.background('python3 -c "import os, time; x = os.urandom(64 << 20); time.sleep(3); open(\'/tmp/n\', \'w\').write(str(len(set(x)))); time.sleep(999)"');
    const holder = await eventually('it holds 64 MB', () =>
      processesOf(daemon).find((pid) => ofProcess(pid, 'cmdline').startsWith('python3') && kilobytes(pid, 'RssAnon') > 65_000));
    const slept = await post('sleep');
    assert.equal(slept.json().state, 'paused', slept.text);
    const left = kilobytes(holder, 'RssAnon');
    assert.ok(left < 16_000, `${left} kB stay in memory`);
    assert.ok(kilobytes(holder, 'VmSwap') > 60_000);
    assert.equal((await box.run('until [ -s /tmp/n ]; do sleep 0.1; done; cat /tmp/n')).stdout, '256');
  });

  it('leaves one that falls asleep by itself its memory for a while', async (t) => {
    if (missing) return t.skip(missing);
    const box = daemon.sandbox('nods');
    await box.create({opencode: false, sleepAfter: 1});
    await box.background('python3 -c "import os, time; x = os.urandom(64 << 20); time.sleep(998)"');
    const holder = await eventually('it holds 64 MB', () =>
      processesOf(daemon).find((pid) => ofProcess(pid, 'cmdline').includes('sleep(998)') && kilobytes(pid, 'RssAnon') > 65_000));
    const state = async () => (await daemon.request('', {path: '/v1/sandboxes/nods'})).json().state;
    await eventually('it sleeps', async () => await state() === 'paused', 60_000);
    assert.ok(kilobytes(holder, 'VmSwap') < 1_000, 'who comes back at once waits for nothing');
    await eventually('its memory is given up', () => kilobytes(holder, 'VmSwap') > 60_000);
    assert.equal(await state(), 'paused');
  });
});
