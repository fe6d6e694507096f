// SPDX-License-Identifier: Apache-2.0
// Commands on a WebSocket: input as it is typed, both streams as they come.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import WebSocket from 'ws';

import {Daemon, eventually} from './support/daemon.mjs';

describe('exec on a WebSocket', () => {
  let daemon;
  before(async () => {
    daemon = await Daemon.start();
    await daemon.sandbox('demo').create();
  });
  after(() => daemon.cleanup());

  /** Sends the request and gives {socket, out, err, frames, closed}. */
  const start = async (request) => {
    const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/v1/sandboxes/demo/exec/ws`,
                                 {headers: {Host: daemon.bare}, perMessageDeflate: false});
    const running = {socket, out: '', err: '', frames: []};
    running.closed = new Promise((resolve) => socket.on('close', (code) => resolve(code)));
    await new Promise((resolve, reject) => { socket.on('open', resolve); socket.on('error', reject); });
    running.shows = (text) => new Promise((resolve) => {
      const look = () => { if (running.out.includes(text)) resolve(); };
      socket.on('message', look);
      look();
    });
    socket.on('message', (data, isBinary) => {
      if (!isBinary) running.frames.push(JSON.parse(data.toString()));
      else if (data[0] === 1) running.out += data.subarray(1);
      else if (data[0] === 2) running.err += data.subarray(1);
      else assert.fail(`a message with tag ${data[0]}`);
    });
    socket.send(typeof request === 'string' ? request : JSON.stringify(request));
    return running;
  };

  it('answers while it is spoken to', async () => {
    const running = await start({command: 'while read line; do echo "got $line"; echo "heard $line" >&2; done; exit 4'});
    for (const word of ['one', 'two', 'three']) {
      running.socket.send(Buffer.from(`${word}\n`));
      await running.shows(`got ${word}\n`);
    }
    running.socket.send(JSON.stringify({type: 'stdin_end'}));
    assert.equal(await running.closed, 1000);
    assert.equal(running.err, 'heard one\nheard two\nheard three\n');
    assert.equal(running.frames[0].type, 'start');
    assert.equal(running.frames.at(-1).exitCode, 4);
  });

  it('takes signals, limits and bytes as they are', async () => {
    const asleep = await start({argv: ['sh', '-c', 'trap "echo bye; exit 9" INT; echo up; while :; do sleep 0.1; done']});
    await asleep.shows('up');
    asleep.socket.send(JSON.stringify({type: 'signal', signal: 'INT'}));
    assert.equal(await asleep.closed, 1000);
    assert.equal(asleep.frames.at(-1).exitCode, 9);
    const limited = await start({command: 'sleep 1000', timeoutMs: 200});
    await limited.closed;
    assert.equal(limited.frames.at(-1).timedOut, true);
    const count = await start({command: 'wc -c'});
    for (let i = 0; i < 10; i++) count.socket.send(Buffer.alloc(500_000, i));
    count.socket.send(JSON.stringify({type: 'stdin_end'}));
    await count.closed;
    assert.equal(count.out.trim(), '5000000');
  });

  const openSession = async () => {
    const answer = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/demo/sessions', json: {}});
    assert.equal(answer.status, 200, answer.text);
    return answer.json().id;
  };
  const alive = async (pattern) => (await daemon.sandbox('demo').sh(`pgrep -f '${pattern}' || true`)) !== '';

  it('runs in a session', async () => {
    const session = await openSession();
    const first = await start({session, command: 'cd /usr; X=5; exit_code() { return 3; }'});
    assert.equal(await first.closed, 1000);
    const second = await start({session, command: 'read line; echo "$PWD $X $line"; exit_code', stdin: 'typed\n'});
    second.socket.send(Buffer.from('not for it\n'));
    assert.equal(await second.closed, 1000);
    assert.equal(second.out, '/usr 5 typed\n');
    assert.equal(second.frames.at(-1).exitCode, 3);
    const asleep = await start({session, command: 'echo up; exec 2>&1; sleep 4441; echo more'});
    await asleep.shows('up');
    asleep.socket.send(JSON.stringify({type: 'signal', signal: 'INT'}));
    asleep.socket.send(JSON.stringify({type: 'stdin_end'}));
    await eventually('it is told that signals are not for it', () =>
      asleep.frames.some((frame) => frame.type === 'error' && frame.code === 'VALIDATION_FAILED'));
    // Whoever waits for a turn and leaves gets none.
    const waits = await start({session, command: 'touch /tmp/never'});
    waits.socket.terminate();
    asleep.socket.terminate();
    await eventually('it ends with its client', async () => !(await alive('^sleep 444[1]')));
    const last = await start({session, command: 'echo "$X"; ls /tmp/never 2>/dev/null'});
    await last.closed;
    assert.equal(last.out, '5\n');
    const none = await start({session: 'nobody', command: 'true'});
    await none.closed;
    assert.equal(none.frames[0]?.code, 'SESSION_NOT_FOUND');
  });

  it('ends with its client, unless it is to be kept', async () => {
    const gone = await start({command: 'echo up; sleep 5551'});
    await gone.shows('up');
    gone.socket.terminate();
    await eventually('it has ended', async () => !(await alive('^sleep 555[1]')));
    const kept = await start({command: 'echo up; sleep 5552', killOnDisconnect: false});
    await kept.shows('up');
    kept.socket.terminate();
    const later = await start({command: 'sleep 0.5; pgrep -f "^sleep 555[2]" && pkill -f "^sleep 555[2]"'});
    await later.closed;
    assert.match(later.out, /\d/, 'it goes on');
  });

  it('sends no more of each stream than was asked for', async () => {
    const running = await start({command: 'seq 1 100000; seq 1 100000 >&2; exit 7', maxOutputBytes: 10});
    assert.equal(await running.closed, 1000);
    assert.deepEqual([running.out, running.err], ['1\n2\n3\n4\n5\n', '1\n2\n3\n4\n5\n']);
    const end = running.frames.at(-1);
    assert.deepEqual([end.exitCode, end.truncated], [7, true]);
    const whole = await start({command: 'echo 1', maxOutputBytes: 2});
    await whole.closed;
    assert.deepEqual([whole.out, whole.frames.at(-1).truncated], ['1\n', false]);
  });

  it('lets a client that reads slowly have everything', async () => {
    const running = await start({command: 'head -c 30000000 /dev/zero | tr "\\0" x'});
    running.socket.pause();
    const before = daemon.residentBytes();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.ok(daemon.residentBytes() - before < 20 << 20, 'what nobody reads is not kept');
    running.socket.resume();
    assert.equal(await running.closed, 1000);
    assert.equal(running.out.length, 30000000);
  });

  it('runs on a terminal', async () => {
    const running = await start({tty: true, cols: 91, rows: 37, env: {WORD: 'said'}, user: '1000:1000',
                                 command: 'tty; stty size; id -u; echo $WORD; read line; stty size; echo "got $line" >&2; exit 5'});
    await running.shows('said\r\n');
    assert.match(running.out, /^\/dev\/pts\/\d+\r\n37 91\r\n1000\r\nsaid\r\n/);
    running.socket.send(JSON.stringify({type: 'resize', cols: 50, rows: 20}));
    running.socket.send(Buffer.from('word\n'));
    assert.equal(await running.closed, 1000);
    assert.match(running.out, /20 50\r\ngot word\r\n$/);
    assert.deepEqual([running.frames.at(-1).exitCode, running.err], [5, '']);

    const typed = await start({tty: true, command: 'cat; echo over'});
    typed.socket.send(JSON.stringify({type: 'stdin_end'}));
    await typed.closed;
    assert.match(typed.out, /over\r\n$/);

    const limited = await start({tty: true, command: 'sleep 6661', timeoutMs: 300});
    await limited.closed;
    assert.equal(limited.frames.at(-1).timedOut, true);
    assert.equal(await alive('^sleep 666[1]'), false);

    const gone = await start({tty: true, command: 'echo up; sleep 6662'});
    await gone.shows('up');
    gone.socket.terminate();
    await eventually('it is hung up', async () => !(await alive('^sleep 666[2]')));
    for (const wrong of [{cols: 0}, {rows: 1001}, {tty: 'yes'}, {session: await openSession()}]) {
      const refused = await start({tty: true, command: 'true', ...wrong});
      await refused.closed;
      assert.equal(refused.frames[0]?.code, 'VALIDATION_FAILED', JSON.stringify(wrong));
    }
  });

  it('says why not', async () => {
    for (const [request, code] of [['no json', 'INVALID_JSON'], [{}, 'INVALID_COMMAND'],
                                   [{argv: ['/no/such']}, 'COMMAND_NOT_FOUND'],
                                   [{command: 'true', cwd: 'relative'}, 'VALIDATION_FAILED'],
                                   [{command: 'true', encoding: 'base64'}, 'VALIDATION_FAILED'],
                                   [{command: 'true', maxOutputBytes: -1}, 'VALIDATION_FAILED'],
                                   [{command: 'true', killOnDisconnect: 1}, 'VALIDATION_FAILED'],
                                   [{command: 'true', session: 7}, 'VALIDATION_FAILED']]) {
      const running = await start(request);
      await running.closed;
      assert.equal(running.frames[0]?.code, code, JSON.stringify(request));
    }
    const plain = await daemon.request('', {path: '/v1/sandboxes/demo/exec/ws'});
    assert.equal(plain.status, 426);
  });
});
