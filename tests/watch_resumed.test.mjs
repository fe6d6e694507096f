// SPDX-License-Identifier: Apache-2.0
// Watches go on while nobody looks at them, the daemon included: a client that comes back with the id of the last event
// that it knows gets what has happened since, in order and once, or is told that it cannot.

import assert from 'node:assert/strict';
import {after, before, beforeEach, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {alive, upgrade} from './support/upgrade.mjs';
import {watch} from './support/watch.mjs';

describe('a watch that its client comes back to', () => {
  let daemon;
  let box;
  let at = 0;
  let query;
  let dir;
  const made = (one) => one.seen.filter((event) => event.eventType === 'create').map((event) => event.path.slice(dir.length + 1));

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('again');
    await box.create();
  });
  beforeEach(async () => {
    dir = `/workspace/d${++at}`;
    query = `path=${dir}`;
    await box.sh(`mkdir ${dir}`);
  });
  after(() => daemon?.cleanup());

  /** Makes files, one after the other, while no daemon runs. */
  async function makeWhileAway(count, away) {
    await box.background(`until [ -e ${dir}.go ]; do sleep 0.05; done; cd ${dir}; ` +
      `i=1; while [ $i -le ${count} ]; do : > $i; i=$((i + 1)); done; touch ${dir}.done`);
    await box.sh(`(sleep 1; touch ${dir}.go) > /dev/null 2>&1 &`);
    await away();
    await eventually('the files are made', async () => (await box.sh(`ls ${dir}.done 2> /dev/null || true`)) !== '');
  }
  const names = (count) => Array.from({length: count}, (_, i) => `${i + 1}`);

  it('goes on behind the last event after a daemon was killed, in order and with none twice', async () => {
    const one = await watch(daemon, 'again', query);
    await box.sh(`touch ${dir}/before`);
    await one.until('create', `${dir}/before`);
    assert.equal(one.seen[0].resumed, false);
    const last = one.last();
    await makeWhileAway(300, async () => {
      await daemon.kill9();
      await one.ended;
      await sleep(3000);
      await daemon.launch();
    });
    const two = await watch(daemon, 'again', query, last);
    await box.sh(`touch ${dir}/after`);
    await two.until('create', `${dir}/after`);
    assert.equal(two.seen[0].resumed, true);
    assert.deepEqual(made(two), [...names(300), 'after']);
    assert.ok(!two.seen.some((event) => event.type === 'resync' || event.type === 'overflow'));
    two.close();
  });

  it('goes on in the middle of what it had been told', async () => {
    const one = await watch(daemon, 'again', query);
    for (const name of ['a', 'b', 'c']) {
      await box.sh(`touch ${dir}/${name}`);
      await one.until('create', `${dir}/${name}`);
    }
    const second = one.seen.find((event) => event.path === `${dir}/b`).lastEventId;
    one.close();
    const two = await watch(daemon, 'again', query, second);
    await two.until('create', `${dir}/c`);
    assert.deepEqual(made(two), ['c']);
    // From the beginning, before anything was told.
    two.close();
    const three = await watch(daemon, 'again', query, one.seen[0].lastEventId);
    await three.until('create', `${dir}/c`);
    assert.deepEqual(made(three), ['a', 'b', 'c']);
    three.close();
  });

  it('ends cleanly with a daemon that is replaced, and goes on with the next', async () => {
    const one = await watch(daemon, 'again', query);
    await box.sh(`touch ${dir}/one`);
    await one.until('create', `${dir}/one`);
    const old = await upgrade(daemon);
    await one.ended;
    assert.equal(one.failure(), null);
    assert.equal(one.seen.at(-1).type, 'stopped');
    await eventually('the old daemon has ended', () => !alive(old));
    await box.sh(`touch ${dir}/two`);
    const two = await watch(daemon, 'again', query, one.last());
    await two.until('create', `${dir}/two`);
    assert.deepEqual([two.seen[0].resumed, made(two)], [true, ['two']]);
    // The same events have the same ids, whichever daemon tells of them.
    const three = await watch(daemon, 'again', query, one.seen[0].lastEventId);
    await three.until('create', `${dir}/two`);
    const ids = (from) => from.seen.filter((event) => event.type === 'event').map((event) => event.lastEventId);
    assert.deepEqual(ids(three), [...ids(one), ...ids(two)]);
    two.close();
    three.close();
  });

  it('is told when there was more than is kept', async () => {
    const one = await watch(daemon, 'again', query);
    const last = one.last();
    one.close();
    await one.ended;
    await box.sh(`cd ${dir} && seq 20000 | xargs touch`);
    const two = await watch(daemon, 'again', query, last);
    await box.sh(`touch ${dir}/after`);
    await two.until('create', `${dir}/after`);
    assert.equal(two.seen[0].resumed, true);
    assert.equal(two.seen[1].type, 'overflow');
    const told = made(two);
    assert.ok(told.length > 1000 && told.length < 20000, `${told.length} events`);
    assert.equal(new Set(told).size, told.length, 'none twice');
    two.close();
    // What is kept has the same end for everybody.
    const three = await watch(daemon, 'again', query, last);
    await three.until('create', `${dir}/after`);
    assert.equal(three.seen[1].type, 'overflow');
    assert.deepEqual(made(three), told.slice(-made(three).length));
    assert.ok(made(three).length > 1000);
    three.close();
  });

  it('is told to look at everything when it is another watch, or one that nobody knows', async () => {
    const one = await watch(daemon, 'again', query);
    await box.sh(`touch ${dir}/one`);
    await one.until('create', `${dir}/one`);
    const [id, number] = one.last().split('.');
    for (const [last, other] of [['nonsense', ''], [`${'0'.repeat(32)}.3`, ''], [one.last(), '&exclude=*.o'],
                                 [`${id}.${Number(number) + 100}`, '']]) {
      const two = await watch(daemon, 'again', query + other, last);
      await box.sh(`touch ${dir}/fresh`);
      await two.until('create', `${dir}/fresh`);
      assert.deepEqual(two.seen.slice(0, 2).map(({type, resumed}) => [type, resumed]),
                       [['watching', false], ['resync', undefined]], last);
      assert.deepEqual(made(two), ['fresh'], last);
      two.close();
      await box.sh(`rm ${dir}/fresh`);
    }
    await one.until('delete', `${dir}/fresh`);
    one.close();
  });

  it('hears the end of what was watched, also late', async () => {
    const one = await watch(daemon, 'again', query);
    one.close();
    await one.ended;
    await box.sh(`touch ${dir}/last && rm -r ${dir}`);
    const two = await watch(daemon, 'again', query, one.last());
    await two.ended;
    assert.equal(two.seen.at(-1).type, 'stopped');
    assert.match(two.seen.at(-1).reason, /gone/);
  });

  it('makes room for others, and does not outlast the sandbox', async () => {
    let last;
    for (let i = 0; i < 70; ++i) {
      const one = await watch(daemon, 'again', query);
      last = one.last();
      one.close();
      await one.ended;
    }
    const two = await watch(daemon, 'again', query, last);
    assert.equal(two.seen[0].resumed, true);
    await box.sh('mkdir -p /tmp/w && touch /tmp/w/x');
    two.close();
    const stopped = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/again/stop', json: {}});
    assert.equal(stopped.status, 200, stopped.text);
    const three = await watch(daemon, 'again', query, last);
    assert.equal(three.seen[0].resumed, false);
    three.close();
  });
});
