// SPDX-License-Identifier: Apache-2.0
// What happens to a sandbox while it is being stopped: nothing that was answered is lost, and a delete
// does not wait for what would be thrown away.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';

describe('a stop that saves', () => {
  let daemon;
  const v1 = (id, method, what, json) => daemon.request('', {method, path: `/v1/sandboxes/${id}${what}`, json, limitMs: 120_000});
  const stateOf = async (id) => (await daemon.list()).find((one) => one.id === id)?.state;
  const ballast = 'for i in $(seq 24); do head -c 4000000 /dev/urandom > /workspace/ballast$i; done';
  before(async () => { daemon = await Daemon.start({sections: {sleep: {after: 'off', stop_after: 'off'}}}); });
  after(() => daemon?.cleanup());

  it('loses no write that was answered, whenever it was', async () => {
    const box = daemon.sandbox('writes');
    await box.create();
    await box.sh(ballast);
    const answered = new Set();
    let stopped = false;
    // Programs and requests write as fast as they can, before, in and after the stop.
    const writers = ['run', 'put'].map(async (how) => {
      for (let i = 0; !stopped && i < 400; ++i) {
        const name = `${how}-${i}`;
        const done = how === 'put' ?
          (await v1('writes', 'PUT', `/files/workspace/${name}`, name).catch(() => null))?.status < 300 :
          (await box.run(`echo -n ${name} > /workspace/${name}`).catch(() => null))?.exitCode === 0;
        if (done) answered.add(name);
      }
    });
    await eventually('they write', () => answered.size > 20);
    // Whoever wants it afterwards starts it again, so the stop is seen by its answer.
    const stop = await v1('writes', 'POST', '/stop', {});
    assert.equal(stop.status, 200, stop.text);
    stopped = true;
    await Promise.all(writers);
    const names = (await box.sh('cd /workspace && ls')).split('\n');
    const lost = [...answered].filter((name) => !names.includes(name));
    assert.deepEqual(lost, [], `${lost.length} of ${answered.size} that were answered are lost`);
    for (const name of answered) assert.equal((await v1('writes', 'GET', `/files/workspace/${name}`)).text.replaceAll('"', ''), name);
  });

  it('is given up for a delete, which leaves nothing', async () => {
    const box = daemon.sandbox('deleted');
    await box.create();
    await box.sh(ballast);
    const stop = v1('deleted', 'POST', '/stop', {});
    await eventually('it is being stopped', async () => ['stopping', 'stopped'].includes(await stateOf('deleted')));
    const gone = await v1('deleted', 'DELETE', '');
    assert.equal(gone.status, 204, gone.text);
    await stop;
    assert.equal(await stateOf('deleted'), undefined);
    const again = await v1('deleted', 'DELETE', '');
    assert.ok([204, 404].includes(again.status), again.text);
    daemon.assertNoLeaks();
    // The name begins empty, whatever of it was saved.
    await box.create();
    assert.equal(await box.sh('ls /workspace'), '');
  });

  const ends = async (...requests) => {
    for (const answer of await Promise.all(requests)) assert.equal(answer.status, 200, answer.text);
  };
  const isStopping = (id) => eventually(`${id} is being stopped`, async () => await stateOf(id) === 'stopping');

  it('has a restore wait, which then starts the sandbox again', async () => {
    const box = daemon.sandbox('restored');
    await box.create();
    await box.sh(`${ballast}; echo old > /workspace/file`);
    const {snapshotId} = await box.snapshot('/workspace');
    await box.sh('echo new > /workspace/file; echo more > /workspace/more; rm /workspace/ballast1; ' + ballast);
    const stop = v1('restored', 'POST', '/stop', {});
    await isStopping('restored');
    await ends(stop, v1('restored', 'POST', `/restore/${snapshotId}`));
    assert.equal(await stateOf('restored'), 'running');
    assert.equal(await box.sh('cd /workspace && cat file && ls | wc -l'), 'old\n25\n');
    assert.equal((await box.delete()).status, 204);
  });

  it('waits for a restore, and then saves and keeps what that has brought back', async () => {
    const box = daemon.sandbox('first');
    await box.create();
    await box.sh(`${ballast}; echo old > /workspace/file`);
    const sums = await box.sh('cd /workspace && cat * | sha256sum');
    const {snapshotId} = await box.snapshot('/workspace');
    await box.sh('rm /workspace/*; echo new > /workspace/new');
    const restore = v1('first', 'POST', `/restore/${snapshotId}`);
    await eventually('it is being restored', async () => await stateOf('first') === 'restoring');
    const stop = v1('first', 'POST', '/stop', {});
    await ends(restore, stop);
    assert.equal(await stateOf('first'), 'stopped');
    assert.equal((await stop).json().saveFailure, undefined, (await stop).text);
    assert.equal(await box.sh('cd /workspace && cat * | sha256sum'), sums);
    assert.equal((await box.delete()).status, 204);
  });

  it('has a fork wait, whose copy has all files, and both can be used', async () => {
    const box = daemon.sandbox('source');
    await box.create();
    await box.sh(`${ballast}; echo mine > /workspace/file`);
    const sums = await box.sh('cd /workspace && cat * | sha256sum');
    const stop = v1('source', 'POST', '/stop', {});
    await isStopping('source');
    await ends(stop, v1('source', 'POST', '/fork', {id: 'copy', opencode: false}));
    assert.equal(await stateOf('source'), 'stopped');
    for (const id of ['copy', 'source']) {
      assert.equal(await daemon.sandbox(id).sh('hostname; cd /workspace && cat * | sha256sum'), `${id}\n${sums}`);
      assert.equal((await daemon.sandbox(id).delete()).status, 204);
    }
    daemon.assertNoLeaks();
  });
});
