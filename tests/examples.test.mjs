// SPDX-License-Identifier: Apache-2.0
// The programs in docs/clients.md, run as they stand there, with the daemon's port in the place of 8787.

import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';

import {Daemon, eventually} from './support/daemon.mjs';
import {StubModel} from './support/stub_model.mjs';
import {buildClient} from './support/typescript.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const KEY = 'sk-real-key-of-the-examples';

describe('the examples of docs/clients.md', () => {
  let daemon;
  let model;
  let client;
  let dir;
  let blocks;

  before(async () => {
    model = await StubModel.start({key: KEY});
    daemon = await Daemon.start({
      sections: {model: {provider: 'openai', base_url: model.baseUrl, model: 'stub-1'}}, env: {OPENAI_API_KEY: KEY}});
    // Beside the packages that they import.
    dir = fs.mkdtempSync(path.join(here, 'node_modules', '.examples-'));
    fs.copyFileSync(path.join(here, 'support', 'sdk_loader.mjs'), path.join(dir, 'sdk_loader.mjs'));
    client = await buildClient();
    const installed = path.join(dir, 'node_modules', 'atoll-sandbox');
    fs.cpSync(client.out, installed, {recursive: true});
    fs.writeFileSync(path.join(installed, 'package.json'), '{"type": "module", "exports": "./index.js"}');
    const text = fs.readFileSync(path.join(here, '..', 'docs', 'clients.md'), 'utf8');
    blocks = [...text.matchAll(/^```(?:js|ts)\n(.*?)^```$/gms)].map(([, code]) => code);
  });
  after(async () => {
    client?.remove();
    if (dir) fs.rmSync(dir, {recursive: true, force: true});
    await daemon?.cleanup();
    await model?.stop();
  });

  const run = async (importing) => {
    const [code, ...others] = blocks.filter((block) => block.includes(`'${importing}'`));
    assert.ok(code && others.length === 0, `one example imports ${importing}`);
    blocks = blocks.filter((block) => block !== code);
    const file = path.join(dir, 'example.mjs');
    fs.writeFileSync(file, code.replaceAll('8787', daemon.port));
    return (await promisify(execFile)(process.execPath, [file], {timeout: 180_000})).stdout;
  };

  it('atoll-sandbox', async () => {
    assert.match(await run('atoll-sandbox'), /^Linux demo .*\n/);
  });

  it('@openai/agents-extensions', async () => {
    assert.match(await run('@openai/agents-extensions/sandbox/cloudflare'), /# Hello\n/);
  });

  it('@computesdk/cloudflare', async () => {
    const [name, url] = (await run('@computesdk/cloudflare')).split('\n').filter(Boolean);
    assert.match(name, /^Linux /);
    assert.match(new URL(url).hostname, /^3000-[a-z2-7]+--/);
  });

  it('@cloudflare/sandbox', async () => {
    assert.match(await run('@cloudflare/sandbox'), /^Linux demo .*\n/);
    assert.equal(await daemon.sandbox('demo').sh('cat /workspace/a.txt'), 'hello');
  });

  it('@opencode-ai/sdk', async () => {
    assert.equal(await run('@opencode-ai/sdk/v2/client'), 'Done: the file is written.\n');
    await eventually('the model was asked', () => model.requests.length > 0);
  });

  it('are all that there are', () => assert.deepEqual(blocks, []));
});
