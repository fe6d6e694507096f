// SPDX-License-Identifier: Apache-2.0
// What Atoll takes and answers, by the names that the SDK has for it.

import type {ReadableStream} from 'node:stream/web';

import type {Schemas} from './operations.js';
import type {Process} from './process.js';

export type SandboxInfo = Schemas['Sandbox'];
export type CreatedSandbox = Schemas['CreatedSandbox'];

export interface ExecOptions {
  /** Milliseconds; then exitCode is 124. */
  timeout?: number | undefined;
  env?: Record<string, string | undefined> | undefined;
  cwd?: string | undefined;
  stdin?: string | Uint8Array | undefined;
  /** "name", "uid", "uid:gid" or "name:group"; root when it is not there. */
  user?: string | undefined;
  maxOutputBytes?: number | undefined;
  /** Ends the command, too. */
  signal?: AbortSignal | undefined;
  /** Without it a command ends with its client; false lets it go on. */
  killOnDisconnect?: boolean | undefined;
  onOutput?: ((stream: 'stdout' | 'stderr', data: string) => void) | undefined;
  onComplete?: ((result: ExecResult) => void) | undefined;
  onError?: ((error: Error) => void) | undefined;
  sessionId?: string | undefined;
  /** Output is UTF-8; there is no other. */
  encoding?: 'utf8' | 'utf-8' | undefined;
  /** For programs that were written for the SDK; they change nothing here. */
  stream?: boolean | undefined;
  bufferSize?: number | undefined;
  origin?: 'user' | 'internal' | undefined;
}

export interface ExecResult {
  success: boolean;
  exitCode: number;
  signal?: string;
  stdout: string;
  stderr: string;
  command: string;
  /** Milliseconds. */
  duration: number;
  timedOut: boolean;
  truncated: boolean;
  /** When it began. */
  timestamp: string;
  sessionId?: string;
}

export type ExecEvent = Schemas['ExecEvent'];

export interface ProcessOptions {
  processId?: string | undefined;
  env?: Record<string, string | undefined> | undefined;
  cwd?: string | undefined;
  user?: string | undefined;
  /** It begins where this session is, with what that exports, as its user. */
  sessionId?: string | undefined;
  /** Milliseconds; then it is ended, with exit code 124. The command is shown behind `timeout`. */
  timeout?: number | undefined;
  restart?: 'never' | 'on-failure' | 'always' | undefined;
  /** Started again whenever the sandbox is, until it is killed. */
  service?: boolean | undefined;
  /** Of a service: while it runs the sandbox neither sleeps nor stops by itself. */
  keepAwake?: boolean | undefined;
  onStart?: ((process: Process) => void) | undefined;
  onOutput?: ((stream: 'stdout' | 'stderr', data: string) => void) | undefined;
  onExit?: ((code: number | null) => void) | undefined;
  onError?: ((error: Error) => void) | undefined;
  /** Output is UTF-8; there is no other. */
  encoding?: 'utf8' | 'utf-8' | undefined;
  /** Atoll keeps the last thousand that have ended, whatever this says. */
  autoCleanup?: boolean | undefined;
}

export interface SessionOptions {
  id?: string | undefined;
  /** Where it begins; /workspace when it is not there. */
  cwd?: string | undefined;
  env?: Record<string, string | undefined> | undefined;
  user?: string | undefined;
  /** Milliseconds, of commands that have no time of their own. */
  commandTimeoutMs?: number | undefined;
  /** For programs that were written for the SDK; they change nothing here. */
  name?: string | undefined;
  isolation?: boolean | undefined;
}

export type ProcessInfo = Schemas['Process'];
export type ProcessStatus = 'running' | 'completed' | 'failed' | 'killed' | 'error';
export type LogEvent = Schemas['LogEvent'];
export type File = Schemas['File'];
export type Changes = Schemas['Changes'];

export interface SandboxState {
  /** "healthy" also while it sleeps; `info()` has Atoll's own word. */
  status: 'running' | 'healthy' | 'stopping' | 'stopped';
  /** Milliseconds since 1970. */
  lastChange: number;
}

export interface FileInfo {
  name: string;
  absolutePath: string;
  relativePath: string;
  type: 'file' | 'directory' | 'symlink' | 'other';
  size: number;
  modifiedAt: string;
  /** "rwxr-xr-x" */
  mode: string;
  /** Of its owner. */
  permissions: {readable: boolean; writable: boolean; executable: boolean};
  uid: number;
  gid: number;
  /** Of a symlink. */
  target?: string;
}

export interface ReadFileResult {
  success: true;
  path: string;
  content: string;
  encoding: 'utf-8' | 'base64';
  isBinary: boolean;
  mimeType: string;
  size: number;
  timestamp: string;
}

export interface ReadFileStreamResult {
  success: true;
  path: string;
  content: ReadableStream<Uint8Array>;
  mimeType: string;
  size: number;
  timestamp: string;
}

export type FileWatchEvent = Schemas['WatchEvent'];

export interface WatchOptions {
  recursive?: boolean | undefined;
  include?: string[] | undefined;
  exclude?: string[] | undefined;
  signal?: AbortSignal | undefined;
  /** For programs that were written for the SDK; `Session` has a `watch` of its own. */
  sessionId?: string | undefined;
  /** Goes on where it was when its connection is lost, as long as Atoll keeps it (a minute); true. */
  resume?: boolean | undefined;
  /** Behind this one of an earlier watch. */
  lastEventId?: string | undefined;
}

export interface GitCheckoutOptions {
  branch?: string | undefined;
  targetDir?: string | undefined;
  depth?: number | undefined;
  filter?: string | undefined;
  sparse?: string[] | undefined;
  username?: string | undefined;
  password?: string | undefined;
  sshKey?: string | undefined;
  /** As whom; root otherwise. */
  user?: string | undefined;
  /** Milliseconds; then GIT_NETWORK_ERROR. */
  cloneTimeoutMs?: number | undefined;
  /** For programs that were written for the SDK; a clone is in no session. */
  sessionId?: string | undefined;
  onProgress?: ((progress: {phase: string; done: number; total: number}) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface GitCheckoutResult {
  success: true;
  repoUrl: string;
  branch: string;
  targetDir: string;
  commit: string;
  timestamp: string;
}

export type GitHead = Schemas['GitHead'];
export type GitStatus = Schemas['GitStatus'];
export type GitCommit = Schemas['GitCommit'];
export type GitDiff = Schemas['GitDiff'];
export type GitBranch = Schemas['GitBranch'];

export interface DirectoryBackup {
  readonly id: string;
  readonly dir: string;
  readonly localBucket?: boolean;
}

export type ExposedPort = Schemas['ExposedPort'];

export interface CodeContext extends Omit<Schemas['CodeContext'], 'createdAt' | 'lastUsed'> {
  createdAt: Date;
  lastUsed: Date;
}

export interface CreateContextOptions {
  language?: CodeContext['language'] | undefined;
  cwd?: string | undefined;
  env?: Record<string, string | undefined> | undefined;
  /** The SDK's name of `env`. */
  envVars?: Record<string, string | undefined> | undefined;
  /** For programs that were written for the SDK: making one has no limit of its own here. */
  timeout?: number | undefined;
}

/** What code has shown: whichever forms the value has; png, jpeg and pdf are base64. */
export type CodeResult = Schemas['CodeResult'];
export type CodeError = Schemas['CodeError'];

export interface RunCodeOptions {
  /** One that was made before, or its id; the language's own when it is not there. */
  context?: CodeContext | string | undefined;
  language?: 'python' | 'javascript' | 'typescript' | undefined;
  /** Of this run alone. */
  env?: Record<string, string | undefined> | undefined;
  /** The SDK's name of `env`. */
  envVars?: Record<string, string | undefined> | undefined;
  /** Milliseconds; then the code is interrupted. */
  timeout?: number | undefined;
  maxOutputBytes?: number | undefined;
  /** Interrupts the code, too. */
  signal?: AbortSignal | undefined;
  onStdout?: ((output: OutputMessage) => void | Promise<void>) | undefined;
  onStderr?: ((output: OutputMessage) => void | Promise<void>) | undefined;
  onResult?: ((result: CodeResult) => void | Promise<void>) | undefined;
  onError?: ((error: CodeError) => void | Promise<void>) | undefined;
}

export interface OutputMessage {
  text: string;
  /** Milliseconds since 1970. */
  timestamp: number;
}

export type CodeExecution = Schemas['CodeExecution'] & {code: string};
export type CodeEvent = Schemas['CodeEvent'];
