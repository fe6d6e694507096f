// SPDX-License-Identifier: Apache-2.0
// What a backup leaves out, in the SDK's terms, as the paths that Atoll takes.

import {AtollError} from './errors.js';

const MOST_LEFT_OUT = 20_000;

export interface BackupOptions {
  dir: string;
  name?: string | undefined;
  /** Seconds, or "3d"; three days when it is not there. */
  ttl?: number | string | undefined;
  /** Names, which may have wildcards, of whatever is called so below `dir`; or paths below it. */
  excludes?: string[] | undefined;
  /** Without what git ignores, where `dir` is in a repository. */
  gitignore?: boolean | undefined;
  /** The repository has a compression of its own. */
  compression?: {format?: 'gzip' | 'lz4' | 'zstd'; threads?: number} | undefined;
  /** Uploads are in parts where that is good. */
  multipart?: boolean | undefined;
  /** Backups are where Atoll's configuration says. */
  localBucket?: boolean | undefined;
}

export interface Places {
  /** Where whatever has such a name is. */
  named(pattern: string): Promise<string[]>;
  ignored(): Promise<string[]>;
}

// "**/name", "name/**" and "name" mean the same: whatever is called so, with what is in it.
function normal(pattern: string): string {
  const plain = pattern.replace(/^(\*\*\/|\.\/)+/, '').replace(/(\/\*\*)+$/, '').replace(/\/+$/, '');
  const refuse = (why: string) => { throw new AtollError(`"excludes": ${pattern} ${why}`, 'INVALID_BACKUP_CONFIG', 400); };
  if (plain.startsWith('/') || plain.split('/').includes('..')) refuse('is no pattern of what is below "dir"');
  if (plain.includes('/') && /[*?[]/.test(plain)) refuse('has a wildcard in a path; use one for a name');
  return plain;
}

export async function leftOut(options: BackupOptions, places: Places): Promise<string[]> {
  const dir = options.dir.replace(/\/+$/, '');
  const patterns = (options.excludes ?? []).map(normal).filter((one) => one !== '');
  const all = new Set<string>();
  for (const pattern of patterns) {
    const found = pattern.includes('/') ? [`${dir}/${pattern}`] : await places.named(pattern);
    for (const one of found) all.add(one);
  }
  if (options.gitignore) for (const one of await places.ignored()) all.add(one);
  // What is in a directory that is left out needs no word of its own.
  const inOther = (one: string): boolean => {
    for (let end = one.lastIndexOf('/'); end > dir.length; end = one.lastIndexOf('/', end - 1)) {
      if (all.has(one.slice(0, end))) return true;
    }
    return false;
  };
  const least = [...all].filter((one) => !inOther(one));
  if (least.length <= MOST_LEFT_OUT) return least;
  throw new AtollError(`more than ${MOST_LEFT_OUT} places would be left out`, 'BACKUP_CREATE_FAILED', 413);
}
