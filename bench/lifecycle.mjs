// SPDX-License-Identifier: Apache-2.0
// From creation to deletion: claims from the pool, cold creates one by one and many at once, waking,
// starting again, restarts of the daemon.

import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import {Daemon, eventually, preparedState, sleep} from '../tests/support/daemon.mjs';
import {costs, forked, pooled, remembered, sharing, swapped} from './memory.mjs';
import {ms, now, p50, p95, p99, Report} from './report.mjs';
import {agent, bareCrun, isOutput, post} from './requests.mjs';

const ROOTFS = path.join(preparedState, 'images', 'default', 'rootfs');
const report = new Report('Lifecycle');
let quick = false;

const times = (count) => quick ? Math.max(3, Math.ceil(count / 5)) : count;

function both(name, values, most50, most99) {
  const kept = p50(values) <= most50 && (most99 === undefined || p99(values) <= most99);
  const promise = `p50 ≤ ${most50} ms` + (most99 === undefined ? '' : `, p99 ≤ ${most99} ms`);
  report.row(`${name} (n=${values.length})`, {
    atoll: ms(p50(values)), tail: `${ms(p95(values))}, p99 ${ms(p99(values))}`, promise, kept});
}

/** Milliseconds until the first byte of the body of a GET; the body has to match. */
function firstByte(daemon, id, pathname, headers = {}) {
  return new Promise((resolve, reject) => {
    const begin = now();
    const request = http.get({host: '127.0.0.1', port: daemon.port, agent, path: pathname,
                              headers: {Host: daemon.host(id), ...headers}}, (answer) => {
      let first = null;
      let text = '';
      answer.on('data', (part) => { first ??= now() - begin; text += part; });
      answer.on('end', () => resolve({first, total: now() - begin, status: answer.statusCode, text}));
      answer.on('error', reject);
    });
    request.on('error', reject);
  });
}

const page = {Accept: 'text/html', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document'};

async function health(daemon, id) {
  for (;;) {
    const answer = await firstByte(daemon, id, '/global/health');
    if (answer.status === 200 && answer.text.includes('"healthy":true')) return;
    await sleep(1);
  }
}

const stats = async (daemon) =>
  (await daemon.request('', {path: '/v1/pool/stats'})).json();
const warmed = async (daemon, count) => {
  await eventually(`${count} members are warm`, async () => (await stats(daemon)).warm >= count, 120_000);
  // The refill that follows a claim is not part of the next one.
  await sleep(300);
};
const v1 = (daemon, id, action, json = {}) =>
  daemon.request('', {method: 'POST', path: `/v1/sandboxes/${id}/${action}`, json, limitMs: 120_000});

async function withDaemon(sections, body) {
  const daemon = await Daemon.start({sections});
  try {
    await body(daemon);
  } finally {
    agent.destroy();
    await daemon.cleanup();
  }
}

async function claims() {
  await withDaemon({pool: {warm_target: 1, refresh_interval: '1s'}}, async (daemon) => {
    const claim = [];
    const shown = [];
    for (let i = 0; i < times(100) + 1; i++) {
      await warmed(daemon, 1);
      const id = `claimed-${i}`;
      const begin = now();
      await post(daemon, id, '/create', {opencode: true});
      await health(daemon, id);
      const took = now() - begin;
      if (i > 0) claim.push(took);
      await daemon.sandbox(id).delete();
    }
    for (let i = 0; i < times(30) + 1; i++) {
      const id = `page-${i}`;
      const begin = now();
      await post(daemon, id, '/create', {});
      const answer = await firstByte(daemon, id, '/L3dvcmtzcGFjZQ/session', page);
      if (answer.status !== 200) throw new Error(`the page: ${answer.status}`);
      if (i > 0) shown.push(now() - begin);
      await daemon.sandbox(id).delete();
    }
    both('claim with OpenCode: `POST /create` to health answered through the subdomain', claim, 50, 150);
    both('`POST /create` to the page of OpenCode', shown, 100);
  });
}

async function shown(daemon, id) {
  const begin = now();
  await post(daemon, id, '/create', {});
  const answer = await firstByte(daemon, id, '/L3dvcmtzcGFjZQ/session', page);
  if (answer.status !== 200) throw new Error(`the page: ${answer.status}`);
  return now() - begin;
}

/** Without a pool: one after the other, and the first one of a new daemon. */
async function pages() {
  await withDaemon({}, async (daemon) => {
    const all = [];
    for (let i = 0; i < times(30) + 1; i++) {
      const took = await shown(daemon, `page-${i}`);
      if (i > 0) all.push(took);
      await daemon.sandbox(`page-${i}`).delete();
      await settle();
    }
    both('the same without a pool', all, 100);
  });
  const first = [];
  for (let i = 0; i < times(10); i++) {
    await withDaemon({}, async (daemon) => {
      // What a daemon does at its start it does beside; whoever comes at once waits for that.
      await sleep(2000);
      first.push(await shown(daemon, 'first'));
    });
  }
  both('the same, the first sandbox of a new daemon', first, 100);
}

/** Without the pool: OpenCode from a template, and booted, turn by turn. */
async function templates() {
  const criu = path.join(preparedState, 'criu', 'criu');
  if (!fs.existsSync(criu)) {
    console.log("no CRIU, so no templates: 'make criu' builds it");
    return;
  }
  await withDaemon({pool: {templates: true, refresh_interval: '1s'}}, async (daemon) => {
    await eventually('a template is made', () => {
      const dir = path.join(daemon.stateDir, 'templates');
      return fs.existsSync(dir) && fs.readdirSync(dir).some((name) => !name.endsWith('.part'));
    }, 180_000);
    const [revived, booted] = [[], []];
    for (let i = 0; i < times(30) + 1; i++) {
      // What OpenCode may heed itself is a reason to boot it.
      for (const [id, body, into] of [[`template-${i}`, {}, revived], [`booted-${i}`, {env: {OPENCODE_X: '1'}}, booted]]) {
        await settle();
        const begin = now();
        await post(daemon, id, '/create', {opencode: true, ...body});
        await health(daemon, id);
        if (i > 0) into.push(now() - begin);
        await daemon.sandbox(id).delete();
      }
    }
    report.row(`create from a booted template, without a pool, to health through the subdomain (n=${revived.length})`, {
      atoll: ms(p50(revived)), tail: ms(p95(revived)), other: `booted ${ms(p50(booted))}`,
      ratio: (p50(revived) / p50(booted)).toFixed(2), promise: 'p50 ≤ 700 ms', kept: p50(revived) <= 700});
  });
}

async function plainClaims() {
  await withDaemon({pool: {warm_target: 4, opencode: false, refresh_interval: '1s'}}, async (daemon) => {
    const runs = [];
    const nodes = [];
    const bare = [];
    for (let i = 0; i < times(100) + 2; i++) {
      await warmed(daemon, 1);
      const id = `plain-${i}`;
      const begin = now();
      await post(daemon, id, '/create', {opencode: false});
      await post(daemon, id, '/run', {command: 'echo hi'}, {wanted: isOutput});
      if (i >= 2) runs.push(now() - begin);
      await daemon.sandbox(id).delete();
    }
    for (let i = 0; i < times(40) + 2; i++) {
      await warmed(daemon, 1);
      const id = `node-${i}`;
      const begin = now();
      await post(daemon, id, '/create', {opencode: false});
      const {first} = await post(daemon, id, '/run', {command: 'node -v'}, {wanted: isOutput});
      const took = now() - begin;
      await daemon.sandbox(id).delete();
      const alone = now();
      const node = spawnSync('chroot', [ROOTFS, 'node', '-v'], {encoding: 'utf8'});
      if (first === null || !node.stdout.startsWith('v')) throw new Error(`node -v: ${node.stderr}`);
      if (i >= 2) {
        nodes.push(took);
        bare.push(now() - alone);
      }
    }
    both('pool hit, without OpenCode: create to the first output of `/run`', runs, 8, 25);
    const bound = 1.2 * p50(bare) + 8;
    report.row(`create and \`node -v\` from the pool (n=${nodes.length})`, {
      atoll: ms(p50(nodes)), tail: ms(p95(nodes)), other: `bare \`node -v\` ${ms(p50(bare))}`,
      ratio: (p50(nodes) / p50(bare)).toFixed(2), promise: `≤ 1.2 × bare + 8 ms = ${ms(bound)}`,
      kept: p50(nodes) <= bound});
  });
}

/** The kernel's part of a sandbox: the same namespaces and an overlay, made by unshare. */
function bareUnshare(dir) {
  const script = `mkdir -p ${dir}/up ${dir}/work ${dir}/root && ` +
      `mount -t overlay overlay -o lowerdir=${ROOTFS},upperdir=${dir}/up,workdir=${dir}/work ${dir}/root && ` +
      `exec chroot ${dir}/root echo hi`;
  fs.mkdirSync(dir, {recursive: true});
  const begin = now();
  const done = spawnSync('unshare', ['--user', '--map-root-user', '--mount', '--pid', '--fork', '--ipc', '--uts', '--net',
                                     '--cgroup', 'sh', '-c', script], {encoding: 'utf8'});
  const took = now() - begin;
  fs.rmSync(dir, {recursive: true, force: true});
  if (!done.stdout.includes('hi')) throw new Error(`unshare: ${done.stderr}`);
  return took;
}

// What an end leaves to the kernel (namespaces, cgroups, pages to write) is no part of the next
// beginning.
const settle = () => sleep(150);

async function coldCreates() {
  await withDaemon({}, async (daemon) => {
    const crun = await bareCrun(daemon);
    const [ours, bare, kernel] = [[], [], []];
    const phases = {};
    for (let i = 0; i < times(60) + 2; i++) {
      const id = `cold-${i}`;
      await settle();
      const begin = now();
      const created = await post(daemon, id, '/create', {opencode: false}, {keep: true});
      const between = now();
      await post(daemon, id, '/run', {command: 'echo hi'}, {wanted: isOutput});
      const took = now() - begin;
      await daemon.sandbox(id).delete();
      await settle();
      const alone = await crun.once();
      await settle();
      const plain = bareUnshare(path.join(daemon.dir, 'unshare'));
      if (i >= 2) {
        ours.push(took);
        bare.push(alone);
        kernel.push(plain);
        const told = {...JSON.parse(created.text).phases, 'the first `/run`': took - (between - begin)};
        for (const [name, time] of Object.entries(told)) (phases[name] ??= []).push(time);
      }
    }
    await crun.stop();
    both('cold: create to the first output of `/run`', ours, 45);
    const bound = 1.3 * p50(bare) + 10;
    report.row('the same beside bare crun', {
      atoll: ms(p50(ours)), tail: ms(p95(ours)), other: `crun ${ms(p50(bare))}; kernel ${ms(p50(kernel))}`,
      ratio: (p50(ours) / p50(bare)).toFixed(2), promise: `≤ 1.3 × bare + 10 ms = ${ms(bound)}`,
      kept: p50(ours) <= bound});
    const where = Object.entries(phases).map(([name, times]) => `${name} ${ms(p50(times))}`);
    report.note(`Where a cold create spends its time, each a median: ${where.join(', ')}. ` +
                '`network`, `agent` and `commit` run side by side; `total` is without the first `/run`.');
  });
}

// Whose time the calls of crun take, by what they do.
const CALLS = {
  'namespaces and processes': /^(unshare|clone3?|vfork|fork|setns|exit_group|wait4|waitid)$/,
  'mounts': /^(mount|umount2?|fsopen|fsconfig|fsmount|move_mount|open_tree|mount_setattr|pivot_root)$/,
  'seccomp': /^(seccomp|bpf)$/,
  'programs begun': /^execve(at)?$/,
};

/** What crun does in a cold create, by the kernel's own account of its calls. */
async function takenApart() {
  if (spawnSync('strace', ['-V']).error) {
    console.error('strace is not installed: crun is not taken apart');
    return;
  }
  await withDaemon({}, async (daemon) => {
    const wrapper = path.join(daemon.dir, 'traced');
    fs.writeFileSync(wrapper, `#!/bin/sh
case " $* " in
*" run "*) exec strace -f -y -T -q -o ${daemon.dir}/calls.$$ /usr/bin/crun "$@" ;;
*) exec /usr/bin/crun "$@" ;;
esac
`, {mode: 0o755});
    const bundle = await bareCrun(daemon, wrapper);
    const sums = {};
    let [whole, count] = [0, 0];
    const rounds = times(10);
    for (let i = 0; i < rounds; i++) await bundle.once();
    for (const name of fs.readdirSync(daemon.dir).filter((one) => one.startsWith('calls.'))) {
      const calls = fs.readFileSync(path.join(daemon.dir, name), 'utf8').split('\n')
        .map((line) => [line, ...(line.match(/^\d+ +(?:<\.\.\. )?(\w+).*<([\d.]+)>$/)?.slice(1) ?? [])])
        // What waits for others does nothing itself.
        .filter(([, call]) => call && !/^(wait4|waitid|poll|ppoll|epoll_wait|select|futex|read|recvmsg|recvfrom)$/.test(call));
      // The kernel does next to nothing in these: what they take is what being traced costs each call.
      const traced = p50(calls.filter(([, call]) => call === 'rt_sigaction').map(([, , took]) => Number(took)));
      for (const [line, call, took] of calls) {
        const kind = line.includes('/sys/fs/cgroup') ? 'cgroups'
          : Object.keys(CALLS).find((one) => CALLS[one].test(call)) ?? 'files and the rest';
        const own = Math.max(0, Number(took) - traced) * 1000;
        sums[kind] = (sums[kind] ?? 0) + own;
        whole += own;
        count++;
      }
    }
    await bundle.stop();
    const parts = Object.entries(sums).sort((a, b) => b[1] - a[1]).map(([kind, sum]) => `${kind} ${(sum / rounds).toFixed(1)} ms`);
    report.note(`What bare crun asks of the kernel, ${Math.round(count / rounds)} calls per run, by strace's account less what tracing costs each ` +
                `call: ${parts.join(', ')}; in all ${(whole / rounds).toFixed(1)} ms. The rest is crun's own: three programs begun, JSON, libseccomp.`);
  });
}

async function deletes() {
  await withDaemon({}, async (daemon) => {
    const [took, freed] = [[], []];
    for (let i = 0; i < times(40) + 2; i++) {
      const box = daemon.sandbox(`big-${i}`);
      await box.create();
      await box.sh('head -c 30000000 /dev/zero > /workspace/big; mkdir /workspace/d; ' +
                   'cd /workspace/d; for i in $(seq 500); do echo $i > $i; done');
      const begin = now();
      await box.delete();
      const gone = now() - begin;
      const trash = path.join(daemon.stateDir, 'trash');
      await eventually('the space is free', () =>
        fs.readdirSync(path.join(daemon.stateDir, 'sandboxes')).length === 0 &&
        (!fs.existsSync(trash) || fs.readdirSync(trash).length === 0));
      if (i >= 2) {
        took.push(gone);
        freed.push(now() - begin);
      }
    }
    both('delete of a sandbox with 30 MB in 501 files', took, 60);
    report.row('its space is free', {atoll: ms(p50(freed)), tail: ms(p95(freed)), promise: '≤ 5 s',
                                     kept: Math.max(...freed) <= 5000});
  });
}

async function rates() {
  await withDaemon({}, async (daemon) => {
    await daemon.sandbox('first').create();
    await daemon.sandbox('first').delete();
    const count = times(200);
    let next = 0;
    const begin = now();
    const worker = async () => {
      while (next < count) {
        const box = daemon.sandbox(`rate-${next++}`);
        await box.create({opencode: false});
        const answer = await box.delete();
        if (answer.status !== 204) throw new Error(`delete: ${answer.text}`);
      }
    };
    await Promise.all(Array.from({length: 4}, worker));
    const rate = count / ((now() - begin) / 1000);
    daemon.assertNoLeaks();
    report.row(`cold creates with their deletes, ${count} by 4 clients`, {
      atoll: `${rate.toFixed(1)} per second`, promise: '≥ 25 per second', kept: rate >= 25});

    const each = await Promise.all(Array.from({length: 100}, async (_, i) => {
      const begin = now();
      await daemon.sandbox(`many-${i}`).create({opencode: false});
      return now() - begin;
    }));
    report.row('100 creates at once', {atoll: ms(p50(each)), tail: `p99 ${ms(p99(each))}`,
                                       promise: 'all, p99 ≤ 4 s', kept: p99(each) <= 4000});

    const [serving, adopted] = [[], []];
    for (let i = 0; i < times(5); i++) {
      await daemon.kill9();
      const restart = now();
      await daemon.launch({wait: false});
      while ((await daemon.request('', {path: '/v1/sandboxes'}).catch(() => null))?.status !== 200) await sleep(5);
      serving.push(now() - restart);
      while ((await daemon.request('', {path: '/ready'})).status !== 200) await sleep(5);
      adopted.push(now() - restart);
      if (await daemon.sandbox('many-42').sh('echo works') !== 'works\n') throw new Error('it is not adopted');
    }
    both('restart with 100 sandboxes: serving', serving, 1000);
    both('restart with 100 sandboxes: all adopted', adopted, 3000);
  });
}

async function sleeps() {
  await withDaemon({}, async (daemon) => {
    const box = daemon.sandbox('sleeper');
    await box.create({opencode: true});
    const [wakes, asked] = [[], []];
    for (let i = 0; i < times(50) + 2; i++) {
      for (const [into, pathname] of [[wakes, '/global/health'], [asked, '/session']]) {
        const slept = await v1(daemon, 'sleeper', 'sleep', {force: true});
        if (slept.json().state !== 'paused') throw new Error(`it does not sleep: ${slept.text}`);
        await sleep(50);
        const answer = await firstByte(daemon, 'sleeper', pathname);
        if (answer.status !== 200) throw new Error(`${pathname}: ${answer.status} ${answer.text}`);
        if (i >= 2) into.push(answer.first);
      }
    }
    both('wake from freeze to the first byte of OpenCode (`/global/health`)', wakes, 20);
    both('the same, `/session`', asked, 20);
    await box.delete();
  });
}

async function restores() {
  await withDaemon({}, async (daemon) => {
    const layers = path.join(daemon.stateDir, 'sandboxes');
    const box = daemon.sandbox('stored');
    await box.create();
    await box.sh('cd /workspace; for i in $(seq 200); do head -c 100000 /dev/urandom > $i; done');
    const starts = [];
    const kept = [];
    for (let i = 0; i < times(20) + 1; i++) {
      await v1(daemon, 'stored', 'stop');
      let begin = now();
      await post(daemon, 'stored', '/run', {command: 'echo hi'}, {wanted: isOutput});
      if (i > 0) kept.push(now() - begin);
      await v1(daemon, 'stored', 'stop');
      for (const iid of fs.readdirSync(layers)) fs.rmSync(path.join(layers, iid), {recursive: true});
      begin = now();
      await post(daemon, 'stored', '/run', {command: 'echo hi'}, {wanted: isOutput});
      if (i > 0) starts.push(now() - begin);
    }
    if (await box.sh('ls /workspace | wc -l') !== '200\n') throw new Error('files are missing');
    both('stopped, layer kept: to the first output of `/run`', kept, 300);
    both('stopped, layer gone: 20 MB restored, to the first output of `/run`', starts, 300);
  });
}

const residentMegabytes = (pid) =>
  Number(fs.readFileSync(`/proc/${pid}/status`, 'utf8').match(/^VmRSS:\s+(\d+)/m)[1]) / 1024;

async function many() {
  await withDaemon({}, async (daemon) => {
    const count = quick ? 60 : 300;
    for (let i = 0; i < count; i += 10) {
      await Promise.all(Array.from({length: 10}, (_, j) => daemon.sandbox(`idle-${i + j}`).create({opencode: false})));
    }
    await sleep(2000);
    const lists = [];
    for (let i = 0; i < 20; i++) {
      const begin = now();
      if ((await daemon.list()).length !== count) throw new Error('some are missing');
      lists.push(now() - begin);
    }
    both(`${count} idle sandboxes: all listed`, lists, 50);
    const memory = residentMegabytes(daemon.pid);
    report.row(`${count} idle sandboxes: memory of the daemon`, {
      atoll: `${memory.toFixed(0)} MB`, promise: '< 200 MB', kept: memory < 200});
  });
}

const NOTE = `"Kernel" is \`unshare\` with the same namespaces, an overlay over the same image and \`echo hi\` in it, started by Node.js as
the client: what a sandbox costs before anybody adds anything. What is compared begins 150 ms after the end of what came
before; the same comparison without a rest is in "Sandboxes". All cold creates, and crun, with \`favordynmods\`, which the daemon
sets. Where the host has no swap, that of sleepers and of the pool is a file for as long as it is measured; a swap file is the slowest
kind, zram the fastest.`;

/** The report of this part. */
export async function measureLifecycle(options) {
  quick = options.quick;
  const tools = {withDaemon, report, quick, v1, times, p50, ms, now, health, warmed, both, post};
  const parts = [templates, coldCreates, takenApart, deletes, rates, plainClaims, claims, pages, sleeps, swapped, pooled, remembered, forked, sharing, costs, restores, many];
  for (const part of parts) {
    if (options.among && !options.among.includes(part.name)) continue;
    await part(tools);
  }
  report.note(NOTE);
  return report;
}

