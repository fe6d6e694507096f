// SPDX-License-Identifier: Apache-2.0

import type {BackupOptions} from './backup.js';
import {OWN_LIMIT_MS} from './commands.js';
import {AtollError} from './errors.js';
import {Files} from './files.js';
import type {MountBucketOptions, Sandbox} from './sandbox.js';
import type {Process} from './process.js';
import type {Terminal, TerminalOptions} from './terminal.js';
import {given} from './transport.js';
import type {
  CodeContext, CodeEvent, CodeExecution, CreateContextOptions, DirectoryBackup, ExecEvent, ExecOptions, ExecResult,
  GitCheckoutOptions, GitCheckoutResult, LogEvent, ProcessOptions, RunCodeOptions,
} from './types.js';

type OfSession<Options> = Omit<Options, 'sessionId' | 'user'>;

/**
 * A shell that lasts: its commands run one after the other, and find what the ones before have left. Relative paths are of
 * where it is. What is no command of the shell is the sandbox's.
 */
export class Session extends Files {
  constructor(private readonly sandbox: Sandbox, readonly id: string) {
    super(sandbox.transport, sandbox.id);
  }

  protected override async base(): Promise<string> { return (await this.sandbox.shellState(this.id)).cwd; }

  exec(command: string | readonly string[], options: OfSession<ExecOptions> = {}): Promise<ExecResult> {
    return this.sandbox.exec(command, {...options, sessionId: this.id});
  }

  execStream(command: string | readonly string[], options: OfSession<ExecOptions> = {}): AsyncGenerator<ExecEvent, void, void> {
    return this.sandbox.execStream(command, {...options, sessionId: this.id});
  }

  /** In its shell, for what comes after; undefined takes one away. */
  async setEnvVars(env: Record<string, string | null | undefined>): Promise<void> {
    const lines = Object.entries(env).map(([name, value]) => {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
        throw new AtollError(`${name} is no name of a variable`, 'VALIDATION_FAILED', 400);
      }
      return value === undefined || value === null ? `unset ${name}` : `export ${name}='${value.replaceAll("'", `'\\''`)}'`;
    });
    if (lines.length === 0) return;
    const {exitCode, stderr} = await this.sandbox.exec(lines.join(' && '), {sessionId: this.id, timeout: OWN_LIMIT_MS});
    if (exitCode !== 0) throw new AtollError(`the variables could not be set: ${stderr}`, 'COMMAND_EXECUTION_ERROR', 0);
  }

  startProcess(command: string | readonly string[], options: OfSession<ProcessOptions> = {}): Promise<Process> {
    return this.sandbox.startProcess(command, {...options, sessionId: this.id});
  }

  // The sandbox's

  listProcesses(): Promise<Process[]> { return this.sandbox.listProcesses(); }
  getProcess(id: string): Promise<Process | null> { return this.sandbox.getProcess(id); }
  killProcess(id: string, signal?: string | number): Promise<void> { return this.sandbox.killProcess(id, signal); }
  killAllProcesses(): Promise<number> { return this.sandbox.killAllProcesses(); }
  cleanupCompletedProcesses(): Promise<number> { return this.sandbox.cleanupCompletedProcesses(); }
  getProcessLogs(id: string): Promise<{stdout: string; stderr: string; processId: string}> { return this.sandbox.getProcessLogs(id); }
  streamProcessLogs(id: string, options: {signal?: AbortSignal; offset?: number} = {}): AsyncGenerator<LogEvent, void, void> {
    return this.sandbox.streamProcessLogs(id, options);
  }

  async gitCheckout(repoUrl: string, options: GitCheckoutOptions = {}): Promise<GitCheckoutResult> {
    const {targetDir} = options;
    return this.sandbox.gitCheckout(repoUrl, {
      ...options, ...(targetDir === undefined ? {} : {targetDir: await this.absolute(targetDir)})});
  }

  createCodeContext(options: CreateContextOptions = {}): Promise<CodeContext> { return this.sandbox.createCodeContext(options); }
  runCode(code: string, options: RunCodeOptions = {}): Promise<CodeExecution> { return this.sandbox.runCode(code, options); }
  runCodeStream(code: string, options: RunCodeOptions = {}): AsyncGenerator<CodeEvent, void, void> {
    return this.sandbox.runCodeStream(code, options);
  }
  listCodeContexts(): Promise<CodeContext[]> { return this.sandbox.listCodeContexts(); }
  deleteCodeContext(contextId: string): Promise<void> { return this.sandbox.deleteCodeContext(contextId); }

  mountBucket(bucket: string, mountPath: string, options: MountBucketOptions = {}): Promise<void> {
    return this.sandbox.mountBucket(bucket, mountPath, options);
  }
  unmountBucket(mountPath: string): Promise<void> { return this.sandbox.unmountBucket(mountPath); }

  createBackup(options: BackupOptions): Promise<DirectoryBackup> { return this.sandbox.createBackup(options); }
  restoreBackup(backup: {id: string; dir?: string}): Promise<{success: true; id: string; dir: string}> {
    return this.sandbox.restoreBackup(backup);
  }

  /** A terminal of its own, by the session's name, that begins where this is, with what it exports. */
  async terminal(options: Omit<TerminalOptions, 'session'> = {}): Promise<Terminal> {
    const {cwd, env, user} = await this.sandbox.shellState(this.id);
    return this.sandbox.terminal({cwd, user, ...given(options), env: {...env, ...options.env}, session: this.id});
  }

  async close(): Promise<void> { await this.sandbox.deleteSession(this.id); }
}
