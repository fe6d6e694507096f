// SPDX-License-Identifier: Apache-2.0
// A person tries the API on its page: finds operations, fills them in and sends them.

import assert from 'node:assert/strict';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {noBrowser, openBrowser, OUTPUT} from './support/browser.mjs';
import {Daemon, eventually} from './support/daemon.mjs';

describe('the page of the API in a browser', {skip: noBrowser}, () => {
  let daemon;
  let browser;
  let page;
  let complaints;

  before(async () => {
    daemon = await Daemon.start();
    await daemon.sandbox('tried').create();
    ({browser, page, complaints} = await openBrowser());
    await page.goto(`${daemon.origin}/v1/openapi.html`);
    await page.getByText(/^\d+ operations$/).waitFor();
  });
  after(async () => {
    await browser?.close();
    await daemon?.cleanup();
  });

  /** Opens an operation, fills its fields in and sends it: its status line and answer. */
  async function send(operation, fields = {}) {
    const view = page.locator(`#${operation}`);
    if (await view.getAttribute('open') === null) await view.locator('summary').click();
    for (const [name, value] of Object.entries(fields)) await view.locator(`[name="${name}"]`).fill(value);
    await view.getByRole('button', {name: 'Send'}).click();
    const status = view.getByRole('status');
    await eventually('it is answered', async () => /^\d+ in/.test(await status.textContent()));
    const answer = view.locator('pre');
    await eventually('it has ended', () => view.getByRole('button', {name: 'Send'}).isEnabled());
    return {status: Number((await status.textContent()).split(' ')[0]), text: await answer.textContent()};
  }

  it('finds operations by their words', async () => {
    const {paths} = (await daemon.request('', {path: '/v1/openapi.json'})).json();
    const all = Object.values(paths).flatMap((one) => Object.keys(one)).length;
    const shown = async () => Number((await page.locator('#count').textContent()).split(' ')[0]);
    assert.equal(await shown(), all);
    await page.getByLabel('Find an operation').fill('post exec');
    assert.ok(await shown() > 0 && await shown() < all);
    await page.locator('#exec').waitFor({state: 'visible'});
    assert.equal(await page.locator('#listSandboxes').isVisible(), false);
    await page.getByLabel('Find an operation').fill('');
  });

  it('sends them, and shows what was answered', async () => {
    const listed = await send('listSandboxes', {limit: '5'});
    assert.equal(listed.status, 200);
    assert.deepEqual(JSON.parse(listed.text).sandboxes.map((one) => one.id), ['tried']);
    const ran = await send('exec', {id: 'tried', '(body)': '{"command": "echo o\\"\\"n > /workspace/tried; echo done"}'});
    assert.equal(ran.status, 200);
    assert.match(ran.text, /done/);
    const read = await send('readFile', {id: 'tried', path: 'workspace/tried'});
    assert.deepEqual([read.status, read.text], [200, 'on\n']);
    assert.deepEqual(complaints, []);
    const missing = await send('readFile', {id: 'tried', path: 'workspace/none'});
    assert.equal(missing.status, 404);
    assert.equal(JSON.parse(missing.text).code, 'FILE_NOT_FOUND');
    await page.screenshot({path: path.join(OUTPUT, 'explore.png'), fullPage: false});
  });

  it('changes things: makes a sandbox and deletes it', async () => {
    const made = await send('newSandbox', {'(body)': '{"id": "made", "opencode": false}'});
    assert.ok(made.status < 300, made.text);
    assert.deepEqual(await daemon.ids(), ['made', 'tried']);
    const deleted = await send('deleteSandbox', {id: 'made'});
    assert.deepEqual([deleted.status, deleted.text], [204, '(empty)']);
    assert.deepEqual(await daemon.ids(), ['tried']);
  });
});
