// SPDX-License-Identifier: Apache-2.0
// An HTTP proxy in front of a store: counts its requests, and spoils those that a test names.

import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';

/**
 * `fault(request)` is asked at the head of each {method, path, query, body, count}, where `count` says how often
 * this method and path were asked for since the fault was set, this time included. It returns nothing, or one of
 *   {status, code, message, headers}  answered instead of the store, with S3's XML
 *   {reset: true}                     the connection is cut before anything is done
 *   {resetUploadAfter: n}             the connection is cut behind n bytes of the request's body
 *   {loseAnswer: true}                the store gets it, the answer does not come back
 *   {resetAfter: n}, {stallAfter: n}  n bytes of the answer's body, then a reset, or nothing more
 *   {truncateTo: n}                   an answer whose head and body agree on n bytes
 *   {flipAt: n}                       byte n of the answer's body is another one
 *   {stall: true}                     no answer at all
 */
export class FaultyProxy {
  static async start(endpoint, {port = 0, tls} = {}) {
    const proxy = new FaultyProxy(endpoint, tls);
    await proxy.listen(port);
    return proxy;
  }

  constructor(endpoint, tls) {
    this.target = new URL(endpoint);
    this.tls = tls;
    this.agent = new http.Agent({keepAlive: true});
    this.requests = [];
    this.set(null);
  }

  async listen(port) {
    const serve = (request, response) => this.serve(request, response);
    this.server = this.tls
      ? https.createServer({key: fs.readFileSync(this.tls.key), cert: fs.readFileSync(this.tls.cert)}, serve)
      : http.createServer(serve);
    await new Promise((resolve, reject) => {
      this.server.once('error', reject).listen(port, '127.0.0.1', resolve);
    });
    this.endpoint = `${this.tls ? 'https' : 'http'}://127.0.0.1:${this.server.address().port}`;
  }

  set(fault) {
    this.fault = fault;
    this.counts = new Map();
    this.spoiled = 0;
  }

  /** Runs `work` while `fault` holds; fails when it has spoiled nothing. */
  async during(fault, work) {
    this.set(fault);
    try {
      const result = await work();
      if (this.spoiled === 0) throw new Error('the fault has met no request');
      return result;
    } finally {
      this.set(null);
    }
  }

  /** The requests that `work` leads to, beside its result. */
  async counted(work) {
    const begin = this.requests.length;
    const result = await work();
    return {result, requests: this.requests.slice(begin)};
  }

  serve(request, response) {
    const url = new URL(request.url, 'http://store');
    const key = `${request.method} ${url.pathname}`;
    const count = (this.counts.get(key) ?? 0) + 1;
    this.counts.set(key, count);
    const seen = {method: request.method, path: url.pathname, query: url.search, headers: request.headers, count};
    this.requests.push(seen);
    const fault = this.fault?.(seen) ?? null;
    if (fault) ++this.spoiled;
    request.on('error', () => {});
    response.on('error', () => {});
    if (fault?.reset) return request.socket.resetAndDestroy();
    if (fault?.stall) return request.resume();
    if (fault?.status) return answerWith(request, response, fault);
    if (fault?.resetUploadAfter !== undefined) return cutUpload(request, fault.resetUploadAfter);
    return this.forward(request, response, fault ?? {});
  }

  forward(request, response, fault) {
    const {hostname, port} = this.target;
    // Swift's answers to HEAD have a last chunk that belongs to nothing.
    const agent = request.method === 'HEAD' ? false : this.agent;
    const options = {hostname, port, method: request.method, path: request.url, headers: request.headers, agent};
    let answered = false;
    const upstream = http.request(options, (answer) => {
      answered = true;
      relay(answer, response, request.method === 'HEAD' ? {...fault, headOnly: true} : fault);
    });
    upstream.on('error', () => {
      if (!answered) request.socket.destroy();
    });
    response.on('close', () => upstream.destroy());
    request.pipe(upstream);
  }

  async stop() {
    this.agent.destroy();
    if (!this.server) return;
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }
}

function answerWith(request, response, {status, code = 'InternalError', message = 'so said the test', headers = {}}) {
  request.resume();
  request.on('end', () => {
    const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
    response.writeHead(status, {'Content-Type': 'application/xml', 'Content-Length': body.length, ...headers});
    response.end(request.method === 'HEAD' ? undefined : body);
  });
}

function cutUpload(request, limit) {
  let got = 0;
  request.on('data', (piece) => {
    got += piece.length;
    if (got >= limit) request.socket.resetAndDestroy();
  });
  request.on('end', () => request.socket.resetAndDestroy());
}

function relay(answer, response, fault) {
  answer.on('error', () => {
    if (!fault.headOnly) response.destroy();
  });
  if (fault.loseAnswer) {
    answer.resume();
    answer.on('end', () => response.socket?.resetAndDestroy());
    return;
  }
  if (fault.headOnly) {
    response.writeHead(answer.statusCode, {...answer.headers, connection: 'close'});
    response.end();
    return;
  }
  const limit = fault.resetAfter ?? fault.stallAfter ?? fault.truncateTo;
  if (limit === undefined && fault.flipAt === undefined) {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
    return;
  }
  const parts = [];
  answer.on('data', (part) => parts.push(part));
  answer.on('end', () => {
    let body = Buffer.concat(parts);
    const headers = {...answer.headers};
    if (fault.flipAt < body.length) body[fault.flipAt] ^= 0x55;
    if (limit !== undefined) body = body.subarray(0, limit);
    if (fault.truncateTo !== undefined) {
      headers['content-length'] = body.length;
      delete headers['transfer-encoding'];
    }
    response.writeHead(answer.statusCode, headers);
    const whole = fault.truncateTo !== undefined || fault.flipAt !== undefined;
    if (whole) return response.end(body);
    response.write(body, () => {
      if (fault.resetAfter !== undefined) setTimeout(() => response.socket?.resetAndDestroy(), 20);
    });
  });
}
