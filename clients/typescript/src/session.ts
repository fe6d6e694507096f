// SPDX-License-Identifier: Apache-2.0

import type {Sandbox} from './sandbox.js';
import type {ExecEvent, ExecOptions, ExecResult} from './types.js';

/** A shell that lasts: its commands run one after the other, and find what the ones before have left. */
export class Session {
  constructor(private readonly sandbox: Sandbox, readonly id: string) {}

  exec(command: string | readonly string[], options: Omit<ExecOptions, 'sessionId' | 'user'> = {}): Promise<ExecResult> {
    return this.sandbox.exec(command, {...options, sessionId: this.id});
  }

  execStream(command: string | readonly string[], options: Omit<ExecOptions, 'sessionId' | 'user'> = {}):
      AsyncGenerator<ExecEvent, void, void> {
    return this.sandbox.execStream(command, {...options, sessionId: this.id});
  }

  close(): Promise<void> { return this.sandbox.deleteSession(this.id); }
}
