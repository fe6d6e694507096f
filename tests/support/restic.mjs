// SPDX-License-Identifier: Apache-2.0
// The restic command line on the repository of a daemon, as `atoll repo env` says.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';

import {eventually} from './daemon.mjs';

export function repositoryEnv(daemon) {
  const result = daemon.cli('--config', daemon.config, 'repo', 'env', '--json');
  assert.equal(result.status, 0, result.stderr);
  return JSON.parse(result.stdout);
}

/** {status, stdout, stderr} of restic. */
export function tryRestic(daemon, args, {env = repositoryEnv(daemon), ...options} = {}) {
  const result = spawnSync('restic', ['--no-cache', ...args], {
    cwd: daemon.dir, encoding: 'utf8', timeout: 180_000, maxBuffer: 64 << 20,
    env: {PATH: process.env.PATH, HOME: daemon.dir, ...env}, ...options});
  if (result.error) throw result.error;
  return result;
}

/** Standard output of a restic that must succeed. */
export function restic(daemon, args, options) {
  const result = tryRestic(daemon, args, options);
  assert.equal(result.status, 0, `restic ${args.join(' ')}\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

/** Its own check finds nothing. */
export function assertSound(daemon, ...args) {
  assert.match(restic(daemon, ['check', ...args]), /no errors were found/);
}

/** The same beside a daemon that may save something at any time: restic's check wants to be alone. */
export async function assertSoundBeside(daemon, ...args) {
  const result = await eventually('nobody holds the repository', () => {
    const tried = tryRestic(daemon, ['check', ...args]);
    return /already locked/.test(tried.stderr) ? null : tried;
  }, 120_000);
  assert.equal(result.status, 0, `restic check\n${result.stdout}${result.stderr}`);
  assert.match(result.stdout, /no errors were found/);
}
