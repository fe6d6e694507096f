// SPDX-License-Identifier: Apache-2.0
// /v1/sandboxes/{id}/sessions: a shell that lasts between commands.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {events, open} from './support/http.mjs';

describe('sessions', () => {
  let daemon;
  before(async () => {
    daemon = await Daemon.start();
    await daemon.sandbox('sess').create();
  });
  after(() => daemon.cleanup());

  const base = '/v1/sandboxes/sess';
  const ask = (method, path, json) => daemon.request('', {method, path: base + path, json});
  async function openSession(json = {}) {
    const answer = await ask('POST', '/sessions', json);
    assert.equal(answer.status, 200, answer.text);
    return answer.json().id;
  }
  const post = (session, command, more = {}) => ask('POST', '/exec', {session, command, ...more});
  async function run(session, command, more) {
    const answer = await post(session, command, more);
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  }
  const out = async (session, command, more) => (await run(session, command, more)).stdout;
  const start = (session, command, more = {}) => open(daemon.port, {
    host: daemon.bare, method: 'POST', path: `${base}/exec`, json: {session, command, ...more},
    headers: {Accept: 'text/event-stream'}});
  const running = async (pattern) => {
    const answer = await ask('POST', '/exec', {argv: ['pgrep', '-f', pattern]});
    return answer.json().stdout !== '';
  };

  it('keep directory, variables, functions, aliases and options', async () => {
    const id = await openSession({cwd: '/usr', env: {FROM: 'open'}});
    await run(id, 'cd lib; X=5; export Y="a b"; f() { echo "f $1"; }; alias ll="echo aliased"; arr=(1 "2 3")');
    assert.equal(await out(id, 'pwd; echo "$X|$Y|$FROM"; f 1; ll; echo "${arr[1]}"'),
                 '/usr/lib\n5|a b|open\nf 1\naliased\n2 3\n');
    assert.equal(await out(id, 'env | grep -E "^(X|Y)="'), 'Y=a b\n');
    await run(id, 'false');
    assert.equal(await out(id, 'echo $?'), '1\n');
    assert.equal(await out(id, 'IFS=,; exec 5>/tmp/five; echo to five >&5; cat /tmp/five; unset IFS'), 'to five\n');
    assert.equal(await out(id, 'echo again >&5; cat /tmp/five'), 'to five\nagain\n');
    // Another one knows nothing of it.
    const other = await openSession();
    assert.equal(await out(other, 'pwd; echo "${X-unset}"'), '/workspace\nunset\n');
  });

  it('have directory and variables of one command for that alone', async () => {
    const id = await openSession();
    await run(id, 'cd /usr; export KEPT=old');
    const more = {cwd: '/etc', env: {KEPT: "it's new", NEW: 'n'}};
    assert.equal(await out(id, 'pwd; env | grep -E "^(KEPT|NEW)=" | sort', more), "/etc\nKEPT=it's new\nNEW=n\n");
    assert.equal(await out(id, 'pwd; echo "$KEPT|${NEW-unset}"; env | grep -c ^KEPT='), '/usr\nold|unset\n1\n');
    const nowhere = await post(id, 'echo ran', {cwd: '/nowhere'});
    assert.equal(nowhere.status, 400, nowhere.text);
    assert.equal(await out(id, 'pwd'), '/usr\n');
    assert.equal(await out(id, 'cat; echo end', {stdin: 'no newline'}), 'no newlineend\n');
    assert.equal(await out(id, 'cat'), '');
  });

  it('give every byte as it was, at once', async () => {
    const id = await openSession();
    const raw = await run(id, "printf 'a\\0\\377'; printf 'e\\n\\n' >&2");
    assert.deepEqual(Buffer.from(raw.stdout, 'base64'), Buffer.from([97, 0, 255]));
    assert.equal(raw.stderr, 'e\n\n');
    assert.equal((await run(id, 'printf "no newline"')).stdout, 'no newline');
    const big = await run(id, 'head -c 3000000 /dev/zero | tr "\\0" x; echo; echo err >&2');
    assert.equal(big.stdout, 'x'.repeat(3_000_000) + '\n');
    assert.equal(big.stderr, 'err\n');
    // Part of a line comes before the line has ended: the command waits until we have it.
    const streamed = await start(id, 'printf part; until [ -e /tmp/go ]; do sleep 0.05; done; printf ial');
    let text = '';
    for await (const event of events(streamed.stream)) {
      if (event.type !== 'stdout') continue;
      text += event.data;
      if (text === 'part') await ask('POST', '/exec', {argv: ['touch', '/tmp/go']});
    }
    assert.equal(text, 'partial');
  });

  it('end a command with the command, whatever it leaves running', async () => {
    const id = await openSession();
    const left = await run(id, '(while :; do echo noise; sleep 0.01; done) & echo $!');
    assert.match(left.stdout, /^(noise\n)*\d+\n(noise\n)*$/);
    const pid = left.stdout.match(/\d+/)[0];
    await run(id, 'sleep 0.2');
    // It goes on, although nobody reads what it writes.
    assert.equal(await out(id, `kill -0 ${pid} && echo lives`), 'lives\n');
    assert.equal(await out(id, 'echo clean'), 'clean\n');
    await run(id, `kill ${pid}`);
  });

  it('are not blocked by a command whose time has passed, and forget only that one', async () => {
    const id = await openSession();
    await run(id, 'cd /usr; X=kept; f() { echo f; }');
    await run(id, 'sleep 7001 &');
    const late = await run(id, 'cd /etc; X=lost; echo begun; sleep 7002; echo more; touch /tmp/went-on', {timeoutMs: 400});
    assert.deepEqual([late.timedOut, late.exitCode, late.stdout], [true, 124, 'begun\n']);
    assert.equal(await out(id, 'pwd; echo $X; f; ls /tmp/went-on 2>/dev/null'), '/usr\nkept\nf\n');
    assert.equal(await running('^sleep 700[2]'), false);
    assert.equal(await running('^sleep 700[1]'), true);
    // What the shell does by itself ends, too.
    assert.equal((await run(id, 'while :; do :; done', {timeoutMs: 300})).timedOut, true);
    assert.equal(await out(id, 'echo $X'), 'kept\n');
    await ask('DELETE', `/sessions/${id}`);
    await eventually('what it had in the background has ended', async () => !await running('^sleep 700[1]'));
  });

  it('give up a command whose client leaves, unless it is to be kept', async () => {
    const id = await openSession();
    await run(id, 'X=kept');
    const left = await start(id, 'X=lost; echo on; sleep 7003');
    for await (const event of events(left.stream)) if (event.type === 'stdout') break;
    left.close();
    assert.equal(await out(id, 'echo $X'), 'kept\n');
    await eventually('it has ended', async () => !await running('^sleep 700[3]'));
    const kept = await start(id, 'echo on; sleep 0.5; X=new', {killOnDisconnect: false});
    for await (const event of events(kept.stream)) if (event.type === 'stdout') break;
    kept.close();
    assert.equal(await out(id, 'echo $X'), 'new\n');
  });

  it('end with exit, and the next command has a fresh one', async () => {
    const id = await openSession({cwd: '/usr'});
    await run(id, 'X=1; cd /etc');
    const ended = await post(id, 'echo last; exit 7');
    assert.equal(ended.status, 410, ended.text);
    assert.equal(ended.json().code, 'SESSION_TERMINATED');
    assert.match(ended.json().message, /exit code 7/);
    assert.equal(await out(id, 'pwd; echo "${X-fresh}"'), '/usr\nfresh\n');
  });

  it('run the commands of several clients one after the other, and sessions side by side', async () => {
    const id = await openSession();
    await run(id, 'n=0');
    const all = await Promise.all(Array.from({length: 20}, () => run(id, 'm=$n; sleep 0.01; n=$((m+1)); echo $n')));
    assert.deepEqual(all.map((one) => Number(one.stdout)).sort((a, b) => a - b),
                     Array.from({length: 20}, (_, i) => i + 1));
    const blocked = await start(id, 'echo on; sleep 7004');
    for await (const event of events(blocked.stream)) if (event.type === 'stdout') break;
    assert.equal(await out(await openSession(), 'echo free'), 'free\n');
    blocked.close();
  });

  it('are listed and closed', async () => {
    const id = await openSession({id: 'mine', user: 'nobody', timeoutMs: 300});
    assert.equal(await out(id, 'id -un'), 'nobody\n');
    assert.equal((await run(id, 'sleep 100')).timedOut, true);
    const again = await ask('POST', '/sessions', {id: 'mine'});
    assert.equal(again.status, 409);
    assert.equal(again.json().code, 'SESSION_ALREADY_EXISTS');
    const listed = (await ask('GET', '/sessions')).json().sessions.find((one) => one.id === 'mine');
    assert.deepEqual([listed.user, listed.commands, listed.busy], ['nobody', 2, false]);
    const busy = await openSession();
    const waiting = post(busy, 'sleep 7005');
    await eventually('it runs', () => running('^sleep 700[5]'));
    assert.equal((await ask('DELETE', `/sessions/${busy}`)).status, 200);
    const destroyed = await waiting;
    assert.equal(destroyed.status, 410, destroyed.text);
    assert.equal(destroyed.json().code, 'SESSION_DESTROYED');
    assert.equal((await ask('DELETE', '/sessions/mine')).status, 200);
    const none = await post('mine', 'true');
    assert.equal(none.status, 404);
    assert.equal(none.json().code, 'SESSION_NOT_FOUND');
    assert.equal((await post('x', 'true', {user: 'nobody'})).status, 400);
  });

  it('outlive a daemon that is killed', async () => {
    const id = await openSession();
    await run(id, 'X=before');
    await daemon.kill9();
    await daemon.launch();
    assert.equal(await out(id, 'echo $X'), 'before\n');
  });
});
