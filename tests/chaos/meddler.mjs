// SPDX-License-Identifier: Apache-2.0
// One client that looks at, puts to sleep, wakes and stops sandboxes that others work with at the same time.

import {Client} from './client.mjs';
import {Random} from './random.mjs';

// What a sandbox may be refused for that exists for a part of the time.
const COMES_AND_GOES = ['create', 'erase', 'fork'];

export class Meddler extends Client {
  constructor(world, number, models) {
    super(world);
    this.random = new Random(world.seed, 'meddler', number);
    this.number = number;
    this.models = models;
  }

  label(kind) { return `${kind} by another`; }

  async run() {
    for (;;) {
      await this.world.wait(this.random.between(20, 300));
      await this.world.pass(this);
      if (this.world.over) return;
      this.step += 1;
      const model = this.random.pick(this.models);
      const kind = this.random.weighted([[4, 'verify'], [3, 'sleep'], [3, 'wake'], [2, 'stop']]);
      const keep = this.random.chance(0.5);
      this.current = model;
      const startedAt = Date.now();
      let result;
      if (kind === 'verify') result = await model.lock.tryLook(() => model.exists ? this.verify(model) : null);
      else result = await this[kind](model, keep);
      if (!result) continue;
      if (result.status === 404 || result.status === 409) result.done ||= !model.exists || result.status === 409;
      model.note(`${kind} by another: ${result.done ? 'done' : `not answered (${result.why})`}`);
      this.judge(kind, result, startedAt, [model.id], COMES_AND_GOES);
    }
  }
}
