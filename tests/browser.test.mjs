// SPDX-License-Identifier: Apache-2.0
// A person in a browser: the dashboard's walk, and OpenCode's own page on the subdomain.
// Screenshots go to tests/output.

import assert from 'node:assert/strict';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {noBrowser, openBrowser, OUTPUT} from './support/browser.mjs';
import {Daemon, eventually} from './support/daemon.mjs';
import {GitServer} from './support/git_server.mjs';
import {finalText, StubModel} from './support/stub_model.mjs';

const KEY = 'sk-test-browser-5b1d';

describe('in a browser', {skip: noBrowser}, () => {
  let stub;
  let git;
  let daemon;
  let browser;
  let context;
  let complaints;

  before(async () => {
    [stub, git] = await Promise.all([StubModel.start({key: KEY}), GitServer.start()]);
    daemon = await Daemon.start({sections: {
      egress: {host_ports: [git.port]},
      model: {provider: 'openai', base_url: stub.baseUrl, api_key: KEY, model: 'stub-1'},
    }});
    ({browser, context} = await openBrowser());
  });
  after(async () => {
    await browser?.close();
    await daemon?.cleanup();
    await git?.stop();
    await stub?.stop();
  });

  async function newPage() {
    const page = await context.newPage();
    complaints = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    page.on('request', (request) => {
      const host = new URL(request.url()).hostname;
      if (/^https?:|^wss?:/.test(request.url()) && !/(^|\.)localhost$/.test(host)) {
        complaints.push(`a request to ${request.url()}`);
      }
    });
    return page;
  }
  const shot = (page, name, options) => page.screenshot({path: path.join(OUTPUT, `${name}.png`), ...options});

  async function runInPage(page, command) {
    await page.getByLabel('Command').fill(command);
    await page.getByRole('button', {name: 'Run', exact: true}).click();
    await page.getByTestId('exit').waitFor();
    return page.getByTestId('exit').textContent();
  }

  // Types a prompt and waits until the agent has written its file.
  async function takeTurn(page, id, prompt) {
    await prompt.click();
    await page.keyboard.type('Write a file.');
    await page.keyboard.press('Enter');
    await eventually('the prompt is taken', async () => {
      if (await prompt.innerText() !== 'Write a file.') return true;
      await page.waitForTimeout(1000);
      await page.keyboard.press('Enter');
      return false;
    });
    try {
      await page.getByText(finalText).first().waitFor();
    } catch (error) {
      await shot(page, `opencode-stuck-${id}`);
      throw error;
    }
    assert.equal(await daemon.sandbox(id).sh('cat /workspace/agent.txt'), 'from the agent\n');
  }

  it('walks through the dashboard', async () => {
    const page = await newPage();
    await page.goto(daemon.origin + '/');
    await page.getByText('No sandboxes yet').waitFor();
    await shot(page, 'dashboard-empty');

    await page.getByLabel('Name').first().fill('www');
    await page.getByRole('button', {name: 'Create'}).click();
    await page.getByText('This name is reserved.').waitFor();
    await page.getByLabel('Name').first().fill('walk');
    await page.getByLabel('Start OpenCode now').uncheck();
    await page.getByRole('button', {name: 'Create'}).click();
    await page.getByRole('heading', {name: 'walk'}).waitFor();
    assert.deepEqual(await daemon.ids(), ['walk']);
    assert.equal(await page.getByRole('link', {name: /Open OpenCode/}).getAttribute('href'), daemon.url('walk'));

    await page.getByLabel('URL').fill(git.url('public.git'));
    await page.getByRole('button', {name: 'Clone'}).click();
    await page.getByText(/main at [0-9a-f]{8} in \/workspace\/public/).waitFor();
    await page.getByLabel('URL').fill(git.url('missing.git'));
    await page.getByRole('button', {name: 'Clone'}).click();
    await page.getByText('GIT_REPOSITORY_NOT_FOUND').waitFor();

    const output = page.getByRole('log');
    assert.equal(await runInPage(page, 'ls -la /workspace; echo careful >&2; exit 3'), 'exit 3');
    await output.getByText('public').first().waitFor();
    assert.ok(await output.locator('.stderr', {hasText: 'careful'}).count());
    await shot(page, 'dashboard-run', {fullPage: true});

    // Output appears while the command still runs, and Stop ends it.
    await page.getByLabel('Command').fill('echo live; exec sleep 33333');
    await page.keyboard.press('Enter');
    await output.getByText('live', {exact: true}).waitFor();
    await page.getByRole('button', {name: 'Stop', exact: true}).click();
    await page.getByText('stopped', {exact: true}).waitFor();
    await eventually('the command ended', async () =>
      await daemon.sandbox('walk').sh('pgrep -fc "^sleep 33333" || true') === '0\n');

    await page.getByRole('button', {name: 'Snapshot', exact: true}).click();
    await page.getByRole('button', {name: /^Restore/}).waitFor();
    assert.equal(await runInPage(page, 'rm -rf /workspace/*; ls /workspace'), 'exit 0');
    await page.getByRole('button', {name: /^Restore/}).click();
    await page.getByRole('dialog').getByRole('button', {name: 'Restore', exact: true}).click();
    await page.getByText('/workspace is as it was.').waitFor();
    assert.equal(await runInPage(page, 'cat /workspace/public/second.txt'), 'exit 0');
    await output.getByText('second', {exact: true}).waitFor();
    await shot(page, 'dashboard-restored', {fullPage: true});

    await page.emulateMedia({colorScheme: 'dark'});
    await shot(page, 'dashboard-dark', {fullPage: true});
    await page.setViewportSize({width: 375, height: 812});
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'no sideways scrolling');
    await shot(page, 'dashboard-phone', {fullPage: true});
    await page.setViewportSize({width: 1280, height: 860});

    await page.getByRole('button', {name: 'Delete sandbox'}).click();
    await page.getByRole('dialog').getByRole('button', {name: 'Keep it'}).click();
    assert.deepEqual(await daemon.ids(), ['walk']);
    await page.getByRole('button', {name: 'Delete sandbox'}).click();
    await page.getByRole('dialog').getByRole('button', {name: 'Delete'}).click();
    await page.getByText('No sandboxes yet').waitFor();
    assert.deepEqual(await daemon.ids(), []);
    // The one complaint is the browser's own line about the 404 of the failed clone.
    assert.deepEqual(complaints.filter((one) => !/status of 404/.test(one)), []);
    await page.close();
  });

  it('shows what others did, and says when the daemon is gone', async () => {
    const page = await newPage();
    await page.goto(daemon.origin + '/');
    await page.getByText('No sandboxes yet').waitFor();
    await daemon.sandbox('from-elsewhere').create();
    await page.getByRole('navigation').getByText('from-elsewhere').waitFor();
    assert.equal((await daemon.sandbox('from-elsewhere').delete()).status, 204);
    await page.getByText('No sandboxes yet').waitFor();
    await page.close();
  });

  it('offers to create a sandbox at its own address', async () => {
    const page = await newPage();
    const answer = await page.goto(daemon.url('never-made'));
    assert.equal(answer.status(), 404);
    await page.getByRole('button', {name: /create/i}).waitFor();
    await shot(page, 'create-page');
    await page.close();
  });

  it('opens OpenCode while it starts, and can use it when it has', async () => {
    // Without asking whether it is ready, as a person who clicks on the address that came back.
    // A start that takes longer than the page waits for its first answers.
    const made = await daemon.sandbox('early').post('/create', {cpus: 0.2});
    assert.equal(made.json().opencode, 'starting');
    const page = await newPage();
    await page.goto(made.json().url);
    await page.waitForURL(/\/L3dvcmtzcGFjZQ\/session/);
    await page.waitForFunction(() => document.querySelector('#root')?.childElementCount > 0);
    await shot(page, 'opencode-early');
    const prompt = page.locator('[contenteditable="true"]').first();
    await prompt.waitFor();
    await page.getByText('stub-1').first().waitFor();
    await shot(page, 'opencode-early-ready');
    assert.equal(await page.locator('[data-component="toast"]').count(), 0, 'nothing was complained about');
    await takeTurn(page, 'early', prompt);
    assert.deepEqual(complaints, []);
    await page.close();
    assert.equal((await daemon.sandbox('early').delete()).status, 204);
  });

  it('prompts OpenCode, sees the tool call, and uses the terminal', async () => {
    await daemon.sandbox('demo').create({opencode: true});
    const page = await newPage();
    let sockets = 0;
    page.on('websocket', (socket) => socket.on('framereceived', () => { sockets++; }));
    await page.goto(daemon.url('demo'));
    await page.waitForURL(/\/L3dvcmtzcGFjZQ\/session/);
    const prompt = page.locator('[contenteditable="true"]').first();
    await prompt.waitFor();
    // Before it knows its model the UI takes no prompt.
    await page.getByText('stub-1').first().waitFor();
    await page.waitForLoadState('networkidle', {timeout: 3000}).catch(() => {});
    await shot(page, 'opencode-new-session');

    await takeTurn(page, 'demo', prompt);
    await shot(page, 'opencode-turn');

    await page.keyboard.press('Control+Backquote');
    await eventually('the terminal is connected', () => sockets > 0);
    const typed = async () => {
      await page.keyboard.type('echo from the terminal > /workspace/terminal.txt\n');
      await page.waitForTimeout(1500);
      return (await daemon.sandbox('demo').run('cat /workspace/terminal.txt')).stdout === 'from the terminal\n';
    };
    await page.waitForTimeout(1500);
    await eventually('the terminal took a command', typed, 60_000);
    await shot(page, 'opencode-terminal');
    assert.deepEqual(complaints, []);
    await page.close();
  });
});
