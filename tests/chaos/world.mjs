// SPDX-License-Identifier: Apache-2.0
// What clients and the killer share: one daemon, the time, a gate, and counts.

import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import {sleep} from '../support/daemon.mjs';
import {Violation} from './model.mjs';
import {Stuck} from './stuck.mjs';

// A process that is killed has ended a moment later, with all that depended on it.
const ENDING_MS = 1_000;
const STUCK_LIMIT_MS = 30_000;

export class World {
  constructor({daemon, git, seed, clients, criu}) {
    Object.assign(this, {daemon, git, seed, criu, clientCount: clients});
    this.over = false;
    this.operations = new Map();
    this.kills = new Map();
    // {kind, iids, at, until}: of everything (null) for the daemon, else of some sandboxes; until when it lasts.
    this.killings = [];
    // {kind, ids, at, until}: what clients do that others may be refused for, or cut off by.
    this.doings = [];
    // All that the clients know.
    this.models = [];
    this.tallies = new Map();
    this.snapshots = 0;
    this.checks = 0;
    this.gate = null;
    this.waiting = new Set();
  }

  count(kind, done) {
    const one = this.operations.get(kind) ?? {done: 0, cut: 0};
    one[done ? 'done' : 'cut'] += 1;
    this.operations.set(kind, one);
  }

  tally(what) { this.tallies.set(what, (this.tallies.get(what) ?? 0) + 1); }

  /** `iids`: of the sandboxes that it was of; null for all. Gives what is to be told when it is over. */
  killed(kind, iids) {
    this.kills.set(kind, (this.kills.get(kind) ?? 0) + 1);
    const at = Date.now();
    const kill = {kind, iids, at, until: iids === null ? Infinity : at + ENDING_MS};
    this.killings.push(kill);
    return {over: () => { kill.until = Date.now(); }};
  }

  /** `ids`: null for all. */
  async during(kind, ids, work) {
    const doing = {kind, ids, at: Date.now(), until: Infinity};
    this.doings.push(doing);
    try {
      return await work();
    } finally {
      doing.until = Date.now();
    }
  }

  /** Whether somebody did one of `kinds` since `startedAt` with one of `ids`. */
  others(startedAt, ids, kinds) {
    return this.doings.some((one) => one.until >= startedAt && kinds.includes(one.kind) &&
                            (one.ids === null || one.ids.some((id) => ids?.includes(id))));
  }

  /**
   * Whether a kill explains that something failed which began at `startedAt` and used the sandboxes
   * `ids`: one of the daemon, until the next one is ready, or one of something of these sandboxes.
   */
  disturbed(startedAt, ids) {
    const meanwhile = this.killings.filter((kill) => kill.at <= Date.now() && kill.until >= startedAt);
    if (meanwhile.some((kill) => kill.iids === null)) return true;
    const iids = new Set(meanwhile.flatMap((kill) => kill.iids));
    return iids.size > 0 && this.idsOf(iids).some((id) => ids.includes(id));
  }

  /** Whose they are or were: a member of the pool becomes somebody's. */
  idsOf(iids) {
    const list = [...iids].filter((iid) => /^[0-9a-f]{16}$/.test(iid)).map((iid) => `'${iid}'`).join(',');
    const sql = `SELECT id FROM events WHERE iid IN (${list}) UNION SELECT id FROM sandboxes WHERE iid IN (${list})`;
    return this.query(sql);
  }

  /** Lines of the daemon's table. */
  query(sql) {
    const asked = spawnSync('sqlite3', ['-readonly', '-cmd', '.timeout 10000', path.join(this.daemon.stateDir, 'atoll.db'), sql],
                            {encoding: 'utf8'});
    if (asked.status !== 0) throw new Error(`${sql}: ${asked.stderr}`);
    return asked.stdout.split('\n').filter((line) => line !== '');
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
  async pass(client) {
    while (this.gate) {
      this.waiting.add(client);
      await this.gate.opened;
      this.waiting.delete(client);
    }
  }

  async everybodyWaits() {
    while (this.waiting.size < this.clientCount && !this.over) await sleep(20);
  }

  async wait(ms) {
    const end = Date.now() + ms;
    while (!this.over && Date.now() < end) await sleep(Math.min(50, ms));
  }

  /** Ends with a violation when a sandbox is on its way for too long, or the daemon says nothing. */
  async watch() {
    const stuck = new Stuck(STUCK_LIMIT_MS);
    while (!this.over) {
      await this.wait(1000);
      const startedAt = Date.now();
      let failure = null;
      const answer = await this.daemon.request('', {path: '/v1/sandboxes', limitMs: STUCK_LIMIT_MS})
          .catch((error) => { failure = error.message; });
      const found = stuck.look(answer?.json().sandboxes ?? null, Date.now());
      if (found) throw new Violation(found);
      if (failure && !this.disturbed(startedAt, []) && !this.others(startedAt, null, ['takeover'])) {
        throw new Violation(`the daemon does not answer: ${failure}`);
      }
    }
  }

  /** Text of the daemon's log around its end, what its table says, and what works for it. */
  log() {
    const lines = fs.readFileSync(this.daemon.log, 'utf8').split('\n').slice(-120);
    const rows = this.query("SELECT id, iid, state, failure FROM sandboxes");
    const events = this.query("SELECT strftime('%H:%M:%f', at_ms / 1000.0, 'unixepoch'), id, kind, state, detail FROM events " +
                              'ORDER BY seq DESC LIMIT 80').reverse();
    const ps = spawnSync('ps', ['--ppid', String(this.daemon.pid), '-o', 'pid,lstart,stat,wchan:20,args'], {encoding: 'utf8'});
    return [...lines, 'rows:', ...rows, 'events:', ...events, 'children:', ps.stdout].join('\n');
  }
}
