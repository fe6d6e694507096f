// SPDX-License-Identifier: Apache-2.0
// Terminals over the bridge's own route, as its protocol has them; and what a session's shell does that ends.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {Terminal, WebSocket} from './support/terminal.mjs';

describe("the bridge's terminals", () => {
  let daemon;
  let id;

  before(async () => {
    daemon = await Daemon.start();
    id = (await daemon.request('', {method: 'POST', path: '/v1/sandbox'})).json().id;
  });
  after(() => daemon?.cleanup());

  const optionsOf = (headers = {}, of = id) => ({headers, route: `/v1/sandbox/${of}/pty`});
  const open = (query, headers, of) => Terminal.open(daemon, id, query, optionsOf(headers, of));
  const names = async () => (await daemon.request('', {path: `/v1/sandboxes/${id}/terminals`})).json().terminals
    .filter(({running}) => running).map(({name}) => name);

  it('makes the sandbox, is ready, takes keys and changes of size', async () => {
    const terminal = await open({cols: '91', rows: '17'});
    assert.ok((await daemon.ids()).includes(id));
    assert.deepEqual(terminal.frames.map(({type}) => type), ['ready']);
    await terminal.type('stty size; echo "$TERM|$PWD"; test -t 0 && echo is"a"tty\n', 'isatty');
    assert.match(terminal.output, /17 91\r\nxterm-256color\|\/workspace\r\n/);
    terminal.resize(120, 40);
    await terminal.type('stty size; echo s"e"en\n', 'seen');
    assert.match(terminal.output, /40 120\r\n/);
    await terminal.type(Buffer.from('echo größe | od -An -tx1; echo d"o"ne\n'), 'done');
    assert.match(terminal.output, /67 72 c3 b6 c3 9f 65 0a/);
    await terminal.close();
  });

  it('tells of messages that are wrong, and goes on', async () => {
    const terminal = await open({});
    for (const wrong of [{type: 'resize', cols: 0, rows: 24}, {type: 'resize', cols: 80, rows: -1}, {type: 'resize', cols: 'x', rows: 1},
                         '{no json', '[]']) {
      const before = terminal.frames.length;
      terminal.say(wrong);
      const frame = await terminal.until('an error', () => terminal.frames[before]);
      assert.equal(frame.type, 'error');
      assert.ok(frame.message.length > 0, JSON.stringify(frame));
    }
    const told = terminal.frames.length;
    terminal.say({type: 'of another server'});
    await terminal.type('stty size; echo a"f"ter\n', 'after');
    assert.match(terminal.output, /24 80\r\n/, 'the size is what it was');
    assert.equal(terminal.frames.length, told);
    await terminal.close();
  });

  it('says how its shell has ended', async () => {
    const terminal = await open({});
    terminal.socket.send(Buffer.from('exit 5\n'));
    const exit = await terminal.exit();
    assert.deepEqual([exit.type, exit.code, exit.signal], ['exit', 5, undefined]);
    const killed = await open({});
    killed.socket.send(Buffer.from('kill -9 $$\n'));
    const {code, signal} = await killed.exit();
    assert.deepEqual([code, signal], [137, 'SIGKILL']);
  });

  it('is joined by its name, in the query or the header, with what was on it', async () => {
    for (const [query, headers] of [[{session: 'by.query'}, {}], [{}, {'Session-Id': 'by-header'}]]) {
      const first = await open({cols: '100', rows: '30', ...query}, headers);
      await first.type('MARK=kept; echo be"f"ore\n', 'before');
      const second = await open(query, headers);
      assert.match(second.output, /before\r\n/, 'the replay comes before ready');
      await second.type('echo "<$MARK>"\n', '<kept>');
      await first.shows('<kept>');
      await Promise.all([first.close(), second.close()]);
      const third = await open(query, headers);
      assert.match(third.output, /<kept>/, 'it outlives its viewers');
      third.socket.send(Buffer.from('exit\n'));
      await third.exit();
    }
  });

  it('without a name, is of one client and ends with it', async () => {
    const [one, two] = await Promise.all([open({}), open({})]);
    await one.type('echo o"n"e\n', 'one');
    await two.type('echo t"w"o\n', 'two');
    assert.doesNotMatch(two.output, /one/);
    await eventually('those of before have ended', async () => (await names()).length === 2);
    assert.ok((await names()).every((name) => name.startsWith('pty-')));
    one.cut();
    await two.close();
    await eventually('both have ended', async () => (await names()).length === 0);
  });

  it('takes the shell that is asked for', async () => {
    const terminal = await open({shell: '/bin/sh'});
    await terminal.type('echo "<$0>"\n', '<');
    await terminal.until('the name', () => /<.*\bsh>/.test(terminal.output));
    await terminal.close();
  });

  it('refuses what it cannot show, before there is a WebSocket', async () => {
    const ids = (await daemon.ids()).length;
    for (const [query, headers, of] of [
      [{cols: '0'}], [{rows: '-3'}], [{cols: 'x'}], [{cols: '100000'}], [{session: 'a b'}], [{}, {'Session-Id': 'a/b'}],
      [{session: 'x'.repeat(129)}], [{shell: '\0'}], [{}, {}, 'Not-An-Id']]) {
      const terminal = new Terminal(daemon, id, query, optionsOf(headers, of));
      assert.equal(await terminal.refused, 400, JSON.stringify([query, headers, of]));
    }
    assert.equal((await daemon.ids()).length, ids);
    assert.equal((await daemon.request('', {path: `/v1/sandbox/${id}/pty`})).status, 400);
    const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/v1/sandbox/${id}/pty`, {
      headers: {Host: daemon.bare, Origin: 'http://evil.example'}});
    const status = await new Promise((resolve) => {
      socket.on('unexpected-response', (request, answer) => { request.destroy(); resolve(answer.statusCode); });
      socket.on('open', () => resolve(101));
      socket.on('error', () => {});
    });
    assert.equal(status, 403, 'a page of another origin');
  });

  it('ends a session whose shell is left, and says so', async () => {
    const post = (path, json, headers) => daemon.request('', {method: 'POST', path: `/v1/sandbox/${id}${path}`, json, headers});
    await post('/session', {id: 'left', env: {COLOUR: 'red'}});
    const run = async (argv) => {
      const answer = await post('/exec', {argv}, {'Session-Id': 'left'});
      assert.equal(answer.status, 200, answer.text);
      return answer.text;
    };
    assert.match(await run(['cd', '/tmp']), /event: exit\ndata: \{"exit_code":0\}\n\n$/);
    const [, code] = (await run(['exit', '4'])).match(/event: error\ndata: (\{.*\})\n\n$/) ?? [];
    assert.ok(code, 'no exit code is made up for a shell that is gone');
    const failure = JSON.parse(code);
    assert.deepEqual(Object.keys(failure).sort(), ['code', 'error']);
    assert.match(failure.error, /4/);
    const next = await run(['pwd']);
    assert.match(Buffer.from(next.match(/event: stdout\ndata: (.*)\n/)[1], 'base64').toString(), /^\/workspace\n$/, 'a new shell');
  });
});
