// SPDX-License-Identifier: Apache-2.0

import {AtollError} from './errors.js';
import {parseSSEStream} from './events.js';
import type {Operations} from './operations.js';
import type {Sandbox} from './sandbox.js';
import type {GitBranch, GitCommit, GitDiff, GitHead, GitStatus} from './types.js';

type Body<Name extends keyof Operations> = Exclude<Operations[Name]['body'], undefined>;

export interface Cloned {
  repo: string;
  dir: string;
  branch: string;
  commit: string;
}

type CloneEvent =
  | {type: 'progress'; phase: string; done: number; total: number}
  | ({type: 'complete'} & Cloned)
  | {type: 'error'; code: string; message: string};

/** Repositories in a sandbox. `dir` is one; conflicts and refusals are AtollErrors with a code. */
export class Git {
  constructor(private readonly sandbox: Sandbox) {}

  private call<Answer, Name extends keyof Operations>(name: Name, json: Operations[Name]['body']): Promise<Answer> {
    return this.sandbox.transport.call<Answer, Name>(
      name, {path: {id: this.sandbox.id} as unknown as Operations[Name]['path'], json});
  }

  async clone(body: Body<'gitClone'>, options: {
    onProgress?: ((progress: {phase: string; done: number; total: number}) => void) | undefined;
    signal?: AbortSignal | undefined;
  } = {}): Promise<Cloned> {
    const answer = await this.sandbox.transport.open('gitClone', {
      path: {id: this.sandbox.id}, json: body, headers: {Accept: 'text/event-stream'}, signal: options.signal});
    for await (const event of parseSSEStream<CloneEvent>(answer.stream)) {
      if (event.type === 'progress') options.onProgress?.(event);
      if (event.type === 'error') throw new AtollError(event.message, event.code, 0);
      if (event.type === 'complete') {
        const {repo, dir, branch, commit} = event;
        return {repo, dir, branch, commit};
      }
    }
    throw new AtollError('the clone was cut off', 'STREAM_CUT', 0);
  }

  status(body: Body<'gitStatus'> = {}): Promise<GitStatus> { return this.call('gitStatus', body); }
  diff(body: Body<'gitDiff'> = {}): Promise<GitDiff> { return this.call('gitDiff', body); }

  log(body: Body<'gitLog'> = {}): Promise<{commits: GitCommit[]; more: boolean}> { return this.call('gitLog', body); }

  commit(body: Body<'gitCommit'>): Promise<GitHead & {details: GitCommit}> { return this.call('gitCommit', body); }

  checkout(body: Body<'gitCheckout'>): Promise<GitHead> { return this.call('gitCheckout', body); }
  fetch(body: Body<'gitFetch'> = {}): Promise<void> { return this.call('gitFetch', body); }

  pull(body: Body<'gitPull'> = {}): Promise<GitHead & {before: string | null; changed: boolean}> {
    return this.call('gitPull', body);
  }

  push(body: Body<'gitPush'> = {}): Promise<{refs: {ref: string; status: string; summary: string}[]}> {
    return this.call('gitPush', body);
  }

  branches(query: {dir?: string; remote?: boolean; user?: string} = {}): Promise<GitHead & {branches: GitBranch[]}> {
    const {remote, ...more} = query;
    return this.sandbox.transport.call('listGitBranches', {
      path: {id: this.sandbox.id}, query: {...more, ...(remote ? {remote} : {})}});
  }

  createBranch(body: Body<'createGitBranch'>): Promise<void> { return this.call('createGitBranch', body); }

  deleteBranch(name: string, query: {dir?: string; force?: boolean; user?: string} = {}): Promise<void> {
    const {force, ...more} = query;
    return this.sandbox.transport.call('deleteGitBranch', {
      path: {id: this.sandbox.id, name}, query: {...more, ...(force ? {force} : {})}});
  }
}
