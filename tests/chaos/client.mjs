// SPDX-License-Identifier: Apache-2.0
// What every client of the run does: requests that may be cut off, and commands whose answer says whose it is.

import {Violation} from './model.mjs';

export const DATA = '/workspace/data';
// Another daemon was taking over: ask again.
const REPLACED = /DAEMON_REPLACED/;

export class Client {
  constructor(world) {
    this.world = world;
    this.daemon = world.daemon;
    this.step = 0;
    this.current = null;
  }

  /** A request whose answer may not come: {done, status, body, list, why}; `list` where it is one. */
  async ask(id, options) {
    try {
      const answer = await this.daemon.request(id, {limitMs: 120_000, ...options});
      const done = answer.status >= 200 && answer.status < 300;
      const body = answer.text.startsWith('{') ? answer.json() : {};
      const list = done && answer.text.startsWith('[') ? answer.json() : [];
      return {done, status: answer.status, body, list, why: `${answer.status} ${answer.text.slice(0, 300)}`};
    } catch (error) {
      return {done: false, status: 0, body: {}, list: [], why: error.message};
    }
  }

  v1(model, path, method = 'POST', json = undefined) {
    return this.ask('', {method, path: `/v1/sandboxes/${model.id}${path}`, json});
  }

  /** Runs a command and checks who answers: {done, lines, why}. A stop meanwhile ends it. */
  async execute(model, command) {
    const script = `hostname; cat /var/marker 2>/dev/null || echo none; ${command}`;
    let result;
    try {
      result = await this.daemon.sandbox(model.id).run(script);
    } catch (error) {
      return {done: false, lines: [], ends: true, why: error.message};
    }
    const lines = result.stdout.split('\n');
    if (lines.length >= 2 && lines[0] !== model.id) {
      throw new Violation(`${model.id} was asked, "${lines[0]}" answered`);
    }
    if (lines.length >= 3) model.seeMarker(lines[1]);
    const done = result.last?.type === 'complete' && result.exitCode === 0;
    return {done, lines: lines.slice(2), ends: true, why: JSON.stringify(result.last) + result.stderr.slice(0, 200)};
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

  // One that is stopped does not sleep, one that does not sleep is not woken.
  async sleep(model) { return this.orNotNow(await this.v1(model, '/sleep')); }
  async wake(model) { return this.orNotNow(await this.v1(model, '/wake')); }
  orNotNow(answer) { return {...answer, done: answer.done || answer.status === 409}; }

  /** Others know that what runs in it may end. Memory is kept where the host can do that. */
  async stop(model, keepMemory = this.random.chance(0.5)) {
    const json = {keepMemory: keepMemory && this.world.criu};
    const answer = await this.world.during('stop', [model.id], () => this.v1(model, '/stop', 'POST', json));
    if (answer.body.memoryKept) this.world.tally('stops that kept memory');
    return answer;
  }

  /** Fails unless something explains that `kind` did: a kill, or what others did to the same sandboxes. */
  judge(kind, {done, why, ends}, startedAt, ids, others) {
    this.world.count(this.label(kind), done);
    if (done) return;
    if (this.world.disturbed(startedAt, ids)) return;
    if (this.world.others(startedAt, ids, ends ? [...others, 'stop'] : others)) return;
    if (REPLACED.test(why) && this.world.others(startedAt, null, ['takeover'])) return;
    throw new Violation(`${kind} of ${ids.join(', ')} failed and nothing was killed that it needs: ${why}`);
  }
}
