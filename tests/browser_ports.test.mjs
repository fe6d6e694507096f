// SPDX-License-Identifier: Apache-2.0
// A person looks at the ports of a sandbox, exposes one, and opens it. Screenshots go to tests/output.

import assert from 'node:assert/strict';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {noBrowser, openBrowser, OUTPUT} from './support/browser.mjs';
import {Daemon, eventually} from './support/daemon.mjs';

describe('ports in a browser', {skip: noBrowser}, () => {
  let daemon;
  let browser;
  let context;
  let page;
  let complaints;

  before(async () => {
    daemon = await Daemon.start();
    const web = daemon.sandbox('web');
    await web.create();
    await web.sh('mkdir -p /workspace/site && echo "<h1>It is served</h1>" > /workspace/site/index.html');
    await web.background('cd /workspace/site && exec python3 -m http.server 3000');
    await eventually('it is served', async () => (await daemon.request('3000-web')).status === 200);
    ({browser, context, page, complaints} = await openBrowser({permissions: ['clipboard-read', 'clipboard-write']}));
  });
  after(async () => {
    await browser?.close();
    await daemon?.cleanup();
  });

  it('lists what listens, exposes it and takes it back', async () => {
    await page.goto(daemon.origin + '/#web');
    const list = page.getByRole('list', {name: 'Ports'});
    await list.getByText('python3 -m http.server 3000').waitFor();
    await list.getByRole('button', {name: 'Expose port 3000', exact: true}).click();
    await list.getByRole('button', {name: 'Copy the URL of port 3000'}).click();
    await page.getByText('The URL is copied.').waitFor();
    const url = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(url, /^http:\/\/3000-web--[a-z0-9]{13}\.localhost:\d+\/$/);
    await page.screenshot({path: path.join(OUTPUT, 'dashboard-ports.png'), fullPage: true});
    const visitor = await browser.newContext();
    const preview = await visitor.newPage();
    await preview.goto(url);
    await preview.getByText('It is served').waitFor();
    await page.setViewportSize({width: 375, height: 812});
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'no sideways scrolling');
    await page.screenshot({path: path.join(OUTPUT, 'dashboard-ports-phone.png'), fullPage: true});
    await page.setViewportSize({width: 1280, height: 860});
    await list.getByRole('button', {name: 'Unexpose port 3000'}).click();
    await list.getByRole('button', {name: 'Expose port 3000', exact: true}).waitFor();
    assert.equal((await preview.goto(url)).status(), 404);
    await visitor.close();
    assert.deepEqual(complaints, []);
  });

  it('opens one', async () => {
    const opened = context.waitForEvent('page');
    await page.getByRole('link', {name: 'Open port 3000'}).click();
    await (await opened).getByText('It is served').waitFor();
  });

  it('lets a signed URL in once, and its cookie from then on', async () => {
    const answer = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/web/ports/3000/expose',
                                             json: {signed: true}});
    const {url} = answer.json();
    const visitor = await browser.newContext();
    const preview = await visitor.newPage();
    await preview.goto(url);
    await preview.getByText('It is served').waitFor();
    assert.equal(new URL(preview.url()).search, '');
    assert.equal(await preview.evaluate(() => document.cookie), '', 'no script sees it');
    await preview.reload();
    await preview.getByText('It is served').waitFor();
    const stranger = await (await browser.newContext()).newPage();
    assert.equal((await stranger.goto(url.split('?')[0])).status(), 404);
    await visitor.close();
  });

  it('goes on from a page that says that nothing listens', async () => {
    const waiting = await context.newPage();
    await waiting.goto(daemon.url('8000-web'));
    await waiting.getByText('Nothing listens on port 8000').waitFor();
    await waiting.getByText('3000 (python3)').waitFor();
    await waiting.screenshot({path: path.join(OUTPUT, 'nothing-listens.png')});
    await daemon.sandbox('web').background('cd /workspace/site && exec python3 -m http.server 8000');
    await waiting.getByText('It is served').waitFor();
  });
});
