// SPDX-License-Identifier: Apache-2.0
// How the parts of the benchmark ask a daemon, and what they compare it with.

import {spawn} from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import readline from 'node:readline';
import {fileURLToPath} from 'node:url';

import {preparedState} from '../tests/support/daemon.mjs';
import {now} from './report.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));

export const agent = new http.Agent({keepAlive: true, maxSockets: 1});

/**
 * One POST on a kept connection: {first: ms to the first chunk that `wanted` accepts, total, bytes, text}. The text is kept
 * of failures, and of all with `keep`. An `id` of '' is the bare domain.
 */
export function post(daemon, id, route, body, {wanted = () => true, keep = false, accept, through = agent} = {}) {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(body);
    const begin = now();
    const request = http.request({
      host: '127.0.0.1', port: daemon.port, agent: through, method: 'POST', path: route,
      headers: {'Host': id === '' ? daemon.bare : daemon.host(id), 'Content-Type': 'application/json',
                'Content-Length': Buffer.byteLength(text), ...(accept && {Accept: accept})},
    }, (answer) => {
      let first = null;
      let bytes = 0;
      const parts = [];
      answer.on('data', (part) => {
        bytes += part.length;
        if (first === null && wanted(part)) first = now() - begin;
        if (keep || answer.statusCode !== 200) parts.push(part);
      });
      answer.on('end', () => {
        const result = {first, total: now() - begin, bytes, text: Buffer.concat(parts).toString()};
        if (answer.statusCode === 200) resolve(result);
        else reject(new Error(`${route}: ${answer.statusCode} ${result.text}`));
      });
      answer.on('error', reject);
    });
    request.on('error', reject);
    request.end(text);
  });
}

export const isOutput = (part) => part.includes('"type":"stdout"');

/** A helper that starts one container with crun alone, or another program of its kind, for every line it is sent. */
export async function bareCrun(daemon, crun = 'crun') {
  await daemon.sandbox('bundle').create();
  const sandboxes = path.join(daemon.runDir, 'sandboxes');
  const [id] = fs.readdirSync(sandboxes);
  const config = path.join(daemon.dir, 'bare-config.json');
  fs.copyFileSync(path.join(sandboxes, id, 'bundle', 'config.json'), config);
  const image = path.join(preparedState, 'images', 'default', 'rootfs');
  const child = spawn('python3', [path.join(here, 'bare_crun.py'), config, image, path.join(daemon.dir, 'bare'), crun],
                      {stdio: ['pipe', 'pipe', 'inherit']});
  const lines = readline.createInterface({input: child.stdout})[Symbol.asyncIterator]();
  const next = async () => {
    const {value, done} = await lines.next();
    if (done) throw new Error('bare_crun.py ended');
    return JSON.parse(value);
  };
  await next();
  await daemon.sandbox('bundle').delete();
  return {
    async once() {
      child.stdin.write('\n');
      return (await next()).ms;
    },
    async stop() {
      child.stdin.end();
      await new Promise((resolve) => child.once('exit', resolve));
    },
  };
}

export function healthy(port, headers = {}) {
  return new Promise((resolve) => {
    const request = http.get({host: '127.0.0.1', port, path: '/global/health', agent: false, headers}, (answer) => {
      let text = '';
      answer.on('data', (part) => { text += part; });
      answer.on('end', () => resolve(/"healthy":true/.test(text)));
      answer.on('error', () => resolve(false));
    });
    request.setTimeout(250, () => request.destroy());
    request.on('error', () => resolve(false));
  });
}
