// SPDX-License-Identifier: Apache-2.0
// The trees that snapshots are measured on, made once and kept: the packages of package-lock.json,
// and a git checkout made of some of them. And the server from which a sandbox fetches them.

import crypto from 'node:crypto';
import {spawn} from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import {fileURLToPath} from 'node:url';

import {run} from '../tests/support/processes.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const LEAST_FILES = 15_000;
const LEAST_BYTES = 150e6;
const CHANGED = 10;
const INSTALL_LIMIT_MS = 600_000;
// What the checkout is made of; one commit each.
const COMMITS = ['rxjs', '@babel', 'lodash', 'webpack', 'eslint'];

/** A directory that is made once: under a temporary name until it is whole. */
async function once(dir, make) {
  if (fs.existsSync(dir)) return;
  const partial = `${dir}.partial`;
  fs.rmSync(partial, {recursive: true, force: true});
  fs.mkdirSync(partial, {recursive: true});
  await make(partial);
  fs.renameSync(partial, dir);
}

async function install(dir) {
  for (const name of ['package.json', 'package-lock.json']) fs.copyFileSync(path.join(here, name), path.join(dir, name));
  console.error('installing the packages of bench/package-lock.json, once');
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'],
            {cwd: dir, timeout: INSTALL_LIMIT_MS});
}

async function checkout(dir, modules) {
  const source = path.join(dir, 'source');
  const date = '2024-01-01T00:00:00Z';
  const env = {
    PATH: process.env.PATH, HOME: dir, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1',
    GIT_AUTHOR_NAME: 'bench', GIT_AUTHOR_EMAIL: 'bench@localhost', GIT_AUTHOR_DATE: date,
    GIT_COMMITTER_NAME: 'bench', GIT_COMMITTER_EMAIL: 'bench@localhost', GIT_COMMITTER_DATE: date,
  };
  const git = (...args) => run('git', ['-c', 'gc.auto=0', ...args], {cwd: source, env, timeout: INSTALL_LIMIT_MS});
  fs.mkdirSync(source);
  await git('init', '-q', '-b', 'main');
  for (const name of COMMITS) {
    fs.cpSync(path.join(modules, name), path.join(source, name), {recursive: true, preserveTimestamps: true});
    await git('add', '-A', '-f', '.');
    await git('commit', '-q', '-m', `Add ${name}`);
  }
  await git('gc', '-q');
  await run('git', ['clone', '-q', '--no-local', source, path.join(dir, 'checkout')], {env, timeout: INSTALL_LIMIT_MS});
  fs.rmSync(source, {recursive: true});
}

/** {files, bytes, small}: `small` are text files that a developer could have changed. */
function survey(dir) {
  const found = {files: 0, bytes: 0, small: []};
  for (const entry of fs.readdirSync(dir, {recursive: true, withFileTypes: true})) {
    if (entry.isDirectory()) continue;
    found.files++;
    if (!entry.isFile()) continue;
    const name = path.join(entry.parentPath ?? entry.path, entry.name);
    const {size} = fs.lstatSync(name);
    found.bytes += size;
    const plain = /^[\w@./-]+\.(js|ts)$/.test(name) && !name.includes('/.git/');
    if (plain && size > 200 && size < 20_000) found.small.push(path.relative(dir, name));
  }
  found.small.sort();
  return found;
}

/** A tree as it is measured: `dir` holds what becomes the content of /workspace. */
function describe(name, dir, entry) {
  const {files, bytes, small} = survey(dir);
  const step = Math.floor(small.length / CHANGED);
  const changed = Array.from({length: CHANGED}, (_, i) => small[i * step]);
  if (!changed.every((file) => file.startsWith(`${entry}/`))) throw new Error(`${dir} holds more than ${entry}`);
  return {name, dir, entry, files, bytes, changed};
}

/** [node_modules, git checkout], below `work`. */
export async function makeTrees(work) {
  const lock = fs.readFileSync(path.join(here, 'package-lock.json'));
  const hash = crypto.createHash('sha256').update(lock).digest('hex').slice(0, 12);
  const packages = path.join(work, `packages-${hash}`);
  await once(packages, async (dir) => {
    await install(dir);
    for (const name of ['package.json', 'package-lock.json']) fs.rmSync(path.join(dir, name));
  });
  const cloned = path.join(work, `checkout-${hash}`);
  await once(cloned, (dir) => checkout(dir, path.join(packages, 'node_modules')));
  const node = describe('node_modules', packages, 'node_modules');
  if (node.files < LEAST_FILES || node.bytes < LEAST_BYTES) {
    throw new Error(`${packages} has only ${node.files} files of ${node.bytes} bytes`);
  }
  return [node, describe('git checkout', cloned, 'checkout')];
}

/** Serves tar streams of the trees on loopback, as /0, /1, …: {port, close()}. */
export function serveTrees(trees) {
  const server = http.createServer((request, answer) => {
    const tree = trees[Number(request.url.slice(1))];
    if (!tree) return answer.writeHead(404).end();
    const tar = spawn('tar', ['-C', tree.dir, '--owner=0', '--group=0', '--numeric-owner', '--sort=name', '-cf', '-',
                              tree.entry], {stdio: ['ignore', 'pipe', 'inherit']});
    tar.once('exit', (code) => { if (code !== 0) answer.destroy(); });
    tar.stdout.pipe(answer);
    return undefined;
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve({
    port: server.address().port,
    close: () => { server.closeAllConnections(); server.close(); },
  })));
}
