// SPDX-License-Identifier: Apache-2.0
// Of everything that the description of the API names: headers with values that are none, texts that are too long, fields
// that do not exist. All of it is refused with a reason, and costs nothing that stays.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon} from './support/daemon.mjs';
import {good, urlOf} from './support/good_requests.mjs';
import {assertError, raw, statusOf} from './support/http.mjs';

const MIB = 1 << 20;
const LONG = 'x'.repeat(MIB + 1);
// What may be as long as a body may be.
const ANY_LENGTH = {exec: ['stdin']};

describe('bad input, of everything that is described', () => {
  let daemon;
  let api;
  const operations = () => Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({path, method: method.toUpperCase(), operation})));
  const isBridge = (path) => path === '/v1/sandbox' || path.startsWith('/v1/sandbox/');
  const isOwn = (path) => !isBridge(path) && path !== '/v1/mcp';
  const baseOf = (operation, schema) => good[operation.operationId] ??
    (operation.operationId === 'bridgeExecCommand' ? {argv: ['true']} :
      Object.fromEntries((schema?.required ?? []).map((name) => [name, 'x'])));

  before(async () => {
    daemon = await Daemon.start();
    api = (await daemon.request('', {path: '/v1/openapi.json'})).json();
    await daemon.sandbox('bad').create();
  });
  after(() => daemon?.cleanup());

  const healthy = async () => {
    assert.equal((await daemon.request('', {path: '/health'})).status, 200);
    assert.equal(await daemon.sandbox('bad').sh('echo on'), 'on\n');
  };

  /** A head and a body as bytes: names and values are sent as they are. */
  async function send(method, path, headers, body = '') {
    const lines = [`${method} ${path} HTTP/1.1`, `Host: ${daemon.bare}`, 'Connection: close',
                   ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)];
    if (body !== '') lines.push('Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`);
    const bytes = Buffer.concat([Buffer.from(lines.join('\r\n') + '\r\n\r\n', 'latin1'), Buffer.from(body)]);
    const limitMs = 20_000;
    const text = await raw(daemon.port, bytes, {limitMs});
    return {status: statusOf(text), text, body: text.slice(text.indexOf('\r\n\r\n') + 4)};
  }

  /** The JSON of a refusal, in the words of its dialect or, when no request could be read, of HTTP. */
  function assertRefused(answer, path, what) {
    assert.ok(answer.status >= 400 && answer.status < 500, `${what}: ${answer.text.slice(0, 500)}`);
    assert.match(answer.text, /\r\nX-Request-Id: \S/i, what);
    const refusal = JSON.parse(answer.body);
    const {code, message} = refusal.error?.message ? refusal.error : {code: refusal.code, message: refusal.message ?? refusal.error};
    assert.ok(code && message?.length > 5, `${what}: ${answer.body}`);
    return message;
  }

  const upgrade = {Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ=='};
  const wrong = {
    'a long one': 'x'.repeat(5000), 'a control character': 'a\u0001b', 'a NUL': 'a\0b', 'a line end': 'a\rb',
    'what is no UTF-8': 'a\xff\xfe', 'half a character': '\xe2\x82',
  };
  const noNumber = {'a negative number': '-1', 'no number': 'NaN', 'infinity': 'Infinity', 'a fraction': '1.5',
                    'an exponent': '1e3', 'hexadecimal': '0x10', 'past 64 bits': '99999999999999999999', 'words': 'x y'};

  it('refuses headers that mean nothing', async () => {
    let tried = 0;
    for (const {path, method, operation} of operations()) {
      for (const {name, schema} of operation.parameters.filter((one) => one.in === 'header')) {
        const values = {...wrong, ...([schema.type].flat().includes('integer') ? noNumber : {})};
        if (name === 'Idempotency-Key') values['none'] = '';
        if (name === 'MCP-Protocol-Version') Object.assign(values, {'none': '', 'another': '1999-01-01'});
        const socket = operation.responses[101] ? upgrade : {};
        const query = operation.parameters.filter((one) => one.in === 'query' && one.required).map((one) => `${one.name}=x`);
        const body = operation.requestBody?.content['application/json'] ? JSON.stringify(baseOf(operation)) : '';
        for (const [kind, value] of Object.entries(values)) {
          const what = `${operation.operationId} with ${kind} as ${name}`;
          const answer = await send(method, `${urlOf(path, 'bad')}?${query.join('&')}`, {...socket, [name]: value}, body);
          const message = assertRefused(answer, path, what);
          if (!/[\0\x01\r]/.test(value)) assert.match(message, new RegExp(name), what);
          ++tried;
        }
      }
    }
    assert.ok(tried > 80, `${tried}`);
    await healthy();
  });

  it('takes headers that HTTP has ignored as if they were not there', async () => {
    const put = await daemon.request('', {method: 'PUT', path: '/v1/sandboxes/bad/files/tmp/ranged', body: '0123456789'});
    assert.equal(put.status, 201);
    const url = '/v1/sandboxes/bad/files/tmp/ranged';
    for (const value of ['', 'bytes', 'bytes=', 'bytes=-', 'bytes=NaN-', 'bytes=5-2', 'bytes=1e1-', 'bytes=-1-2', 'lines=1-2',
                         'bytes=99999999999999999999999-', 'bytes=0-1,4-5']) {
      const answer = await send('GET', url, {Range: value});
      assert.ok([200, 416].includes(answer.status), `${value}: ${answer.text}`);
      if (answer.status === 200) assert.equal(answer.body, '0123456789', value);
    }
    for (const name of ['If-Range', 'If-None-Match']) {
      for (const value of ['', 'nonsense', '"', 'W/']) {
        assert.equal((await send('GET', url, {[name]: value, ...(name === 'If-Range' ? {Range: 'bytes=0-1'} : {})})).status, 200, `${name}: ${value}`);
      }
    }
    // Of any request, whatever it is for.
    for (const [name, values] of Object.entries({
      Accept: ['', 'x'.repeat(9000), '\xff', 'text/event-stream;q=NaN'], Prefer: ['', 'wait=NaN', 'wait=-1', 'wait=1e9', `wait=${'9'.repeat(400)}`, '\xff'],
      traceparent: ['', '00-0-0-0', '\xff', 'x'.repeat(9000)], 'X-Request-Id': ['', ' ', '\xff', 'x'.repeat(9000), 'a b'],
      'X-Forwarded-Proto': ['', '\xff', 'x'.repeat(9000)], 'Content-Type': ['', '\xff', 'x'.repeat(9000)],
    })) {
      for (const value of values) {
        const answer = await send('POST', '/v1/sandboxes/bad/exec', {[name]: value}, '{"command":"true"}');
        assert.equal(answer.status, 200, `${name}: ${value}: ${answer.text.slice(0, 500)}`);
        assert.match(answer.text, /\r\nX-Request-Id: [\w.-]{1,128}\r\n/i);
      }
    }
  });

  /** Every text in a body that is described, made too long. */
  function* tooLong(properties) {
    for (const [name, field] of Object.entries(properties)) {
      const types = [field.type ?? []].flat();
      if (types.includes('string')) yield [name, LONG];
      if (types.includes('array')) yield [name, [LONG]];
      if (types.includes('object') && field.additionalProperties) yield* [[name, {[LONG]: 'x'}], [name, {A: LONG}]];
    }
  }

  async function sendTooLong() {
    let tried = 0;
    const wrongly = [];
    for (const {path, method, operation} of operations()) {
      const schema = operation.requestBody?.content['application/json']?.schema;
      if (!schema || path === '/v1/mcp') continue;
      for (const [name, value] of tooLong(schema.properties)) {
        const any = ANY_LENGTH[operation.operationId]?.includes(name);
        const {status, headers, text} = await daemon.request('', {
          method, path: urlOf(path, 'bad'), json: {...baseOf(operation, schema), [name]: value}, limitMs: 60_000});
        const what = `${operation.operationId} ${name} ${typeof value}`;
        ++tried;
        if (status >= 500 || (status < 400 && !any)) {
          wrongly.push(`${what}: ${status} ${text.slice(0, 200)}`);
        } else if (status >= 400) {
          assert.match(headers['content-type'], /^application\/json/, what);
          const refusal = JSON.parse(text);
          assert.ok(refusal.code && (refusal.message ?? refusal.error), `${what}: ${text.slice(0, 200)}`);
          if (text.length > 8192) wrongly.push(`${what}: an error of ${text.length} bytes`);
        }
      }
    }
    assert.deepEqual(wrongly, []);
    return tried;
  }

  it('refuses texts that are too long, and keeps nothing of them', async () => {
    assert.ok(await sendTooLong() > 100);
    const before = daemon.residentBytes();
    await sendTooLong();
    assert.ok(daemon.residentBytes() < before + 32 * MIB, `${before} bytes became ${daemon.residentBytes()}`);
    await healthy();
    assert.deepEqual(await daemon.ids(), ['bad']);
  });

  it('names the field that is meant when there is none of this name', async () => {
    let tried = 0;
    for (const {path, method, operation} of operations()) {
      const schema = operation.requestBody?.content['application/json']?.schema;
      if (!schema || !isOwn(path)) continue;
      assert.equal(schema.additionalProperties, false, operation.operationId);
      for (const name of Object.keys(schema.properties)) {
        if (name.length < 4) continue;
        const misspelt = name[0] + name;
        const answer = await daemon.request('', {
          method, path: urlOf(path, 'bad'), json: {...baseOf(operation, schema), [misspelt]: 'x'}});
        const {message} = assertError(answer, 400, 'VALIDATION_FAILED');
        assert.ok(message.includes(`"${misspelt}"`) && message.includes(`"${name}"`), message);
        ++tried;
      }
    }
    assert.ok(tried > 100, `${tried}`);
    const {message} = assertError(await daemon.request('', {
      method: 'POST', path: '/v1/sandboxes/bad/exec', json: {command: 'true', timeout: 5}}), 400, 'VALIDATION_FAILED');
    assert.match(message, /there is no field "timeout": did you mean "timeoutMs"\?/);
  });

  it('takes other fields where other clients send them', async () => {
    const more = {nobody: 1};
    const bridge = (path, json) => daemon.request('', {method: 'POST', path: `/v1/sandbox/bad${path}`, json: {...json, ...more}});
    assert.equal((await bridge('/exec', {argv: ['true']})).status, 200);
    assert.equal((await bridge('/session', {id: 's'})).status, 200);
    assert.equal((await bridge('/tunnel/3000', {})).status, 200);
    const sdk = await daemon.request('sdk--bad', {method: 'POST', path: '/api/execute', json: {command: 'true', ...more}});
    assert.equal(sdk.status, 200, sdk.text);
    assert.equal((await daemon.sandbox('bad').post('/run', {command: 'true', ...more})).status, 200);
    const mcp = await daemon.request('', {method: 'POST', path: '/v1/mcp', json: {jsonrpc: '2.0', id: 1, method: 'ping', ...more}});
    assert.deepEqual(mcp.json(), {jsonrpc: '2.0', id: 1, result: {}});
  });
});
