// SPDX-License-Identifier: Apache-2.0
// A tab that is left open: its sandbox falls asleep and stops all the same, and the tab goes on when
// somebody comes back.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {open} from './support/http.mjs';
import {finalText, StubModel} from './support/stub_model.mjs';
import {alive, upgrade} from './support/upgrade.mjs';

const KEY = 'sk-test-idle-20c4';
const DIRECTORY = {'x-opencode-directory': '/workspace'};
const CHROMIUM = process.env.ATOLL_TEST_CHROMIUM ?? '/usr/bin/chromium';

const stateOf = async (daemon, id) => (await daemon.list()).find((one) => one.id === id)?.state;
const becomes = (daemon, id, state) =>
  eventually(`${id} is ${state}`, async () => await stateOf(daemon, id) === state, 120_000);

/** Listens to OpenCode's events: what came so far, and whether it has ended. */
async function listen(daemon, id, {headers = {}, first = /server\.connected/} = {}) {
  const answer = await open(daemon.port, {
    host: daemon.host(id), path: '/global/event', headers: {Accept: 'text/event-stream', ...headers}, limitMs: 120_000});
  assert.equal(answer.status, 200);
  assert.match(answer.headers['content-type'], /^text\/event-stream/);
  const tab = {text: '', ended: false, close: answer.close};
  answer.stream.on('data', (part) => { tab.text += part; });
  answer.stream.on('error', () => { tab.ended = true; });
  answer.stream.on('close', () => { tab.ended = true; });
  tab.count = (pattern) => [...tab.text.matchAll(pattern)].length;
  await eventually('the first event', () => first.test(tab.text));
  return tab;
}

async function newSession(daemon, id) {
  const made = await daemon.request(id, {
    method: 'POST', path: '/session', headers: DIRECTORY, json: {}, limitMs: 120_000});
  assert.equal(made.status, 200, made.text);
  return made.json().id;
}

describe('a tab that is left open', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start({sections: {sleep: {after: 'off', stop_after: 'off'}}});
    box = daemon.sandbox('left');
    await box.create({opencode: true, sleepAfter: 2});
  });
  after(() => daemon?.cleanup());

  it('keeps no sandbox awake, and hears of it again when it wakes', async () => {
    const tab = await listen(daemon, 'left');
    await becomes(daemon, 'left', 'paused');
    const asleep = tab.text.length;
    await eventually('it is told that the stream lives', () => /^:/m.test(tab.text.slice(asleep)), 60_000);
    assert.equal(await stateOf(daemon, 'left'), 'paused');
    assert.equal(tab.ended, false);
    // Events, comments and nothing else, whole ones.
    for (const block of tab.text.split('\n\n').slice(0, -1)) assert.match(block, /^(data: \{.*\}|:.*)$/);
    const session = await newSession(daemon, 'left');
    await eventually('the event of it', () => tab.text.includes(session));
    assert.equal(tab.count(/server\.connected/g), 1, 'the same stream all the time');
    tab.close();
  });

  it('may ask whether OpenCode is healthy without waking it', async () => {
    const page = {'Sec-Fetch-Mode': 'cors', 'Sec-Fetch-Site': 'same-origin'};
    const paths = ['/global/health', '/api/health'];
    const ask = (headers) => Promise.all(paths.map(async (path) => {
      const answer = await daemon.request('left', {path, headers, limitMs: 120_000});
      return [answer.status, answer.text.trim()];
    }));
    const awake = await ask({});
    assert.match(awake[0][1], /"healthy":true/);
    await becomes(daemon, 'left', 'paused');
    assert.deepEqual(await ask(page), awake, 'the same as OpenCode says');
    assert.equal(await stateOf(daemon, 'left'), 'paused');
    assert.deepEqual(await ask({}), awake, 'whoever wants to know gets to know');
    assert.equal(await stateOf(daemon, 'left'), 'running');
    assert.deepEqual(await ask(page), awake);
    await becomes(daemon, 'left', 'paused');
  });

  it('connects again without waking it, as after a restart of the daemon', async () => {
    await becomes(daemon, 'left', 'paused');
    await daemon.restart();
    assert.equal(await stateOf(daemon, 'left'), 'paused');
    const tab = await listen(daemon, 'left', {headers: {'Sec-Fetch-Mode': 'cors'}, first: /^:/});
    await sleep(1500);
    assert.deepEqual([await stateOf(daemon, 'left'), tab.ended], ['paused', false]);
    const session = await newSession(daemon, 'left');
    await eventually('it is connected', () => tab.count(/server\.connected/g) === 1);
    const next = await newSession(daemon, 'left');
    await eventually('the events come', () => tab.text.includes(next));
    assert.notEqual(session, next);
    tab.close();
    // A program that listens wants to hear something.
    await becomes(daemon, 'left', 'paused');
    (await listen(daemon, 'left')).close();
  });

  it('hears of its sandbox across an upgrade of the daemon, and keeps it no more awake', async () => {
    await becomes(daemon, 'left', 'paused');
    const tab = await listen(daemon, 'left', {headers: {'Sec-Fetch-Mode': 'cors'}, first: /^:/});
    const old = await upgrade(daemon);
    await sleep(1500);
    assert.equal(await stateOf(daemon, 'left'), 'paused', 'nobody has woken it');
    const session = await newSession(daemon, 'left');
    // The page connects again when its stream ends; one that is open must not be deaf.
    let heard = tab;
    await eventually('the tab is connected', async () => {
      if (heard.ended) heard = await listen(daemon, 'left');
      return heard.count(/server\.connected/g) >= 1;
    });
    const next = await newSession(daemon, 'left');
    await eventually('the events come', () => heard.text.includes(next));
    assert.notEqual(session, next);
    tab.close();
    heard.close();
    await eventually('the old daemon ends with its last stream', () => !alive(old));
    await becomes(daemon, 'left', 'paused');
  });

  it('outlives a stop, and starts nothing by itself', async () => {
    const tab = await listen(daemon, 'left');
    const stopped = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/left/stop', limitMs: 120_000});
    assert.equal(stopped.status, 200, stopped.text);
    await sleep(2000);
    assert.deepEqual([await stateOf(daemon, 'left'), tab.ended], ['stopped', false]);
    const session = await newSession(daemon, 'left');
    await eventually('it is connected again', () => tab.count(/server\.connected/g) === 2);
    const next = await newSession(daemon, 'left');
    await eventually('the events go on', () => tab.text.includes(next));
    assert.notEqual(session, next);
    tab.close();
  });

  it('is told at once when OpenCode itself is gone', async () => {
    const tab = await listen(daemon, 'left');
    await box.sh('pkill -9 -f "[o]pencode serve"');
    await eventually('the stream ends', () => tab.ended);
    const again = await listen(daemon, 'left');
    assert.equal((await box.delete()).status, 204);
    await eventually('with the sandbox too', () => again.ended);
  });
});

describe('a tab that counts as activity', () => {
  let daemon;

  before(async () => {
    daemon = await Daemon.start({sections: {sleep: {after: 'off', stop_after: 'off', event_stream_is_activity: true}}});
  });
  after(() => daemon?.cleanup());

  it('keeps its sandbox awake until it is closed', async () => {
    await daemon.sandbox('held').create({opencode: true, sleepAfter: 2});
    const tab = await listen(daemon, 'held');
    await sleep(6000);
    assert.equal(await stateOf(daemon, 'held'), 'running');
    tab.close();
    await becomes(daemon, 'held', 'paused');
  });
});

const reason = fs.existsSync(CHROMIUM) ? false : `${CHROMIUM} is not installed`;

describe('a real tab that is left open', {skip: reason}, () => {
  let stub;
  let daemon;
  let browser;

  before(async () => {
    const {chromium} = await import('playwright-core');
    stub = await StubModel.start({key: KEY});
    daemon = await Daemon.start({sections: {
      sleep: {after: 'off', stop_after: 'off'},
      model: {provider: 'openai', base_url: stub.baseUrl, api_key: KEY, model: 'stub-1'},
    }});
    browser = await chromium.launch({executablePath: CHROMIUM, args: ['--no-sandbox']});
  });
  after(async () => {
    await browser?.close();
    await daemon?.cleanup();
    await stub?.stop();
  });

  it('lets its sandbox sleep, and takes a prompt when its owner is back', async () => {
    const box = daemon.sandbox('demo');
    await box.create({opencode: true, sleepAfter: 5});
    const page = await browser.newPage();
    page.setDefaultTimeout(60_000);
    const complaints = [];
    const asked = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
    await page.goto(daemon.url('demo'));
    const prompt = page.locator('[contenteditable="true"]').first();
    await prompt.waitFor();
    await page.getByText('stub-1').first().waitFor();
    page.on('request', (request) => asked.push(`${request.method()} ${new URL(request.url()).pathname}`));
    await becomes(daemon, 'demo', 'paused');
    await sleep(5000);
    assert.equal(await stateOf(daemon, 'demo'), 'paused', `the page asked for ${asked}`);

    await prompt.click();
    await page.keyboard.type('Write a file.');
    await page.keyboard.press('Enter');
    await page.getByText(finalText).first().waitFor();
    assert.equal(await box.sh('cat /workspace/agent.txt'), 'from the agent\n');
    assert.deepEqual(complaints, []);
    await page.close();
  });
});
