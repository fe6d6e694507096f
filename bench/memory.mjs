// SPDX-License-Identifier: Apache-2.0
// What a sandbox that nobody uses costs, and what its coming back takes: asleep on swap, and stopped with
// its memory kept. And what its copies take, with files alone and with what runs.
import {execFileSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';

import {insideMegabytes} from './sandboxes.mjs';

const SWAP_BYTES = 2 ** 31;

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
