// SPDX-License-Identifier: Apache-2.0
// Cloning over http from a real git server, and every way in which it fails.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {GitServer} from './support/git_server.mjs';
import {assertError, open} from './support/http.mjs';

describe('git clone', () => {
  let git;
  let daemon;
  let box;

  before(async () => {
    git = await GitServer.start();
    daemon = await Daemon.start({sections: {egress: {host_ports: [git.port]}}});
    box = daemon.sandbox('git');
    await box.create();
  });
  after(async () => {
    await git?.stop();
    await daemon?.cleanup();
  });

  const clone = (body) => box.post('/gitClone', body, {limitMs: 180_000});

  it('clones the default branch into /workspace/<name>', async () => {
    const repo = git.url('public.git');
    const answer = await clone({repo});
    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(answer.json(), {repo, dir: '/workspace/public', branch: 'main', commit: git.mainCommit});
    assert.equal(await box.sh('cat public/second.txt; git -C public log --oneline | wc -l'), 'second\n2\n');
  });

  it('clones a branch, shallow, to where it was asked to', async () => {
    const answer = await clone({repo: git.url('public.git'), branch: 'feature', dir: '/workspace/a b/c', depth: 1});
    assert.equal(answer.status, 200, answer.text);
    const {dir, branch, commit} = answer.json();
    assert.deepEqual({dir, branch, commit}, {dir: '/workspace/a b/c', branch: 'feature', commit: git.featureCommit});
    assert.equal(await box.sh('cd "/workspace/a b/c" && git log --oneline | wc -l && cat feature.txt'), '1\nfeature\n');
  });

  it('clones as another user, and for no longer than it may', async () => {
    await box.sh('mkdir -m 777 /workspace/open');
    const answer = await clone({repo: git.url('public.git'), dir: '/workspace/open/theirs', user: '1234:1234'});
    assert.equal(answer.status, 200, answer.text);
    assert.equal(await box.sh('stat -c %u:%g open/theirs open/theirs/second.txt'), '1234:1234\n1234:1234\n');
    const late = await clone({repo: git.url('hang.git'), dir: '/workspace/late', timeoutMs: 500});
    assertError(late, 502, 'GIT_NETWORK_ERROR');
    assert.match(late.text, /500 ms/);
    assert.equal(await box.sh('ls -d late .clone-* 2>/dev/null; true'), '');
  });

  it('refuses a target that exists', async () => {
    assertError(await clone({repo: git.url('public.git')}), 409);
    assert.equal(await box.sh('cat public/second.txt'), 'second\n');
  });

  it('says that a repository or branch does not exist', async () => {
    assertError(await clone({repo: git.url('missing.git')}), 404, 'GIT_REPOSITORY_NOT_FOUND');
    assertError(await clone({repo: git.url('public.git'), branch: 'nope', dir: '/workspace/nope'}), 404,
                'GIT_BRANCH_NOT_FOUND');
    assert.equal(await box.sh('ls -d /workspace/missing /workspace/nope 2>/dev/null; true'), '');
  });

  it('says that a password is needed, without asking for one', async () => {
    assertError(await clone({repo: git.url('private.git')}), 401, 'GIT_AUTH_FAILED');
    assert.equal(await box.sh('ls -d /workspace/private 2>/dev/null; true'), '');
  });

  it('takes a password from the URL and does not repeat it', async () => {
    const repo = git.url('private.git').replace('://', '://u:p@');
    const answer = await clone({repo, dir: '/workspace/with-password'});
    assert.equal(answer.status, 200, answer.text);
    assert.doesNotMatch(answer.text, /u:p@/);
    const wrong = await clone({repo: repo.replace('u:p', 'u:wrong-word'), dir: '/workspace/wrong'});
    assertError(wrong, 401, 'GIT_AUTH_FAILED');
    assert.doesNotMatch(wrong.text, /wrong-word/);
  });

  it('says that a host cannot be reached', async () => {
    for (const repo of ['http://10.0.0.1/a.git', 'http://host.atoll:1/a.git', 'https://no-such-host.invalid/a.git']) {
      assertError(await clone({repo}), 502, 'GIT_NETWORK_ERROR');
    }
  });

  it('refuses URLs that are neither http, https nor ssh', async () => {
    for (const repo of ['example.org:a.git', 'file:///workspace/public',
                        '/workspace/public', 'ext::sh -c "touch /tmp/pwned"', '--upload-pack=touch /tmp/pwned',
                        'http://', 'http:///a.git', 'git://example.org/a.git', 'ssh://-oProxyCommand=x/a.git', '-oA@b:c']) {
      assertError(await clone({repo}), 400, 'INVALID_GIT_URL');
    }
    const option = await clone({
      repo: git.url('public.git'), branch: '--upload-pack=touch /tmp/pwned', dir: '/workspace/x'});
    assert.ok([400, 404].includes(option.status), option.text);
    const dash = await clone({repo: git.url('public.git'), dir: '--bare'});
    assertError(dash, 400);
    assert.equal(await box.sh('ls /tmp/pwned 2>/dev/null; true'), '');
  });

  it('ends a clone when the client goes away', async () => {
    const body = {repo: git.url('hang.git'), dir: '/workspace/gone'};
    const asked = open(daemon.port, {host: daemon.host('git'), method: 'POST', path: '/gitClone', json: body,
                                     limitMs: 4000});
    await assert.rejects(asked, /no answer/);
    await eventually('git is gone', async () => await box.sh('pgrep -c "^git" || true') === '0\n', 60_000);
    assert.equal(await box.sh('ls -d /workspace/gone 2>/dev/null; true'), '');
  });

  it('gives up on a server that hangs, and works meanwhile', async () => {
    const hanging = clone({repo: git.url('hang.git'), dir: '/workspace/hung'});
    assert.equal(await box.sh('echo works'), 'works\n');
    assertError(await hanging, 502, 'GIT_NETWORK_ERROR');
    assert.equal(await box.sh('ls -d /workspace/hung 2>/dev/null; true'), '');
  });
});
