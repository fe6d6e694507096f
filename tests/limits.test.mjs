// SPDX-License-Identifier: Apache-2.0
// Limits and fairness: a sandbox that wants too much hurts itself alone and says why, a host that is
// full says so, and what is used can be seen.

import assert from 'node:assert/strict';
import http from 'node:http';
import os from 'node:os';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';

const MB = 1024 * 1024;
const HOG = 'python3 -c "x = bytearray(800 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1"';

function usageOf(daemon, id) {
  return daemon.request('', {path: `/v1/sandboxes/${id}/usage`}).then((answer) => {
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  });
}

describe('a sandbox that wants too much', () => {
  let daemon;
  let one;

  before(async () => {
    daemon = await Daemon.start({sections: {limits: {open_files: 512}}});
    one = daemon.sandbox('one');
    await one.create({memory: '256M', pids: 64, weight: 50, disk: '256M'});
  });
  after(async () => { await daemon?.cleanup(); });

  it('of memory: the program is ended, is told why, and the others live', async () => {
    await one.background('sleep 12321');
    const result = await one.run(HOG);
    assert.equal(result.exitCode, 137);
    assert.equal(result.last.outOfMemory, true);
    assert.equal((await one.sh('pgrep -fc "^sleep 12321"')).trim(), '1');
    const after = await one.run('kill -9 $$');
    assert.equal(after.exitCode, 137);
    assert.equal(after.last.outOfMemory, undefined, 'killed, but not for memory');
  });

  it('of memory: it is counted, and the page can say when', async () => {
    const {now} = await usageOf(daemon, 'one');
    assert.equal(now.oomKills, 1);
    assert.ok(Math.abs(Date.now() - Date.parse(now.lastOomAt)) < 60_000, now.lastOomAt);
    const events = await daemon.request('', {path: '/v1/sandboxes/one/events', headers: {Accept: 'application/json'}});
    assert.equal(events.status, 200, events.text);
    assert.ok(events.json().events.some((event) => event.kind === 'oom'), events.text);
  });

  it('of memory: a program that nobody waits for is counted too', async () => {
    await one.background(HOG.replaceAll('\n', '\\n').replace('"x', '"exec(\'x').replace(/"$/, '\')"'));
    await eventually('it is counted', async () => (await usageOf(daemon, 'one')).now.oomKills >= 2);
  });

  it('of processes: a fork bomb is bounded, and ends', async () => {
    const bomb = await one.start('b() { b | b & }; b; sleep 2; echo over');
    await sleep(500);
    bomb.close();
    await eventually('the sandbox can be used', async () => {
      const result = await one.run('echo fine');
      return result.stdout.trim() === 'fine';
    });
    const {now, limits} = await usageOf(daemon, 'one');
    assert.ok(now.processes <= limits.processes, `${now.processes}`);
    const other = daemon.sandbox('other');
    await other.create();
    assert.equal((await other.sh('echo fine')).trim(), 'fine');
    assert.equal((await other.delete()).status, 204);
  });

  it('of open files: it gets an error, and what may need more raises its limit', async () => {
    const program = `
import json, os, resource
opened = []
try:
  while len(opened) < 5000: opened.append(os.open('/dev/null', os.O_RDONLY))
  error = None
except OSError as e: error = e.errno
count = len(opened)
for fd in opened: os.close(fd)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
print(json.dumps({'error': error, 'count': count, 'soft': soft, 'raised': resource.getrlimit(resource.RLIMIT_NOFILE)[0]}))`;
    const seen = await one.python(program);
    assert.equal(seen.error, 24);
    assert.ok(seen.count < 512, `${seen.count}`);
    assert.equal(seen.soft, 512);
    assert.ok(seen.raised >= 4096, `${seen.raised}`);
  });

  it('is shown with its limits', async () => {
    const info = (await daemon.list()).find((item) => item.id === 'one');
    assert.equal(info.weight, 50);
    assert.equal(info.memory, 256 * MB);
    assert.equal(info.disk, 256 * MB);
  });
});

describe('usage', () => {
  let daemon;
  let one;

  before(async () => {
    daemon = await Daemon.start();
    one = daemon.sandbox('one');
    await one.create({disk: '512M'});
    await daemon.sandbox('plain').create();
  });
  after(async () => { await daemon?.cleanup(); });

  it('moves with what is done', async () => {
    const first = await eventually('a first sample', async () => {
      const report = await usageOf(daemon, 'one');
      return report.now.at && report.now.disk !== undefined ? report : null;
    });
    assert.equal(first.limits.disk, 512 * MB);
    await one.sh('head -c 100M /dev/urandom > /workspace/data; sync');
    await daemon.sandbox('plain').sh('true');
    await one.background('python3 -c "\nx = bytearray(200 << 20)\nwhile True: x[0] = 1"');
    const later = await eventually('it is seen', async () => {
      const report = await usageOf(daemon, 'one');
      const {cpus, memory, disk} = report.now;
      return cpus > 0.2 && memory > 150 * MB && disk > first.now.disk + 90 * MB ? report : null;
    }, 60_000);
    assert.ok(later.now.processes > first.now.processes);
    assert.ok(later.history.length >= 2);
    assert.deepEqual(later.history.map((sample) => sample.at), later.history.map((sample) => sample.at).sort());
    assert.ok(later.history.at(-1).memory > later.history[0].memory);

    const listed = await daemon.list();
    assert.equal(listed.find((item) => item.id === 'one').usage.memory > 150 * MB, true);
    assert.equal(typeof listed.find((item) => item.id === 'plain').usage.disk, 'number');
  });

  it('of what is stopped is nothing, and of what does not exist an error', async () => {
    const stopped = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/one/stop'});
    assert.equal(stopped.status, 200, stopped.text);
    const report = await eventually('it is over', async () => {
      const one = await usageOf(daemon, 'one');
      return one.history.length === 0 ? one : null;
    });
    assert.equal(report.state, 'stopped');
    assert.equal(report.now.memory, undefined);
    const answer = await daemon.request('', {path: '/v1/sandboxes/none/usage'});
    assert.equal(answer.status, 404);
    assert.equal(answer.json().code, 'SANDBOX_NOT_FOUND');
    assert.equal((await daemon.request('', {method: 'POST', path: '/v1/sandboxes/one/usage'})).status, 405);
  });
});

describe('weights', () => {
  let daemon;
  before(async () => { daemon = await Daemon.start(); });
  after(async () => { await daemon?.cleanup(); });

  it('divide the CPUs among those that want all of them', async () => {
    const cpus = os.cpus().length;
    // More of each than there are CPUs, so that nobody has one for itself.
    const wantAll = (id) => daemon.sandbox(id).background(
      `for i in $(seq ${2 * cpus}); do while :; do :; done & done; wait`);
    const share = async (id) => (await usageOf(daemon, id)).now.cpus ?? 0;
    await daemon.sandbox('light').create({weight: 100, cpus});
    await daemon.sandbox('heavy').create({weight: 1000, cpus});
    // The light one has them first: what the heavy one has later, it has taken from it.
    await wantAll('light');
    await eventually('the light one has what nobody else wants', async () => await share('light') > 0.2);
    await wantAll('heavy');
    // Ten to one, less what the scheduler rounds and what else the host does.
    let seen = [];
    await eventually(() => `the heavy one has most: ${seen.join(' to ')}`, async () => {
      seen = [await share('heavy'), await share('light')];
      return seen[0] > 3 * seen[1] && seen[1] > 0;
    });
  });
});

describe('what a sandbox sends and receives', () => {
  let daemon;
  let server;
  before(async () => {
    server = http.createServer((asked, answer) => {
      asked.resume().on('end', () => answer.end(Buffer.alloc(7 * MB)));
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    daemon = await Daemon.start({sections: {egress: {host_ports: [server.address().port]}}});
  });
  after(async () => {
    await daemon?.cleanup();
    server?.close();
  });

  it('is counted, of each by itself', async () => {
    for (const id of ['talks', 'silent']) await daemon.sandbox(id).create();
    const url = `http://host.atoll:${server.address().port}/`;
    await daemon.sandbox('talks').sh(`head -c 3M /dev/zero > /tmp/f && curl -sS -m 60 -T /tmp/f -o /dev/null ${url}`);
    const {now} = await eventually('it is seen', async () => {
      const report = await usageOf(daemon, 'talks');
      return report.now.received >= 7 * MB && report.now.sent >= 3 * MB ? report : null;
    });
    // Heads and no more come to it.
    assert.ok(now.sent < 4 * MB && now.received < 8 * MB, JSON.stringify(now));
    const silent = await eventually('the other is looked at', async () => {
      const report = await usageOf(daemon, 'silent');
      return report.now.at && report;
    });
    assert.ok((silent.now.sent ?? 0) < MB && (silent.now.received ?? 0) < MB, JSON.stringify(silent.now));
  });
});

describe('a host that is full', () => {
  let daemon;
  before(async () => { daemon = await Daemon.start({sections: {limits: {max_sandboxes: 2}}}); });
  after(async () => { await daemon?.cleanup(); });

  const create = (id, options = {}, headers = {}) =>
    daemon.sandbox(id).post('/create', {opencode: false, ...options}, {headers, limitMs: 120_000});

  it('says so, and when to come again', async () => {
    await create('one');
    await create('two');
    const answer = await create('three');
    assert.equal(answer.status, 503, answer.text);
    assert.equal(answer.json().code, 'CAPACITY_EXCEEDED');
    assert.ok(Number(answer.headers['retry-after']) >= 1, answer.headers['retry-after']);
    assert.deepEqual(await daemon.ids(), ['one', 'two']);
  });

  it('goes on serving those that it has', async () => {
    assert.equal((await create('one')).status, 200, 'it runs already');
    await daemon.request('', {method: 'POST', path: '/v1/sandboxes/one/stop'});
    assert.equal((await daemon.sandbox('one').sh('echo again')).trim(), 'again');
  });

  it('lets no more in when many come at once', async () => {
    await daemon.sandbox('one').delete();
    const answers = await Promise.all(Array.from({length: 6}, (_, i) => create(`at-once${i}`)));
    assert.deepEqual(answers.map((one) => one.status).sort(), [200, 503, 503, 503, 503, 503]);
    for (const id of await daemon.ids()) if (id !== 'two') await daemon.sandbox(id).delete();
  });

  it('lets those wait who ask for it, first come first served', async () => {
    await create('one');
    const order = [];
    const wait = (id, options, headers) => create(id, options, headers).then((answer) => {
      order.push(id);
      return answer;
    });
    const first = wait('first', {wait: true});
    await sleep(300);
    const second = wait('second', {wait: 60});
    await sleep(300);
    const third = wait('third', {}, {Prefer: 'respond-async, wait=60'});
    await sleep(300);
    const impatient = await create('impatient');
    assert.equal(impatient.status, 503);
    // One place at a time: two that were let in one after the other may well be ready the other way round.
    assert.equal((await daemon.sandbox('one').delete()).status, 204);
    assert.equal((await first).status, 200);
    assert.deepEqual(order, ['first']);
    assert.equal((await daemon.sandbox('two').delete()).status, 204);
    assert.equal((await second).status, 200);
    assert.equal((await daemon.sandbox('first').delete()).status, 204);
    assert.equal((await third).status, 200);
    assert.deepEqual(order, ['first', 'second', 'third']);
  });

  it('lets nobody wait for ever, or for one who has gone away', async () => {
    const late = await create('late', {wait: 0.5});
    assert.equal(late.status, 503, late.text);
    const gone = create('gone', {wait: 60}).catch(() => {});
    await assert.rejects(daemon.sandbox('gone2').post('/create', {opencode: false, wait: 60}, {limitMs: 700}));
    await daemon.sandbox('second').delete();
    assert.ok(await eventually('the one that waits', async () => (await daemon.ids()).includes('gone')));
    await gone;
    await daemon.sandbox('gone').delete();
    await sleep(500);
    assert.ok(!(await daemon.ids()).includes('gone2'));
  });

  it('makes no fork either', async () => {
    const answer = await daemon.sandbox('third').post('/fork', {opencode: false, count: 2});
    assert.equal(answer.status, 503, answer.text);
    assert.equal(answer.json().code, 'CAPACITY_EXCEEDED');
    assert.deepEqual(await daemon.ids(), ['third'], 'not half of it either');
    assert.equal((await daemon.sandbox('third').post('/fork', {opencode: false})).status, 200);
    await daemon.sandbox('third-2').delete();
  });

  it('refuses what is no time to wait', async () => {
    for (const wait of [-1, 'long', 1e9, {}]) {
      const answer = await create('odd', {wait});
      assert.equal(answer.status, 400, `${JSON.stringify(wait)}: ${answer.text}`);
    }
  });
});

describe('a host without memory or disk to spare', () => {
  it('takes nobody in, and starts nobody', async () => {
    for (const limits of [{memory_reserve: '1000T'}, {disk_reserve: '1000T'}, {memory_overcommit: 0.0001}]) {
      const daemon = await Daemon.start({sections: {limits}});
      try {
        const answer = await daemon.sandbox('one').post('/create', {opencode: false});
        assert.equal(answer.status, 503, `${JSON.stringify(limits)}: ${answer.text}`);
        assert.equal(answer.json().code, 'CAPACITY_EXCEEDED');
        assert.deepEqual(await daemon.ids(), []);
      } finally {
        await daemon.cleanup();
      }
    }
  });
});
