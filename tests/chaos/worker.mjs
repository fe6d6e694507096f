// SPDX-License-Identifier: Apache-2.0
// One client that does one thing after the other with sandboxes of its own, and checks what it sees.

import {eventually, sleep} from '../support/daemon.mjs';
import {copyWorlds, digest, Model, Violation} from './model.mjs';
import {Random} from './random.mjs';

const DATA = '/workspace/data';
const FILES = 12;
const SETTLED = new Set(['running', 'paused', 'stopped', 'failed']);
// How long something may be refused when nothing is killed any more.
const BOUND_MS = 90_000;

export class Worker {
  constructor(world, number) {
    this.world = world;
    this.daemon = world.daemon;
    this.number = number;
    this.random = new Random(world.seed, 'worker', number);
    this.step = 0;
    this.sequence = 0;
    this.names = ['a', 'b', 'c', 'd'].map((letter) => `w${number}-${letter}`);
    this.models = new Map(this.names.map((id) => [id, new Model(id)]));
    this.current = null;
    this.used = [];
  }

  async run() {
    while (!this.world.over) {
      await this.world.pass(this);
      if (this.world.over) break;
      this.step += 1;
      await this.once();
    }
  }

  async once() {
    const model = this.models.get(this.random.pick(this.names));
    this.current = model;
    const kind = this.choose(model);
    const startedAt = Date.now();
    this.used = [model.id];
    const {done, why} = await this[kind](model);
    model.note(`${this.step} ${kind}: ${done ? 'done' : `not answered (${why})`}`);
    this.world.count(kind, done);
    if (done) return;
    if (!this.world.disturbed(startedAt, this.used)) {
      throw new Violation(`${kind} of ${model.id} failed and nothing was killed that it needs: ${why}`);
    }
  }

  choose(model) {
    const choice = this.random.weighted([
      [30, 'write'], [8, 'remove'], [14, 'verify'], [8, 'clone'], [10, 'snapshot'], [7, 'restore'],
      [5, 'sleep'], [3, 'wake'], [6, 'stop'], [6, 'fork'], [5, 'erase']]);
    if (!model.exists) return 'create';
    if (choice === 'restore' && model.snapshots.length === 0) return 'snapshot';
    return choice;
  }

  /** A request whose answer may not come: {done, status, body, why}. */
  async ask(id, options) {
    try {
      const answer = await this.daemon.request(id, {limitMs: 120_000, ...options});
      const done = answer.status >= 200 && answer.status < 300;
      const body = answer.text.startsWith('{') ? answer.json() : {};
      return {done, status: answer.status, body, why: `${answer.status} ${answer.text.slice(0, 300)}`};
    } catch (error) {
      return {done: false, status: 0, body: {}, why: error.message};
    }
  }

  v1(model, path, method = 'POST', json = undefined) {
    return this.ask('', {method, path: `/v1/sandboxes/${model.id}${path}`, json});
  }

  /** Runs a command and checks who answers: {done, lines, why}. */
  async execute(model, command) {
    const script = `hostname; cat /var/marker 2>/dev/null || echo none; ${command}`;
    let result;
    try {
      result = await this.daemon.sandbox(model.id).run(script);
    } catch (error) {
      return {done: false, lines: [], why: error.message};
    }
    const lines = result.stdout.split('\n');
    if (lines.length >= 2 && lines[0] !== model.id) {
      throw new Violation(`${model.id} was asked, "${lines[0]}" answered`);
    }
    if (lines.length >= 3) model.seeMarker(lines[1]);
    const done = result.last?.type === 'complete' && result.exitCode === 0;
    return {done, lines: lines.slice(2), why: JSON.stringify(result.last) + result.stderr.slice(0, 200)};
  }

  async create(model) {
    const json = {opencode: this.random.chance(0.06)};
    if (this.random.chance(0.3)) json.disk = '128M';
    const answer = await this.ask(model.id, {method: 'POST', path: '/create', json, limitMs: 200_000});
    if (answer.done) model.begin();
    else if (await this.find(model)) model.begin();
    if (!model.exists) return answer;
    const marker = `${model.id}/${model.generation}`;
    model.markers.add(marker);
    const marked = await this.execute(model, `echo ${marker} > /var/.m && mv /var/.m /var/marker && mkdir -p ${DATA}`);
    if (marked.done) model.markers = new Set([marker]);
    else model.markers.add(marker);
    return answer.done ? marked : answer;
  }

  async write(model) {
    const name = `f${this.random.below(FILES)}`;
    const lines = this.random.pick([1, 1, 200, 20_000]);
    const token = `${model.id} ${model.generation} ${this.sequence += 1}`;
    // One that was cut off may go on for a moment: it has a name of its own until it is whole.
    const result = await this.execute(model, `mkdir -p ${DATA} && cd ${DATA} && yes '${token}' | head -n ${lines} > ` +
                                      `.t${this.sequence} && mv .t${this.sequence} ${name}`);
    model.write(name, digest(token, lines), result.done);
    return result;
  }

  async remove(model) {
    const name = `f${this.random.below(FILES)}`;
    const result = await this.execute(model, `rm -f ${DATA}/${name}`);
    model.write(name, null, result.done);
    return result;
  }

  async verify(model) {
    const result = await this.execute(model, `mkdir -p ${DATA} && cd ${DATA} && ` +
                                      'for f in *; do [ -e "$f" ] && sha256sum "$f"; done; echo end');
    if (!result.done) return result;
    if (result.lines.at(-2) !== 'end') throw new Violation(`${model.id}: a whole answer lacks its end`);
    const seen = new Map();
    for (const line of result.lines.slice(0, -2)) {
      const [sum, name] = line.split(/\s+/);
      seen.set(name, sum);
    }
    model.see(seen);
    return result;
  }

  async clone(model) {
    const dir = `/workspace/clone${this.sequence += 1}`;
    const json = {repo: this.world.git.url('public.git'), dir};
    const answer = await this.ask(model.id, {method: 'POST', path: '/gitClone', json});
    if (!answer.done) return answer;
    if (answer.body.commit !== this.world.git.mainCommit) throw new Violation(`clone: ${JSON.stringify(answer.body)}`);
    const look = await this.execute(model, `cat ${dir}/second.txt && rm -rf ${dir}`);
    if (look.done && look.lines[0] !== 'second') throw new Violation(`${model.id}: the clone holds "${look.lines[0]}"`);
    return look;
  }

  async snapshot(model) {
    const answer = await this.ask(model.id, {method: 'POST', path: '/snapshot', json: {dir: DATA}});
    if (answer.status === 404 && this.emptyPossible(model)) return {done: true};
    if (answer.done) {
      model.snapshots.push({id: answer.body.snapshotId, worlds: copyWorlds(model.worlds)});
      this.world.snapshots += 1;
    }
    return answer;
  }

  // The directory is made by the first write: before that there is nothing to save.
  emptyPossible(model) {
    return model.worlds.some((world) => [...world.values()].every((values) => values.has(null)));
  }

  async restore(model, snapshot = this.random.pick(model.snapshots)) {
    const answer = await this.ask(model.id, {method: 'POST', path: `/restore/${snapshot.id}`});
    if (answer.status === 404 && !/SANDBOX_NOT_FOUND/.test(answer.why)) {
      throw new Violation(`snapshot ${snapshot.id} of ${model.id} was answered and is gone: ${answer.why}`);
    }
    model.restore(snapshot.worlds, answer.done);
    return answer.done ? this.verify(model) : answer;
  }

  async sleep(model) {
    const answer = await this.v1(model, '/sleep');
    // One that is stopped does not sleep, one that does not sleep is not woken.
    return {...answer, done: answer.done || answer.status === 409};
  }

  async wake(model) {
    const answer = await this.v1(model, '/wake');
    return {...answer, done: answer.done || answer.status === 409};
  }

  // What runs is kept where the host can do that; where not, it stops all the same.
  stop(model) { return this.v1(model, '/stop', 'POST', {keepMemory: this.random.chance(0.5)}); }

  async fork(model) {
    const target = [...this.models.values()].find((one) => !one.exists);
    if (!target) return this.verify(model);
    const json = {id: target.id, opencode: false};
    this.used.push(target.id);
    const answer = await this.ask(model.id, {method: 'POST', path: '/fork', json});
    target.note(`${this.step} forked from ${model.id}: ${answer.done ? 'done' : `not answered (${answer.why})`}`);
    if (answer.done || await this.find(target)) {
      target.begin(model.worlds, model.markers);
      const look = await this.verify(target);
      return answer.done ? look : answer;
    }
    return answer;
  }

  async erase(model) {
    const answer = await this.ask(model.id, {method: 'DELETE', path: '/'});
    if (answer.done || !await this.find(model)) {
      model.gone();
      // Snapshots outlive their sandbox, and can be put into the next one of that name.
    }
    return answer;
  }

  /** Whether a sandbox exists after a request about it was cut off, when that is settled. */
  async find(model) {
    return eventually(`${model.id} is settled`, async () => {
      await this.world.pass(this);
      const all = await this.daemon.list().catch(() => null);
      if (!all) return null;
      const one = all.find((each) => each.id === model.id);
      if (!one) return {exists: false};
      return SETTLED.has(one.state) ? {exists: true} : null;
    }, BOUND_MS).then(({exists}) => exists);
  }

  /** Nothing is killed any more: everything works, and everything is where it should be. */
  async finish() {
    for (const model of this.models.values()) {
      this.current = model;
      const exists = await this.find(model);
      if (exists !== model.exists) throw new Violation(`${model.id} ${exists ? 'is there' : 'is gone'}`);
      if (!exists && model.snapshots.length === 0) continue;
      if (!exists) await this.insist(model, 'create');
      await this.insist(model, 'verify');
      for (const snapshot of model.snapshots) await this.insist(model, 'restore', snapshot);
      await this.insist(model, 'write');
      await this.insist(model, 'verify');
    }
  }

  async insist(model, kind, ...args) {
    const end = Date.now() + BOUND_MS;
    for (;;) {
      const {done, why} = await this[kind](model, ...args);
      model.note(`at the end ${kind}: ${done ? 'done' : why}`);
      this.world.count(kind, done);
      if (done) return;
      if (Date.now() > end) throw new Violation(`${kind} of ${model.id} fails for good: ${why}`);
      await sleep(500);
    }
  }
}
