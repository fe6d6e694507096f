// SPDX-License-Identifier: Apache-2.0
// A client at a terminal of a sandbox, as a program that uses the API would be one.

import assert from 'node:assert/strict';

import WebSocket, {WebSocketServer} from 'ws';

export {WebSocket, WebSocketServer};

const LIMIT_MS = 90_000;
// Of the output: a flood is counted, not kept.
const KEPT = 64 << 10;

export class Terminal {
  /** Connects and waits until what was there before has come. `query`: cols, rows, session, ... */
  static async open(daemon, id, query = {}, options = {}) {
    const terminal = new Terminal(daemon, id, query, options);
    await terminal.ready();
    return terminal;
  }

  /** `route` is /v1's unless it is another dialect's. */
  constructor(daemon, id, query = {}, {headers = {}, route = `/v1/sandboxes/${id}/pty`} = {}) {
    const path = `${route}?${new URLSearchParams(query)}`;
    this.socket = new WebSocket(`ws://127.0.0.1:${daemon.port}${path}`,
                                {headers: {Host: daemon.bare, ...headers}, perMessageDeflate: false});
    this.output = '';
    this.bytes = 0;
    this.frames = [];
    this.waiters = new Set();
    this.decoder = new TextDecoder();
    this.socket.on('message', (data, isBinary) => {
      if (isBinary) {
        this.bytes += data.length;
        this.output += this.decoder.decode(data, {stream: true});
        if (this.output.length > 4 * KEPT) this.output = this.output.slice(-KEPT);
      } else {
        this.frames.push(JSON.parse(data.toString()));
      }
      this.look();
    });
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => {
        this.closeCode = code;
        this.look();
        resolve({code, reason: reason.toString()});
      });
    });
    /** The status of an answer that is no WebSocket. */
    this.refused = new Promise((resolve) => {
      this.socket.on('unexpected-response', (request, answer) => {
        this.refusal = {status: answer.statusCode};
        request.destroy();
        this.look();
        resolve(answer.statusCode);
      });
      this.socket.on('open', () => resolve(101));
    });
    this.socket.on('error', (error) => { this.error = error; this.look(); });
  }

  look() {
    for (const waiter of [...this.waiters]) waiter();
  }

  /** Until `probe` gives something true; the end of the connection is a failure. */
  until(what, probe, limitMs = LIMIT_MS) {
    return new Promise((resolve, reject) => {
      const done = (settle, value) => {
        clearTimeout(timer);
        this.waiters.delete(waiter);
        settle(value);
      };
      const fail = (why) => done(reject, new Error(
          `${what}: ${why}; frames ${JSON.stringify(this.frames)}; output ${JSON.stringify(this.output.slice(-500))}`));
      const waiter = () => {
        const value = probe();
        if (value) done(resolve, value);
        else if (this.refusal) fail(`refused with ${this.refusal.status}`);
        else if (this.closeCode !== undefined) fail(`closed with ${this.closeCode}`);
        else if (this.error) fail(this.error.message);
      };
      const timer = setTimeout(() => fail('did not come'), limitMs);
      this.waiters.add(waiter);
      waiter();
    });
  }

  frame(type) { return this.until(type, () => this.frames.find((one) => one.type === type)); }
  ready() { return this.frame('ready'); }
  shows(text) { return this.until(`output with ${JSON.stringify(text)}`, () => this.output.includes(text)); }

  /** Types, and waits for what is printed from then on. */
  async type(keys, text) {
    this.output = '';
    this.socket.send(Buffer.from(keys));
    if (text !== undefined) await this.shows(text);
  }

  say(message) { this.socket.send(typeof message === 'string' ? message : JSON.stringify(message)); }
  resize(cols, rows) { this.say({type: 'resize', cols, rows}); }

  /** Gone without a word, as a machine that lost its network. */
  cut() { this.socket.terminate(); }

  async close() {
    this.socket.close();
    await this.closed;
  }

  /** Until the program has ended: its exit frame. */
  async exit() {
    const {code} = await this.closed;
    assert.equal(code, 1000);
    return this.frames.find((one) => one.type === 'exit');
  }
}
