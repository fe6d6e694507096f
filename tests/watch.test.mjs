// SPDX-License-Identifier: Apache-2.0
// Watching directories, and asking what has changed.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {Files} from './support/files.mjs';
import {assertError, events, open} from './support/http.mjs';
import {watch} from './support/watch.mjs';

describe('watch', () => {
  let daemon;
  let box;
  let files;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('watch');
    await box.create();
    files = new Files(daemon, 'watch');
  });
  after(() => daemon?.cleanup());

  it('tells what is made, written, removed and moved, wherever it is', async () => {
    await box.sh('mkdir -p /workspace/a/b/c && echo x > /workspace/a/old');
    const one = await watch(daemon, 'watch', 'path=/workspace/a');
    await box.sh('cd /workspace/a && echo 1 > b/c/new && rm old');
    await one.until('create', '/workspace/a/b/c/new');
    await one.until('delete', '/workspace/a/old');
    await box.sh('cd /workspace/a && echo 2 >> b/c/new');
    await one.until('modify', '/workspace/a/b/c/new');
    await box.sh('cd /workspace/a && chmod 600 b/c/new');
    await one.until('attrib', '/workspace/a/b/c/new');
    await box.sh('cd /workspace/a && mv b/c/new b/moved');
    await one.until('move_to', '/workspace/a/b/moved');
    const [from] = one.seen.filter((event) => event.eventType === 'move_from');
    const [to] = one.seen.filter((event) => event.eventType === 'move_to');
    assert.equal(from.path, '/workspace/a/b/c/new');
    assert.equal(from.cookie, to.cookie);
    one.close();
  });

  it('makes one event of what happens at once', async () => {
    await box.sh('mkdir -p /workspace/once');
    const one = await watch(daemon, 'watch', 'path=/workspace/once');
    await box.sh('cd /workspace/once && for i in $(seq 200); do echo $i >> f; done; echo x > gone; rm gone; echo end > end');
    await one.until('create', '/workspace/once/end');
    assert.ok(one.of('/workspace/once/f').length < 20, `${one.of('/workspace/once/f').length}`);
    one.close();
  });

  it('loses nothing that is made in new directories', async () => {
    await box.sh('mkdir -p /workspace/new');
    const one = await watch(daemon, 'watch', 'path=/workspace/new');
    await box.sh('cd /workspace/new && for i in $(seq 50); do mkdir -p d$i/e/f; echo x > d$i/e/f/file; done; ' +
                 'mkdir -p /tmp/outside/deep && echo y > /tmp/outside/deep/in && cp -r /tmp/outside /workspace/moving && mv /workspace/moving in');
    for (let i = 1; i <= 50; i++) await one.until('create', `/workspace/new/d${i}/e/f/file`);
    await one.until('create', '/workspace/new/in/deep/in');
    await box.sh('cd /workspace/new && mv d1 renamed && echo z > renamed/e/f/later');
    await one.until('create', '/workspace/new/renamed/e/f/later');
    one.close();
  });

  it('leaves out what it is told to, and what is not below', async () => {
    await box.sh('mkdir -p /workspace/some/node_modules /workspace/some/src');
    const one = await watch(daemon, 'watch', 'path=/workspace/some&exclude=node_modules,*.log');
    const two = await watch(daemon, 'watch', 'path=/workspace/some&include=*.js');
    const flat = await watch(daemon, 'watch', 'path=/workspace/some&recursive=false');
    await box.sh('cd /workspace/some && echo x > node_modules/m.js && echo x > a.log && echo x > src/a.ts && echo x > src/b.js && echo x > last.js');
    for (const each of [one, two, flat]) await each.until('create', '/workspace/some/last.js');
    assert.deepEqual(one.seen.filter((event) => /node_modules|log$/.test(event.path)), []);
    assert.ok(one.has('create', '/workspace/some/src/a.ts'));
    assert.ok(two.has('create', '/workspace/some/src/b.js') && !two.has('create', '/workspace/some/src/a.ts'));
    assert.ok(!flat.seen.some((event) => event.path?.includes('src/')));
    for (const each of [one, two, flat]) each.close();
  });

  it('tells of a file that is written by its name alone', async () => {
    await box.sh('mkdir -p /workspace/named && cd /workspace/named && echo x > from');
    const one = await watch(daemon, 'watch', 'path=/workspace/named');
    await files.put('/workspace/named/new', 'a', {query: '?mode=600'});
    await files.put('/workspace/named/new', 'b');
    await daemon.request('', {method: 'POST', path: '/v1/sandboxes/watch/fs/copy', json: {from: '/workspace/named/from', to: '/workspace/named/copy'}});
    await box.sh("cd /workspace/named && echo x > '#12' && chmod 600 '#12' && rm '#12' && echo x > end");
    await one.until('create', '/workspace/named/end');
    const names = new Set(one.seen.filter((event) => event.type === 'event').map((event) => event.path.split('/').pop()));
    for (const name of names) assert.ok(['new', 'copy', '#12', 'end'].includes(name), [...names].join(' '));
    assert.ok(names.has('new') && names.has('copy'), [...names].join(' '));
    one.close();
  });

  it('watches one file, also when it is replaced', async () => {
    await files.put('/workspace/single', 'a');
    const one = await watch(daemon, 'watch', 'path=/workspace/single');
    await files.put('/workspace/single', 'b');
    await one.until('move_to', '/workspace/single');
    await box.sh('echo c >> /workspace/single; echo other > /workspace/other');
    await one.until('modify', '/workspace/single');
    assert.ok(one.seen.every((event) => event.path === '/workspace/single'));
    one.close();
  });

  it('says that events were lost when nobody reads them', async () => {
    await box.sh('mkdir -p /workspace/flood');
    const answer = await open(daemon.port, {host: daemon.bare, path: '/v1/sandboxes/watch/watch?path=/workspace/flood'});
    answer.stream.pause();
    await box.python(`
import os, json
for i in range(80000):
    os.close(os.open("/workspace/flood/" + "n" * 200 + str(i), os.O_CREAT | os.O_WRONLY, 0o600))
print(json.dumps(1))`);
    await box.sh('echo end > /workspace/flood/end');
    let lost = false;
    for await (const event of events(answer.stream)) {
      lost ||= event.type === 'overflow';
      if (lost || event.path === '/workspace/flood/end') break;
    }
    assert.ok(lost);
    answer.close();
    await box.sh('rm -rf /workspace/flood');
  });

  it('has a bound of watches in a sandbox, and gives places back', async () => {
    const all = [];
    for (let i = 0; i < 32; i++) all.push(await watch(daemon, 'watch', 'path=/workspace'));
    const one = {path: '/v1/sandboxes/watch/watch?path=/workspace'};
    assertError(await daemon.request('', one), 503, 'TOO_MANY_WATCHES');
    for (const each of all) each.close();
    await eventually('there is room again', async () => {
      const answer = await open(daemon.port, {host: daemon.bare, ...one});
      answer.close();
      return answer.status === 200;
    });
  });

  it('ends when what it watches is gone, and when it was never there', async () => {
    await box.sh('mkdir -p /workspace/short');
    const one = await watch(daemon, 'watch', 'path=/workspace/short');
    await box.sh('rmdir /workspace/short');
    await one.ended;
    assert.equal(one.failure(), null);
    assert.equal(one.seen.at(-1).type, 'stopped');
    assertError(await daemon.request('', {path: '/v1/sandboxes/watch/watch?path=/workspace/none'}), 404, 'FILE_NOT_FOUND');
  });

  it('says whether anything has changed', async () => {
    await box.sh('mkdir -p /workspace/ch/sub /workspace/ch/node_modules && echo x > /workspace/ch/sub/f');
    const ask = async (since, more = {}) => {
      const answer = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/watch/changes', json: {path: 'ch', since, ...more}});
      assert.equal(answer.status, 200, answer.text);
      return answer.json();
    };
    const exclude = ['node_modules'];
    let last = await ask(undefined, {exclude});
    assert.equal(last.status, 'changed');
    assert.equal((await ask(last.version, {exclude})).status, 'unchanged');
    await box.sh('echo y > /workspace/ch/node_modules/m');
    assert.equal((await ask(last.version, {exclude})).status, 'unchanged');
    for (const command of ['echo yy > sub/f', 'touch -d 2020-01-01 sub/f', 'mv sub/f sub/g', 'chmod 600 sub/g', 'mkdir e', 'rm sub/g']) {
      await box.sh(`cd /workspace/ch && ${command}`);
      const now = await ask(last.version, {exclude});
      assert.equal(now.status, 'changed', command);
      last = now;
    }
    const include = ['*.ts', 'src/**'];
    last = await ask(undefined, {include});
    await box.sh('cd /workspace/ch && mkdir other && touch a.js other/b.js');
    assert.equal((await ask(last.version, {include})).status, 'unchanged');
    for (const command of ['touch other/b.ts', 'mkdir src && touch src/x', 'echo y > src/x', 'rm other/b.ts']) {
      await box.sh(`cd /workspace/ch && ${command}`);
      const now = await ask(last.version, {include});
      assert.equal(now.status, 'changed', command);
      last = now;
    }
    assert.equal((await ask('what is this')).status, 'resync');
    assert.equal((await ask('0'.repeat(32))).status, 'changed');
    assertError(await daemon.request('', {method: 'POST', path: '/v1/sandboxes/watch/changes', json: {path: 'nowhere'}}), 404, 'FILE_NOT_FOUND');
  });

  it('ends cleanly with the daemon, and goes on with the next', async () => {
    const one = await watch(daemon, 'watch', 'path=/workspace');
    await daemon.restart();
    await one.ended;
    assert.equal(one.failure(), null);
    assert.equal(one.seen.at(-1).type, 'stopped');
    const two = await watch(daemon, 'watch', 'path=/workspace');
    await box.sh('echo x > /workspace/after');
    await two.until('create', '/workspace/after');
    two.close();
  });
});
