// SPDX-License-Identifier: Apache-2.0

import type {Operations} from './operations.js';
import {Sandbox} from './sandbox.js';
import {Transport, type TransportOptions} from './transport.js';
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

/** A sandbox that is there when this returns: it is made if there is none. */
export async function getSandbox(atoll: Atoll | TransportOptions, id: string,
                                 options: Parameters<Sandbox['create']>[0] = {}): Promise<Sandbox> {
  const sandbox = (atoll instanceof Atoll ? atoll : new Atoll(atoll)).sandbox(id);
  await sandbox.create({opencode: false, ...options});
  return sandbox;
}

export {AtollError} from './errors.js';
export {bytesOf, parseSSEStream} from './events.js';
export {Git} from './git.js';
export {operations, type Operations, type Schemas} from './operations.js';
export {Process, type PortWait} from './process.js';
export {Sandbox} from './sandbox.js';
export {Session} from './session.js';
export {Terminal, type TerminalOptions} from './terminal.js';
export {Transport, type TransportOptions} from './transport.js';
export type * from './types.js';
