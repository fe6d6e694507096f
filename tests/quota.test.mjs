// SPDX-License-Identifier: Apache-2.0
// What the kernel counts by user is counted for each sandbox by itself: one that takes all it can get
// takes nothing from another, nor from the host.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, preparedState} from './support/daemon.mjs';
import {assertError, open} from './support/http.mjs';

const criu = path.join(preparedState, 'criu', 'criu');
const skip = fs.existsSync(criu) ? false : "there is no CRIU: 'make criu' builds it";

// Takes all that there is and keeps it. Every process may have 20000 descriptors at least.
const HOARDER = `
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
taken = 0
while True:
    if libc.inotify_init1(0) < 0: break
    taken += 1
error = ctypes.get_errno()
queues = 0
try:
    while True:
        os.close(os.open('/dev/mqueue/q%d' % queues, os.O_CREAT | os.O_RDWR, 0o600))
        queues += 1
except OSError:
    pass
with open('/tmp/taken.part', 'w') as f: f.write('%d %d %d' % (taken, error, queues))
os.rename('/tmp/taken.part', '/tmp/taken')
time.sleep(86400)
`;
const EMFILE = 24;

async function hoard(box) {
  await box.write('/tmp/hoarder.py', HOARDER);
  await box.background('exec python3 /tmp/hoarder.py');
  let text = '';
  await eventually('everything is taken', async () => (text = (await box.run('cat /tmp/taken')).stdout) !== '');
  const [instances, error, queues] = text.split(' ').map(Number);
  return {instances, error, queues};
}

const request = (id) => ({path: `/v1/sandboxes/${id}/watch?path=/workspace`});

async function watches(daemon, id) {
  const answer = await open(daemon.port, {host: daemon.bare, ...request(id)});
  answer.close();
  return answer.status === 200;
}

/** As much as if it were alone, but for the watch that goes on for a while without its client. */
function assertAlike(second, first) {
  assert.ok(second.instances >= first.instances - 2, `${second.instances} of ${first.instances}`);
  assert.equal(second.queues, first.queues);
}

/** Throws where it gets none. */
async function canUseQueues(box) {
  await box.sh('touch /dev/mqueue/mine && rm /dev/mqueue/mine');
}

describe('what the kernel counts by user', () => {
  let daemon;
  let one;
  let two;
  before(async () => {
    daemon = await Daemon.start();
    [one, two] = ['one', 'two'].map((id) => daemon.sandbox(id));
    await Promise.all([one.create(), two.create()]);
  });
  after(() => daemon?.cleanup());

  it('is not shared by sandboxes, and the one without says so', async () => {
    const most = Number(fs.readFileSync('/proc/sys/fs/inotify/max_user_instances', 'utf8'));
    const first = await hoard(one);
    assert.equal(first.error, EMFILE);
    assert.equal(first.instances, most, 'all that a user may have was there for it');
    assert.ok(first.queues > 0);
    const refused = assertError(await daemon.request('', request('one')), 503, 'WATCH_LIMIT_REACHED');
    assert.match(refused.message, /fs\.inotify\.max_user_instances/);
    assert.ok(await watches(daemon, 'two'));
    await canUseQueues(two);
    assertAlike(await hoard(two), first);
    fs.watch(daemon.dir).close();

    await one.sh('pkill -f hoarder.py');
    await eventually('it is given back', () => watches(daemon, 'one'));
  });

  it('is not shared by copies of what runs', {skip}, async () => {
    const source = daemon.sandbox('source');
    await source.create();
    const answer = await daemon.request('source', {
      method: 'POST', path: '/fork', json: {memory: true, opencode: false, count: 2}, limitMs: 180_000,
    });
    assert.equal(answer.status, 200, answer.text);
    const ids = answer.json().sandboxes.map((each) => each.id);
    const copies = ids.map((id) => daemon.sandbox(id));
    for (const copy of copies) {
      assert.equal((await copy.sh('stat -c "%u:%g %a" /dev/mqueue')).trim(), '0:0 1777');
    }
    const first = await hoard(copies[0]);
    assert.equal(first.error, EMFILE);
    assert.ok(await watches(daemon, ids[1]));
    assertAlike(await hoard(copies[1]), first);
  });

  it('belongs to the root user inside, who owns the message queues', async () => {
    assert.equal((await two.sh('stat -c "%u:%g %a" /dev/mqueue')).trim(), '0:0 1777');
  });
});
