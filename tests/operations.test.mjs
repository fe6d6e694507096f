// SPDX-License-Identifier: Apache-2.0
// What whoever runs the daemon sees of it: metrics, health, the log, `atoll top`, and what it tells the
// service manager.

import assert from 'node:assert/strict';
import {spawn, spawnSync} from 'node:child_process';
import {once} from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {assertError} from './support/http.mjs';
import {parseMetrics, valueOf} from './support/prometheus.mjs';

// A unix datagram socket, which Node.js has none of: prints each datagram as a line of JSON.
const LISTENER = `
import json, socket, sys
socket_ = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
socket_.bind(sys.argv[1].replace("@", "\\0", 1))
print(json.dumps("bound"), flush=True)
while True:
    print(json.dumps(socket_.recv(4096).decode()), flush=True)
`;

class ServiceManager {
  static async start(name) {
    const manager = new ServiceManager();
    manager.told = [];
    manager.child = spawn('python3', ['-c', LISTENER, name], {stdio: ['ignore', 'pipe', 'inherit']});
    let rest = '';
    manager.child.stdout.on('data', (data) => {
      const lines = (rest + data).split('\n');
      rest = lines.pop();
      manager.told.push(...lines.map((line) => JSON.parse(line)));
    });
    await eventually('the manager listens', () => manager.told.shift() === 'bound');
    return manager;
  }

  hears(line) {
    return eventually(`the manager hears ${line}`, () => this.told.some((one) => one.split('\n').includes(line)));
  }

  async stop() {
    this.child.kill();
    await once(this.child, 'exit');
  }
}

async function metricsOf(daemon) {
  const answer = await daemon.request('', {path: '/metrics'});
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  return parseMetrics(answer.text);
}

describe('operations', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('ops');
  });
  after(() => daemon?.cleanup());

  describe('metrics', () => {
    it('are what Prometheus reads, in base units, under names of Atoll and of processes', async () => {
      const families = await metricsOf(daemon);
      for (const {name, type} of families.values()) {
        assert.match(name, /^(atoll|process)_[a-z_]+$/);
        assert.doesNotMatch(name, /_(ms|milliseconds|minutes|kb|mb|kilobytes|percent)(_|$)/);
        if (type === 'histogram') assert.match(name, /_seconds$/);
      }
      assert.equal(valueOf(families, 'process_resident_memory_bytes') > 1e6, true);
      const docs = fs.readFileSync(new URL('../docs/operations.md', import.meta.url), 'utf8');
      for (const name of families.keys()) assert.ok(docs.includes(`\`${name}\``), `${name} is documented`);
      assert.equal(families.get('atoll_build_info').samples[0].value, 1);
    });

    it('count a life: create, run, snapshot, restore, stop, start, delete', async () => {
      const before = await metricsOf(daemon);
      await box.create();
      await box.sh('echo hello > /workspace/greeting');
      const {snapshotId} = await box.snapshot('/workspace');
      await box.restore(snapshotId);
      const during = await metricsOf(daemon);
      assert.equal(valueOf(during, 'atoll_sandboxes', {state: 'running'}), 1);
      assert.equal(valueOf(during, 'atoll_sandboxes', {state: 'failed'}), 0);
      const stopped = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/ops/stop'});
      assert.equal(stopped.status, 200, stopped.text);
      await box.create();
      assert.equal((await box.delete()).status, 204);
      const after = await metricsOf(daemon);
      assert.equal(valueOf(after, 'atoll_sandboxes', {state: 'running'}), 0);
      const grown = (name, labels) => {
        const full = `atoll_${name}_duration_seconds`;
        const by = (part) => valueOf(after, full, labels, part) - valueOf(before, full, labels, part);
        assert.ok(by('_sum') > 0, `${name}: time passes`);
        return by('_count');
      };
      assert.equal(grown('sandbox_create', {kind: 'cold', result: 'ok'}), 1);
      for (const name of ['sandbox_start', 'sandbox_stop', 'sandbox_delete', 'restore', 'run_spawn']) {
        assert.equal(grown(name, {result: 'ok'}), 1, name);
      }
      // One that was asked for, and what a stop saves.
      assert.ok(grown('snapshot', {result: 'ok'}) >= 1);
      assert.ok(valueOf(after, 'atoll_snapshot_added_bytes_total') > 0);
    });

    it('count requests by where they went, and errors by what they were', async () => {
      const before = await metricsOf(daemon);
      assert.equal((await daemon.request('nobody', {path: '/api'})).status, 404);
      assert.equal((await daemon.request('3000-nobody', {path: '/'})).status, 404);
      assert.equal((await daemon.request('', {host: 'elsewhere.example', path: '/'})).status, 404);
      const after = await metricsOf(daemon);
      const requests = (labels) => {
        const value = (families) => valueOf(families, 'atoll_http_requests_total', labels);
        return value(after) - value(before);
      };
      assert.equal(requests({route: 'sandbox', status: '4xx'}), 1);
      assert.equal(requests({route: 'port', status: '4xx'}), 1);
      assert.equal(requests({route: 'unknown', status: '4xx'}), 1);
      assert.equal(requests({route: 'bare', status: '2xx'}), 1);
      assert.equal(valueOf(after, 'atoll_http_requests_in_flight'), 1);
      const code = {code: 'SANDBOX_NOT_FOUND'};
      assert.equal(valueOf(after, 'atoll_errors_total', code) - valueOf(before, 'atoll_errors_total', code), 2);
    });
  });

  describe('health', () => {
    it('is told while the process answers', async () => {
      const answer = await daemon.request('', {path: '/health'});
      assert.equal(answer.status, 200);
      assert.equal(answer.json().status, 'ok');
      assert.match(answer.json().version, /^\d+\.\d+\.\d+$/);
      assert.equal((await daemon.request('', {method: 'HEAD', path: '/health'})).status, 200);
      assertError(await daemon.request('', {method: 'POST', path: '/health'}), 405, 'METHOD_NOT_ALLOWED');
    });

    it('is ready once everything that was there is adopted', async () => {
      const answer = await eventually('the daemon is ready', async () => {
        const one = await daemon.request('', {path: '/ready'});
        return one.status === 200 && one;
      });
      const {ready, checks} = answer.json();
      assert.equal(ready, true);
      assert.deepEqual(checks.map((one) => one.name),
                       ['database', 'cgroup', 'runtime', 'image', 'disk', 'sandboxes']);
      for (const {name, ok, detail} of checks) assert.ok(ok && detail, `${name}: ${detail}`);
    });

    it('is not ready without what sandboxes are made of, and says so', async () => {
      const bare = await Daemon.start({sections: {sandbox: {image: 'nowhere'}}, wait: false});
      try {
        const answer = await bare.request('', {path: '/ready'});
        assert.equal(answer.status, 503);
        const {ready, checks} = answer.json();
        assert.equal(ready, false);
        const failed = checks.filter((one) => !one.ok);
        assert.deepEqual(failed.map((one) => one.name), ['image']);
        assert.match(failed[0].detail, /nowhere.*atoll image build nowhere/);
        assert.equal((await bare.request('', {path: '/health'})).status, 200);
      } finally {
        await bare.cleanup();
      }
    });
  });

  it('is nothing that a sandbox or a page of one could ask for', async () => {
    await box.create();
    for (const path of ['/metrics', '/ready', '/health']) {
      const foreign = await daemon.request('', {path, headers: {Origin: daemon.url('ops').slice(0, -1)}});
      assert.equal(foreign.status, 403, `${path} from a page of a sandbox`);
      for (const label of ['nobody', '3000-ops']) {
        const answer = await daemon.request(label, {path});
        assert.notEqual(answer.status, 200, `${path} of ${label}`);
        assert.doesNotMatch(answer.text, /atoll_|"ready"|"status":"ok"/);
      }
    }
    assert.equal((await box.delete()).status, 204);
  });

  describe('atoll top', () => {
    const top = (...args) => daemon.cli('--config', daemon.config, 'top', ...args);

    it('prints every sandbox once where there is no terminal', async () => {
      await box.create();
      const other = daemon.sandbox('other');
      await other.create();
      for (const args of [['--once'], []]) {
        const {status, stdout, stderr} = top(...args);
        assert.equal(status, 0, stderr);
        const lines = stdout.trimEnd().split('\n');
        assert.match(lines[0], /^2 sandboxes, 2 running$/);
        assert.match(lines[2], /^ID +STATE +CPU% +MEMORY +DISK +PROCS +AGE$/);
        assert.deepEqual(lines.slice(3).map((line) => line.split(/ +/).slice(0, 2)).sort(),
                         [['ops', 'running'], ['other', 'running']]);
        for (const line of lines.slice(3)) {
          assert.match(line, /^\S+ +\S+ +(-|[\d.]+) +(-|[\d.]+[BKMGT]) +(-|[\d.]+[BKMGT]) +(-|\d+) +\d+s$/);
        }
      }
    });

    it('sorts as it is asked, and prints JSON', async () => {
      const ids = (result) => JSON.parse(result.stdout).sandboxes.map((one) => one.id);
      assert.deepEqual(ids(top('--json', '--sort', 'id')), ['ops', 'other']);
      const {sandboxes} = JSON.parse(top('--json', '--sort', 'age').stdout);
      assert.ok(sandboxes[0].ageSeconds >= sandboxes[1].ageSeconds);
      for (const name of ['cpuPercent', 'memoryBytes', 'diskBytes', 'processes']) {
        for (const one of sandboxes) assert.ok(one[name] === null || one[name] >= 0, name);
      }
      const wrong = top('--sort', 'colour');
      assert.equal(wrong.status, 1);
      assert.match(wrong.stderr, /colour.*cpu, memory/);
    });

    it('shows what the daemon says of each, and nothing of what it does not say', async () => {
      const sandboxes = [
        {id: 'idle', state: 'stopped', createdAt: new Date(Date.now() - 3 * 3600_000).toISOString()},
        {id: 'busy', state: 'running', usage: {cpus: 1.5, memory: 300 << 20, disk: 2048, processes: 7}},
      ];
      const fake = http.createServer((_, answer) => answer.end(JSON.stringify({sandboxes})));
      await new Promise((resolve) => fake.listen(0, '127.0.0.1', resolve));
      const child = spawn(`${process.env.ATOLL_BUILD_DIR}/atoll`,
                          ['--url', `http://127.0.0.1:${fake.address().port}`, 'top', '--once']);
      let text = '';
      child.stdout.on('data', (data) => { text += data; });
      await once(child, 'close');
      fake.close();
      const rows = text.trimEnd().split('\n').slice(3).map((line) => line.split(/ +/));
      assert.deepEqual(rows, [['busy', 'running', '150.0', '300M', '2.0K', '7', '-'],
                              ['idle', 'stopped', '-', '-', '-', '-', '3h00m']]);
    });

    it('keeps the screen up to date on a terminal', () => {
      const command = `${process.env.ATOLL_BUILD_DIR}/atoll --config ${daemon.config} top`;
      const seen = spawnSync('timeout', ['-s', 'INT', '3', 'script', '-qec', command, '/dev/null'],
                             {encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});
      const screens = seen.stdout.split('\x1b[H\x1b[2J').slice(1);
      assert.ok(screens.length >= 2, seen.stdout);
      for (const screen of screens.slice(0, -1)) assert.match(screen, /2 sandboxes[^]*ops +running/);
    });

    it('says so when there is no daemon', () => {
      const alone = daemon.cli('--url', 'http://127.0.0.1:1', 'top');
      assert.equal(alone.status, 1);
      assert.match(alone.stderr, /no daemon answers/);
    });
  });

  it('stops all sandboxes when told to', async () => {
    assert.equal(daemon.cli('--config', daemon.config, 'stop').status, 1);
    const {status, stderr} = daemon.cli('--config', daemon.config, 'stop', '--all');
    assert.equal(status, 0, stderr);
    for (const one of await daemon.list()) assert.equal(one.state, 'stopped', one.id);
  });
});

describe('the log', () => {
  it('is lines of JSON when asked for, and names the sandbox', async () => {
    const daemon = await Daemon.start({env: {ATOLL_LOG_FORMAT: 'json'}});
    try {
      await daemon.sandbox('logged').create();
      await daemon.restart();
      await eventually('the sandbox is adopted', () => daemon.logTail().includes('adopted'));
      const lines = fs.readFileSync(daemon.log, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line));
      assert.ok(lines.length > 1);
      for (const {time, level, message} of lines) {
        assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
        assert.ok(['debug', 'info', 'warning', 'error'].includes(level), level);
        assert.ok(message.length > 0);
      }
      const [adopted] = lines.filter((line) => /adopted$/.test(line.message));
      assert.equal(adopted.sandbox, 'logged');
    } finally {
      await daemon.cleanup();
    }
  });

  it('is text otherwise', async () => {
    const daemon = await Daemon.start();
    try {
      await daemon.stop();
      for (const line of fs.readFileSync(daemon.log, 'utf8').trimEnd().split('\n')) {
        assert.match(line, /^\d{4}-\d\d-\d\dT\S+Z (debug|info|warning|error) \S/);
      }
      const wrong = daemon.cliWith({env: {...daemon.env, ATOLL_LOG_FORMAT: 'xml'}}, 'serve', '--config', daemon.config);
      assert.equal(wrong.status, 1);
      assert.match(wrong.stderr, /log format must be text or json/);
    } finally {
      await daemon.cleanup();
    }
  });
});

describe('the service manager', () => {
  it('hears when the daemon is ready, alive and stopping, and sandboxes cannot speak to it', async () => {
    const name = `@atoll-test-${process.pid}`;
    const manager = await ServiceManager.start(name);
    const daemon = await Daemon.start({env: {NOTIFY_SOCKET: name, WATCHDOG_USEC: '300000'}});
    try {
      await manager.hears('READY=1');
      await manager.hears('WATCHDOG=1');
      assert.equal((await daemon.request('', {path: '/health'})).status, 200);
      const before = manager.told.length;
      await eventually('the watchdog is fed again', () => manager.told.slice(before).includes('WATCHDOG=1'));
      const box = daemon.sandbox('quiet');
      await box.create();
      assert.doesNotMatch(await box.sh('env'), /NOTIFY_SOCKET|WATCHDOG/);
      // A newer daemon takes over: the manager is told of it, and hears from it.
      const old = daemon.child;
      process.kill(old.pid, 'SIGUSR2');
      await eventually('the old daemon has ended', () => !daemon.isRunning());
      const pid = Number(fs.readFileSync(`${daemon.runDir}/lock`, 'utf8'));
      assert.notEqual(pid, old.pid);
      await manager.hears(`MAINPID=${pid}`);
      const since = manager.told.length;
      await eventually('the new one feeds the watchdog', () => manager.told.slice(since).includes('WATCHDOG=1'));
      process.kill(pid, 'SIGTERM');
      await manager.hears('STOPPING=1');
      await eventually('the new daemon has ended', () =>
        spawnSync('flock', ['--nonblock', `${daemon.runDir}/lock`, 'true']).status === 0);
    } finally {
      await daemon.cleanup();
      await manager.stop();
    }
  });
});
