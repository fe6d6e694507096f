// SPDX-License-Identifier: Apache-2.0
// Files through the API: small ones, large ones, long lists, and what memory that takes.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import {Daemon} from '../tests/support/daemon.mjs';
import {mebibytes, ms, now, p50, p95, quantile, Report} from './report.mjs';

const MIB = 2 ** 20;
const LARGE = 1024;  // MiB
const LISTED = 10_000;
const report = new Report('Files');
const agent = new http.Agent({keepAlive: true, maxSockets: 1});
let quick = false;

const times = (count) => quick ? Math.max(3, Math.ceil(count / 5)) : count;

/** One request on a kept connection: {ms, bytes, status}. */
function ask(daemon, method, url, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const begin = now();
    const length = body === undefined ? {} : {'Content-Length': body.length};
    const request = http.request({host: '127.0.0.1', port: daemon.port, agent, method, path: url,
                                  headers: {Host: daemon.bare, ...length, ...headers}}, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('end', () => resolve({ms: now() - begin, status: answer.statusCode, body: Buffer.concat(parts)}));
      answer.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** curl with a whole file: bytes per second as curl counts them. */
function curl(daemon, args) {
  const result = spawnSync('curl', ['-sS', '-f', '-o', '/dev/null', '-H', `Host: ${daemon.bare}`, '-H', 'Expect:',
                                    '-w', '%{time_total}', ...args], {encoding: 'utf8'});
  assert.equal(result.status, 0, result.stderr);
  return LARGE * MIB / 1e6 / Number(result.stdout);
}

/** The agents of this daemon's sandboxes, in the host's numbers. */
function agentPids(daemon) {
  return fs.readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
    try {
      return fs.readFileSync(`/proc/${pid}/comm`, 'utf8') === 'agent\n' &&
             fs.readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(daemon.cgroup);
    } catch {
      return false;
    }
  });
}

const forgetPeak = (pid) => fs.writeFileSync(`/proc/${pid}/clear_refs`, '5');
const peak = (pid) => Number(fs.readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmHWM:\s+(\d+)/)[1]) * 1024;

async function small(daemon) {
  const body = crypto.randomBytes(MIB);
  const url = '/v1/sandboxes/files/files/workspace/small';
  const write = [];
  const read = [];
  for (let i = 0; i < times(100); i++) {
    const put = await ask(daemon, 'PUT', url, body);
    assert.ok(put.status < 300);
    const got = await ask(daemon, 'GET', url);
    assert.ok(got.body.equals(body));
    if (i > 0) write.push(put.ms), read.push(got.ms);
  }
  for (const [name, values] of [['read', read], ['write', write]]) {
    report.row(`${name} of a 1 MiB file`, {
      atoll: ms(p50(values)), tail: ms(p95(values)), promise: 'p50 ≤ 4 ms', kept: p50(values) <= 4});
  }
}

function large(daemon) {
  const file = path.join(fs.existsSync('/dev/shm') ? '/dev/shm' : daemon.dir, `atoll-bench-${process.pid}`);
  const piece = crypto.randomBytes(MIB);
  const fd = fs.openSync(file, 'w');
  for (let i = 0; i < LARGE; i++) fs.writeSync(fd, piece);
  fs.closeSync(fd);
  const url = `http://127.0.0.1:${daemon.port}/v1/sandboxes/files/files/workspace/large`;
  const up = [];
  const down = [];
  const pids = [['daemon', daemon.pid], ...agentPids(daemon).map((pid) => ['agent', pid])];
  assert.equal(pids.length, 2);
  try {
    curl(daemon, ['-T', file, url]);
    curl(daemon, [url]);
    const before = pids.map(([, pid]) => { forgetPeak(pid); return peak(pid); });
    for (let i = 0; i < times(10); i++) {
      up.push(curl(daemon, ['-T', file, url]));
      down.push(curl(daemon, [url]));
    }
    const more = Math.max(...pids.map(([, pid], i) => peak(pid) - before[i]));
    report.row('memory of daemon and agent, more at the most while files of 1 GiB go up and down', {
      atoll: mebibytes(more), promise: 'flat: ≤ 32 MiB', kept: more <= 32 * 2 ** 20});
    const grown = pids.map(([name, pid], i) => `${name} ${mebibytes(peak(pid))} (+${mebibytes(peak(pid) - before[i])})`);
    report.note(`Memory while files of 1 GiB went up and down, at the most: ${grown.join(', ')}. "Up" ends when the file has its name; it is in ` +
                'the page cache then, as any write. The client is curl, on the same two processors.');
  } finally {
    fs.rmSync(file);
  }
  for (const [name, values] of [['download', down], ['upload', up]]) {
    report.row(`${name} of 1 GiB`, {
      atoll: `${p50(values).toFixed(0)} MB/s`, tail: `${quantile(values, 0.05).toFixed(0)} MB/s`, promise: '≥ 500 MB/s', kept: p50(values) >= 500});
  }
}

async function lists(daemon) {
  await daemon.sandbox('files').python(`
import os, json
os.makedirs("/workspace/many")
for i in range(${LISTED}):
    d = "/workspace/many/" + str(i // 100)
    if i % 100 == 0: os.mkdir(d)
    with open(d + "/" + str(i) + ".txt", "w") as f: f.write("x" * i)
print(json.dumps(1))`);
  const body = Buffer.from(JSON.stringify({path: '/workspace/many', recursive: true, limit: 20_000}));
  const taken = [];
  for (let i = 0; i < times(30) + 1; i++) {
    const answer = await ask(daemon, 'POST', '/v1/sandboxes/files/fs/list', body, {'Content-Type': 'application/json'});
    if (i > 0) taken.push(answer.ms);
    assert.equal(JSON.parse(answer.body).count, LISTED + LISTED / 100);
  }
  report.row(`a list of ${LISTED} files in 100 directories`, {
    atoll: ms(p50(taken)), tail: ms(p95(taken)), promise: 'p50 ≤ 60 ms', kept: p50(taken) <= 60});
}

export async function measureFiles(options) {
  quick = options.quick;
  const daemon = await Daemon.start();
  try {
    await daemon.sandbox('files').create();
    await small(daemon);
    large(daemon);
    await lists(daemon);
  } finally {
    agent.destroy();
    await daemon.cleanup();
  }
  return report;
}
