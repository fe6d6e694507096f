// SPDX-License-Identifier: Apache-2.0
// The usual way to run a command elsewhere: an sshd of our own on loopback, with keys of our own.

import {spawn, spawnSync} from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';

import {eventually} from '../tests/support/daemon.mjs';
import {now} from './report.mjs';

const SSHD = '/usr/sbin/sshd';

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const {port} = server.address();
      server.close(() => resolve(port));
    });
  });
}

function run(program, args) {
  return new Promise((resolve, reject) => {
    const begin = now();
    const child = spawn(program, args, {stdio: ['ignore', 'ignore', 'pipe']});
    let errors = '';
    child.stderr.on('data', (data) => { errors += data; });
    child.once('error', reject);
    child.once('close', (code) => code === 0 ? resolve(now() - begin) : reject(new Error(`${program}: ${code} ${errors}`)));
  });
}

export class SshServer {
  /** Null where there is no sshd. */
  static async start(base) {
    if (!fs.existsSync(SSHD)) return null;
    const server = new SshServer();
    const dir = server.dir = path.join(base, 'ssh');
    fs.mkdirSync(dir, {mode: 0o700});
    fs.mkdirSync('/run/sshd', {recursive: true, mode: 0o755});
    for (const key of ['host', 'client']) {
      spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path.join(dir, key)]);
    }
    fs.copyFileSync(path.join(dir, 'client.pub'), path.join(dir, 'authorized'));
    const port = await freePort();
    fs.writeFileSync(path.join(dir, 'config'), `Port ${port}
ListenAddress 127.0.0.1
HostKey ${dir}/host
AuthorizedKeysFile ${dir}/authorized
StrictModes no
UsePAM no
PermitRootLogin yes
PidFile none
`);
    server.child = spawn(SSHD, ['-D', '-e', '-f', path.join(dir, 'config')], {stdio: 'ignore'});
    const client = ['-F', 'none', '-i', path.join(dir, 'client'), '-p', String(port), '-o', 'StrictHostKeyChecking=no',
                    '-o', `UserKnownHostsFile=${dir}/known`, '-o', 'LogLevel=ERROR', '-o', 'BatchMode=yes'];
    const kept = [...client, '-o', `ControlPath=${dir}/control`];
    server.args = {anew: [...client, '127.0.0.1', 'true'], kept: [...kept, '127.0.0.1', 'true']};
    await eventually('sshd answers', () => run('ssh', server.args.anew).catch(() => false));
    server.master = spawn('ssh', [...kept, '-M', '-N', '127.0.0.1'], {stdio: 'ignore'});
    await eventually('the connection is kept', () => fs.existsSync(path.join(dir, 'control')));
    return server;
  }

  /** Milliseconds of `true`; `how`: 'anew' or 'kept'. */
  run(how) { return run('ssh', this.args[how]); }

  async stop() {
    for (const child of [this.master, this.child]) {
      const ended = new Promise((resolve) => child.once('close', resolve));
      child.kill();
      await ended;
    }
    fs.rmSync(this.dir, {recursive: true, force: true});
  }
}
