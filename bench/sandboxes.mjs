// SPDX-License-Identifier: Apache-2.0
// Sandboxes: commands, creation, OpenCode, idle memory. What is compared runs in turn within one
// loop, so that a busy minute of the machine hits both sides.

import {spawn} from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';

import {Daemon, eventually, preparedState, sleep} from '../tests/support/daemon.mjs';
import {ms, now, p50, p95, quantile, Report} from './report.mjs';
import {agent, bareCrun, healthy, isOutput, post} from './requests.mjs';

const OPENCODE = path.join(preparedState, 'opencode', '1.18.33', 'opencode');
const report = new Report('Sandboxes');
let quick = false;

const times = (count) => quick ? Math.max(3, Math.ceil(count / 10)) : count;

// --- what is measured -----------------------------------------------------------------------------

async function warmRuns(daemon) {
  const box = daemon.sandbox('warm');
  await box.create();
  for (let i = 0; i < 20; i++) await post(daemon, 'warm', '/run', {command: 'true'});
  const whole = [];
  const first = [];
  for (let i = 0; i < times(400); i++) {
    whole.push((await post(daemon, 'warm', '/run', {command: 'true'})).total);
    first.push((await post(daemon, 'warm', '/run', {command: 'echo hi'}, {wanted: isOutput})).first);
  }
  report.row('`/run` of `true`, warm sandbox', {atoll: ms(p50(whole)), tail: ms(p95(whole)), promise: 'p50 ≤ 3 ms',
                                        kept: p50(whole) <= 3});
  report.row('first streamed byte of `echo hi`', {atoll: ms(p50(first)), tail: ms(p95(first)), promise: 'p50 ≤ 5 ms',
                                          kept: p50(first) <= 5});

  const size = 20_000_000;
  await box.sh(`yes 'twenty megabytes of text, line by line, as a build would print' | head -c ${size} > /tmp/text`);
  const check = await box.run('cat /tmp/text');
  if (check.stdoutBytes.length !== size) throw new Error(`${check.stdoutBytes.length} of ${size} bytes arrived`);
  const rates = [];
  for (let i = 0; i < times(20); i++) {
    const {total} = await post(daemon, 'warm', '/run', {command: 'cat /tmp/text'});
    rates.push(size / 1e6 / (total / 1000));
  }
  report.row('20 MB of stdout through `/run`', {atoll: `${p50(rates).toFixed(0)} MB/s`, tail: `${quantile(rates, 0.05).toFixed(0)} MB/s`,
                                        promise: '≥ 100 MB/s', kept: p50(rates) >= 100});
  await box.delete();
}

async function creates(daemon) {
  const crun = await bareCrun(daemon);
  const ours = [];
  const bare = [];
  for (let i = 0; i < times(40) + 2; i++) {
    const box = daemon.sandbox(`fresh-${i}`);
    const begin = now();
    await post(daemon, box.id, '/create', {opencode: false});
    const created = now() - begin;
    const {first} = await post(daemon, box.id, '/run', {command: 'echo hi'}, {wanted: isOutput});
    const alone = await crun.once();
    if (i >= 2) {
      ours.push(created + first);
      bare.push(alone);
    }
    await box.delete();
  }
  await crun.stop();
  const bound = 1.3 * p50(bare) + 10;
  report.row('`/create` without OpenCode to first `/run` output', {atoll: ms(p50(ours)), tail: ms(p95(ours)), promise: 'p50 ≤ 45 ms',
                                                          kept: p50(ours) <= 45});
  report.row('the same beside bare crun', {atoll: ms(p50(ours)), tail: ms(p95(ours)), other: `${ms(p50(bare))} (p95 ${ms(p95(bare))})`,
                                   ratio: (p50(ours) / p50(bare)).toFixed(2),
                                   promise: `≤ 1.3 × bare + 10 ms = ${ms(bound)}`, kept: p50(ours) <= bound});
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const {port} = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Milliseconds from starting OpenCode on the host, with a fresh prepared home, until it is healthy. */
async function bareOpenCode(dir) {
  const home = fs.mkdtempSync(path.join(dir, 'home-'));
  const config = path.join(home, '.config', 'opencode');
  fs.mkdirSync(path.join(config, 'node_modules'), {recursive: true});
  const dependencies = {'@opencode-ai/plugin': '1.18.33'};
  fs.writeFileSync(path.join(config, 'package.json'), JSON.stringify({dependencies}));
  fs.writeFileSync(path.join(config, 'package-lock.json'), JSON.stringify(
      {name: 'opencode', lockfileVersion: 3, requires: true, packages: {'': {dependencies}}}));
  fs.writeFileSync(path.join(home, 'models.json'), '{}');
  fs.mkdirSync(path.join(home, 'workspace'));
  const port = await freePort();
  const begin = now();
  const child = spawn(OPENCODE, ['serve', '--hostname', '127.0.0.1', '--port', String(port)], {
    cwd: path.join(home, 'workspace'), stdio: 'ignore',
    env: {
      PATH: process.env.PATH, HOME: home, TMPDIR: home,
      OPENCODE_DISABLE_MODELS_FETCH: '1', OPENCODE_MODELS_PATH: path.join(home, 'models.json'),
      OPENCODE_DISABLE_AUTOUPDATE: '1', OPENCODE_DISABLE_LSP_DOWNLOAD: '1', OPENCODE_DISABLE_SHARE: '1',
      OPENCODE_EXPERIMENTAL_DISABLE_FILEWATCHER: 'true',
      OPENCODE_CONFIG_CONTENT: JSON.stringify({autoupdate: false, share: 'disabled', enabled_providers: []}),
    },
  });
  try {
    while (!await healthy(port)) {
      if (child.exitCode !== null) throw new Error(`opencode ended with ${child.exitCode}`);
      await sleep(5);
    }
    return now() - begin;
  } finally {
    child.kill('SIGKILL');
    await new Promise((resolve) => child.exitCode !== null || child.signalCode ? resolve() : child.once('exit', resolve));
    fs.rmSync(home, {recursive: true, force: true});
  }
}

async function openCodeStarts(daemon) {
  const ours = [];
  const bare = [];
  for (let i = 0; i < times(10) + 1; i++) {
    const box = daemon.sandbox(`agent-${i}`);
    const begin = now();
    await post(daemon, box.id, '/create', {opencode: true});
    await eventually('healthy', () => healthy(daemon.port, {Host: daemon.host(box.id)}), 200_000);
    const taken = now() - begin;
    await box.delete();
    const alone = await bareOpenCode(daemon.dir);
    if (i >= 1) {
      ours.push(taken);
      bare.push(alone);
    }
  }
  const ratio = p50(ours) / p50(bare);
  report.row('`/create` to OpenCode healthy, beside bare `opencode serve`', {
    atoll: ms(p50(ours)), tail: ms(p95(ours)), other: `${ms(p50(bare))} (p95 ${ms(p95(bare))})`, ratio: ratio.toFixed(2),
    promise: '≤ 1.2 × bare', kept: ratio <= 1.2});
}

function pss(pid, shared = true) {
  try {
    const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const names = shared ? ['Pss'] : ['Private_Clean', 'Private_Dirty'];
    return names.reduce((sum, name) => sum + Number(text.match(new RegExp(`^${name}:\\s+(\\d+)`, 'm'))[1]), 0) / 1024;
  } catch {
    return 0;
  }
}

/** Memory of every process in the daemon's sandboxes or in one, in MB: with its proportion of what is shared, or without. */
export function insideMegabytes(daemon, {sandbox = '', shared = true} = {}) {
  const group = sandbox ? `/${daemon.cgroup}/${sandbox}/` : daemon.cgroup;
  let sum = 0;
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (fs.readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(group)) sum += pss(pid, shared);
    } catch {
      // It ended meanwhile.
    }
  }
  return sum;
}

async function idleMemory() {
  const count = 20;
  const daemon = await Daemon.start();
  try {
    await daemon.sandbox('first').create();
    await daemon.sandbox('first').delete();
    const before = pss(daemon.pid);
    for (let i = 0; i < count; i++) await daemon.sandbox(`idle-${i}`).create();
    await sleep(2000);
    const share = (pss(daemon.pid) - before) / count;
    const inside = insideMegabytes(daemon) / count;
    report.row(`idle, ${count} sandboxes without OpenCode: memory of each`, {
      atoll: `${(share + inside).toFixed(2)} MB`, other: `agent ${inside.toFixed(2)}, daemon ${share.toFixed(2)} MB`,
      promise: '≤ 3 MB', kept: share + inside <= 3});
  } finally {
    await daemon.cleanup();
  }
}

const NOTE = `"Bare crun" is the same bundle (config.json as Atoll wrote it, the same image id-mapped, an overlay of its own) started with
\`crun run\`, until the first byte of \`echo hi\`. "Bare \`opencode serve\`" is the same binary on the host with a fresh
prepared home, until it is healthy. What is compared ran in turn within one loop. For throughput the p95 column holds the
5th percentile.`;

/** The report of this part. */
export async function measureSandboxes(options) {
  quick = options.quick;
  const daemon = await Daemon.start();
  try {
    await warmRuns(daemon);
    await creates(daemon);
    await openCodeStarts(daemon);
  } finally {
    agent.destroy();
    await daemon.cleanup();
  }
  await idleMemory();
  report.note(NOTE);
  return report;
}
