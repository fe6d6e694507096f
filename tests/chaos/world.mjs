// SPDX-License-Identifier: Apache-2.0
// What workers and the killer share: one daemon, the time, a gate, and counts.

import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import {sleep} from '../support/daemon.mjs';
import {Violation} from './model.mjs';

// A process that is killed has ended a moment later, with all that depended on it; PID 1 of a sandbox
// that sleeps only when somebody wakes it, who may be refused.
const ENDING_MS = 1_000;
const AGENT_ENDING_MS = 10_000;
const TRANSITION_LIMIT_MS = 90_000;
const TRANSITIONAL = new Set(['creating', 'stopping', 'restoring', 'deleting']);

export class World {
  constructor({daemon, git, seed, workers}) {
    Object.assign(this, {daemon, git, seed, workerCount: workers});
    this.over = false;
    this.operations = new Map();
    this.kills = new Map();
    // {kind, iid, at, until}: of everything for the daemon, else of one sandbox; until when it lasts.
    this.killings = [];
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

  /** `iid`: of the sandbox that it was of; null for all. Gives what is to be told when it is over. */
  killed(kind, iid) {
    this.kills.set(kind, (this.kills.get(kind) ?? 0) + 1);
    const at = Date.now();
    const kill = {kind, iid, at, until: iid === null ? Infinity : at + (kind === 'agent' ? AGENT_ENDING_MS : ENDING_MS)};
    this.killings.push(kill);
    return {over: () => { kill.until = Date.now(); }};
  }

  /**
   * Whether a kill explains that something failed which began at `startedAt` and used the sandboxes
   * `ids`: one of the daemon, until the next one is ready, or one of something of these sandboxes.
   */
  disturbed(startedAt, ids) {
    const meanwhile = this.killings.filter((kill) => kill.at <= Date.now() && kill.until >= startedAt);
    if (meanwhile.some((kill) => kill.iid === null)) return true;
    const iids = new Set(meanwhile.map((kill) => kill.iid));
    return iids.size > 0 && this.idsOf(iids).some((id) => ids.includes(id));
  }

  /** Whose they are or were: a member of the pool becomes somebody's. */
  idsOf(iids) {
    const list = [...iids].filter((iid) => /^[0-9a-f]{16}$/.test(iid)).map((iid) => `'${iid}'`).join(',');
    const sql = `SELECT id FROM events WHERE iid IN (${list}) UNION SELECT id FROM sandboxes WHERE iid IN (${list})`;
    const asked = spawnSync('sqlite3', ['-readonly', '-cmd', '.timeout 10000', path.join(this.daemon.stateDir, 'atoll.db'), sql],
                            {encoding: 'utf8'});
    if (asked.status !== 0) throw new Error(`whose ${list} are: ${asked.stderr}`);
    return asked.stdout.split('\n').filter((id) => id !== '');
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
