// SPDX-License-Identifier: Apache-2.0
// clients/typescript, built from its sources.

import {execFileSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {fileURLToPath} from 'node:url';

import {Daemon} from './daemon.mjs';
import {GitServer} from './git_server.mjs';

export const home = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'clients', 'typescript');

/** The client's module, where it is, and what removes it. */
export async function buildClient() {
  // Beside its node_modules, and not where another run builds.
  const out = fs.mkdtempSync(path.join(home, 'node_modules', '.build-'));
  const remove = () => fs.rmSync(out, {recursive: true, force: true});
  try {
    execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.', '--outDir', out], {cwd: home, stdio: 'inherit'});
    fs.writeFileSync(path.join(out, 'package.json'), '{"type": "module"}');
    return {client: await import(path.join(out, 'index.js')), out, remove};
  } catch (error) {
    remove();
    throw error;
  }
}

/** A daemon, a git server that sandboxes reach, the client, one sandbox of it, and what ends them all. */
export async function startClient(id, options) {
  const git = await GitServer.start();
  const daemon = await Daemon.start({sections: {egress: {host_ports: [git.port]}}});
  const {client, remove} = await buildClient();
  const stop = async () => {
    remove();
    await git.stop();
    await daemon.cleanup();
  };
  const atoll = new client.Atoll({url: `http://localhost:${daemon.port}`});
  const sandbox = await client.getSandbox(atoll, id, options);
  return {git, daemon, client, atoll, sandbox, stop};
}
