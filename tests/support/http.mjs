// SPDX-License-Identifier: Apache-2.0
// Requests with a Host of one's own to 127.0.0.1, event streams, and bytes as they are.

import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';

const DEFAULT_LIMIT_MS = 60_000;

function prepare({host, method = 'GET', path = '/', headers = {}, json, body}) {
  const all = {Host: host, ...headers};
  if (json !== undefined) {
    body = JSON.stringify(json);
    all['Content-Type'] ??= 'application/json';
  }
  if (body !== undefined && !('Transfer-Encoding' in all)) {
    all['Content-Length'] ??= Buffer.byteLength(body);
  }
  return {options: {method, path, headers: all}, body};
}

/** A request whose answer is read to its end. */
export function request(port, {limitMs = DEFAULT_LIMIT_MS, ...rest}) {
  const {options, body} = prepare(rest);
  return new Promise((resolve, reject) => {
    const sent = http.request({host: '127.0.0.1', port, agent: false, ...options}, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('error', reject);
      answer.on('end', () => {
        clearTimeout(timer);
        const bytes = Buffer.concat(parts);
        resolve({
          status: answer.statusCode,
          headers: answer.headers,
          bytes,
          text: bytes.toString(),
          json: () => JSON.parse(bytes.toString()),
        });
      });
    });
    const timer = setTimeout(() => {
      sent.destroy(new Error(`${options.method} ${options.path}: no answer in ${limitMs} ms`));
    }, limitMs);
    sent.on('error', (error) => { clearTimeout(timer); reject(error); });
    sent.end(body);
  });
}

/** A request whose answer is read by the caller: resolves when its headers are here. */
export function open(port, {limitMs = DEFAULT_LIMIT_MS, ...rest}) {
  const {options, body} = prepare(rest);
  return new Promise((resolve, reject) => {
    const sent = http.request({host: '127.0.0.1', port, agent: false, ...options}, (answer) => {
      clearTimeout(timer);
      resolve({
        status: answer.statusCode,
        headers: answer.headers,
        stream: answer,
        close: () => sent.destroy(),
      });
    });
    const timer = setTimeout(() => sent.destroy(new Error(`no answer in ${limitMs} ms`)), limitMs);
    sent.on('error', (error) => { clearTimeout(timer); reject(error); });
    sent.end(body);
  });
}

/** Parses an event stream strictly: only `data:` lines, one JSON object each, whose `lastEventId` is its id if it has one. */
export async function* events(stream) {
  let rest = Buffer.alloc(0);
  for await (const part of stream) {
    rest = Buffer.concat([rest, part]);
    for (;;) {
      const end = rest.indexOf('\n\n');
      if (end < 0) break;
      const block = rest.subarray(0, end);
      rest = rest.subarray(end + 2);
      const text = new TextDecoder('utf-8', {fatal: true}).decode(block);
      if (text.startsWith(':')) continue;
      const id = text.match(/^id: (\S+)\n/);
      const event = text.slice(id?.[0].length ?? 0);
      assert.ok(event.startsWith('data: '), `an unnamed event, not ${JSON.stringify(text)}`);
      yield Object.defineProperty(JSON.parse(event.slice(6)), 'lastEventId', {value: id?.[1]});
    }
  }
  assert.equal(rest.length, 0, 'the stream ends after a whole event');
}

/** Sends bytes as they are; resolves with everything received until the other end closes or limitMs. */
export function raw(port, bytes, {limitMs = 3000, until} = {}) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    let text = '';
    const finish = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text);
    };
    const timer = setTimeout(finish, limitMs);
    socket.on('data', (data) => {
      text += data.toString('latin1');
      if (until && until(text)) finish();
    });
    socket.on('end', finish);
    socket.on('error', finish);
    socket.write(bytes);
  });
}

export const statusOf = (text) => Number(text.match(/^HTTP\/1\.[01] (\d{3})/)?.[1] ?? 0);

/** An Upgrade: resolves with the status, and the socket with whatever came behind a 101. */
export function upgrade(port, {host, path = '/', headers = {}, first}) {
  const lines = [`GET ${path} HTTP/1.1`, `Host: ${host}`, 'Connection: Upgrade', 'Upgrade: websocket',
                 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='];
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    let received = Buffer.alloc(0);
    const timer = setTimeout(() => socket.destroy(new Error('no answer to the Upgrade')), 20_000);
    socket.on('error', reject);
    const onData = (data) => {
      received = Buffer.concat([received, data]);
      const end = received.indexOf('\r\n\r\n');
      if (end < 0) return;
      clearTimeout(timer);
      socket.off('data', onData);
      const head = received.subarray(0, end).toString('latin1');
      resolve({status: statusOf(head), head, socket, rest: received.subarray(end + 4)});
    };
    socket.on('data', onData);
    socket.write(lines.join('\r\n') + '\r\n\r\n');
    if (first) socket.write(first);
  });
}

/** Reads from a socket until `bytes` many are here. */
export function readExactly(socket, count, already = Buffer.alloc(0)) {
  return new Promise((resolve, reject) => {
    let received = already;
    const done = () => {
      if (received.length < count) return false;
      socket.off('data', onData);
      resolve(received);
      return true;
    };
    const onData = (data) => {
      received = Buffer.concat([received, data]);
      done();
    };
    socket.on('data', onData);
    socket.once('close', () => reject(new Error(`closed after ${received.length} of ${count} bytes`)));
    done();
  });
}

/** The error shape that every failure has. */
export function assertError(answer, status, code) {
  assert.equal(answer.status, status, `${answer.status}: ${answer.text}`);
  assert.match(answer.headers['content-type'] ?? '', /^application\/json/);
  const body = answer.json();
  assert.match(body.code, /^[A-Z][A-Z0-9_]*$/);
  assert.equal(typeof body.message, 'string');
  assert.ok(body.message.length > 0, 'an error says something');
  if (code !== undefined) assert.equal(body.code, code, body.message);
  return body;
}
