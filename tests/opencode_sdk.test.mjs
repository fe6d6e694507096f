// SPDX-License-Identifier: Apache-2.0
// OpenCode's own client, as it is published, drives the OpenCode of a sandbox through the subdomain.

import assert from 'node:assert/strict';
import dns from 'node:dns';
import {after, before, describe, it} from 'node:test';

import {createOpencodeClient as createOldClient} from '@opencode-ai/sdk/client';
import {createOpencodeClient} from '@opencode-ai/sdk/v2/client';

import {Daemon} from './support/daemon.mjs';
import {StubModel} from './support/stub_model.mjs';

const KEY = 'sk-real-key-of-opencodes-client';
const FINAL = 'Done: the file is written.';

// Browsers and curl know that these are this machine; Node.js asks the resolver, which may not.
const lookup = dns.lookup;
dns.lookup = (name, options, done) =>
  lookup(name.endsWith('.localhost') ? '127.0.0.1' : name, options, done);

describe('the client of @opencode-ai/sdk', () => {
  let daemon;
  let model;
  let one;
  let two;
  before(async () => {
    model = await StubModel.start({key: KEY});
    daemon = await Daemon.start({
      sections: {model: {provider: 'openai', base_url: model.baseUrl, model: 'stub-1'}}, env: {OPENAI_API_KEY: KEY}});
    await Promise.all(['one', 'two'].map((id) => daemon.sandbox(id).create({opencode: true})));
    [one, two] = ['one', 'two'].map((id) => createOpencodeClient({
      baseUrl: `http://${daemon.host(id)}`, directory: '/workspace', throwOnError: true,
    }));
  });
  after(async () => {
    dns.lookup = lookup;
    await daemon?.cleanup();
    await model?.stop();
  });

  it('asks for health and configuration', async () => {
    assert.equal((await one.global.health()).data.healthy, true);
    assert.equal(typeof (await one.config.get()).data, 'object');
    assert.equal((await one.path.get()).data.directory, '/workspace');
  });

  it('makes, names, lists and removes sessions, of this sandbox alone', async () => {
    const made = (await one.session.create({title: 'a talk'})).data;
    assert.equal(made.title, 'a talk');
    const listed = async (client) => (await client.session.list()).data.map((session) => session.id);
    assert.ok((await listed(one)).includes(made.id));
    assert.ok(!(await listed(two)).includes(made.id), 'it is nobody else\'s');
    await one.session.update({sessionID: made.id, title: 'another talk'});
    assert.equal((await one.session.get({sessionID: made.id})).data.title, 'another talk');
    assert.deepEqual((await one.session.messages({sessionID: made.id})).data, []);
    await one.session.delete({sessionID: made.id});
    assert.ok(!(await listed(one)).includes(made.id));
  });

  it('hears what happens', async () => {
    const abort = new AbortController();
    const {stream} = await one.event.subscribe({}, {signal: abort.signal});
    let id;
    for await (const event of stream) {
      if (event.type === 'server.connected') id = (await one.session.create({title: 'heard'})).data.id;
      if (event.type === 'session.created' && event.properties.info.id === id) break;
    }
    abort.abort();
    assert.ok(id);
  });

  it('runs a shell command in a session, whose output is a message', async () => {
    const {id} = (await one.session.create({title: 'shell'})).data;
    const agents = (await one.app.agents()).data;
    const answer = (await one.session.shell({sessionID: id, agent: agents[0].name, command: 'hostname; pwd'})).data;
    const messages = (await one.session.messages({sessionID: id})).data;
    const outputs = messages.flatMap(({parts}) => parts).filter(({type}) => type === 'tool').map(({state}) => state);
    assert.deepEqual(outputs.map(({status, output}) => [status, output.trim()]), [['completed', 'one\n/workspace']],
                     JSON.stringify({answer, messages}));
  });

  it('asks the model, whose tools work in the sandbox', async () => {
    const {id} = (await one.session.create({title: 'a talk'})).data;
    const {info, parts} = (await one.session.prompt({sessionID: id, parts: [{type: 'text', text: 'Write a file.'}]})).data;
    assert.equal(info.role, 'assistant');
    assert.deepEqual(parts.filter(({type}) => type === 'text').map(({text}) => text), [FINAL]);
    assert.equal(await daemon.sandbox('one').sh('cat /workspace/agent.txt'), 'from the agent\n');
    const roles = (await one.session.messages({sessionID: id})).data.map((message) => message.info.role);
    assert.deepEqual([roles[0], roles.at(-1)], ['user', 'assistant']);
    assert.ok(model.requests.length > 0 && model.requests.every(({status}) => status === 200));
  });

  it('has a client of the time before, which asks as well', async () => {
    const old = createOldClient({baseUrl: `http://${daemon.host('two')}`, directory: '/workspace', throwOnError: true});
    const {id} = (await old.session.create({body: {title: 'an old talk'}})).data;
    assert.equal((await old.session.get({path: {id}})).data.title, 'an old talk');
    const {parts} = (await old.session.prompt({path: {id}, body: {parts: [{type: 'text', text: 'Write a file.'}]}})).data;
    assert.deepEqual(parts.filter(({type}) => type === 'text').map(({text}) => text), [FINAL]);
    assert.equal(await daemon.sandbox('two').sh('cat /workspace/agent.txt'), 'from the agent\n');
    assert.ok((await two.session.list()).data.some((session) => session.id === id), 'they see the same');
    const {stream} = await old.event.subscribe();
    for await (const event of stream) {
      assert.equal(event.type, 'server.connected');
      break;
    }
    await assert.rejects(old.session.get({path: {id: 'ses_nosuchsession0000000000'}}), /not found/i);
  });

  it('reads, finds and lists files', async () => {
    await daemon.sandbox('one').sh('mkdir -p /workspace/src; echo needle > /workspace/src/hay.txt');
    const read = (await one.file.read({path: 'src/hay.txt'})).data;
    assert.equal(read.content.trim(), 'needle');
    assert.ok((await one.file.list({path: '.'})).data.some((entry) => entry.name === 'src'));
    const found = (await one.find.text({pattern: 'needle'})).data;
    assert.equal(found.length, 1);
  });

  it('is told what is wrong', async () => {
    await assert.rejects(one.session.get({sessionID: 'ses_nosuchsession0000000000'}), (error) => {
      assert.match(JSON.stringify(error.data ?? error.message), /ses_nosuchsession0000000000/, error.stack);
      return true;
    });
  });
});
