// SPDX-License-Identifier: Apache-2.0
// Daemons whose snapshots are on an S3 server of the test.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import {buildDir, eventually} from './daemon.mjs';
import {aws, run} from './processes.mjs';

/** A sentence for `skip` when one of the programs is not installed. */
export function missing(...programs) {
  const dirs = `${process.env.PATH}:/usr/sbin:/sbin`.split(':');
  const absent = programs.filter((name) =>
    !(name.startsWith('/') ? fs.existsSync(name) : dirs.some((dir) => fs.existsSync(path.join(dir, name)))));
  return absent.length > 0 ? `${absent.join(' and ')}: not installed here` : false;
}

export const RGW_PROGRAMS = ['radosgw', 'ceph-mon', 'ceph-osd', 'ceph', 'radosgw-admin', '/usr/bin/aws'];

/** The same for Swift, of which Debian's modules for Python are enough. */
export function missingSwift() {
  const found = spawnSync('/usr/bin/python3', ['-c', 'import swift']).status === 0;
  return found ? missing('/usr/bin/aws') : 'python3-swift is not installed here';
}

/** The configuration's sections for a store; `more` goes into [snapshots]. */
export function onStore(server, prefix, more = {}, automatic = {}) {
  return {
    snapshots: {
      store: `s3://${server.bucket}/${prefix}`,
      endpoint: server.endpoint,
      region: server.region,
      access_key: server.accessKey,
      secret_key: server.secretKey,
      ...more,
    },
    'snapshots.auto': {interval: 'off', paths: ['/workspace', '/root'], ...automatic},
  };
}

/** The command line beside the daemon; this process goes on meanwhile, for proxies live in it. */
export function atoll(daemon, args, {config = daemon.config, ...options} = {}) {
  return run(path.join(buildDir, 'atoll'), ['--config', config, ...args],
             {cwd: daemon.dir, env: daemon.env, timeout: 120_000, ...options});
}

/** Every key below the prefix, without the prefix. */
export async function keysOf(server, prefix) {
  const text = await aws(server, ['s3api', 'list-objects-v2', '--bucket', server.bucket, '--prefix', `${prefix}/`,
                                  '--output', 'json']);
  const all = text.trim() === '' ? [] : JSON.parse(text).Contents ?? [];
  return all.map(({Key}) => Key.slice(prefix.length + 1)).sort();
}

export async function assertNoUploads(server) {
  await eventually('no multipart upload is left', async () => {
    const text = await aws(server, ['s3api', 'list-multipart-uploads', '--bucket', server.bucket, '--output', 'json']);
    return text.trim() === '' || (JSON.parse(text).Uploads ?? []).length === 0;
  });
}

/** Every byte in the store is as it should be, and nobody holds a lock. */
export async function assertSound(daemon, server, prefix, options) {
  const text = await atoll(daemon, ['repo', 'check', '--read-data'], options);
  assert.match(text, /no errors were found/);
  const locks = (await keysOf(server, prefix)).filter((key) => key.startsWith('locks/'));
  assert.deepEqual(locks, [], 'no lock is left');
}
