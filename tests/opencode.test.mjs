// SPDX-License-Identifier: Apache-2.0
// The real OpenCode in a sandbox, against a model of the tests' own, through the subdomain.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {open} from './support/http.mjs';
import {finalText, StubModel} from './support/stub_model.mjs';

const KEY = 'sk-test-' + 'real'.repeat(3) + '-91f3c0d7a2';
const LANDING = '/L3dvcmtzcGFjZQ/session';

// Looks for the key, which travels reversed so that the search does not find itself.
const SEARCH = `
import json, os, sys
needle = ${JSON.stringify([...KEY].reverse().join(''))}[::-1].encode()
found = []
def look(path):
    try:
        with open(path, 'rb') as f:
            rest = b''
            while True:
                block = f.read(1 << 20)
                if not block:
                    return
                if needle in rest + block:
                    found.append(path)
                    return
                rest = block[-len(needle):]
    except OSError:
        pass
for pid in os.listdir('/proc'):
    if pid.isdigit():
        for name in ('environ', 'cmdline'):
            look('/proc/%s/%s' % (pid, name))
for base, dirs, files in os.walk('/'):
    if base == '/':
        dirs[:] = [d for d in dirs if d not in ('proc', 'sys', 'dev', 'usr')]
    for name in files:
        path = os.path.join(base, name)
        if os.path.isfile(path) and not os.path.islink(path):
            look(path)
print(json.dumps(found))
`;

function protocolTests(protocol) {
  describe(`an agent turn, ${protocol}`, () => {
    let stub;
    let daemon;
    let box;

    before(async () => {
      stub = await StubModel.start({key: KEY});
      daemon = protocol === 'openai' ?
        await Daemon.start({
          sections: {model: {provider: 'openai', base_url: stub.baseUrl, model: 'stub-1'}},
          files: {'.dev.vars': `# a comment\nOPENAI_API_KEY="${KEY}"\n`},
        }) :
        await Daemon.start({
          sections: {model: {provider: 'anthropic', base_url: stub.origin}},
          env: {ANTHROPIC_API_KEY: KEY},
        });
      box = daemon.sandbox('demo');
    });
    after(async () => {
      await daemon?.cleanup();
      await stub?.stop();
    });

    it('is created with OpenCode healthy', async () => {
      const made = await box.create({opencode: true});
      assert.equal(made.state, 'running');
      const answer = await daemon.request('demo', {path: '/global/health'});
      assert.deepEqual([answer.status, answer.json().healthy], [200, true]);
      const [one] = await daemon.list();
      assert.equal(one.opencode, 'ready');
    });

    it('opens the UI at /workspace', async () => {
      const answer = await daemon.request('demo', {headers: {Accept: 'text/html'}});
      assert.equal(answer.status, 302);
      assert.equal(answer.headers.location.replace(daemon.url('demo').slice(0, -1), ''), LANDING);
      const page = await daemon.request('demo', {path: LANDING, headers: {Accept: 'text/html'}});
      assert.equal(page.status, 200);
      assert.match(page.text, /<script/);
      assert.ok(page.headers['content-security-policy'], 'its own policy is kept');
    });

    it('has no Access-Control fields', async () => {
      const answer = await daemon.request('demo', {path: '/global/health', headers: {Origin: daemon.url('demo').slice(0, -1)}});
      for (const name of Object.keys(answer.headers)) assert.doesNotMatch(name, /^access-control-/);
    });

    it('takes a turn with a tool call', async () => {
      const directory = {'x-opencode-directory': '/workspace'};
      const made = await daemon.request('demo', {method: 'POST', path: '/session', headers: directory, json: {}});
      assert.equal(made.status, 200, made.text);
      const session = made.json().id;

      const stream = await open(daemon.port, {host: daemon.host('demo'), path: '/event', headers: directory});
      let seen = '';
      stream.stream.on('error', () => {});
      stream.stream.on('data', (part) => { seen += part; });

      const turn = await daemon.request('demo', {
        method: 'POST', path: `/session/${session}/message`, headers: directory, limitMs: 120_000,
        json: {parts: [{type: 'text', text: 'Write a file.'}]}});
      assert.equal(turn.status, 200, turn.text);
      const parts = turn.json().parts;
      assert.ok(parts.some((part) => part.type === 'text' && part.text === finalText), turn.text.slice(0, 2000));
      assert.equal(await box.sh('cat /workspace/agent.txt'), 'from the agent\n');
      await eventually('events arrived', () => /session\.idle/.test(seen));
      stream.close();
      const messages = (await daemon.request('demo', {path: `/session/${session}/message`, headers: directory})).json();
      const tools = messages.flatMap((one) => one.parts).filter((part) => part.type === 'tool');
      assert.equal(tools[0]?.tool, 'bash');
      assert.equal(tools[0]?.state.status, 'completed');
    });

    it('sent the real key to the provider, and nothing without it', () => {
      assert.ok(stub.requests.length >= 2);
      for (const request of stub.requests) {
        assert.equal(request.status, 200, `${request.method} ${request.path}`);
        assert.match(request.path, protocol === 'openai' ? /^\/v1\/(chat\/completions|models)$/ : /^\/v1\/(messages|models)$/);
        // One credential alone: the placeholder went nowhere.
        if (protocol === 'openai') assert.ok(!('x-api-key' in request.headers));
        else assert.ok(!('authorization' in request.headers));
      }
    });

    it('shows the real key nowhere inside', async () => {
      const placeholder = await box.sh('env; cat /proc/*/environ 2>/dev/null | tr "\\0" "\\n"');
      assert.ok(!placeholder.includes(KEY));
      assert.deepEqual(await box.python(SEARCH), []);
    });

    it('passes only the model routes', async () => {
      const status = (method, path) =>
        box.sh(`curl -s -m 20 -o /dev/null -w '%{http_code}' -X ${method} http://gateway.atoll${path}`);
      const count = stub.requests.length;
      for (const [method, path] of [['GET', '/'], ['GET', '/v1'], ['POST', '/v1/files'], ['GET', '/v1/organizations'],
                                    ['GET', '/v1/../admin'], ['POST', '/v1/messages/batches'], ['GET', '/v1/models/../files'],
                                    ['DELETE', '/v1/models'], ['POST', '//v1/messages'], ['POST', '/v1/messages%2f..%2ffiles']]) {
        const got = await status(method, `${path} --path-as-is`);
        assert.ok(/^40[0-9]$/.test(got), `${method} ${path}: ${got}`);
      }
      assert.equal(stub.requests.length, count);
      assert.equal(await status('GET', '/v1/models'), '200');
      // A key of the sandbox's own choice changes nothing.
      await box.sh(`curl -sf -m 20 -H 'Authorization: Bearer mine' -H 'x-api-key: mine' http://gateway.atoll/v1/models`);
      assert.equal(stub.requests.at(-1).status, 200);
    });

    it('is still there after the daemon was restarted', async () => {
      const pid = await box.sh('pgrep -f "[o]pencode serve" | head -1');
      await daemon.restart();
      const answer = await daemon.request('demo', {path: '/global/health', limitMs: 120_000});
      assert.equal(answer.json().healthy, true);
      assert.equal(await box.sh('pgrep -f "[o]pencode serve" | head -1'), pid);
    });

    it('comes back when it was killed', async () => {
      await box.sh('pkill -9 -f "[o]pencode serve"');
      await eventually('healthy again', async () => {
        const answer = await daemon.request('demo', {path: '/global/health', limitMs: 120_000});
        return answer.status === 200 && /healthy/.test(answer.text);
      }, 120_000);
    });
  });
}

protocolTests('openai');
protocolTests('anthropic');

describe('without a key', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('keyless');
  });
  after(() => daemon?.cleanup());

  it('starts OpenCode at the first request to the UI, behind a page that waits', async () => {
    await box.create({opencode: false});
    assert.equal((await daemon.list())[0].opencode, 'stopped');
    const first = await daemon.request('keyless', {headers: {Accept: 'text/html'}, limitMs: 120_000});
    assert.ok([200, 302, 503].includes(first.status), String(first.status));
    await eventually('the UI is up', async () => {
      const answer = await daemon.request('keyless', {path: '/global/health', limitMs: 120_000});
      return answer.status === 200 && /"healthy":true/.test(answer.text);
    }, 120_000);
    assert.equal((await daemon.request('keyless', {path: LANDING, headers: {Accept: 'text/html'}})).status, 200);
  });

  it('says inside what is missing', async () => {
    const said = await box.sh('curl -s -m 20 -X POST -H "Content-Type: application/json" -d "{}" http://gateway.atoll/v1/messages');
    assert.match(said, /key/i);
  });
});
