// SPDX-License-Identifier: Apache-2.0
// What snapshots are compared with: restic with its default settings and a cache of its own, and
// mksquashfs with lz4 on all processors. Both run on the host, beside the same files.

import {spawn, spawnSync} from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import {now} from './report.mjs';

const NEEDED = {restic: 'restic', mksquashfs: 'squashfs-tools', npm: 'npm', git: 'git', radosgw: 'radosgw',
                'ceph-osd': 'ceph-osd', 'ceph-mon': 'ceph-mon', aws: 'awscli'};

/** Fails when a command is missing, with the Debian packages that have them. */
export function requireCommands() {
  const has = (name) => process.env.PATH.split(':').some((dir) => fs.existsSync(path.join(dir, name)));
  const missing = Object.entries(NEEDED).filter(([name]) => !has(name)).map(([, debian]) => debian);
  if (missing.length > 0) throw new Error(`missing Debian packages: ${missing.join(' ')}`);
}

/** What was written before is on the disk: nobody pays for the pages of another. */
export function settle(dir) {
  const {status} = spawnSync('sync', ['-f', dir]);
  if (status !== 0) throw new Error(`sync -f ${dir} failed`);
}

/** Milliseconds of a command that must succeed. */
function timed(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const begin = now();
    const child = spawn(command, args, {stdio: ['ignore', 'ignore', 'pipe'], ...options});
    let errors = '';
    child.stderr.on('data', (data) => { errors += data; });
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (code === 0) resolve(now() - begin);
      else reject(new Error(`${command} ${args.join(' ')}: ${signal ?? code}\n${errors}`));
    });
  });
}

/** A repository of restic in `dir` for the files in `source`. */
export class Restic {
  constructor(dir, source) {
    this.dir = dir;
    this.source = source;
    this.env = {
      PATH: process.env.PATH, HOME: dir, RESTIC_REPOSITORY: path.join(dir, 'repository'),
      RESTIC_PASSWORD: 'bench', RESTIC_CACHE_DIR: path.join(dir, 'cache'),
    };
  }

  /** A new, empty repository; not timed. */
  async reset() {
    fs.rmSync(this.dir, {recursive: true, force: true});
    fs.mkdirSync(this.dir, {recursive: true});
    await timed('restic', ['init'], {env: this.env});
  }

  backup() {
    settle(this.dir);
    return timed('restic', ['backup', '.'], {env: this.env, cwd: this.source});
  }

  /** Of the newest snapshot, into an empty directory. */
  async restore() {
    const target = path.join(this.dir, 'restored');
    fs.rmSync(target, {recursive: true, force: true});
    fs.mkdirSync(target);
    settle(this.dir);
    const taken = await timed('restic', ['restore', 'latest', '--target', target], {env: this.env});
    fs.rmSync(target, {recursive: true});
    return taken;
  }
}

/** Milliseconds to make an image of `source`, and until it is on the disk as well. */
export async function squash(source, file) {
  fs.rmSync(file, {force: true});
  settle(path.dirname(file));
  const begin = now();
  const taken = await timed('mksquashfs', [source, file, '-comp', 'lz4', '-processors', String(os.cpus().length),
                                           '-no-progress', '-quiet']);
  await timed('sync', [file]);
  const synced = now() - begin;
  fs.rmSync(file);
  return {taken, synced};
}
