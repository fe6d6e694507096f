// SPDX-License-Identifier: Apache-2.0
// A daemon of its own for a test file: own state, own run directory, own cgroup, a free port. The
// image and OpenCode come from a prepared state directory.

import assert from 'node:assert/strict';
import {spawn, spawnSync} from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import {request} from './http.mjs';
import {Sandbox} from './sandbox.mjs';

const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 60_000;

export const buildDir = path.resolve(process.env.ATOLL_BUILD_DIR ?? 'build/dev');
export const preparedState = process.env.ATOLL_TEST_STATE ?? '/var/lib/atoll-test';
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks until `probe` gives something true, and returns it. */
export async function eventually(what, probe, limitMs = 30_000) {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) assert.fail(`did not happen within ${limitMs} ms: ${what}`);
    await sleep(50);
  }
}

function tomlValue(value) {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(', ')}]`;
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

function toml(top, sections) {
  const lines = Object.entries(top).map(([key, value]) => `${key} = ${tomlValue(value)}`);
  for (const [name, section] of Object.entries(sections)) {
    lines.push('', `[${name}]`);
    for (const [key, value] of Object.entries(section)) lines.push(`${key} = ${tomlValue(value)}`);
  }
  return lines.join('\n') + '\n';
}

export class Daemon {
  /**
   * `sections`: additions to the configuration, by section name; `files`: beside atoll.toml; `wait`:
   * until it is ready; `programs`: where they are, if not where they were built.
   */
  static async start({sections = {}, files = {}, env = {}, wait = true, programs = buildDir} = {}) {
    const daemon = new Daemon(sections, env);
    daemon.programs = programs;
    for (const [name, text] of Object.entries(files)) {
      fs.writeFileSync(path.join(daemon.dir, name), text, {mode: 0o600});
    }
    try {
      return await daemon.launch({wait});
    } catch (error) {
      daemon.child?.kill('SIGKILL');
      fs.rmSync(daemon.dir, {recursive: true, force: true});
      throw error;
    }
  }

  constructor(sections, env) {
    this.dir = fs.mkdtempSync(path.join(process.env.ATOLL_TEST_TMP ?? os.tmpdir(), 'atoll-test-'));
    // What runs inside as another uid has to walk through it to its root directory.
    fs.chmodSync(this.dir, 0o711);
    this.stateDir = path.join(this.dir, 'state');
    this.runDir = path.join(this.dir, 'run');
    this.config = path.join(this.dir, 'atoll.toml');
    this.log = path.join(this.dir, 'daemon.log');
    this.cgroup = 'atoll-test-' + crypto.randomBytes(4).toString('hex');
    this.env = {...cleanEnvironment(), ...env};
    this.port = 0;
    this.programs = buildDir;
    this.child = null;
    const base = {
      sandbox: {
        images_dir: path.join(preparedState, 'images'),
        opencode_dir: path.join(preparedState, 'opencode'),
        cgroup: this.cgroup,
      },
      // What waits for nobody would be seen by tests that count.
      pool: {warm_target: 0, templates: false, criu: path.join(preparedState, 'criu', 'criu')},
    };
    for (const [name, section] of Object.entries(sections)) {
      base[name] = {...base[name], ...section};
    }
    fs.writeFileSync(this.config, toml({
      listen: ['127.0.0.1:0'],
      domain: 'localhost',
      state_dir: this.stateDir,
      run_dir: this.runDir,
    }, base), {mode: 0o600});
  }

  async launch({wait = true} = {}) {
    const log = fs.openSync(this.log, 'a');
    const child = spawn(path.join(this.programs, 'atoll'), ['serve', '--config', this.config],
                        {cwd: this.dir, env: this.env, stdio: ['ignore', 'pipe', log]});
    fs.closeSync(log);
    this.child = child;
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve({code, signal}));
    });
    this.port = await this.readPort(child);
    // It answers before it has looked at every sandbox that an earlier daemon left.
    if (wait) {
      await eventually('the daemon is ready', async () => {
        if (child.exitCode !== null || child.signalCode !== null) return true;
        const answer = await request(this.port, {host: this.bare, path: '/ready'}).catch(() => null);
        return answer?.status === 200;
      }, START_LIMIT_MS);
    }
    return this;
  }

  readPort(child) {
    return new Promise((resolve, reject) => {
      let text = '';
      const fail = (why) => reject(new Error(`atoll serve ${why}\n${text}${this.logTail()}`));
      const timer = setTimeout(() => fail('printed no address in time'), START_LIMIT_MS);
      child.stdout.on('data', (data) => {
        if (child.readyPort) return;
        text += data;
        const match = text.match(/Atoll is at http:\/\/localhost:(\d+)/);
        if (!match) return;
        clearTimeout(timer);
        child.readyPort = Number(match[1]);
        resolve(child.readyPort);
      });
      child.once('error', (error) => { clearTimeout(timer); fail(`did not start: ${error.message}`); });
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        fail(`ended with ${signal ?? code}`);
      });
    });
  }

  logTail(lines = 40) {
    try {
      return fs.readFileSync(this.log, 'utf8').split('\n').slice(-lines).join('\n');
    } catch {
      return '';
    }
  }

  get pid() { return this.child.pid; }
  get origin() { return `http://localhost:${this.port}`; }
  get bare() { return `localhost:${this.port}`; }
  host(id) { return `${id}.localhost:${this.port}`; }
  url(id) { return `http://${this.host(id)}/`; }
  sandbox(id) { return new Sandbox(this, id); }

  /** A request by host name: an id, `<port>-<id>`, or the bare domain when empty. */
  request(label, options) {
    const host = label === '' ? this.bare : this.host(label);
    return request(this.port, {host, ...options});
  }

  async list() {
    const answer = await this.request('', {path: '/v1/sandboxes'});
    assert.equal(answer.status, 200, answer.text);
    return answer.json().sandboxes;
  }

  async ids() {
    return (await this.list()).map((one) => one.id).sort();
  }

  /** Memory of the daemon itself in bytes. */
  residentBytes() {
    const status = fs.readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(status.match(/VmRSS:\s+(\d+)/)[1]) * 1024;
  }

  /** Asks the daemon to end and waits; sandboxes keep running. */
  async stop() {
    if (!this.isRunning()) return this.exited;
    this.child.kill('SIGTERM');
    let timer;
    const late = new Promise((resolve) => { timer = setTimeout(() => resolve(null), STOP_LIMIT_MS); });
    const result = await Promise.race([this.exited, late]);
    clearTimeout(timer);
    if (result === null) {
      this.child.kill('SIGKILL');
      assert.fail(`atoll serve did not end after SIGTERM\n${this.logTail()}`);
    }
    return result;
  }

  async kill9() {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  async restart() {
    await this.stop();
    return this.launch();
  }

  isRunning() {
    return this.child !== null && this.child.exitCode === null && this.child.signalCode === null;
  }

  cli(...args) {
    return this.cliWith({}, ...args);
  }

  cliWith(options, ...args) {
    const result = spawnSync(path.join(this.programs, 'atoll'), args, {
      cwd: this.dir,
      env: this.env,
      encoding: 'utf8',
      timeout: 60_000,
      maxBuffer: 64 << 20,
      ...options,
    });
    if (result.error) throw result.error;
    return result;
  }

  leaks() {
    return this.cli('doctor', '--leaks', '--config', this.config);
  }

  assertNoLeaks() {
    const found = this.leaks();
    if (found.status === 0) return;
    // How each came to be what it is.
    const owners = new Set([...found.stdout.matchAll(/ of ([0-9a-f]{16})$/gm)].map((match) => match[1]));
    const told = fs.readFileSync(this.log, 'utf8').split('\n').filter((line) => [...owners].some((iid) => line.includes(iid)));
    const sql = `SELECT iid, kind, state, detail FROM events WHERE iid IN ('${[...owners].join("','")}')`;
    const events = spawnSync('sqlite3', ['-readonly', path.join(this.stateDir, 'atoll.db'), sql], {encoding: 'utf8'});
    assert.fail(`atoll doctor --leaks:\n${found.stdout}${found.stderr}\n${told.slice(-40).join('\n')}\n${events.stdout}`);
  }

  /** Members of the warm pool outlive a daemon; the next one, which wants none, removes them. */
  async dropPool() {
    const text = fs.readFileSync(this.config, 'utf8');
    const without = text.replace(/^warm_target = .*$/m, 'warm_target = 0').replace(/^templates = .*$/m, 'templates = false');
    if (without === text) return;
    fs.writeFileSync(this.config, without);
    await this.restart();
    const layers = path.join(this.stateDir, 'sandboxes');
    await eventually('only what is listed has a layer', async () =>
      fs.readdirSync(layers).length === (await this.ids()).length);
  }

  /** Deletes every sandbox, ends the daemon, and fails when anything is left behind. */
  async cleanup() {
    const problems = [];
    const attempt = async (step) => {
      try {
        await step();
      } catch (error) {
        problems.push(error.message);
      }
    };
    if (!this.isRunning()) await attempt(() => this.launch());
    await attempt(() => this.dropPool());
    await attempt(async () => {
      for (const id of await this.ids()) {
        const answer = await this.request('', {method: 'DELETE', path: `/v1/sandboxes/${id}`});
        assert.equal(answer.status, 204, `DELETE ${id}: ${answer.text}`);
      }
      assert.deepEqual(await this.ids(), []);
    });
    await attempt(() => this.assertNoLeaks());
    const trash = path.join(this.stateDir, 'trash');
    await attempt(() => eventually('deleted files are gone', () =>
      !fs.existsSync(trash) || fs.readdirSync(trash).length === 0, 120_000));
    await attempt(async () => {
      const {code, signal} = await this.stop();
      assert.equal(signal ?? code, 0, `atoll serve ended with ${signal ?? code}`);
    });
    await attempt(() => this.assertNoLeaks());
    if (this.isRunning()) await this.kill9();
    if (problems.length > 0) {
      throw new Error(`${problems.join('\n')}\nKept: ${this.dir}\n${this.logTail()}`);
    }
    fs.rmSync(this.dir, {recursive: true, force: true});
  }
}

// Keys of whoever runs the tests are none of the daemon's business.
function cleanEnvironment() {
  const env = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (/^(ATOLL_|ANTHROPIC_|OPENAI_|NODE_|npm_)/.test(name)) continue;
    env[name] = value;
  }
  return env;
}
