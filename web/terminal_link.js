// SPDX-License-Identifier: Apache-2.0
// The connection of a page to one terminal. It comes back by itself when it is lost, with what came
// meanwhile, until the terminal has ended.

import * as api from './api.js';

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5000;
const NORMAL_CLOSE = 1000;

export class TerminalLink {
  /**
   * `on`: {output(bytes), state(state, detail)}; the states are 'connecting', 'open', 'lost', 'ended'.
   * `size()` gives {cols, rows}. `earlier`: the one that was left, where this one goes on.
   */
  constructor(id, session, size, on, earlier = null) {
    Object.assign(this, {id, session, size, on, over: false, pause: FIRST_PAUSE_MS});
    this.offset = earlier?.offset ?? 0;
    this.begun = earlier?.begun ?? false;
    this.connect();
  }

  connect() {
    const {cols, rows} = this.size();
    const query = new URLSearchParams({session: this.session, cols, rows});
    if (this.begun) {
      query.set('create', '0');
      query.set('since', String(this.offset));
    }
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    this.socket = new WebSocket(`${scheme}://${location.host}/v1/sandboxes/${this.id}/pty?${query}`);
    this.socket.binaryType = 'arraybuffer';
    this.socket.onmessage = (event) => this.take(event.data);
    this.socket.onclose = (event) => this.closed(event);
    this.on.state(this.begun ? 'lost' : 'connecting');
  }

  take(data) {
    if (typeof data !== 'string') {
      this.offset += data.byteLength;
      this.on.output(new Uint8Array(data));
      return;
    }
    const message = JSON.parse(data);
    if (message.type === 'ready') {
      this.begun = true;
      this.offset = message.offset;
      this.pause = FIRST_PAUSE_MS;
      this.on.state('open');
      // It may have another size by now.
      const {cols, rows} = this.size();
      this.resize(cols, rows);
    } else if (message.type === 'skipped') {
      this.offset += message.bytes;
    } else if (message.type === 'exit') {
      this.end(message.signal ? `ended by ${message.signal}` : `ended with ${message.code}`);
    } else if (message.type === 'error' && !this.begun) {
      this.end(message.message);
    }
  }

  async closed(event) {
    if (this.over) return;
    if (event.code === NORMAL_CLOSE) {
      this.end('closed');
      return;
    }
    this.on.state('lost');
    await new Promise((resolve) => { this.timer = setTimeout(resolve, this.pause); });
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
    if (this.over || await this.isGone()) return;
    if (!this.over) this.connect();
  }

  // A refused handshake says nothing to a page: ask.
  async isGone() {
    try {
      const {terminals} = await api.listTerminals(this.id);
      if (!this.begun || terminals.some((one) => one.name === this.session)) return false;
      this.end('ended');
    } catch (error) {
      if (error.status === 0 || error.status >= 500) return false;
      this.end(error.message);
    }
    return true;
  }

  end(why) {
    this.over = true;
    clearTimeout(this.timer);
    this.socket.close();
    this.on.state('ended', why);
  }

  /** Away, without a word to whoever listens; the terminal goes on. */
  leave() {
    this.over = true;
    clearTimeout(this.timer);
    this.socket.close();
  }

  type(text) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(new TextEncoder().encode(text));
  }

  typeBytes(binary) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.socket.send(Uint8Array.from(binary, (c) => c.charCodeAt(0)));
  }

  resize(cols, rows) {
    if (this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({type: 'resize', cols, rows}));
    }
  }
}
