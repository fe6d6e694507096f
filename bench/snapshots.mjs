// SPDX-License-Identifier: Apache-2.0
// Snapshots and restores beside restic and mksquashfs. Each round runs Atoll and what it is compared
// with in turn, on the same files of the same file system, with the same warm caches.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';

import {Daemon} from '../tests/support/daemon.mjs';
import {startRgw} from '../tests/support/rgw.mjs';
import {requireCommands, Restic, settle, squash} from './alternatives.mjs';
import {makeDisk} from './disk.mjs';
import {mebibytes, ms, p50, p95, Report} from './report.mjs';
import {Costs, sections, Subject} from './subject.mjs';
import {makeTrees, serveTrees} from './trees.mjs';

const MEMORY_LIMIT = 256 * 2 ** 20;
const LARGE_LIMIT = 8 * 2 ** 20;
const REQUEST_AIM = 6;
const ABSOLUTE_MS = 300;

/** A row of Atoll's times beside another's; the promise is a share of the other's median. */
function beside(report, name, ours, others, who, share) {
  const ratio = p50(ours) / p50(others);
  report.row(name, {
    atoll: ms(p50(ours)), tail: ms(p95(ours)), other: `${who} ${ms(p50(others))}`, ratio: ratio.toFixed(2),
    promise: `≤ ${share.toFixed(2)} × ${who}`, kept: ratio <= share});
}

async function firstSnapshots({report, subject, restic, rounds, work}) {
  const {tree} = subject;
  const ours = [];
  const restics = [];
  const images = [];
  const synced = [];
  let last;
  for (let i = 0; i < rounds; i++) {
    await subject.emptyStore();
    last = await subject.snapshot(`${tree.name}, first snapshot`);
    assert.equal(last.files, tree.files, 'the snapshot has every file');
    ours.push(last.ms);
    await restic.reset();
    restics.push(await restic.backup());
    const image = await squash(subject.upper, path.join(work, 'image.squashfs'));
    images.push(image.taken);
    synced.push(image.synced);
  }
  beside(report, `${tree.name}: first snapshot, empty store`, ours, restics, 'restic backup', 0.5);
  beside(report, `the same beside mksquashfs (${ms(p50(synced))} until its image is on the disk)`, ours, images,
         'mksquashfs lz4', 1);
  return last;
}

async function laterSnapshots({report, subject, restic, rounds}) {
  const {tree} = subject;
  const changed = {ours: [], restic: []};
  const same = {ours: [], restic: []};
  for (let i = 0; i < rounds; i++) {
    await subject.change();
    const taken = await subject.snapshot(`${tree.name}, 10 files changed`);
    assert.equal(taken.filesChanged, tree.changed.length);
    changed.ours.push(taken.ms);
    changed.restic.push(await restic.backup());
    const again = await subject.snapshot(`${tree.name}, nothing changed`);
    assert.equal(again.filesChanged, 0);
    same.ours.push(again.ms);
    same.restic.push(await restic.backup());
  }
  beside(report, `${tree.name}: again after 10 small files changed`, changed.ours, changed.restic, 'restic backup', 0.1);
  report.row('the same, in milliseconds', {
    atoll: ms(p50(changed.ours)), tail: ms(p95(changed.ours)), promise: `order of ${ABSOLUTE_MS} ms`,
    kept: p50(changed.ours) <= ABSOLUTE_MS});
  beside(report, `${tree.name}: again with nothing changed`, same.ours, same.restic, 'restic backup', 0.1);
}

async function freezes({report, subject, rounds}) {
  const pauses = [];
  const whole = [];
  for (let i = 0; i < rounds; i++) {
    await subject.change();
    const taken = await subject.snapshot(`${subject.tree.name}, 10 files changed, frozen`, {freeze: true});
    assert.equal(taken.consistency, 'frozen');
    pauses.push(taken.freezeMs);
    whole.push(taken.ms);
  }
  report.row(`${subject.tree.name}: pause of a frozen sandbox, 10 files changed`, {
    atoll: ms(p50(pauses)), tail: ms(p95(pauses)), other: `whole snapshot ${ms(p50(whole))}`});
}

async function restores({report, subject, restic, rounds}) {
  const {tree, box} = subject;
  const changed = [];
  const empty = [];
  const again = [];
  const restics = [];
  await restic.backup();
  const changeAndRestore = async (step, snapshotId) => {
    await subject.change();
    const back = await subject.restore(step, snapshotId);
    assert.equal(back.filesWritten, tree.changed.length);
    return back.ms;
  };
  for (let i = 0; i < rounds; i++) {
    const {snapshotId} = await subject.snapshot(`${tree.name}, after a restore`);
    changed.push(await changeAndRestore(`${tree.name}, restore after 10 files changed`, snapshotId));
    await box.sh('find /workspace -mindepth 1 -delete');
    const whole = await subject.restore(`${tree.name}, restore into an empty directory`, snapshotId);
    assert.equal(whole.filesWritten, tree.files);
    empty.push(whole.ms);
    again.push(await changeAndRestore(`${tree.name}, the same snapshot restored again`, snapshotId));
    restics.push(await restic.restore());
  }
  beside(report, `${tree.name}: restore into an empty directory`, empty, restics, 'restic restore', 1);
  beside(report, `${tree.name}: restore after 10 files changed`, changed, restics, 'restic restore', 0.15);
  // No file has the inode that the snapshot tells of: the contents are compared.
  report.row('the same onto what was itself restored from that snapshot', {
    atoll: ms(p50(again)), tail: ms(p95(again)), other: `restic restore ${ms(p50(restics))}`,
    ratio: (p50(again) / p50(restics)).toFixed(2)});
}

async function secondSandbox({report, costs, daemon, first, source}) {
  const other = await Subject.create(daemon, costs, 'second', source);
  const taken = await other.snapshot(`${source.tree.name}, from a second sandbox`);
  const share = 100 * taken.bytesAdded / first.bytesAdded;
  report.row(`${source.tree.name}: the same tree from a second sandbox, new bytes`, {
    atoll: `${share.toFixed(2)} %`, other: `${mebibytes(taken.bytesAdded)} of ${mebibytes(first.bytesAdded)}`,
    promise: '< 1 %', kept: share < 1});
  await other.remove();
}

/** Everything about one tree. */
async function oneTree({report, costs, source, rounds, freezeRounds, work}) {
  const daemon = await Daemon.start({sections: sections(source.port)});
  try {
    const subject = await Subject.create(daemon, costs, 'tree', source);
    await subject.warm();
    const restic = new Restic(path.join(work, 'restic'), subject.upper);
    const all = {report, subject, restic, rounds, work};
    const first = await firstSnapshots(all);
    // While the files in the repository are those of the tree as it is served.
    await secondSandbox({report, costs, daemon, first, source});
    await laterSnapshots(all);
    await freezes({...all, rounds: freezeRounds});
    await restores(all);
    fs.rmSync(restic.dir, {recursive: true});
  } finally {
    await daemon.cleanup();
  }
}

async function largeFile({report, costs, source}) {
  const daemon = await Daemon.start({sections: sections(source.port)});
  try {
    const subject = new Subject(daemon, costs, 'large', source.tree);
    await subject.box.create();
    await subject.box.sh('head -c 1G /dev/urandom > /workspace/large');
    const first = await subject.snapshot('1 GiB file, first snapshot');
    await subject.box.sh('dd if=/dev/urandom of=/workspace/large bs=1M count=1 seek=512 conv=notrunc status=none');
    const second = await subject.snapshot('1 GiB file, 1 MiB changed');
    report.row('1 GiB of random bytes, 1 MiB changed in the middle: new bytes', {
      atoll: mebibytes(second.bytesAdded), other: `${ms(second.ms)}; the first snapshot ${ms(first.ms)}`,
      promise: '< 8 MiB', kept: second.bytesAdded < LARGE_LIMIT});
    await subject.box.sh('rm /workspace/large');
    await subject.restore('1 GiB file, restore', second.snapshotId);
  } finally {
    await daemon.cleanup();
  }
}

async function remoteStore({report, costs, source, rounds}) {
  const server = await startRgw();
  try {
    const snapshots = {
      store: `s3://${server.bucket}/bench`, endpoint: server.endpoint, region: server.region, style: 'path',
      access_key: server.accessKey, secret_key: server.secretKey,
    };
    const daemon = await Daemon.start({sections: {...sections(source.port), snapshots}});
    try {
      const subject = await Subject.create(daemon, costs, 'remote', source);
      await subject.warm();
      const first = await subject.snapshot(`${source.tree.name}, first snapshot to S3`);
      const times = [];
      const requests = [];
      for (let i = 0; i < rounds; i++) {
        await subject.change();
        const taken = await subject.snapshot(`${source.tree.name}, 10 files changed, to S3`);
        times.push(taken.ms);
        requests.push(taken.storeRequests);
      }
      report.row(`${source.tree.name}: S3 requests of a snapshot after 10 files changed`, {
        atoll: String(p50(requests)), tail: String(p95(requests)),
        other: `first snapshot: ${first.storeRequests}`,
        promise: `≤ ${REQUEST_AIM} (aim)`, kept: Math.max(...requests) <= REQUEST_AIM});
      report.row('the same, time', {atoll: ms(p50(times)), tail: ms(p95(times)), other: `first snapshot: ${ms(first.ms)}`});
    } finally {
      await daemon.cleanup();
    }
  } finally {
    await server.stop();
  }
}

function memory(report, costs) {
  const all = costs.memory();
  const [worst, , highest] = all.reduce((a, b) => b[2] > a[2] ? b : a);
  report.row('memory of the daemon, highest of all steps', {
    atoll: mebibytes(highest), other: worst, promise: '≤ 256 MiB', kept: highest <= MEMORY_LIMIT});
  const lines = all.map(([step, first, most]) => `- ${step}: ${mebibytes(first)}, ${mebibytes(most)}`);
  report.note(`Resident memory of the daemon in each step, highest in the first round and in all:\n\n${lines.join('\n')}`);
  report.note(`Phases as the answers tell them, median milliseconds:\n\n${costs.phaseLines().join('\n')}`);
}

function explain(report, trees) {
  const sizes = trees.map(({name, files, bytes}) => `${name}: ${files} files, ${(bytes / 1e6).toFixed(0)} MB`);
  report.note(`${sizes.join('; ')}. The sandbox runs on crun; Atoll is measured as a client of its HTTP API sees it, on the
sandbox's \`/workspace\`; restic (default settings) and mksquashfs (\`-comp lz4\`, all processors) read the same files in
the sandbox's writable layer and write to the same file system (an ext4 in an image file). Making a repository is timed for
nobody. Disks are synced before each measurement; the rounds are interleaved. restic restores into an empty directory each
time: onto a tree that is there it (0.14) fails with the symbolic links. New bytes are as stored, compressed and sealed.
S3 is Ceph's radosgw on loopback, in memory.`);
}

/** The report of this part. */
export async function measureSnapshots({quick}) {
  requireCommands();
  const report = new Report('Snapshots');
  const costs = new Costs();
  const base = process.env.ATOLL_BENCH_DIR ?? '/var/tmp/atoll-bench';
  fs.mkdirSync(base, {recursive: true});
  const trees = await makeTrees(base);
  fs.chmodSync(base, 0o711);
  const disk = makeDisk(base);
  const work = disk.dir;
  const before = process.env.ATOLL_TEST_TMP;
  process.env.ATOLL_TEST_TMP = work;
  const server = await serveTrees(trees);
  try {
    const rounds = quick ? 2 : 5;
    const sources = trees.map((tree, number) => ({tree, number, port: server.port}));
    for (const source of sources) {
      await oneTree({report, costs, source, rounds, freezeRounds: quick ? 4 : 20, work});
      settle(work);
    }
    await largeFile({report, costs, source: sources[0]});
    await remoteStore({report, costs, source: sources[0], rounds});
  } finally {
    server.close();
    if (before === undefined) delete process.env.ATOLL_TEST_TMP;
    else process.env.ATOLL_TEST_TMP = before;
    disk.close();
  }
  memory(report, costs);
  explain(report, trees);
  return report;
}
