// SPDX-License-Identifier: Apache-2.0
// What the host sees of a daemon's sandboxes.

import fs from 'node:fs';

/** A file of a process, or nothing when that has ended. */
export function ofProcess(pid, name) {
  try {
    return fs.readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}

/** The numbers of all processes in the daemon's control groups, the agents' among them. */
export function processesOf(daemon) {
  return fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number)
    .filter((pid) => ofProcess(pid, 'cgroup').includes(`/${daemon.cgroup}/`));
}
