// SPDX-License-Identifier: Apache-2.0
// What Atoll answers.

export interface SandboxInfo {
  id: string;
  url: string;
  state: string;
  [more: string]: unknown;
}

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

export type ExecEvent =
  | {type: 'start'; command: string; timestamp: string; pid: number}
  | {type: 'stdout' | 'stderr'; data?: string; base64?: string; timestamp: string}
  | {type: 'complete'; exitCode: number; timestamp: string; [more: string]: unknown}
  | {type: 'error'; code: string; error: string; timestamp: string};

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

export interface ProcessInfo {
  id: string;
  command: string;
  status: 'running' | 'exited' | 'killed' | 'error';
  pid: number;
  cwd: string;
  user?: string;
  restart: string;
  restarts: number;
  service?: boolean;
  keepAwake?: boolean;
  startTime?: string;
  endTime?: string;
  exitCode?: number;
  signal?: string;
  error?: string;
  logBegin: number;
  logEnd: number;
}

export type LogEvent =
  | {type: 'stdout' | 'stderr'; offset: number; data?: string; base64?: string; timestamp: string}
  | {type: 'exit'; exitCode: number; process: ProcessInfo}
  | {type: 'error'; code: string; error: string};

export interface FileInfo {
  path: string;
  name: string;
  type: 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'device';
  size: number;
  mode: string;
  uid: number;
  gid: number;
  modifiedAt: string;
  target?: string;
}

export interface ReadFileResult {
  success: true;
  path: string;
  content: string;
  encoding: 'utf-8' | 'base64';
  size: number;
}

export type FileWatchEvent =
  | {type: 'watching'; path: string; recursive: boolean; directories: number; resumed: boolean}
  | {type: 'resync'; reason: string}
  | {type: 'event'; eventType: string; path: string; isDirectory: boolean; timestamp: string; cookie?: number}
  | {type: 'overflow'; timestamp: string}
  | {type: 'stopped'; reason: string}
  | {type: 'error'; code: string; message: string};

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

export interface GitHead {
  branch: string | null;
  commit: string | null;
  detached: boolean;
}

export interface GitStatus extends GitHead {
  upstream: string | null;
  ahead?: number;
  behind?: number;
  clean: boolean;
  conflicts: boolean;
  changes: {
    path: string; pathBase64?: string; from?: string; index: string; worktree: string;
    conflict?: boolean; submodule?: boolean;
  }[];
  more: boolean;
}

export interface GitCommit {
  commit: string;
  parents: string[];
  author: {name: string; email: string; date?: string};
  committer: {name: string; email: string; date?: string};
  refs: string[];
  message: string;
}

export interface GitDiff {
  files: {path: string; from?: string; status: string; added?: number; removed?: number; binary: boolean}[];
  more: boolean;
  patch: string;
  patchTruncated: boolean;
}

export interface GitBranch {
  name: string;
  commit: string;
  remote: boolean;
  current: boolean;
  upstream?: string;
  date?: string;
  subject: string;
}

export interface DirectoryBackup {
  id: string;
  dir: string;
}

export interface ExposedPort {
  url: string;
  port: number;
  name: string;
  token: string;
  signed: boolean;
  createdAt: string;
  expiresAt: string | null;
}

export interface CodeContext {
  id: string;
  language: 'python' | 'javascript' | 'typescript';
  cwd: string;
  busy: boolean;
  executionCount: number;
  [more: string]: unknown;
}

/** What code has shown: whichever forms the value has; png, jpeg and pdf are base64. */
export interface CodeResult {
  text?: string;
  html?: string;
  markdown?: string;
  latex?: string;
  svg?: string;
  json?: unknown;
  javascript?: string;
  chart?: unknown;
  png?: string;
  jpeg?: string;
  pdf?: string;
  /** It is the value of the last expression, and was not displayed. */
  isValue?: boolean;
}

export interface CodeError {
  name: string;
  message: string;
  traceback: string[];
}

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

export interface CodeExecution {
  contextId: string;
  success: boolean;
  executionCount: number;
  timedOut: boolean;
  /** The code did not end in time, or its kernel: another one has taken its place, and what was defined is lost. */
  restarted: boolean;
  truncated: boolean;
  durationMs: number;
  logs: {stdout: string[]; stderr: string[]};
  results: CodeResult[];
  error?: CodeError;
}

export type CodeEvent =
  | {type: 'stdout' | 'stderr'; text: string}
  | ({type: 'result'} & CodeResult)
  | ({type: 'error'} & CodeError)
  | ({type: 'complete'} & Omit<CodeExecution, 'logs' | 'results' | 'error'>)
  | {type: 'failure'; code: string; message: string};
