// SPDX-License-Identifier: Apache-2.0
// A store of snapshots that takes connections and says nothing. Who wants a sandbox whose files are here does not wait
// for it, and neither does a newer daemon.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {SilentStore} from './support/stores.mjs';
import {alive, upgrade} from './support/upgrade.mjs';

describe('a store that does not open', () => {
  let store;
  let daemon;
  // Longer than any request of a test waits.
  before(async () => {
    store = await SilentStore.start();
    daemon = await Daemon.start({sections: {
      snapshots: {...store.snapshots, deadline: '30m'}, sleep: {after: 'off', stop_after: 'off'},
    }});
  });
  after(async () => {
    store?.stop();
    await daemon?.cleanup();
  });

  const v1 = (id, method, what, json) =>
    daemon.request('', {method, path: `/v1/sandboxes/${id}${what}`, json, limitMs: 60_000});
  const info = async (id) => (await daemon.list()).find((one) => one.id === id);
  const make = async (id, options = {}) => {
    const box = daemon.sandbox(id);
    await box.create({opencode: false, snapshots: {onStart: false}, ...options});
    await box.sh('echo kept > /workspace/file; (exec sleep 77777) & echo $! > /tmp/pid');
    return box;
  };
  const isStopping = (id) => eventually(`${id} is saved for its stop`, async () => (await info(id)).state === 'stopping');

  it('a stop because nobody uses it is called off by who does', async () => {
    const box = await make('idle', {sleepAfter: 1, stopAfter: 1});
    await isStopping('idle');
    assert.equal(await box.sh('cat /workspace/file; kill -0 $(cat /tmp/pid) && echo runs'), 'kept\nruns\n');
    const events = await v1('idle', 'GET', '/events');
    assert.ok(!/"state":"stopped"/.test(events.text), events.text);
    assert.equal((await v1('idle', 'DELETE', '')).status, 204);
  });

  it('a stop that its owner wants ends unsaved when somebody wants it, who gets it with its files', async () => {
    const box = await make('owned');
    const stopping = v1('owned', 'POST', '/stop', {});
    await isStopping('owned');
    assert.equal(await box.sh('cat /workspace/file; kill -0 $(cat /tmp/pid) 2>/dev/null || echo anew'), 'kept\nanew\n');
    const stopped = await stopping;
    assert.equal(stopped.status, 200, stopped.text);
    assert.match(stopped.json().saveFailure ?? stopped.text, /repository of the snapshots/);
    assert.equal((await info('owned')).unsaved, true, 'it is saved later');
  });

  it('a start has nothing to ask it, and a newer daemon does not wait for it', async () => {
    const box = await make('taken');
    const stopping = v1('taken', 'POST', '/stop', {});
    await isStopping('taken');
    const snapshot = v1('owned', 'POST', '/snapshot', {dir: '/workspace'});
    const creating = daemon.sandbox('new').post('/create', {opencode: false}, {limitMs: 60_000});
    creating.catch(() => {});
    snapshot.catch(() => {});
    await eventually('it is begun', async () => store.sockets.size > 0);
    const old = await upgrade(daemon);
    const stopped = await stopping;
    assert.equal(stopped.status, 200, stopped.text);
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
    // What cannot do without the store is passed on, and goes on waiting there.
    assert.equal((await v1('new', 'DELETE', '')).status, 404);
    store.stop();
    for (const one of [await creating, await snapshot]) assert.notEqual(one.json().code, 'DAEMON_REPLACED');
    await eventually('the old one has ended', () => !alive(old));
  });
});
