// SPDX-License-Identifier: Apache-2.0
// What workers and the killer share: one daemon, the time, a gate, and counts.

import fs from 'node:fs';

import {sleep} from '../support/daemon.mjs';
import {Violation} from './model.mjs';

// A kill explains failures of what runs meanwhile, and of what comes shortly after it.
const AFTERMATH_MS = 10_000;
const TRANSITION_LIMIT_MS = 90_000;
const TRANSITIONAL = new Set(['creating', 'stopping', 'restoring', 'deleting']);

export class World {
  constructor({daemon, git, seed, workers}) {
    Object.assign(this, {daemon, git, seed, workerCount: workers});
    this.over = false;
    this.operations = new Map();
    this.kills = new Map();
    this.killsSeen = 0;
    this.lastKill = 0;
    this.snapshots = 0;
    this.checks = 0;
    this.gate = null;
    this.waiting = new Set();
    this.since = new Map();
  }

  count(kind, done) {
    const one = this.operations.get(kind) ?? {done: 0, cut: 0};
    one[done ? 'done' : 'cut'] += 1;
    this.operations.set(kind, one);
  }

  killed(kind, count = 1) {
    this.kills.set(kind, (this.kills.get(kind) ?? 0) + count);
    this.killsSeen += 1;
    this.lastKill = Date.now();
  }

  disturbed(seenBefore, startedAt) {
    return this.killsSeen !== seenBefore || startedAt - this.lastKill < AFTERMATH_MS;
  }

  close() {
    this.gate = {};
    this.gate.opened = new Promise((resolve) => { this.gate.open = resolve; });
  }

  openGate() {
    this.gate?.open();
    this.gate = null;
  }

  /** Waits while the gate is closed. */
  async pass(worker) {
    while (this.gate) {
      this.waiting.add(worker);
      await this.gate.opened;
      this.waiting.delete(worker);
    }
  }

  async everybodyWaits() {
    while (this.waiting.size < this.workerCount && !this.over) await sleep(20);
  }

  async wait(ms) {
    const end = Date.now() + ms;
    while (!this.over && Date.now() < end) await sleep(Math.min(50, ms));
  }

  /** Ends with a violation when a sandbox is on its way for too long. */
  async watch() {
    while (!this.over) {
      await this.wait(1000);
      const all = this.gate ? null : await this.daemon.list().catch(() => null);
      if (!all) {
        this.since.clear();
        continue;
      }
      const now = new Map();
      for (const {id, state} of all) {
        if (!TRANSITIONAL.has(state)) continue;
        const since = this.since.get(`${id} ${state}`) ?? Date.now();
        if (Date.now() - since > TRANSITION_LIMIT_MS) throw new Violation(`${id} is ${state} for ${Date.now() - since} ms`);
        now.set(`${id} ${state}`, since);
      }
      this.since = now;
    }
  }

  /** Text of the daemon's log around its end. */
  log() { return fs.readFileSync(this.daemon.log, 'utf8').split('\n').slice(-80).join('\n'); }
}
