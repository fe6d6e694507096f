// SPDX-License-Identifier: Apache-2.0

import {EventEmitter} from 'node:events';

import type {WebSocketClient} from './websocket.js';

export interface TerminalOptions {
  /** The terminal of this name is joined, or made. Without one it ends with its client. */
  session?: string | undefined;
  cols?: number | undefined;
  rows?: number | undefined;
  shell?: string | undefined;
  command?: string | undefined;
  cwd?: string | undefined;
  /** Added to the sandbox's. This, the user and the time are of a terminal that is made. */
  env?: Record<string, string> | undefined;
  /** name, uid, uid:gid or name:group; root when it is not there. */
  user?: string | undefined;
  /** Then it is hung up. */
  timeoutMs?: number | undefined;
}

export interface Terminal {
  on(event: 'data', listener: (data: Buffer) => void): this;
  /** The shell has ended. */
  on(event: 'exit', listener: (exit: {code?: number; signal?: string; timedOut?: boolean}) => void): this;
  on(event: 'error', listener: (error: Error) => void): this;
  /** The connection has ended, for whatever reason. */
  on(event: 'close', listener: (code: number) => void): this;
}

export class Terminal extends EventEmitter {
  /** When what was on it before has come. */
  readonly ready: Promise<void>;

  constructor(private readonly socket: WebSocketClient) {
    super();
    this.ready = new Promise((resolve, reject) => {
      socket.onMessage = (data, isText) => {
        if (!isText) {
          this.emit('data', data);
          return;
        }
        const frame = JSON.parse(data.toString()) as {type: string; message?: string; code?: number; signal?: string; timedOut?: boolean};
        if (frame.type === 'ready') resolve();
        if (frame.type === 'exit') this.emit('exit', frame);
        if (frame.type === 'error' && this.listenerCount('error') > 0) this.emit('error', new Error(frame.message));
      };
      socket.onClose = (code) => {
        reject(new Error('the terminal has ended'));
        this.emit('close', code);
      };
    });
    this.ready.catch(() => {});
  }

  write(data: string | Uint8Array): void { this.socket.send(Buffer.from(data as string)); }
  resize(cols: number, rows: number): void { this.socket.send(JSON.stringify({type: 'resize', cols, rows})); }
  close(): void { this.socket.close(); }
}
