// SPDX-License-Identifier: Apache-2.0
// PUT of a file that belongs to somebody.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon} from './support/daemon.mjs';
import {Files} from './support/files.mjs';
import {assertError} from './support/http.mjs';

describe('the owner of a file', () => {
  let daemon;
  let box;
  let files;
  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('owned');
    await box.create();
    files = new Files(daemon, 'owned');
  });
  after(() => daemon?.cleanup());

  const put = (path, owner, more = '') => files.put(path, 'text', {query: `?owner=${encodeURIComponent(owner)}${more}`});
  const stat = async (path) => (await box.sh(`stat -c '%u:%g %a' ${path}`)).trim();

  it('is whom it is given, new or not, on a disk or in memory', async () => {
    for (const path of ['/workspace/new', '/dev/shm/new']) {
      const made = await put(path, '1000:1001', '&mode=0640');
      assert.equal(made.status, 201, made.text);
      assert.deepEqual([made.json().uid, made.json().gid], [1000, 1001]);
      assert.equal(await stat(path), '1000:1001 640');
      assert.equal((await put(path, 'nobody')).status, 200);
      assert.equal(await stat(path), `${(await box.sh('id -u nobody')).trim()}:1001 640`);
      assert.equal((await put(path, ':0', '&append=true')).status, 200);
      assert.match(await stat(path), /^\d+:0 640$/);
      assert.equal((await files.put(path, 'without')).status, 200);
      assert.match(await stat(path), /^\d+:0 640$/, 'as it was');
    }
  });

  it('is nobody who is not there, and not given away by others', async () => {
    await box.sh('mkdir -p /workspace/mine && chown 1000:1000 /workspace/mine');
    assertError(await put('/workspace/none', 'nosuchuser'), 400);
    assertError(await put('/workspace/mine/away', '0:0', '&user=1000:1000'), 403, 'PERMISSION_DENIED');
    assert.equal((await put('/workspace/mine/own', '1000:1000', '&user=1000:1000')).status, 201);
    assert.equal(await box.sh('ls -A /workspace/none /workspace/mine 2>/dev/null || true'), '/workspace/mine:\nown\n');
  });
});
