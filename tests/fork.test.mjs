// SPDX-License-Identifier: Apache-2.0
// Copies of sandboxes: the same files and conversations under another name, each on its own from
// then on.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, sleep} from './support/daemon.mjs';
import {finalText, StubModel} from './support/stub_model.mjs';
import {ATTRIBUTES, DESCRIBE, makeTree} from './support/tree.mjs';

const KEY = 'sk-test-fork-' + '4f1c'.repeat(4);

// Two counters, one after the other, as fast as that goes: at any moment a is b, or b and one.
const COUNT = `
import os
a = os.open('/workspace/a', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
b = os.open('/workspace/b', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    os.write(a, b'.')
    os.write(b, b'.')
`;

// The same through shared memory, which no time stamp tells of.
const MAPPED = `
import mmap, os, struct, time
maps = []
for name in ('/workspace/map-a', '/workspace/map-b'):
    fd = os.open(name, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 4096)
    maps.append(mmap.mmap(fd, 4096))
n = 0
while True:
    n += 1
    for one in maps:
        one[0:8] = struct.pack('<q', n)
    time.sleep(0.0005)
`;

describe('forks', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('demo');
    await box.create({env: {GREETING: 'hello'}, pids: 500});
  });
  after(() => daemon?.cleanup());

  const fork = async (id, body = {}) => {
    const answer = await daemon.request(id, {method: 'POST', path: '/fork', json: {opencode: false, ...body},
                                             limitMs: 120_000});
    return {status: answer.status, body: answer.json(), ids: answer.json().sandboxes?.map((one) => one.id)};
  };
  const remove = async (...ids) => {
    for (const id of ids) assert.equal((await daemon.sandbox(id).delete()).status, 204);
  };

  it('are new sandboxes with the same files', async () => {
    await box.write('/tmp/describe.py', DESCRIBE);
    await box.write('/tmp/attributes.py', ATTRIBUTES);
    await box.sh(makeTree('/workspace/tree'));
    await box.sh('python3 /tmp/attributes.py /workspace/tree');
    await box.sh(`cd /workspace && chown -R 1000:1000 tree/deep && chown 33 tree/plain
      mkfifo pipe && truncate -s 200M sparse && install -m 6755 /bin/true setuid`);
    const before = await box.sh('python3 /tmp/describe.py /workspace');
    const made = await fork('demo', {id: 'copy'});
    assert.equal(made.status, 200, JSON.stringify(made.body));
    assert.deepEqual(made.ids, ['copy']);
    assert.equal(made.body.sandboxes[0].state, 'running');
    assert.equal(made.body.sandboxes[0].url, daemon.url('copy'));
    const copy = daemon.sandbox('copy');
    assert.deepEqual(JSON.parse(await copy.sh('python3 /tmp/describe.py /workspace')), JSON.parse(before));
    assert.equal(await copy.sh('stat -c "%b" /workspace/sparse'), '0\n', 'holes stay holes');
    assert.equal(await copy.sh('echo $GREETING; hostname'), 'hello\ncopy\n');
    const [one, other] = ['demo', 'copy'].map((id) => daemon.list().then((all) => all.find((each) => each.id === id)));
    assert.equal((await one).pids, (await other).pids);
  });

  it('go their own ways from then on', async () => {
    const copy = daemon.sandbox('copy');
    await copy.sh('echo mine > /workspace/tree/plain; rm /workspace/setuid');
    await box.sh('test -e /workspace/setuid && echo theirs > /workspace/new');
    assert.notEqual(await box.sh('cat /workspace/tree/plain'), 'mine\n');
    assert.equal((await copy.run('test -e /workspace/new')).exitCode, 1);
    await remove('copy');
  });

  it('know what was deleted, and what replaced a directory of the image', async () => {
    await box.sh(`rm /etc/debian_version && rm -r /usr/share/doc && mkdir /usr/share/doc &&
      echo only > /usr/share/doc/only && mv /usr/share/misc /usr/share/moved 2>/dev/null; ls /usr/share > /tmp/list`);
    await fork('demo', {id: 'copy'});
    const copy = daemon.sandbox('copy');
    assert.equal((await copy.run('test -e /etc/debian_version')).exitCode, 1);
    assert.equal(await copy.sh('ls /usr/share/doc'), 'only\n');
    assert.equal(await copy.sh('ls /usr/share'), await box.sh('cat /tmp/list'));
    await remove('copy');
  });

  it('are of one moment, whatever is being written', async () => {
    await box.sh('for i in $(seq 1 400); do head -c 20000 /dev/urandom > /workspace/noise-$i; done');
    await box.background(`exec python3 -c "${COUNT}"`);
    await box.background(`exec python3 -c "${MAPPED.replaceAll('"', '\\"')}"`);
    await sleep(300);
    const made = await fork('demo', {id: 'moment', count: 3});
    assert.equal(made.status, 200, JSON.stringify(made.body));
    assert.deepEqual(made.ids, ['moment', 'moment-2', 'moment-3']);
    assert.equal(made.body.frozen, true);
    const seen = [];
    for (const id of made.ids) {
      const facts = await daemon.sandbox(id).python(`
import json, os, struct
size = lambda name: os.stat('/workspace/' + name).st_size
word = lambda name: struct.unpack('<q', open('/workspace/' + name, 'rb').read(8))[0]
print(json.dumps([size('a'), size('b'), word('map-a'), word('map-b')]))`);
      const [a, b, c, d] = facts;
      assert.ok(a === b || a === b + 1, `a has ${a}, b has ${b}`);
      assert.ok(c === d || c === d + 1, `map-a has ${c}, map-b has ${d}`);
      seen.push(facts);
    }
    assert.deepEqual(seen[1], seen[0], 'all copies are of the same moment');
    assert.deepEqual(seen[2], seen[0]);
    const [first] = JSON.parse(`[${(await box.sh('stat -c %s /workspace/a')).trim()}]`);
    await sleep(100);
    assert.ok(Number(await box.sh('stat -c %s /workspace/a')) > first, 'the source went on');
    await box.sh('pkill python3');
    await remove(...made.ids);
  });

  it('are named after what they are copies of', async () => {
    await daemon.sandbox('demo-3').create();
    const made = await fork('demo', {count: 2});
    assert.deepEqual(made.ids, ['demo-2', 'demo-4']);
    const again = await fork('demo-2');
    assert.deepEqual(again.ids, ['demo-2-2'], 'a copy can be copied');
    assert.equal(await daemon.sandbox('demo-2-2').sh('echo $GREETING'), 'hello\n');
    await remove('demo-2', 'demo-2-2', 'demo-3', 'demo-4');
    const list = JSON.parse(daemon.cli('--config', daemon.config, 'fork', 'demo', 'by-hand', '--count', '2',
                                       '--no-opencode', '--json').stdout);
    assert.deepEqual(list.sandboxes.map((one) => one.id), ['by-hand', 'by-hand-2']);
    await remove('by-hand', 'by-hand-2');
    const answer = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/demo/fork', json: {id: 'by-path', opencode: false}});
    assert.equal(answer.status, 200, answer.text);
    await remove('by-path');
  });

  it('are all made or none', async () => {
    await daemon.sandbox('taken').create();
    for (const [body, status, code] of [
      [{id: 'taken'}, 409, 'SANDBOX_EXISTS'],
      [{id: 'demo'}, 409, 'SANDBOX_EXISTS'],
      [{id: 'Not-An-Id'}, 400, 'INVALID_SANDBOX_ID'],
      [{count: 0}, 400, 'VALIDATION_FAILED'],
      [{count: 17}, 400, 'VALIDATION_FAILED'],
    ]) {
      const refused = await fork('demo', body);
      assert.deepEqual([refused.status, refused.body.code], [status, code], JSON.stringify(refused.body));
    }
    assert.equal((await fork('nobody')).status, 404);
    // One that cannot be copied: deeper than anybody looks.
    await box.python(`
import os
os.chdir('/workspace')
for i in range(900):
    os.mkdir('d')
    os.chdir('d')
print('1')`);
    const deep = await fork('demo', {id: 'deep', count: 2});
    assert.deepEqual([deep.status >= 400, deep.body.code], [true, 'TOO_DEEP']);
    await box.sh('cd /workspace && rm -rf d');
    assert.deepEqual(await daemon.ids(), ['demo', 'taken']);
    assert.equal(await daemon.sandbox('taken').sh('ls /workspace'), '');
    daemon.assertNoLeaks();
    await remove('taken');
  });

  it('outlive what they are copies of, stopped as it may be', async () => {
    const source = daemon.sandbox('source');
    await source.create();
    await source.sh('echo kept > /workspace/file');
    assert.equal((await daemon.request('', {method: 'POST', path: '/v1/sandboxes/source/stop'})).status, 200);
    const made = await fork('source', {id: 'heir'});
    assert.equal(made.status, 200, JSON.stringify(made.body));
    const state = (await daemon.list()).find((one) => one.id === 'source').state;
    assert.equal(state, 'stopped', 'it was not started for that');
    await remove('source');
    assert.equal(await daemon.sandbox('heir').sh('cat /workspace/file'), 'kept\n');
    await remove('heir');
  });

  it('do not wake what is asleep', async () => {
    const source = daemon.sandbox('sleeper');
    await source.create();
    await source.sh('echo dream > /workspace/file');
    await source.background('exec sleep 5555');
    const slept = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/sleeper/sleep', json: {force: true}});
    assert.ok(slept.status < 300, slept.text);
    const made = await fork('sleeper', {id: 'awake'});
    assert.equal(made.status, 200, JSON.stringify(made.body));
    assert.equal((await daemon.list()).find((one) => one.id === 'sleeper').state, 'paused');
    assert.equal(await daemon.sandbox('awake').sh('cat /workspace/file'), 'dream\n');
    assert.equal(await source.sh('pgrep -fc "^sleep 5555"'), '1\n', 'it wakes as ever');
    await remove('sleeper', 'awake');
  });

  it('keep to the limit of disk', async () => {
    const source = daemon.sandbox('small');
    await source.create({disk: '64M'});
    await source.sh('head -c 10M /dev/urandom > /workspace/file && sync');
    const sum = await source.sh('sha256sum /workspace/file');
    const made = await fork('small', {count: 2});
    assert.equal(made.status, 200, JSON.stringify(made.body));
    for (const id of made.ids) {
      const copy = daemon.sandbox(id);
      assert.equal(await copy.sh('sha256sum /workspace/file'), sum);
      const full = await copy.run('head -c 100M /dev/zero > /workspace/more');
      assert.notEqual(full.exitCode, 0);
      assert.match(full.stderr, /No space left|Disk quota exceeded/);
    }
    await remove('small', ...made.ids);
  });

  it('leave nothing when the daemon dies', async () => {
    await box.sh('for i in $(seq 1 200); do head -c 200000 /dev/urandom > /workspace/big-$i; done');
    for (const ms of [5, 30, 80, 150, 300, 600]) {
      const asked = fork('demo', {id: 'half', count: 3}).catch(() => null);
      await sleep(ms);
      await daemon.kill9();
      await asked;
      await daemon.launch();
      for (const id of (await daemon.ids()).filter((each) => each !== 'demo')) {
        // What was finished stays, and is whole.
        assert.equal(await daemon.sandbox(id).sh('ls /workspace/big-* | wc -l'), '200\n', `after ${ms} ms: ${id}`);
        await remove(id);
      }
      assert.equal(await box.sh('echo alive'), 'alive\n');
      daemon.assertNoLeaks();
      const layers = fs.readdirSync(path.join(daemon.stateDir, 'sandboxes'));
      assert.equal(layers.length, 1, `after ${ms} ms: ${layers}`);
      assert.ok(!fs.existsSync(path.join(daemon.stateDir, 'lost')));
    }
  });
});

describe('a fork of a conversation', () => {
  let stub;
  let daemon;

  before(async () => {
    stub = await StubModel.start({key: KEY});
    daemon = await Daemon.start({
      sections: {model: {provider: 'openai', base_url: stub.baseUrl, model: 'stub-1'}},
      files: {'.dev.vars': `OPENAI_API_KEY="${KEY}"\n`},
    });
  });
  after(async () => {
    await daemon?.cleanup();
    await stub?.stop();
  });

  it('goes on where it was', async () => {
    const directory = {'x-opencode-directory': '/workspace'};
    const ask = (id, options) => daemon.request(id, {headers: directory, limitMs: 180_000, ...options});
    await daemon.sandbox('talk').create({opencode: true});
    const session = (await ask('talk', {method: 'POST', path: '/session', json: {}})).json().id;
    const say = (id, text) => ask(id, {method: 'POST', path: `/session/${session}/message`,
                                       json: {parts: [{type: 'text', text}]}});
    assert.equal((await say('talk', 'Write a file.')).status, 200);

    const answer = await daemon.request('talk', {method: 'POST', path: '/fork', json: {id: 'branch', opencode: true},
                                                 limitMs: 200_000});
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json().sandboxes[0].opencode, 'ready');
    const texts = async (id) => (await ask(id, {path: `/session/${session}/message`})).json()
      .flatMap((one) => one.parts).filter((part) => part.type === 'text').map((part) => part.text);
    assert.deepEqual(await texts('branch'), await texts('talk'));
    assert.ok((await texts('branch')).includes(finalText));

    const before = (await texts('talk')).length;
    assert.equal((await say('branch', 'And another.')).status, 200);
    assert.ok((await texts('branch')).length > before);
    assert.equal((await texts('talk')).length, before, 'the other one was told nothing');
  });
});
