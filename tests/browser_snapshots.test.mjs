// SPDX-License-Identifier: Apache-2.0
// Snapshots as a person in a browser sees them: taken, compared, looked into, restored, kept,
// removed. Screenshots go to tests/output.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {noBrowser, openBrowser, OUTPUT} from './support/browser.mjs';
import {Daemon, eventually} from './support/daemon.mjs';

describe('snapshots in a browser', {skip: noBrowser}, () => {
  let daemon;
  let browser;
  let context;
  let page;
  let complaints;

  before(async () => {
    daemon = await Daemon.start({sections: {'snapshots.auto': {interval: 'off'}}});
    ({browser, context, page, complaints} = await openBrowser({levels: ['error', 'warning']}));
  });
  after(async () => {
    await browser?.close();
    await daemon?.cleanup();
  });

  const shot = (name, options) => page.screenshot({path: path.join(OUTPUT, `${name}.png`), ...options});
  const button = (name) => page.getByRole('button', {name, exact: true});
  const dialog = () => page.getByRole('dialog');
  const inDialog = (name) => dialog().getByRole('button', {name, exact: true});
  const moments = () => page.getByTestId('snapshot');
  const moment = (text) => moments().filter({hasText: text});
  const open = async (text) => {
    const head = moment(text).locator('[aria-expanded]');
    if (await head.getAttribute('aria-expanded') === 'false') await head.click();
  };

  async function show(id) {
    await page.goto(`${daemon.origin}/#${id}`);
    await page.getByRole('heading', {name: id, exact: true}).waitFor();
  }

  async function take(name, {dir, freeze} = {}) {
    if (dir) await page.locator('#snapshot-dir').fill(dir);
    await page.locator('#snapshot-name').fill(name);
    await page.getByLabel('Freeze').setChecked(freeze === true);
    await button('Snapshot').click();
    await moment(name).waitFor();
  }

  it('says what to do where there is nothing, and what is saved by itself', async () => {
    await daemon.sandbox('demo').create();
    await show('demo');
    await page.getByText('Nothing kept yet.').filter({visible: true}).waitFor();
    await page.getByText('Saved by itself').waitFor();
    await page.getByText('/home, /root, /workspace').waitFor();
  });

  it('takes one with progress', async () => {
    const box = daemon.sandbox('demo');
    await box.sh('mkdir -p /workspace/src && cd /workspace && echo hello > readme.md && ' +
                 'seq 1 500 > src/numbers.txt && head -c 120000000 /dev/urandom > blob.bin && ' +
                 'ln -s readme.md link && printf "a\\0b" > binary && touch "$(printf "odd-\\377.txt")"');
    await page.locator('#snapshot-name').fill('first');
    await button('Snapshot').click();
    const bar = page.getByRole('progressbar');
    await bar.waitFor();
    const seen = new Set();
    await eventually('the bar moves', async () => {
      const now = Number(await bar.getAttribute('aria-valuenow'));
      if (now > 0 && now < 100) seen.add(now);
      if (seen.size === 1) await shot('snapshot-progress');
      return seen.size > 0;
    });
    await moment('first').waitFor();
    await page.getByText(/6 files, 114 MB · .* added/).waitFor();
    await page.getByText('Snapshot of /workspace taken.').waitFor();
  });

  it('tells of what cannot be taken', async () => {
    await page.locator('#snapshot-dir').fill('/missing');
    await button('Snapshot').click();
    const problem = page.getByRole('alert').filter({hasText: 'DIRECTORY_NOT_FOUND'});
    await problem.waitFor();
    await button('Dismiss').last().click();
    await problem.waitFor({state: 'detached'});
  });

  it('shows the second with what it added, and compares the two', async () => {
    await daemon.sandbox('demo').sh('cd /workspace && echo more >> readme.md && rm link && ' +
                                    'mkdir new && echo fresh > new/file.txt');
    await take('second', {dir: '/workspace', freeze: true});
    assert.match(await moments().first().innerText(), /second/);
    const width = (text) => moment(text).locator('.bar span').evaluate((bar) => bar.offsetWidth);
    assert.ok(await width('second') < 10 && await width('first') > 60, 'bars tell the sizes');
    await open('second');
    await page.getByText('at one moment, the sandbox stood still').waitFor();
    await shot('snapshot-timeline', {fullPage: true});

    await button('Compare').click();
    await dialog().getByText('1 changed', {exact: true}).waitFor();
    const changes = await dialog().locator('.changes li').allInnerTexts();
    const told = changes.map((text) => text.replace(/\s+/g, ' ').trim());
    assert.ok(told.includes('− link'), told.join('; '));
    assert.ok(told.includes('~ readme.md 6 B → 11 B'), told.join('; '));
    assert.ok(told.includes('+ new/'), told.join('; '));
    assert.ok(told.includes('+ new/file.txt 6 B'), told.join('; '));
    await shot('snapshot-compare');
    await page.keyboard.press('Escape');
    await dialog().waitFor({state: 'hidden'});
  });

  it('looks into one: directories, text, what is no text, names that are none', async () => {
    await open('first');
    await button('Browse').click();
    await dialog().getByText('→ readme.md').waitFor();
    await shot('snapshot-browse');
    await dialog().getByRole('button', {name: /src/}).click();
    await dialog().getByRole('button', {name: /numbers.txt/}).click();
    const text = dialog().locator('pre');
    await text.waitFor();
    assert.match(await text.textContent(), /^1\n2\n[^]*\n500\n$/);
    await shot('snapshot-file');
    await inDialog('/workspace').click();
    await dialog().getByRole('button', {name: /binary/}).click();
    await dialog().getByText('This is no text.').waitFor();
    const download = page.waitForEvent('download');
    await dialog().getByRole('link', {name: 'Download'}).click();
    assert.deepEqual(fs.readFileSync(await (await download).path()), Buffer.from('a\0b'));
    await inDialog('/workspace').click();
    await dialog().getByRole('button', {name: /blob.bin/}).click();
    await dialog().getByText('Too large to be shown here.').waitFor();
    await inDialog('/workspace').click();
    await dialog().getByRole('button', {name: /odd-/}).click();
    await dialog().getByText('The file is empty.').waitFor();
    await inDialog('Close').click();

    const archive = page.waitForEvent('download');
    await moment('first').getByRole('link', {name: 'Download'}).click();
    const saved = await archive;
    assert.match(saved.suggestedFilename(), /^[0-9a-f]+\.tar\.zst$/);
    assert.deepEqual([...fs.readFileSync(await saved.path()).subarray(0, 4)], [0x28, 0xb5, 0x2f, 0xfd]);
  });

  it('restores here, merges elsewhere, and brings back one directory', async () => {
    const box = daemon.sandbox('demo');
    await moment('first').getByRole('button', {name: /^Restore/}).click();
    await dialog().getByText('files that it does not have are removed').waitFor();
    await shot('snapshot-restore');
    await inDialog('Restore').click();
    await page.getByText('/workspace is as it was.').waitFor();
    assert.equal(await box.sh('cd /workspace && cat readme.md && readlink link && ls -d new || true'),
                 'hello\nreadme.md\n');

    await box.sh('mkdir -p /srv/copy && echo mine > /srv/copy/mine');
    await moment('second').getByRole('button', {name: /^Restore/}).click();
    await page.getByLabel('Directory there').fill('/srv/copy');
    await page.getByLabel('Keep files that the snapshot does not have').check();
    await inDialog('Restore').click();
    await page.getByText('Restored into /srv/copy of demo.').waitFor();
    assert.equal(await box.sh('cat /srv/copy/mine /srv/copy/new/file.txt'), 'mine\nfresh\n');

    await box.sh('cd /workspace && echo lost > src/numbers.txt && echo stays > readme.md');
    await open('first');
    await button('Browse').click();
    await dialog().getByRole('button', {name: /src/}).click();
    await inDialog('Restore this directory…').click();
    assert.equal(await page.getByLabel('Directory there').inputValue(), '/workspace/src');
    await inDialog('Restore').click();
    await page.getByText('Restored into /workspace/src of demo.').waitFor();
    assert.equal(await box.sh('cd /workspace && tail -n1 src/numbers.txt && cat readme.md'), '500\nstays\n');
  });

  it('pins, names and tags; deletes what is not pinned', async () => {
    await open('first');
    await button('Pin').click();
    await button('Unpin').waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), 'Unpin');
    assert.ok(await button('Delete snapshot').isDisabled());
    await button('Name and tags').click();
    await dialog().getByLabel('Name').fill('golden');
    await dialog().getByLabel(/Tags/).fill('release, v1.0');
    await inDialog('Save').click();
    await moment('golden').getByText('v1.0', {exact: true}).waitFor();
    const answer = await daemon.request('', {path: '/v1/snapshots?tag=release'});
    const [kept] = answer.json().snapshots;
    assert.deepEqual([kept.name, kept.tags, kept.pinned], ['golden', ['release', 'v1.0'], true]);

    await open('second');
    await button('Delete snapshot').click();
    await shot('snapshot-delete');
    await inDialog('Delete').click();
    await moment('second').waitFor({state: 'detached'});
    const left = (await daemon.request('', {path: '/v1/snapshots'})).json().snapshots;
    assert.deepEqual(left.map((one) => one.name), ['golden']);
  });

  it('saves when it stops, and starts again', async () => {
    await daemon.sandbox('demo').sh('echo late > /workspace/late && echo home > /root/note');
    await button('Stop sandbox').click();
    await page.getByText(/demo is stopped and saved in \d snapshots/).waitFor();
    await page.getByTestId('state').filter({hasText: 'stopped'}).waitFor();
    await moments().nth(1).waitFor();
    assert.equal(await daemon.sandbox('demo').daemon.list().then((list) => list[0].state), 'stopped');

    // Only those of one directory, or taken one way.
    await button('/root').click();
    await eventually('only /root is left', async () => await moments().count() === 1);
    await button('/root').click();
    await button('By hand').click();
    await eventually('only what was taken by hand is left', async () => await moments().count() === 1);
    await moment('golden').waitFor();
    await button('By hand').click();
    await button('Start sandbox').click();
    await page.getByTestId('state').filter({hasText: 'running'}).waitFor();
    assert.equal(await daemon.sandbox('demo').sh('cat /workspace/late'), 'late\n');
  });

  it('finds what a deleted sandbox held and restores it into a new one', async () => {
    await button('Delete sandbox').click();
    await inDialog('Delete').click();
    await page.getByText('No sandboxes yet').waitFor();
    await page.getByRole('link', {name: 'all snapshots', exact: true}).click();
    await moment('golden').getByText('sandbox deleted').waitFor();
    await page.getByLabel('Sandbox', {exact: true}).fill('other');
    await page.getByText('No snapshot is like that.').waitFor();
    await page.getByLabel('Sandbox', {exact: true}).fill('demo');
    await moment('golden').waitFor();
    await shot('snapshot-all', {fullPage: true});

    await moment('golden').getByRole('button', {name: /^Restore/}).click();
    await page.getByLabel('Its name').fill('again');
    await inDialog('Restore').click();
    await page.getByText('Restored into /workspace of again.').waitFor();
    await page.getByRole('heading', {name: 'again', exact: true}).waitFor();
    assert.equal(await daemon.sandbox('again').sh('cat /workspace/readme.md'), 'hello\n');
  });

  it('pages through many', async () => {
    const box = daemon.sandbox('again');
    await box.sh('mkdir /srv/many');
    for (let i = 0; i < 45; i++) {
      await box.sh(`echo ${i} > /srv/many/file`);
      await box.snapshot('/srv/many', `number-${i}`);
    }
    await page.reload();
    await moment('number-44').waitFor();
    assert.equal(await moments().count(), 40);
    await button('Show older').click();
    await moment('number-0').last().waitFor();
    assert.equal(await moments().count(), 45);
    await button('Show older').waitFor({state: 'hidden'});
  });

  it('fits a phone, in the dark too, without complaints', async () => {
    await page.emulateMedia({colorScheme: 'dark'});
    await page.setViewportSize({width: 375, height: 812});
    await open('number-44');
    const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
    assert.ok(await fits(), 'no sideways scrolling');
    await shot('snapshot-phone', {fullPage: true});
    await button('Browse').click();
    await dialog().getByRole('button', {name: /file/}).waitFor();
    assert.ok(await dialog().evaluate((sheet) => sheet.scrollWidth <= sheet.clientWidth), 'nor in a sheet');
    await shot('snapshot-phone-browse');
    await inDialog('Close').click();
    // The browser itself complains of the answer 404 to the snapshot of what does not exist.
    assert.deepEqual(complaints.filter((one) => !/status of 404/.test(one)), []);
  });
});
