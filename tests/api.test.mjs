// SPDX-License-Identifier: Apache-2.0
// What holds for the whole API: its description, what every answer has, and what every field refuses.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon} from './support/daemon.mjs';
import {good, urlOf} from './support/good_requests.mjs';
import {assertError, raw} from './support/http.mjs';
import {wrongFor} from './support/wrong_values.mjs';

describe('the API', () => {
  let daemon;
  let api;
  before(async () => {
    daemon = await Daemon.start();
    api = (await daemon.request('', {path: '/v1/openapi.json'})).json();
  });
  after(async () => { await daemon?.cleanup(); });

  const json = (method, path, body, headers = {}) =>
    daemon.request('', {method, path, json: body, headers, limitMs: 60_000});

  it('describes itself as OpenAPI 3.1', () => {
    assert.match(api.openapi, /^3\.1\./);
    const names = new Set();
    for (const [path, operations] of Object.entries(api.paths)) {
      assert.match(path, /^\/v1\//);
      for (const operation of Object.values(operations)) {
        assert.ok(!names.has(operation.operationId), operation.operationId);
        names.add(operation.operationId);
        assert.ok(operation.summary.length > 0);
        const inPath = operation.parameters.filter((one) => one.in === 'path').map((one) => `{${one.name}}`);
        assert.deepEqual(inPath, path.match(/\{[^}]*\}/g) ?? []);
      }
    }
    for (const name of ['createSandbox', 'deleteSandbox', 'runCommand', 'listSnapshots', 'getOpenApi']) {
      assert.ok(names.has(name), name);
    }
  });

  it('names every request in its answer', async () => {
    const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
    const traced = await daemon.request('', {
      path: '/v1/sandboxes', headers: {traceparent: `00-${trace}-00f067aa0ba902b7-01`},
    });
    assert.equal(traced.headers['x-request-id'], trace);
    const own = await daemon.request('', {path: '/v1/nothing', headers: {'X-Request-Id': 'mine-1'}});
    assert.equal(own.headers['x-request-id'], 'mine-1');
    const body = assertError(own, 404);
    assert.deepEqual(body.context, {requestId: 'mine-1', method: 'GET', path: '/v1/nothing'});
    const one = await daemon.request('none', {path: '/'});
    assert.match(one.headers['x-request-id'], /^[0-9a-f]{32}$/);
    assert.match(assertError(await daemon.request('', {path: '/v1/sandboxes/none'}), 404, 'SANDBOX_NOT_FOUND').suggestion,
                 /create/);
  });

  it('says of a host what is wrong with it, to programs and to people', async () => {
    for (const host of ['a_b', '-a', 'a--b', 'www', '99999-a', 'sdk---a']) {
      const answer = await daemon.request(host, {path: '/x'});
      const {message, suggestion, context} = assertError(answer, 404, 'INVALID_SANDBOX_ID');
      assert.ok(message.includes(`"${host}.localhost:${daemon.port}"`), message);
      assert.match(suggestion, /1 to 39/);
      assert.equal(context.requestId, answer.headers['x-request-id']);
    }
    const elsewhere = assertError(await daemon.request('', {path: '/', headers: {Host: 'elsewhere.example'}}), 404, 'UNKNOWN_HOST');
    assert.match(elsewhere.message, /"elsewhere.example" is not localhost nor below it/);
    const page = await daemon.request('a_b', {path: '/', headers: {Accept: 'text/html,*/*'}});
    assert.equal(page.status, 404);
    assert.match(page.headers['content-type'], /^text\/html/);
    assert.match(page.text, /a_b\.localhost/);
    assert.match(page.headers['content-security-policy'], /default-src 'none'/);
    const odd = await daemon.request('', {path: '/', headers: {Host: '<b>&', Accept: 'text/html'}});
    assert.ok(!odd.text.includes('<b>&'), odd.text);
  });

  it('names every refusal, and the methods that there are', async () => {
    for (const [method, path, allow] of [['PUT', '/v1/sandboxes', 'GET, HEAD, POST'], ['POST', '/health', 'GET, HEAD'],
                                         ['POST', '/v1/openapi.json', 'GET, HEAD'], ['GET', '/v1/mcp', 'DELETE, POST']]) {
      const answer = await daemon.request('', {method, path});
      const {context} = assertError(answer, 405, 'METHOD_NOT_ALLOWED');
      assert.match(answer.headers['x-request-id'], /^[0-9a-f]{32}$/);
      assert.deepEqual(context, {requestId: answer.headers['x-request-id'], method, path});
      assert.equal(answer.headers.allow.split(', ').sort().join(', '), allow);
    }
    const broken = await raw(daemon.port, 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n');
    assert.match(broken, /^HTTP\/1\.1 400 Bad Request\r\n/);
    assert.match(broken, /\r\nX-Request-Id: [0-9a-f]{32}\r\n/);
  });

  it('calls every status what it is called', async () => {
    await json('POST', '/v1/sandboxes/named/create', {opencode: false});
    const file = '/v1/sandboxes/named/files/tmp/file';
    await daemon.request('', {method: 'PUT', path: file, body: '0123456789'});
    const lineOf = async (method, path, headers = '', body = '') => (await raw(daemon.port,
      `${method} ${path} HTTP/1.1\r\nHost: localhost:${daemon.port}\r\nConnection: close\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`))
      .split('\r\n')[0];
    assert.equal(await lineOf('GET', file), 'HTTP/1.1 200 OK');
    assert.equal(await lineOf('GET', file, 'Range: bytes=0-1\r\n'), 'HTTP/1.1 206 Partial Content');
    assert.equal(await lineOf('GET', file, 'Range: bytes=100-\r\n'), 'HTTP/1.1 416 Range Not Satisfiable');
    assert.equal(await lineOf('POST', '/v1/mcp', '', '{"jsonrpc":"2.0","method":"notifications/initialized"}'), 'HTTP/1.1 202 Accepted');
    assert.equal(await lineOf('PUT', `${file}2`, '', 'x'), 'HTTP/1.1 201 Created');
    assert.equal(await lineOf('DELETE', `${file}2`), 'HTTP/1.1 204 No Content');
  });

  it('makes one sandbox for one idempotency key', async () => {
    const make = (key, body = {}) =>
      json('POST', '/v1/sandboxes', {opencode: false, ...body}, key ? {'Idempotency-Key': key} : {});
    const [first, again, other, none] = await Promise.all([make('order 7'), make('order 7'), make('order 8'), make()]);
    for (const answer of [first, again, other, none]) {
      assert.equal(answer.status, 200, answer.text);
      assert.match(answer.json().id, /^[a-z2-7]{26}$/);
    }
    assert.equal(first.json().id, again.json().id);
    assert.equal(new Set([first, other, none].map((answer) => answer.json().id)).size, 3);
    const differs = await make('order 7', {env: {OTHER: 'body'}});
    assert.deepEqual([differs.status, differs.json().id], [200, first.json().id], 'whatever else it asks for');
    const named = await make('order 7', {id: 'named'});
    assert.equal(named.json().id, 'named');
    assertError(await make('x'.repeat(256)), 400, 'VALIDATION_FAILED');
    assertError(await make(null, {id: 'No'}), 400, 'INVALID_SANDBOX_ID');
  });

  it('lists page by page', async () => {
    const all = (await json('GET', '/v1/sandboxes')).json();
    assert.equal(all.cursor, undefined);
    const ids = [];
    for (let cursor = ''; cursor !== undefined;) {
      const page = (await json('GET', `/v1/sandboxes?limit=1&cursor=${cursor}`)).json();
      assert.ok(page.sandboxes.length <= 1);
      ids.push(...page.sandboxes.map((one) => one.id));
      cursor = page.cursor;
    }
    assert.deepEqual(ids, all.sandboxes.map((one) => one.id));
    for (const limit of ['0', '-1', 'x', '1e9', '99999999999999999999']) {
      assertError(await json('GET', `/v1/sandboxes?limit=${limit}`), 400, 'VALIDATION_FAILED');
    }
  });

  it('has a page to try it', async () => {
    const page = await daemon.request('', {path: '/v1/openapi.html'});
    assert.equal(page.status, 200);
    assert.match(page.headers['content-type'], /^text\/html/);
    assert.match(page.headers['content-security-policy'], /default-src 'none'/);
    for (const [, file] of page.text.matchAll(/(?:src|href)="(\/[^"]*\.(?:js|css|svg))"/g)) {
      assert.equal((await daemon.request('', {path: file})).status, 200, file);
    }
  });

  // Where the sandbox would end, others would be made or the network asked: only what is refused is tried.
  const untried = new Set(['gitClone', 'cloneRepository', 'mountBucket', 'stopSandbox', 'sleepSandbox', 'wakeSandbox', 'forkSandbox', 'primePool', 'shutdownPrewarmed']);

  it('refuses in every field what is not of its type, and names it', async () => {
    await json('POST', '/v1/sandboxes/typed/create', {opencode: false});
    let tried = 0;
    const unnamed = [];
    const unfit = [];
    const taken = [];
    for (const [path, operations] of Object.entries(api.paths)) {
      // Others' protocols, which refuse in their own words.
      if (path === '/v1/mcp' || path.startsWith('/v1/sandbox')  && !path.startsWith('/v1/sandboxes')) continue;
      for (const [method, operation] of Object.entries(operations)) {
        const schema = operation.requestBody?.content['application/json']?.schema;
        if (!schema) continue;
        const url = urlOf(path, 'typed');
        const base = good[operation.operationId] ?? Object.fromEntries((schema.required ?? []).map((name) => [name, 'x']));
        if (!untried.has(operation.operationId) && path.includes('{id}')) {
          const answer = await json(method.toUpperCase(), url, base);
          if (answer.status === 400) unfit.push(`${operation.operationId} ${JSON.stringify(base)}: ${answer.text}`);
        }
        for (const [name, field] of Object.entries(schema.properties)) {
          const types = [field.type ?? []].flat().filter((type) => type !== 'null');
          if (types.length === 0) continue;
          let values = wrongFor(field, types);
          // Input may be anything.
          if (name === 'stdin') values = values.filter((value) => typeof value !== 'string');
          for (const value of values) {
            const answer = await json(method.toUpperCase(), url, {...base, [name]: value});
            ++tried;
            if (answer.status !== 400) {
              taken.push(`${operation.operationId} ${name} = ${JSON.stringify(value)}: ${answer.status} ${answer.text}`);
              continue;
            }
            const {message} = assertError(answer, 400);
            const member = types[0] === 'object' && Object.keys(value)[0];
            if (!message.includes(name) && !message.includes(`"${member}"`)) unnamed.push(`${operation.operationId} ${name} = ${JSON.stringify(value)}: ${message}`);
          }
        }
        for (const body of ['{', '[]', '"x"', '7', '{"a":NaN}', '\xff', '{"a":"\xff"}', '{}{}']) {
          const answer = await daemon.request('', {
            method: method.toUpperCase(), path: url, body: Buffer.from(body, 'latin1'),
            headers: {'Content-Type': 'application/json'},
          });
          assertError(answer, 400);
          ++tried;
        }
      }
    }
    assert.ok(tried > 100, `${tried} values tried`);
    assert.deepEqual({unfit, taken, unnamed}, {unfit: [], taken: [], unnamed: []});
  });

  it('refuses the same of the bridge, in its own words', async () => {
    let tried = 0;
    for (const [path, operations] of Object.entries(api.paths)) {
      if (!path.startsWith('/v1/sandbox/')) continue;
      for (const [method, operation] of Object.entries(operations)) {
        const schema = operation.requestBody?.content['application/json']?.schema;
        // There are no buckets, whatever is asked of them.
        if (!schema || /mount/i.test(operation.operationId)) continue;
        const url = urlOf(path, 'typed');
        const base = operation.operationId === 'bridgeExecCommand' ? {argv: ['true']} : {};
        assert.ok((await json(method.toUpperCase(), url, base)).status < 300, operation.operationId);
        for (const [name, field] of Object.entries(schema.properties)) {
          for (const value of wrongFor(field, [field.type ?? []].flat().filter((type) => type !== 'null'))) {
            const answer = await json(method.toUpperCase(), url, {...base, [name]: value});
            const what = `${operation.operationId} ${name} = ${JSON.stringify(value)}: ${answer.text}`;
            assert.equal(answer.status, 400, what);
            assert.deepEqual(Object.keys(answer.json()), ['error', 'code'], what);
            ++tried;
          }
        }
      }
    }
    assert.ok(tried > 20, `${tried} values tried`);
  });

  it('refuses the same of every tool', async () => {
    const mcp = async (method, params) => (await json('POST', '/v1/mcp?sandbox=typed', {jsonrpc: '2.0', id: 1, method, params})).json();
    const {tools} = (await mcp('tools/list', {})).result;
    // What is there to be refused for a field alone.
    const bases = {run: {command: 'true'}, read: {path: '/etc/hostname'}, write: {path: '/tmp/x', content: ''}, list: {}, find: {name: 'x'},
                   edit: {path: '/etc/hostname', old_string: 'no such text', new_string: ''}, grep: {pattern: 'x', path: '/etc/hostname'},
                   clone: {repo: 'http://127.0.0.1:9/x.git'}, snapshot: {dir: '/etc'}, restore: {snapshot: 'f'.repeat(64)}, expose: {port: 3000}};
    let tried = 0;
    for (const {name: tool, inputSchema} of tools) {
      const base = bases[tool] ?? {};
      assert.equal((await mcp('tools/call', {name: tool, arguments: base})).error, undefined, tool);
      for (const [name, field] of Object.entries(inputSchema.properties)) {
        for (const value of wrongFor(field, [field.type].flat())) {
          // Content may be anything.
          if (value === 'a\0b' && ['content', 'old_string', 'new_string', 'stdin'].includes(name)) continue;
          const {error} = await mcp('tools/call', {name: tool, arguments: {...base, [name]: value}});
          assert.equal(error?.code, -32602, `${tool} ${name} = ${JSON.stringify(value)}: ${error?.message}`);
          assert.ok(error.message.includes(name), `${tool} ${name}: ${error.message}`);
          ++tried;
        }
      }
      const {error} = await mcp('tools/call', {name: tool, arguments: {...base, nobody: 1}});
      assert.equal(error?.code, -32602, tool);
    }
    assert.ok(tried > 50, `${tried} values tried`);
  });

  it('refuses in every path what is no id', async () => {
    for (const [path, operations] of Object.entries(api.paths)) {
      if (!path.includes('{id}')) continue;
      for (const method of Object.keys(operations)) {
        for (const id of ['Upper', '-x', 'a--b', '3000-x', 'a%00b', '%ff', '%', 'x'.repeat(40), '..']) {
          const url = path.replace('{id}', id).replace(/\{[^}]*\}/g, 'x');
          assertError(await daemon.request('', {method: method.toUpperCase(), path: url}), 400);
        }
      }
    }
  });
});
