// SPDX-License-Identifier: Apache-2.0

import {AtollError} from './errors.js';
import {parseSSEStream} from './events.js';
import type {Operations, Schemas} from './operations.js';
import type {Transport} from './transport.js';
import type {CodeContext, CodeEvent, CodeExecution, CodeResult, CreateContextOptions, RunCodeOptions} from './types.js';

type Env = Record<string, string | undefined>;

function contextOf(made: Schemas['CodeContext']): CodeContext {
  return {...made, createdAt: new Date(made.createdAt), lastUsed: new Date(made.lastUsed)};
}

export async function createContext(transport: Transport, id: string, env: Env, options: CreateContextOptions): Promise<CodeContext> {
  const {language, cwd} = options;
  const all = {...env, ...options.envVars, ...options.env} as Record<string, string>;
  return contextOf(await transport.call('createContext', {
    path: {id}, json: {language: language ?? null, cwd: cwd ?? null, env: all}}));
}

export async function listContexts(transport: Transport, id: string): Promise<CodeContext[]> {
  return (await transport.call('listContexts', {path: {id}})).contexts.map(contextOf);
}

function bodyOf(code: string, env: Env, options: RunCodeOptions): Exclude<Operations['runCode']['body'], undefined> {
  const {context, language, timeout, maxOutputBytes} = options;
  // A context that was made has its own.
  const all = {...(context === undefined ? env : {}), ...options.envVars, ...options.env} as Record<string, string>;
  return {
    code,
    ...(context === undefined ? {} : {context: typeof context === 'string' ? context : context.id}),
    ...(language === undefined ? {} : {language}),
    ...(Object.keys(all).length === 0 ? {} : {env: all}),
    ...(timeout === undefined ? {} : {timeoutMs: timeout}),
    ...(maxOutputBytes === undefined ? {} : {maxOutputBytes}),
  };
}

export async function runCode(transport: Transport, id: string, env: Env, code: string, options: RunCodeOptions):
    Promise<CodeExecution> {
  const {onStdout, onStderr, onResult, onError} = options;
  if (!onStdout && !onStderr && !onResult && !onError) {
    const done = await transport.call('runCode', {path: {id}, json: bodyOf(code, env, options), signal: options.signal});
    return {code, ...done};
  }
  const logs = {stdout: [] as string[], stderr: [] as string[]};
  const results: CodeResult[] = [];
  let error: CodeExecution['error'];
  for await (const event of runCodeStream(transport, id, env, code, options)) {
    if (event.type === 'stdout' || event.type === 'stderr') {
      const {text} = event;
      logs[event.type].push(text);
      await (event.type === 'stdout' ? onStdout : onStderr)?.({text, timestamp: Date.parse(event.timestamp)});
    } else if (event.type === 'result') {
      const {type: _, timestamp: __, ...result} = event;
      results.push(result);
      await onResult?.(result);
    } else if (event.type === 'error') {
      const {name, message, traceback} = event;
      error = {name, message, traceback};
      await onError?.(error);
    } else if (event.type === 'failure') {
      throw new AtollError(event.message, event.code, 0);
    } else if (event.type === 'complete') {
      const {type: _, timestamp: __, ...done} = event;
      return {code, logs, results, ...(error === undefined ? {} : {error}), ...done};
    }
  }
  throw new AtollError('the code was cut off', 'STREAM_CUT', 0);
}

export async function* runCodeStream(transport: Transport, id: string, env: Env, code: string, options: RunCodeOptions):
    AsyncGenerator<CodeEvent, void, void> {
  const answer = await transport.open('runCode', {
    path: {id}, json: bodyOf(code, env, options), headers: {Accept: 'text/event-stream'}, signal: options.signal});
  yield* parseSSEStream<CodeEvent>(answer.stream);
}
