// SPDX-License-Identifier: Apache-2.0
// Daemons that take each other's place, and programs of several versions.

import fs from 'node:fs';
import path from 'node:path';

import {buildDir, eventually, sleep} from './daemon.mjs';

export const alive = (pid) => {
  try {
    process.kill(pid, 0);
    // One that has ended and is not yet reaped by whoever started it. While another of its threads is there, what
    // it has open is, too.
    const ended = /^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
    return !ended || fs.readdirSync(`/proc/${pid}/task`).length > 1;
  } catch {
    return false;
  }
};

/** The process that holds the run directory, in the shape of a child process. */
export function holder(daemon) {
  const pid = Number(fs.readFileSync(path.join(daemon.runDir, 'lock'), 'utf8'));
  const child = {pid, exitCode: null, signalCode: null, kill: (signal) => process.kill(pid, signal)};
  const exited = (async () => {
    while (alive(pid)) await sleep(50);
    child.exitCode = 0;
    return {code: 0, signal: null};
  })();
  return {child, exited};
}

/** Has the daemon replaced by the program on the disk; gives the pid of the old one. */
export async function upgrade(daemon) {
  const old = daemon.pid;
  process.kill(old, 'SIGUSR2');
  await eventually('another process holds the run directory', () => holder(daemon).child.pid !== old &&
                   holder(daemon).child.pid > 0);
  await eventually('it is ready', async () =>
    (await daemon.request('', {path: '/ready'}).catch(() => ({}))).status === 200);
  Object.assign(daemon, holder(daemon));
  return old;
}

/** Puts a built program under `name` into `dir`, as an installation does: by a rename. */
export function install(dir, built, name = built) {
  const source = path.join(buildDir, built);
  if (!fs.existsSync(source)) throw new Error(`${source} is not there: scripts/build.sh release ${built}`);
  fs.mkdirSync(dir, {recursive: true});
  fs.copyFileSync(source, path.join(dir, `${name}.new`));
  fs.renameSync(path.join(dir, `${name}.new`), path.join(dir, name));
}
