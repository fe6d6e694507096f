// SPDX-License-Identifier: Apache-2.0

import type {Commands} from './commands.js';
import {AtollError} from './errors.js';
import {bytesOf, parseSSEStream} from './events.js';
import type {LogEvent, ProcessInfo, ProcessStatus} from './types.js';

// One question to Atoll; a longer wait asks again.
const POLL_MS = 60_000;
// So long a daemon may be away while somebody waits.
const RESUME_MS = 60_000;
// Of a line that has not ended; what waits for something in it does not look further back.
const MOST_PENDING = 1 << 20;
const OVERLAP = 1 << 16;

export interface Wait {
  /** Milliseconds; without it there is no limit. */
  timeout?: number | undefined;
  /** Ends the wait, not the process. */
  signal?: AbortSignal | undefined;
}

export interface PortWait extends Wait {
  /** "http" asks for `path` and wants `status`; "tcp" that it accepts connections. */
  mode?: 'http' | 'tcp' | undefined;
  path?: string | undefined;
  /** 200 to 399 when it is not there. */
  status?: number | {min: number; max: number} | undefined;
  /** Atoll looks as often as it finds right. */
  interval?: number | undefined;
}

/** A process in the background, as it was when it was last looked at. */
export class Process {
  constructor(private readonly sandbox: Commands, readonly info: ProcessInfo, readonly sessionId?: string) {}

  get id(): string { return this.info.id; }
  get pid(): number { return this.info.pid; }
  get command(): string { return this.info.command; }
  get status(): ProcessStatus { return statusOf(this.info); }
  get exitCode(): number | undefined { return this.info.exitCode; }
  get startTime(): Date | undefined { return dateOf(this.info.startTime); }
  get endTime(): Date | undefined { return dateOf(this.info.endTime); }

  kill(signal?: string | number): Promise<void> { return this.sandbox.killProcess(this.id, signal); }

  async getStatus(): Promise<ProcessStatus> {
    const now = await this.sandbox.getProcess(this.id);
    return now?.status ?? 'error';
  }

  getLogs(): Promise<{stdout: string; stderr: string}> { return this.sandbox.getProcessLogs(this.id); }

  streamLogs(options: {signal?: AbortSignal; offset?: number} = {}): AsyncGenerator<LogEvent, void, void> {
    return this.sandbox.streamProcessLogs(this.id, options);
  }

  /**
   * A line of its output with this in it, also one that is there already. An expression is JavaScript's, with all its
   * flags, and looked for in one line at a time.
   */
  async waitForLog(pattern: string | RegExp, options?: number | Wait):
      Promise<{line: string; match?: RegExpMatchArray; groups: string[]}> {
    const wait = waitOf(options);
    // With g and y an expression would go on where it was the last time.
    const expression = typeof pattern === 'string' ? undefined : new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ''));
    const look = (line: string) => {
      if (typeof pattern === 'string') return line.includes(pattern) ? {line, groups: []} : undefined;
      const match = line.match(expression!);
      return match ? {line, match, groups: match.slice(1).map((group) => group ?? '')} : undefined;
    };
    const lines = {stdout: new Lines(), stderr: new Lines()};
    const limit = new Limit(wait, this.id, `${pattern}`);
    return limit.during(async () => {
      for (let offset = 0; ;) {
        try {
          const answer = await this.sandbox.transport.open('getProcessLogs', {
            path: {id: this.sandbox.id, process: this.id}, query: {follow: true, offset}, signal: limit.signal,
            headers: {Accept: 'text/event-stream'}});
          limit.connected();
          for await (const event of parseSSEStream<LogEvent>(answer.stream)) {
            if (event.type === 'stdout' || event.type === 'stderr') {
              const piece = bytesOf(event);
              offset = event.offset + piece.length;
              for (const line of lines[event.type].take(piece)) {
                const found = look(line);
                if (found) return found;
              }
            } else if (event.type === 'exit') {
              throw new AtollError(`the process ${this.id} has ended with exit code ${event.exitCode} before that`,
                                   'PROCESS_EXITED_BEFORE_READY', 500);
            } else if (event.type === 'error') {
              throw new AtollError(event.error, event.code, 0);
            }
          }
        } catch (error) {
          limit.lost(error);
        }
        // The daemon has ended or was replaced: another one goes on there.
        await limit.pause();
      }
    });
  }

  async waitForPort(port: number, options: PortWait = {}): Promise<void> {
    const status = typeof options.status === 'object'
      ? `${options.status.min}-${options.status.max}` : options.status?.toString();
    const http = options.mode === 'tcp' ? {} : {path: options.path ?? '/', status};
    await this.poll({for: 'port', port, ...http}, options, `port ${port}`);
  }

  async waitForExit(options?: number | Wait): Promise<{exitCode: number}> {
    return this.poll({for: 'exit'}, waitOf(options), 'its end') as Promise<{exitCode: number}>;
  }

  private async poll(query: Record<string, string | number | undefined>, wait: Wait, what: string): Promise<unknown> {
    const limit = new Limit(wait, this.id, what);
    return limit.during(async () => {
      for (;;) {
        const timeoutMs = Math.max(1, Math.min(POLL_MS, limit.left()));
        try {
          return await this.sandbox.transport.call('waitForProcess', {
            path: {id: this.sandbox.id, process: this.id}, query: {...query, timeoutMs}, signal: limit.signal});
        } catch (error) {
          if (error instanceof AtollError && error.code === 'PROCESS_READY_TIMEOUT') {
            if (limit.left() <= 0) throw error;
            limit.connected();
          } else {
            limit.lost(error);
            await limit.pause();
          }
        }
      }
    });
  }
}

export function statusOf(info: ProcessInfo): ProcessStatus {
  if (info.status !== 'exited') return info.status;
  return info.exitCode === 0 ? 'completed' : 'failed';
}

function dateOf(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : new Date(text);
}

function waitOf(options: number | Wait | undefined): Wait {
  return typeof options === 'object' ? options : {timeout: options};
}

/** Pieces as lines: those that have ended, and what there is of the one that has not. */
class Lines {
  private readonly decoder = new TextDecoder();
  private pending = '';

  take(piece: Buffer): string[] {
    const lines = (this.pending + this.decoder.decode(piece, {stream: true})).split('\n');
    this.pending = lines.at(-1)!;
    if (this.pending.length > MOST_PENDING) this.pending = this.pending.slice(-OVERLAP);
    return lines;
  }
}

/** When a wait is over, by its time or by who waits. */
class Limit {
  readonly signal: AbortSignal;
  private readonly control = new AbortController();
  private readonly until: number;
  private readonly timer: NodeJS.Timeout | undefined;
  private readonly onAbort = () => this.control.abort(this.wait.signal?.reason);
  private late = false;
  private lostAt = 0;

  constructor(private readonly wait: Wait, private readonly process: string, private readonly what: string) {
    this.signal = this.control.signal;
    this.until = wait.timeout === undefined ? Infinity : Date.now() + wait.timeout;
    // Atoll's own answer is told when there is one: it comes first.
    if (wait.timeout !== undefined) {
      this.timer = setTimeout(() => { this.late = true; this.control.abort(); }, Math.min(wait.timeout + 100, 0x7fffffff));
    }
    if (wait.signal?.aborted) this.onAbort();
    wait.signal?.addEventListener('abort', this.onAbort);
  }

  /** Does what is waited for; what ends it is told as whoever waits sees it. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.reason(error);
    } finally {
      this.end();
    }
  }

  left(): number { return this.until - Date.now(); }

  connected(): void { this.lostAt = 0; }

  /** Throws what is no lost connection, and one that was lost for long: what was refused would be refused again. */
  lost(error: unknown): void {
    if (this.signal.aborted || (error instanceof AtollError && error.status <= 500)) throw error;
    if (this.lostAt === 0) this.lostAt = Date.now();
    if (Date.now() - this.lostAt > RESUME_MS) throw error;
  }

  async pause(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 100));
    this.signal.throwIfAborted();
  }

  private reason(error: unknown): unknown {
    if (this.wait.signal?.aborted) return this.wait.signal.reason;
    if (!this.late) return error;
    return new AtollError(`waiting for ${this.what} of the process ${this.process} took longer than ${this.wait.timeout} ms`,
                          'PROCESS_READY_TIMEOUT', 408);
  }

  private end(): void {
    clearTimeout(this.timer);
    this.wait.signal?.removeEventListener('abort', this.onAbort);
  }
}
