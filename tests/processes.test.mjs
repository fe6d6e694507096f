// SPDX-License-Identifier: Apache-2.0
// /v1/sandboxes/{id}/processes: programs in the background, what they write, and waiting for them.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {events, open} from './support/http.mjs';
import {eventBytes} from './support/sandbox.mjs';

describe('processes', () => {
  let daemon;
  let box;
  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('proc');
    await box.create();
  });
  after(() => daemon.cleanup());

  const base = '/v1/sandboxes/proc/processes';
  const ask = (method, path = '', json = undefined) =>
    daemon.request('', {method, path: base + path, json});
  async function ok(method, path, json) {
    const answer = await ask(method, path, json);
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  }
  async function refused(method, path, json, status, code) {
    const answer = await ask(method, path, json);
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.json().code, code, answer.text);
  }
  const start = (json) => ok('POST', '', typeof json === 'string' ? {command: json} : json);
  const ended = async (id) => (await ok('GET', `/${id}/wait?for=exit`)).process;
  const text = (chunks, stream) => Buffer.concat(
    chunks.filter((one) => one.stream === stream).map(eventBytes)).toString();
  const running = async (pattern) => (await box.run(`pgrep -f '${pattern}'`)).stdout !== '';

  it('run in the background, and their ends are told', async () => {
    const made = await start({id: 'first', command: 'echo out; echo err >&2; exit 3', env: {A: 'b'}});
    assert.equal(made.id, 'first');
    assert.ok(made.pid > 1);
    const process = await ended('first');
    assert.deepEqual([process.status, process.exitCode, process.command],
                     ['exited', 3, 'echo out; echo err >&2; exit 3']);
    assert.ok(process.endTime >= process.startTime);
    const logs = await ok('GET', '/first/logs');
    assert.equal(text(logs.chunks, 'stdout'), 'out\n');
    assert.equal(text(logs.chunks, 'stderr'), 'err\n');
    assert.equal(logs.nextOffset, 8);
    assert.ok((await ok('GET')).processes.some((one) => one.id === 'first'));
    // Programs inside can read it, too.
    assert.equal((await box.sh('sort /var/log/atoll/first.log')), 'err\nout\n');
    const unnamed = await start({argv: ['sh', '-c', 'kill -9 $$']});
    const killed = await ended(unnamed.id);
    assert.deepEqual([killed.status, killed.signal, killed.exitCode], ['killed', 'SIGKILL', 137]);
  });

  it('refuse what cannot run, by name', async () => {
    await refused('POST', '', {}, 400, 'INVALID_COMMAND');
    await refused('POST', '', {argv: ['no-such-program']}, 404, 'COMMAND_NOT_FOUND');
    await refused('POST', '', {command: 'true', id: '../x'}, 400, 'VALIDATION_FAILED');
    await refused('POST', '', {command: 'true', restart: 'sometimes'}, 400, 'VALIDATION_FAILED');
    await refused('GET', '/none', undefined, 404, 'PROCESS_NOT_FOUND');
    await refused('DELETE', '/none', undefined, 404, 'PROCESS_NOT_FOUND');
    await refused('GET', '/none/logs', undefined, 404, 'PROCESS_NOT_FOUND');
    await refused('GET', '/none/wait', undefined, 404, 'PROCESS_NOT_FOUND');
    await refused('GET', '/none/wait?for=port&port=1', undefined, 404, 'PROCESS_NOT_FOUND');
    await start({id: 'busy', command: 'sleep 1000'});
    await refused('POST', '', {id: 'busy', command: 'true'}, 409, 'PROCESS_ALREADY_EXISTS');
    await ok('DELETE', '/busy');
    // The id of one that has ended is free.
    assert.equal((await start({id: 'busy', command: 'true'})).status, 'running');
  });

  it('give every byte once, wherever a reader goes on', async () => {
    await start({id: 'bytes', command: "printf 'a\\0\\377'; sleep 0.3; seq 50000; printf end"});
    await ended('bytes');
    let offset = 0;
    const parts = [];
    for (;;) {
      const logs = await ok('GET', `/bytes/logs?offset=${offset}&limit=10007`);
      if (logs.chunks.length === 0) break;
      for (const chunk of logs.chunks) {
        assert.equal(chunk.offset, offset);
        parts.push(eventBytes(chunk));
        offset += parts.at(-1).length;
      }
      assert.equal(logs.nextOffset, offset);
    }
    const lines = Array.from({length: 50000}, (_, i) => `${i + 1}\n`).join('');
    assert.deepEqual(Buffer.concat(parts), Buffer.concat([Buffer.from([97, 0, 255]), Buffer.from(lines + 'end')]));
  });

  it('are followed while they run, and end with their streams', async () => {
    await start({id: 'live', command: 'for i in 1 2 3; do echo $i; sleep 0.2; done; exit 7'});
    const answer = await open(daemon.port, {host: daemon.bare, path: `${base}/live/logs?follow=1`});
    const all = [];
    for await (const event of events(answer.stream)) all.push(event);
    assert.equal(all.filter((one) => one.type === 'stdout').map((one) => one.data).join(''), '1\n2\n3\n');
    assert.deepEqual([all.at(-1).type, all.at(-1).exitCode], ['exit', 7]);
  });

  it('get signals, and end with all that they started', async () => {
    await start({id: 'trap', command: 'trap "echo got" HUP; echo ready; while :; do sleep 0.05; done'});
    await ok('GET', '/trap/wait?for=log&pattern=ready');
    await ok('POST', '/trap/signal', {signal: 'SIGHUP'});
    await ok('GET', '/trap/wait?for=log&pattern=got');
    await refused('POST', '/trap/signal', {signal: 'NONE'}, 400, 'VALIDATION_FAILED');
    assert.equal((await ok('DELETE', '/trap')).status, 'killed');
    await start({id: 'rude', command: 'trap "" TERM; (trap "" TERM; exec sleep 4441) & (setsid sleep 4443 &) ; sleep 4442'});
    await eventually('they run', () => running('^sleep 444[2]'));
    assert.equal((await ok('DELETE', '/rude')).status, 'killed');
    assert.equal(await running('^sleep 444[123]'), false, 'nor what has made a session of its own');
    await refused('POST', '/rude/signal', {signal: 9}, 404, 'PROCESS_NOT_FOUND');
    await start({id: 'early', command: 'setsid sleep 4445 & exit 3'});
    await ended('early');
    await eventually('what it has left runs', () => running('^sleep 444[5]'));
    assert.equal((await ok('DELETE', '/early')).status, 'exited');
    assert.equal(await running('^sleep 444[5]'), false, 'nor what an ended one has left');
    await start('sleep 3331');
    await start('sleep 3332');
    await ok('DELETE', '');
    assert.equal(await running('^sleep 333[12]'), false);
  });

  it('start again as they are told to', async () => {
    await start({id: 'again', command: 'echo run; echo >> /tmp/again; [ $(wc -l < /tmp/again) -ge 3 ]', restart: 'on-failure'});
    const process = await ended('again');
    assert.deepEqual([process.restarts, process.exitCode], [2, 0]);
    assert.equal(text((await ok('GET', '/again/logs')).chunks, 'stdout'), 'run\n'.repeat(3));
    await start({id: 'always', command: 'true', restart: 'always'});
    await eventually('it has started again', async () => (await ok('GET', '/always')).restarts >= 1);
    assert.equal((await ok('DELETE', '/always')).status, 'killed');
  });

  it('are waited for', async () => {
    await start({id: 'web', command: 'sleep 0.5; exec python3 -m http.server 8123'});
    assert.equal((await ok('GET', '/web/wait?for=port&port=8123&path=/&timeoutMs=20000')).status, 200);
    await refused('GET', '/web/wait?for=port&port=8123&path=/none&timeoutMs=500', undefined, 408, 'PROCESS_READY_TIMEOUT');
    assert.equal((await ok('GET', '/web/wait?for=port&port=8123&path=/none&status=404')).status, 404);
    const hit = await ok('GET', `/web/wait?for=log&regex=${encodeURIComponent('GET (/\\w+) ')}`);
    assert.deepEqual([hit.stream, hit.groups], ['stderr', ['/none']]);
    await refused('GET', '/web/wait?for=exit&timeoutMs=200', undefined, 408, 'PROCESS_READY_TIMEOUT');
    await refused('GET', '/web/wait?for=log&regex=(', undefined, 400, 'VALIDATION_FAILED');
    await refused('GET', '/web/wait?for=never', undefined, 400, 'VALIDATION_FAILED');
    await ok('DELETE', '/web');
    await start({id: 'brief', command: 'sleep 0.3; exit 5'});
    await refused('GET', '/brief/wait?for=port&port=9', undefined, 500, 'PROCESS_EXITED_BEFORE_READY');
    await refused('GET', '/brief/wait?for=log&pattern=x', undefined, 500, 'PROCESS_EXITED_BEFORE_READY');
    // What an expression costs is bounded.
    await start({id: 'evil', command: 'printf "a%.0s" $(seq 30000); echo; sleep 1000'});
    await refused('GET', `/evil/wait?for=log&timeoutMs=3000&regex=${encodeURIComponent('(a*)*b')}`, undefined,
                  408, 'PROCESS_READY_TIMEOUT');
    await ok('DELETE', '/evil');
  });

  it('are waited for at a port that only takes connections', async () => {
    await start({id: 'tcp', command: `sleep 0.3; exec python3 -c '
import socket, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 8124)); s.listen(); time.sleep(1000)'`});
    const ready = await ok('GET', '/tcp/wait?for=port&port=8124&timeoutMs=20000');
    assert.equal(ready.process?.id ?? 'tcp', 'tcp');
    assert.equal((await ok('GET', '/tcp')).status, 'running');
    await refused('GET', '/tcp/wait?for=port&port=8125&timeoutMs=300', undefined, 408, 'PROCESS_READY_TIMEOUT');
    await ok('DELETE', '/tcp');
  });

  it('run on when they close what they write to', async () => {
    await start({id: 'closes', command: 'echo before; exec >&- 2>&-; while [ ! -e /tmp/go ]; do sleep 0.02; done; exit 6'});
    await ok('GET', '/closes/wait?for=log&pattern=before');
    await refused('GET', '/closes/wait?for=exit&timeoutMs=300', undefined, 408, 'PROCESS_READY_TIMEOUT');
    assert.equal((await ok('GET', '/closes')).status, 'running');
    await box.sh('touch /tmp/go');
    assert.equal((await ended('closes')).exitCode, 6);
    assert.equal(text((await ok('GET', '/closes/logs')).chunks, 'stdout'), 'before\n');
  });

  it('leave alone what they have left running, which may write what nobody reads', async () => {
    const child = 'while [ ! -e /tmp/later ]; do sleep 0.02; done; head -c 300000 /dev/zero && echo late >&2 && touch /tmp/survived';
    await start({id: 'parent', command: `setsid bash -c '${child}' & echo early`});
    assert.equal((await ended('parent')).exitCode, 0);
    assert.equal(text((await ok('GET', '/parent/logs')).chunks, 'stdout'), 'early\n');
    await box.sh('touch /tmp/later');
    await eventually('it goes on', async () => (await box.run('test -e /tmp/survived')).exitCode === 0);
    assert.equal(text((await ok('GET', '/parent/logs')).chunks, 'stdout'), 'early\n', 'a log ends with its process');
  });

  it('outlive a daemon that is killed, and their output goes on where it was', async () => {
    await start({id: 'long', command: 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done'});
    await ok('GET', '/long/wait?for=log&pattern=5');
    const first = await ok('GET', '/long/logs');
    await daemon.kill9();
    await daemon.launch();
    await ok('GET', '/long/wait?for=log&pattern=100');
    const rest = await ok('GET', `/long/logs?offset=${first.nextOffset}`);
    const lines = (text(first.chunks, 'stdout') + text(rest.chunks, 'stdout')).split('\n').slice(0, -1);
    assert.deepEqual(lines, lines.map((_, i) => `${i + 1}`));
    assert.ok(lines.length >= 100);
    assert.equal((await ok('GET', '/long')).pid, rest.process.pid);
    await ok('DELETE', '/long');
  });

  it('leave a bounded trace, however many there were', async () => {
    for (let round = 0; round < 52; ++round) {
      await Promise.all(Array.from({length: 20}, () => start({argv: ['true']})));
    }
    await eventually('all have ended', async () =>
      (await ok('GET')).processes.every((one) => one.status !== 'running'));
    const {processes} = await ok('GET');
    assert.ok(processes.length <= 1000 && processes.length >= 900, `${processes.length}`);
    const files = Number(await box.sh('ls /var/log/atoll | wc -l'));
    assert.ok(files <= 1001, `${files}`);
  });
});
