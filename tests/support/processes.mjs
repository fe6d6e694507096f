// SPDX-License-Identifier: Apache-2.0
// Servers that a test starts for itself: free ports, logs, an orderly end.

import {execFile, spawn} from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';

/** `count` ports of loopback that are free now and differ from each other. */
export async function freePorts(count) {
  const servers = [];
  for (let i = 0; i < count; ++i) {
    const server = net.createServer();
    await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
    servers.push(server);
  }
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Runs a command to its end; its output, or an error that shows it. */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    execFile(command, args, {timeout: 60_000, maxBuffer: 16 << 20, ...options}, (error, stdout, stderr) => {
      if (error) reject(new Error(`${command} ${args.join(' ')}: ${error.message}\n${stdout}${stderr}`));
      else resolve(stdout);
    });
  });
}

/** A folder of its own and the processes that work in it. */
export class Servers {
  constructor(name) {
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), `atoll-${name}-`));
    this.children = [];
    this.onExit = () => this.children.forEach(({child}) => child.kill('SIGKILL'));
    process.once('exit', this.onExit);
    // Whoever ends a test that hangs does not let it come to its end.
    this.onSignal = () => process.exit(143);
    process.once('SIGTERM', this.onSignal);
  }

  /** Starts a server that stays in the foreground. */
  start(name, command, args, options = {}) {
    const log = path.join(this.dir, `${name}.out`);
    const out = fs.openSync(log, 'a');
    const child = spawn(command, args, {stdio: ['ignore', out, out], cwd: this.dir, ...options});
    fs.closeSync(out);
    const entry = {name, child, log, ended: false};
    child.once('error', () => { entry.ended = true; });
    child.once('exit', () => { entry.ended = true; });
    this.children.push(entry);
    return child;
  }

  /** Waits until `check` returns something true; fails early when a server has ended. */
  async until(what, check, limit = 90_000) {
    const end = Date.now() + limit;
    let last;
    while (Date.now() < end) {
      for (const {name, log, ended} of this.children) {
        if (ended) throw new Error(`${name} has ended while waiting for ${what}:\n${tail(log)}`);
      }
      try {
        const result = await check();
        if (result) return result;
      } catch (error) {
        last = error;
      }
      await sleep(100);
    }
    throw new Error(`no ${what} in ${limit} ms: ${last?.message ?? ''}\n${
      this.children.map(({name, log}) => `${name}: ${tail(log)}`).join('\n')}`);
  }

  /** Ends the servers, the last first, and removes the folder. */
  async stop() {
    for (const entry of [...this.children].reverse()) {
      if (!entry.ended) entry.child.kill('SIGTERM');
      for (let i = 0; !entry.ended && i < 100; ++i) await sleep(50);
      if (!entry.ended) entry.child.kill('SIGKILL');
      while (!entry.ended) await sleep(20);
    }
    process.removeListener('exit', this.onExit);
    process.removeListener('SIGTERM', this.onSignal);
    fs.rmSync(this.dir, {recursive: true, force: true, maxRetries: 3});
  }
}

function tail(file) {
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8').slice(-2000) : '';
}

/** A command line of awscli for a server: `await aws(server, ['s3', 'ls'])`. */
export function aws(server, args) {
  return run('/usr/bin/aws', ['--endpoint-url', server.endpoint, '--region', server.region, ...args], {
    env: {
      PATH: '/usr/bin:/bin',
      HOME: server.dir,
      AWS_ACCESS_KEY_ID: server.accessKey,
      AWS_SECRET_ACCESS_KEY: server.secretKey,
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_PAGER: '',
    },
  });
}
