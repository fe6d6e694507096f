// SPDX-License-Identifier: Apache-2.0
// Half a minute of what `make chaos` does for longer, and a model that notices what it should.

import assert from 'node:assert/strict';
import {describe, it} from 'node:test';

import {digest, Model, Violation} from './chaos/model.mjs';
import {Random} from './chaos/random.mjs';
import {chaos} from './chaos/run.mjs';
import {SharedLock} from './chaos/shared_lock.mjs';
import {Stuck} from './chaos/stuck.mjs';

describe('chaos', () => {
  it('draws the same for the same seed', () => {
    const draw = (...seed) => {
      const random = new Random(...seed);
      return Array.from({length: 5}, () => random.next());
    };
    assert.deepEqual(draw(7, 'worker', 1), draw(7, 'worker', 1));
    assert.notDeepEqual(draw(7, 'worker', 1), draw(7, 'worker', 2));
  });

  it('notices what is lost, what is too much, and what is somebody else\'s', () => {
    const model = new Model('one');
    model.begin();
    model.write('f', digest('t', 3), true);
    model.see(new Map([['f', digest('t', 3)]]));
    assert.throws(() => model.see(new Map()), Violation);
    assert.throws(() => model.see(new Map([['f', digest('u', 3)]])), Violation);
    assert.throws(() => model.see(new Map([['f', digest('t', 3)], ['g', digest('t', 3)]])), Violation);
    assert.throws(() => model.seeMarker('two/1'), Violation);
  });

  it('takes both outcomes of what was cut off, each as a whole', () => {
    const model = new Model('one');
    model.begin();
    const snapshot = [new Map([['f', new Set(['old'])], ['g', new Set(['old'])]])];
    model.write('f', 'new', true);
    model.write('g', 'new', true);
    model.restore(snapshot, false);
    assert.throws(() => model.see(new Map([['f', 'old'], ['g', 'new']])), Violation);
    model.see(new Map([['f', 'old'], ['g', 'old']]));
    // What has been seen stays so.
    assert.throws(() => model.see(new Map([['f', 'new'], ['g', 'new']])), Violation);
    model.write('f', 'newer', false);
    model.see(new Map([['f', 'newer'], ['g', 'old']]));
    model.see(new Map([['f', 'old'], ['g', 'old']]));
  });

  it('notices what stays on its way, over daemons that die, and counts only the time with one', () => {
    const one = (state, createdAt = 'then') => [{id: 'one', createdAt, state, failure: 'no room'}];
    const looks = (...each) => {
      const stuck = new Stuck(3000);
      let now = 0;
      return each.map((list) => stuck.look(list, now += 1000));
    };
    const creating = one('creating');
    assert.deepEqual(looks(creating, creating, creating, creating), [null, null, null, null]);
    assert.match(looks(creating, creating, creating, creating, creating).at(-1), /one is creating for 4000 ms: no room/);
    // With no daemon it can go no further; the next one has the rest of the time.
    const died = looks(creating, creating, null, null, null, null, null, creating, creating, creating, creating);
    assert.deepEqual(died.slice(0, -1), Array(10).fill(null));
    assert.match(died.at(-1), /creating/);
    for (const state of ['failed', 'stopping', 'restoring', 'deleting']) {
      assert.match(looks(...Array(5).fill(one(state))).at(-1), new RegExp(state));
    }
    for (const state of ['running', 'paused', 'stopped']) assert.equal(looks(...Array(9).fill(one(state))).at(-1), null);
    // It got on: another state, or another sandbox of that name.
    assert.equal(looks(creating, creating, creating, one('running'), creating, creating).at(-1), null);
    assert.equal(looks(creating, creating, creating, one('creating', 'later'), one('creating', 'later')).at(-1), null);
  });

  it('lets many look, and one change', async () => {
    const lock = new SharedLock();
    const order = [];
    let release;
    const held = new Promise((resolve) => { release = resolve; });
    const looking = lock.tryLook(() => held);
    const also = lock.tryLook(() => order.push('looks'));
    const changing = lock.change(async () => order.push('changes'));
    await also;
    assert.deepEqual(order, ['looks']);
    release();
    await Promise.all([looking, changing]);
    assert.deepEqual(order, ['looks', 'changes']);
    await lock.change(async () => assert.equal(await lock.tryLook(() => true), null));
    assert.equal(await lock.tryLook(() => true), true);
  });

  it('finds no violation in half a minute', {timeout: 400_000}, async () => {
    const {operations, kills} = await chaos({seed: process.env.ATOLL_TEST_SEED ?? 1, ms: 30_000});
    assert.ok(operations.size > 5 && kills.size > 0);
  });
});
