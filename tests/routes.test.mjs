// SPDX-License-Identifier: Apache-2.0
// The shapes of the routes, and what a command's stream says.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {assertError, open} from './support/http.mjs';
import {eventBytes} from './support/sandbox.mjs';

describe('routes', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('routes');
    await box.create();
  });
  after(() => daemon?.cleanup());

  describe('create, list, delete', () => {
    it('is healthy', async () => {
      const answer = await daemon.request('', {path: '/health'});
      assert.equal(answer.status, 200);
      assert.equal(answer.json().status, 'ok');
    });

    it('lists a sandbox with its state and limits', async () => {
      const [one] = (await daemon.list()).filter((each) => each.id === 'routes');
      assert.equal(one.url, daemon.url('routes'));
      assert.equal(one.state, 'running');
      assert.equal(one.opencode, 'stopped');
      assert.equal(one.image, 'default');
      assert.ok(!Number.isNaN(Date.parse(one.createdAt)));
      for (const key of ['memory', 'cpus', 'pids']) assert.ok(key in one, key);
      assert.deepEqual(one.snapshots, {onStop: true, onStart: true, interval: '10m',
                                       paths: ['/home', '/root', '/workspace']});
    });

    it('creates again without a second sandbox, and keeps its files', async () => {
      await box.sh('echo kept > /workspace/kept');
      const again = await box.create();
      assert.equal(again.id, 'routes');
      assert.equal(await box.sh('cat /workspace/kept'), 'kept\n');
      assert.equal((await daemon.ids()).filter((id) => id === 'routes').length, 1);
    });

    it('creates once when asked many times at once', async () => {
      const many = daemon.sandbox('crowd');
      const made = await Promise.all(Array.from({length: 6}, () => many.create()));
      assert.equal(made.length, 6);
      assert.deepEqual((await daemon.ids()).filter((id) => id === 'crowd'), ['crowd']);
      assert.equal((await many.delete()).status, 204);
    });

    it('takes a body that is not there, limits and environment', async () => {
      const small = daemon.sandbox('small');
      await small.create({memory: '2G', cpus: 1, pids: 200, env: {GREETING: 'hello there'}});
      assert.equal(await small.sh('echo $GREETING'), 'hello there\n');
      const answer = await small.post('/create', undefined, {json: undefined});
      assert.equal(answer.status, 200, answer.text);
      assert.equal((await small.delete()).status, 204);
    });

    it('does the same on the bare domain', async () => {
      const at = (path, options) => daemon.request('', {path: '/v1/sandboxes/bare' + path, ...options});
      const made = await at('/create', {method: 'POST', json: {opencode: false}});
      assert.equal(made.status, 200, made.text);
      assert.equal(made.json().url, daemon.url('bare'));
      const ran = await at('/run', {method: 'POST', json: {command: 'echo hi > a; cat a'}});
      assert.match(ran.headers['content-type'], /^text\/event-stream/);
      assert.match(ran.text, /"data":"hi\\n"/);
      const kept = (await at('/snapshot', {method: 'POST', json: {dir: '/workspace', name: 'first'}})).json();
      const list = (await at('/snapshots')).json().snapshots;
      assert.equal(list.length, 1);
      assert.equal(list[0].snapshotId, kept.snapshotId);
      assert.equal(list[0].dir, '/workspace');
      assert.equal(list[0].name, 'first');
      assert.equal(list[0].sandbox, 'bare');
      assert.equal(list[0].trigger, 'manual');
      assert.equal(list[0].files, 1);
      assert.equal(list[0].bytes, 3);
      assert.equal(typeof list[0].bytesAdded, 'number');
      assert.equal(list[0].pinned, false);
      assert.ok(!Number.isNaN(Date.parse(list[0].createdAt)));
      const restored = await at('/restore/' + kept.snapshotId, {method: 'POST'});
      assert.equal(restored.status, 200, restored.text);
      assert.equal((await at('', {method: 'DELETE'})).status, 204);
      assertError(await at('', {method: 'DELETE'}), 404, 'SANDBOX_NOT_FOUND');
    });

    it('gives a sandbox that is created again a fresh file system', async () => {
      const again = daemon.sandbox('again');
      await again.create();
      await again.sh('touch /workspace/old');
      assert.equal((await again.delete()).status, 204);
      await again.create();
      assert.equal(await again.sh('ls /workspace'), '');
      await again.delete();
    });

    it('says 404 for a sandbox that was never created', async () => {
      const never = daemon.sandbox('never');
      assertError(await never.post('/run', {command: 'true'}), 404, 'SANDBOX_NOT_FOUND');
      assertError(await never.post('/snapshot', {dir: '/workspace'}), 404, 'SANDBOX_NOT_FOUND');
      assertError(await never.post('/gitClone', {repo: 'https://example.org/a.git'}), 404,
                  'SANDBOX_NOT_FOUND');
      assertError(await never.delete(), 404, 'SANDBOX_NOT_FOUND');
      const page = await daemon.request('never', {headers: {Accept: 'text/html'}});
      assert.equal(page.status, 404);
      assert.match(page.headers['content-type'], /^text\/html/);
      assert.match(page.text, /create/i);
    });

    it('serves the dashboard with a strict policy and no foreign host', async () => {
      const page = await daemon.request('', {headers: {Accept: 'text/html'}});
      assert.equal(page.status, 200);
      const policy = page.headers['content-security-policy'];
      assert.match(policy, /default-src 'none'/);
      assert.match(policy, /frame-ancestors 'none'/);
      assert.doesNotMatch(policy, /unsafe-/);
      for (const [, path] of page.text.matchAll(/(?:src|href)="(\/[^"]+)"/g)) {
        const file = await daemon.request('', {path});
        assert.equal(file.status, 200, path);
        assert.match(file.headers['content-type'], path.endsWith('.js') ? /javascript/ :
                     path.endsWith('.css') ? /^text\/css/ : /^image\/svg\+xml/);
      }
      assert.doesNotMatch(page.text, /(?:src|href)="(?:https?:)?\/\//);
    });

    it('says 404 or 405 for routes that do not exist', async () => {
      for (const [method, path] of [['GET', '/v1/nothing'], ['GET', '/v1/sandboxes/routes/nothing'],
                                    ['POST', '/v1/sandboxes/routes'], ['PUT', '/v1/sandboxes']]) {
        const answer = await daemon.request('', {method, path});
        assert.ok([404, 405].includes(answer.status), `${method} ${path}: ${answer.status}`);
      }
    });
  });

  describe('run', () => {
    it('streams start, output and completion', async () => {
      const {events} = await box.run('echo out; echo err >&2; exit 7');
      assert.equal(events[0].type, 'start');
      assert.equal(events[0].command, 'echo out; echo err >&2; exit 7');
      for (const event of events) {
        assert.match(event.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
      }
      const last = events.at(-1);
      assert.equal(last.type, 'complete');
      assert.equal(last.exitCode, 7);
      assert.ok(!last.timedOut);
      assert.deepEqual(events.filter((one) => one.type === 'stdout').map((one) => one.data), ['out\n']);
      assert.deepEqual(events.filter((one) => one.type === 'stderr').map((one) => one.data), ['err\n']);
    });

    it('is root in /workspace with HOME=/root and the id as host name', async () => {
      assert.equal(await box.sh('id -u; pwd; echo $HOME; hostname'), '0\n/workspace\n/root\nroutes\n');
    });

    it('passes output on as it comes', async () => {
      // The rest is written only once the first output was seen here.
      await box.sh('mkfifo /tmp/wait');
      const run = await box.start('echo first; cat /tmp/wait');
      const seen = [];
      for await (const event of run.events) {
        if (event.type === 'stdout') {
          seen.push(event.data);
          if (seen.length === 1) await box.sh('echo second > /tmp/wait');
        }
      }
      assert.deepEqual(seen, ['first\n', 'second\n']);
    });

    it('has a directory and an environment when given', async () => {
      await box.sh('mkdir -p /tmp/elsewhere');
      const out = await box.sh('pwd; echo "$A|$B"', {cwd: '/tmp/elsewhere', env: {A: 'one two', B: '$HOME'}});
      assert.equal(out, '/tmp/elsewhere\none two|$HOME\n');
    });

    it('refuses a directory that is missing or a file', async () => {
      assertError(await box.post('/run', {command: 'true', cwd: '/nowhere'}), 400);
      assertError(await box.post('/run', {command: 'true', cwd: '/etc/passwd'}), 400);
    });

    it('keeps bytes: base64 where they are not UTF-8', async () => {
      const {events, stdoutBytes} = await box.run(String.raw`printf 'a\377b\000c'`);
      assert.deepEqual(stdoutBytes, Buffer.from([0x61, 0xff, 0x62, 0x00, 0x63]));
      const encoded = events.filter((one) => one.base64 !== undefined);
      assert.ok(encoded.length > 0);
      for (const event of encoded) assert.ok(!('data' in event));
    });

    it('never splits a code point', async () => {
      const wanted = 'aé漢🌴'.repeat(30_000);
      await box.write('/tmp/make.py', 'import sys\nsys.stdout.write("aé漢🌴" * 30000)\n');
      const {events, stdout} = await box.run('python3 /tmp/make.py');
      assert.equal(stdout, wanted);
      for (const event of events.filter((one) => one.type === 'stdout')) {
        assert.equal(event.base64, undefined, 'valid UTF-8 is text');
        assert.doesNotMatch(event.data, /\ufffd/);
      }
      // In two writes with time in between, the first cut inside a code point.
      const slow = await box.run(String.raw`printf '\360\237'; sleep 0.3; printf '\214\264'`);
      assert.equal(slow.stdout, '🌴');
      assert.ok(slow.events.every((one) => one.base64 === undefined));
    });

    it('gives an unfinished code point at the end as bytes', async () => {
      const {stdoutBytes, exitCode} = await box.run(String.raw`printf 'x\360\237'`);
      assert.deepEqual(stdoutBytes, Buffer.from([0x78, 0xf0, 0x9f]));
      assert.equal(exitCode, 0);
    });

    it('carries much output whole', async () => {
      const {stdoutBytes} = await box.run('seq 1 500000');
      const lines = stdoutBytes.toString().split('\n');
      assert.equal(lines.length, 500_001);
      assert.equal(lines[499_999], '500000');
    });

    it('ends with 124 after a timeout, and the whole group is gone', async () => {
      const {last} = await box.run('sleep 4321 & sleep 4321', {timeout: 400});
      assert.equal(last.type, 'complete');
      assert.equal(last.exitCode, 124);
      assert.equal(last.timedOut, true);
      await eventually('sleepers are gone', async () => await box.sh('pgrep -fc "^sleep 4321" || true') === '0\n');
    });

    it('ends with 124 when the command ignores SIGTERM', async () => {
      const {last} = await box.run('trap "" TERM; while :; do sleep 0.1; done', {timeout: 300});
      assert.equal(last.exitCode, 124);
      assert.equal(last.timedOut, true);
    });

    it('ends what ignores SIGTERM when the shell itself obeys it', async () => {
      const {last} = await box.run('(trap "" TERM; exec sleep 4242) & wait', {timeout: 1500});
      assert.equal(last.exitCode, 124);
      assert.equal(last.timedOut, true);
      await eventually('it is gone', async () => await box.sh('pgrep -fc "^sleep 4242" || true') === '0\n');
    });

    it('says 128+n for signal n', async () => {
      assert.equal((await box.run('kill -9 $$')).exitCode, 137);
      assert.equal((await box.run('kill -TERM $$')).exitCode, 143);
      assert.equal((await box.run('kill -SEGV $$')).exitCode, 139);
    });

    it('says 127 for a program that does not exist', async () => {
      const {exitCode, stderr} = await box.run('no-such-program');
      assert.equal(exitCode, 127);
      assert.match(stderr, /not found/);
    });

    it('completes although a background child keeps the output open', async () => {
      const {events, exitCode} = await box.run('sleep 30 & echo done');
      assert.equal(exitCode, 0);
      assert.ok(events.some((one) => one.data === 'done\n'));
    });

    it('reads nothing from standard input', async () => {
      assert.equal(await box.sh('cat; echo end'), 'end\n');
    });

    it('ends the process group when the client goes away', async () => {
      const run = await box.start('echo here; sleep 8642 & sleep 8642');
      for await (const event of run.events) if (event.type === 'stdout') break;
      run.close();
      await eventually('sleepers are gone', async () => await box.sh('pgrep -fc "^sleep 8642" || true') === '0\n');
    });

    it('runs many commands at once', async () => {
      const all = await Promise.all(Array.from({length: 24}, (_, i) => box.sh(`echo ${i}; sleep 0.2`)));
      assert.deepEqual(all, Array.from({length: 24}, (_, i) => `${i}\n`));
    });

    it('leaves no zombies', async () => {
      for (let i = 0; i < 5; i++) await box.run('(sleep 0.01 &) ; true');
      await eventually('no zombies', async () =>
        await box.sh("ps -eo stat= | grep -c '^Z' || true") === '0\n');
    });

    it('keeps the daemon small when the client reads slowly', async () => {
      await box.sh('true');
      const before = daemon.residentBytes();
      const run = await open(daemon.port, {host: daemon.host('routes'), method: 'POST', path: '/run',
                                           json: {command: 'yes flood'}});
      run.stream.pause();
      await sleep(2500);
      const grown = daemon.residentBytes() - before;
      assert.ok(grown < 48 << 20, `grew by ${grown} bytes`);
      const agent = Number((await box.sh("awk '/VmRSS/{print $2}' /proc/1/status")).trim());
      assert.ok(agent < 32 << 10, `the agent holds ${agent} KiB`);
      assert.equal(await box.sh('echo still here'), 'still here\n');
      run.stream.on('error', () => {});
      run.close();
      await eventually('the flood is over', async () => await box.sh('pgrep -c "^yes" || true') === '0\n');
    });

    it('writes events that decode to what was written', async () => {
      const {events} = await box.run('head -c 300000 /dev/urandom | tee /tmp/random; sync');
      const got = Buffer.concat(events.filter((one) => one.type === 'stdout').map(eventBytes));
      const sum = (await box.sh('sha256sum < /tmp/random')).slice(0, 64);
      const {createHash} = await import('node:crypto');
      assert.equal(createHash('sha256').update(got).digest('hex'), sum);
    });
  });
});
