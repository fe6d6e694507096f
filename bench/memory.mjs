// SPDX-License-Identifier: Apache-2.0
// What a sandbox that nobody uses costs, and what its coming back takes: asleep on swap, and stopped with
// its memory kept. And what its copies take, with files alone and with what runs; and the figures that
// docs/operations.md plans with.
import {execFileSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';

import {Daemon, preparedState} from '../tests/support/daemon.mjs';
import {StubModel} from '../tests/support/stub_model.mjs';
import {makeDisk} from './disk.mjs';
import {insideMegabytes} from './sandboxes.mjs';

const SWAP_BYTES = 2 ** 31;
const DISKS = process.env.ATOLL_BENCH_DIR ?? '/var/tmp/atoll-bench';

/** Runs `work` on a host with swap: its own, or a file for as long as it takes. */
async function withSwap(dir, work) {
  if (fs.readFileSync('/proc/swaps', 'utf8').trim().split('\n').length > 1) return work('the host\'s swap');
  const file = path.join(dir, 'bench-swap');
  try {
    execFileSync('fallocate', ['-l', String(SWAP_BYTES), file]);
    fs.chmodSync(file, 0o600);
    execFileSync('mkswap', [file], {stdio: 'ignore'});
    execFileSync('swapon', [file]);
    return await work('a swap file');
  } finally {
    try {
      execFileSync('swapoff', [file], {stdio: 'ignore'});
    } catch {
      // It was not switched on.
    }
    fs.rmSync(file, {force: true});
  }
}

export async function swapped({withDaemon, report, v1, times, p50, ms, now}) {
  await withDaemon({}, (daemon) => withSwap(daemon.stateDir, async (what) => {
    const box = daemon.sandbox('swapped');
    await box.create({opencode: true});
    const [awake, asleep, took, woke] = [[], [], [], []];
    for (let i = 0; i < times(10) + 1; i++) {
      await daemon.request('swapped', {path: '/session'});
      await sleep(1000);
      awake.push(insideMegabytes(daemon));
      let begin = now();
      const slept = await v1(daemon, 'swapped', 'sleep', {force: true});
      if (slept.json().state !== 'paused') throw new Error(`it does not sleep: ${slept.text}`);
      took.push(now() - begin);
      await sleep(1000);
      asleep.push(insideMegabytes(daemon));
      begin = now();
      const answer = await daemon.request('swapped', {path: '/session', limitMs: 60_000});
      if (answer.status !== 200) throw new Error(answer.text);
      woke.push(now() - begin);
    }
    report.row(`asleep with OpenCode on ${what}: resident`, {
      atoll: `${p50(asleep).toFixed(1)} MB`, other: `awake ${p50(awake).toFixed(0)} MB`, promise: '≤ 30 MB',
      kept: p50(asleep) <= 30});
    report.row('falling asleep to swap', {atoll: ms(p50(took)), tail: ms(Math.max(...took))});
    report.row('waking from swap to an answer of OpenCode (`/session`)', {atoll: ms(p50(woke)),
                                                                         tail: ms(Math.max(...woke))});
    // What others map, too, stays, and is theirs: a sleeper costs what would be free without it.
    const [iid] = fs.readdirSync(path.join(daemon.stateDir, 'sandboxes'));
    await daemon.sandbox('other').create({opencode: true});
    const [own, share] = [[], []];
    for (let i = 0; i < times(5) + 1; i++) {
      for (const id of ['swapped', 'other']) await daemon.request(id, {path: '/session', limitMs: 60_000});
      const slept = await v1(daemon, 'swapped', 'sleep', {force: true});
      if (slept.json().state !== 'paused') throw new Error(`it does not sleep: ${slept.text}`);
      await sleep(1000);
      own.push(insideMegabytes(daemon, {sandbox: iid, shared: false}));
      share.push(insideMegabytes(daemon, {sandbox: iid}));
    }
    report.row('the same while another OpenCode works', {
      atoll: `${p50(share).toFixed(1)} MB`, other: `its own ${p50(own).toFixed(1)} MB, the rest half of what both map`,
      promise: '≤ 30 MB', kept: p50(share) <= 30});
  }));
}

/** Members of the pool whose pages are on swap, and claims of them. */
export async function pooled({withDaemon, times, now, report, p50, both, health, warmed, post}) {
  await withDaemon({}, (empty) => withSwap(empty.stateDir, (what) =>
    withDaemon({pool: {warm_target: 2, refresh_interval: '1s'}}, async (daemon) => {
      const [resident, claims] = [[], []];
      for (let i = 0; i < times(30) + 1; i++) {
        await warmed(daemon, 2);
        resident.push(insideMegabytes(daemon) / 2);
        const begin = now();
        await post(daemon, `swapped-${i}`, '/create', {opencode: true});
        await health(daemon, `swapped-${i}`);
        if (i > 0) claims.push(now() - begin);
        await daemon.sandbox(`swapped-${i}`).delete();
      }
      report.row(`a member of a pool of two with OpenCode on ${what}: resident`, {atoll: `${p50(resident).toFixed(1)} MB`});
      both(`claim of one of them, to health through the subdomain`, claims, 50, 150);
    })));
}

export async function remembered({withDaemon, report, v1, times, p50, ms, now}) {
  await withDaemon({}, async (daemon) => {
    const box = daemon.sandbox('kept');
    await box.create({opencode: true});
    const [stops, starts, bare] = [[], [], []];
    for (let i = 0; i < times(10) + 1; i++) {
      for (const keepMemory of [true, false]) {
        await daemon.request('kept', {path: '/session', limitMs: 60_000});
        let begin = now();
        const stopped = (await v1(daemon, 'kept', 'stop', {keepMemory})).json();
        if (keepMemory && !stopped.memoryKept) {
          report.note(`Memory is not kept on this host: ${stopped.memoryFailure ?? stopped.message}.`);
          return;
        }
        const stop = now() - begin;
        begin = now();
        const answer = await daemon.request('kept', {path: '/session', limitMs: 60_000});
        if (answer.status !== 200) throw new Error(answer.text);
        if (i === 0) continue;
        if (keepMemory) stops.push(stop);
        (keepMemory ? starts : bare).push(now() - begin);
      }
    }
    report.row('stop with OpenCode\'s memory kept', {atoll: ms(p50(stops)), tail: ms(Math.max(...stops))});
    report.row('start with it: to an answer of OpenCode (`/session`)', {
      atoll: ms(p50(starts)), tail: ms(Math.max(...starts)), other: `booted ${ms(p50(bare))}`});
  });
}

/** Of a workspace of 20 MB in 500 files beside OpenCode, until the copy's OpenCode is healthy. */
export async function forked({withDaemon, report, times, p50, ms, now, health}) {
  await withDaemon({}, async (daemon) => {
    const box = daemon.sandbox('source');
    await box.create({opencode: true});
    await box.sh('mkdir d && cd d && for i in $(seq 1 500); do head -c 40960 /dev/urandom > f$i; done');
    const taken = {true: {answer: [], healthy: [], stood: []}, false: {answer: [], healthy: [], stood: []}};
    for (let i = 0; i < times(10) + 1; i++) {
      for (const memory of [true, false]) {
        await health(daemon, 'source');
        await sleep(300);
        const begin = now();
        const made = await daemon.request('source', {method: 'POST', path: '/fork', json: {id: 'copy', memory},
                                                     limitMs: 120_000});
        const answer = now() - begin;
        if (made.json().code === 'MEMORY_UNSUPPORTED') {
          report.note(`Forks have no memory on this host: ${made.json().message}.`);
          return;
        }
        if (made.status !== 200) throw new Error(made.text);
        await health(daemon, 'copy');
        if (i > 0) {
          taken[memory].answer.push(answer);
          taken[memory].healthy.push(now() - begin);
          taken[memory].stood.push(made.json().freezeMs);
        }
        await daemon.sandbox('copy').delete();
      }
    }
    for (const [name, what] of [['answer', 'to the answer'], ['healthy', 'to OpenCode\'s health in the copy'],
                                ['stood', 'as long as the source stands still']]) {
      const [live, plain] = [taken.true[name], taken.false[name]];
      report.row(`fork with what runs, OpenCode and 20 MB in 500 files: ${what} (n=${live.length})`, {
        atoll: ms(p50(live)), tail: ms(Math.max(...live)), other: `files alone ${ms(p50(plain))}`});
    }
  });
}

const diskBytes = (...dirs) =>
  execFileSync('du', ['-s', '-B1', ...dirs], {encoding: 'utf8'}).trim().split('\n').reduce((sum, line) => sum + parseInt(line), 0);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;

/** Runs `work` with a daemon whose state is on a new file system of `type`; false where none can be made. */
async function onDisk(type, report, work) {
  fs.mkdirSync(DISKS, {recursive: true});
  let disk;
  try {
    disk = makeDisk(DISKS, type);
  } catch (error) {
    report.note(`Forks on ${type} are not measured here: ${error.message}.`);
    return;
  }
  const before = process.env.ATOLL_TEST_TMP;
  process.env.ATOLL_TEST_TMP = disk.dir;
  try {
    const daemon = await Daemon.start();
    try {
      await work(daemon, disk.dir);
    } finally {
      await daemon.cleanup();
    }
  } finally {
    if (before === undefined) delete process.env.ATOLL_TEST_TMP;
    else process.env.ATOLL_TEST_TMP = before;
    disk.close();
  }
}

/** Forks of a large workspace of which little changes from fork to fork: where content can be shared, and where not. */
export async function sharing({report, times, p50, ms, now, quick}) {
  const files = quick ? 8 : 128;
  const taken = {};
  for (const type of ['ext4', 'xfs']) {
    await onDisk(type, report, async (daemon, dir) => {
      const used = () => {
        execFileSync('sync', ['-f', dir]);
        const {blocks, bfree, bsize} = fs.statfsSync(dir);
        return (blocks - bfree) * bsize;
      };
      const box = daemon.sandbox('source');
      await box.create({opencode: false});
      await box.run(`mkdir d && cd d && for i in $(seq ${files}); do head -c 16777216 /dev/urandom > f$i; done`,
                    {limitMs: 600_000});
      taken[type] = {answer: [], stood: [], bytes: []};
      for (let i = 0; i < times(5) + 1; i++) {
        await box.sh('head -c 1048576 /dev/urandom | dd of=d/f1 bs=1M conv=notrunc status=none; sync d/f1');
        const before = used();
        const begin = now();
        const made = await daemon.request('source', {method: 'POST', path: '/fork', json: {id: 'copy', opencode: false},
                                                     limitMs: 600_000});
        const answer = now() - begin;
        if (made.status !== 200) throw new Error(made.text);
        if (i > 0) {
          taken[type].answer.push(answer);
          taken[type].stood.push(made.json().freezeMs);
          taken[type].bytes.push(used() - before);
        }
        await daemon.sandbox('copy').delete();
        const trash = path.join(daemon.stateDir, 'trash');
        while (fs.existsSync(trash) && fs.readdirSync(trash).length > 0) await sleep(50);
      }
    });
  }
  const [copied, shared] = [taken.ext4, taken.xfs];
  if (!copied || !shared) return;
  const what = `fork of ${megabytes(files * 2 ** 24)} with 1 MB changed, on XFS (shared) beside ext4 (copied)`;
  for (const [name, of] of [['answer', 'to the answer'], ['stood', 'as long as the source stands still']]) {
    report.row(`${what}: ${of}`, {
      atoll: ms(p50(shared[name])), tail: ms(Math.max(...shared[name])), other: ms(p50(copied[name])),
      ratio: (p50(shared[name]) / p50(copied[name])).toFixed(3)});
  }
  report.row(`${what}: disk of a copy`, {atoll: megabytes(p50(shared.bytes)), other: megabytes(p50(copied.bytes))});
}

/** What docs/operations.md plans with: memory and disk of a sandbox with OpenCode, of images, and descriptors. */
export async function costs({report, times, p50, v1, withDaemon}) {
  const KEY = 'bench-key';
  const stub = await StubModel.start({key: KEY});
  const daemon = await Daemon.start({
    sections: {model: {provider: 'anthropic', base_url: stub.origin}}, env: {ANTHROPIC_API_KEY: KEY}});
  const [idle, used, kept] = [[], [], []];
  try {
    const directory = {'x-opencode-directory': '/workspace'};
    for (let i = 0; i < times(10); i++) {
      const id = `costs-${i}`;
      const ask = async (options) => {
        const answer = await daemon.request(id, {headers: directory, limitMs: 120_000, ...options});
        if (answer.status !== 200) throw new Error(`${options.path}: ${answer.status} ${answer.text.slice(0, 300)}`);
        return answer;
      };
      await daemon.sandbox(id).create({opencode: true});
      await sleep(3000);
      idle.push(insideMegabytes(daemon));
      let peak = 0;
      let working = true;
      const watch = (async () => {
        while (working) {
          peak = Math.max(peak, insideMegabytes(daemon));
          await sleep(100);
        }
      })();
      for (let turn = 0; turn < 5; turn++) {
        const session = (await ask({method: 'POST', path: '/session', json: {}})).json().id;
        await ask({method: 'POST', path: `/session/${session}/message`, json: {parts: [{type: 'text', text: 'Write a file.'}]}});
        await ask({path: `/session/${session}/message`});
      }
      working = false;
      await watch;
      used.push(peak);
      const stopped = (await v1(daemon, id, 'stop', {keepMemory: true})).json();
      if (stopped.memoryKept) kept.push(diskBytes(path.join(daemon.stateDir, 'memory')));
      await daemon.sandbox(id).delete();
    }
  } finally {
    await daemon.cleanup();
    await stub.stop();
  }
  const range = (all) => `${Math.min(...all).toFixed(0)} to ${Math.max(...all).toFixed(0)} MB`;
  report.row('a sandbox with OpenCode, idle: memory', {atoll: `${p50(idle).toFixed(0)} MB`, other: range(idle)});
  report.row('the same while it takes five turns with a tool each: memory at its peak', {
    atoll: `${p50(used).toFixed(0)} MB`, other: range(used)});
  if (kept.length > 0) {
    report.row('the same, stopped with its memory: disk', {atoll: megabytes(p50(kept)), tail: megabytes(Math.max(...kept))});
  }
  report.row('default image: disk', {atoll: megabytes(diskBytes(path.join(preparedState, 'images', 'default')))});
  report.row('OpenCode and its page: disk', {atoll: megabytes(diskBytes(path.join(preparedState, 'opencode')))});
  await withDaemon({}, async (plain) => {
    const count = 20;
    const open = () => fs.readdirSync(`/proc/${plain.pid}/fd`).length;
    await plain.sandbox('first').create({opencode: false});
    await sleep(2000);
    const before = open();
    for (let i = 0; i < count; i++) await plain.sandbox(`open-${i}`).create({opencode: false});
    await sleep(2000);
    report.row('descriptors of the daemon for each sandbox', {atoll: ((open() - before) / count).toFixed(1)});
  });
}
