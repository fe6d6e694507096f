// SPDX-License-Identifier: Apache-2.0
// Ends processes of one daemon: itself, agents, OpenCode, crun, CRIU and git, each while it works; has it replaced; and
// takes layers away.

import fs from 'node:fs';

import path from 'node:path';

import {sleep} from '../support/daemon.mjs';
import {assertSoundBeside} from '../support/restic.mjs';
import {alive, upgrade} from '../support/upgrade.mjs';
import {Violation} from './model.mjs';
import {Random} from './random.mjs';

// How long a program is waited for that lives for a moment only.
const HUNT_MS = 4000;
const LEAKS_GONE_MS = 20_000;

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

/** CRIU that works for this daemon, with the sandboxes that it is about. */
function criuOf(daemon) {
  const found = [];
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (!programOf(pid).endsWith('/criu')) continue;
    const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');
    if (!command.includes(daemon.dir)) continue;
    const dumped = command.match(/ -t (\d+) /)?.[1];
    const groups = dumped ? read(`/proc/${dumped}/cgroup`) : '';
    found.push({pid: Number(pid), iids: `${command} ${groups}`.match(/\b[0-9a-f]{16}\b/g) ?? []});
  }
  return found;
}

/** Every `atoll serve` of the daemon's: two while one takes over. */
const serversOf = (daemon) => fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) =>
  read(`/proc/${pid}/cmdline`).includes(`\0serve\0--config\0${daemon.config}\0`));

/** Nothing of them holds anything any more, also of one that had just begun. */
async function endServers(daemon) {
  const gone = new Set();
  for (;;) {
    const servers = serversOf(daemon);
    for (const pid of servers) {
      gone.add(pid);
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
    // What is left of one that nobody has reaped yet has one thread and no file.
    const held = [...gone].filter((pid) => alive(pid) || (fs.existsSync(`/proc/${pid}/task`) && threads(pid) > 1));
    if (servers.length === 0 && held.length === 0) return;
    await sleep(5);
  }
}

const threads = (pid) => {
  try {
    return fs.readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
};

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
        [25, 'daemon'], [25, 'agent'], [10, 'opencode'], [15, 'crun'], [15, 'git'], [10, 'criu'], [8, 'upgrade'],
        [4, 'halfUpgrade']]);
      // Drawn whatever happens, so that the next decisions are the same again.
      const lot = this.random.next();
      if (kind === 'daemon') await this.killDaemon(lot);
      else if (kind === 'upgrade') await this.upgrade();
      else if (kind === 'halfUpgrade') await this.killDaemon(lot, () => this.begun(lot));
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
      criu: () => criuOf(this.daemon),
    }[kind];
    const end = Date.now() + HUNT_MS;
    while (Date.now() < end && !this.world.over) {
      const found = find();
      if (found.length === 0) {
        await sleep(3);
        continue;
      }
      const {pid, iid, iids = [iid]} = found[Math.floor(lot * found.length)];
      try {
        process.kill(pid, 'SIGKILL');
        this.world.killed(kind, iids);
      } catch {
        // It has ended by itself.
      }
      return;
    }
  }

  /** Nobody notices, but who is told to ask again. */
  async upgrade() {
    await this.world.during('takeover', null, () => upgrade(this.daemon));
    this.world.tally('takeovers');
  }

  /** Both die on the way. */
  async begun(lot) {
    process.kill(this.daemon.pid, 'SIGUSR2');
    await sleep(lot * 300);
    this.world.tally('takeovers in which both daemons were killed');
  }

  // What has been saved comes back; nobody is at work in what is stopped.
  loseLayers(lot) {
    const {world, daemon} = this;
    const rest = world.query("SELECT id || ' ' || iid FROM sandboxes WHERE state = 'stopped' AND unsaved = 0 AND pool_key = ''");
    if (rest.length === 0) return;
    const [id, iid] = rest[Math.floor(lot * rest.length)].split(' ');
    // One that was lost already may not have been used since.
    fs.rmSync(path.join(daemon.stateDir, 'sandboxes', iid), {recursive: true, force: true});
    const model = world.models.find((one) => one.id === id);
    model.lost();
    model.note('its layer is gone');
    world.tally('layers lost');
  }

  // Locks in the repository go when somebody next works with it, or at a look that the new daemon takes a little later.
  async findNoLeaks() {
    const end = Date.now() + LEAKS_GONE_MS;
    for (;;) {
      const leaks = this.daemon.leaks();
      if (leaks.status === 0) return;
      const others = leaks.stdout.split('\n').some((line) => line.includes(this.daemon.dir) && !line.startsWith('lock '));
      if (others || Date.now() > end) {
        throw new Violation(`after a kill of the daemon:\n${leaks.stdout}${leaks.stderr}`);
      }
      await sleep(200);
    }
  }

  // Half of the time everybody stands still afterwards, so that others may look at the repository.
  async killDaemon(lot, before = async () => {}) {
    const {world, daemon} = this;
    const quiet = lot < 0.5;
    world.close();
    const kill = world.killed('daemon', null);
    await before();
    await endServers(daemon);
    await daemon.exited;
    if (this.random.chance(0.3)) this.loseLayers(this.random.next());
    await sleep(lot * 400);
    await daemon.launch();
    kill.over();
    if (!quiet) world.openGate();
    await this.findNoLeaks();
    if (quiet) {
      await world.everybodyWaits();
      // The first snapshot makes it.
      if (fs.existsSync(path.join(daemon.stateDir, 'snapshots', 'config'))) {
        await assertSoundBeside(daemon);
        world.checks += 1;
      }
      world.openGate();
    }
  }
}
