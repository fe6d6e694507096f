// SPDX-License-Identifier: Apache-2.0
// Every parameter of a query that the description of the API names, with what is none of its type, no text, too long or
// too much: a 4xx with a reason that names it, never a 5xx, and nobody is kept waiting.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon} from './support/daemon.mjs';
import {good, urlOf} from './support/good_requests.mjs';
import {raw, statusOf} from './support/http.mjs';
import {wrongInQuery} from './support/wrong_values.mjs';

const UPGRADE = {Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ=='};
const LIMIT_MS = 15_000;
// Names of files are bytes, and lists of globs of them, and where a list of them goes on.
const BYTES = new Set(['path', 'include', 'exclude', 'excludes', 'cwd', 'command', 'shell', 'dir']);
const areBytes = (operation, name) => BYTES.has(name) || (operation === 'listSnapshotFiles' && name === 'cursor');
const NO_TEXT = new Set(['%ff', 'a%c3', '%ed%a0%80', '%f8%88%80%80%80']);

describe('bad parameters, of everything that is described', () => {
  let daemon;
  let api;

  before(async () => {
    daemon = await Daemon.start();
    api = (await daemon.request('', {path: '/v1/openapi.json'})).json();
    await daemon.sandbox('bad').create();
  });
  after(() => daemon?.cleanup());

  const healthy = async () => {
    assert.equal((await daemon.request('', {path: '/health'})).status, 200);
    assert.equal(await daemon.sandbox('bad').sh('echo on'), 'on\n');
    assert.deepEqual(await daemon.ids(), ['bad']);
  };

  /** A stream or a terminal that begins has been taken: its head is enough. */
  async function send(host, method, target, headers = {}, body = '') {
    const type = body === '' ? [] : ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`];
    const lines = [`${method} ${target} HTTP/1.1`, `Host: ${host}`, ...('Upgrade' in headers ? [] : ['Connection: close']),
                   ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`), ...type];
    const whole = (text) => {
      const [head, length] = [text.indexOf('\r\n\r\n'), Number(text.match(/\r\nContent-Length: (\d+)/i)?.[1] ?? 0)];
      return head >= 0 && (statusOf(text) < 400 || text.length >= head + 4 + length);
    };
    const text = await raw(daemon.port, `${lines.join('\r\n')}\r\n\r\n${body}`, {limitMs: LIMIT_MS, until: whole});
    return {status: statusOf(text), text, body: text.slice(text.indexOf('\r\n\r\n') + 4)};
  }

  function problemOf({status, text, body}) {
    if (status === 0) return 'no answer';
    if (status >= 500) return `${status} ${text.slice(0, 300)}`;
    if (status < 400) return `${status}, as if it were right`;
    try {
      const refusal = JSON.parse(body);
      const message = refusal.message ?? refusal.error?.message ?? refusal.error;
      if (!(refusal.code ?? refusal.error?.code) || !(message.length > 5)) return `no reason: ${body.slice(0, 300)}`;
      if (body.length > 8192) return `a refusal of ${body.length} bytes`;
      return {message};
    } catch {
      return `no JSON: ${text.slice(0, 300)}`;
    }
  }

  function* parameters() {
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const all = operation.parameters.filter((one) => one.in === 'query');
        for (const parameter of all) {
          const others = all.filter((one) => one !== parameter && one.required).map((one) => `${one.name}=x`);
          const schema = operation.requestBody?.content['application/json']?.schema;
          const body = schema ? JSON.stringify(good[operation.operationId] ??
            Object.fromEntries((schema.required ?? []).map((name) => [name, 'x']))) : '';
          const ask = (value) => send(daemon.bare, method.toUpperCase(), `${urlOf(path, 'bad')}?${[...others, `${parameter.name}=${value}`].join('&')}`,
                                      operation.responses[101] ? UPGRADE : {}, body);
          yield {name: parameter.name, parameter, operation, ask};
        }
      }
    }
  }

  it('are refused, by their name', async () => {
    const problems = [];
    let tried = 0;
    for (const {name, parameter, operation, ask} of parameters()) {
      for (const value of wrongInQuery(parameter)) {
        if (NO_TEXT.has(value) && areBytes(operation.operationId, name)) continue;
        ++tried;
        const problem = problemOf(await ask(value));
        const what = `${operation.operationId}?${name}=${value.slice(0, 40)}`;
        if (typeof problem === 'string') problems.push(`${what}: ${problem}`);
        else if (!problem.message.includes(name)) problems.push(`${what} is not named: ${problem.message}`);
      }
    }
    assert.deepEqual(problems, []);
    assert.ok(tried > 500, `${tried}`);
    await healthy();
  });

  // A filter that nothing passes, a program that is not there: whatever it is, it is answered.
  it('cost nothing when they are very long', async () => {
    const problems = [];
    const sizes = [9000, 60_000, 1 << 20];
    const round = async () => {
      for (const {name, operation, ask} of parameters()) {
        for (const size of sizes) {
          const answer = await ask('x'.repeat(size));
          const problem = problemOf(answer);
          const fine = answer.status === 200 ? /^list(Sandbox)?(Snapshots|es)$/.test(operation.operationId)
            : answer.status === 101 && ['shell', 'command'].includes(name);
          // A head that is too large to read may be answered by a reset.
          if (typeof problem === 'string' && !fine && !(size === 1 << 20 && answer.status === 0)) {
            problems.push(`${operation.operationId}?${name} of ${size} bytes: ${problem}`);
          }
        }
      }
    };
    await round();
    assert.deepEqual(problems, []);
    const before = daemon.residentBytes();
    await round();
    assert.ok(daemon.residentBytes() < before + (32 << 20), `${before} bytes became ${daemon.residentBytes()}`);
    await healthy();
  });

  it('are refused by the dialect of the SDK as well', async () => {
    const problems = [];
    for (const [name, type] of [['sessionId', 'string'], ['cols', 'integer'], ['rows', 'integer'], ['shell', 'string']]) {
      const values = wrongInQuery({schema: {type, ...(type === 'integer' ? {minimum: 1, maximum: 1000} : {})}});
      for (const value of values) {
        if (NO_TEXT.has(value) && BYTES.has(name)) continue;
        const problem = problemOf(await send(daemon.host('sdk--bad'), 'GET', `/ws/pty?${name}=${value}`, UPGRADE));
        if (typeof problem === 'string') problems.push(`${name}=${value.slice(0, 40)}: ${problem}`);
      }
    }
    assert.deepEqual(problems, []);
    await healthy();
  });
});
