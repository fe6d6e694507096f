// SPDX-License-Identifier: Apache-2.0
// A person looks at what a sandbox uses. Screenshots go to tests/output.

import assert from 'node:assert/strict';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {noBrowser, openBrowser, OUTPUT} from './support/browser.mjs';
import {Daemon} from './support/daemon.mjs';

describe('usage in a browser', {skip: noBrowser}, () => {
  let daemon;
  let browser;
  let page;
  let complaints;

  before(async () => {
    daemon = await Daemon.start();
    ({browser, page, complaints} = await openBrowser());
  });
  after(async () => {
    await browser?.close();
    await daemon?.cleanup();
  });

  it('shows bars of the limits and lines of the last minutes', async () => {
    await page.goto(daemon.origin + '/');
    await page.getByLabel('Name').first().fill('meters');
    await page.getByLabel('Start OpenCode now').uncheck();
    await page.getByText('Limits').click();
    await page.getByLabel('Memory').fill('256M');
    await page.getByLabel('Disk').fill('512M');
    await page.getByRole('button', {name: 'Create'}).click();
    await page.getByRole('heading', {name: 'meters'}).waitFor();
    const usage = page.getByRole('list', {name: 'Usage'});
    await usage.getByText('of 256 MB').waitFor();
    await usage.getByText('of 512 MB').waitFor();
    for (const name of ['CPU', 'Memory', 'Disk', 'Processes']) {
      assert.equal(await usage.getByText(name, {exact: true}).count(), 1, name);
    }
    await daemon.sandbox('meters').sh('head -c 300M /dev/zero > /workspace/data');
    await page.waitForFunction(() => {
      const bars = [...document.querySelectorAll('.meter')];
      const disk = bars.find((one) => one.textContent.includes('Disk'));
      return Number(disk?.querySelector('.meter-part')?.getAttribute('width')) > 50;
    });
    await page.waitForFunction(() => document.querySelector('.meter-line path')?.getAttribute('d')?.includes('L'));
  });

  it('says that a program ran out of memory', async () => {
    await page.getByLabel('Command').fill('python3 -c "x = bytearray(800 << 20)"; exit 137');
    await page.getByRole('button', {name: 'Run', exact: true}).click();
    const badge = page.getByTestId('exit');
    await badge.waitFor();
    assert.equal(await badge.textContent(), 'out of memory');
    await page.getByText(/A program was ended for want of memory, last at/).waitFor();
    await page.screenshot({path: path.join(OUTPUT, 'dashboard-usage.png'), fullPage: true});
    await page.setViewportSize({width: 375, height: 812});
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'no sideways scrolling');
    await page.screenshot({path: path.join(OUTPUT, 'dashboard-usage-phone.png'), fullPage: true});
    assert.deepEqual(complaints, []);
  });
});
