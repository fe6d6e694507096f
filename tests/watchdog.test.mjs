// SPDX-License-Identifier: Apache-2.0
// OpenCode that dies or hangs comes back by itself, with its conversations.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually, sleep} from './support/daemon.mjs';
import {finalText, StubModel} from './support/stub_model.mjs';

const KEY = 'sk-test-watchdog-77e0';
const DIRECTORY = {'x-opencode-directory': '/workspace'};
const PID = 'pgrep -o -f "[o]pencode serve"';

describe('OpenCode is watched', () => {
  let stub;
  let daemon;
  let box;
  let session;

  before(async () => {
    stub = await StubModel.start({key: KEY});
    daemon = await Daemon.start({sections: {
      model: {provider: 'openai', base_url: stub.baseUrl, api_key: KEY, model: 'stub-1'},
    }});
    box = daemon.sandbox('demo');
    await box.create({opencode: true});
    const made = await daemon.request('demo', {method: 'POST', path: '/session', headers: DIRECTORY, json: {title: 'kept'}});
    assert.equal(made.status, 200, made.text);
    session = made.json().id;
    const turn = await daemon.request('demo', {
      method: 'POST', path: `/session/${session}/message`, headers: DIRECTORY, limitMs: 120_000,
      json: {parts: [{type: 'text', text: 'Write a file.'}]}});
    assert.equal(turn.status, 200, turn.text);
  });
  after(async () => {
    await daemon?.cleanup();
    await stub?.stop();
  });

  const state = async () => (await daemon.list())[0].opencode;

  // Nothing asks for OpenCode meanwhile: it comes back by itself.
  const replaced = (pid) => eventually('another one is ready', async () => {
    await sleep(500);
    if (await state() !== 'ready') return false;
    return (await box.sh(`${PID} || true`)).trim() !== pid;
  }, 180_000);

  async function assertConversation() {
    const list = await daemon.request('demo', {path: '/session', headers: DIRECTORY, limitMs: 120_000});
    assert.ok(list.json().some((one) => one.id === session && one.title === 'kept'), list.text);
    const messages = await daemon.request('demo', {path: `/session/${session}/message`, headers: DIRECTORY});
    assert.ok(messages.json().flatMap((one) => one.parts).some((part) => part.text === finalText), messages.text);
  }

  it('when it was killed', async () => {
    const pid = (await box.sh(PID)).trim();
    await box.sh(`kill -9 ${pid}`);
    await replaced(pid);
    assert.match(daemon.logTail(), /sandbox demo: OpenCode is started again in \d+ ms: signal 9/);
    await assertConversation();
    const {events} = (await daemon.request('', {path: '/v1/sandboxes/demo/events'})).json();
    const told = events.filter((one) => one.kind === 'opencode');
    assert.match(told.at(-1)?.detail ?? '', /^it is started again in \d+ ms: signal 9/);
  });

  it('when it hangs', async () => {
    const pid = (await box.sh(PID)).trim();
    await box.sh(`kill -STOP ${pid}`);
    await replaced(pid);
    assert.match(daemon.logTail(), /sandbox demo: OpenCode is started again in \d+ ms: it answers nobody/);
    assert.equal(await box.sh(`kill -0 ${pid} 2>/dev/null || echo gone`), 'gone\n');
    await assertConversation();
  });

  it('and is left alone in a sandbox that is stopped', async () => {
    const stopped = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/demo/stop', limitMs: 120_000});
    assert.equal(stopped.status, 200, stopped.text);
    await sleep(3000);
    assert.equal((await daemon.list())[0].state, 'stopped');
    await assertConversation();
  });
});
