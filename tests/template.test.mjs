// SPDX-License-Identifier: Apache-2.0
// A sandbox that goes on from a booted template is like any other, and one whose template is broken
// boots.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, preparedState} from './support/daemon.mjs';

const criu = path.join(preparedState, 'criu', 'criu');
const skip = fs.existsSync(criu) ? false : "there is no CRIU: 'make criu' builds it";

// The host is busy with other tests: that is no reason here.
const pool = {warm_target: 0, templates: true, refresh_interval: '1s', max_load: 100_000, free_memory: '64M'};

const templates = (daemon) => {
  const dir = path.join(daemon.stateDir, 'templates');
  return fs.existsSync(dir) ? fs.readdirSync(dir).filter((name) => !name.endsWith('.part')) : [];
};
const made = (daemon) => eventually('a template is made', () => templates(daemon).length === 1, 180_000);

async function create(daemon, id, more = {}) {
  const answer = await daemon.request(id, {
    method: 'POST', path: '/create', json: {opencode: true, ...more}, limitMs: 180_000,
  });
  assert.equal(answer.status, 200, answer.text);
  return answer.json();
}
const revived = (created) => created.phases.revive !== undefined;

async function healthy(daemon, id) {
  const answer = await daemon.request(id, {path: '/global/health', limitMs: 60_000});
  assert.equal(answer.json().healthy, true, answer.text);
}

describe('a sandbox from a template', {skip}, () => {
  let daemon;
  let one;
  let two;
  before(async () => {
    daemon = await Daemon.start({sections: {pool}});
    await made(daemon);
    [one, two] = ['one', 'two'].map((id) => daemon.sandbox(id));
    const both = await Promise.all([create(daemon, 'one'), create(daemon, 'two', {env: {OWN: 'yes'}})]);
    assert.deepEqual(both.map(revived), [true, true], JSON.stringify(both));
  });
  after(async () => { await daemon?.cleanup(); });

  it('has OpenCode at once, whose sessions are its own', async () => {
    const ids = [];
    for (const id of ['one', 'two']) {
      await healthy(daemon, id);
      const session = await daemon.request(id, {method: 'POST', path: '/session', json: {}});
      assert.equal(session.status, 200, session.text);
      ids.push(session.json().id);
    }
    const listed = (await daemon.request('two', {path: '/session'})).json().map((session) => session.id);
    assert.deepEqual(listed, [ids[1]]);
  });

  it('draws no id that another draws', async () => {
    const drawn = new Set();
    for (let round = 0; round < 3; ++round) {
      for (const id of ['one', 'two']) {
        const session = await daemon.request(id, {method: 'POST', path: '/session', json: {}});
        drawn.add(session.json().id.slice(16));
      }
    }
    assert.equal(drawn.size, 6, [...drawn].join(' '));
  });

  it('has the limit of disk that its creator asks for', async () => {
    const created = await create(daemon, 'bounded', {disk: '256M'});
    assert.ok(revived(created), JSON.stringify(created.phases));
    await healthy(daemon, 'bounded');
    const bounded = daemon.sandbox('bounded');
    const size = Number((await bounded.sh('df --output=size -B1 / | tail -1')).trim());
    assert.ok(size <= 256 * 1024 * 1024, `${size}`);
    const written = await bounded.run('head -c 300M /dev/zero > /workspace/big');
    assert.match(written.stderr, /No space left on device|Disk quota exceeded/);
    await bounded.sh('rm /workspace/big');
    assert.equal((await bounded.delete()).status, 204);
  });

  it('has a name, files, environment and user ids of its own', async () => {
    assert.equal(await one.sh('hostname; getent hosts "$(hostname)" | cut -d" " -f1'), 'one\n127.0.1.1\n');
    assert.equal(await two.sh('hostname; echo $OWN'), 'two\nyes\n');
    await one.sh('echo of one > /workspace/file; touch /root/mine; stat -c %u /root/mine');
    assert.equal(await two.sh('ls /workspace; ls /root/mine 2>&1 | tail -c 26; stat -c %u:%g / /etc/hosts /root'),
                 'No such file or directory\n0:0\n0:0\n0:0\n');
    const maps = new Set();
    for (const iid of fs.readdirSync(path.join(daemon.runDir, 'crun'))) {
      const {pid} = JSON.parse(fs.readFileSync(path.join(daemon.runDir, 'crun', iid, 'status'), 'utf8'));
      maps.add(fs.readFileSync(`/proc/${pid}/uid_map`, 'utf8'));
    }
    assert.equal(maps.size, 2);
  });

  it('is confined like any other', async () => {
    await daemon.sandbox('plain').create();
    // PID 1 shows its descriptors' numbers to nobody there; elsewhere root may count them.
    const look = 'grep -E "^(Seccomp|NoNewPrivs|Cap(Eff|Bnd|Prm))" /proc/self/status; ' +
      'readlink /proc/1/fd/3; cat /proc/1/mem 2>&1 | tail -c 19; unshare -r true 2>&1 | tail -c 26; ' +
      'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range ' +
      '/proc/sys/net/ipv6/conf/all/disable_ipv6; mount | sed "s/ .* on / on /" | grep -v overlay | ' +
      'sed "s/(.*//" | sort; ls /dev; cat /proc/self/cgroup | sed "s/[0-9a-f]\\{16\\}/IID/" | sort; ' +
      'ip -o addr 2>/dev/null; curl -s -m 3 http://10.0.0.1/ ; echo $?';
    assert.equal(await two.sh(look), await daemon.sandbox('plain').sh(look));
    assert.equal((await daemon.sandbox('plain').delete()).status, 204);
  });

  it('sleeps, wakes, stops, starts, forks and comes back from a snapshot', async () => {
    await one.sh('echo kept > /workspace/file');
    const act = (what, json = {}) => daemon.request('', {
      method: 'POST', path: `/v1/sandboxes/one/${what}`, json, limitMs: 120_000,
    });
    assert.equal((await act('sleep', {force: true})).json().state, 'paused');
    await healthy(daemon, 'one');
    const snapshot = (await act('snapshot', {dir: '/workspace'})).json().snapshotId;
    await one.sh('rm /workspace/file');
    assert.equal((await act(`restore/${snapshot}`)).status, 200);
    assert.equal(await one.sh('cat /workspace/file'), 'kept\n');
    const fork = await act('fork', {id: 'three', opencode: true});
    assert.equal(fork.status, 200, fork.text);
    assert.equal(await daemon.sandbox('three').sh('hostname; cat /workspace/file'), 'three\nkept\n');
    assert.equal((await act('stop')).status, 200);
    assert.equal(await one.sh('cat /workspace/file; hostname'), 'kept\none\n');
    await healthy(daemon, 'one');
    assert.equal((await daemon.sandbox('three').delete()).status, 204);
  });

  it('is adopted by the next daemon', async () => {
    await two.sh('echo before > /workspace/file; sleep 1000 >/dev/null 2>&1 & echo $! > /workspace/pid');
    await daemon.kill9();
    await daemon.launch();
    assert.equal(await two.sh('cat /workspace/file; kill -0 $(cat /workspace/pid) && echo runs'), 'before\nruns\n');
    await healthy(daemon, 'two');
  });

  it('is gone when it is deleted', async () => {
    for (const box of [one, two]) assert.equal((await box.delete()).status, 204);
    daemon.assertNoLeaks();
  });

  it('is not used where OpenCode has to be started with something else', async () => {
    assert.equal(revived(await create(daemon, 'keyed', {env: {ANTHROPIC_API_KEY: 'x'}})), false);
    const small = await daemon.request('bare', {method: 'POST', path: '/create', json: {opencode: false}});
    assert.equal(revived(small.json()), false);
    for (const id of ['keyed', 'bare']) assert.equal((await daemon.sandbox(id).delete()).status, 204);
  });

  it('boots where the template is broken, which is then made anew', async () => {
    const [key] = templates(daemon);
    const dir = path.join(daemon.stateDir, 'templates', key);
    const inode = fs.statSync(dir).ino;
    fs.truncateSync(path.join(dir, 'images', 'pstree.img'), 10);
    for (const id of ['b1', 'b2', 'b3']) {
      assert.equal(revived(await create(daemon, id)), false);
      await healthy(daemon, id);
      assert.equal(await daemon.sandbox(id).sh('hostname; ls -A /workspace'), `${id}\n`);
      assert.equal((await daemon.sandbox(id).delete()).status, 204);
    }
    await eventually('another template', () => templates(daemon).includes(key) && fs.statSync(dir).ino !== inode,
                     180_000);
    assert.equal(revived(await create(daemon, 'again')), true);
    assert.equal((await daemon.sandbox('again').delete()).status, 204);
    daemon.assertNoLeaks();
  });

  it('comes from a template of the configuration that is', async () => {
    const [key] = templates(daemon);
    await daemon.stop();
    const text = fs.readFileSync(daemon.config, 'utf8');
    fs.writeFileSync(daemon.config, text.replace('[sandbox]\n', '[sandbox]\npids = 1000\n'));
    fs.mkdirSync(path.join(daemon.stateDir, 'templates', 'left.part'));
    await daemon.launch();
    await eventually('another template', () => templates(daemon).length === 1 && templates(daemon)[0] !== key, 180_000);
    assert.deepEqual(fs.readdirSync(path.join(daemon.stateDir, 'templates')), templates(daemon));
    assert.equal(revived(await create(daemon, 'new')), true);
  });
});
