// SPDX-License-Identifier: Apache-2.0
// A person works at a terminal of the dashboard. Screenshots go to tests/output.

import assert from 'node:assert/strict';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {noBrowser, openBrowser, OUTPUT} from './support/browser.mjs';
import {Daemon, eventually} from './support/daemon.mjs';

describe('a terminal in a browser', {skip: noBrowser}, () => {
  let daemon;
  let browser;
  let page;
  let complaints;

  before(async () => {
    daemon = await Daemon.start();
    await daemon.sandbox('first').create();
    await daemon.sandbox('second').create();
    ({browser, page, complaints} = await openBrowser({limitMs: 20_000, viewport: {width: 1280, height: 900}}));
    await page.goto(`${daemon.origin}/#first`);
  });
  after(async () => {
    await browser?.close();
    await daemon?.cleanup();
  });

  const section = () => page.getByRole('region', {name: 'Terminal'});
  const rows = () => section().locator('.xterm-rows');
  // What is out of sight is not drawn.
  const shows = async (text) => {
    // Opening another takes the old one away, maybe at this moment.
    await eventually('the terminal is in sight', () =>
      section().locator('.shell').scrollIntoViewIfNeeded({timeout: 1000}).then(() => true, () => false));
    await page.waitForFunction(
        (wanted) => [...document.querySelectorAll('.xterm-rows')].some((one) => one.innerText.includes(wanted)), text);
  };
  const type = async (text) => {
    await section().locator('.xterm').click();
    await page.keyboard.type(text);
    await page.keyboard.press('Enter');
  };

  it('opens, takes what is typed and shows what is printed', async () => {
    await section().getByRole('button', {name: 'Open'}).click();
    await shows('/workspace');
    await type(`PS1='\\[\\e[36m\\]first\\[\\e[0m\\]:\\w# '; echo typed''-here; tty`);
    await shows('typed-here');
    await shows('/dev/pts/');
    await type('stty size');
    const size = await page.evaluate(() => document.querySelectorAll('.xterm-rows > div').length);
    await shows(`${size} `);
    await type(`clear; printf '\\e[1;32mgreen\\e[0m \\e[31mred\\e[0m \\e[44m blue \\e[0m grüße 你好\\n'; ls -la --color / | head -12`);
    await shows('你好');
    await section().screenshot({path: path.join(OUTPUT, 'dashboard-terminal.png')});
    const color = await rows().evaluate((element) => {
      const green = [...element.querySelectorAll('span')].find((one) => one.textContent.includes('green'));
      return getComputedStyle(green).color;
    });
    assert.equal(color, 'rgb(169, 235, 188)', 'the policy of the page lets colours through');
  });

  it('comes back by itself when the daemon does, with the same shell', async () => {
    await type(`kept=shell-is-kept; echo se''t`);
    await shows('set');
    const {port} = daemon;
    await daemon.kill9();
    await section().getByText('connection lost').waitFor();
    await daemon.launch();
    // The new daemon has another port here: the page is opened there.
    if (daemon.port !== port) {
      await page.goto(`${daemon.origin}/#first`);
      await section().getByRole('button', {name: 'Open'}).click();
    }
    await shows('first:');
    await type('echo $kept');
    await shows('shell-is-kept');
    complaints.length = 0;  // the connections that were refused meanwhile
  });

  it('is looked at only while its sandbox is', async () => {
    const viewers = async (id) => {
      const answer = await daemon.request('', {path: `/v1/sandboxes/${id}/terminals`});
      return answer.json().terminals.reduce((sum, one) => sum + one.viewers, 0);
    };
    assert.equal(await viewers('first'), 1);
    await page.getByRole('navigation', {name: 'Sandboxes'}).getByRole('button', {name: /^second/}).click();
    await section().getByRole('button', {name: 'Open'}).click();
    await shows('/workspace');
    await type(`PS1='second# '`);
    await shows('second#');
    assert.equal(await viewers('first'), 0);
    await page.getByRole('navigation', {name: 'Sandboxes'}).getByRole('button', {name: /^first/}).click();
    await shows('shell-is-kept');
    await type('echo back""again');
    await shows('backagain');
    assert.equal(await viewers('second'), 0);
  });

  it('follows the size of the page, and fits a phone', async () => {
    await page.setViewportSize({width: 390, height: 844});
    await type('clear; tput cols');
    await page.waitForFunction(() => /(^|\n)\s*(3|4)\d\s*\n/.test(
        [...document.querySelectorAll('.xterm-rows')].map((one) => one.innerText).join('\n')));
    await section().screenshot({path: path.join(OUTPUT, 'dashboard-terminal-phone.png')});
    await page.setViewportSize({width: 1280, height: 900});
  });

  it('says how it ended, and opens another', async () => {
    await type('exit 3');
    await section().getByText('ended with 3').waitFor();
    await section().getByRole('button', {name: 'Open another'}).click();
    await shows('/workspace');
    await section().getByRole('button', {name: 'End'}).click();
    await section().getByText('ended by SIGHUP').waitFor();
    await page.screenshot({path: path.join(OUTPUT, 'dashboard-with-terminal.png'), fullPage: true});
    assert.deepEqual(complaints, []);
  });
});
