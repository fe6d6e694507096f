// SPDX-License-Identifier: Apache-2.0
// How long each sandbox is on its way from one state to another, or cannot be stopped. Only time in
// which a daemon was there to do something about it counts, over all the daemons that there were.

const ON_THE_WAY = new Set(['creating', 'stopping', 'restoring', 'deleting', 'failed']);

export class Stuck {
  constructor(limitMs) {
    this.limitMs = limitMs;
    this.lookedAt = null;
    // By name, creation and state: milliseconds.
    this.lasted = new Map();
  }

  /** `list`: what the daemon says, or null if there is none. What lasts for too long, as text, or null. */
  look(list, now) {
    const passed = list && this.lookedAt !== null ? now - this.lookedAt : 0;
    this.lookedAt = list ? now : null;
    if (!list) return null;
    const lasted = new Map();
    let found = null;
    for (const {id, createdAt, state, failure} of list) {
      if (!ON_THE_WAY.has(state)) continue;
      const key = `${id} ${createdAt} ${state}`;
      const ms = this.lasted.has(key) ? this.lasted.get(key) + passed : 0;
      lasted.set(key, ms);
      if (ms > this.limitMs) found = `${id} is ${state} for ${ms} ms: ${failure ?? ''}`;
    }
    this.lasted = lasted;
    return found;
  }
}
