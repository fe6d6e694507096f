// SPDX-License-Identifier: Apache-2.0

import type {IncomingHttpHeaders} from 'node:http';
import type {Readable} from 'node:stream';

import {AtollError} from './errors.js';
import {bytesOf, parseSSEStream} from './events.js';
import {Git} from './git.js';
import type {Operations} from './operations.js';
import {Process} from './process.js';
import {Session} from './session.js';
import {Terminal, type TerminalOptions} from './terminal.js';
import {readBytes, type Query, type Request, type Transport} from './transport.js';
import type {
  CodeContext, CodeEvent, CodeExecution, CreatedSandbox, DirectoryBackup, ExecEvent, ExecOptions, ExecResult, ExposedPort, FileInfo,
  FileWatchEvent, GitCheckoutOptions, GitCheckoutResult, LogEvent, ProcessOptions, ReadFileResult, RunCodeOptions,
  SandboxInfo, WatchOptions,
} from './types.js';
import {watchFiles} from './watch.js';
import {WebSocketClient} from './websocket.js';

type Body<Name extends keyof Operations> = Exclude<Operations[Name]['body'], undefined>;

export interface MountBucketOptions {
  endpoint?: string;
  region?: string;
  provider?: string;
  prefix?: string;
  readOnly?: boolean;
  credentials?: {accessKeyId: string; secretAccessKey: string};
  /** The name of a credential that the daemon has. */
  secret?: string;
}

/** One sandbox. Nothing is asked of Atoll before a method is called; its first use wakes or starts it. */
export class Sandbox {
  readonly git: Git;
  private env: Record<string, string> = {};

  constructor(readonly transport: Transport, readonly id: string) {
    this.git = new Git(this);
  }

  private get path() { return {id: this.id}; }

  // Its life

  info(): Promise<SandboxInfo> { return this.transport.call('getSandbox', {path: this.path}); }

  async getState(): Promise<string> { return (await this.info()).state; }

  /** Makes it if there is none, starts it if it is stopped. */
  create(options: Body<'createSandbox'> = {}): Promise<CreatedSandbox> {
    return this.transport.call('createSandbox', {path: this.path, json: options});
  }

  /** Ends it and removes its files; its backups stay. */
  async destroy(): Promise<void> { await this.transport.call('deleteSandbox', {path: this.path}); }

  async stop(options: Body<'stopSandbox'> = {}): Promise<void> {
    await this.transport.call('stopSandbox', {path: this.path, json: options});
  }

  async sleep(options: Body<'sleepSandbox'> = {}): Promise<void> {
    await this.transport.call('sleepSandbox', {path: this.path, json: options});
  }

  async wake(): Promise<void> { await this.transport.call('wakeSandbox', {path: this.path}); }

  async setSleepAfter(sleepAfter: string | number): Promise<void> {
    await this.transport.call('updateSandbox', {path: this.path, json: {sleepAfter} as Body<'updateSandbox'>});
  }

  async setKeepAlive(keepAlive: boolean): Promise<void> {
    await this.transport.call('updateSandbox', {path: this.path, json: {keepAlive}});
  }

  /** New sandboxes with its files. */
  async fork(options: Body<'forkSandbox'> = {}): Promise<Sandbox[]> {
    const made = await this.transport.call('forkSandbox', {path: this.path, json: options});
    return made.sandboxes.map(({id}) => new Sandbox(this.transport, id));
  }

  // Commands

  /** Of what this object starts from now on; undefined takes one away. */
  setEnvVars(env: Record<string, string | null | undefined>): void {
    for (const [name, value] of Object.entries(env)) {
      if (value === undefined || value === null) delete this.env[name];
      else this.env[name] = value;
    }
  }

  private execBody(command: string | readonly string[], options: ExecOptions): Body<'exec'> {
    const {stdin} = options;
    return {
      ...(typeof command === 'string' ? {command} : {argv: [...command]}),
      ...(stdin === undefined ? {} : {stdinBase64: Buffer.from(stdin as string).toString('base64')}),
      env: {...this.env, ...options.env},
      ...(options.cwd === undefined ? {} : {cwd: options.cwd}),
      ...(options.user === undefined ? {} : {user: options.user}),
      ...(options.timeout === undefined ? {} : {timeoutMs: options.timeout}),
      ...(options.maxOutputBytes === undefined ? {} : {maxOutputBytes: options.maxOutputBytes}),
      ...(options.sessionId === undefined ? {} : {session: options.sessionId}),
    };
  }

  /** A command line for bash, or a program with its arguments. */
  async exec(command: string | readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
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

  async createSession(options: {id?: string; cwd?: string; env?: Record<string, string>; user?: string} = {}):
      Promise<Session> {
    const made = await this.transport.call('openSession', {
      path: this.path, json: {...options, env: {...this.env, ...options.env}}});
    return new Session(this, made.id);
  }

  /** One that is there; nothing is asked. */
  getSession(sessionId: string): Session { return new Session(this, sessionId); }

  async deleteSession(sessionId: string): Promise<void> {
    await this.transport.call('closeSession', {path: {id: this.id, session: sessionId}});
  }

  // Code

  /** Where what code defines lasts until it is deleted or the sandbox stops. */
  createCodeContext(options: {language?: CodeContext['language']; cwd?: string; env?: Record<string, string>} = {}):
      Promise<CodeContext> {
    return this.transport.call('createContext', {path: this.path, json: {...options, env: {...this.env, ...options.env}}});
  }

  async listCodeContexts(): Promise<CodeContext[]> {
    return (await this.transport.call('listContexts', {path: this.path})).contexts;
  }

  async deleteCodeContext(contextId: string): Promise<void> {
    await this.transport.call('deleteContext', {path: {id: this.id, context: contextId}});
  }

  private codeBody(code: string, options: RunCodeOptions): Body<'runCode'> {
    const {context, language, env, timeout, maxOutputBytes} = options;
    return {
      code,
      ...(context === undefined ? {} : {context: typeof context === 'string' ? context : context.id}),
      ...(language === undefined ? {} : {language}),
      ...(env === undefined ? {} : {env}),
      ...(timeout === undefined ? {} : {timeoutMs: timeout}),
      ...(maxOutputBytes === undefined ? {} : {maxOutputBytes}),
    };
  }

  /** Runs code to its end. That it has failed is in `error`. */
  runCode(code: string, options: RunCodeOptions = {}): Promise<CodeExecution> {
    return this.transport.call('runCode', {path: this.path, json: this.codeBody(code, options), signal: options.signal});
  }

  /** What it says and shows, as it comes. Leaving the loop interrupts it. */
  async *runCodeStream(code: string, options: RunCodeOptions = {}): AsyncGenerator<CodeEvent, void, void> {
    const answer = await this.transport.open('runCode', {
      path: this.path, json: this.codeBody(code, options), headers: {Accept: 'text/event-stream'}, signal: options.signal});
    yield* parseSSEStream<CodeEvent>(answer.stream);
  }

  // Processes

  async startProcess(command: string | readonly string[], options: ProcessOptions = {}): Promise<Process> {
    const {processId, env, ...more} = options;
    const body = {
      ...more,
      ...(typeof command === 'string' ? {command} : {argv: [...command]}),
      ...(processId === undefined ? {} : {id: processId}),
      env: {...this.env, ...env},
    };
    const info = await this.transport.call('startProcess', {path: this.path, json: body as Body<'startProcess'>});
    return new Process(this, info);
  }

  async listProcesses(): Promise<Process[]> {
    const {processes} = await this.transport.call('listProcesses', {path: this.path});
    return processes.map((info) => new Process(this, info));
  }

  async getProcess(processId: string): Promise<Process | null> {
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

  async killAllProcesses(): Promise<void> { await this.transport.call('stopProcesses', {path: this.path}); }

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

  // Files. A path is absolute, or relative to /workspace.

  private filePath(path: string) {
    const absolute = path.startsWith('/') ? path : `/workspace/${path}`;
    return {id: this.id, path: absolute.slice(1)};
  }

  /** Text; as base64 when it is none or that is asked for. */
  async readFile(path: string, options: {encoding?: 'utf-8' | 'base64'} = {}): Promise<ReadFileResult> {
    const bytes = await readBytes(await this.readFileStream(path));
    let encoding = options.encoding ?? 'utf-8';
    let content = '';
    try {
      if (encoding === 'utf-8') content = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(bytes);
    } catch {
      encoding = 'base64';
    }
    if (encoding === 'base64') content = bytes.toString('base64');
    return {success: true, path, content, encoding, size: bytes.length};
  }

  async readFileStream(path: string): Promise<Readable> {
    return (await this.transport.open('readFile', {path: this.filePath(path)})).stream;
  }

  /** Replaces it at once, or makes it. */
  async writeFile(path: string, content: string | Uint8Array | Readable,
                  options: {encoding?: 'utf-8' | 'base64'; mode?: string; parents?: boolean; append?: boolean} = {}):
      Promise<void> {
    const {encoding, ...query} = options;
    const body = encoding === 'base64' && typeof content === 'string' ? Buffer.from(content, 'base64') : content;
    await this.transport.call('writeFile', {path: this.filePath(path), query, body});
  }

  async mkdir(path: string, options: {recursive?: boolean} = {}): Promise<void> {
    await this.transport.call('makeDirectory', {path: this.path, json: {path, parents: options.recursive ?? false}});
  }

  async deleteFile(path: string, options: {recursive?: boolean} = {}): Promise<void> {
    await this.transport.call('removeFile', {path: this.path, json: {path, recursive: options.recursive ?? false}});
  }

  async renameFile(from: string, to: string): Promise<void> {
    await this.transport.call('moveFile', {path: this.path, json: {from, to}});
  }

  moveFile(from: string, to: string): Promise<void> { return this.renameFile(from, to); }

  async listFiles(path: string, options: {recursive?: boolean; includeHidden?: boolean} = {}): Promise<FileInfo[]> {
    const all: FileInfo[] = [];
    for (let cursor: string | undefined; ;) {
      const page = await this.transport.call('listFiles', {
        path: this.path,
        json: {path, recursive: options.recursive ?? false, includeHidden: options.includeHidden ?? false,
               ...(cursor === undefined ? {} : {cursor})},
      });
      all.push(...page.files);
      if (page.cursor === undefined) return all;
      cursor = page.cursor;
    }
  }

  async exists(path: string): Promise<boolean> {
    return (await this.transport.call('fileExists', {path: this.path, json: {path}})).exists;
  }

  /** What changes, as it happens. Leaving the loop ends the watch. */
  watch(path: string, options: WatchOptions = {}): AsyncGenerator<FileWatchEvent, void, void> {
    return watchFiles(this.transport, this.id, path, options);
  }

  checkChanges(path: string, options: {since?: string; recursive?: boolean; exclude?: string[]} = {}):
      Promise<Operations['checkChanges']['answer']> {
    return this.transport.call('checkChanges', {path: this.path, json: {path, ...options}});
  }

  // Git, see `git` for the rest

  async gitCheckout(repoUrl: string, options: GitCheckoutOptions = {}): Promise<GitCheckoutResult> {
    const {targetDir, onProgress, signal, ...more} = options;
    const result = await this.git.clone(
      {repo: repoUrl, ...more, ...(targetDir === undefined ? {} : {dir: targetDir})}, {onProgress, signal});
    return {success: true, repoUrl: result.repo, branch: result.branch, targetDir: result.dir, commit: result.commit};
  }

  // Backups

  async createBackup(options: {dir: string; name?: string; ttl?: number | string; excludes?: string[]}):
      Promise<DirectoryBackup> {
    const {excludes, ...more} = options;
    const made = await this.transport.call('createSnapshot', {
      path: this.path, json: {...more, ...(excludes === undefined ? {} : {exclude: excludes})}});
    return {id: made.snapshotId, dir: made.dir};
  }

  async restoreBackup(backup: {id: string; dir?: string}): Promise<{success: true; id: string; dir: string}> {
    const done = await this.transport.call('restoreSnapshot', {
      path: {id: this.id, snapshotId: backup.id}, json: backup.dir === undefined ? {} : {dir: backup.dir}});
    return {success: true, id: done.snapshotId, dir: done.dir};
  }

  // Buckets

  /** Makes a bucket of an S3 store a directory. The credential stays outside of the sandbox. */
  async mountBucket(bucket: string, mountPath: string, options: MountBucketOptions = {}): Promise<void> {
    await this.transport.call('mountBucket', {path: this.path, json: {...options, bucket, path: mountPath}});
  }

  async unmountBucket(mountPath: string): Promise<void> {
    await this.transport.call('unmountBucket', {path: this.path, query: {path: mountPath}});
  }

  // Ports

  exposePort(port: number, options: {name?: string; token?: string; ttl?: number | string; signed?: boolean} = {}):
      Promise<ExposedPort> {
    return this.transport.call('exposePort', {path: {id: this.id, port: String(port)}, json: options});
  }

  async unexposePort(port: number): Promise<void> {
    await this.transport.call('unexposePort', {path: {id: this.id, port: String(port)}});
  }

  async getExposedPorts(): Promise<ExposedPort[]> {
    return (await this.transport.call('listExposedPorts', {path: this.path})).ports;
  }

  async isPortExposed(port: number): Promise<boolean> {
    return (await this.getExposedPorts()).some((one) => one.port === port);
  }

  /** A request to what listens on a port inside. */
  async containerFetch(path: string, port: number, request: Omit<Request, 'path' | 'label'> = {}):
      Promise<{status: number; headers: IncomingHttpHeaders; bytes(): Promise<Buffer>; text(): Promise<string>; stream: Readable}> {
    const {status, headers, stream} = await this.transport.send({...request, path, label: `${port}-${this.id}`});
    return {status, headers, stream, bytes: () => readBytes(stream), text: async () => (await readBytes(stream)).toString()};
  }

  // A terminal

  async terminal(options: TerminalOptions = {}): Promise<Terminal> {
    const parameters = new URLSearchParams();
    const {env, ...plain} = options;
    for (const [name, value] of Object.entries(plain as Query)) {
      if (value !== undefined) parameters.set(name, String(value));
    }
    if (env) parameters.set('env', JSON.stringify(env));
    const path = `/v1/sandboxes/${encodeURIComponent(this.id)}/pty?${parameters}`;
    return new Terminal(await WebSocketClient.connect(this.transport, path));
  }
}
