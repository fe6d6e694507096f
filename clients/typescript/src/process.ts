// SPDX-License-Identifier: Apache-2.0

import type {Schemas} from './operations.js';
import type {Sandbox} from './sandbox.js';
import type {LogEvent, ProcessInfo} from './types.js';

type Waited = Schemas['Waited'];

export interface PortWait {
  /** "http" asks for `path` and wants `status`; "tcp" that it accepts connections. */
  mode?: 'http' | 'tcp';
  path?: string;
  status?: number | {min: number; max: number};
  /** Milliseconds. */
  timeout?: number;
}

/** A process in the background, as it was when it was last looked at. */
export class Process {
  constructor(private readonly sandbox: Sandbox, readonly info: ProcessInfo) {}

  get id(): string { return this.info.id; }
  get pid(): number { return this.info.pid; }
  get command(): string { return this.info.command; }
  get status(): ProcessInfo['status'] { return this.info.status; }
  get exitCode(): number | undefined { return this.info.exitCode; }
  get startTime(): string | undefined { return this.info.startTime; }
  get endTime(): string | undefined { return this.info.endTime; }

  kill(signal?: string | number): Promise<void> { return this.sandbox.killProcess(this.id, signal); }

  async getStatus(): Promise<ProcessInfo['status']> {
    const now = await this.sandbox.getProcess(this.id);
    return now?.status ?? 'error';
  }

  getLogs(): Promise<{stdout: string; stderr: string}> { return this.sandbox.getProcessLogs(this.id); }

  streamLogs(options: {signal?: AbortSignal; offset?: number} = {}): AsyncGenerator<LogEvent, void, void> {
    return this.sandbox.streamProcessLogs(this.id, options);
  }

  /** A line of its output with this in it, also one that is there already. */
  async waitForLog(pattern: string | RegExp, timeout?: number): Promise<{line: string; groups: string[]}> {
    const wanted = typeof pattern === 'string' ? {pattern} : {regex: pattern.source};
    return this.wait('log', {...wanted, timeoutMs: timeout});
  }

  async waitForPort(port: number, options: PortWait = {}): Promise<void> {
    const status = typeof options.status === 'object'
      ? `${options.status.min}-${options.status.max}` : options.status?.toString();
    const http = options.mode === 'tcp' ? {} : {path: options.path ?? '/', status};
    await this.wait('port', {port, ...http, timeoutMs: options.timeout});
  }

  async waitForExit(timeout?: number): Promise<{exitCode: number}> {
    return this.wait('exit', {timeoutMs: timeout});
  }

  private async wait<What extends Waited['for']>(
    what: What, query: Record<string, string | number | undefined>): Promise<Extract<Waited, {for: What}>> {
    const waited = await this.sandbox.transport.call(
      'waitForProcess', {path: {id: this.sandbox.id, process: this.id}, query: {for: what, ...query}});
    return waited as Extract<Waited, {for: What}>;
  }
}
