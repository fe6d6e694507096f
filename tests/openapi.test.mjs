// SPDX-License-Identifier: Apache-2.0
// The description of the API: it is OpenAPI 3.1 as its schema has it, and says what answers really are.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Validator} from '@seriousme/openapi-schema-validator';

import {Daemon} from './support/daemon.mjs';

describe('the description of the API', () => {
  let daemon;
  let api;
  before(async () => {
    daemon = await Daemon.start();
    api = (await daemon.request('', {path: '/v1/openapi.json'})).json();
    await daemon.sandbox('told').create();
  });
  after(() => daemon?.cleanup());

  it('is valid OpenAPI 3.1', async () => {
    const validator = new Validator();
    const checked = await validator.validate(structuredClone(api));
    assert.ok(checked.valid, JSON.stringify(checked.errors, null, 1));
    assert.equal(validator.version, '3.1');
    const broken = structuredClone(api);
    broken.paths['/v1/sandboxes'].get.parameters[0].in = 'nowhere';
    assert.equal((await new Validator().validate(broken)).valid, false, 'the validator looks');
  });

  it('is where the bridge has it, too', async () => {
    const other = await daemon.request('', {path: '/v1/openapi'});
    assert.equal(other.status, 200, other.text);
    assert.deepEqual(other.json(), api);
  });

  /** The schema of an operation's failures. */
  const errorOf = (operation) => {
    const name = operation.responses.default.$ref.split('/').at(-1);
    const schema = api.components.responses[name].content['application/json'].schema.$ref.split('/').at(-1);
    return api.components.schemas[schema];
  };
  const assertFits = (schema, body) => {
    for (const name of schema.required) assert.equal(typeof body[name], 'string', name);
    for (const name of Object.keys(body)) assert.ok(name in schema.properties, `${name} is described`);
  };

  it('says what failures are, of the API and of the bridge', async () => {
    const missing = await daemon.request('', {path: '/v1/sandboxes/none'});
    assert.ok(missing.json().suggestion && missing.json().context, missing.text);
    assertFits(errorOf(api.paths['/v1/sandboxes/{id}'].get), missing.json());
    let bridged = 0;
    for (const [path, operations] of Object.entries(api.paths)) {
      for (const operation of Object.values(operations)) {
        if (!operation.operationId.startsWith('bridge') || !path.startsWith('/v1/sandbox')) continue;
        assert.ok('error' in errorOf(operation).properties, path);
        ++bridged;
      }
    }
    assert.ok(bridged > 10);
    const refused = await daemon.request('', {path: '/v1/sandbox/told/file/etc/passwd'});
    assert.equal(refused.status, 403, refused.text);
    assertFits(errorOf(api.paths['/v1/sandbox/{sandbox}/file/{path}'].get), refused.json());
  });

  it('names the statuses and the fields of requests that files have', async () => {
    const file = api.paths['/v1/sandboxes/{id}/files/{path}'];
    const url = '/v1/sandboxes/told/files/workspace/file';
    const put = () => daemon.request('', {method: 'PUT', path: url, body: '0123456789'});
    assert.ok(String((await put()).status) in file.put.responses);
    assert.ok(String((await put()).status) in file.put.responses);
    const whole = await daemon.request('', {path: url});
    const part = await daemon.request('', {path: url, headers: {Range: 'bytes=2-3'}});
    const known = await daemon.request('', {path: url, headers: {'If-None-Match': whole.headers.etag}});
    assert.deepEqual([whole.status, part.status, known.status], [200, 206, 304]);
    for (const {status} of [whole, part, known]) assert.ok(String(status) in file.get.responses, `${status}`);
    const headers = (operation) => operation.parameters.filter((one) => one.in === 'header').map((one) => one.name);
    assert.ok(headers(file.get).includes('Range'));
    assert.deepEqual(headers(api.paths['/v1/sandboxes'].post), ['Idempotency-Key']);
    assert.deepEqual(headers(api.paths['/v1/sandbox/{sandbox}/exec'].post), ['Session-Id']);
    assert.deepEqual(headers(api.paths['/v1/sandboxes/{id}/watch'].get), ['Last-Event-ID']);
    assert.deepEqual(api.paths['/v1/sandboxes/{id}/archive'].get.parameters.find((one) => one.name === 'format').schema.enum,
                     ['tar', 'tar.zst']);
    const socket = api.paths['/v1/sandboxes/{id}/exec/ws'].get['x-first-message'];
    assert.ok('session' in socket.properties && 'tty' in socket.properties && !('encoding' in socket.properties));
  });
});
