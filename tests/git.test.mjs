// SPDX-License-Identifier: Apache-2.0
// Typed git: a repository in a sandbox, its remotes on a real server, names that are no text, and
// every way in which it refuses.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon} from './support/daemon.mjs';
import {GitServer} from './support/git_server.mjs';
import {assertError, open} from './support/http.mjs';

const AUTHOR = {name: 'Ada', email: 'ada@example.org'};

describe('git', () => {
  let server;
  let daemon;
  let box;

  before(async () => {
    server = await GitServer.start();
    daemon = await Daemon.start({sections: {egress: {host_ports: [server.port]}}});
    box = daemon.sandbox('git');
    await box.create();
  });
  after(async () => {
    await server?.stop();
    await daemon?.cleanup();
  });

  const call = (method, path, json) => daemon.request('', {
    method, path: `/v1/sandboxes/git/git/${path}`, json, limitMs: 120_000});
  /** The answer of a call that must succeed. */
  const git = async (name, body) => {
    const answer = await call('POST', name, body);
    assert.ok([200, 204].includes(answer.status), `${name}: ${answer.text}`);
    return answer.status === 204 ? null : answer.json();
  };
  const refuse = async (name, body, status, code) => assertError(await call('POST', name, body), status, code);
  /** A repository of its own, empty. */
  const fresh = async (dir) => {
    await box.sh(`git init -q -b main ${dir}`);
    return dir;
  };
  const commit = (dir, message, more = {}) => git('commit', {dir, message, all: true, author: AUTHOR, ...more});

  it('says that there is no repository or no directory, and works as another user', async () => {
    await refuse('status', {dir: '/tmp'}, 404, 'GIT_REPOSITORY_NOT_FOUND');
    await refuse('log', {dir: '/tmp'}, 404, 'GIT_REPOSITORY_NOT_FOUND');
    await refuse('diff', {dir: '/tmp'}, 404, 'GIT_REPOSITORY_NOT_FOUND');
    assertError(await call('POST', 'status', {dir: '/nowhere'}), 400);
    await fresh('/workspace/theirs');
    await box.sh('chown -R 1234:1234 /workspace/theirs');
    assert.equal((await git('status', {dir: '/workspace/theirs', user: '1234:1234'})).branch, 'main');
  });

  it('works in a repository without commits', async () => {
    const dir = await fresh('/workspace/empty');
    assert.deepEqual(await git('status', {dir}), {
      branch: 'main', commit: null, detached: false, upstream: null, clean: true, conflicts: false, changes: [],
      more: false});
    assert.deepEqual(await git('log', {dir}), {commits: [], more: false});
    assert.deepEqual((await git('diff', {dir})).files, []);
    const branches = await call('GET', `branches?dir=${dir}`);
    assert.deepEqual(branches.json(), {branch: 'main', commit: null, detached: false, branches: []});
    await refuse('commit', {dir, message: 'x', author: AUTHOR}, 409, 'GIT_NOTHING_TO_COMMIT');
    await refuse('commit', {dir, message: 'x', amend: true, author: AUTHOR}, 409, 'GIT_NO_COMMITS');
    await refuse('push', {dir}, 409, 'GIT_NO_COMMITS');
  });

  it('commits, and says what has changed before and after', async () => {
    const dir = await fresh('/workspace/one');
    await box.sh('printf "a\\nb\\n" > a.txt; printf "x" > gone.txt; printf "\\0\\1" > bin; echo log > .gitignore',
                 {cwd: dir});
    const first = await commit(dir, 'First\n\nwith a body');
    assert.equal(first.branch, 'main');
    assert.equal(first.details.message, 'First\n\nwith a body');
    assert.deepEqual([first.details.author.name, first.details.author.email], ['Ada', 'ada@example.org']);
    await box.sh('printf "a\\nB\\n" > a.txt; git rm -q gone.txt; printf "\\2" > bin; echo new > new.txt; touch log',
                 {cwd: dir});
    const status = await git('status', {dir, ignored: true});
    assert.equal(status.clean, false);
    const by = Object.fromEntries(status.changes.map((change) => [change.path, `${change.index}/${change.worktree}`]));
    assert.deepEqual(by, {'a.txt': 'unmodified/modified', 'gone.txt': 'deleted/unmodified',
                          bin: 'unmodified/modified', 'new.txt': 'untracked/untracked', log: 'ignored/ignored'});
    const diff = await git('diff', {dir});
    assert.deepEqual(diff.files.map(({path, status: what, added, removed, binary}) => [path, what, added, removed, binary]),
                     [['a.txt', 'modified', 1, 1, false], ['bin', 'modified', undefined, undefined, true]]);
    assert.match(diff.patch, /^-b\n\+B$/m);
    const staged = await git('diff', {dir, staged: true, patch: false});
    assert.deepEqual(staged.files.map(({path, status: what}) => [path, what]), [['gone.txt', 'deleted']]);
    assert.equal(staged.patch, '');
    const short = await git('diff', {dir, maxPatchBytes: 10});
    assert.equal(short.patch.length, 10);
    assert.equal(short.patchTruncated, true);
    const only = await git('commit', {dir, message: 'Only one', paths: ['new.txt'], author: AUTHOR});
    assert.notEqual(only.commit, first.commit);
    await refuse('commit', {dir, message: 'x', paths: ['missing'], author: AUTHOR}, 404, 'FILE_NOT_FOUND');
    await commit(dir, 'Rest');
    await refuse('commit', {dir, message: 'x', all: true, author: AUTHOR}, 409, 'GIT_NOTHING_TO_COMMIT');
    const log = await git('log', {dir, limit: 2});
    assert.deepEqual(log.commits.map(({message}) => message), ['Rest', 'Only one']);
    assert.equal(log.more, true);
    assert.deepEqual(log.commits[0].refs, ['refs/heads/main']);
    assert.deepEqual(log.commits[1].parents, [first.commit]);
    assert.deepEqual((await git('log', {dir, paths: ['new.txt']})).commits.map(({message}) => message), ['Only one']);
    assert.deepEqual((await git('log', {dir, skip: 2})).commits.map(({commit: hash}) => hash), [first.commit]);
    const since = await git('diff', {dir, from: first.commit, to: 'HEAD'});
    assert.deepEqual(since.files.map(({path}) => path).sort(), ['a.txt', 'bin', 'gone.txt', 'new.txt']);
    const amended = await commit(dir, 'Rest, again', {amend: true, all: false});
    assert.notEqual(amended.commit, log.commits[0].commit);
    await refuse('log', {dir, ref: 'nothing'}, 404, 'GIT_REF_NOT_FOUND');
  });

  it('wants to know whose commit it is', async () => {
    const dir = await fresh('/workspace/nobody');
    await box.sh('touch x; git config user.useConfigOnly true', {cwd: dir});
    await refuse('commit', {dir, message: 'x', all: true}, 400, 'GIT_IDENTITY_UNKNOWN');
    await refuse('commit', {dir, message: 'x', all: true, author: {name: 'a<b', email: 'c'}}, 400, 'VALIDATION_FAILED');
  });

  it('gives names as they are: spaces, newlines, quotes, and bytes that are no text', async () => {
    const dir = await fresh('/workspace/names');
    await box.sh(`printf 1 > 'a b'; printf 2 > $'new\\nline'; printf 3 > '"quoted" \\ name'; printf 4 > $'\\xff\\xfe'; printf 5 > 'ü'
                  printf 6 > '*'; printf 7 > ':(top)x'`, {cwd: dir});
    const {changes} = await git('status', {dir});
    assert.deepEqual(changes.filter(({pathBase64}) => !pathBase64).map(({path}) => path).sort(),
                     ['"quoted" \\ name', '*', ':(top)x', 'a b', 'new\nline', 'ü']);
    assert.deepEqual(changes.filter(({pathBase64}) => pathBase64).map(({pathBase64}) => pathBase64),
                     [Buffer.from([0xff, 0xfe]).toString('base64')]);
    await git('commit', {dir, message: 'One', paths: ['*'], author: AUTHOR});
    assert.equal((await git('diff', {dir, from: '4b825dc642cb6eb9a060e54bf8d69288fbee4904', to: 'HEAD'})).files.length, 1,
                 'a path is no pattern');
    await commit(dir, 'All');
    await box.sh('git mv "a b" "b a"; git mv $"new\\nline" plain 2>/dev/null || git mv "$(printf "new\\nline")" plain', {cwd: dir});
    const moved = (await git('status', {dir})).changes.map(({path, from, index}) => [from, path, index]);
    assert.deepEqual(moved.sort(), [['a b', 'b a', 'renamed'], ['new\nline', 'plain', 'renamed']]);
    const staged = (await git('diff', {dir, staged: true})).files.map(({path, from, status}) => [from, path, status]);
    assert.deepEqual(staged.sort(), [['a b', 'b a', 'renamed'], ['new\nline', 'plain', 'renamed']]);
  });

  it('makes, checks out and removes branches', async () => {
    const dir = await fresh('/workspace/branches');
    await box.sh('echo 1 > f', {cwd: dir});
    const {commit: first} = await commit(dir, 'First');
    await git('branches', {dir, name: 'feature/x'});
    await refuse('branches', {dir, name: 'feature/x'}, 409, 'GIT_BRANCH_EXISTS');
    await refuse('branches', {dir, name: 'y', from: 'nothing'}, 404, 'GIT_REF_NOT_FOUND');
    assert.deepEqual(await git('checkout', {dir, ref: 'feature/x'}), {branch: 'feature/x', commit: first, detached: false});
    await box.sh('echo 2 > f', {cwd: dir});
    const {commit: second} = await commit(dir, 'Second');
    await box.sh('echo 3 > f', {cwd: dir});
    await refuse('checkout', {dir, ref: 'main'}, 409, 'GIT_LOCAL_CHANGES');
    assert.equal((await git('checkout', {dir, ref: 'main', force: true})).branch, 'main');
    assert.deepEqual(await git('checkout', {dir, ref: second}), {branch: null, commit: second, detached: true});
    assert.equal((await git('status', {dir})).detached, true);
    await refuse('push', {dir}, 409, 'GIT_DETACHED_HEAD');
    await refuse('pull', {dir}, 409, 'GIT_DETACHED_HEAD');
    assert.equal((await git('checkout', {dir, ref: 'made', create: true, from: first})).branch, 'made');
    await refuse('checkout', {dir, ref: 'nothing'}, 404, 'GIT_REF_NOT_FOUND');
    await refuse('checkout', {dir, ref: 'f'}, 404, 'GIT_REF_NOT_FOUND');
    const list = (await call('GET', `branches?dir=${dir}`)).json();
    assert.deepEqual(list.branches.map(({name, current, subject}) => [name, current, subject]),
                     [['feature/x', false, 'Second'], ['made', true, 'First'], ['main', false, 'First']]);
    assertError(await call('DELETE', `branches/made?dir=${dir}`), 409, 'GIT_BRANCH_CHECKED_OUT');
    assertError(await call('DELETE', `branches/feature/x?dir=${dir}`), 409, 'GIT_BRANCH_NOT_MERGED');
    assertError(await call('DELETE', `branches/nothing?dir=${dir}`), 404, 'GIT_BRANCH_NOT_FOUND');
    assert.equal((await call('DELETE', `branches/feature/x?dir=${dir}&force=1`)).status, 204);
    assert.equal((await call('DELETE', `branches/main?dir=${dir}`)).status, 204);
    assert.equal((await git('branches', {dir, name: 'tip'})), null);
  });

  it('takes nothing for an option', async () => {
    const dir = await fresh('/workspace/options');
    await box.sh('echo 1 > f', {cwd: dir});
    await commit(dir, 'First');
    const evil = '--output=/tmp/pwned';
    for (const [name, body] of [
      ['log', {ref: evil}], ['diff', {from: evil}], ['diff', {from: 'HEAD', to: evil}], ['checkout', {ref: evil}],
      ['checkout', {ref: evil, create: true}], ['branches', {name: evil}], ['branches', {name: 'x', from: evil}],
      ['push', {remote: '--receive-pack=touch /tmp/pwned'}], ['push', {branch: evil}],
      ['fetch', {remote: '--upload-pack=touch /tmp/pwned'}], ['pull', {branch: evil}],
      ['fetch', {remote: 'ext::sh -c touch% /tmp/pwned'}], ['clone', {repo: 'ext::sh -c touch% /tmp/pwned'}],
      ['clone', {repo: server.url('public.git'), filter: evil}],
      ['clone', {repo: 'ssh://-oProxyCommand=touch/x'}],
    ]) {
      await refuse(name, {dir, ...body}, 400);
    }
    assert.equal((await git('diff', {dir, paths: [evil]})).files.length, 0);
    assert.equal((await git('log', {dir, paths: ['--all']})).commits.length, 0);
    await box.sh(`git remote add bad 'ext::sh -c touch% /tmp/pwned'`, {cwd: dir});
    await refuse('fetch', {dir, remote: 'bad'}, 400, 'INVALID_GIT_URL');
    assert.equal(await box.sh('ls /tmp/pwned 2>/dev/null; true'), '');
  });

  it('pushes and pulls, and says why it does not', async () => {
    const repo = server.url('writable.git');
    for (const dir of ['/workspace/left', '/workspace/right']) await git('clone', {repo, dir});
    const left = '/workspace/left';
    const right = '/workspace/right';
    await box.sh('printf "1\\n2\\n3\\n" > shared', {cwd: left});
    await commit(left, 'Shared');
    const pushed = await git('push', {dir: left});
    assert.deepEqual(pushed.refs.map(({ref, status}) => [ref, status]), [['refs/heads/main', 'updated']]);
    assert.deepEqual((await git('push', {dir: left})).refs.map(({status}) => status), ['unchanged']);

    const pulled = await git('pull', {dir: right});
    assert.equal(pulled.changed, true);
    assert.equal(pulled.commit, (await git('status', {dir: left})).commit);
    assert.equal((await git('pull', {dir: right})).changed, false);

    // Both go on at the same place.
    await box.sh('sed -i s/2/left/ shared', {cwd: left});
    await commit(left, 'Left');
    await git('push', {dir: left});
    await box.sh('sed -i s/2/right/ shared', {cwd: right});
    const mine = await commit(right, 'Right');
    await refuse('push', {dir: right}, 409, 'GIT_PUSH_REJECTED');
    await refuse('pull', {dir: right, ffOnly: true}, 409, 'GIT_NOT_FAST_FORWARD');
    const status = await git('status', {dir: right});
    assert.deepEqual([status.upstream, status.ahead, status.behind], ['origin/main', 1, 1]);
    await refuse('pull', {dir: right, abortOnConflict: true, author: AUTHOR}, 409, 'GIT_MERGE_CONFLICT');
    assert.deepEqual(await git('status', {dir: right}), status);
    await refuse('pull', {dir: right, rebase: true, abortOnConflict: true, author: AUTHOR}, 409, 'GIT_MERGE_CONFLICT');
    assert.deepEqual(await git('status', {dir: right}), status);

    const conflict = await call('POST', 'pull', {dir: right, author: AUTHOR});
    assertError(conflict, 409, 'GIT_MERGE_CONFLICT');
    assert.match(conflict.json().message, /shared/);
    const torn = await git('status', {dir: right});
    assert.equal(torn.conflicts, true);
    assert.deepEqual(torn.changes, [{path: 'shared', index: 'unmerged', worktree: 'unmerged', conflict: true}]);
    assert.equal((await git('diff', {dir: right})).files[0].status, 'unmerged');
    await refuse('commit', {dir: right, message: 'x', author: AUTHOR}, 409, 'GIT_CONFLICT');
    await box.sh('printf "1\\nboth\\n3\\n" > shared', {cwd: right});
    const merge = await commit(right, 'Both');
    assert.equal(merge.details.parents.length, 2);
    assert.equal(merge.details.parents[0], mine.commit);
    assert.deepEqual((await git('push', {dir: right})).refs.map(({status: what}) => what), ['updated']);
    await git('pull', {dir: left});
    assert.equal(await box.sh('cat left/shared'), '1\nboth\n3\n');

    // A branch of its own, and away again.
    await git('checkout', {dir: left, ref: 'topic', create: true});
    await box.sh('echo t > topic.txt', {cwd: left});
    await commit(left, 'Topic');
    await refuse('pull', {dir: left}, 409, 'GIT_NO_UPSTREAM');
    const made = await git('push', {dir: left, setUpstream: true});
    assert.deepEqual(made.refs.map(({ref, status: what}) => [ref, what]), [['refs/heads/topic', 'new']]);
    assert.equal((await git('status', {dir: left})).upstream, 'origin/topic');
    await git('fetch', {dir: right});
    assert.equal((await git('checkout', {dir: right, ref: 'topic'})).branch, 'topic');
    const remote = (await call('GET', `branches?dir=${right}&remote=1`)).json().branches;
    assert.ok(remote.some(({name, remote: far}) => far && name === 'origin/topic'), JSON.stringify(remote));
    assert.ok(!remote.some(({name}) => name === 'origin/HEAD' || name === 'origin'));

    // Rewritten, and forced: but not over what was never seen.
    await commit(left, 'Topic, better', {amend: true, all: false});
    await refuse('push', {dir: left}, 409, 'GIT_PUSH_REJECTED');
    await box.sh('echo r > topic-right.txt', {cwd: right});
    await commit(right, 'More');
    await git('push', {dir: right});
    await refuse('push', {dir: left, force: true}, 409, 'GIT_PUSH_REJECTED');
    await git('fetch', {dir: left});
    assert.deepEqual((await git('push', {dir: left, force: true})).refs.map(({status: what}) => what), ['forced']);
    assert.deepEqual((await git('push', {dir: left, branch: 'topic', delete: true})).refs.map(({status: what}) => what),
                     ['deleted']);
    await git('fetch', {dir: right, prune: true});
    const left_over = (await call('GET', `branches?dir=${right}&remote=1`)).json().branches;
    assert.ok(!left_over.some(({name}) => name === 'origin/topic'));

    await refuse('push', {dir: left, branch: 'nothing'}, 404, 'GIT_REF_NOT_FOUND');
    await refuse('pull', {dir: left, branch: 'nothing'}, 404, 'GIT_BRANCH_NOT_FOUND');
    await refuse('fetch', {dir: left, remote: server.url('missing.git')}, 404, 'GIT_REPOSITORY_NOT_FOUND');
    await refuse('fetch', {dir: left, remote: 'nowhere'}, 404, 'GIT_REPOSITORY_NOT_FOUND');
    await refuse('fetch', {dir: left, remote: 'http://host.atoll:1/x.git'}, 502, 'GIT_NETWORK_ERROR');
  });

  it('pulls into a clone of what was empty', async () => {
    const repo = server.url('void.git');
    const first = await git('clone', {repo, dir: '/workspace/void-a'});
    assert.equal(first.commit, '');
    await git('clone', {repo, dir: '/workspace/void-b'});
    await box.sh('echo 1 > f', {cwd: '/workspace/void-a'});
    const {commit: hash} = await commit('/workspace/void-a', 'First');
    await git('push', {dir: '/workspace/void-a'});
    const pulled = await git('pull', {dir: '/workspace/void-b'});
    assert.deepEqual([pulled.before, pulled.commit], [null, hash]);
  });

  it('uses a password for the one call and keeps it nowhere', async () => {
    const repo = server.url('private.git');
    const dir = '/workspace/secret';
    await refuse('clone', {repo, dir}, 401, 'GIT_AUTH_FAILED');
    await refuse('clone', {repo, dir, username: 'u', password: 'wrong-word'}, 401, 'GIT_AUTH_FAILED');
    await git('clone', {repo, dir, username: 'u', password: 'p'});
    assert.equal(await box.sh('cat .git/config', {cwd: dir}).then((text) => /:p@|password/.test(text)), false);
    await refuse('fetch', {dir}, 401, 'GIT_AUTH_FAILED');
    await git('fetch', {dir, username: 'u', password: 'p'});
    const wrong = await call('POST', 'fetch', {dir, remote: repo.replace('://', '://u:wrong-word@')});
    assertError(wrong, 401, 'GIT_AUTH_FAILED');
    assert.doesNotMatch(wrong.text, /wrong-word/);
    await refuse('fetch', {dir, username: 'u\n', password: 'p'}, 400, 'VALIDATION_FAILED');
  });

  it('clones a part, and tells its progress', async () => {
    const repo = server.url('public.git');
    const sparse = '/workspace/sparse';
    await git('clone', {repo, dir: sparse, sparse: ['src'], filter: 'blob:none', depth: 1});
    assert.equal(await box.sh('ls; cat src/main.txt', {cwd: sparse}), 'README.md\nsecond.txt\nsrc\nhello\n');
    const top = '/workspace/top';
    await git('clone', {repo, dir: top, sparse: ['nothing']});
    assert.equal(await box.sh('ls', {cwd: top}), 'README.md\nsecond.txt\n');

    const answer = await open(daemon.port, {
      host: daemon.bare, method: 'POST', path: '/v1/sandboxes/git/git/clone',
      headers: {Accept: 'text/event-stream'}, json: {repo: server.url('slow.git'), dir: '/workspace/slow'}});
    assert.equal(answer.status, 200);
    let text = '';
    for await (const part of answer.stream) text += part;
    const events = text.split('\n\n').filter((line) => line.startsWith('data: ')).map((line) => JSON.parse(line.slice(6)));
    assert.equal(events.at(-1).type, 'complete', text);
    assert.equal(events.at(-1).dir, '/workspace/slow');
    assert.ok(events.some(({type, phase, total}) => type === 'progress' && phase && total > 0), text);
    const failed = await daemon.request('', {
      method: 'POST', path: '/v1/sandboxes/git/git/clone', headers: {Accept: 'text/event-stream'},
      json: {repo, dir: '/workspace/slow'}});
    assertError(failed, 409, 'FILE_EXISTS');
  });

  it('clones through ssh, with a key that is in no file', async () => {
    // What stands in for ssh says how it was called, and serves a repository of the sandbox.
    await box.sh(`git clone -q --bare /workspace/one /workspace/served.git
      printf '%s\\n' '#!/bin/bash' 'printf "%s\\n" "$*" > /tmp/ssh-args' 'ssh-add -l > /tmp/ssh-keys 2>&1' \
        'env | grep -c ^ATOLL_GIT_SSH_KEY= > /tmp/ssh-env' 'exec git-upload-pack /workspace/served.git' > /usr/local/bin/ssh
      chmod +x /usr/local/bin/ssh
      ssh-keygen -q -t ed25519 -N "" -C atoll-test -f /tmp/key`);
    const sshKey = await box.sh('cat /tmp/key');
    const fingerprint = (await box.sh('ssh-keygen -l -f /tmp/key.pub')).split(' ')[1];
    await box.sh('rm /tmp/key /tmp/key.pub');
    const cloned = await git('clone', {repo: 'git@example.org:team/served.git', sshKey});
    assert.equal(cloned.dir, '/workspace/served');
    assert.match(await box.sh('cat /tmp/ssh-args'), /BatchMode=yes .*git@example\.org git-upload-pack 'team\/served\.git'/);
    assert.ok((await box.sh('cat /tmp/ssh-keys')).includes(fingerprint));
    assert.equal(await box.sh('cat /tmp/ssh-env'), '0\n');
    await git('clone', {repo: 'ssh://git@example.org:2222/team/served.git', dir: '/workspace/served2'});
    assert.match(await box.sh('cat /tmp/ssh-args'), /-p 2222 git@example\.org/);
    assert.doesNotMatch(await box.sh('cat /tmp/ssh-keys'), /SHA256/);
    await refuse('clone', {repo: 'git@example.org:x.git', dir: '/workspace/served3', sshKey: 'no key'}, 400, 'VALIDATION_FAILED');
    await box.sh('rm /usr/local/bin/ssh');
    await refuse('clone', {repo: 'ssh://git@host.atoll:1/x.git', dir: '/workspace/served4'}, 502, 'GIT_NETWORK_ERROR');
  });

  it('is not misled by what calls itself git', async () => {
    const other = daemon.sandbox('liar');
    await other.create();
    await other.sh(`printf '#!/bin/sh\\nhead -c 20000000 /dev/urandom\\n' > /usr/local/bin/git; chmod +x /usr/local/bin/git`);
    for (const name of ['status', 'diff', 'log']) {
      const answer = await daemon.request('', {method: 'POST', path: `/v1/sandboxes/liar/git/${name}`, json: {}});
      assert.ok([200, 502].includes(answer.status), answer.text);
    }
    await other.sh(`printf '#!/bin/sh\\nexit 3\\n' > /usr/local/bin/git`);
    const answer = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/liar/git/status', json: {}});
    assertError(answer, 500, 'GIT_OPERATION_FAILED');
  });
});
