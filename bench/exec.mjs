// SPDX-License-Identifier: Apache-2.0
// Commands through /v1/sandboxes/{id}/exec: latency, many at once, output, sessions; beside `crun exec`
// into the same sandbox and `ssh localhost`, in turn within one loop.

import {spawn} from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import {Daemon} from '../tests/support/daemon.mjs';
import {ms, now, p50, p95, p99, quantile, Report} from './report.mjs';
import {isOutput, post as ask} from './requests.mjs';
import {SshServer} from './ssh.mjs';

const ID = 'exec';

const post = (daemon, route, body, {accept = 'application/json', ...options} = {}) =>
  ask(daemon, '', `/v1/sandboxes/${ID}${route}`, body, {accept, keep: accept === 'application/json', ...options});

/** Milliseconds of `crun exec`, where crun sees the cgroups as the daemon does. */
function crunExec(daemon) {
  const sandboxes = path.join(daemon.runDir, 'sandboxes');
  const [iid] = fs.readdirSync(sandboxes);
  const args = ['-t', String(daemon.pid), '-m', 'crun', '--root', path.join(daemon.runDir, 'crun'), 'exec', iid, 'true'];
  return new Promise((resolve, reject) => {
    const begin = now();
    const child = spawn('nsenter', args, {stdio: ['ignore', 'ignore', 'pipe']});
    let errors = '';
    child.stderr.on('data', (data) => { errors += data; });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(now() - begin);
      else reject(new Error(`crun exec: ${code} ${errors}`));
    });
  });
}

async function latency(daemon, report, times) {
  const ours = [];
  const first = [];
  const crun = [];
  const ssh = {anew: [], kept: []};
  const server = await SshServer.start(daemon.dir);
  for (let i = 0; i < times(300) + 10; i++) {
    const {total} = await post(daemon, '/exec', {argv: ['true']});
    const streamed = await post(daemon, '/exec', {argv: ['echo', 'hi']}, {accept: 'text/event-stream', wanted: isOutput});
    const others = i % 5 === 0 ? [await crunExec(daemon), await server?.run('anew'), await server?.run('kept')] : null;
    if (i < 10) continue;
    ours.push(total);
    first.push(streamed.first);
    if (!others) continue;
    crun.push(others[0]);
    if (!server) continue;
    ssh.anew.push(others[1]);
    ssh.kept.push(others[2]);
  }
  await server?.stop();
  report.row('exec of `true`, beside `crun exec`', {
    atoll: ms(p50(ours)), tail: ms(p95(ours)), other: `${ms(p50(crun))} (p95 ${ms(p95(crun))})`,
    ratio: (p50(ours) / p50(crun)).toFixed(2), promise: 'p50 ≤ 2 ms', kept: p50(ours) <= 2});
  report.row(`the same, p99 (n=${ours.length})`, {atoll: ms(p99(ours)), other: ms(p99(crun)),
                                                  ratio: (p99(ours) / p99(crun)).toFixed(2), promise: 'p99 ≤ 8 ms', kept: p99(ours) <= 8});
  if (server) {
    for (const [name, values] of [['`ssh localhost true`', ssh.anew], ['`ssh localhost true` over a connection that is kept', ssh.kept]]) {
      report.row(`the same beside ${name}`, {atoll: ms(p50(ours)), tail: ms(p95(ours)), other: `${ms(p50(values))} (p95 ${ms(p95(values))})`,
                                             ratio: (p50(ours) / p50(values)).toFixed(2)});
    }
  } else {
    report.note('sshd is not installed, so `ssh localhost` was not measured: `scripts/setup.sh bench` installs it.');
  }
  report.row('first streamed byte of `echo hi`', {
    atoll: ms(p50(first)), tail: ms(p95(first)), promise: 'p50 ≤ 3 ms', kept: p50(first) <= 3});
}

async function sessions(daemon, report, times) {
  const {text} = await post(daemon, '/sessions', {});
  const session = JSON.parse(text).id;
  const taken = [];
  for (let i = 0; i < times(300) + 10; i++) {
    const {total} = await post(daemon, '/exec', {session, command: 'true'});
    if (i >= 10) taken.push(total);
  }
  report.row('`true` in a session', {atoll: ms(p50(taken)), tail: ms(p95(taken)), promise: 'p50 ≤ 2 ms', kept: p50(taken) <= 2});
}

async function together(daemon, report, times) {
  const through = new http.Agent({keepAlive: true, maxSockets: 50});
  const rates = [];
  let failed = 0;
  const one = async () => {
    const {text} = await post(daemon, '/exec', {argv: ['true']}, {through});
    if (JSON.parse(text).exitCode !== 0) failed++;
  };
  for (let round = 0; round < times(20) + 1; round++) {
    const begin = now();
    await Promise.all(Array.from({length: 200}, one));
    if (round > 0) rates.push(200 / ((now() - begin) / 1000));
  }
  through.destroy();
  report.row('exec of `true`, 50 at once', {
    atoll: `${p50(rates).toFixed(0)}/s`, tail: `${quantile(rates, 0.05).toFixed(0)}/s`, promise: '≥ 400/s', kept: p50(rates) >= 400});
  report.row('of those, failed', {atoll: `${failed} of ${200 * (rates.length + 1)}`, promise: 'none', kept: failed === 0});
}

async function output(daemon, report, times) {
  const size = 100_000_000;
  await post(daemon, '/exec', {command: `yes 'text, line by line, as a build would print it' | head -c ${size} > /tmp/text`});
  for (const [name, accept, least] of [['bytes', 'application/octet-stream', 300], ['events', 'text/event-stream', 100]]) {
    const rates = [];
    for (let i = 0; i < times(10) + 1; i++) {
      const {total, bytes} = await post(daemon, '/exec', {argv: ['cat', '/tmp/text']}, {accept});
      if (bytes < size) throw new Error(`${bytes} of ${size} bytes arrived`);
      if (i > 0) rates.push(size / 1e6 / (total / 1000));
    }
    report.row(`100 MB of output as ${name}`, {
      atoll: `${p50(rates).toFixed(0)} MB/s`, tail: `${quantile(rates, 0.05).toFixed(0)} MB/s`,
      promise: `≥ ${least} MB/s`, kept: p50(rates) >= least});
  }
}

export async function measureExec({quick}) {
  const report = new Report('Commands');
  const times = (count) => quick ? Math.max(3, Math.ceil(count / 10)) : count;
  const daemon = await Daemon.start();
  try {
    await daemon.sandbox(ID).create();
    await latency(daemon, report, times);
    await sessions(daemon, report, times);
    await together(daemon, report, times);
    await output(daemon, report, times);
    report.note('The reference, not of this run: the server that the Sandbox SDK 0.12 has in its containers took, on a machine of this kind, 16 ms for ' +
                '`true` (p95 57 ms), 29 ms for it in a session (p95 93 ms), 8 ms to the first streamed byte (120 ms in a session), 0.83 s for 20 MB ' +
                'of output (8.9 s in a session).');
  } finally {
    await daemon.cleanup();
  }
  return report;
}
