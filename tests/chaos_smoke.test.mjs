// SPDX-License-Identifier: Apache-2.0
// Half a minute of what `make chaos` does for longer, and a model that notices what it should.

import assert from 'node:assert/strict';
import {describe, it} from 'node:test';

import {digest, Model, Violation} from './chaos/model.mjs';
import {Random} from './chaos/random.mjs';
import {chaos} from './chaos/run.mjs';

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

  it('finds no violation in half a minute', {timeout: 400_000}, async () => {
    const {operations, kills} = await chaos({seed: process.env.ATOLL_TEST_SEED ?? 1, ms: 30_000});
    assert.ok(operations.size > 5 && kills.size > 0);
  });
});
