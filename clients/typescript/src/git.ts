// SPDX-License-Identifier: Apache-2.0

import {AtollError} from './errors.js';
import {parseSSEStream} from './events.js';
import type {Operations, Schemas} from './operations.js';
import type {Sandbox} from './sandbox.js';

type Body<Name extends keyof Operations> = Exclude<Operations[Name]['body'], undefined>;

export type Cloned = Schemas['ClonedRepository'];
type Answer<Name extends keyof Operations> = Promise<Operations[Name]['answer']>;

/** Repositories in a sandbox. `dir` is one; conflicts and refusals are AtollErrors with a code. */
export class Git {
  constructor(private readonly sandbox: Sandbox) {}

  private call<Name extends keyof Operations>(name: Name, json: Operations[Name]['body']): Answer<Name> {
    return this.sandbox.transport.call(
      name, {path: {id: this.sandbox.id} as unknown as Operations[Name]['path'], json});
  }

  async clone(body: Body<'gitClone'>, options: {
    onProgress?: ((progress: {phase: string; done: number; total: number}) => void) | undefined;
    signal?: AbortSignal | undefined;
  } = {}): Promise<Cloned> {
    const answer = await this.sandbox.transport.open('gitClone', {
      path: {id: this.sandbox.id}, json: body, headers: {Accept: 'text/event-stream'}, signal: options.signal});
    for await (const event of parseSSEStream<Schemas['CloneEvent']>(answer.stream)) {
      if (event.type === 'progress') options.onProgress?.(event);
      if (event.type === 'error') throw new AtollError(event.message, event.code, 0);
      if (event.type === 'complete') {
        const {repo, dir, branch, commit} = event;
        return {repo, dir, branch, commit};
      }
    }
    throw new AtollError('the clone was cut off', 'STREAM_CUT', 0);
  }

  status(body: Body<'gitStatus'> = {}): Answer<'gitStatus'> { return this.call('gitStatus', body); }
  diff(body: Body<'gitDiff'> = {}): Answer<'gitDiff'> { return this.call('gitDiff', body); }
  log(body: Body<'gitLog'> = {}): Answer<'gitLog'> { return this.call('gitLog', body); }
  commit(body: Body<'gitCommit'>): Answer<'gitCommit'> { return this.call('gitCommit', body); }
  checkout(body: Body<'gitCheckout'>): Answer<'gitCheckout'> { return this.call('gitCheckout', body); }
  fetch(body: Body<'gitFetch'> = {}): Answer<'gitFetch'> { return this.call('gitFetch', body); }
  pull(body: Body<'gitPull'> = {}): Answer<'gitPull'> { return this.call('gitPull', body); }
  push(body: Body<'gitPush'> = {}): Answer<'gitPush'> { return this.call('gitPush', body); }

  branches(query: {dir?: string; remote?: boolean; user?: string} = {}): Answer<'listGitBranches'> {
    const {remote, ...more} = query;
    return this.sandbox.transport.call('listGitBranches', {
      path: {id: this.sandbox.id}, query: {...more, ...(remote ? {remote} : {})}});
  }

  createBranch(body: Body<'createGitBranch'>): Answer<'createGitBranch'> { return this.call('createGitBranch', body); }

  deleteBranch(name: string, query: {dir?: string; force?: boolean; user?: string} = {}): Answer<'deleteGitBranch'> {
    const {force, ...more} = query;
    return this.sandbox.transport.call('deleteGitBranch', {
      path: {id: this.sandbox.id, name}, query: {...more, ...(force ? {force} : {})}});
  }
}
