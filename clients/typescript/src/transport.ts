// SPDX-License-Identifier: Apache-2.0
// HTTP by node:http: fetch cannot set Host, and not every resolver knows names below `localhost`.

import http from 'node:http';
import https from 'node:https';
import {Readable} from 'node:stream';

import {AtollError} from './errors.js';
import {operations, type Operations} from './operations.js';

export interface TransportOptions {
  /** Where Atoll is, as a browser would be told: "http://localhost:8787". */
  url?: string | undefined;
  /**
   * Where to connect to instead of looking the host's name up. `localhost` and names below it are
   * 127.0.0.1 unless this says otherwise.
   */
  address?: string | undefined;
  /** Sent with every request. */
  headers?: Record<string, string> | undefined;
}

export interface Request {
  method?: string | undefined;
  path: string;
  /** Before the domain: "3000-demo" for that port of a sandbox. */
  label?: string | undefined;
  headers?: Record<string, string> | undefined;
  body?: string | Uint8Array | Readable | undefined;
  signal?: AbortSignal | undefined;
}

export interface Response {
  status: number;
  headers: http.IncomingHttpHeaders;
  stream: http.IncomingMessage;
}

export type Query = Record<string, string | number | boolean | readonly string[] | null | undefined>;

type OperationName = keyof Operations;

export interface CallOptions<Name extends OperationName> {
  path?: Operations[Name]['path'];
  query?: Query | undefined;
  json?: Operations[Name]['body'];
  body?: string | Uint8Array | Readable | undefined;
  headers?: Record<string, string> | undefined;
  signal?: AbortSignal | undefined;
}

export class Transport {
  readonly url: URL;
  private readonly address: string | undefined;
  private readonly headers: Record<string, string>;

  constructor(options: TransportOptions = {}) {
    this.url = new URL(options.url ?? process.env['ATOLL_URL'] ?? 'http://localhost:8787');
    const name = this.url.hostname;
    const local = name === 'localhost' || name.endsWith('.localhost');
    this.address = options.address ?? (local ? '127.0.0.1' : undefined);
    this.headers = options.headers ?? {};
  }

  /** The options of node:http for a request, whatever becomes of it. */
  target(request: Request): https.RequestOptions {
    const host = request.label ? `${request.label}.${this.url.host}` : this.url.host;
    const hostname = request.label ? `${request.label}.${this.url.hostname}` : this.url.hostname;
    return {
      host: (this.address ?? hostname).replace(/^\[(.*)\]$/, '$1'),
      port: this.url.port || (this.url.protocol === 'https:' ? 443 : 80),
      servername: hostname,
      method: request.method ?? 'GET',
      path: request.path,
      headers: {...this.headers, ...request.headers, Host: host},
      ...(request.signal ? {signal: request.signal} : {}),
    };
  }

  begin(options: https.RequestOptions): http.ClientRequest {
    return this.url.protocol === 'https:' ? https.request(options) : http.request(options);
  }

  /** Any answer, whatever its status; its body is still to be read. */
  send(request: Request): Promise<Response> {
    return new Promise((resolve, reject) => {
      const options = this.target(request);
      const {body} = request;
      if (typeof body === 'string' || body instanceof Uint8Array) {
        (options.headers as Record<string, string>)['Content-Length'] = String(Buffer.byteLength(body));
      }
      const sent = this.begin(options);
      sent.on('response', (stream) => resolve({status: stream.statusCode ?? 0, headers: stream.headers, stream}));
      sent.on('error', reject);
      if (body instanceof Readable) {
        body.on('error', (error) => sent.destroy(error));
        body.pipe(sent);
      } else {
        sent.end(body);
      }
    });
  }

  /** An answer that is none of an error. */
  async open<Name extends OperationName>(name: Name, options: CallOptions<Name>): Promise<Response> {
    const {method, path} = operations[name];
    const headers = {...options.headers};
    let {body} = options;
    if (options.json !== undefined) {
      body = JSON.stringify(options.json);
      headers['Content-Type'] = 'application/json';
    }
    const answer = await this.send({
      method, path: fill(path, options.path ?? {}) + search(options.query), headers, body, signal: options.signal});
    if (answer.status >= 400) throw errorOf(answer, await readText(answer.stream));
    return answer;
  }

  /** The JSON of an answer; undefined when there is none. */
  async call<Name extends OperationName>(
    name: Name, options: CallOptions<Name>): Promise<Operations[Name]['answer']> {
    const answer = await this.open(name, options);
    const text = await readText(answer.stream);
    return (text === '' ? undefined : JSON.parse(text)) as Operations[Name]['answer'];
  }
}

/** `{file}` at the end of a path may have slashes. */
function fill(path: string, values: Record<string, unknown>): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) =>
    String(values[name]).split('/').map(encodeURIComponent).join(name === 'path' || name === 'name' ? '/' : '%2F'));
}

/** Without what is undefined, which would hide what it is spread over. */
export function given<Options extends object>(options: Options): Partial<Options> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<Options>;
}

/** `?a=b`, or nothing. A space is %20: that a plus is one is a convention of forms. */
export function search(query: Query | undefined): string {
  const pairs = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(Array.isArray(value) ? value.join(',') : String(value))}`);
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}

export async function readBytes(stream: Readable): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

export async function readText(stream: Readable): Promise<string> {
  return (await readBytes(stream)).toString();
}

function errorOf(answer: Response, text: string): AtollError {
  let body: {code?: string; message?: string; suggestion?: string} = {};
  try {
    body = JSON.parse(text) as typeof body;
  } catch {
    // Something between us and Atoll has answered.
  }
  const id = answer.headers['x-request-id'];
  return new AtollError(body.message ?? (text.slice(0, 500) || `HTTP ${answer.status}`), body.code ?? 'HTTP_ERROR',
                        answer.status, body.suggestion, typeof id === 'string' ? id : undefined);
}
