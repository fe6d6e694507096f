// SPDX-License-Identifier: Apache-2.0
// Sessions whose commands change what the session's own shell needs. Whatever they do, a command
// has run and its own code and output are told, or there is an error, and the next one runs.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';

// [command, what else is true]. `kept`: the session's shell goes on. `adds`: what the user asked for
// is said beside the output of the next commands.
const SABOTAGES = [
  ['readonly __atoll_t __atoll_d __atoll_r; export __atoll_c=true', {kept: true}],
  ['export __atoll_d=/nowhere __atoll_n=0 __atoll_s=', {kept: true}],
  ['readonly $(compgen -v __atoll)'],
  ['declare -i $(compgen -v __atoll)'],
  ['unset -v $(compgen -v __atoll)'],
  ['unset -f $(compgen -A function __atoll)', {kept: true}],
  ['eval() { :; }; printf() { :; }; trap() { :; }; set() { :; }; read() { :; }; mapfile() { :; }; exit() { :; }', {kept: true}],
  ['command() { :; }; declare() { :; }; unset() { :; }; alias() { :; }; cd() { :; }; return() { :; }', {kept: true}],
  ['builtin() { :; }'],
  ['alias builtin=: eval=: printf=: set=: export=: unset=:', {kept: true}],
  ['enable -n eval'], ['enable -n printf'], ['enable -n mapfile read'], ['enable -n set'], ['enable -n builtin'],
  ['set -e'], ['set -u', {kept: true}], ['set -n'], ['set -o noexec; echo more'], ['set -r'], ['set -t', {kept: true}],
  ['set -k', {kept: true}], ['set -m', {kept: true}], ['set -f; set -C', {kept: true}], ['set -o posix', {kept: true}],
  ['set -x', {kept: true, adds: true}], ['set -v', {kept: true, adds: true}], ["PS4='$(nowhere)${x:?}'; set -x", {kept: true, adds: true}],
  ['BASH_XTRACEFD=1; set -x', {kept: true, adds: true}], ['BASH_XTRACEFD=250; set -x', {kept: true, adds: true}],
  ['shopt -s extdebug failglob nullglob nocasematch lastpipe inherit_errexit', {kept: true}],
  ['shopt -u expand_aliases; shopt -s compat31', {kept: true}],
  ["trap 'echo debug' DEBUG", {kept: true, adds: true}], ["set -T; set -E; trap 'echo d' DEBUG; trap 'echo e' ERR; trap 'echo r' RETURN", {kept: true, adds: true}],
  ['shopt -s extdebug; trap false DEBUG'], ["shopt -s extdebug; trap '[[ $BASH_COMMAND != *eval* ]]' DEBUG"],
  ["trap 'sleep 1000' DEBUG"], ["trap 'exit 5' ERR"], ["trap 'exit 0' DEBUG"], ["trap 'exit 0' EXIT", {kept: true}],
  ["trap '' TERM INT HUP CHLD PIPE", {kept: true}], ["trap 'echo >/dev/null' USR1; (sleep 0.2; kill -USR1 $$) >/dev/null 2>&1 &", {kept: true}],
  ['exec >/dev/null 2>&1 </dev/null', {kept: true}], ['exec 3>&- 250<&- 251>&-', {kept: true}],
  ['for fd in /proc/$$/fd/*; do n=${fd##*/}; eval "exec $n>&-"; done'], ['for n in {10..20}; do eval "exec $n>&-"; done'],
  ['for n in {10..20}; do eval "exec $n>/dev/null"; done'],
  ['kill -9 $$'], ['kill -STOP $$'], ['(sleep 0.2; kill -9 $$) >/dev/null 2>&1 &'], ['(sleep 0.2; kill -STOP $$) >/dev/null 2>&1 &'],
  ['exec true'], ['exec sh -c "exit 0"'], ['PATH=', {kept: true}], ['readonly PATH IFS REPLY PWD OLDPWD', {kept: true}], ['IFS=0123456789abcdef', {kept: true}],
  ['unset PWD; set -u', {kept: true}], ['PWD=/nowhere', {kept: true}], ['set -- a b c', {kept: true}],
  ['continue; echo not run'], ['break; echo not run'], ['continue 9; echo not run'], ['break 9; echo not run'],
  ['return 0; :', {kept: true}], ['ulimit -n 5'], ['ulimit -f 0'], ['ulimit -u 1'], ['ulimit -n 3 -v 4000'],
  ['rm -rf /dev/shm/.atoll-shell-*'], ['rm -f /dev/shm/.atoll-shell-*/*'], ['chmod 0 /dev/shm/.atoll-shell-*; umask 777', {kept: true}],
  ['head -c 60M /dev/zero > /dev/shm/full'], ['LINENO=100; SECONDS=5; RANDOM=1', {kept: true}],
  ['BASH_ENV=/etc/passwd ENV=/etc/passwd; export BASH_ENV ENV POSIXLY_CORRECT=1', {kept: true}],
];

describe('a sabotaged session', () => {
  let daemon;
  let count = 0;
  before(async () => {
    daemon = await Daemon.start();
    await daemon.sandbox('sab').create();
  });
  after(() => daemon?.cleanup());

  const v1 = async (session, command, more = {}) => {
    const answer = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/sab/exec', json: {session, command, ...more}});
    return {status: answer.status, ...answer.json()};
  };
  const sdk = async (sessionId, command, more = {}) => {
    const answer = await daemon.request('sdk--sab', {method: 'POST', path: '/api/execute', json: {sessionId, command, ...more}});
    return {status: answer.status, ...answer.json()};
  };
  const sdkStream = async (sessionId, command) => {
    const answer = await daemon.request('sdk--sab', {method: 'POST', path: '/api/execute/stream', json: {sessionId, command}});
    if (answer.status !== 200) return {status: answer.status, ...answer.json()};
    const events = answer.text.split('\n\n').slice(0, -1).map((block) => JSON.parse(block.slice(6)));
    const all = (type) => events.filter((event) => event.type === type).map((event) => event.data).join('');
    const failed = events.find(({type}) => type === 'error');
    if (failed) return {status: 410, code: failed.code};
    return {status: 200, stdout: all('stdout'), stderr: all('stderr'), exitCode: events.at(-1).exitCode};
  };

  const dialects = {
    '/v1': {
      run: [v1],
      open: async () => (await daemon.request('', {method: 'POST', path: '/v1/sandboxes/sab/sessions', json: {}})).json().id,
      close: (id) => daemon.request('', {method: 'DELETE', path: `/v1/sandboxes/sab/sessions/${id}`}),
    },
    'the SDK': {
      run: [sdk, sdkStream],
      open: async () => `sab-${++count}`,
      close: (sessionId) => daemon.request('sdk--sab', {method: 'POST', path: '/api/session/delete', json: {sessionId}}),
    },
  };

  // Runs a command that leaves a trace, and says whether it was refused.
  async function probe(run, id, {adds}, about) {
    const mark = `/tmp/mark-${++count}`;
    const answer = await run(id, `echo ran; echo err >&2; : > ${mark}; (\\builtin exit 7)`);
    const told = `${about}: ${JSON.stringify(answer)}`;
    if (answer.status !== 200) {
      assert.ok(['SESSION_TERMINATED', 'COMMAND_EXECUTION_ERROR'].includes(answer.code), told);
      return true;
    }
    assert.equal(answer.exitCode, 7, told);
    if (adds) {
      assert.match(answer.stdout, /^ran$/m, told);
      assert.match(answer.stderr + answer.stdout, /^err$/m, told);
    } else {
      assert.deepEqual([answer.stdout, answer.stderr], ['ran\n', 'err\n'], told);
    }
    const seen = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/sab/exec', json: {argv: ['rm', mark]}});
    assert.equal(seen.json().exitCode, 0, `${told}: it has run`);
    return false;
  }

  for (const [name, {run, open, close}] of Object.entries(dialects)) {
    for (const [sabotage, is = {}] of SABOTAGES) {
      it(`of ${name}: ${sabotage}`, async () => {
        const id = await open();
        await run[0](id, 'X=1');
        const first = await run[0](id, sabotage);
        if (first.status !== 200) {
          assert.ok(!is.kept, JSON.stringify(first));
          assert.ok(['SESSION_TERMINATED', 'COMMAND_EXECUTION_ERROR'].includes(first.code), JSON.stringify(first));
        } else {
          assert.ok(!/not run|more/.test(first.stdout), first.stdout);
        }
        // What is to come over the shell a little later.
        if (sabotage.includes('sleep 0.2;')) await eventually('it has come', async () => {
          const left = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/sab/exec', json: {argv: ['pgrep', '-fx', 'sleep 0.2']}});
          return left.json().stdout === '';
        });
        for (const one of [...run, run[0]]) {
          // A shell of which nothing is left is another one from the next command on.
          if (!await probe(one, id, is, sabotage)) continue;
          assert.ok(!is.kept, 'the session goes on');
          assert.equal(await probe(one, id, {}, `after ${sabotage}`), false, 'the next command has a new shell');
        }
        await close(id);
        await daemon.request('', {method: 'POST', path: '/v1/sandboxes/sab/exec', json: {argv: ['rm', '-f', '/dev/shm/full']}});
      });
    }
  }

  it('does not run a command without what was asked for it', async () => {
    for (const [run, id] of [[v1, await dialects['/v1'].open()], [sdk, 'asked'], [sdkStream, 'asked2']]) {
      await run(id, ':');
      await (run === sdkStream ? sdk : run)(id, 'readonly RO=old');
      if (run === sdkStream) continue;
      const refused = await run(id, 'echo ran', {env: {RO: 'new', OTHER: 'x'}});
      assert.notEqual(refused.status, 200, JSON.stringify(refused));
      assert.match(refused.message, /read-only/);
      assert.equal((await run(id, 'echo $RO ${OTHER-none}')).stdout, 'old none\n');
      // Aliases are not for what the session does by itself.
      await run(id, 'alias builtin=: cd=:');
      const nowhere = await run(id, 'echo ran; pwd', {cwd: '/nowhere'});
      assert.ok(nowhere.status === 400 || nowhere.exitCode === 1, JSON.stringify(nowhere));
      assert.equal((await run(id, 'pwd', {cwd: '/usr'})).stdout, '/usr\n');
    }
  });
});
