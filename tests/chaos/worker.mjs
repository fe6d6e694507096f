// SPDX-License-Identifier: Apache-2.0
// One client that does one thing after the other with sandboxes of its own, and checks what it sees.

import {eventually, sleep} from '../support/daemon.mjs';
import {Client, DATA} from './client.mjs';
import {copyWorlds, digest, Model, Violation} from './model.mjs';
import {Random} from './random.mjs';

const FILES = 12;
const SETTLED = new Set(['running', 'paused', 'stopped', 'failed']);
// How long something may be refused when nothing is killed any more.
const BOUND_MS = 90_000;
// A copy that nobody uses for longer may have been stopped.
const FRESH_MS = 8_000;
// What only reads, so that others may look meanwhile.
const LOOKS = new Set(['verify', 'snapshot', 'sleep', 'wake', 'stop']);

export class Worker extends Client {
  constructor(world, number) {
    super(world);
    this.number = number;
    this.random = new Random(world.seed, 'worker', number);
    this.sequence = 0;
    this.names = ['a', 'b', 'c', 'd', 'e'].map((letter) => `w${number}-${letter}`);
    this.models = new Map(this.names.map((id) => [id, new Model(id)]));
    this.used = [];
  }

  label(kind) { return kind; }

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
    const act = () => this[kind](model);
    const result = await (LOOKS.has(kind) ? act() : model.lock.change(act));
    model.note(`${this.step} ${kind}: ${result.done ? 'done' : `not answered (${result.why})`}`);
    this.judge(kind, result, startedAt, this.used, []);
  }

  choose(model) {
    const choice = this.random.weighted([
      [30, 'write'], [8, 'remove'], [14, 'verify'], [8, 'clone'], [10, 'snapshot'], [7, 'restore'],
      [5, 'sleep'], [3, 'wake'], [4, 'stop'], [4, 'keep'], [6, 'fork'], [4, 'forkMemory'], [3, 'talk'], [3, 'listen'],
      [6, 'erase']]);
    if (!model.exists) return 'create';
    if (choice === 'restore' && model.snapshots.length === 0) return 'snapshot';
    return choice;
  }

  async create(model) {
    const json = {opencode: this.random.chance(0.12)};
    if (this.random.chance(0.3)) json.disk = '128M';
    const answer = await this.world.during('create', [model.id], () =>
      this.ask(model.id, {method: 'POST', path: '/create', json, limitMs: 200_000}));
    if (answer.body.phases?.claim !== undefined) this.world.tally('creates that took a member of the pool');
    if (answer.body.phases?.revive !== undefined) this.world.tally('creates from a template');
    // The sandbox is there all the same, and a stop ends OpenCode like any command.
    answer.ends = json.opencode;
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

  async clone(model) {
    const dir = `/workspace/clone${this.sequence += 1}`;
    const json = {repo: this.world.git.url('public.git'), dir};
    const answer = await this.ask(model.id, {method: 'POST', path: '/gitClone', json});
    if (!answer.done) return {...answer, ends: true};
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

  async fork(model, more = {}) {
    const target = [...this.models.values()].find((one) => !one.exists);
    if (!target) return this.verify(model);
    return target.lock.change(() => this.forkTo(model, target, more));
  }

  async forkTo(model, target, more) {
    const json = {id: target.id, opencode: false, ...more};
    this.used.push(target.id);
    const answer = await this.world.during('fork', [target.id], () =>
      this.ask(model.id, {method: 'POST', path: '/fork', json, limitMs: 180_000}));
    // Its programs are asked to stand still, whoever stops them meanwhile.
    answer.ends = more.memory;
    target.note(`${this.step} forked from ${model.id}: ${answer.done ? 'done' : `not answered (${answer.why})`}`);
    if (!answer.done && !await this.find(target)) return answer;
    target.begin(model.worlds, model.markers, model.talks);
    const look = await this.verify(target);
    return answer.done ? {...look, target} : answer;
  }

  /** What runs goes on in the copy. */
  async forkMemory(model) {
    if (!this.world.criu) return this.fork(model);
    const program = await this.begin(model);
    if (!program.done) return program;
    const forked = await this.fork(model, {memory: true});
    if (!forked.done || !forked.target) return forked;
    this.world.tally('forks with what runs');
    return this.goesOn(forked.target, program, Date.now() + FRESH_MS);
  }

  /** What runs goes on after a stop that has kept it. */
  async keep(model) {
    const program = await this.begin(model);
    if (!program.done) return program;
    const stopped = await this.stop(model, true);
    if (!stopped.done || !this.world.criu) return stopped;
    if (stopped.body.memoryKept) return this.goesOn(model, program, Infinity);
    return {...stopped, done: false, ends: true, why: `memory is not kept: ${stopped.why}`};
  }

  /** A program that lasts: {done, name, startedAt}. */
  async begin(model) {
    const startedAt = Date.now();
    const name = `sleep ${1e8 + 1e6 * this.number + (this.sequence += 1)}`;
    // It is itself before anybody looks.
    const begun = await this.execute(model, `setsid -f ${name} </dev/null >/dev/null 2>&1; ` +
                                     `until pgrep -fx '${name}'; do sleep 0.01; done`);
    return {...begun, name, startedAt};
  }

  async goesOn(model, {name, startedAt}, until) {
    const look = await this.execute(model, `pgrep -fx '${name}' || echo gone`);
    if (!look.done || look.lines[0] !== 'gone' || Date.now() > until) return look;
    return {...look, done: false, why: `"${name}" is gone since ${Date.now() - startedAt} ms`};
  }

  /** A new conversation, whether OpenCode ran already or not. */
  async talk(model) {
    const title = `${model.id} ${model.generation} ${this.sequence += 1}`;
    const answer = await this.ask(model.id, {method: 'POST', path: '/session', json: {title}, limitMs: 150_000});
    model.talks.set(title, answer.done ? answer.body.id : null);
    if (!answer.done) return {...answer, ends: true};
    this.world.tally('conversations begun');
    return this.listen(model);
  }

  /** OpenCode has all conversations that it has answered for. */
  async listen(model) {
    const answer = await this.ask(model.id, {path: '/session', limitMs: 150_000});
    if (!answer.done) return {...answer, ends: true};
    model.hear(answer.list);
    return answer;
  }

  async erase(model) {
    const answer = await this.world.during('erase', [model.id], () =>
      this.ask(model.id, {method: 'DELETE', path: '/'}));
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
      if (model.talks.size > 0) await this.insist(model, 'listen');
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
