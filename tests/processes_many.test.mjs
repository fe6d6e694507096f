// SPDX-License-Identifier: Apache-2.0
// Very many processes, one after the other: daemon, agent and files do not grow with their number.
// ATOLL_TEST_PROCESSES says how many (4000).

import assert from 'node:assert/strict';
import fs from 'node:fs';
import {after, before, describe, it} from 'node:test';

import {Daemon} from './support/daemon.mjs';

const COUNT = Number(process.env.ATOLL_TEST_PROCESSES ?? 4000);
const AT_ONCE = 16;
// What has ended is kept up to this; the agent's own bound.
const KEPT = 1000;
const ROUNDS = 3;
// Bytes of each process that may stay: pages, and what is measured of them, are not that exact.
const MOST_LEFT = {agent: 400, daemon: 800};

describe('very many processes', () => {
  let daemon;
  let box;
  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('many');
    await box.create();
  });
  after(() => daemon?.cleanup());

  async function run(from, to) {
    let next = from;
    const worker = async () => {
      while (next < to) {
        const number = next++;
        const answer = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/many/processes',
                                                 json: {argv: ['echo', `${number}`]}, limitMs: 120_000});
        assert.equal(answer.status, 200, answer.text);
      }
    };
    await Promise.all(Array.from({length: AT_ONCE}, worker));
  }

  async function measure() {
    const [rss, fds, threads, files] = (await box.sh(
      `awk '/^RssAnon/ {print $2}' /proc/1/status; ls /proc/1/fd 2>/dev/null | wc -l
       awk '/^Threads/ {print $2}' /proc/1/status; ls /var/log/atoll | wc -l`)).trim().split('\n').map(Number);
    return {agent: rss * 1024, fds, threads, files, daemon: daemon.residentBytes(),
            daemonFds: fs.readdirSync(`/proc/${daemon.pid}/fd`).length};
  }

  it(`${COUNT} of them leave no more behind than half as many`, async () => {
    // Once as many as are kept have ended, nothing may become more; what is allocated first is no leak.
    await run(0, KEPT + 200);
    let done = KEPT + 200 + Math.ceil((COUNT - KEPT - 200) / 2);
    await run(KEPT + 200, done);
    const some = COUNT - done;
    const before = await measure();
    let now = before;
    const rounds = [];
    for (let round = 0; round < ROUNDS; ++round) {
      const last = now;
      await run(done, done + some);
      done += some;
      now = await measure();
      rounds.push({agent: (now.agent - last.agent) / some, daemon: (now.daemon - last.daemon) / some});
      console.log(JSON.stringify({last, now, grown: rounds.at(-1)}));
    }
    // An allocator may take a step in one round, or give back in one. What leaks grows in most.
    const median = (who) => rounds.map((round) => round[who]).sort((a, b) => a - b)[Math.floor(ROUNDS / 2)];
    const grown = {agent: median('agent'), daemon: median('daemon')};
    assert.ok(grown.agent < MOST_LEFT.agent, `the agent: ${grown.agent} bytes of each process`);
    assert.ok(grown.daemon < MOST_LEFT.daemon, `the daemon: ${grown.daemon} bytes of each process`);
    assert.ok(now.fds <= before.fds + 8, `descriptors of the agent: ${before.fds} to ${now.fds}`);
    assert.ok(now.daemonFds <= before.daemonFds + 32, `of the daemon: ${before.daemonFds} to ${now.daemonFds}`);
    assert.ok(now.threads <= before.threads + 8, `threads of the agent: ${before.threads} to ${now.threads}`);
    assert.ok(now.files <= KEPT + 2 * AT_ONCE, `logs: ${now.files}`);
    const answer = await daemon.request('', {path: '/v1/sandboxes/many/processes'});
    assert.ok(answer.json().processes.length <= KEPT + AT_ONCE);
    assert.equal(await box.sh('ps -e -o stat= | grep -c Z || true'), '0\n', 'no zombies');
  });
});
