// SPDX-License-Identifier: Apache-2.0
// What a user does first, word for word, through curl.

import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {after, before, describe, it} from 'node:test';
import {promisify} from 'node:util';

import {Daemon} from './support/daemon.mjs';
import {GitServer} from './support/git_server.mjs';

const execute = promisify(execFile);

describe('the walk', () => {
  let git;
  let daemon;
  let snapshotId;

  before(async () => {
    git = await GitServer.start();
    daemon = await Daemon.start({sections: {egress: {host_ports: [git.port]}}});
  });
  after(async () => {
    await git?.stop();
    await daemon?.cleanup();
  });

  const JSON_TYPE = ['-H', 'Content-Type: application/json'];
  async function curl(path, ...args) {
    const {stdout} = await execute('curl', ['-sS', '--fail-with-body', '-m', '200', '-X', 'POST',
      ...args, `http://demo.localhost:${daemon.port}${path}`], {maxBuffer: 16 << 20});
    return stdout;
  }
  async function run(command) {
    const text = await curl('/run', '-N', ...JSON_TYPE, '-d', JSON.stringify({command}));
    const events = text.split('\n\n').filter(Boolean).map((one) => JSON.parse(one.replace(/^data: /, '')));
    const last = events.at(-1);
    assert.equal(last.type, 'complete');
    assert.equal(last.exitCode, 0);
    return events.filter((one) => one.type === 'stdout').map((one) => one.data).join('');
  }

  it('creates a sandbox', async () => {
    const made = JSON.parse(await curl('/create'));
    assert.equal(made.id, 'demo');
    assert.equal(made.url, daemon.url('demo'));
    assert.equal(made.state, 'running');
    for (const ms of Object.values(made.phases)) assert.equal(typeof ms, 'number');
  });

  it('clones a repository', async () => {
    const repo = git.url('public.git');
    const made = JSON.parse(await curl('/gitClone', ...JSON_TYPE, '-d', JSON.stringify({repo})));
    assert.deepEqual(made, {repo, dir: '/workspace/public', branch: 'main', commit: git.mainCommit});
  });

  it('runs a command', async () => {
    assert.match(await run('ls -la /workspace'), /public\n/);
  });

  it('takes a snapshot', async () => {
    const made = JSON.parse(await curl('/snapshot', ...JSON_TYPE, '-d', '{"dir":"/workspace"}'));
    assert.match(made.snapshotId, /^[0-9a-f]{64}$/);
    assert.equal(made.dir, '/workspace');
    for (const name of ['bytesAdded', 'bytesTotal', 'files', 'filesChanged', 'freezeMs', 'durationMs']) {
      assert.equal(typeof made[name], 'number', name);
    }
    assert.ok(made.files > 0 && made.bytesAdded > 0);
    assert.equal(typeof made.phases, 'object');
    snapshotId = made.snapshotId;
  });

  it('loses the files', async () => {
    await run('rm -rf /workspace/*');
    assert.equal(await run('ls /workspace'), '');
  });

  it('has them back after a restore', async () => {
    const made = JSON.parse(await curl(`/restore/${snapshotId}`));
    assert.deepEqual({snapshotId: made.snapshotId, dir: made.dir}, {snapshotId, dir: '/workspace'});
    assert.equal(await run('ls /workspace'), 'public\n');
    assert.equal(await run('cat public/second.txt && git -C public status --porcelain'), 'second\n');
  });

  it('deletes the sandbox', async () => {
    const {stdout} = await execute('curl', ['-sS', '-m', '60', '-X', 'DELETE', '-o', '/dev/null',
      '-w', '%{http_code}', daemon.url('demo')]);
    assert.equal(stdout, '204');
    assert.deepEqual(await daemon.ids(), []);
  });
});
