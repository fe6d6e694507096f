// SPDX-License-Identifier: Apache-2.0
// Terminals: what a person at one cares about.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {Terminal} from './support/terminal.mjs';

const PROMPT = 'here> ';

describe('terminals', () => {
  let daemon;
  before(async () => {
    daemon = await Daemon.start();
    await daemon.sandbox('demo').create();
  });
  after(() => daemon.cleanup());

  const open = (query, options) => Terminal.open(daemon, 'demo', query, options);
  const list = async () => {
    const answer = await daemon.request('', {path: '/v1/sandboxes/demo/terminals'});
    assert.equal(answer.status, 200, answer.text);
    return answer.json().terminals;
  };
  const shell = async (query) => {
    const terminal = await open(query);
    await terminal.type(`PS1='here'"> "\r`, PROMPT);
    return terminal;
  };

  it('is a real terminal of the size that was asked for', async () => {
    const terminal = await shell({session: 'size', cols: 132, rows: 43});
    await terminal.type('stty size; tty; echo $TERM; pwd\r', '/workspace\r\n');
    assert.match(terminal.output, /43 132\r\n\/dev\/pts\/\d+\r\nxterm-256color\r\n/);
    terminal.resize(90, 30);
    await terminal.type('stty size\r', '30 90');
    await terminal.type('exit 7\r');
    assert.deepEqual(await terminal.exit(), {type: 'exit', code: 7});
  });

  it('interrupts, suspends and resumes by keys', async () => {
    const terminal = await shell({session: 'jobs'});
    await terminal.type(`sh -c 'echo be""fore; exec sleep 1000'\r`, 'before\r\n');
    await terminal.type('\x03', PROMPT);
    await terminal.type(`sh -c 'echo u""p; exec cat'\r`, 'up\r\n');
    await terminal.type('\x1a', 'Stopped');
    await terminal.type('fg\r', `exec cat'\r\n`);
    await terminal.type('grüße\r', 'grüße\r\ngrüße\r\n');
    await terminal.type('\x04', PROMPT);
    await terminal.type('kill -9 $$\r');
    assert.deepEqual(await terminal.exit(), {type: 'exit', code: 137, signal: 'SIGKILL'});
  });

  it('is shared by who asks for its name, and goes on without them', async () => {
    const first = await shell({session: 'shared'});
    await first.type(`marker=here-still; echo mark''ed\r`, 'marked\r\n');
    const second = await open({session: 'shared'});
    assert.ok(second.output.includes('marked'), second.output);
    await second.type('echo $marker\r', 'here-still\r\n');
    await first.shows('here-still\r\n');
    const [info] = (await list()).filter((one) => one.name === 'shared');
    assert.equal(info.viewers, 2);
    assert.equal(info.running, true);
    first.cut();
    await second.close();
    await eventually('nobody looks any more', async () =>
      (await list()).find((one) => one.name === 'shared').viewers === 0);
    const {offset} = second.frames.find((one) => one.type === 'ready');
    const third = await open({session: 'shared', since: offset});
    assert.ok(!third.output.includes('marked'), 'what was seen is not repeated');
    await third.type('echo again $marker\r', 'again here-still\r\n');
    await third.close();
  });

  it('goes on across a daemon that is killed, and a new one shows what came meanwhile', async () => {
    const terminal = await shell({session: 'outlives'});
    await terminal.type(`(sleep 1; echo after''wards) & echo be''fore\r`, 'before\r\n');
    const {pid} = terminal.frames.find((one) => one.type === 'ready');
    await daemon.kill9();
    assert.notEqual((await terminal.closed).code, 1000);
    await daemon.launch();
    const again = await open({session: 'outlives', create: 0});
    const ready = again.frames.find((one) => one.type === 'ready');
    assert.equal(ready.pid, pid);
    assert.equal(ready.created, false);
    assert.ok(again.output.includes('before\r\n'));
    await again.shows('afterwards\r\n');
    await again.type('echo still the same\r', 'still the same\r\n');
    await again.close();
  });

  it('tells its viewers when the daemon ends in good order', async () => {
    const terminal = await shell({session: 'order'});
    const stopped = daemon.stop();
    assert.equal((await terminal.closed).code, 1001);
    await stopped;
    await daemon.launch();
    const again = await open({session: 'order', create: 0});
    await again.close();
  });

  it('keeps the last 256 KiB of what nobody has seen, to the byte', async () => {
    const box = daemon.sandbox('demo');
    // 16 bytes a line, with the \r of the terminal: 1 MiB.
    const command = `stty -echo; while [ ! -e /tmp/write ]; do sleep 0.02; done; seq -f %014.0f 65536; touch /tmp/written; read line`;
    const first = await open({session: 'unseen', command});
    await first.close();
    await box.sh('touch /tmp/write');
    await eventually('all is written', async () => (await box.run('test -e /tmp/written')).exitCode === 0);
    const again = await open({session: 'unseen', create: 0});
    const lines = Array.from({length: 65536}, (_, i) => `${i + 1}`.padStart(14, '0') + '\r\n').join('');
    assert.equal(again.bytes, 256 << 10);
    assert.ok(again.output === lines.slice(-(256 << 10)), 'the last of it');
    assert.equal(again.frames.find((one) => one.type === 'ready').offset, 1 << 20);
    again.cut();
    // Who has seen a part gets the rest of it.
    const since = (1 << 20) - 1000;
    const rest = await open({session: 'unseen', create: 0, since});
    assert.equal(rest.output, lines.slice(since));
    await rest.type('\r');
    await rest.exit();
  });

  it('sleeps with its sandbox when nobody looks, and is there when it wakes', async () => {
    const terminal = await shell({session: 'sleeps'});
    const busy = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/demo/sleep', json: {}});
    assert.equal(busy.status, 409, busy.text);
    await terminal.type(`kept=yes; echo o''k\r`, 'ok\r\n');
    await terminal.close();
    await eventually('it sleeps', async () => {
      const answer = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/demo/sleep', json: {}});
      return answer.status === 200 && answer.json().state === 'paused';
    });
    const again = await open({session: 'sleeps', create: 0});
    await again.type('echo kept=$kept\r', 'kept=yes\r\n');
    // Somebody lets it sleep all the same: the next key wakes it.
    const forced = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/demo/sleep', json: {force: true}});
    assert.equal(forced.json().state, 'paused', forced.text);
    await again.type('echo a""wake\r', 'awake');
    await again.close();
  });

  it('runs a command instead of a shell, and what ended can still be read', async () => {
    const terminal = new Terminal(daemon, 'demo', {session: 'once', command: 'echo $((6*7)); exit 3', cwd: '/tmp'});
    assert.deepEqual(await terminal.exit(), {type: 'exit', code: 3});
    assert.ok(terminal.output.includes('42\r\n'));
    const late = new Terminal(daemon, 'demo', {session: 'once', create: 0});
    assert.deepEqual(await late.exit(), {type: 'exit', code: 3});
    assert.ok(late.output.includes('42\r\n'));
  });

  it('is of a user, has variables, and is hung up when its time is over', async () => {
    const own = {env: JSON.stringify({GREETING: 'grüße + "more"', TERM: 'vt100', NONE: null}), user: 'nobody'};
    const terminal = new Terminal(daemon, 'demo', {session: 'own', ...own, cwd: '/tmp', command:
      'echo "$GREETING|$TERM|${NONE-none}|$USER|$(id -un)"; exit 4'});
    assert.deepEqual(await terminal.exit(), {type: 'exit', code: 4});
    assert.equal(terminal.output, 'grüße + "more"|vt100|none|nobody|nobody\r\n');
    const shell = await open({session: 'own-shell', ...own, cwd: '/tmp', linger: 1});
    await shell.type('echo $0-$USER\r', 'bash-nobody\r\n');
    // Who joins has it as it is.
    const joined = await open({session: 'own-shell', user: 'root', create: 0});
    await joined.type('echo $USER again\r', 'nobody again\r\n');
    await joined.close();
    await shell.close();
    const timed = new Terminal(daemon, 'demo', {session: 'timed', command: 'sleep 300', timeoutMs: 500});
    assert.deepEqual(await timed.exit(), {type: 'exit', code: 129, signal: 'SIGHUP', timedOut: true});
    for (const [code, query] of [['USER_NOT_FOUND', {user: 'nobody-such'}], ['COMMAND_NOT_FOUND', {user: 'nobody', shell: '/none'}]]) {
      const refused = new Terminal(daemon, 'demo', {session: 'refused', ...query});
      assert.equal((await refused.closed).code, 1011);
      assert.equal(refused.frames[0].code, code);
    }
    const wrong = [{env: 'A=b'}, {env: '{"A":1}'}, {env: '["A"]'}, {env: '{"A B":"c"}'}, {env: '{"A":"b\0"}'}, {env: `{"A":"\\u0000"}`},
                   {user: 'x'.repeat(300)}, {user: 'a\0b'}, {timeoutMs: 0}, {timeoutMs: 'x'}, {timeoutMs: 1e15}];
    for (const query of wrong) {
      const terminal = new Terminal(daemon, 'demo', {session: 'wrong', ...query});
      assert.equal(await terminal.refused, 400, JSON.stringify(query));
    }
  });

  it('is closed by its name, and by itself when it was only for its viewers', async () => {
    const terminal = await shell({session: 'closes'});
    const answer = await daemon.request('', {method: 'DELETE', path: '/v1/sandboxes/demo/terminals/closes'});
    assert.equal(answer.status, 204, answer.text);
    assert.equal((await terminal.exit()).signal, 'SIGHUP');
    const again = await daemon.request('', {method: 'DELETE', path: '/v1/sandboxes/demo/terminals/closes'});
    assert.equal(again.status, 404);
    assert.equal(again.json().code, 'TERMINAL_NOT_FOUND');
    const brief = await open({session: 'brief', linger: 1});
    await brief.close();
    await eventually('it has ended', async () =>
      (await list()).every((one) => one.name !== 'brief' || !one.running));
  });

  it('refuses what cannot be, and says why', async () => {
    const get = (path, headers = {}) => daemon.request('', {path, headers});
    const plain = await get('/v1/sandboxes/demo/pty');
    assert.equal(plain.status, 426);
    assert.equal(plain.json().code, 'UPGRADE_REQUIRED');
    assert.equal(plain.headers.upgrade, 'websocket');
    const refused = async (query, status, id = 'demo', options = {}) => {
      const terminal = new Terminal(daemon, id, query, options);
      assert.equal(await terminal.refused, status, JSON.stringify(query));
    };
    await refused({cols: 0}, 400);
    await refused({rows: 'many'}, 400);
    await refused({session: 'a/b'}, 400);
    await refused({cwd: 'relative'}, 400);
    await refused({session: 'nobody', create: 0}, 404);
    await refused({}, 404, 'nobody');
    await refused({}, 403, 'demo', {headers: {Origin: 'http://evil.example'}});
    await refused({}, 403, 'demo', {headers: {Origin: daemon.url('demo').slice(0, -1)}});
    const missing = new Terminal(daemon, 'demo', {session: 'x', shell: '/no/such/shell'});
    assert.equal((await missing.closed).code, 1011);
    assert.equal(missing.frames[0].code, 'COMMAND_NOT_FOUND');

    const terminal = await shell({session: 'errors'});
    for (const bad of [{type: 'resize', cols: 0, rows: 5}, {type: 'resize'}, 'no json', '[]', {type: 7}]) {
      terminal.frames.length = 0;
      terminal.say(bad);
      assert.match((await terminal.frame('error')).message, /./);
    }
    terminal.say({type: 'something-newer'});
    await terminal.type('echo al""ive\r', 'alive');
    await terminal.close();
  });

  it('has its own devices, and a limit of them', async () => {
    const terminal = await shell({session: 'devices'});
    await terminal.type('ls /dev/pts | wc -l; mount | grep -c "devpts.*max=512"; echo do""ne\r', 'done\r\n');
    assert.match(terminal.output, /\r\n1\r\ndone/);
    await terminal.close();
  });

  it('gives two hundred of them at once', async () => {
    const all = await Promise.all(Array.from({length: 200}, (_, i) =>
      Terminal.open(daemon, 'demo', {session: `many-${i}`, command: 'read line; echo "got $line"; read line', linger: 1})));
    await Promise.all(all.map((terminal, i) => terminal.type(`word${i}\r`, `got word${i}\r\n`)));
    await Promise.all(all.map((terminal) => terminal.close()));
    await eventually('they have ended', async () =>
      (await list()).every((one) => !one.name.startsWith('many-') || !one.running));
    const terminal = await shell({session: 'after-many'});
    await terminal.close();
  });
});
