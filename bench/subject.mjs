// SPDX-License-Identifier: Apache-2.0
// A sandbox that holds a tree in its /workspace, and the daemon's side of what is measured: times as
// a client sees them, the phases that the answers tell, the daemon's peak memory in each step.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';

import {quote} from '../tests/support/sandbox.mjs';
import {settle} from './alternatives.mjs';
import {now, p50} from './report.mjs';

const LIMIT_MS = 600_000;

/** What the steps cost: peak memory of the daemon and phases, by name of the step. */
export class Costs {
  constructor() {
    this.peaks = new Map();
    this.phases = new Map();
  }

  addPeak(step, bytes) {
    this.peaks.set(step, [...this.peaks.get(step) ?? [], bytes]);
  }

  addPhases(step, phases) {
    if (!this.phases.has(step)) this.phases.set(step, new Map());
    const known = this.phases.get(step);
    for (const [name, value] of Object.entries(phases)) known.set(name, [...known.get(name) ?? [], value]);
  }

  /** "walk 170, read 900, …" in milliseconds, of each step. */
  phaseLines() {
    return [...this.phases].map(([step, phases]) => {
      const parts = [...phases].map(([name, values]) => `${name} ${p50(values).toFixed(0)}`);
      return `- ${step}: ${parts.join(', ')}`;
    });
  }

  /** [step, first peak, highest peak]: what grows from round to round shows. */
  memory() {
    return [...this.peaks].map(([step, all]) => [step, all[0], Math.max(...all)]);
  }
}

/** Configuration that every daemon here needs. */
export const sections = (port) => ({
  'egress': {host_ports: [port]},
  'snapshots.auto': {on_stop: false, on_start: false, interval: 'off'},
});

export class Subject {
  /** A new sandbox with tree number `number` of the server at `port` in its /workspace. */
  static async create(daemon, costs, id, {tree, number, port}) {
    const subject = new Subject(daemon, costs, id, tree);
    const layers = path.join(daemon.stateDir, 'sandboxes');
    const before = fs.existsSync(layers) ? fs.readdirSync(layers) : [];
    await subject.box.create();
    const [iid] = fs.readdirSync(layers).filter((one) => !before.includes(one));
    subject.upper = path.join(layers, iid, 'upper', 'workspace');
    await subject.box.sh(`set -o pipefail; curl -sSf http://host.atoll:${port}/${number} | tar -C /workspace -x`);
    return subject;
  }

  constructor(daemon, costs, id, tree) {
    this.daemon = daemon;
    this.costs = costs;
    this.box = daemon.sandbox(id);
    this.tree = tree;
    this.changes = 0;
  }

  /** Everything is in the page cache, as it is after an agent has worked there. */
  async warm() {
    await this.box.sh('find /workspace -type f -exec cat {} + > /dev/null');
  }

  /** Appends a line to each of the ten files. */
  async change() {
    const line = `// change ${++this.changes}`;
    const one = this.tree.changed.map((file) => `echo ${quote(line)} >> ${quote(file)}`);
    await this.box.sh(`set -e; cd /workspace; ${one.join('; ')}`);
  }

  /** The answer of a POST, with `ms`: what it took; disks are quiet before it begins. */
  async measured(step, route, body) {
    settle(this.daemon.dir);
    // From here on VmHWM counts anew.
    fs.writeFileSync(`/proc/${this.daemon.pid}/clear_refs`, '5');
    const begin = now();
    const answer = await this.box.post(route, body, {limitMs: LIMIT_MS});
    const taken = now() - begin;
    assert.equal(answer.status, 200, `${step}: ${answer.text}`);
    const peak = fs.readFileSync(`/proc/${this.daemon.pid}/status`, 'utf8').match(/VmHWM:\s+(\d+)/)[1];
    const result = answer.json();
    this.costs.addPeak(step, Number(peak) * 1024);
    this.costs.addPhases(step, result.phases);
    return {...result, ms: taken};
  }

  async snapshot(step, options = {}) {
    const result = await this.measured(step, '/snapshot', {dir: '/workspace', ...options});
    assert.equal(result.skipped, 0, `${step}: ${JSON.stringify(result)}`);
    return result;
  }

  async remove() {
    const answer = await this.daemon.request('', {
      method: 'DELETE', path: `/v1/sandboxes/${this.box.id}`, limitMs: LIMIT_MS});
    assert.equal(answer.status, 204, answer.text);
  }

  restore(step, snapshotId) {
    return this.measured(step, `/restore/${snapshotId}`, {});
  }

  /** The daemon, started again, has a new and empty repository open; the sandbox went on. */
  async emptyStore() {
    const {daemon} = this;
    await daemon.stop();
    for (const name of ['snapshots', 'snapshots.stores', 'cache']) {
      fs.rmSync(path.join(daemon.stateDir, name), {recursive: true, force: true});
    }
    await daemon.launch();
    const answer = await daemon.request('', {path: '/v1/snapshots'});
    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(answer.json().snapshots, []);
    await this.box.sh('true');
  }
}
