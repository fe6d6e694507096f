// SPDX-License-Identifier: Apache-2.0

import path from 'node:path';
import {Readable} from 'node:stream';
import type {ReadableStream} from 'node:stream/web';

import {readBytes, type Response, type Transport} from './transport.js';
import type {Changes, File, FileInfo, FileWatchEvent, ReadFileResult, ReadFileStreamResult, WatchOptions} from './types.js';
import {watchFiles} from './watch.js';

interface Done {
  success: true;
  path: string;
  timestamp: string;
}

type Encoding = 'utf-8' | 'utf8' | 'base64';
export type Content = string | Uint8Array | Readable | ReadableStream<Uint8Array>;

export const now = () => new Date().toISOString();

/** Files of a sandbox. A path is absolute, or relative to /workspace, in a session to where that is. */
export abstract class Files {
  constructor(readonly transport: Transport, protected readonly sandboxId: string) {}

  /** What a relative path is of. */
  protected base(): Promise<string> { return Promise.resolve('/workspace'); }

  protected async absolute(name: string): Promise<string> {
    return name.startsWith('/') ? name : path.posix.join(await this.base(), name);
  }

  private get at() { return {id: this.sandboxId}; }
  private async file(name: string) { return {id: this.sandboxId, path: (await this.absolute(name)).slice(1)}; }

  /** Text; as base64 when it is none or that is asked for; a stream of its bytes with the encoding "none". */
  readFile(name: string, options: {encoding: 'none'}): Promise<ReadFileStreamResult>;
  readFile(name: string, options?: {encoding?: Encoding}): Promise<ReadFileResult>;
  async readFile(name: string, options: {encoding?: Encoding | 'none'} = {}): Promise<ReadFileResult | ReadFileStreamResult> {
    const answer = await this.open(name);
    const mimeType = String(answer.headers['content-type'] ?? 'application/octet-stream').split(';')[0]!;
    const common = {success: true as const, path: name, mimeType, timestamp: now()};
    if (options.encoding === 'none') {
      const content = Readable.toWeb(answer.stream) as ReadableStream<Uint8Array>;
      return {...common, content, size: Number(answer.headers['content-length'])};
    }
    const bytes = await readBytes(answer.stream);
    let text: string | undefined;
    try {
      text = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(bytes);
    } catch {
      // Bytes that are no text.
    }
    const plain = text !== undefined && options.encoding !== 'base64';
    return {...common, content: plain ? text! : bytes.toString('base64'), encoding: plain ? 'utf-8' : 'base64',
            isBinary: text === undefined, size: bytes.length};
  }

  private async open(name: string): Promise<Response> {
    return this.transport.open('readFile', {path: await this.file(name)});
  }

  /** Its bytes. */
  async readFileStream(name: string): Promise<Readable> { return (await this.open(name)).stream; }

  /** Replaces it at once, or makes it. */
  async writeFile(name: string, content: Content,
                  options: {encoding?: Encoding; mode?: string; parents?: boolean; append?: boolean} = {}): Promise<Done> {
    const {encoding, ...query} = options;
    const body = encoding === 'base64' && typeof content === 'string' ? Buffer.from(content, 'base64')
      : typeof content === 'string' || content instanceof Uint8Array || content instanceof Readable ? content
      : Readable.fromWeb(content);
    await this.transport.call('writeFile', {path: await this.file(name), query, body});
    return {success: true, path: name, timestamp: now()};
  }

  async mkdir(name: string, options: {recursive?: boolean} = {}): Promise<Done & {recursive: boolean}> {
    const recursive = options.recursive ?? false;
    await this.transport.call('makeDirectory', {path: this.at, json: {path: await this.absolute(name), parents: recursive}});
    return {success: true, path: name, recursive, timestamp: now()};
  }

  async deleteFile(name: string, options: {recursive?: boolean} = {}): Promise<Done> {
    const {recursive = false} = options;
    await this.transport.call('removeFile', {path: this.at, json: {path: await this.absolute(name), recursive}});
    return {success: true, path: name, timestamp: now()};
  }

  async renameFile(from: string, to: string): Promise<Done & {newPath: string}> {
    const json = {from: await this.absolute(from), to: await this.absolute(to)};
    await this.transport.call('moveFile', {path: this.at, json});
    return {success: true, path: from, newPath: to, timestamp: now()};
  }

  moveFile(from: string, to: string): Promise<Done & {newPath: string}> { return this.renameFile(from, to); }

  async listFiles(name: string, options: {recursive?: boolean; includeHidden?: boolean} = {}):
      Promise<Done & {files: FileInfo[]; count: number}> {
    const dir = await this.absolute(name);
    const files = (await this.find(dir, options)).map((file) => infoOf(file, dir));
    return {success: true, path: name, files, count: files.length, timestamp: now()};
  }

  protected async find(dir: string, options: {recursive?: boolean; includeHidden?: boolean; name?: string}): Promise<File[]> {
    const all: File[] = [];
    const {recursive = false, includeHidden = false} = options;
    for (let cursor: string | undefined; ;) {
      const page = await this.transport.call(
        'listFiles', {path: this.at, json: {...options, path: dir, recursive, includeHidden, cursor: cursor ?? null}});
      all.push(...page.files);
      if (page.cursor === undefined) return all;
      cursor = page.cursor;
    }
  }

  async exists(name: string): Promise<Done & {exists: boolean}> {
    const {exists} = await this.transport.call('fileExists', {path: this.at, json: {path: await this.absolute(name)}});
    return {success: true, path: name, exists, timestamp: now()};
  }

  /** What changes, as it happens. Leaving the loop ends the watch. */
  async *watch(name: string, options: WatchOptions = {}): AsyncGenerator<FileWatchEvent, void, void> {
    const {sessionId: _, ...more} = options;
    yield* watchFiles(this.transport, this.sandboxId, await this.absolute(name), more);
  }

  async checkChanges(
    name: string,
    options: {since?: string; recursive?: boolean; include?: string[]; exclude?: string[]; sessionId?: string} = {}):
      Promise<Changes & {success: true; timestamp: string}> {
    const {sessionId: _, ...more} = options;
    const json = {path: await this.absolute(name), ...more};
    return {success: true, ...await this.transport.call('checkChanges', {path: this.at, json}), timestamp: now()};
  }
}

function infoOf(file: File, dir: string): FileInfo {
  const mode = parseInt(file.mode, 8);
  const letters = [...'rwxrwxrwx'].map((letter, i) => (mode & (0o400 >> i) ? letter : '-')).join('');
  return {
    name: file.name,
    absolutePath: file.path,
    relativePath: path.posix.relative(dir, file.path),
    type: file.type === 'file' || file.type === 'directory' || file.type === 'symlink' ? file.type : 'other',
    size: file.size,
    modifiedAt: file.modifiedAt,
    mode: letters,
    permissions: {readable: (mode & 0o400) !== 0, writable: (mode & 0o200) !== 0, executable: (mode & 0o100) !== 0},
    uid: file.uid,
    gid: file.gid,
    ...(file.target === undefined ? {} : {target: file.target}),
  };
}
