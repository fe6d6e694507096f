// SPDX-License-Identifier: Apache-2.0
// What a sandbox must hold. A request that was answered has happened; one that was cut off may have
// happened or not, so a sandbox has several possible worlds, each a Map from a file's name to the set
// of what it may hold (null: it is not there).

import crypto from 'node:crypto';

import {SharedLock} from './shared_lock.mjs';

export class Violation extends Error {}

/** What `sha256sum` says of `token` written `lines` times. */
export function digest(token, lines) {
  return crypto.createHash('sha256').update(`${token}\n`.repeat(lines)).digest('hex');
}

const copyWorld = (world) => new Map([...world].map(([name, values]) => [name, new Set(values)]));
export const copyWorlds = (worlds) => worlds.map(copyWorld);

export class Model {
  constructor(id) {
    this.id = id;
    this.exists = false;
    // Who changes what it holds is alone with it.
    this.lock = new SharedLock();
    this.worlds = [new Map()];
    // The first lines of every answer: whose file system this is.
    this.markers = new Set(['none']);
    this.history = [];
    // {id, worlds} of those that were answered.
    this.snapshots = [];
    // Title to the id that OpenCode has given the conversation, null where its answer did not come.
    this.talks = new Map();
    this.generation = 0;
  }

  note(text) {
    this.history.push(`${new Date().toISOString().slice(11, 23)} ${text}`);
    if (this.history.length > 60) this.history.shift();
  }

  begin(worlds = [new Map()], markers = ['none'], talks = new Map()) {
    this.exists = true;
    this.talks = new Map(talks);
    this.generation += 1;
    this.worlds = copyWorlds(worlds);
    this.markers = new Set(markers);
  }

  gone() {
    this.exists = false;
    this.worlds = [new Map()];
    this.markers = new Set(['none']);
    this.talks = new Map();
  }

  /** Its layer is gone while it was stopped: what was saved then comes back, and nothing else. */
  lost() { this.markers = new Set(['none']); }

  write(name, value, done) {
    for (const world of this.worlds) {
      if (done) world.set(name, new Set([value]));
      else world.set(name, new Set([...(world.get(name) ?? [null]), value]));
    }
  }

  restore(worlds, done) {
    if (done) this.worlds = copyWorlds(worlds);
    else this.worlds.push(...copyWorlds(worlds));
    // Each cut restore adds worlds; beyond this they are told apart by looking.
    if (this.worlds.length > 64) throw new Error(`${this.id}: too many possible worlds`);
  }

  /** `seen` is a Map of name to digest: forgets the worlds that it cannot be. */
  see(seen) {
    const fits = this.worlds.filter((world) => mismatch(world, seen) === null);
    if (fits.length === 0) {
      const why = this.worlds.map((world) => mismatch(world, seen)).slice(0, 4).join('; ');
      throw new Violation(`${this.id} holds what it cannot hold: ${why}`);
    }
    this.worlds = fits;
  }

  /** `listed`: {id, title} of every conversation that OpenCode knows. */
  hear(listed) {
    for (const {id, title} of listed) {
      if (!this.talks.has(title)) throw new Violation(`${this.id} has the conversation "${title}" of somebody else`);
      const known = this.talks.get(title);
      if (known && known !== id) throw new Violation(`${this.id}: the conversation "${title}" is ${id}, not ${known}`);
    }
    const ids = new Set(listed.map((one) => one.id));
    for (const [title, id] of this.talks) {
      if (id && !ids.has(id)) throw new Violation(`${this.id} has lost the conversation "${title}" (${id})`);
    }
  }

  seeMarker(marker) {
    if (!this.markers.has(marker)) {
      throw new Violation(`${this.id} has the marker "${marker}", not one of "${[...this.markers].join('", "')}"`);
    }
    this.markers = new Set([marker]);
  }
}

function mismatch(world, seen) {
  for (const name of seen.keys()) {
    if (!world.has(name)) return `${name} should not be there`;
  }
  for (const [name, values] of world) {
    const value = seen.get(name) ?? null;
    if (values.has(value)) continue;
    const wanted = [...values].map((one) => one?.slice(0, 8) ?? 'nothing').join(' or ');
    return `${name} is ${value?.slice(0, 8) ?? 'missing'}, not ${wanted}`;
  }
  return null;
}
