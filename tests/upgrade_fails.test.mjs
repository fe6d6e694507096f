// SPDX-License-Identifier: Apache-2.0
// A newer program with another schema of the database, which does not come to serve: the old one goes
// on, and can be started again.

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {alive, holder, install, upgrade} from './support/upgrade.mjs';

describe('an upgrade that changes the schema', () => {
  let daemon, programs, version;
  const ask = (sql) => {
    const asked = spawnSync('sqlite3', ['-readonly', path.join(daemon.stateDir, 'atoll.db'), sql], {encoding: 'utf8'});
    assert.equal(asked.status, 0, asked.stderr);
    return asked.stdout.trim();
  };
  const serves = async () => assert.equal(await daemon.sandbox('kept').sh('cat /workspace/file'), 'mine\n');
  const migratedOnce = () => fs.existsSync(path.join(daemon.stateDir, `atoll.db.v${version}`));
  const fails = async (repair) => {
    const [pid, said] = [daemon.pid, daemon.logTail(1000).split('this one goes on').length];
    process.kill(pid, 'SIGUSR2');
    await eventually('it is said', () => daemon.logTail(1000).split('this one goes on').length > said);
    await eventually('the old one answers', async () =>
      (await daemon.request('', {path: '/ready'}).catch(() => ({}))).status === 200);
    repair();
    assert.equal(holder(daemon).child.pid, pid);
    assert.equal(ask('PRAGMA user_version'), version);
    assert.equal(ask("SELECT count(*) FROM pragma_table_info('sandboxes') WHERE name='of_a_newer_version'"), '0');
    await serves();
    const other = `after-${pid}`;
    await daemon.sandbox(other).create();
    install(programs, 'atoll');
    await daemon.restart();
    await serves();
    assert.ok((await daemon.ids()).includes(other), 'what was written since is there');
    install(programs, 'atoll-newer', 'atoll');
  };
  before(async () => {
    programs = fs.mkdtempSync(path.join(process.env.ATOLL_TEST_TMP ?? os.tmpdir(), 'atoll-programs-'));
    install(programs, 'atoll');
    install(programs, 'atoll-agent');
    daemon = await Daemon.start({programs});
    version = ask('PRAGMA user_version');
    await daemon.sandbox('kept').create();
    await daemon.sandbox('kept').sh('echo mine > /workspace/file');
    install(programs, 'atoll-newer', 'atoll');
  });
  after(async () => {
    await daemon?.cleanup();
    fs.rmSync(programs, {recursive: true, force: true});
  });

  it('changes nothing when it cannot listen', async () => {
    const taken = net.createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const config = fs.readFileSync(daemon.config, 'utf8');
    const second = config.replace(/^listen = .*$/m, `listen = ["127.0.0.1:0", "127.0.0.1:${taken.address().port}"]`);
    assert.notEqual(second, config);
    fs.writeFileSync(daemon.config, second);
    await fails(() => {
      fs.writeFileSync(daemon.config, config);
      taken.close();
    });
    assert.ok(!migratedOnce(), 'what may fail came before the schema');
  });

  it('is taken back when what comes after it fails', async () => {
    // The last step: the file that says where it listens cannot be written.
    const address = path.join(daemon.runDir, 'address');
    fs.rmSync(address);
    fs.mkdirSync(path.join(address, 'in-the-way'), {recursive: true});
    await fails(() => fs.rmSync(address, {recursive: true}));
    assert.ok(migratedOnce(), 'it had migrated');
  });

  it('is kept when it serves, and the old program then says how to go back', async () => {
    const old = await upgrade(daemon);
    await eventually('the old one has ended', () => !alive(old));
    assert.equal(ask('SELECT DISTINCT of_a_newer_version FROM sandboxes'), 'new');
    await serves();
    install(programs, 'atoll');
    await daemon.stop();
    const refused = await daemon.launch().catch((error) => error);
    assert.match(refused.message, /a newer version has used it.*atoll\.db\.v\d+ is what it was before/);
    install(programs, 'atoll-newer', 'atoll');
    await daemon.launch();
    await serves();
  });
});
