// SPDX-License-Identifier: Apache-2.0
// A file system for one run, in an image file: everything that is compared writes to it, and tens of
// thousands of removed files are not discarded one by one by the disk below while the next
// measurement runs.

import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const SIZE = '16G';

function command(name, ...args) {
  const result = spawnSync(name, args, {encoding: 'utf8'});
  if (result.status !== 0) throw new Error(`${name} ${args.join(' ')}: ${result.error?.message ?? result.stderr}`);
}

// Of ext4, tables are written now, not by a thread of the kernel while something is measured.
const MAKE = {
  ext4: ['mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0'],
  xfs: ['mkfs.xfs', '-q', '-m', 'reflink=1'],
};

/** {dir, close()}: a new file system of `type` below `base`; removed also when the process ends early. */
export function makeDisk(base, type = 'ext4') {
  const home = fs.mkdtempSync(path.join(base, 'run-'));
  const image = path.join(home, 'disk.img');
  const dir = path.join(home, 'disk');
  fs.mkdirSync(dir);
  const close = () => {
    process.off('exit', close);
    // Lazily: what a failed run has left there must not keep it.
    spawnSync('umount', ['-l', dir]);
    fs.rmSync(image, {force: true});
    fs.rmdirSync(dir);
    fs.rmdirSync(home);
  };
  process.once('exit', close);
  command('truncate', '-s', SIZE, image);
  command(...MAKE[type], image);
  command('mount', '-o', type === 'ext4' ? 'loop,nodiscard' : 'loop', image, dir);
  // Sandboxes walk through it to their root directories.
  for (const one of [home, dir]) fs.chmodSync(one, 0o711);
  return {dir, close};
}
