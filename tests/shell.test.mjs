// SPDX-License-Identifier: Apache-2.0
// `atoll shell` on a terminal, as a person sees it.

import assert from 'node:assert/strict';
import {execFileSync, spawn} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {buildDir, Daemon, eventually} from './support/daemon.mjs';

/** A shell of this host on a terminal of its own, with `script` around it. */
class Person {
  constructor(daemon, commands) {
    this.output = '';
    this.child = spawn('script', ['-qec', `stty cols 100 rows 30; tty; ${commands}`, '/dev/null'], {
      cwd: daemon.dir, env: {...daemon.env, SHELL: '/bin/sh', TERM: 'xterm'}, stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.child.stdout.on('data', (data) => { this.output += data; });
    this.ended = new Promise((resolve) => this.child.once('close', (code) => resolve(code)));
  }

  async shows(text) {
    await eventually(`the screen shows ${JSON.stringify(text)}`, () => {
      if (this.output.includes(text)) return true;
      if (this.child.exitCode !== null) assert.fail(`ended: ${this.output}`);
      return false;
    });
  }

  async type(keys, text) {
    this.output = '';
    this.child.stdin.write(keys);
    await this.shows(text);
  }
}

describe('atoll shell', () => {
  let daemon;
  let atoll;
  before(async () => {
    daemon = await Daemon.start();
    atoll = `${path.join(buildDir, 'atoll')} --config ${daemon.config}`;
    await daemon.sandbox('demo').create();
  });
  after(() => daemon?.cleanup());

  const modes = () => ['before', 'after'].map((name) => fs.readFileSync(path.join(daemon.dir, name), 'utf8'));
  const around = (command) => `stty -g > before; ${command}; code=$?; stty -g > after; echo "code $code."`;

  it('is the terminal of a program inside: size, keys, exit code', async () => {
    const person = new Person(daemon, around(`${atoll} shell demo`));
    await person.shows('/workspace');
    const tty = person.output.match(/\/dev\/pts\/\d+/)[0];
    await person.type(`PS1='in'"side> "\r`, 'inside> ');
    await person.type('stty size\r', '30 100\r\n');
    execFileSync('stty', ['-F', tty, 'cols', '90', 'rows', '40']);
    await eventually('it has the new size', async () => {
      await person.type('stty size\r', 'inside> ');
      return person.output.includes('40 90\r\n');
    });
    await person.type(`sh -c 'echo be""fore; exec sleep 1000'\r`, 'before\r\n');
    await person.type('\x03', 'inside> ');
    await person.type('exit 5\r', 'code 5.');
    await person.ended;
    const [was, is] = modes();
    assert.equal(is, was, 'the terminal is as it was');
  });

  it('runs a command, whose options are its own', async () => {
    const person = new Person(daemon, around(`${atoll} shell demo sh -c 'test -t 0 && echo "on  a tty"; exit 6'`));
    await person.shows('code 6.');
    assert.ok(person.output.includes('on  a tty\r\n'), person.output);
  });

  it('goes on with the next daemon, and leaves the terminal in order when it is killed', async () => {
    const person = new Person(daemon, around(`${atoll} shell --session kept demo`));
    await person.shows('/workspace');
    await person.type(`kept=yes-it-is; PS1='in'"side> "\r`, 'inside> ');
    await daemon.kill9();
    await person.shows('connection was lost');
    await daemon.launch();
    await eventually('it is there again', async () => {
      person.output = '';
      person.child.stdin.write('echo $kept\r');
      await new Promise((resolve) => setTimeout(resolve, 500));
      return person.output.includes('yes-it-is\r\n');
    });
    const pid = fs.readdirSync('/proc').find((one) => /^\d+$/.test(one) && (() => {
      try {
        const line = fs.readFileSync(`/proc/${one}/cmdline`, 'utf8').split('\0');
        return line[0].endsWith('/atoll') && line.includes(daemon.config) && line.includes('shell');
      } catch {
        return false;
      }
    })());
    process.kill(Number(pid), 'SIGTERM');
    await person.shows('code 143.');
    await person.ended;
    const [was, is] = modes();
    assert.equal(is, was);
    // It was named, so it stays.
    const answer = await daemon.request('', {path: '/v1/sandboxes/demo/terminals'});
    assert.equal(answer.json().terminals.find((one) => one.name === 'kept').running, true);
  });

  it('leaves a terminal that has a name with Ctrl-] twice, and passes a single one on', async () => {
    const person = new Person(daemon, around(`${atoll} shell --session left demo`));
    await person.shows('Ctrl-] twice leaves');
    await person.shows('/workspace');
    await person.type("PS1='in'\"side> \"\r", 'inside> ');
    await person.type('cat -v\r\x1d', '^]');
    await person.type('x\r', '^]x');
    await person.type('\x1d\x1d', 'which goes on');
    await person.shows('code 0.');
    await person.ended;
    const again = new Person(daemon, around(`${atoll} shell --session left demo`));
    await again.shows('^]x');
    await again.type('\x03', 'inside> ');
    await again.type('exit 7\r', 'code 7.');
  });

  it('says what is wrong', () => {
    const piped = daemon.cli('--config', daemon.config, 'shell', 'demo');
    assert.equal(piped.status, 1);
    assert.match(piped.stderr, /needs a terminal/);
    const person = new Person(daemon, around(`${atoll} shell nobody`));
    return person.shows('there is no sandbox').then(() => person.shows('code 1.'));
  });
});
