// SPDX-License-Identifier: Apache-2.0
// Copies of sandboxes in which what runs goes on, each on its own from that moment, while the source
// goes on as if nothing had happened.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, preparedState, sleep} from './support/daemon.mjs';
import {StubModel} from './support/stub_model.mjs';

const criu = path.join(preparedState, 'criu', 'criu');
const skip = fs.existsSync(criu) ? false : "there is no CRIU: 'make criu' builds it";
const KEY = 'sk-test-fork-memory-' + '7e2d'.repeat(4);

// In memory and in a file at once: a copy whose memory is of another moment than its files shows.
const COUNTER = `
import os, random, time
f = os.open('/workspace/count', os.O_RDWR | os.O_CREAT)
n = 0
while True:
    line = b'%d\\n' % n
    assert n == 0 or os.pread(f, 32, 0) == line, 'the file is not of this moment'
    n += 1
    os.pwrite(f, b'%d\\n' % n, 0)
    time.sleep(0.01)
`;

// Answers with a number from the kernel and one of its own host.
const SERVER = `
import http.server, os, socket
class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_GET(self):
        body = ('%s %s %d' % (os.urandom(16).hex(), socket.gethostname(), os.getpid())).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(('127.0.0.1', 3000), Answer).serve_forever()
`;

async function fork(daemon, id, body = {}) {
  const answer = await daemon.request(id, {
    method: 'POST', path: '/fork', json: {memory: true, opencode: false, ...body}, limitMs: 180_000,
  });
  const json = answer.json();
  return {status: answer.status, body: json, ids: json.sandboxes?.map((one) => one.id), text: answer.text};
}
async function forked(daemon, id, body) {
  const made = await fork(daemon, id, body);
  assert.equal(made.status, 200, made.text);
  assert.equal(made.body.memory, true);
  return made;
}
async function api(daemon, method, target, json) {
  const answer = await daemon.request('', {method, path: `/v1/sandboxes/${target}`, json, limitMs: 120_000});
  assert.ok(answer.status < 300, `${method} ${target}: ${answer.status} ${answer.text}`);
  return answer.text ? answer.json() : null;
}
async function remove(daemon, ...ids) {
  for (const id of ids) assert.equal((await daemon.sandbox(id).delete()).status, 204);
}
const number = async (box) => Number(await box.sh('cat /workspace/count'));
const stateOf = async (daemon, id) => (await daemon.list()).find((one) => one.id === id)?.state;
const kept = (daemon) => {
  const dir = path.join(daemon.stateDir, 'memory');
  return fs.existsSync(dir) ? fs.readdirSync(dir) : [];
};

describe('a fork with what runs', {skip}, () => {
  let daemon;
  let box;
  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('demo');
    await box.create({env: {GREETING: 'hello'}});
    await box.write('/tmp/counter.py', COUNTER);
    await box.write('/tmp/server.py', SERVER);
    await box.background('exec python3 /tmp/counter.py 2> /tmp/counter.err');
    await box.background('exec python3 /tmp/server.py');
    await eventually('it counts', async () => await number(box).catch(() => 0) > 5);
  });
  after(() => daemon?.cleanup());
  const counts = async (one) => {
    const at = await number(one);
    await eventually(`${one.id} counts on`, async () => await number(one) > at);
    assert.equal(await one.sh('cat /tmp/counter.err'), '', 'files and memory are of one moment');
  };

  it('goes on in the copy and in the source, each on its own', async () => {
    const started = await api(daemon, 'POST', 'demo/processes', {command: 'echo begun; exec sleep 4321'});
    const session = await api(daemon, 'POST', 'demo/sessions', {});
    const inSession = (id, command) => api(daemon, 'POST', `${id}/exec`, {command, session: session.id});
    await inSession('demo', 'cd /tmp; secret=of-this-shell');
    const before = await number(box);
    const made = await forked(daemon, 'demo', {id: 'copy'});
    assert.deepEqual(made.ids, ['copy']);
    const copy = daemon.sandbox('copy');
    assert.ok(await number(copy) >= before, 'it did not begin anew');
    await counts(copy);
    await counts(box);
    assert.equal(await copy.sh('hostname; echo $GREETING; getent hosts copy | head -n 1'),
                 'copy\nhello\n127.0.1.1       copy\n');
    assert.equal(await box.sh('hostname'), 'demo\n');
    for (const id of ['demo', 'copy']) {
      const process = await api(daemon, 'GET', `${id}/processes/${started.id}`);
      assert.deepEqual([process.status, process.pid], ['running', started.pid]);
      assert.equal((await inSession(id, 'pwd; echo $secret')).stdout, '/tmp\nof-this-shell\n');
    }
    await inSession('copy', 'secret=another; echo x > /workspace/mine');
    assert.equal((await inSession('demo', 'echo $secret')).stdout, 'of-this-shell\n');
    await box.sh('pkill -f "sleep 4321"');
    assert.equal((await api(daemon, 'GET', `copy/processes/${started.id}`)).status, 'running');
    assert.equal((await box.run('test -e /workspace/mine')).exitCode, 1);
    assert.deepEqual(kept(daemon), [], 'nothing of it is left on the disk');
    await remove(daemon, 'copy');
    await counts(box);
  });

  it('ends nothing that anybody waits for in the source', async () => {
    const running = box.run('for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done; echo done');
    const held = daemon.request('3000-demo', {path: '/'});
    await sleep(400);
    const made = await forked(daemon, 'demo', {id: 'copy'});
    assert.ok(made.body.freezeMs > 0);
    assert.equal((await running).stdout, '1\n2\n3\n4\n5\n6\ndone\n');
    assert.equal((await held).status, 200);
    const copy = daemon.sandbox('copy');
    // Nobody waits for it there.
    await eventually('it is gone in the copy', async () =>
      (await copy.sh('pgrep -fc "[s]leep 0.3; done" || true')).trim() === '0');
    await remove(daemon, 'copy');
  });

  it('serves in the copy what it serves in the source, with random numbers of its own', async () => {
    const made = await forked(daemon, 'demo', {count: 3});
    assert.deepEqual(made.ids, ['demo-2', 'demo-3', 'demo-4']);
    const seen = [];
    for (const id of ['demo', ...made.ids]) {
      const answer = await daemon.request(`3000-${id}`, {path: '/'});
      assert.equal(answer.status, 200, answer.text);
      const [random, host, pid] = answer.text.split(' ');
      assert.equal(host, id);
      seen.push({random, pid});
      await counts(daemon.sandbox(id));
    }
    assert.equal(new Set(seen.map((one) => one.random)).size, 4);
    assert.equal(new Set(seen.map((one) => one.pid)).size, 1, 'the same process in each');
    const first = daemon.sandbox('demo-2');
    const again = await forked(daemon, 'demo-2', {id: 'grandchild'});
    await counts(daemon.sandbox(again.ids[0]));
    await counts(first);
    await remove(daemon, ...made.ids, 'grandchild');
    daemon.assertNoLeaks();
  });

  it('is as confined as any other, stops and starts, sleeps and keeps its memory', async () => {
    await forked(daemon, 'demo', {id: 'copy'});
    const copy = daemon.sandbox('copy');
    const facts = `id -u; cat /proc/1/uid_map | tr -s ' ' | cut -d' ' -f2,4; grep -E 'Seccomp|NoNewPrivs|CapBnd' /proc/self/status
      cat /proc/self/cgroup | sed 's/.*://' | sort -u; ls /sys/class/net; cat /proc/sys/net/ipv4/ip_unprivileged_port_start`;
    assert.equal(await copy.sh(facts), await box.sh(facts));
    const map = (one) => one.sh("tr -s ' ' < /proc/1/uid_map | cut -d' ' -f3");
    assert.notEqual(await map(copy), await map(box), 'it has ids of its own');
    await api(daemon, 'POST', 'copy/sleep', {force: true});
    await counts(copy);
    const stopped = await api(daemon, 'POST', 'copy/stop', {keepMemory: true});
    assert.equal(stopped.memoryKept, true, JSON.stringify(stopped));
    assert.equal((await api(daemon, 'GET', 'copy')).memoryKept, true);
    await counts(copy);
    assert.equal((await api(daemon, 'GET', 'copy')).memoryKept, undefined);
    await api(daemon, 'POST', 'copy/stop');
    assert.equal((await api(daemon, 'GET', 'copy')).memoryKept, false);
    assert.equal((await copy.run('pgrep -f counter.py')).exitCode, 1);
    await remove(daemon, 'copy');
  });

  it('is made of one that sleeps, which goes on sleeping, and of one that was stopped', async () => {
    await api(daemon, 'POST', 'demo/sleep', {force: true});
    await forked(daemon, 'demo', {id: 'awake'});
    assert.equal(await stateOf(daemon, 'demo'), 'paused');
    await counts(daemon.sandbox('awake'));
    assert.equal(await stateOf(daemon, 'demo'), 'paused');
    await counts(box);
    await api(daemon, 'POST', 'awake/stop', {keepMemory: true});
    await forked(daemon, 'awake', {id: 'second'});
    await counts(daemon.sandbox('second'));
    await counts(daemon.sandbox('awake'));
    await remove(daemon, 'awake', 'second');
  });

  it('is of one moment while files are watched, written, mapped, and connections are open', async () => {
    await box.write('/tmp/busy.py', `
import mmap, os, socket, threading, time
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
peer, _ = server.accept()
pair = socket.socketpair()
with open('/workspace/mapped', 'wb') as f: f.truncate(4096)
mapped = mmap.mmap(os.open('/workspace/mapped', os.O_RDWR), 4096)
gone = open('/tmp/gone', 'w+'); gone.write('still there'); gone.flush(); os.unlink('/tmp/gone')
n = 0
while True:
    n += 1
    mapped[0:8] = n.to_bytes(8, 'little')
    pair[0].send(b'x'); assert pair[1].recv(1) == b'x'
    gone.seek(0); assert gone.read() == 'still there'
    open('/workspace/busy', 'w').write(str(n))
    time.sleep(0.002)
`);
    await box.background('exec python3 /tmp/busy.py 2> /tmp/busy.err');
    await box.sh('mkdir -p /workspace/src/deep && echo 1 > /workspace/src/deep/file');
    await box.background(`exec node -e '
      const fs = require("fs");
      const tell = (what) => (event, name) => fs.appendFileSync("/tmp/events", what + " " + name + "\\n");
      fs.watch("/workspace/src/deep", tell("directory"));
      fs.watch("/workspace/src/deep/file", tell("file"));
      fs.writeFileSync("/tmp/events", "");' 2> /tmp/watch.err`);
    await eventually('it is busy', async () => (await box.run('test -s /workspace/busy && test -e /tmp/events')).exitCode === 0);
    await forked(daemon, 'demo', {id: 'copy'});
    for (const one of [box, daemon.sandbox('copy')]) {
      const at = Number(await one.sh('cat /workspace/busy'));
      await eventually(`${one.id} is busy`, async () => Number(await one.sh('cat /workspace/busy')) > at);
      assert.equal(await one.sh('cat /tmp/busy.err'), '');
      await counts(one);
      await one.sh(`echo ${one.id} >> /workspace/src/deep/file; echo > /workspace/src/deep/new-${one.id}`);
      await eventually(`${one.id} sees what changes`, async () => {
        const events = await one.sh('cat /tmp/events /tmp/watch.err');
        return events.includes('file file') && events.includes(`directory new-${one.id}`);
      });
    }
    assert.ok(!(await box.sh('cat /tmp/events')).includes('copy'), 'and not what changes elsewhere');
    await box.sh('pkill -f "[b]usy.py"; pkill node');
    await remove(daemon, 'copy');
  });

  it('takes no more of the disk than it may have of memory, and leaves the source alone', async () => {
    const shares = daemon.sandbox('shares');
    await shares.create({memory: '128M'});
    await shares.write('/tmp/counter.py', COUNTER);
    await shares.background('exec python3 /tmp/counter.py 2> /tmp/counter.err');
    await shares.write('/root/share.py', `
import os, time
shared = os.urandom(40 << 20)
for _ in range(12):
    if os.fork() == 0: break
open('/dev/shm/there', 'a').write('x')
time.sleep(1000)
`);
    await shares.background('exec python3 /root/share.py');
    await eventually('all are there', async () => await shares.sh('wc -c < /dev/shm/there || true') === '13\n');
    const made = await fork(daemon, 'shares', {id: 'copy'});
    assert.ok(made.status >= 500, made.text);
    assert.match(made.text, /takes more than 192 MiB/);
    await counts(shares);
    assert.equal(await shares.sh('pgrep -fc "[s]hare.py"'), '13\n');
    assert.deepEqual(kept(daemon), []);
    await remove(daemon, 'shares');
  });

  it('is asked for by whom it may be, and by the command line', async () => {
    for (const memory of ['yes', 1, {}]) {
      assert.equal((await fork(daemon, 'demo', {memory})).status, 400);
    }
    assert.equal((await fork(daemon, 'nobody')).status, 404);
    assert.deepEqual((await fork(daemon, 'demo', {id: 'demo'})).body.code, 'SANDBOX_EXISTS');
    const list = JSON.parse(daemon.cli('--config', daemon.config, 'fork', 'demo', 'by-hand', '--memory',
                                       '--no-opencode', '--json').stdout);
    assert.equal(list.memory, true);
    await counts(daemon.sandbox('by-hand'));
    await remove(daemon, 'by-hand');
  });

  it('loses nothing when the daemon dies', async () => {
    for (const ms of [10, 60, 120, 200, 350, 500, 800]) {
      const asked = fork(daemon, 'demo', {id: 'half', count: 2}).catch(() => null);
      await sleep(ms);
      await daemon.kill9();
      await asked;
      await daemon.launch();
      await counts(box);
      assert.match(await box.sh('cat /proc/1/cgroup'), /agent\n/, 'its agent is where it belongs');
      for (const id of (await daemon.ids()).filter((each) => each !== 'demo')) {
        await counts(daemon.sandbox(id));
        // Also one whose copying was as good as done.
        assert.equal(await daemon.sandbox(id).sh('hostname; grep -c /agent /proc/1/cgroup > /dev/null'), `${id}\n`);
        await remove(daemon, id);
      }
      daemon.assertNoLeaks();
      assert.deepEqual(kept(daemon), [], `after ${ms} ms`);
      const layers = fs.readdirSync(path.join(daemon.stateDir, 'sandboxes'));
      assert.equal(layers.length, 1, `after ${ms} ms: ${layers}`);
    }
  });
});

describe('a fork with what runs that fails', {skip}, () => {
  let daemon;
  let dir;
  let box;
  const program = () => path.join(dir, 'criu');
  const breaks = (verb, how) => fs.writeFileSync(path.join(dir, `breaks-${verb}`), how);
  const mend = () => {
    for (const name of fs.readdirSync(dir)) if (name.startsWith('breaks-')) fs.rmSync(path.join(dir, name));
  };
  before(async () => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-criu-'));
    fs.chmodSync(dir, 0o755);
    fs.writeFileSync(program(), `#!/bin/bash
[ -e ${dir}/breaks-$1 ] && . ${dir}/breaks-$1
exec ${criu} "$@"
`, {mode: 0o755});
    daemon = await Daemon.start({sections: {pool: {criu: program()}}});
    box = daemon.sandbox('demo');
    await box.create();
    await box.write('/tmp/counter.py', COUNTER);
    await box.background('exec python3 /tmp/counter.py 2> /tmp/counter.err');
    await eventually('it counts', async () => await number(box).catch(() => 0) > 5);
  });
  after(async () => {
    await daemon?.cleanup();
    fs.rmSync(dir, {recursive: true, force: true});
  });

  for (const [what, verb, how] of [
    ['the disk is full in the middle of it', 'dump', "trap '' XFSZ; ulimit -f 300"],
    ['what runs cannot be written at all', 'dump', 'exit 1'],
    ['what was written cannot be restored', 'restore', 'exit 1'],
    ['the disk is full as it is restored', 'restore', "trap '' XFSZ; ulimit -f 0"],
  ]) {
    it(`leaves the source as it was and no copy when ${what}`, async () => {
      breaks(verb, how);
      for (const asleep of [false, true]) {
        if (asleep) await api(daemon, 'POST', 'demo/sleep', {force: true});
        const made = await fork(daemon, 'demo', {id: 'copy', count: 2});
        assert.ok(made.status >= 500, made.text);
        assert.equal(made.body.code, 'FORK_MEMORY_FAILED', made.text);
        assert.equal(await stateOf(daemon, 'demo'), asleep ? 'paused' : 'running');
        const at = await number(box);
        await eventually('it goes on', async () => await number(box) > at);
        assert.equal(await box.sh('cat /tmp/counter.err; hostname; pgrep -fc counter.py'), 'demo\n1\n');
        assert.deepEqual(await daemon.ids(), ['demo']);
        assert.deepEqual(kept(daemon), []);
      }
      daemon.assertNoLeaks();
      mend();
      await forked(daemon, 'demo', {id: 'copy'});
      assert.ok(await number(daemon.sandbox('copy')) > 0);
      await remove(daemon, 'copy');
    });
  }
});

describe('a fork with what runs, without CRIU', () => {
  it('is refused, with what to do', async () => {
    const daemon = await Daemon.start({sections: {pool: {criu: '/nowhere/criu'}}, env: {PATH: '/usr/sbin:/usr/bin:/sbin:/bin'}});
    try {
      await daemon.sandbox('demo').create();
      const made = await fork(daemon, 'demo', {id: 'copy'});
      // Where the distribution has one, it is found all the same.
      if (made.status === 200) return;
      assert.equal(made.body.code, 'MEMORY_UNSUPPORTED', made.text);
      assert.match(made.body.suggestion, /setup --criu/);
      assert.deepEqual(await daemon.ids(), ['demo']);
    } finally {
      await daemon.cleanup();
    }
  });
});

describe('a fork of OpenCode that runs', {skip}, () => {
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

  it('goes on in both, with the conversation, and no copy draws what another draws', async () => {
    const directory = {'x-opencode-directory': '/workspace'};
    const ask = (id, options) => daemon.request(id, {headers: directory, limitMs: 180_000, ...options});
    const box = daemon.sandbox('talk');
    await box.create({opencode: true});
    const newSession = async (id) => (await ask(id, {method: 'POST', path: '/session', json: {}})).json().id;
    const session = await newSession('talk');
    const say = async (id, text) => {
      const said = await ask(id, {method: 'POST', path: `/session/${session}/message`,
                                  json: {parts: [{type: 'text', text}]}});
      assert.equal(said.status, 200, said.text);
    };
    const messages = async (id) => (await ask(id, {path: `/session/${session}/message`})).json();
    await say('talk', 'Write a file.');
    const pidOf = (one) => one.sh('pgrep -o -f "opencode serve"');
    const pid = await pidOf(box);
    const before = await messages('talk');

    const made = await forked(daemon, 'talk', {count: 2, opencode: true});
    const all = ['talk', ...made.ids];
    for (const id of all) {
      assert.equal(await pidOf(daemon.sandbox(id)), pid, `${id} goes on with the same process`);
      assert.deepEqual(await messages(id), before);
    }
    const drawn = [];
    for (let round = 0; round < 3; ++round) {
      for (const id of all) drawn.push((await newSession(id)).slice(16));
    }
    assert.equal(new Set(drawn).size, drawn.length, drawn.join(' '));
    await say('talk-2', 'And another.');
    assert.ok((await messages('talk-2')).length > before.length);
    assert.equal((await messages('talk')).length, before.length, 'the other one was told nothing');
    await say('talk', 'And one more.');
  });
});
