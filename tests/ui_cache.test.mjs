// SPDX-License-Identifier: Apache-2.0
// OpenCode's page without OpenCode: its files are kept, served at once and the same as its own.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, preparedState} from './support/daemon.mjs';
import {open} from './support/http.mjs';

const LANDING = '/L3dvcmtzcGFjZQ/session';
const PAGE = {headers: {'Accept': 'text/html', 'Sec-Fetch-Mode': 'navigate'}, limitMs: 120_000};
const VERSION = '1.18.33';
const PREPARED = path.join(preparedState, 'opencode');
const kept = JSON.parse(fs.readFileSync(path.join(PREPARED, `ui-${VERSION}`, 'manifest.json'), 'utf8')).files;

// What OpenCode itself answers, asked from inside.
const ASK = `
import hashlib, http.client, json, sys
def ask(path):
    c = http.client.HTTPConnection('127.0.0.1', 4096, timeout=30)
    c.request('GET', path)
    a = c.getresponse()
    digest = hashlib.sha256(a.read()).hexdigest()
    return [a.status, digest, {k.lower(): v for k, v in a.getheaders()}]
print(json.dumps({path: ask(path) for path in PATHS}))
`;

const opencodeOf = async (daemon, id) => (await daemon.list()).find((one) => one.id === id).opencode;
const waitReady = (daemon, id) =>
  eventually('OpenCode is ready', async () => await opencodeOf(daemon, id) === 'ready', 120_000);

describe('the page that is kept', () => {
  let daemon;

  before(async () => { daemon = await Daemon.start(); });
  after(() => daemon?.cleanup());

  it('needs no OpenCode for its files', async () => {
    await daemon.sandbox('quiet').create({opencode: false});
    const asset = Object.keys(kept).find((one) => one.endsWith('.css'));
    const answer = await daemon.request('quiet', {path: asset});
    assert.deepEqual([answer.status, answer.headers['content-type']], [200, 'text/css']);
    assert.equal(await opencodeOf(daemon, 'quiet'), 'stopped', 'a file starts nothing');
  });

  it('is there at once, and starts OpenCode', async () => {
    const page = await daemon.request('quiet', {path: LANDING, ...PAGE});
    assert.equal(page.status, 200);
    assert.match(page.text, /<script type="module"/);
    assert.ok(['starting', 'ready'].includes(await opencodeOf(daemon, 'quiet')));
  });

  it('holds what only OpenCode can answer until it is healthy', async () => {
    const made = await daemon.sandbox('early').post('/create', {});
    assert.equal(made.status, 200, made.text);
    assert.ok(['starting', 'ready'].includes(made.json().opencode), 'nobody waits for it');
    const [health, stream, page] = await Promise.all([
      daemon.request('early', {path: '/global/health', limitMs: 120_000}),
      open(daemon.port, {host: daemon.host('early'), path: '/global/event', headers: {Accept: 'text/event-stream'}, limitMs: 120_000}),
      daemon.request('early', {path: LANDING, ...PAGE}),
    ]);
    assert.equal(page.status, 200);
    assert.deepEqual([health.status, health.json().healthy], [200, true]);
    assert.match(stream.headers['content-type'], /^text\/event-stream/);
    let seen = '';
    stream.stream.on('error', () => {});
    stream.stream.on('data', (part) => { seen += part; });
    await eventually('the first event', () => /server\.connected/.test(seen));
    stream.close();
  });

  it('waits only where it is asked to', async () => {
    const made = await daemon.sandbox('patient').create({opencode: true});
    assert.equal(made.opencode, 'ready');
  });

  it('is the same, field by field, as what OpenCode serves', async () => {
    await waitReady(daemon, 'quiet');
    const paths = Object.keys(kept);
    assert.ok(paths.length > 100, `${paths.length} files`);
    const own = await daemon.sandbox('quiet').python(`PATHS = ${JSON.stringify(paths)}${ASK}`);
    for (const one of paths) {
      const answer = await daemon.request('quiet', {path: one});
      const [status, digest, headers] = own[one];
      assert.equal(answer.status, status, one);
      assert.equal(crypto.createHash('sha256').update(answer.bytes).digest('hex'), digest, one);
      delete headers.date;
      for (const [name, value] of Object.entries(headers)) assert.equal(answer.headers[name], value, `${one}: ${name}`);
    }
  });

  it('keeps the policy of the page at every view of the UI, and leaves the API alone', async () => {
    const policy = kept['/index.html'].headers['Content-Security-Policy'];
    assert.match(policy, /script-src 'self'/);
    for (const view of [LANDING, '/L3dvcmtzcGFjZQ', `${LANDING}/ses_1`, '/index.html']) {
      const page = await daemon.request('quiet', {path: view, ...PAGE});
      assert.equal(page.headers['content-security-policy'], policy, view);
    }
    const config = await daemon.request('quiet', {path: '/config', ...PAGE});
    assert.match(config.headers['content-type'], /^application\/json/);
  });

  it('is asked for again only where it has changed', async () => {
    const asset = Object.keys(kept).find((one) => one.endsWith('.woff2'));
    const first = await daemon.request('quiet', {path: asset});
    assert.match(first.headers['cache-control'], /immutable/);
    const again = await daemon.request('quiet', {path: asset, headers: {'If-None-Match': `"x", ${first.headers.etag}`}});
    assert.deepEqual([again.status, again.bytes.length, again.headers.etag], [304, 0, first.headers.etag]);
    const other = await daemon.request('quiet', {path: asset, headers: {'If-None-Match': '"x"'}});
    assert.deepEqual([other.status, other.bytes.length], [200, kept[asset].size]);
    const head = await daemon.request('quiet', {path: asset, method: 'HEAD'});
    assert.deepEqual([head.status, head.bytes.length, head.headers['content-length']], [200, 0, String(kept[asset].size)]);
    const page = await daemon.request('quiet', {path: LANDING, ...PAGE});
    assert.equal(page.headers['cache-control'], 'no-cache');
  });

  it('gives way to a page that says why OpenCode does not start', async () => {
    const box = daemon.sandbox('broken');
    await box.create({opencode: false});
    await box.sh('mkdir -p /root/.local/share && rm -rf /root/.local/share/opencode && echo > /root/.local/share/opencode');
    const health = await daemon.request('broken', {path: '/global/health', limitMs: 120_000});
    assert.equal(health.status, 503, health.text);
    const page = await daemon.request('broken', {path: LANDING, ...PAGE});
    assert.equal(page.status, 503);
    assert.match(page.text, /OpenCode did not start/);
    await box.sh('rm /root/.local/share/opencode');
    await eventually('it comes once it can', async () =>
      (await daemon.request('broken', {path: '/global/health', limitMs: 120_000})).status === 200, 120_000);
    assert.equal((await daemon.request('broken', {path: LANDING, ...PAGE})).status, 200);
  });
});

// A place for OpenCode of a test's own, whose UI is what `prepare` makes of a copy of it.
async function withUi(prepare, use) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-ui-'));
  try {
    fs.symlinkSync(path.join(PREPARED, VERSION), path.join(dir, VERSION));
    prepare(path.join(dir, `ui-${VERSION}`));
    const daemon = await Daemon.start({sections: {sandbox: {opencode_dir: dir}}});
    try {
      await use(daemon);
    } finally {
      await daemon.cleanup();
    }
  } finally {
    fs.rmSync(dir, {recursive: true, force: true});
  }
}
const copyOfUi = (to) => fs.cpSync(path.join(PREPARED, `ui-${VERSION}`), to, {recursive: true});

describe('without a page that is kept', () => {
  it('shows a page that waits', () => withUi(() => {}, async (daemon) => {
    await daemon.sandbox('plain').create({opencode: false});
    const page = await daemon.request('plain', {path: LANDING, ...PAGE});
    assert.equal(page.status, 503);
    assert.match(page.text, /OpenCode is starting in plain/);
    await waitReady(daemon, 'plain');
    assert.equal((await daemon.request('plain', {path: LANDING, ...PAGE})).status, 200);
  }));

  it('trusts no list that is damaged, nor one of another OpenCode', async () => {
    const list = (ui) => path.join(ui, 'manifest.json');
    const spoil = [
      (ui) => { copyOfUi(ui); fs.writeFileSync(list(ui), fs.readFileSync(list(ui), 'utf8').slice(0, -20)); },
      (ui) => { copyOfUi(ui); fs.writeFileSync(list(ui), fs.readFileSync(list(ui), 'utf8').replace(/"binarySize": \d+/, '"binarySize": 1')); },
    ];
    for (const prepare of spoil) {
      await withUi(prepare, async (daemon) => {
        await daemon.sandbox('plain').create({opencode: false});
        assert.equal((await daemon.request('plain', {path: LANDING, ...PAGE})).status, 503);
        assert.match(daemon.logTail(), /OpenCode's page waits/);
      });
    }
  });

  it('leaves a file that is damaged to OpenCode', () => {
    const asset = Object.keys(kept).find((one) => one.endsWith('.mp3') || one.endsWith('.aac'));
    const spoil = (ui) => {
      copyOfUi(ui);
      fs.writeFileSync(path.join(ui, kept[asset].sha256), Buffer.alloc(kept[asset].size));
    };
    return withUi(spoil, async (daemon) => {
      await daemon.sandbox('plain').create({opencode: false});
      const answer = await daemon.request('plain', {path: asset, limitMs: 120_000});
      assert.equal(answer.status, 200);
      assert.equal(crypto.createHash('sha256').update(answer.bytes).digest('hex'), kept[asset].sha256);
    });
  });
});
