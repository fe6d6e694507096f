// SPDX-License-Identifier: Apache-2.0
// Sandboxes that nobody uses: asleep, awake again, stopped, started again, and nothing lost.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import WebSocket from 'ws';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {ofProcess, processesOf} from './support/host.mjs';
import {assertError, open} from './support/http.mjs';

/** PID 1 of every sandbox of the daemon, in the host's numbers. */
const pidOneOf = (daemon) => processesOf(daemon).filter((pid) => /^NSpid:.*\t1$/m.test(ofProcess(pid, 'status')));

const timingOf = (answer) => answer.headers['server-timing'] ?? '';

describe('a sandbox that nobody uses', () => {
  let daemon;
  before(async () => {
    daemon = await Daemon.start({sections: {sleep: {after: 'off', stop_after: 'off'}}});
  });
  after(async () => { await daemon?.cleanup(); });

  const stateOf = async (id) => (await daemon.list()).find((one) => one.id === id)?.state;
  const v1 = (id, path, method = 'POST', json = undefined) =>
    daemon.request('', {method, path: `/v1/sandboxes/${id}${path}`, ...(json ? {json} : {})});
  const becomes = (id, state) =>
    eventually(`${id} is ${state}`, async () => await stateOf(id) === state);

  it('falls asleep, and the next request wakes it and says so', async () => {
    const box = daemon.sandbox('tired');
    await box.create({opencode: false, sleepAfter: 1});
    await box.sh('echo kept > /tmp/file');
    await becomes('tired', 'paused');
    const answer = await box.run('cat /tmp/file');
    assert.match(timingOf(answer), /^wake;dur=\d/);
    assert.equal(await stateOf('tired'), 'running');
    const again = await box.run('cat /tmp/file');
    assert.equal(timingOf(again), '', 'awake, nothing is waited for');
    await box.delete();
  });

  it('stands still while it sleeps', async () => {
    const box = daemon.sandbox('still');
    await box.create({opencode: false});
    await box.background('while true; do date +%s%N >> /tmp/clock; sleep 0.02; done');
    await sleep(300);
    assert.equal((await v1('still', '/sleep')).json().state, 'paused');
    await sleep(1500);
    const times = (await box.sh('sleep 0.3; cat /tmp/clock')).trim().split('\n').map((ns) => Number(BigInt(ns) / 1_000_000n));
    const gaps = times.slice(1).map((time, i) => time - times[i]);
    assert.ok(Math.max(...gaps) > 1200, `the longest pause is ${Math.max(...gaps)} ms`);
    await box.delete();
  });

  it('is not asleep while somebody listens to a port of it, by events or a WebSocket', async () => {
    const program = String.raw`
import base64, hashlib, socket, threading, time
def serve(client):
    head = b''
    while b'\r\n\r\n' not in head:
        part = client.recv(4096)
        if not part: return
        head += part
    key = [line.split(b': ')[1] for line in head.split(b'\r\n') if line.lower().startswith(b'sec-websocket-key')]
    if key:
        accept = base64.b64encode(hashlib.sha1(key[0] + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
        client.sendall(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + accept + b'\r\n\r\n')
    else:
        client.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: here\n\n')
    client.recv(1)
listener = socket.create_server(('127.0.0.1', 3000))
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
`;
    const boxes = ['events', 'socket', 'alone'].map((id) => daemon.sandbox(id));
    for (const box of boxes) {
      await box.create({opencode: false, sleepAfter: 1});
      await box.write('/tmp/serve.py', program);
      await box.background('exec python3 /tmp/serve.py');
      await box.sh("until bash -c 'exec 3<>/dev/tcp/127.0.0.1/3000' 2>/dev/null; do sleep 0.05; done");
    }
    const stream = await open(daemon.port, {host: daemon.host('3000-events'), path: '/'});
    stream.stream.on('error', () => {});
    stream.stream.resume();
    const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/`, {headers: {Host: daemon.host('3000-socket')}});
    await new Promise((resolve, reject) => { socket.on('open', resolve).on('error', reject); });
    // Whoever has nobody sleeps, so the others had the time to.
    await becomes('alone', 'paused');
    await sleep(2000);
    for (const id of ['events', 'socket']) assert.equal(await stateOf(id), 'running', id);
    stream.close();
    socket.terminate();
    for (const id of ['events', 'socket']) await becomes(id, 'paused');
    await Promise.all(boxes.map((box) => box.delete()));
  });

  it('is not asleep while a command runs, a program is busy, or it is to be kept alive', async () => {
    const [busy, used, kept] = ['busy', 'used', 'kept'].map((id) => daemon.sandbox(id));
    await busy.create({opencode: false, sleepAfter: 1});
    await used.create({opencode: false, sleepAfter: 1});
    await kept.create({opencode: false, sleepAfter: 1, stopAfter: 1, keepAlive: true});
    await busy.background('while :; do :; done');
    const run = await used.start('sleep 5; echo over');
    const seen = (async () => {
      const all = [];
      for await (const event of run.events) all.push(event);
      return all;
    })();
    await sleep(3500);
    for (const id of ['busy', 'used', 'kept']) assert.equal(await stateOf(id), 'running', id);
    assert.equal((await seen).at(-1).type, 'complete');
    await becomes('used', 'paused');
    await Promise.all([busy, used, kept].map((box) => box.delete()));
  });

  it('is refused sleep while it is used, unless forced', async () => {
    const box = daemon.sandbox('worked');
    await box.create({opencode: false});
    const run = await box.start('echo begun; sleep 3; echo over');
    const events = run.events[Symbol.asyncIterator]();
    await events.next();
    assertError(await v1('worked', '/sleep'), 409, 'SANDBOX_IN_USE');
    assert.equal((await v1('worked', '/sleep', 'POST', {force: true})).status, 200);
    assert.equal(await stateOf('worked'), 'paused');
    assert.equal((await v1('worked', '/wake')).json().state, 'running');
    let last;
    for (let next = await events.next(); !next.done; next = await events.next()) last = next.value;
    assert.equal(last.type, 'complete', 'it goes on where it stood');
    await box.delete();
  });

  it('is saved and stopped later, keeps its layer, and is started by the next request', async () => {
    const box = daemon.sandbox('left');
    await box.create({opencode: false, sleepAfter: 1, stopAfter: 1});
    await box.sh('echo mine > /workspace/file; echo outside > /etc/outside');
    await becomes('left', 'stopped');
    const {snapshots} = (await v1('left', '/snapshots', 'GET')).json();
    assert.ok(snapshots.some((one) => one.dir === '/workspace' && one.trigger === 'stop'));
    const answer = await box.run('cat /workspace/file /etc/outside');
    assert.match(timingOf(answer), /start;dur=\d/);
    assert.equal(answer.stdout, 'mine\noutside\n');
    await box.delete();
  });

  it('gets requests during its stop served, not refused', async () => {
    const box = daemon.sandbox('pulled');
    await box.create({opencode: false});
    await box.sh('for i in $(seq 400); do head -c 20000 /dev/urandom > /workspace/$i; done');
    for (let round = 0; round < 3; ++round) {
      const stopped = v1('pulled', '/stop');
      const runs = await Promise.all([0, 30, 80].map(async (ms) => {
        await sleep(ms);
        return box.run('ls /workspace | wc -l');
      }));
      assert.equal((await stopped).status, 200);
      // One that was under way when the stop came may be cut off; none is refused.
      for (const run of runs) assert.ok(run.status === 200, `${run.status}: ${run.text}`);
      assert.equal(await box.sh('ls /workspace | wc -l'), '400\n');
    }
    await box.delete();
  });

  it('that is killed in its sleep is started again by its next use', async () => {
    const box = daemon.sandbox('killed');
    await box.create({opencode: false});
    await box.sh('echo kept > /workspace/file');
    // What stands still cannot end, and PID 1 waits for it.
    await box.background('exec sleep 66666');
    const before = pidOneOf(daemon);
    assert.equal(before.length, 1);
    assert.equal((await v1('killed', '/sleep')).json().state, 'paused');
    process.kill(before[0], 'SIGKILL');
    assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
    await box.delete();
  });

  it('sleeps on under a new daemon, which wakes it when it is wanted', async () => {
    const box = daemon.sandbox('dreaming');
    await box.create({opencode: false});
    await box.background('echo $$ > /tmp/pid; exec sleep 77777');
    // Asleep before it has said its number, it says it only after the question below.
    await box.sh('until [ -s /tmp/pid ]; do sleep 0.01; done');
    assert.equal((await v1('dreaming', '/sleep')).json().state, 'paused');
    await daemon.kill9();
    await daemon.launch();
    assert.equal(await stateOf('dreaming'), 'paused');
    assert.equal(await box.sh('kill -0 $(cat /tmp/pid) && echo lives'), 'lives\n');
    daemon.assertNoLeaks();
    await box.delete();
  });

  it('can be deleted, stopped and saved while it sleeps', async () => {
    const box = daemon.sandbox('bed');
    await box.create({opencode: false});
    await box.sh('echo a > /workspace/a');
    await v1('bed', '/sleep');
    assert.equal((await v1('bed', '/stop')).status, 200);
    assert.equal(await stateOf('bed'), 'stopped');
    assert.equal(await box.sh('cat /workspace/a'), 'a\n');
    await v1('bed', '/sleep');
    await box.snapshot('/workspace');
    await v1('bed', '/sleep');
    assert.equal((await box.delete()).status, 204);
    daemon.assertNoLeaks();
  });

  it('has a stop that was cut short finished by the next daemon', async () => {
    const box = daemon.sandbox('halted');
    await box.create({opencode: false});
    await box.sh('for i in $(seq 300); do head -c 50000 /dev/urandom > /workspace/$i; done');
    const stopped = v1('halted', '/stop').catch(() => null);
    // Its row says so, which is what the next daemon reads.
    await eventually('it stops', async () =>
      (await v1('halted', '/events', 'GET')).json().events.some((event) => event.state === 'stopping'));
    await daemon.kill9();
    await stopped;
    await daemon.launch();
    await becomes('halted', 'stopped');
    assert.equal(await box.sh('ls /workspace | wc -l'), '300\n');
    await box.delete();
  });

  it('has its policy read and changed, both by halves at once', async () => {
    const box = daemon.sandbox('policed');
    await box.create({opencode: false, sleepAfter: '5m'});
    const before = (await v1('policed', '', 'GET')).json();
    assert.deepEqual([before.sleepAfter, before.stopAfter, before.keepAlive], ['5m', 'off', false]);
    const answers = await Promise.all([v1('policed', '', 'PATCH', {sleepAfter: 90}),
                                       v1('policed', '', 'PATCH', {keepAlive: true}),
                                       v1('policed', '', 'PATCH', {stopAfter: '2h'})]);
    for (const answer of answers) assert.equal(answer.status, 200, answer.text);
    await daemon.kill9();
    await daemon.launch();
    const now = (await v1('policed', '', 'GET')).json();
    assert.deepEqual([now.sleepAfter, now.stopAfter, now.keepAlive], ['90s', '2h', true]);
    assertError(await v1('policed', '', 'PATCH', {sleepAfter: 'soon'}), 400, 'INVALID_SLEEP_POLICY');
    assertError(await v1('policed', '', 'PATCH', {}), 400, 'VALIDATION_FAILED');
    assertError(await v1('nobody', '', 'PATCH', {keepAlive: true}), 404, 'SANDBOX_NOT_FOUND');
    await box.delete();
  });

  it('has its life told, as a list and as a stream that can be taken up again', async () => {
    const box = daemon.sandbox('told');
    await box.create({opencode: false});
    await v1('told', '/sleep');
    const {events} = (await v1('told', '/events', 'GET')).json();
    assert.deepEqual(events.map((one) => one.state), ['creating', 'running', 'paused']);
    const stream = await open(daemon.port, {
      host: daemon.bare, path: '/v1/sandboxes/told/events',
      headers: {Accept: 'text/event-stream', 'Last-Event-ID': String(events[0].seq)},
    });
    let text = '';
    stream.stream.on('data', (data) => { text += data; });
    stream.stream.on('error', () => {});
    await v1('told', '/wake');
    await box.delete();
    await eventually('the deletion is told', () => text.includes('"state":"deleted"'));
    stream.close();
    const states = [...text.matchAll(/"state":"(\w+)"/g)].map((match) => match[1]);
    assert.deepEqual(states, ['running', 'paused', 'running', 'deleting', 'deleted']);
    const seqs = [...text.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
    assert.deepEqual(seqs, [...seqs].sort((a, b) => a - b));
    const later = (await v1('told', '/events?after=' + seqs.at(-2), 'GET')).json().events;
    assert.deepEqual(later.map((one) => one.state), ['deleted'], 'what became of it is kept');
    assertError(await v1('never', '/events', 'GET'), 404, 'SANDBOX_NOT_FOUND');
    assertError(await v1('told', '/events?after=x', 'GET'), 400, 'VALIDATION_FAILED');
  });

  it('is put to sleep, woken and told of on the command line', async () => {
    const box = daemon.sandbox('typed');
    await box.create({opencode: false});
    assert.match(daemon.cli('sleep', 'typed').stdout, /^typed +paused$/m);
    assert.match(daemon.cli('wake', 'typed').stdout, /^typed +running$/m);
    const told = daemon.cli('events', 'typed');
    assert.equal(told.status, 0, told.stderr);
    assert.deepEqual(told.stdout.trim().split('\n').map((line) => line.split(/ +/)[2]),
                     ['creating', 'running', 'paused', 'running']);
    assert.notEqual(daemon.cli('sleep', 'nobody').status, 0);
    await box.delete();
  });

  it('keeps order among everything that can be asked for at once', async () => {
    const box = daemon.sandbox('crowd');
    await box.create({opencode: false});
    await box.sh('echo kept > /workspace/file');
    const {snapshotId} = await box.snapshot('/workspace');
    for (let round = 0; round < 4; ++round) {
      const moving = [v1('crowd', '/snapshot', 'POST', {dir: '/workspace'}), v1('crowd', `/restore/${snapshotId}`),
                      v1('crowd', '/fork', 'POST', {opencode: false})];
      const changing = [
        box.post('/create', {opencode: false}), box.post('/create', {opencode: false}), v1('crowd', '/stop'),
        ...(round % 2 ? [box.delete()] : []), box.post('/create', {opencode: false}), v1('crowd', '/sleep'), v1('crowd', '/wake'),
      ];
      for (const answer of await Promise.all(changing)) assert.ok(answer.status < 500, `${answer.status}: ${answer.text}`);
      for (const answer of await Promise.all(moving)) {
        // They are of the sandbox that was there when they began, which may have been deleted.
        const gone = round % 2 && [404, 409, 503].includes(answer.status);
        assert.ok(answer.status === 200 || gone, `${answer.status}: ${answer.text}`);
      }
      await box.create({opencode: false});
      await box.restore(snapshotId);
      assert.equal(await box.sh('cat /workspace/file'), 'kept\n');
      for (const {id} of (await daemon.list()).filter((one) => one.id.startsWith('crowd-'))) {
        assert.equal(await daemon.sandbox(id).sh('hostname'), `${id}\n`);
        assert.equal((await daemon.sandbox(id).delete()).status, 204);
      }
    }
    assert.equal((await box.delete()).status, 204);
    daemon.assertNoLeaks();
  });
});
