// SPDX-License-Identifier: Apache-2.0
// A small ext4 that can be filled up, and a daemon whose state is on it.

import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import {Daemon} from './daemon.mjs';

function must(name, ...args) {
  const result = spawnSync(name, args, {encoding: 'utf8'});
  if (result.status !== 0) throw new Error(`${name} ${args.join(' ')}: ${result.error?.message ?? result.stderr}`);
}

export class SmallDisk {
  /**
   * A daemon whose state is on a file system of `size`, with `inodes` files at the most. `sections`:
   * additions to its configuration. `reserved`: percent that only root of the host gets.
   */
  static async start({size = '192M', inodes = 20_000, reserved = 0, sections = {}} = {}) {
    const disk = new SmallDisk();
    disk.daemon = new Daemon(sections, {});
    disk.image = `${disk.daemon.dir}.img`;
    disk.dir = disk.daemon.stateDir;
    fs.mkdirSync(disk.dir);
    try {
      must('truncate', '-s', size, disk.image);
      must('mkfs.ext4', '-q', '-F', '-m', String(reserved), '-N', String(inodes), disk.image);
      must('mount', '-o', 'loop', disk.image, disk.dir);
      fs.chmodSync(disk.dir, 0o711);
      await disk.daemon.launch();
    } catch (error) {
      disk.remove();
      throw error;
    }
    return disk;
  }

  get filler() { return path.join(this.dir, 'filler'); }

  /** Takes every block that is free. */
  fillBlocks() {
    fs.mkdirSync(this.filler);
    for (const size of ['1M', '4k', '1k']) {
      const result = spawnSync('dd', ['if=/dev/zero', `of=${this.filler}/${size}`, `bs=${size}`]);
      if (result.status === 0) throw new Error('the disk does not get full');
    }
    spawnSync('sync', ['-f', this.dir]);
  }

  /** Takes every inode that is free. */
  fillInodes() {
    fs.mkdirSync(this.filler);
    for (let i = 0;; ++i) {
      try {
        fs.writeFileSync(path.join(this.filler, String(i)), '');
      } catch (error) {
        if (error.code === 'ENOSPC') return;
        throw error;
      }
    }
  }

  free() { fs.rmSync(this.filler, {recursive: true, force: true}); }

  remove() {
    spawnSync('umount', ['-l', this.dir]);
    fs.rmSync(this.image, {force: true});
    fs.rmSync(this.daemon.dir, {recursive: true, force: true});
  }

  /** As Daemon.cleanup does; the directory of the state is a mount point. */
  async stop() {
    this.free();
    try {
      await this.daemon.cleanup();
    } catch (error) {
      if (error.code !== 'EBUSY') throw error;
    } finally {
      if (this.daemon.isRunning()) await this.daemon.kill9();
      this.remove();
    }
  }
}
