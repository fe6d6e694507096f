// SPDX-License-Identifier: Apache-2.0

import path from 'node:path';

import {AtollError} from './errors.js';
import {bytesOf, parseSSEStream} from './events.js';
import {Files, now} from './files.js';
import type {Operations} from './operations.js';
import {Process} from './process.js';
import {given, type Transport} from './transport.js';
import type {ExecEvent, ExecOptions, ExecResult, LogEvent, ProcessOptions} from './types.js';

type Body<Name extends keyof Operations> = Exclude<Operations[Name]['body'], undefined>;
export type Env = Record<string, string | undefined>;

const KILL_AFTER_S = 5;
// Of what the client itself asks a shell, whatever limit its commands have.
export const OWN_LIMIT_MS = 60_000;

/** What runs in a sandbox. */
export abstract class Commands extends Files {
  protected env: Record<string, string> = {};

  constructor(transport: Transport, readonly id: string) {
    super(transport, id);
  }

  protected get path() { return {id: this.id}; }

  // Commands

  /** Of what this object starts from now on; undefined takes one away. */
  async setEnvVars(env: Record<string, string | null | undefined>): Promise<void> {
    for (const [name, value] of Object.entries(env)) {
      if (value === undefined || value === null) delete this.env[name];
      else this.env[name] = value;
    }
  }

  private execBody(command: string | readonly string[], options: ExecOptions): Body<'exec'> {
    checkEncoding(options.encoding);
    const {stdin} = options;
    return {
      ...(typeof command === 'string' ? {command} : {argv: [...command]}),
      ...(stdin === undefined ? {} : {stdinBase64: Buffer.from(stdin as string).toString('base64')}),
      // A session has been given its own.
      env: {...(options.sessionId === undefined ? this.env : {}), ...options.env} as Record<string, string>,
      ...(options.killOnDisconnect === undefined ? {} : {killOnDisconnect: options.killOnDisconnect}),
      ...(options.cwd === undefined ? {} : {cwd: options.cwd}),
      ...(options.user === undefined ? {} : {user: options.user}),
      ...(options.timeout === undefined ? {} : {timeoutMs: options.timeout}),
      ...(options.maxOutputBytes === undefined ? {} : {maxOutputBytes: options.maxOutputBytes}),
      ...(options.sessionId === undefined ? {} : {session: options.sessionId}),
    };
  }

  /** A command line for bash, or a program with its arguments. */
  async exec(command: string | readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    try {
      const result = await this.execToEnd(command, options);
      options.onComplete?.(result);
      return result;
    } catch (error) {
      options.onError?.(error as Error);
      throw error;
    }
  }

  private async execToEnd(command: string | readonly string[], options: ExecOptions): Promise<ExecResult> {
    const timestamp = now();
    const decoders = {stdout: new TextDecoder(), stderr: new TextDecoder()};
    const result = {stdout: '', stderr: ''};
    const take = (stream: 'stdout' | 'stderr', text: string) => {
      if (text === '') return;
      result[stream] += text;
      options.onOutput?.(stream, text);
    };
    for await (const event of this.execStream(command, options)) {
      if (event.type === 'stdout' || event.type === 'stderr') {
        take(event.type, decoders[event.type].decode(bytesOf(event), {stream: true}));
      } else if (event.type === 'error') {
        throw new AtollError(event.error, event.code, 0);
      } else if (event.type === 'complete') {
        for (const stream of ['stdout', 'stderr'] as const) take(stream, decoders[stream].decode());
        return {
          success: event.exitCode === 0,
          exitCode: event.exitCode,
          ...(event.signal === undefined ? {} : {signal: event.signal}),
          ...result,
          command: typeof command === 'string' ? command : command.join(' '),
          duration: event.durationMs,
          timedOut: event.timedOut,
          truncated: event.truncated,
          timestamp,
          ...(options.sessionId === undefined ? {} : {sessionId: options.sessionId}),
        };
      }
    }
    throw new AtollError('the command was cut off', 'STREAM_CUT', 0);
  }

  /** Its output as it comes. Leaving the loop ends the command. */
  async *execStream(command: string | readonly string[], options: ExecOptions = {}):
      AsyncGenerator<ExecEvent, void, void> {
    const answer = await this.transport.open('exec', {
      path: this.path, json: this.execBody(command, options), headers: {Accept: 'text/event-stream'},
      signal: options.signal});
    yield* parseSSEStream<ExecEvent>(answer.stream);
  }

  /** Where a session's shell is, what it exports and whose it is. Asked of it as one more command. */
  async shellState(sessionId: string): Promise<{cwd: string; user: string; env: Record<string, string>}> {
    const {stdout, exitCode} = await this.exec(
      `printf '%s\\0' "$PWD" "$(id -u):$(id -g)"; env -0`, {sessionId, timeout: OWN_LIMIT_MS});
    const [cwd, user, ...variables] = stdout.split('\0');
    if (exitCode !== 0 || !cwd || !user) throw new AtollError('the session did not say where it is', 'SESSION_ERROR', 0);
    const pairs = variables.filter((one) => /^[A-Za-z_][A-Za-z0-9_]*=/.test(one) && !one.startsWith('_='));
    const env = Object.fromEntries(pairs.map((one) => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]));
    return {cwd, user, env};
  }

  // Processes

  async startProcess(command: string | readonly string[], options: ProcessOptions = {}): Promise<Process> {
    const {processId, sessionId, timeout, encoding, autoCleanup: _, onStart, onOutput, onExit, onError, ...more} = options;
    try {
      checkEncoding(encoding);
      const shell = sessionId === undefined ? undefined : await this.shellState(sessionId);
      const argv = typeof command === 'string' ? ['bash', '-c', command] : [...command];
      const body = {
        ...(shell === undefined ? {} : {cwd: shell.cwd, user: shell.user}),
        ...given(more),
        ...(shell === undefined || options.cwd === undefined ? {} : {cwd: path.posix.resolve(shell.cwd, options.cwd)}),
        ...(timeout !== undefined ? {argv: ['timeout', `--kill-after=${KILL_AFTER_S}`, `${timeout / 1000}`, ...argv]}
          : typeof command === 'string' ? {command} : {argv}),
        ...(processId === undefined ? {} : {id: processId}),
        env: {...(shell?.env ?? this.env), ...options.env},
      };
      const info = await this.transport.call('startProcess', {path: this.path, json: body as Body<'startProcess'>});
      const process = new Process(this, info, sessionId);
      onStart?.(process);
      if (onOutput || onExit) void this.follow(process, options);
      return process;
    } catch (error) {
      onError?.(error as Error);
      throw error;
    }
  }

  private async follow(process: Process, options: ProcessOptions): Promise<void> {
    const decoders = {stdout: new TextDecoder(), stderr: new TextDecoder()};
    try {
      for await (const event of process.streamLogs()) {
        if (event.type === 'stdout' || event.type === 'stderr') {
          options.onOutput?.(event.type, decoders[event.type].decode(bytesOf(event), {stream: true}));
        } else if (event.type === 'exit') {
          options.onExit?.(event.exitCode);
          return;
        } else if (event.type === 'error') {
          throw new AtollError(event.error, event.code, 0);
        }
      }
      throw new AtollError('the log was cut off', 'STREAM_CUT', 0);
    } catch (error) {
      options.onError?.(error as Error);
    }
  }

  async listProcesses(_sessionId?: string): Promise<Process[]> {
    const {processes} = await this.transport.call('listProcesses', {path: this.path});
    return processes.map((info) => new Process(this, info));
  }

  async getProcess(processId: string, _sessionId?: string): Promise<Process | null> {
    try {
      const info = await this.transport.call('getProcess', {path: {id: this.id, process: processId}});
      return new Process(this, info);
    } catch (error) {
      if (error instanceof AtollError && error.code === 'PROCESS_NOT_FOUND') return null;
      throw error;
    }
  }

  /** Ends it with all that it has started; with a signal, sends that and nothing more. */
  async killProcess(processId: string, signal?: string | number): Promise<void> {
    const path = {id: this.id, process: processId};
    if (signal === undefined) await this.transport.call('stopProcess', {path});
    else await this.transport.call('signalProcess', {path, json: {signal}});
  }

  /** How many there were. */
  async killAllProcesses(_sessionId?: string): Promise<number> {
    const running = (await this.listProcesses()).filter(({status}) => status === 'running');
    await this.transport.call('stopProcesses', {path: this.path});
    return running.length;
  }

  /** Atoll forgets those that have ended by itself: it keeps the last thousand. So 0, as of the SDK. */
  async cleanupCompletedProcesses(_sessionId?: string): Promise<number> { return 0; }

  async getProcessLogs(processId: string): Promise<{stdout: string; stderr: string; processId: string}> {
    const parts = {stdout: [] as Buffer[], stderr: [] as Buffer[]};
    for (let offset = 0, end = 0; ;) {
      const logs = await this.transport.call('getProcessLogs', {path: {id: this.id, process: processId}, query: {offset, limit: 16 << 20}});
      for (const chunk of logs.chunks) parts[chunk.stream].push(bytesOf(chunk));
      // Not what is written while we read: it might never end.
      end ||= logs.process.logEnd;
      offset = logs.nextOffset;
      if (logs.chunks.length === 0 || offset >= end) break;
    }
    return {stdout: Buffer.concat(parts.stdout).toString(), stderr: Buffer.concat(parts.stderr).toString(), processId};
  }

  /** From an offset on, until it has ended. */
  async *streamProcessLogs(processId: string, options: {signal?: AbortSignal; offset?: number} = {}):
      AsyncGenerator<LogEvent, void, void> {
    const answer = await this.transport.open('getProcessLogs', {
      path: {id: this.id, process: processId}, query: {follow: true, offset: options.offset}, signal: options.signal,
      headers: {Accept: 'text/event-stream'}});
    yield* parseSSEStream<LogEvent>(answer.stream);
  }
}

function checkEncoding(encoding: string | undefined): void {
  if (encoding === undefined || /^utf-?8$/i.test(encoding)) return;
  throw new AtollError(`output is UTF-8, not ${encoding}; execStream has what is no text as base64`, 'UNSUPPORTED_OPTION', 400);
}
