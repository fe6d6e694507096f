// SPDX-License-Identifier: Apache-2.0

import {AtollError} from './errors.js';
import type {Operations} from './operations.js';
import {Sandbox} from './sandbox.js';
import {given, Transport, type TransportOptions} from './transport.js';
import type {SandboxInfo} from './types.js';

type NewSandbox = Exclude<Operations['newSandbox']['body'], undefined>;

export class Atoll {
  readonly transport: Transport;

  constructor(options: TransportOptions = {}) {
    this.transport = new Transport(options);
  }

  /** One by its id, whether it is there or not. */
  sandbox(id: string): Sandbox { return new Sandbox(this.transport, id); }

  /** A new one. The same `idempotencyKey` gives the same one. */
  async create(options: NewSandbox = {}, {idempotencyKey}: {idempotencyKey?: string} = {}): Promise<Sandbox> {
    const made = await this.transport.call('newSandbox', {
      json: options, ...(idempotencyKey === undefined ? {} : {headers: {'Idempotency-Key': idempotencyKey}})});
    return this.sandbox(made.id);
  }

  async list(): Promise<SandboxInfo[]> {
    const all: SandboxInfo[] = [];
    for (let cursor: string | undefined; ;) {
      const page = await this.transport.call('listSandboxes', {query: {cursor}});
      all.push(...page.sandboxes);
      if (!page.cursor) return all;
      cursor = page.cursor;
    }
  }
}

/** The SDK's options of a sandbox, beside Atoll's own. */
export interface SandboxOptions extends Omit<NewSandbox, 'id' | 'sleepAfter'> {
  sleepAfter?: string | number | null;
  /** Ids have lower-case letters alone here; true makes them of others. */
  normalizeId?: boolean;
  /** A shell that every `exec` is in. There is none: `createSession` makes one. */
  enableDefaultSession?: false;
  /** For programs that were written for the SDK; they change nothing here. */
  containerTimeouts?: Record<string, number>;
  transport?: string;
  labels?: Record<string, string>;
}

/** A sandbox that is there when this returns: it is made if there is none. */
export async function getSandbox(atoll: Atoll | TransportOptions, id: string, options: SandboxOptions = {}): Promise<Sandbox> {
  const {normalizeId, enableDefaultSession, containerTimeouts: _, transport: __, labels: ___, ...more} = options;
  if (enableDefaultSession as boolean | undefined) {
    throw new AtollError('there is no default session; createSession makes one', 'UNSUPPORTED_OPTION', 400);
  }
  const sandbox = (atoll instanceof Atoll ? atoll : new Atoll(atoll)).sandbox(normalizeId ? id.toLowerCase() : id);
  await sandbox.create({opencode: false, ...given(more)});
  return sandbox;
}

export type {BackupOptions} from './backup.js';
export {AtollError} from './errors.js';
export {bytesOf, parseSSEStream} from './events.js';
export {Git} from './git.js';
export {operations, type Operations, type Schemas} from './operations.js';
export {Process, type PortWait, type Wait} from './process.js';
export {Sandbox, type MountBucketOptions} from './sandbox.js';
export {Session} from './session.js';
export {Terminal, type TerminalOptions} from './terminal.js';
export {Transport, type TransportOptions} from './transport.js';
export type * from './types.js';
export {WebSocketClient} from './websocket.js';
