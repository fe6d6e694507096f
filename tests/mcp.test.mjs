// SPDX-License-Identifier: Apache-2.0
// The Model Context Protocol with its official client, on stdio and over HTTP, and with bad input.

import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';

import {Client} from '@modelcontextprotocol/sdk/client/index.js';
import {StdioClientTransport} from '@modelcontextprotocol/sdk/client/stdio.js';
import {StreamableHTTPClientTransport} from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import {buildDir, Daemon, eventually} from './support/daemon.mjs';
import {GitServer} from './support/git_server.mjs';
import {raw, request} from './support/http.mjs';

const ofOne = ['clone', 'edit', 'expose', 'find', 'grep', 'list', 'list_snapshots', 'read', 'restore', 'run',
               'snapshot', 'write'];
const ofAll = ['create_sandbox', 'delete_sandbox', 'list_sandboxes'];

describe('mcp', () => {
  let git;
  let daemon;
  const clients = [];

  before(async () => {
    git = await GitServer.start();
    daemon = await Daemon.start({sections: {egress: {host_ports: [git.port]}}});
    for (const id of ['one', 'two']) await daemon.sandbox(id).create();
  });
  after(async () => {
    for (const client of clients) await client.close();
    await git?.stop();
    await daemon?.cleanup();
  });

  const args = (...more) => ['mcp', '--config', daemon.config, ...more];
  // What clients cannot make sense of; that they give up their own requests is none of it.
  const misread = [];
  async function connect(transport) {
    const client = new Client({name: 'atoll-tests', version: '1'});
    client.onerror = (error) => { if (error.name !== 'AbortError') misread.push(error); };
    await client.connect(transport);
    clients.push(client);
    return client;
  }
  const ways = {
    stdio: (sandbox) => connect(new StdioClientTransport({
      command: path.join(buildDir, 'atoll'), args: args(...(sandbox ? ['--sandbox', sandbox] : [])),
      env: daemon.env ?? process.env})),
    http: (sandbox) => connect(new StreamableHTTPClientTransport(
      new URL(`http://localhost:${daemon.port}/v1/mcp${sandbox ? `?sandbox=${sandbox}` : ''}`))),
  };
  async function call(client, name, given = {}) {
    const answer = await client.callTool({name, arguments: given});
    assert.ok(!answer.isError, JSON.stringify(answer));
    assert.equal(answer.content[0].type, 'text');
    return {text: answer.content[0].text, ...answer.structuredContent};
  }
  async function fails(client, name, given, code) {
    const answer = await client.callTool({name, arguments: given});
    assert.equal(answer.isError, true, JSON.stringify(answer));
    assert.equal(answer.structuredContent.code, code);
    assert.ok(answer.content[0].text.startsWith(code), answer.content[0].text);
  }
  const sleeps = async (box, pattern) =>
    (await daemon.sandbox(box).sh(`pgrep -f '${pattern}' || true`)).trim() !== '';

  for (const [way, open] of Object.entries(ways)) {
    describe(way, () => {
      it('says who it is and what it offers', async () => {
        const client = await open();
        assert.equal(client.getServerVersion().name, 'atoll');
        const {tools} = await client.listTools();
        assert.deepEqual(tools.map((tool) => tool.name).sort(), [...ofOne, ...ofAll].sort());
        for (const tool of tools) {
          assert.equal(tool.inputSchema.additionalProperties, false, tool.name);
          assert.equal('sandbox' in tool.inputSchema.properties, !['create_sandbox', 'list_sandboxes'].includes(tool.name));
          assert.ok(tool.description.length > 10);
        }
        const of = (name) => tools.find((tool) => tool.name === name).annotations;
        assert.deepEqual([of('read').readOnlyHint, of('read').destructiveHint], [true, false]);
        assert.deepEqual([of('delete_sandbox').readOnlyHint, of('delete_sandbox').destructiveHint], [false, true]);
        await client.ping();
      });

      it('runs, reads, writes, edits and finds in one sandbox', async () => {
        const client = await open('one');
        const {tools} = await client.listTools();
        assert.deepEqual(tools.map((tool) => tool.name).sort(), ofOne);
        for (const tool of tools) assert.ok(!('sandbox' in tool.inputSchema.properties), tool.name);
        const dir = `m-${way}`;
        await call(client, 'write', {path: `${dir}/a.txt`, content: 'eins\nzwei\ndrei ä\nzwei\n'});
        const ran = await call(client, 'run', {command: 'cat a.txt; echo oops >&2; exit 3', cwd: `/workspace/${dir}`});
        assert.deepEqual([ran.exitCode, ran.stdout, ran.stderr], [3, 'eins\nzwei\ndrei ä\nzwei\n', 'oops\n']);
        assert.match(ran.text, /oops[^]*exit code 3/);
        const read = await call(client, 'read', {path: `${dir}/a.txt`, offset: 2, limit: 2});
        assert.deepEqual([read.content, read.more, read.nextOffset], ['zwei\ndrei ä\n', true, 4]);
        await fails(client, 'edit', {path: `${dir}/a.txt`, old_string: 'zwei', new_string: '2'}, 'MATCHES_MANY');
        await fails(client, 'edit', {path: `${dir}/a.txt`, old_string: 'vier', new_string: '4'}, 'NO_MATCH');
        await call(client, 'edit', {path: `${dir}/a.txt`, old_string: 'eins', new_string: '1'});
        const all = await call(client, 'edit', {path: `${dir}/a.txt`, old_string: 'zwei', new_string: '2', replace_all: true});
        assert.equal(all.replacements, 2);
        assert.equal((await call(client, 'read', {path: `${dir}/a.txt`})).text, '1\n2\ndrei ä\n2\n');
        const list = await call(client, 'list', {path: dir});
        assert.deepEqual(list.entries.map((one) => [one.path, one.type]), [['a.txt', 'file']]);
        const found = await call(client, 'find', {name: '*.txt', path: '/workspace'});
        assert.ok(found.entries.some((one) => one.path === `${dir}/a.txt`), found.text);
        const grep = await call(client, 'grep', {pattern: 'dr.i', path: `/workspace/${dir}`});
        assert.deepEqual(grep.matches.map((one) => [one.line, one.text]), [[3, 'drei ä']]);
      });

      it('clones, saves, restores and exposes', async () => {
        const client = await open();
        const sandbox = 'two';
        const cloned = await call(client, 'clone', {sandbox, repo: git.url('public.git'), dir: `/workspace/c-${way}`});
        assert.equal(cloned.commit, git.mainCommit);
        await call(client, 'write', {sandbox, path: `k-${way}/kept`, content: 'before'});
        const saved = await call(client, 'snapshot', {sandbox, dir: `/workspace/k-${way}`, name: 'mine'});
        await call(client, 'write', {sandbox, path: `k-${way}/kept`, content: 'after'});
        const listed = await call(client, 'list_snapshots', {sandbox});
        assert.ok(listed.snapshots.some((one) => one.snapshot === saved.snapshot && one.name === 'mine'));
        await call(client, 'restore', {sandbox, snapshot: saved.snapshot});
        assert.equal((await call(client, 'read', {sandbox, path: `k-${way}/kept`})).text, 'before');
        const port = way === 'stdio' ? 3100 : 3200;
        const exposed = await call(client, 'expose', {sandbox, port});
        assert.match(exposed.url, new RegExp(`^http://${port}-two--\\w+\\.localhost:${daemon.port}/`));
        const serve = `require('http').createServer((q, a) => a.end('served ' + q.url)).listen(${port})`;
        await call(client, 'run', {sandbox, command: `setsid node -e "${serve}" > /dev/null 2>&1 &`});
        const {hostname, pathname} = new URL('page?q=1', exposed.url);
        assert.equal(await eventually('the page is there for others', async () => {
          const page = await request(daemon.port, {host: `${hostname}:${daemon.port}`, path: `${pathname}?q=1`});
          return page.status === 200 && page.text;
        }), 'served /page?q=1');
        // Who has one sandbox gets nothing out of another.
        const other = await open('one');
        const refused = await other.callTool({name: 'restore', arguments: {snapshot: saved.snapshot}});
        assert.equal(refused.isError, true);
        assert.ok(!(await call(other, 'list_snapshots')).text.includes(saved.snapshot));
      });

      it('makes, lists and deletes sandboxes', async () => {
        const client = await open();
        const id = `made-${way}`;
        assert.equal((await call(client, 'create_sandbox', {id})).sandbox, id);
        assert.equal((await call(client, 'run', {sandbox: id, command: 'echo hi'})).stdout, 'hi\n');
        assert.ok((await call(client, 'list_sandboxes')).sandboxes.some((one) => one.sandbox === id));
        await call(client, 'delete_sandbox', {sandbox: id});
        await fails(client, 'run', {sandbox: id, command: 'true'}, 'SANDBOX_NOT_FOUND');
      });

      it('tells failures of tools from failures of the protocol', async () => {
        const client = await open('one');
        await fails(client, 'read', {path: 'nowhere'}, 'FILE_NOT_FOUND');
        await fails(client, 'read', {path: '/usr/bin/env'}, 'NOT_TEXT');
        await fails(client, 'clone', {repo: 'file:///etc'}, 'INVALID_GIT_URL');
        const refused = (name, given, code) =>
          assert.rejects(client.callTool({name, arguments: given}), (error) => error.code === code);
        await refused('no_such_tool', {}, -32602);
        await refused('run', {}, -32602);
        await refused('run', {command: 7}, -32602);
        await refused('run', {command: 'true', sandbox: 'two'}, -32602);
        await refused('run', {command: 'true', timeout_ms: 0}, -32602);
        await refused('delete_sandbox', {}, -32602);
        await assert.rejects(client.listResources(), (error) => error.code === -32601 || /not support/.test(error.message));
      });

      it('bounds output and time', async () => {
        const client = await open('one');
        const long = await call(client, 'run', {command: 'seq 1000000'});
        assert.equal(long.stdoutTruncated, true);
        assert.ok(long.text.length < 40_000 && /cut/.test(long.text));
        await call(client, 'run', {command: 'seq 1000000 > /tmp/long; head -c 1000000 /dev/zero | tr "\\0" x > /tmp/wide'});
        const read = await call(client, 'read', {path: '/tmp/long'});
        assert.deepEqual([read.content.split('\n').length, read.more], [2001, true]);
        assert.ok((await call(client, 'read', {path: '/tmp/wide'})).content.length < 200_000);
        assert.equal((await call(client, 'read', {path: '/tmp/long', offset: 999_999})).content, '999999\n1000000\n');
        const slow = await call(client, 'run', {command: 'sleep 1000', timeout_ms: 200});
        assert.deepEqual([slow.timedOut, slow.exitCode], [true, 124]);
      });

      it('ends a command that is cancelled, and no other', async () => {
        const [mine, theirs] = [await open('one'), await open('one')];
        const tag = way === 'stdio' ? '91' : '92';
        const abort = new AbortController();
        // The same number of requests before: the ids of both calls are equal.
        const ended = mine.callTool({name: 'run', arguments: {command: `sleep ${tag}11`}}, undefined, {signal: abort.signal});
        const stays = theirs.callTool({name: 'run', arguments: {command: `sleep ${tag}22 || true`}});
        stays.catch(() => {});
        await eventually('both run', async () =>
          await sleeps('one', `^sleep ${tag}1[1]`) && await sleeps('one', `^sleep ${tag}2[2]`));
        abort.abort();
        await assert.rejects(ended);
        await eventually('it is gone', async () => !await sleeps('one', `^sleep ${tag}1[1]`));
        assert.equal(await sleeps('one', `^sleep ${tag}2[2]`), true);
        assert.equal((await call(mine, 'run', {command: 'echo still'})).stdout, 'still\n');
        await theirs.close();
        await eventually('it goes with its client', async () => !await sleeps('one', `^sleep ${tag}2[2]`));
      });

      it('says nothing that the client does not understand', () => {
        assert.deepEqual(misread, []);
      });

      it('answers many calls of two clients at once', async () => {
        const both = [await open('one'), await open('two')];
        const all = await Promise.all(Array.from({length: 20}, (_, i) =>
          call(both[i % 2], 'run', {command: `sleep 0.1; echo ${i}`})));
        assert.deepEqual(all.map((one) => one.stdout), all.map((_, i) => `${i}\n`));
      });
    });
  }

  const bad = [
    ['{', -32700], ['[]', -32600], ['7', -32600], ['{}', -32600],
    ['{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600],
    ['{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600],
    ['{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600],
    ['{"jsonrpc":"2.0","id":1,"method":7}', -32600],
    ['{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32600],
    ['{"jsonrpc":"2.0","id":1,"method":"no/such"}', -32601],
    ['{"jsonrpc":"2.0","id":1,"method":"initialize"}', -32602],
    ['{"jsonrpc":"2.0","id":1,"method":"tools/call"}', -32602],
    ['{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run","arguments":[]}}', -32602],
    ['['.repeat(100_000), -32700],
  ];
  const good = '{"jsonrpc":"2.0","id":"last","method":"ping"}';

  it('refuses bad input over HTTP', async () => {
    const post = (body, headers = {}) => daemon.request('', {
      method: 'POST', path: '/v1/mcp', body, headers: {'Content-Type': 'application/json', ...headers}});
    for (const [body, code] of bad) {
      const answer = await post(body);
      assert.equal(answer.json().error?.code, code, `${body.slice(0, 80)}: ${answer.text}`);
      assert.equal(answer.status, code === -32700 || code === -32600 ? 400 : 200, answer.text);
    }
    assert.equal((await post(good)).json().id, 'last');
    assert.equal((await post(good, {'MCP-Protocol-Version': '1999-01-01'})).status, 400);
    assert.equal((await post(good, {'MCP-Protocol-Version': '2025-06-18'})).status, 200);
    assert.equal((await post(good, {'Mcp-Session-Id': 'x'.repeat(500)})).status, 400);
    // Refused by its length alone: nothing of the body is sent.
    const head = `POST /v1/mcp HTTP/1.1\r\nHost: ${daemon.bare}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${33 << 20}\r\n\r\n`;
    assert.match(await raw(daemon.port, head, {limitMs: 20_000, until: (text) => text.includes('}')}), /^HTTP\/1\.1 413 /);
    assert.equal((await post('{"jsonrpc":"2.0","method":"notifications/initialized"}')).status, 202);
    const get = await daemon.request('', {path: '/v1/mcp', headers: {Accept: 'text/event-stream'}});
    assert.equal(get.status, 405);
    assert.equal((await daemon.request('', {method: 'DELETE', path: '/v1/mcp'})).status, 204);
    assert.equal((await daemon.request('', {method: 'POST', path: '/v1/mcp?sandbox=Bad--Id', body: good})).status, 400);
  });

  it('refuses bad input on stdio, and goes on', async () => {
    const child = spawn(path.join(buildDir, 'atoll'), args(), {env: daemon.env ?? process.env});
    let out = '';
    child.stdout.on('data', (piece) => { out += piece; });
    const ended = new Promise((resolve) => child.on('close', resolve));
    for (const [line] of bad) child.stdin.write(`${line}\n`);
    child.stdin.write(`\n"${'x'.repeat(33 << 20)}"\n${good}\n`);
    child.stdin.end();
    assert.equal(await ended, 0);
    const answers = out.trim().split('\n').map((line) => JSON.parse(line));
    assert.deepEqual(answers.map((one) => one.error?.code ?? one.id).sort(),
                     [...bad.map(([, code]) => code), -32600, 'last'].sort());
  });
});
