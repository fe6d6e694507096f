// SPDX-License-Identifier: Apache-2.0
// One run: workers and a killer for a while, then everything must be as the workers know it.

import fs from 'node:fs';
import path from 'node:path';

import {Daemon, preparedState} from '../support/daemon.mjs';
import {GitServer} from '../support/git_server.mjs';
import {assertSoundBeside} from '../support/restic.mjs';
import {Client} from './client.mjs';
import {Killer} from './killer.mjs';
import {Meddler} from './meddler.mjs';
import {Violation} from './model.mjs';
import {Worker} from './worker.mjs';
import {World} from './world.mjs';

const WORKERS = 4;
const MEDDLERS = 2;

/** {seed, ms, operations, kills, tallies, snapshots, checks}; throws at the first violation. */
export async function chaos({seed, ms, say = () => {}}) {
  const git = await GitServer.start();
  let daemon;
  try {
    daemon = await Daemon.start({sections: {
      egress: {host_ports: [git.port]}, sleep: {after: '5s', stop_after: '10s'}, snapshots: {ttl: 'never'},
      // Creates without a limit of disk take what waits there, the others are made. That the host is busy is no reason here.
      pool: {warm_target: 1, max: 2, templates: true, refresh_interval: '1s', max_load: 100_000, free_memory: '64M'}}});
    const criu = fs.existsSync(path.join(preparedState, 'criu', 'criu'));
    const world = new World({daemon, git, seed, criu, clients: WORKERS + MEDDLERS});
    const workers = Array.from({length: WORKERS}, (_, number) => new Worker(world, number));
    world.models = workers.flatMap((worker) => [...worker.models.values()]);
    const meddlers = Array.from({length: MEDDLERS}, (_, number) => new Meddler(world, number, world.models));
    const killer = new Killer(world);
    let first;
    // The first violation ends the run of all.
    const guard = async (who, task) => {
      try {
        await task;
      } catch (error) {
        first ??= report(error, {seed, who, world});
        world.over = true;
        world.openGate();
      }
    };
    const ticker = setInterval(() => say(line(world)), 30_000);
    const timer = setTimeout(() => { world.over = true; world.openGate(); }, ms);
    await Promise.all([...[...workers, ...meddlers].map((client) => guard(client, client.run())),
                       guard(killer, killer.run()), guard(world, world.watch())]);
    clearInterval(ticker);
    clearTimeout(timer);
    world.gate = null;
    if (!first && !daemon.isRunning()) await daemon.launch();
    if (!first) {
      say('everything is looked at');
      await Promise.all(workers.map((worker) => guard(worker, worker.finish())));
    }
    if (!first) {
      await guard(world, (async () => {
        daemon.assertNoLeaks();
        await assertSoundBeside(daemon, '--read-data');
        world.checks += 1;
      })());
    }
    if (first) throw first;
    await daemon.cleanup();
    daemon = null;
    const {operations, kills, tallies, snapshots, checks} = world;
    return {seed, ms, operations, kills, tallies, snapshots, checks};
  } finally {
    // What a violation was found in is kept for who looks into it; its processes are not.
    await daemon?.cleanup().catch((error) => say(`after the violation: ${error.message.split('\n')[0]}`));
    await git.stop();
  }
}

function line(world) {
  const sum = (map, of) => [...map.values()].reduce((total, one) => total + of(one), 0);
  return `${sum(world.operations, (one) => one.done)} done, ${sum(world.operations, (one) => one.cut)} cut off, ` +
      `${sum(world.kills, (one) => one)} kills`;
}

function report(error, {seed, who, world}) {
  const model = who instanceof Client ? who.current : null;
  const name = who.constructor.name.toLowerCase();
  const lines = [`seed ${seed}, ` + (model ? `${name} ${who.number}, step ${who.step}` : name),
                 error instanceof Violation ? error.message : error.stack];
  if (model) lines.push(`history of ${model.id}:`, ...model.history.map((one) => `  ${one}`));
  lines.push(`log (${world.daemon.log}):`, world.log());
  return new Error(lines.join('\n'));
}
