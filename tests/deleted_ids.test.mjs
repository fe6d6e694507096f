// SPDX-License-Identifier: Apache-2.0
// What is remembered of sandboxes that were deleted, and for how long.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';

describe('a sandbox that was deleted', () => {
  let daemon;
  const ask = (sql) => {
    const asked = spawnSync('sqlite3', ['-cmd', '.timeout 10000', path.join(daemon.stateDir, 'atoll.db'), sql],
                            {encoding: 'utf8'});
    assert.equal(asked.status, 0, asked.stderr);
    return asked.stdout.trim();
  };
  before(async () => { daemon = await Daemon.start({sections: {snapshots: {prune_interval: '2s'}}}); });
  after(() => daemon?.cleanup());

  it('is forgotten when nothing is left of it, and not before', async () => {
    const saved = daemon.sandbox('saved');
    await saved.create();
    await saved.sh('echo secret > /workspace/file');
    await saved.snapshot('/workspace', 'kept');
    await saved.delete();
    await daemon.sandbox('fresh').create();
    await daemon.sandbox('fresh').delete();
    const old = Date.now() - 100 * 24 * 3_600_000;
    const deletedAt = ask("SELECT deleted_at_ms FROM deleted_sandboxes WHERE id = 'saved'");
    ask(`UPDATE deleted_sandboxes SET deleted_at_ms = ${old} WHERE id = 'saved'`);
    ask(`INSERT INTO deleted_sandboxes WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         SELECT 'long-gone-' || i, ${old} FROM n`);
    await eventually('the old ones are forgotten', () =>
      ask("SELECT count(*) FROM deleted_sandboxes WHERE id LIKE 'long-gone-%'") === '0', 60_000);
    assert.equal(ask('SELECT group_concat(id) FROM (SELECT id FROM deleted_sandboxes ORDER BY id)'), 'fresh,saved');
    ask(`UPDATE deleted_sandboxes SET deleted_at_ms = ${deletedAt} WHERE id = 'saved'`);
    // What was saved of it is still there, and is not for the next of that name.
    await saved.create();
    assert.equal(await saved.sh('ls /workspace'), '');
  });
});
