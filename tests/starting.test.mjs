// SPDX-License-Identifier: Apache-2.0
// A daemon serves before it has cleared away what an earlier one left, however long that takes; whoever needs that to be
// done waits.

import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';

describe('a daemon that starts', () => {
  let daemon;
  before(async () => { daemon = await Daemon.start(); });
  after(async () => { await daemon?.cleanup(); });

  it('answers while it waits for what an earlier one has begun, and uses and makes sandboxes after it', async () => {
    await daemon.sandbox('kept').create({opencode: false});
    await daemon.sandbox('kept').sh('echo mine > /workspace/file');
    await daemon.stop();
    // To the daemon this is a CRIU at work for one that has died: it is not cut off.
    const flag = path.join(daemon.dir, 'at-work');
    fs.writeFileSync(flag, '');
    const atWork = spawn('sh', ['-c', 'while [ -e "$4" ]; do sleep 0.1; done', 'criu', 'dump', '-D',
                                path.join(daemon.stateDir, 'memory/x'), flag], {stdio: 'ignore'});
    try {
      await daemon.launch({wait: false});
      let used = false;
      const using = daemon.sandbox('kept').sh('cat /workspace/file').finally(() => { used = true; });
      const making = daemon.sandbox('new').create({opencode: false}).finally(() => { used = true; });
      for (const one of [using, making]) one.catch(() => {});
      const answer = await daemon.request('', {path: '/health'});
      assert.equal(answer.status, 200, answer.text);
      const ready = await daemon.request('', {path: '/ready'});
      assert.equal(ready.status, 503, ready.text);
      assert.match(ready.text, /still being adopted/);
      assert.equal(atWork.exitCode, null);
      assert.ok(!used, 'nobody uses or makes a sandbox before');
      fs.rmSync(flag);
      assert.equal(await using, 'mine\n');
      assert.equal((await making).state, 'running');
      await eventually('it is ready', async () => (await daemon.request('', {path: '/ready'})).status === 200);
      daemon.assertNoLeaks();
    } finally {
      fs.rmSync(flag, {force: true});
    }
  });
});
