// SPDX-License-Identifier: Apache-2.0
// What Atoll takes and answers, by the names that the SDK has for it.

import type {Schemas} from './operations.js';

export type SandboxInfo = Schemas['Sandbox'];
export type CreatedSandbox = Schemas['CreatedSandbox'];

export interface ExecOptions {
  /** Milliseconds; then exitCode is 124. */
  timeout?: number | undefined;
  env?: Record<string, string> | undefined;
  cwd?: string | undefined;
  stdin?: string | Uint8Array | undefined;
  /** "name", "uid", "uid:gid" or "name:group"; root when it is not there. */
  user?: string | undefined;
  maxOutputBytes?: number | undefined;
  /** Ends the command, too. */
  signal?: AbortSignal | undefined;
  onOutput?: ((stream: 'stdout' | 'stderr', data: string) => void) | undefined;
  sessionId?: string | undefined;
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
}

export type ExecEvent = Schemas['ExecEvent'];

export interface ProcessOptions {
  processId?: string | undefined;
  env?: Record<string, string> | undefined;
  cwd?: string | undefined;
  user?: string | undefined;
  restart?: 'never' | 'on-failure' | 'always' | undefined;
  /** Started again whenever the sandbox is, until it is killed. */
  service?: boolean | undefined;
  /** Of a service: while it runs the sandbox neither sleeps nor stops by itself. */
  keepAwake?: boolean | undefined;
}

export type ProcessInfo = Schemas['Process'];
export type LogEvent = Schemas['LogEvent'];
export type FileInfo = Schemas['File'];

export interface ReadFileResult {
  success: true;
  path: string;
  content: string;
  encoding: 'utf-8' | 'base64';
  size: number;
}

export type FileWatchEvent = Schemas['WatchEvent'];

export interface WatchOptions {
  recursive?: boolean | undefined;
  include?: string[] | undefined;
  exclude?: string[] | undefined;
  signal?: AbortSignal | undefined;
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
  onProgress?: ((progress: {phase: string; done: number; total: number}) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface GitCheckoutResult {
  success: true;
  repoUrl: string;
  branch: string;
  targetDir: string;
  commit: string;
}

export type GitHead = Schemas['GitHead'];
export type GitStatus = Schemas['GitStatus'];
export type GitCommit = Schemas['GitCommit'];
export type GitDiff = Schemas['GitDiff'];
export type GitBranch = Schemas['GitBranch'];

export interface DirectoryBackup {
  id: string;
  dir: string;
}

export type ExposedPort = Schemas['ExposedPort'];

export type CodeContext = Schemas['CodeContext'];
/** What code has shown: whichever forms the value has; png, jpeg and pdf are base64. */
export type CodeResult = Schemas['CodeResult'];
export type CodeError = Schemas['CodeError'];

export interface RunCodeOptions {
  /** One that was made before, or its id; the language's own when it is not there. */
  context?: CodeContext | string | undefined;
  language?: 'python' | 'javascript' | 'typescript' | undefined;
  /** Of this run alone. */
  env?: Record<string, string> | undefined;
  /** Milliseconds; then the code is interrupted. */
  timeout?: number | undefined;
  maxOutputBytes?: number | undefined;
  /** Interrupts the code, too. */
  signal?: AbortSignal | undefined;
}

export type CodeExecution = Schemas['CodeExecution'];
export type CodeEvent = Schemas['CodeEvent'];
