// SPDX-License-Identifier: Apache-2.0
// WebSockets with frames that were written by hand: what breaks the rules ends its own connection,
// with the right code, and nothing else.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import net from 'node:net';
import {after, before, describe, it} from 'node:test';

import {Daemon} from './support/daemon.mjs';
import {Terminal} from './support/terminal.mjs';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

/** A frame with whatever bits: `first` is the first byte, `length` what it claims. */
function frame(first, payload, {masked = true, length = null} = {}) {
  const bytes = Buffer.from(payload);
  const size = length ?? bytes.length;
  const head = [first];
  const bit = masked ? 0x80 : 0;
  if (size < 126) head.push(bit | size);
  else if (size < 65536) head.push(bit | 126, size >> 8, size & 255);
  else head.push(bit | 127, ...Buffer.from(BigInt(size).toString(16).padStart(16, '0'), 'hex'));
  if (!masked) return Buffer.concat([Buffer.from(head), bytes]);
  const mask = crypto.randomBytes(4);
  return Buffer.concat([Buffer.from(head), mask, bytes.map((byte, i) => byte ^ mask[i % 4])]);
}

/** Frames that came: [{opcode, payload}], and whether the connection has ended. */
class Raw {
  static async open(daemon, path, headers = {}) {
    const raw = new Raw();
    raw.socket = net.connect(daemon.port, '127.0.0.1');
    raw.socket.on('error', () => {});
    raw.bytes = Buffer.alloc(0);
    raw.frames = [];
    raw.ended = new Promise((resolve) => raw.socket.on('close', resolve));
    const all = {
      'Host': daemon.bare, 'Connection': 'Upgrade', 'Upgrade': 'websocket',
      'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': KEY, ...headers,
    };
    const lines = Object.entries(all).filter(([, value]) => value !== null).map(([name, value]) => `${name}: ${value}\r\n`);
    raw.socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
    raw.head = await new Promise((resolve) => {
      raw.socket.on('data', (data) => {
        raw.bytes = Buffer.concat([raw.bytes, data]);
        const end = raw.head === undefined ? raw.bytes.indexOf('\r\n\r\n') : -1;
        if (end >= 0) {
          const head = raw.bytes.subarray(0, end).toString();
          raw.bytes = raw.bytes.subarray(end + 4);
          raw.head = head;
          resolve(head);
        }
        if (raw.head?.includes(' 101 ')) raw.parse();
      });
      raw.socket.on('close', () => resolve(raw.head ?? ''));
    });
    return raw;
  }

  parse() {
    while (this.bytes.length >= 2) {
      let size = this.bytes[1] & 0x7f;
      let at = 2;
      if (size === 126) { size = this.bytes.length < 4 ? Infinity : this.bytes.readUInt16BE(2); at = 4; }
      else if (size === 127) { size = this.bytes.length < 10 ? Infinity : Number(this.bytes.readBigUInt64BE(2)); at = 10; }
      if (this.bytes.length < at + size) return;
      this.frames.push({opcode: this.bytes[0] & 15, masked: (this.bytes[1] & 0x80) !== 0,
                        payload: this.bytes.subarray(at, at + size)});
      this.bytes = this.bytes.subarray(at + size);
      this.onFrame?.();
    }
  }

  async frame(opcode, skip = 0) {
    for (;;) {
      const found = this.frames.filter((one) => one.opcode === opcode)[skip];
      if (found) return found;
      const ended = await Promise.race([
        new Promise((resolve) => { this.onFrame = () => resolve(false); }), this.ended.then(() => true)]);
      if (ended && !this.frames.some((one) => one.opcode === opcode)) assert.fail(`no frame ${opcode} came`);
    }
  }

  /** Sends, and gives the code that the connection is closed with. */
  async refusal(...frames) {
    for (const one of frames) this.socket.write(one);
    const {payload} = await this.frame(8);
    await this.ended;
    return payload.readUInt16BE(0);
  }
}

describe('WebSockets', () => {
  let daemon;
  before(async () => {
    daemon = await Daemon.start();
    await daemon.sandbox('demo').create();
  });
  after(() => daemon.cleanup());

  const open = (headers) => Raw.open(daemon, '/v1/sandboxes/demo/pty?session=raw&command=cat', headers);

  it('begin with a proper handshake only', async () => {
    const good = await open();
    assert.match(good.head, /^HTTP\/1.1 101 /);
    assert.match(good.head, /sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/i);
    good.socket.destroy();
    // Subprotocols and extensions may be asked for, and none is taken.
    const more = await open({'Sec-WebSocket-Protocol': 'a, b', 'Sec-WebSocket-Extensions': 'permessage-deflate'});
    assert.match(more.head, / 101 /);
    assert.doesNotMatch(more.head, /^sec-websocket-(protocol|extensions)/im);
    more.socket.destroy();
    for (const [headers, status] of [
      [{'Sec-WebSocket-Key': null}, 400],
      [{'Sec-WebSocket-Key': 'c2hvcnQ='}, 400],
      [{'Sec-WebSocket-Version': '12'}, 426],
      [{'Upgrade': 'h2c'}, 426],
      [{'Connection': 'close'}, 426],
      [{'Content-Length': '3'}, 400],
      [{'Origin': 'null'}, 403],
    ]) {
      const raw = await open(headers);
      assert.match(raw.head, new RegExp(`^HTTP/1.1 ${status} `), JSON.stringify(headers));
      raw.socket.destroy();
    }
  });

  it('take messages in pieces, with pings between them', async () => {
    const raw = await open();
    raw.socket.write(frame(0x02, 'in '));
    raw.socket.write(frame(0x89, 'are you there'));
    raw.socket.write(frame(0x00, 'three '));
    // Byte by byte.
    for (const byte of frame(0x80, 'pieces\r')) raw.socket.write(Buffer.from([byte]));
    assert.equal((await raw.frame(10)).payload.toString(), 'are you there');
    for (;;) {
      const text = Buffer.concat(raw.frames.filter((one) => one.opcode === 2).map((one) => one.payload)).toString();
      if (text.includes('in three pieces\r\nin three pieces\r\n')) break;
      await new Promise((resolve) => { raw.onFrame = resolve; });
    }
    assert.ok(raw.frames.every((one) => !one.masked));
    assert.equal(await raw.refusal(frame(0x88, Buffer.from([0x0f, 0xa0]))), 4000);
  });

  it('end when a client breaks the rules, with a code that says how', async () => {
    const cases = {
      'not masked': [1002, frame(0x82, 'x', {masked: false})],
      'a reserved bit': [1002, frame(0xc2, 'x')],
      'an opcode that is none': [1002, frame(0x83, 'x')],
      'a control opcode that is none': [1002, frame(0x8b, 'x')],
      'a ping in pieces': [1002, frame(0x09, 'x')],
      'a ping that is too long': [1002, frame(0x89, Buffer.alloc(126))],
      'a continuation of nothing': [1002, frame(0x80, 'x')],
      'a message within a message': [1002, frame(0x01, 'x'), frame(0x81, 'x')],
      'half a close code': [1002, frame(0x88, 'x')],
      'a close code that nobody may send': [1002, frame(0x88, Buffer.from([0x03, 0xee]))],
      'a text that is none': [1007, frame(0x81, Buffer.from([0xff, 0xfe]))],
      'a close reason that is no text': [1007, frame(0x88, Buffer.from([0x03, 0xe8, 0xff]))],
      'a message that is too large': [1009, frame(0x82, '', {length: (1 << 20) + 1})],
      'one that claims to be larger than everything': [1009, frame(0x82, '', {length: Number.MAX_SAFE_INTEGER})],
      'one that is too large in pieces': [1009, frame(0x02, Buffer.alloc(600_000)), frame(0x80, Buffer.alloc(600_000))],
    };
    for (const [what, [code, ...frames]] of Object.entries(cases)) {
      const raw = await open();
      assert.equal(await raw.refusal(...frames), code, what);
    }
    const fine = await Terminal.open(daemon, 'demo', {session: 'fine', command: 'cat'});
    await fine.type('alive\r', 'alive\r\nalive\r\n');
    await fine.close();
  });

  it('that are flooded with output and not read hold up nobody', async () => {
    const query = {session: 'flood', command: 'read go; head -c 20000000 /dev/zero | tr "\\0" x; echo; echo the""end; read go'};
    const slow = await Raw.open(daemon, `/v1/sandboxes/demo/pty?${new URLSearchParams(query)}`);
    assert.match(slow.head, / 101 /);
    slow.socket.pause();
    const fast = await Terminal.open(daemon, 'demo', {session: 'flood'});
    await fast.type('\r', 'theend');
    // On a busy host the other may have been the faster one for a moment: what that has cost is told.
    const missed = fast.frames.filter((one) => one.type === 'skipped').reduce((sum, one) => sum + one.bytes, 0);
    assert.ok(fast.bytes + missed >= 20_000_000 && missed < 10_000_000,
              `${fast.bytes} bytes, ${JSON.stringify(fast.frames)}`);
    // The slow one is told what it missed.
    slow.socket.resume();
    for (;;) {
      const texts = slow.frames.filter((one) => one.opcode === 1).map((one) => JSON.parse(one.payload));
      if (texts.some((one) => one.type === 'skipped' && one.bytes > 0)) break;
      await new Promise((resolve) => { slow.onFrame = resolve; });
    }
    slow.socket.destroy();
    await fast.close();
  });
});
