// SPDX-License-Identifier: Apache-2.0

import {Readable} from 'node:stream';
import type {ReadableStream} from 'node:stream/web';

import {leftOut, type BackupOptions} from './backup.js';
import {createContext, listContexts, runCode, runCodeStream} from './code.js';
import {Commands, type Env} from './commands.js';
import {AtollError} from './errors.js';
import {now} from './files.js';
import {Git} from './git.js';
import type {Operations} from './operations.js';
import {Session} from './session.js';
import {Terminal, type TerminalOptions} from './terminal.js';
import {search, type Query, type Transport} from './transport.js';
import type {
  CodeContext, CodeEvent, CodeExecution, CreateContextOptions, CreatedSandbox, DirectoryBackup, ExposedPort, GitCheckoutOptions,
  GitCheckoutResult, RunCodeOptions, SandboxInfo, SandboxState, SessionOptions,
} from './types.js';
import {WebSocketClient} from './websocket.js';

type Body<Name extends keyof Operations> = Exclude<Operations[Name]['body'], undefined>;

export interface MountBucketOptions {
  endpoint?: string;
  region?: string;
  provider?: string;
  /** With or without a slash before it. */
  prefix?: string;
  readOnly?: boolean;
  credentials?: {accessKeyId: string; secretAccessKey: string};
  /** The name of a credential that the daemon has. */
  secret?: string;
  /** Credentials stay outside of the sandbox, whatever this says. */
  credentialProxy?: boolean;
}

// Of the 64 KiB that the head of a request may have: headers and what stands between need some, too.
const MOST_TERMINAL_URL = 32 << 10;

const STATUS: Record<SandboxInfo['state'], SandboxState['status']> = {
  creating: 'running', restoring: 'running', running: 'healthy', paused: 'healthy', stopping: 'stopping', deleting: 'stopping',
  stopped: 'stopped', failed: 'stopped'};

/** One sandbox. Nothing is asked of Atoll before a method is called; its first use wakes or starts it. */
export class Sandbox extends Commands {
  readonly git: Git;

  constructor(transport: Transport, override readonly id: string) {
    super(transport, id);
    this.git = new Git(this);
  }

  // Its life

  info(): Promise<SandboxInfo> { return this.transport.call('getSandbox', {path: this.path}); }

  /** In the SDK's words; `info` has Atoll's. */
  async getState(): Promise<SandboxState> {
    const {state, createdAt} = await this.info();
    const {events} = await this.transport.call('listEvents', {path: this.path});
    const last = events.filter((event) => event.state !== undefined).at(-1);
    return {status: STATUS[state], lastChange: Date.parse(last?.at ?? createdAt)};
  }

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

  // Sessions

  async createSession(options: SessionOptions = {}): Promise<Session> {
    const {commandTimeoutMs, name: _, isolation: __, ...more} = options;
    const made = await this.transport.call('openSession', {
      path: this.path, json: {
        ...more, env: {...this.env, ...options.env} as Record<string, string>,
        ...(commandTimeoutMs === undefined ? {} : {timeoutMs: commandTimeoutMs})}});
    return new Session(this, made.id);
  }

  /** One that is there; nothing is asked. */
  getSession(sessionId: string): Session { return new Session(this, sessionId); }

  async deleteSession(sessionId: string): Promise<{success: true; sessionId: string; timestamp: string}> {
    await this.transport.call('closeSession', {path: {id: this.id, session: sessionId}});
    return {success: true, sessionId, timestamp: now()};
  }

  // Code

  /** Where what code defines lasts until it is deleted or the sandbox stops. */
  createCodeContext(options: CreateContextOptions = {}): Promise<CodeContext> {
    return createContext(this.transport, this.id, this.env, options);
  }

  listCodeContexts(): Promise<CodeContext[]> { return listContexts(this.transport, this.id); }

  async deleteCodeContext(contextId: string): Promise<void> {
    await this.transport.call('deleteContext', {path: {id: this.id, context: contextId}});
  }

  /** Runs code to its end. That it has failed is in `error`. */
  runCode(code: string, options: RunCodeOptions = {}): Promise<CodeExecution> {
    return runCode(this.transport, this.id, this.env, code, options);
  }

  /** What it says and shows, as it comes. Leaving the loop interrupts it. */
  runCodeStream(code: string, options: RunCodeOptions = {}): AsyncGenerator<CodeEvent, void, void> {
    return runCodeStream(this.transport, this.id, this.env, code, options);
  }

  // Git, see `git` for the rest

  async gitCheckout(repoUrl: string, options: GitCheckoutOptions = {}): Promise<GitCheckoutResult> {
    const {targetDir, onProgress, signal, cloneTimeoutMs, sessionId: _, ...more} = options;
    const {repo, branch, dir, commit} = await this.git.clone(
      {repo: repoUrl, ...more, ...(targetDir === undefined ? {} : {dir: targetDir}),
        ...(cloneTimeoutMs === undefined ? {} : {timeoutMs: cloneTimeoutMs})}, {onProgress, signal});
    return {success: true, repoUrl: repo, branch, targetDir: dir, commit, timestamp: now()};
  }

  // Backups

  async createBackup(options: BackupOptions): Promise<DirectoryBackup> {
    const {dir, name, ttl} = options;
    const exclude = await leftOut(options, {
      named: async (pattern) => (await this.find(dir, {recursive: true, includeHidden: true, name: pattern})).map(({path}) => path),
      ignored: () => this.ignoredBelow(dir),
    });
    const made = await this.transport.call('createSnapshot', {path: this.path, json: {
      dir, ...(name === undefined ? {} : {name}), ...(ttl === undefined ? {} : {ttl}), ...(exclude.length === 0 ? {} : {exclude})}});
    return {id: made.snapshotId, dir: made.dir};
  }

  /** What git would not keep; nothing where there is no git or no repository. */
  private async ignoredBelow(dir: string): Promise<string[]> {
    try {
      const {exitCode, stdout} = await this.exec(
        ['git', '-C', dir, '-c', 'core.fsmonitor=false', 'ls-files', '--others', '--ignored', '--exclude-standard', '--directory',
         '-z', '--', '.'], {cwd: '/'});
      if (exitCode !== 0) return [];
      return stdout.split('\0').filter((one) => one !== '').map((one) => `${dir.replace(/\/+$/, '')}/${one.replace(/\/+$/, '')}`);
    } catch (error) {
      if (error instanceof AtollError && error.code === 'COMMAND_NOT_FOUND') return [];
      throw error;
    }
  }

  async restoreBackup(backup: {id: string; dir?: string}): Promise<{success: true; id: string; dir: string}> {
    const done = await this.transport.call('restoreSnapshot', {
      path: {id: this.id, snapshotId: backup.id}, json: backup.dir === undefined ? {} : {dir: backup.dir}});
    return {success: true, id: done.snapshotId, dir: done.dir};
  }

  // Buckets

  /** Makes a bucket of an S3 store a directory. The credential stays outside of the sandbox. */
  async mountBucket(bucket: string, mountPath: string, options: MountBucketOptions = {}): Promise<void> {
    const {credentialProxy: _, ...more} = options;
    await this.transport.call('mountBucket', {path: this.path, json: {...more, bucket, path: mountPath}});
  }

  async unmountBucket(mountPath: string): Promise<void> {
    await this.transport.call('unmountBucket', {path: this.path, query: {path: mountPath}});
  }

  // Ports

  /** `hostname` is for programs that were written for the SDK: a preview is below Atoll's own domain. */
  async exposePort(
    port: number, options: {name?: string; token?: string; ttl?: number | string; signed?: boolean; hostname?: string} = {}):
      Promise<ExposedPort> {
    const {hostname: _, ...more} = options;
    return this.transport.call('exposePort', {path: {id: this.id, port: String(port)}, json: more});
  }

  async unexposePort(port: number): Promise<void> {
    await this.transport.call('unexposePort', {path: {id: this.id, port: String(port)}});
  }

  async getExposedPorts(_hostname?: string): Promise<(ExposedPort & {status: 'active'})[]> {
    const {ports} = await this.transport.call('listExposedPorts', {path: this.path});
    return ports.map((one) => ({...one, status: 'active'}));
  }

  async isPortExposed(port: number): Promise<boolean> {
    return (await this.getExposedPorts()).some((one) => one.port === port);
  }

  async validatePortToken(port: number, token: string): Promise<boolean> {
    return (await this.getExposedPorts()).some((one) => one.port === port && one.token === token);
  }

  /** A request to what listens on a port inside, as `fetch` would make it; redirects are answers. */
  async containerFetch(target: Request | string | URL, portOrInit?: number | RequestInit, port?: number): Promise<Response> {
    const init = typeof portOrInit === 'object' ? portOrInit : {};
    const request = new Request(typeof target === 'string' ? new URL(target, 'http://localhost') : target,
                                {...(init.body ? {duplex: 'half'} : {}), ...init});
    const number = (typeof portOrInit === 'number' ? portOrInit : port) ?? 3000;
    const {method, signal} = request;
    const answer = await this.transport.send({
      method, path: pathOf(request.url), label: `${number}-${this.id}`, headers: Object.fromEntries(request.headers), signal,
      body: request.body ? Readable.fromWeb(request.body as ReadableStream) : undefined});
    const headers = new Headers();
    for (const [name, value] of Object.entries(answer.headers)) {
      for (const one of [value ?? []].flat()) headers.append(name, one);
    }
    const empty = method === 'HEAD' || [204, 205, 304].includes(answer.status);
    if (empty) answer.stream.resume();
    return new Response(empty ? null : Readable.toWeb(answer.stream) as ConstructorParameters<typeof Response>[0], {status: answer.status, headers});
  }

  /** A WebSocket at a port inside: of a `Request`, its path and its headers are passed on. */
  async wsConnect(target: Request | string | URL, port: number): Promise<WebSocketClient> {
    const plain = typeof target === 'string' || target instanceof URL;
    const url = plain ? new URL(target, 'http://localhost').href : target.url;
    return WebSocketClient.connect(this.transport, pathOf(url), {
      label: `${port}-${this.id}`, headers: plain ? {} : Object.fromEntries(target.headers)});
  }

  // A terminal

  async terminal(options: TerminalOptions = {}): Promise<Terminal> {
    const {env, ...plain} = options;
    const all: Env = {...this.env, ...env};
    const query: Query = {...plain, ...(Object.keys(all).length > 0 ? {env: JSON.stringify(all)} : {})};
    const path = `/v1/sandboxes/${encodeURIComponent(this.id)}/pty${search(query)}`;
    if (path.length > MOST_TERMINAL_URL) {
      throw new AtollError('the environment of the terminal is too large: it goes in a URL, of at most 32 KiB',
                           'VALIDATION_FAILED', 400);
    }
    return new Terminal(await WebSocketClient.connect(this.transport, path));
  }
}

function pathOf(url: string): string {
  const {pathname, search} = new URL(url);
  return pathname + search;
}
