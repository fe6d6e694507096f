// SPDX-License-Identifier: Apache-2.0
// Terminals: how long a key takes to be seen, alone and among two hundred of them, and how fast
// output comes. The yardstick is a bare WebSocket echo in Node.js on the same machine: what the
// client alone costs.

import {Daemon} from '../tests/support/daemon.mjs';
import {Terminal, WebSocket, WebSocketServer} from '../tests/support/terminal.mjs';
import {mebibytes, ms, now, p50, p95, quantile, Report} from './report.mjs';

const MANY = 200;

const LIMIT_MS = 20_000;

/** Milliseconds from a key to its echo, one at a time: each is another letter, and none is lost or doubled. */
const ERASED = '\b\x1b[K';

/** Milliseconds from each key to the last byte of its echo, which may come in pieces. */
async function echoes(socket, count, keys = (i) => String.fromCharCode(97 + i % 26)) {
  const times = [];
  for (let i = 0; i < count; i++) {
    const key = keys(i);
    const echo = key === '\x7f' ? ERASED : key;
    const begin = now();
    await new Promise((resolve, reject) => {
      let came = '';
      const timer = setTimeout(() => {
        reject(new Error(`the echo of key ${i} of ${count} is ${JSON.stringify(came)}`));
      }, LIMIT_MS);
      const hear = (data) => {
        came += data.toString();
        if (!came.endsWith(echo)) return;
        clearTimeout(timer);
        socket.off('message', hear);
        resolve();
      };
      socket.on('message', hear);
      socket.send(Buffer.from(key));
    });
    times.push(now() - begin);
  }
  return times;
}

/** An echo without anything behind it. */
async function bareEcho() {
  const server = new WebSocketServer({port: 0, host: '127.0.0.1', perMessageDeflate: false});
  server.on('connection', (socket) => {
    socket._socket.setNoDelay(true);
    socket.on('message', (data) => socket.send(data));
  });
  await new Promise((resolve) => server.once('listening', resolve));
  const socket = new WebSocket(`ws://127.0.0.1:${server.address().port}`, {perMessageDeflate: false});
  await new Promise((resolve) => socket.once('open', resolve));
  return {socket, close: () => { socket.terminate(); server.close(); }};
}

// The line discipline gives each key back at once; nothing that it is typed at is woken.
const QUIET = 'stty -icanon; exec sleep 100000';

async function measureEcho(report, daemon, times) {
  const bare = await bareEcho();
  const terminal = await Terminal.open(daemon, 'terminals', {session: 'echo', command: QUIET});
  const shell = await Terminal.open(daemon, 'terminals', {session: 'shell', shell: 'bash'});
  for (const socket of [bare.socket, terminal.socket]) await echoes(socket, 100);
  const ours = [];
  const alone = [];
  for (let round = 0; round < 10; round++) {
    ours.push(...await echoes(terminal.socket, times / 10));
    alone.push(...await echoes(bare.socket, times / 10));
  }
  report.row('a key to its echo', {
    atoll: ms(p50(ours)), tail: ms(p95(ours)), other: `Node.js alone ${ms(p50(alone))}`,
    promise: 'p50 ≤ 1 ms', kept: p50(ours) <= 1});
  report.row('the same, p99', {atoll: ms(quantile(ours, 0.99)), other: `Node.js alone ${ms(quantile(alone, 0.99))}`});
  // An editor of lines answers by itself.
  await shell.type('PS1="> "\r', '> ');
  const typed = [];
  typed.push(...await echoes(shell.socket, times / 10, (i) => i % 2 === 0 ? 'x' : '\x7f'));
  report.row('a key to its echo by bash', {atoll: ms(p50(typed)), tail: ms(p95(typed))});
  bare.close();
  await shell.close();
  await terminal.close();
}

async function measureOutput(report, daemon, rounds) {
  const size = 20_000_000;
  const rates = [];
  for (let i = 0; i < rounds; i++) {
    const terminal = await Terminal.open(daemon, 'terminals', {
      session: `output-${i}`, linger: 1,
      command: `stty -opost; read go; head -c ${size} /dev/zero | tr '\\0' x; printf 'the%s' end; read go`});
    terminal.output = '';
    const begin = now();
    await terminal.type('\r', 'theend');
    rates.push(size / 1e6 / ((now() - begin) / 1000));
    if (terminal.frames.some((one) => one.type === 'skipped')) throw new Error('output was skipped');
    await terminal.close();
  }
  report.row('20 MB of output', {atoll: `${p50(rates).toFixed(0)} MB/s`, tail: `${quantile(rates, 0.05).toFixed(0)} MB/s`});
}

async function measureMany(report, daemon, times) {
  const before = daemon.residentBytes();
  const begin = now();
  const all = await Promise.all(Array.from({length: MANY}, (_, i) =>
    Terminal.open(daemon, 'terminals', {session: `many-${i}`, command: QUIET, linger: 1})));
  report.row(`opening ${MANY} at once, each`, {atoll: ms((now() - begin) / MANY)});
  const open = all.filter((terminal) => terminal.socket.readyState === 1).length;
  report.row(`of ${MANY}, open at once`, {atoll: String(open), promise: `all ${MANY}`, kept: open === MANY});
  const one = await echoes(all[0].socket, times);
  report.row(`a key to its echo, ${MANY - 1} others open`, {
    atoll: ms(p50(one)), tail: ms(p95(one)), promise: 'p50 ≤ 1 ms', kept: p50(one) <= 1});
  const busy = (await Promise.all(all.map((terminal) => echoes(terminal.socket, Math.ceil(times / 20))))).flat();
  report.row(`the same, all ${MANY} typed at without a rest`, {atoll: ms(p50(busy)), tail: ms(p95(busy))});
  report.row('memory of the daemon for each', {atoll: mebibytes((daemon.residentBytes() - before) / MANY)});
  await Promise.all(all.map((terminal) => terminal.close()));
}

export async function measureTerminals({quick}) {
  const report = new Report('Terminals');
  const daemon = await Daemon.start();
  try {
    await daemon.sandbox('terminals').create();
    await measureEcho(report, daemon, quick ? 200 : 2000);
    await measureOutput(report, daemon, quick ? 2 : 10);
    await measureMany(report, daemon, quick ? 100 : 1000);
  } finally {
    await daemon.cleanup();
  }
  report.note('Times are those of a client in Node.js over the loopback device: WebSocket, daemon, agent, kernel and back. ' +
              'For throughput the p95 column holds the 5th percentile.');
  return report;
}
