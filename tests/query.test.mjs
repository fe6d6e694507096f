// SPDX-License-Identifier: Apache-2.0
// A parameter of a query that means nothing is refused by its name, and does nothing.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon} from './support/daemon.mjs';
import {assertError} from './support/http.mjs';

describe('queries', () => {
  let daemon;
  let box;
  const base = '/v1/sandboxes/asked';

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('asked');
    await box.create();
    await box.sh('mkdir -p /workspace/kept && echo old > /workspace/kept/file');
  });
  after(() => daemon?.cleanup());

  const call = (method, path, body) => daemon.request('', {method, path, body});
  const refused = async (method, path, name, body) => {
    const error = assertError(await call(method, path, body), 400, 'VALIDATION_FAILED');
    assert.ok(error.message.includes(`"${name}"`), `${path}: ${error.message}`);
  };

  it('is not taken for yes by any word', async () => {
    for (const word of ['no', 'False', 'off', '2', '%00', '%zz', '0&recursive=1']) {
      await refused('DELETE', `${base}/files/workspace/kept?recursive=${word}`, 'recursive');
    }
    for (const word of ['no', '-1', '%ff']) {
      await refused('PUT', `${base}/files/workspace/kept/file?append=${word}`, 'append', 'new');
      await refused('PUT', `${base}/files/workspace/none/file?parents=${word}`, 'parents', 'new');
      await refused('GET', `${base}/files/workspace/kept/file?download=${word}`, 'download');
      await refused('GET', `${base}/processes/x/logs?follow=${word}`, 'follow');
      await refused('GET', `${base}/events?follow=${word}`, 'follow');
      await refused('GET', `${base}/watch?recursive=${word}`, 'recursive');
      await refused('GET', `${base}/git/branches?remote=${word}`, 'remote');
      await refused('DELETE', `${base}/git/branches/x?force=${word}`, 'force');
    }
    assert.equal(await box.sh('cat /workspace/kept/file; ls /workspace'), 'old\nkept\n');
    assertError(await call('DELETE', `${base}/files/workspace/kept?recursive=false`), 400, 'IS_DIRECTORY');
    assertError(await call('DELETE', `${base}/files/workspace/kept?recursive=0`), 400, 'IS_DIRECTORY');
    assert.equal(await box.sh('ls /workspace'), 'kept\n');
  });

  it('is not root or the whole workspace because it cannot be read', async () => {
    for (const bad of ['%zz', '%', '%00', '0%0']) {
      await refused('GET', `${base}/files/workspace/kept/file?user=${bad}`, 'user');
      await refused('PUT', `${base}/files/workspace/kept/file?user=${bad}`, 'user', 'new');
      await refused('DELETE', `${base}/files/workspace/kept/file?user=${bad}`, 'user');
      await refused('GET', `${base}/archive?path=${bad}`, 'path');
      await refused('PUT', `${base}/archive?path=${bad}`, 'path', Buffer.alloc(1024));
      await refused('PUT', `${base}/archive?user=${bad}`, 'user', Buffer.alloc(1024));
      await refused('GET', `${base}/watch?path=${bad}`, 'path');
      await refused('GET', `/v1/snapshots?sandbox=${bad}`, 'sandbox');
      await refused('GET', `/v1/sandboxes?cursor=${bad}`, 'cursor');
    }
    assert.equal(await box.sh('cat /workspace/kept/file'), 'old\n');
    await refused('GET', `${base}/files/workspace/kept/file?user=%ff`, 'user');
    // Names of files are bytes.
    await box.sh(`mkdir "/workspace/$(printf '\\377')" && echo there > "/workspace/$(printf '\\377')/x"`);
    const packed = await call('GET', `${base}/archive?path=/workspace/%ff`);
    assert.equal(packed.status, 200, packed.text);
    assert.match(packed.text, /there/);
    await box.sh(`rm -r "/workspace/$(printf '\\377')"`);
  });

  it('is one of the words that it can be', async () => {
    for (const word of ['all', 'ANY', '1', 'any&links=any']) {
      await refused('PUT', `${base}/archive?links=${word}`, 'links', Buffer.alloc(1024));
    }
    await refused('PUT', `${base}/archive?owners=root`, 'owners', Buffer.alloc(1024));
    await refused('GET', `${base}/archive?format=zip`, 'format');
    await refused('GET', `${base}/processes/x/wait?for=ever`, 'for');
    await refused('GET', `${base}/processes/x/wait?for=port&port=65536`, 'port');
    for (const query of ['links=any', 'links=inside', 'owners=none', 'owners=keep', 'other=%zz']) {
      const answer = await call('PUT', `${base}/archive?${query}`, Buffer.alloc(1024));
      assert.equal(answer.status, 200, answer.text);
    }
  });

  it('is refused in the words of each dialect', async () => {
    const bridge = await daemon.request('', {
      method: 'POST', path: '/v1/sandbox/asked/persist?excludes=%zz'});
    assert.equal(bridge.status, 400, bridge.text);
    assert.equal(bridge.json().code, 'invalid_request');
    assert.match(bridge.json().error, /"excludes"/);
    const headers = {Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13',
                     'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ=='};
    const sdk = await daemon.request('sdk--asked', {path: '/ws/pty?sessionId=%zz', headers});
    assert.equal(sdk.status, 400, sdk.text);
    assert.match(sdk.text, /sessionId/);
  });
});
