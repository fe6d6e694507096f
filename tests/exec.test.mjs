// SPDX-License-Identifier: Apache-2.0
// POST /v1/sandboxes/{id}/exec: what a command gets, and what is said of it.

import assert from 'node:assert/strict';
import http from 'node:http';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {events, open} from './support/http.mjs';
import {eventBytes} from './support/sandbox.mjs';

describe('exec', () => {
  let daemon;
  let box;
  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('exec');
    await box.create();
  });
  after(() => daemon.cleanup());

  const path = '/v1/sandboxes/exec/exec';
  const post = (json, options = {}) => daemon.request('', {method: 'POST', path, json, ...options});
  async function exec(json) {
    const answer = await post(json);
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  }
  async function refused(json, status, code) {
    const answer = await post(json);
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.json().code, code, answer.text);
  }
  const start = (json, accept) => open(daemon.port, {
    host: daemon.bare, method: 'POST', path, json, headers: {Accept: accept}});
  async function stream(json) {
    const answer = await start(json, 'text/event-stream');
    assert.equal(answer.status, 200);
    const all = [];
    for await (const event of events(answer.stream)) all.push(event);
    const bytes = (type) => Buffer.concat(all.filter((one) => one.type === type).map(eventBytes));
    return {all, last: all.at(-1), stdout: bytes('stdout'), stderr: bytes('stderr')};
  }
  const running = async (pattern) => (await exec({argv: ['pgrep', '-f', pattern]})).stdout !== '';

  it('runs a program with arguments, or a command line', async () => {
    const ran = await exec({argv: ['printf', '%s|', 'a b', '$HOME', '*']});
    assert.equal(ran.stdout, 'a b|$HOME|*|');
    assert.equal(ran.success, true);
    assert.equal(ran.exitCode, 0);
    assert.equal(ran.truncated, false);
    assert.ok(ran.pid > 1);
    assert.ok(ran.durationMs > 0);
    assert.ok(ran.maxRssBytes > 100_000, JSON.stringify(ran));
    const failed = await exec({command: 'echo out; echo err >&2; exit 3'});
    assert.deepEqual([failed.stdout, failed.stderr, failed.exitCode, failed.success],
                     ['out\n', 'err\n', 3, false]);
  });

  it('says what a command has used', async () => {
    const ran = await exec({argv: ['python3', '-c', 'x = bytearray(80 << 20)\nfor i in range(3000000): pass']});
    assert.ok(ran.maxRssBytes > 80 << 20, JSON.stringify(ran));
    assert.ok(ran.cpuMs > 10, JSON.stringify(ran));
  });

  it('gives a command its directory, environment, stdin and user', async () => {
    const env = {A: 'x y', GONE: null, EMPTY: ''};
    const ran = await exec({command: 'pwd; echo "$A|${GONE-unset}|${EMPTY-unset}"; cat', cwd: '/usr',
                            env, stdin: 'häh\n'});
    assert.equal(ran.stdout, '/usr\nx y|unset|\nhäh\n');
    assert.equal((await exec({argv: ['pwd']})).stdout, '/workspace\n');
    const bytes = Buffer.from([0, 255, 10, 0]);
    const fed = await exec({argv: ['cat'], stdinBase64: bytes.toString('base64'), encoding: 'base64'});
    assert.deepEqual(Buffer.from(fed.stdout, 'base64'), bytes);
    const who = 'id -u; id -g; echo $HOME $USER';
    assert.equal((await exec({command: who, user: 'nobody'})).stdout, '65534\n65534\n/nonexistent nobody\n');
    assert.equal((await exec({command: 'id -u; id -g', user: '1234:7'})).stdout, '1234\n7\n');
    await exec({command: 'echo grouped:x:4321:4321::/:/bin/sh >> /etc/passwd; sed -i "s/^\\(audio\\|video\\):.*:$/&grouped/" /etc/group'});
    assert.equal((await exec({command: 'id -G', user: 'grouped'})).stdout, (await exec({command: 'id -G grouped'})).stdout);
    assert.match((await exec({command: 'id -nG', user: 'grouped'})).stdout, /audio.*video/);
    assert.equal((await exec({command: 'id -G'})).stdout, '0\n');
    assert.equal((await exec({command: 'id -u; id -g', user: 'root:daemon'})).stdout, '0\n1\n');
  });

  it('feeds a large stdin while it takes the output', async () => {
    const ran = await exec({command: 'cat', stdin: 'x'.repeat(5_000_000)});
    assert.equal(ran.stdout.length, 5_000_000);
    // Who does not read it ends all the same.
    assert.equal((await exec({argv: ['true'], stdin: 'x'.repeat(5_000_000)})).exitCode, 0);
  });

  it('gives every byte as it was', async () => {
    const written = await exec({command: "printf 'no newline'; printf '\\n\\n' >&2"});
    assert.equal(written.stdout, 'no newline');
    assert.equal(written.stderr, '\n\n');
    const raw = await exec({command: "printf 'a\\0b\\377c'"});
    assert.equal(raw.stdoutEncoding, 'base64');
    assert.deepEqual(Buffer.from(raw.stdout, 'base64'), Buffer.from([97, 0, 98, 255, 99]));
    const nul = await exec({command: "printf 'a\\0b'"});
    assert.equal(nul.stdoutEncoding, 'utf-8');
    assert.equal(nul.stdout, 'a\0b');
    const cut = await stream({command: "printf '\\303'; sleep 0.2; printf '\\244'; printf '\\377'"});
    assert.deepEqual(cut.stdout, Buffer.from([0xc3, 0xa4, 0xff]));
    assert.equal(cut.all.find((one) => one.type === 'stdout').data, 'ä');
  });

  it('drops what is past the limit, and says so', async () => {
    const ran = await exec({command: 'seq 100000; echo e >&2', maxOutputBytes: 10});
    assert.equal(ran.stdout, '1\n2\n3\n4\n5\n');
    assert.equal(ran.truncated, true);
    assert.equal(ran.stdoutTruncated, true);
    assert.equal(ran.stderr, 'e\n');
    assert.equal(ran.exitCode, 0);
    const text = await exec({command: "printf 'äää'", maxOutputBytes: 3});
    assert.deepEqual([text.stdout, text.stdoutEncoding], ['ä', 'utf-8']);
    const streamed = await stream({command: 'seq 100000', maxOutputBytes: 4});
    assert.equal(streamed.stdout.toString(), '1\n2\n');
    assert.equal(streamed.last.truncated, true);
  });

  it('streams as events or as bytes', async () => {
    const streamed = await stream({command: 'echo one; echo two >&2; exit 4'});
    assert.equal(streamed.all[0].type, 'start');
    assert.ok(streamed.all[0].pid > 1);
    assert.equal(streamed.stdout.toString(), 'one\n');
    assert.equal(streamed.stderr.toString(), 'two\n');
    assert.deepEqual([streamed.last.type, streamed.last.exitCode, streamed.last.success],
                     ['complete', 4, false]);
    const raw = await start({command: 'head -c 3000000 /dev/zero; echo nothing >&2'},
                            'application/octet-stream');
    let bytes = 0;
    for await (const part of raw.stream) bytes += part.length;
    assert.equal(bytes, 3_000_000);
  });

  it('refuses what cannot run, by name', async () => {
    await refused({}, 400, 'INVALID_COMMAND');
    await refused({command: 'a', argv: ['b']}, 400, 'INVALID_COMMAND');
    await refused({argv: ['']}, 400, 'INVALID_COMMAND');
    await refused({argv: ['no-such-program']}, 404, 'COMMAND_NOT_FOUND');
    await refused({argv: ['/etc/passwd']}, 403, 'COMMAND_PERMISSION_DENIED');
    await refused({argv: ['true'], cwd: '/nowhere'}, 400, 'VALIDATION_FAILED');
    await refused({argv: ['true'], cwd: 'relative'}, 400, 'VALIDATION_FAILED');
    await refused({argv: ['true'], user: 'no-such-user'}, 400, 'USER_NOT_FOUND');
    await refused({argv: ['true'], env: {'1A': ''}}, 400, 'VALIDATION_FAILED');
    await refused({argv: ['true'], timeoutMs: 0}, 400, 'VALIDATION_FAILED');
    await refused({argv: ['true'], stdinBase64: '*'}, 400, 'VALIDATION_FAILED');
    const nobody = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/none/exec', json: {argv: ['true']}});
    assert.equal(nobody.status, 404);
  });

  it('ends what has no more time, even what ignores it', async () => {
    const polite = await exec({command: 'echo before; sleep 1000', timeoutMs: 300});
    assert.deepEqual([polite.exitCode, polite.timedOut, polite.stdout, polite.success],
                     [124, true, 'before\n', false]);
    const rude = await exec({command: 'trap "" TERM; (trap "" TERM; exec sleep 7771) & sleep 7772', timeoutMs: 200});
    assert.equal(rude.timedOut, true);
    assert.equal(await running('sleep 777[12]'), false);
    const quick = await exec({command: 'true', timeoutMs: 60_000});
    assert.equal(quick.timedOut, false);
  });

  it('says which signal ended it, and that memory did', async () => {
    const killed = await exec({command: 'kill -SEGV $$'});
    assert.deepEqual([killed.signal, killed.exitCode], ['SIGSEGV', 139]);
    const small = daemon.sandbox('small');
    await small.create({memory: '128M'});
    const answer = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/small/exec', json: {
      argv: ['python3', '-c', 'x = bytearray(600 << 20)']}});
    assert.equal(answer.json().oomKilled, true, answer.text);
  });

  it('ends with its output although a child of it holds the pipes', async () => {
    const ran = await exec({command: 'sleep 5551 & echo done'});
    assert.equal(ran.stdout, 'done\n');
    await exec({command: 'pkill -f "sleep 555[1]"'});
    const closed = await exec({command: 'exec >&- 2>&-; sleep 0.3; exit 9'});
    assert.equal(closed.exitCode, 9);
  });

  it('ends with its client wherever that leaves, unless it is to be kept', async () => {
    for (const accept of ['application/json', 'text/event-stream', 'application/octet-stream']) {
      const request = http.request({host: '127.0.0.1', port: daemon.port, method: 'POST', path, agent: false,
                                    headers: {Host: daemon.bare, Accept: accept}});
      request.on('error', () => {});
      request.end(JSON.stringify({command: 'sleep 6661 & setsid sleep 6662 & (sleep 6663 &); sleep 6664'}));
      await eventually('it runs', () => running('^sleep 666[4]'));
      request.destroy();
      await eventually('its group is gone', async () => !await running('^sleep 666[134]'));
    }
    await exec({command: 'pkill -f "sleep 666[2]"'});
    const kept = await start({command: 'for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.2; done; echo end > /tmp/kept',
                              killOnDisconnect: false}, 'text/event-stream');
    for await (const event of events(kept.stream)) if (event.type === 'stdout') break;
    kept.close();
    await eventually('it has ended by itself', async () => (await exec({command: 'cat /tmp/kept'})).stdout === 'end\n');
    const limited = await start({command: 'echo on; sleep 8881', killOnDisconnect: false, timeoutMs: 1500},
                                'text/event-stream');
    for await (const event of events(limited.stream)) if (event.type === 'stdout') break;
    limited.close();
    await eventually('its time has passed', async () => !await running('sleep 888[1]'));
  });

  it('waits for a slow reader, in bounded memory', async () => {
    const before = daemon.residentBytes();
    const slow = await start({command: 'head -c 300000000 /dev/zero; echo'}, 'application/octet-stream');
    slow.stream.pause();
    await sleep(1500);
    assert.ok(daemon.residentBytes() - before < 40 << 20, `${daemon.residentBytes() - before}`);
    let bytes = 0;
    for await (const part of slow.stream) bytes += part.length;
    assert.equal(bytes, 300_000_001);
  });

  it('runs many at once', async () => {
    const all = await Promise.all(Array.from({length: 60}, (_, i) => exec({command: `echo ${i}; sleep 0.2`})));
    assert.deepEqual(all.map((one) => one.stdout), all.map((_, i) => `${i}\n`));
  });
});
