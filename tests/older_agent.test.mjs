// SPDX-License-Identifier: Apache-2.0
// A sandbox whose agent is of an earlier release goes on under a newer daemon.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {alive, install, upgrade} from './support/upgrade.mjs';
import {watch} from './support/watch.mjs';

describe('a sandbox with an agent of an earlier release', () => {
  let daemon, programs, box;
  const v1 = (method, what, json) => daemon.request('', {method, path: `/v1/sandboxes/old${what}`, json});
  const told = async (answer) => {
    assert.equal(answer.status, 409, answer.text);
    assert.equal(answer.json().code, 'AGENT_TOO_OLD', answer.text);
    assert.match(answer.text, /[Ss]top/);
  };
  before(async () => {
    programs = fs.mkdtempSync(path.join(process.env.ATOLL_TEST_TMP ?? os.tmpdir(), 'atoll-programs-'));
    install(programs, 'atoll');
    install(programs, 'atoll-agent-older', 'atoll-agent');
    daemon = await Daemon.start({programs});
    box = daemon.sandbox('old');
    await box.create();
    await box.sh('echo kept > /workspace/file');
    await box.background('echo $$ > /tmp/pid; exec sleep 77777');
    await box.sh('until [ -s /tmp/pid ]; do sleep 0.01; done');
    install(programs, 'atoll-agent');
    const old = await upgrade(daemon);
    await eventually('the old daemon has ended', () => !alive(old));
  });
  after(async () => {
    await daemon?.cleanup();
    fs.rmSync(programs, {recursive: true, force: true});
  });

  it('runs commands, keeps its programs, reads and writes files', async () => {
    assert.equal(await box.sh('kill -0 $(cat /tmp/pid) && cat /workspace/file'), 'kept\n');
    const put = await v1('PUT', '/files/workspace/put', {content: 'by request'});
    assert.ok(put.status < 300, put.text);
    await box.write('/workspace/written', 'by the newer daemon');
    assert.equal(await box.sh('cat /workspace/written'), 'by the newer daemon');
    const got = await v1('GET', '/files/workspace/file');
    assert.equal(got.text, 'kept\n');
  });

  it('says that it is too old for what it does not know', async () => {
    await told(await v1('GET', '/ports'));
    await box.sh('mkdir -p /workspace/.env; echo s > /workspace/.env/secret');
    const persist = (excludes) => daemon.request('', {method: 'POST', path: `/v1/sandbox/old/persist?excludes=${excludes}`});
    const refused = await persist('.env');
    assert.equal(refused.status, 502, 'it would pack what is to be left out');
    assert.match(refused.json().error, /earlier release/);
    const packed = await persist('.env/secret');
    assert.equal(packed.status, 200, packed.text);
    assert.ok(packed.text.includes('.env') && !packed.text.includes('.env/secret'));
    await box.sh('rm -r /workspace/.env');
  });

  it('is watched, but not while nobody looks', async () => {
    const one = await watch(daemon, 'old', 'path=/workspace', `${'0'.repeat(32)}.7`);
    await eventually('it says so', () => one.seen.some(({type}) => type === 'resync'));
    await box.sh('touch /workspace/seen');
    await one.until('create', '/workspace/seen');
    assert.equal(one.last(), undefined, 'there is nothing to go on behind');
    one.close();
  });

  it('sleeps and wakes', async () => {
    const slept = await v1('POST', '/sleep', {});
    assert.equal(slept.status, 200, slept.text);
    assert.equal((await v1('GET', '')).json().state, 'paused');
    assert.equal(await box.sh('kill -0 $(cat /tmp/pid) && echo awake'), 'awake\n');
  });

  it('is saved', async () => {
    const saved = await box.snapshot('/workspace', 'of-the-old');
    assert.ok(saved.id ?? saved.snapshotId, JSON.stringify(saved));
    await box.sh('echo changed > /workspace/file');
    await box.restore(saved.id ?? saved.snapshotId);
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
  });

  it('stops, keeps its files, and has a new agent when it starts again', async () => {
    const stopped = await v1('POST', '/stop', {});
    assert.equal(stopped.status, 200, stopped.text);
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
    const ports = await v1('GET', '/ports');
    assert.equal(ports.status, 200, ports.text);
  });

  it('is deleted', async () => {
    const other = daemon.sandbox('old-too');
    await daemon.stop();
    install(programs, 'atoll-agent-older', 'atoll-agent');
    await daemon.launch();
    await other.create();
    install(programs, 'atoll-agent');
    await daemon.restart();
    assert.equal(await other.sh('echo adopted'), 'adopted\n');
    const gone = await daemon.request('', {method: 'DELETE', path: '/v1/sandboxes/old-too'});
    assert.equal(gone.status, 204, gone.text);
    daemon.assertNoLeaks();
  });
});
