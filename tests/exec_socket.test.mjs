// SPDX-License-Identifier: Apache-2.0
// Commands on a WebSocket: input as it is typed, both streams as they come.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import WebSocket from 'ws';

import {Daemon} from './support/daemon.mjs';

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

  it('says why not', async () => {
    for (const [request, code] of [['no json', 'INVALID_JSON'], [{}, 'INVALID_COMMAND'],
                                   [{argv: ['/no/such']}, 'COMMAND_NOT_FOUND'],
                                   [{command: 'true', cwd: 'relative'}, 'VALIDATION_FAILED']]) {
      const running = await start(request);
      await running.closed;
      assert.equal(running.frames[0]?.code, code, JSON.stringify(request));
    }
    const plain = await daemon.request('', {path: '/v1/sandboxes/demo/exec/ws'});
    assert.equal(plain.status, 426);
  });
});
