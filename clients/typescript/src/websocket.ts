// SPDX-License-Identifier: Apache-2.0
// The client's side of a WebSocket (RFC 6455), which Node.js before 22 does not have.

import {createHash, randomBytes} from 'node:crypto';
import type {Duplex} from 'node:stream';

import {AtollError} from './errors.js';
import {readText, type Transport} from './transport.js';

const MOST_MESSAGE = 64 << 20;
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

enum Opcode { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 }

export class WebSocketClient {
  onMessage: (data: Buffer, isText: boolean) => void = () => {};
  /** Once, also when the connection just ended: then `code` is 1006. */
  onClose: (code: number) => void = () => {};
  private pending: Buffer = Buffer.alloc(0);
  private parts: Buffer[] = [];
  private kind: Opcode = Opcode.text;
  private closed = false;
  private code = 1006;

  static connect(transport: Transport, path: string, options: {label?: string; headers?: Record<string, string>} = {}):
      Promise<WebSocketClient> {
    return new Promise((resolve, reject) => {
      const key = randomBytes(16).toString('base64');
      const sent = transport.begin(transport.target({
        path,
        label: options.label,
        headers: {...passedOn(options.headers), Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': key},
      }));
      sent.on('error', reject);
      sent.on('response', (answer) => {
        readText(answer).then((text) => {
          const body = JSON.parse(text) as {code: string; message: string};
          reject(new AtollError(body.message, body.code, answer.statusCode ?? 0));
        }).catch(() => reject(new AtollError(`HTTP ${answer.statusCode}`, 'HTTP_ERROR', answer.statusCode ?? 0)));
      });
      sent.on('upgrade', (answer, socket, head) => {
        const expected = createHash('sha1').update(key + GUID).digest('base64');
        if (answer.headers['sec-websocket-accept'] !== expected) {
          socket.destroy();
          reject(new Error('the answer is no WebSocket'));
          return;
        }
        const made = new WebSocketClient(socket, head);
        made.protocol = answer.headers['sec-websocket-protocol'] ?? '';
        resolve(made);
      });
      sent.end();
    });
  }

  /** The subprotocol that the other side has chosen. */
  protocol = '';

  private constructor(private readonly socket: Duplex, head: Buffer) {
    socket.on('data', (data: Buffer) => this.take(data));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.end());
    if (head.length > 0) setImmediate(() => this.take(head));
  }

  send(data: string | Uint8Array): void {
    this.write(typeof data === 'string' ? Opcode.text : Opcode.binary, Buffer.from(data as string));
  }

  close(): void {
    if (this.closed) return;
    this.write(Opcode.close, Buffer.from([0x03, 0xe8]));
    this.socket.end();
  }

  private write(opcode: Opcode, data: Buffer): void {
    if (this.closed || this.socket.destroyed) return;
    const long = data.length > 0xffff ? 8 : data.length > 125 ? 2 : 0;
    const head = Buffer.alloc(2 + long);
    head[0] = 0x80 | opcode;
    head[1] = 0x80 | (long === 8 ? 127 : long === 2 ? 126 : data.length);
    if (long === 8) head.writeBigUInt64BE(BigInt(data.length), 2);
    if (long === 2) head.writeUInt16BE(data.length, 2);
    const mask = randomBytes(4);
    const masked = Buffer.from(data);
    for (let i = 0; i < masked.length; ++i) masked[i]! ^= mask[i % 4]!;
    this.socket.write(Buffer.concat([head, mask, masked]));
  }

  private take(data: Buffer): void {
    this.pending = this.pending.length === 0 ? data : Buffer.concat([this.pending, data]);
    while (this.pending.length >= 2) {
      let at = 2;
      let length = this.pending[1]! & 0x7f;
      const long = length === 127 ? 8 : length === 126 ? 2 : 0;
      if (this.pending.length < at + long) return;
      if (long === 8) length = Number(this.pending.readBigUInt64BE(at));
      if (long === 2) length = this.pending.readUInt16BE(at);
      at += long;
      if (length > MOST_MESSAGE) return this.fail();
      if (this.pending.length < at + length) return;
      const first = this.pending[0]!;
      const payload = this.pending.subarray(at, at + length);
      this.pending = this.pending.subarray(at + length);
      this.frame(first & 0x0f, (first & 0x80) !== 0, payload);
    }
  }

  private frame(opcode: Opcode, last: boolean, payload: Buffer): void {
    if (opcode === Opcode.ping) return this.write(Opcode.pong, payload);
    if (opcode === Opcode.pong) return;
    if (opcode === Opcode.close) {
      this.code = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
      return this.close();
    }
    if (opcode !== Opcode.continuation) this.kind = opcode;
    this.parts.push(payload);
    if (this.parts.reduce((sum, part) => sum + part.length, 0) > MOST_MESSAGE) return this.fail();
    if (!last) return;
    const message = this.parts.length === 1 ? this.parts[0]! : Buffer.concat(this.parts);
    this.parts = [];
    this.onMessage(message, this.kind === Opcode.text);
  }

  private fail(): void {
    this.code = 1009;
    this.socket.destroy();
  }

  private end(): void {
    if (this.closed) return;
    this.closed = true;
    this.onClose(this.code);
  }
}

/** A handshake's headers without what is of one connection alone. */
function passedOn(headers: Record<string, string> = {}): Record<string, string> {
  const own = /^(host|connection|upgrade|content-length|sec-websocket-(key|version|extensions|accept))$/i;
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !own.test(name)));
}
