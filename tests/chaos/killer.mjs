// SPDX-License-Identifier: Apache-2.0
// Ends processes of one daemon: itself, agents, OpenCode, crun and git, each while it works.

import fs from 'node:fs';

import {sleep} from '../support/daemon.mjs';
import {assertSoundBeside} from '../support/restic.mjs';
import {Violation} from './model.mjs';
import {Random} from './random.mjs';

// How long a program is waited for that lives for a moment only.
const HUNT_MS = 4000;

const read = (file) => {
  try {
    return fs.readFileSync(file, 'latin1');
  } catch {
    return '';
  }
};

const programOf = (pid) => {
  try {
    return fs.readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return '';
  }
};

/** Processes in the sandboxes of this daemon: {pid, iid, name, command, first}. */
function inside(daemon) {
  const found = [];
  for (const pid of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const [, group, iid] = read(`/proc/${pid}/cgroup`).match(/\/(atoll-test-[0-9a-f]+)\/([0-9a-f]{16})/) ?? [];
    if (group !== daemon.cgroup) continue;
    const first = read(`/proc/${pid}/status`).match(/^NSpid:.*\t(\d+)$/m)?.[1] === '1';
    found.push({pid: Number(pid), iid, name: read(`/proc/${pid}/comm`).trim(), first,
                command: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')});
  }
  return found;
}

/** Those of the daemon's crun that began since the last look; it lives for milliseconds. */
class CrunWatch {
  constructor() { this.seen = new Set(fs.readdirSync('/proc')); }

  look(daemon) {
    const all = fs.readdirSync('/proc').filter((pid) => /^\d+$/.test(pid));
    const found = [];
    for (const pid of all) {
      if (this.seen.has(pid)) continue;
      // It runs from a copy in memory, so its name is none; forked and not yet crun it is looked at again.
      const program = programOf(pid);
      if (program.endsWith('/atoll')) continue;
      this.seen.add(pid);
      if (!program.includes('crun')) continue;
      const parent = Number(read(`/proc/${pid}/stat`).replace(/^.*\) \S /s, '').split(' ')[0]);
      if (parent !== daemon.pid) continue;
      // What is not of one sandbox is left alone: nothing of the daemon's own needs crun.
      const iid = read(`/proc/${pid}/cmdline`).match(/\b[0-9a-f]{16}\b/)?.[0];
      if (iid) found.push({pid: Number(pid), iid});
    }
    return found;
  }
}

export class Killer {
  constructor(world) {
    this.world = world;
    this.daemon = world.daemon;
    this.random = new Random(world.seed, 'killer');
  }

  async run() {
    for (;;) {
      await this.world.wait(this.random.between(300, 2500));
      if (this.world.over) return;
      const kind = this.random.weighted([
        [30, 'daemon'], [25, 'agent'], [10, 'opencode'], [20, 'crun'], [15, 'git']]);
      // Drawn whatever happens, so that the next decisions are the same again.
      const lot = this.random.next();
      if (kind === 'daemon') await this.killDaemon(lot);
      else await this.hunt(kind, lot);
    }
  }

  async hunt(kind, lot) {
    const watch = new CrunWatch();
    const find = {
      agent: () => inside(this.daemon).filter((one) => one.first),
      opencode: () => inside(this.daemon).filter((one) => /opencode/.test(one.command) && !one.first),
      git: () => inside(this.daemon).filter((one) => one.name.startsWith('git')),
      crun: () => watch.look(this.daemon),
    }[kind];
    const end = Date.now() + HUNT_MS;
    while (Date.now() < end && !this.world.over) {
      const found = find();
      if (found.length === 0) {
        await sleep(3);
        continue;
      }
      const {pid, iid} = found[Math.floor(lot * found.length)];
      try {
        process.kill(pid, 'SIGKILL');
        this.world.killed(kind, iid);
      } catch {
        // It has ended by itself.
      }
      return;
    }
  }

  // Half of the time everybody stands still afterwards, so that others may look at the repository.
  async killDaemon(lot) {
    const {world, daemon} = this;
    const quiet = lot < 0.5;
    world.close();
    const kill = world.killed('daemon', null);
    await daemon.kill9();
    await sleep(lot * 400);
    await daemon.launch();
    kill.over();
    if (!quiet) world.openGate();
    const leaks = daemon.leaks();
    if (leaks.status !== 0) throw new Violation(`after a kill of the daemon:\n${leaks.stdout}${leaks.stderr}`);
    if (quiet) {
      await world.everybodyWaits();
      await assertSoundBeside(daemon);
      world.checks += 1;
      world.openGate();
    }
  }
}
