// SPDX-License-Identifier: Apache-2.0
// The command line: what people and scripts see.

import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {buildDir, Daemon, eventually} from './support/daemon.mjs';

describe('the command line', () => {
  let daemon;

  before(async () => {
    daemon = await Daemon.start();
  });
  after(() => daemon?.cleanup());

  const atoll = (...args) => daemon.cli('--config', daemon.config, ...args);
  const ok = (...args) => {
    const result = atoll(...args);
    assert.equal(result.status, 0, `atoll ${args.join(' ')}: ${result.stdout}${result.stderr}`);
    return result.stdout;
  };

  it('says its version', () => {
    const result = daemon.cli('version');
    assert.equal(result.status, 0);
    assert.match(result.stdout, /\d+\.\d+\.\d+/);
    const json = JSON.parse(daemon.cli('version', '--json').stdout);
    assert.match(json.version, /^\d+\.\d+\.\d+/);
  });

  it('explains itself', () => {
    const help = daemon.cli('--help');
    assert.equal(help.status, 0);
    for (const verb of ['serve', 'create', 'ls', 'run', 'rm', 'stop', 'snapshot', 'restore', 'snapshots', 'repo',
                        'doctor', 'image', 'version']) {
      assert.match(help.stdout, new RegExp(`\\b${verb}\\b`));
    }
    const wrong = daemon.cli('no-such-verb');
    assert.notEqual(wrong.status, 0);
    assert.notEqual(wrong.stderr + wrong.stdout, '');
  });

  it('creates and lists', () => {
    assert.match(ok('create', 'cli', '--no-opencode'), /cli/);
    assert.match(ok('ls'), /cli.*running/);
    const list = JSON.parse(ok('ls', '--json'));
    const [one] = list.sandboxes ?? list;
    assert.equal(one.id, 'cli');
    assert.equal(one.url, daemon.url('cli'));
    const made = JSON.parse(ok('create', 'cli', '--no-opencode', '--json'));
    assert.equal(made.id, 'cli');
  });

  it('ends with the exit code of the command, and keeps its streams apart', () => {
    const result = atoll('run', 'cli', '--', 'bash', '-c', 'echo out; echo err >&2; exit 42');
    assert.equal(result.status, 42);
    assert.equal(result.stdout, 'out\n');
    assert.equal(result.stderr, 'err\n');
    assert.equal(atoll('run', 'cli', '--', 'true').status, 0);
    const killed = atoll('run', 'cli', '--', 'bash', '-c', 'kill -9 $$');
    assert.deepEqual([killed.status, killed.stderr], [137, '']);
    ok('create', 'small', '--memory', '128M');
    const hog = atoll('run', 'small', '--', 'python3', '-c', 'x = bytearray(600 << 20)');
    assert.equal(hog.status, 137);
    assert.match(hog.stderr, /ended because the sandbox's memory was used up/);
    assert.match(ok('stop', 'small'), /^small is stopped$/m);
    ok('rm', 'small');
  });

  it('keeps arguments as they are', () => {
    assert.equal(ok('run', 'cli', '--', 'printf', '%s|', 'a b', "it's", '$HOME', '', '*'), "a b|it's|$HOME||*|");
  });

  it('passes bytes on as they come', async () => {
    const child = spawn(path.join(buildDir, 'atoll'),
                        ['--config', daemon.config, 'run', 'cli', '--', 'bash', '-c',
                         String.raw`printf 'a\377'; sleep 600`],
                        {cwd: daemon.dir, env: daemon.env, stdio: ['ignore', 'pipe', 'inherit']});
    let seen = Buffer.alloc(0);
    child.stdout.on('data', (data) => { seen = Buffer.concat([seen, data]); });
    // While the command goes on; a pipe may cut what it carries anywhere.
    await eventually('both bytes came', () => seen.length >= 2);
    assert.deepEqual(seen, Buffer.from([0x61, 0xff]));
    child.kill('SIGINT');
    const status = await new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)));
    assert.notEqual(status, 0);
    await eventually('the command ended', async () =>
      await daemon.sandbox('cli').sh('pgrep -fc "^sleep 600" || true') === '0\n');
  });

  it('says what went wrong, on stderr', () => {
    const missing = atoll('run', 'nope', '--', 'true');
    assert.notEqual(missing.status, 0);
    assert.match(missing.stderr, /nope/);
    assert.equal(missing.stdout, '');
    const bad = atoll('create', 'Bad--Id');
    assert.notEqual(bad.status, 0);
    assert.notEqual(bad.stderr, '');
    assert.notEqual(atoll('rm', 'nope').status, 0);
  });

  it('removes', () => {
    ok('rm', 'cli');
    const list = JSON.parse(ok('ls', '--json'));
    assert.deepEqual(list.sandboxes ?? list, []);
  });

  it('examines the host', () => {
    const report = atoll('doctor');
    assert.equal(report.status, 0, report.stdout + report.stderr);
    assert.match(report.stdout, /cgroup/i);
    assert.match(report.stdout, /overlay/i);
    assert.doesNotThrow(() => JSON.parse(atoll('doctor', '--json').stdout));
  });

  it('says whether there is a CRIU that works, and which', () => {
    const check = (config, env = daemon.env) => {
      const report = daemon.cliWith({env}, '--config', config, 'doctor', '--json');
      return JSON.parse(report.stdout).checks.find((one) => one.name.includes('CRIU'));
    };
    const text = fs.readFileSync(daemon.config, 'utf8');
    const withCriu = (file) => {
      const config = path.join(daemon.dir, 'criu.toml');
      fs.writeFileSync(config, text.replace(/^criu = .*$/m, file ? `criu = ${JSON.stringify(file)}` : ''), {mode: 0o600});
      return config;
    };
    const program = (name, code) => {
      const file = path.join(daemon.dir, name);
      fs.writeFileSync(file, `#!/bin/sh\n[ "$1" = check ] && exit ${code}\n`, {mode: 0o755});
      return file;
    };
    const works = program('criu-works', 0);
    assert.deepEqual(check(withCriu(works)), {name: 'booted templates (CRIU)', ok: true, required: false, detail: works});
    if (fs.existsSync('/usr/lib/atoll/criu')) return;
    // Nor is one in the places where it is looked for otherwise.
    const env = {...daemon.env, PATH: '/nowhere'};
    const none = check(withCriu(null), env);
    assert.deepEqual([none.ok, none.required], [false, false]);
    assert.match(none.detail, /not installed.*atoll setup --criu/);
    const broken = program('criu-broken', 1);
    const found = check(withCriu(broken), env);
    assert.equal(found.ok, false);
    assert.ok(found.detail.startsWith(`${broken} does not work`), found.detail);
  });

  it('finds what belongs to nothing', async () => {
    daemon.assertNoLeaks();
    const orphan = path.join(daemon.runDir, 'sandboxes', '0123456789abcdef');
    fs.mkdirSync(orphan, {recursive: true});
    const found = daemon.leaks();
    assert.equal(found.status, 1);
    assert.match(found.stdout + found.stderr, /0123456789abcdef/);
    fs.rmdirSync(orphan);
    daemon.assertNoLeaks();
    // What an upload of a snapshot leaves that was cut off; the next daemon clears it away.
    const temporaries = path.join(daemon.stateDir, 'snapshots', 'tmp');
    await eventually('the repository is there', () => fs.existsSync(temporaries));
    fs.writeFileSync(path.join(temporaries, '0123456789abcdef'), 'half');
    assert.match(daemon.leaks().stdout, /temporary.*tmp\/0123456789abcdef/);
    await daemon.kill9();
    assert.match(daemon.leaks().stdout, /, 1 leaks/, 'a lock that nobody holds is none');
    await daemon.launch();
    daemon.assertNoLeaks();
  });

  it('clears away a build of an image that was killed', async () => {
    const state = path.join(daemon.dir, 'own');
    const recipe = path.join(daemon.dir, 'recipe');
    fs.mkdirSync(recipe);
    const script = (body) => fs.writeFileSync(path.join(recipe, 'build.sh'),
                                              `#!/bin/sh\nset -e\nmkdir -p "$1"\n${body}\n`, {mode: 0o755});
    const config = path.join(daemon.dir, 'own.toml');
    fs.writeFileSync(config, `state_dir = "${state}"\nrun_dir = "${daemon.dir}/own-run"\n` +
                             `[sandbox]\ncgroup = "${daemon.cgroup}-own"\n`);
    const own = (...args) => daemon.cli('--config', config, ...args);
    script('echo x > "$1/x"; touch "$1/../../../started"; sleep 300');
    const build = spawn(path.join(buildDir, 'atoll'),
                        ['--config', config, 'image', 'build', 'cut', '--recipe', recipe],
                        {cwd: daemon.dir, env: daemon.env, stdio: 'ignore'});
    const ended = new Promise((resolve) => build.once('exit', resolve));
    await eventually('the build began', () => fs.existsSync(path.join(state, 'started')));
    assert.equal(own('doctor', '--leaks').status, 0, 'it is alive');
    build.kill('SIGKILL');
    await ended;
    await eventually('the rest of it is a leak', () => /temporary.*\.cut\./.test(own('doctor', '--leaks').stdout));
    script('echo y > "$1/y"');
    const next = own('image', 'build', 'cut', '--recipe', recipe);
    assert.equal(next.status, 0, next.stderr);
    const left = own('doctor', '--leaks');
    assert.equal(left.status, 0, left.stdout);
    assert.deepEqual(fs.readdirSync(path.join(state, 'images', 'cut', 'rootfs')), ['y']);
  });

  it('does not replace an image below a sandbox', async () => {
    ok('create', 'user', '--no-opencode');
    const recipe = path.join(daemon.dir, 'unused-recipe');
    fs.mkdirSync(recipe);
    fs.writeFileSync(path.join(recipe, 'build.sh'), '#!/bin/sh\nexit 9\n', {mode: 0o755});
    const refused = atoll('image', 'build', 'default', '--replace', '--recipe', recipe);
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /in use by sandbox user/);
    assert.equal(ok('run', 'user', '--', 'echo', 'whole'), 'whole\n');
    ok('rm', 'user');
  });

  it('lists images', () => {
    assert.match(ok('image', 'ls'), /default/);
    assert.doesNotThrow(() => JSON.parse(ok('image', 'ls', '--json')));
    assert.notEqual(atoll('image', 'rm', 'no-such-image').status, 0);
    assert.notEqual(atoll('image', 'rm', '../../etc').status, 0);
  });

  it('says so when no daemon answers', async () => {
    await daemon.stop();
    const result = atoll('ls');
    assert.notEqual(result.status, 0);
    assert.match(result.stderr, /serve|daemon|running|connect/i);
    await daemon.launch();
  });
});
