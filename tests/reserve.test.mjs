// SPDX-License-Identifier: Apache-2.0
// A sandbox without a limit of its own fills a disk up to what the file system keeps for root: the host and the daemon
// go on.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {SmallDisk} from './support/small_disk.mjs';

const MB = 1 << 20;

describe('a disk of which a part is root\'s', () => {
  let disk;
  let box;

  before(async () => {
    disk = await SmallDisk.start({size: '320M', reserved: 25, sections: {sleep: {after: 'off', stop_after: 'off'}}});
    box = disk.daemon.sandbox('greedy');
    await box.create({opencode: false, snapshots: {onStop: false}});
    await box.sh('echo kept > /workspace/file');
  });
  after(async () => { await disk?.stop(); });

  const left = () => {
    const {bfree, bsize} = fs.statfsSync(disk.dir);
    return bfree * bsize;
  };

  for (const [who, command] of [['root', 'dd if=/dev/zero of=/workspace/fill bs=1M'],
                                ['a user', 'mkdir -m 777 -p /workspace/open && setpriv --reuid 1000 --regid 1000 --clear-groups dd if=/dev/zero of=/workspace/open/fill bs=1M'],
                                ['root, in what the image holds', 'cp -a /usr /workspace/usr; dd if=/dev/zero bs=1M >> /usr/bin/bash.copy']]) {
    it(`is not filled by ${who} inside`, async () => {
      const filled = await box.run(command);
      assert.notEqual(filled.exitCode, 0);
      assert.match(filled.stderr, /No space left on device/);
      assert.ok(left() > 40 * MB, `${left()} bytes are left`);
      // Root of the host still has room, and so has the daemon.
      const own = path.join(disk.dir, 'own');
      fs.writeFileSync(own, Buffer.alloc(20 * MB, 1));
      fs.rmSync(own);
      const slept = await disk.daemon.request('', {method: 'POST', path: '/v1/sandboxes/greedy/sleep', json: {force: true}});
      assert.equal(slept.json().state, 'paused', slept.text);
      assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
      await box.sh('rm -rf /workspace/fill /workspace/open /workspace/usr /usr/bin/bash.copy');
    });
  }

  it('is a layer like any other: renamed, removed, linked, saved and started again', async () => {
    await box.sh('mv /usr/share/doc /usr/share/documents && rm /etc/hostname && ln /etc/passwd /etc/other && chmod 600 /etc/other && ' +
                 'chown 1000:1000 /workspace/file && stat -c %u /workspace/file');
    const stopped = await disk.daemon.request('', {method: 'POST', path: '/v1/sandboxes/greedy/stop', json: {}});
    assert.equal(stopped.status, 200, stopped.text);
    assert.equal(await box.sh('ls -d /usr/share/documents /etc/other; stat -c "%u %a" /workspace/file /etc/other; ls /usr/share/doc /etc/hostname 2>/dev/null | wc -l'),
                 '/etc/other\n/usr/share/documents\n1000 644\n0 600\n0\n');
    assert.equal((await box.delete()).status, 204);
    disk.daemon.assertNoLeaks();
  });
});
