// SPDX-License-Identifier: Apache-2.0
// One sandbox through every dialect that the daemon speaks.

import {Files} from './files.mjs';

export class Dialects {
  constructor(daemon, id) {
    this.daemon = daemon;
    this.id = id;
    this.files = new Files(daemon, id);
  }

  api(method, path, options) { return this.daemon.request('', {method, path: `/v1/sandboxes/${this.id}${path}`, ...options}); }
  bridge(method, path, options) { return this.daemon.request('', {method, path: `/v1/sandbox/${this.id}${path}`, ...options}); }
  sdk(path, json, options) { return this.daemon.request(`sdk--${this.id}`, {method: 'POST', path: `/api/${path}`, json, ...options}); }

  /** The result of a tool: {isError, content, structuredContent}. */
  async tool(name, given) {
    const answer = await this.daemon.request('', {
      method: 'POST', path: `/v1/mcp?sandbox=${this.id}`,
      json: {jsonrpc: '2.0', id: 1, method: 'tools/call', params: {name, arguments: given}}});
    const {result, error} = answer.json();
    if (error) throw new Error(`${name} ${JSON.stringify(given)}: ${JSON.stringify(error)}`);
    return result;
  }

  /** Every way to read the file at an absolute path; the code of a refusal, or {bytes} and what was said of them. */
  reads() {
    const failed = (answer) => ({code: answer.json().code, status: answer.status});
    return {
      api: async (path) => {
        const answer = await this.files.get(path);
        return answer.status === 200 ? {bytes: answer.bytes, size: Number(answer.headers['content-length'])} : failed(answer);
      },
      bridge: async (path) => {
        const answer = await this.bridge('GET', `/file${path}`);
        return answer.status === 200 ? {bytes: answer.bytes, size: Number(answer.headers['content-length'])} : failed(answer);
      },
      sdk: async (path) => {
        const answer = await this.sdk('read', {path, encoding: 'base64'});
        if (answer.status !== 200) return failed(answer);
        return {bytes: Buffer.from(answer.json().content, 'base64'), size: answer.json().size};
      },
      sdkStream: async (path) => {
        const answer = await this.sdk('read/stream', {path});
        if (answer.status !== 200) return failed(answer);
        const all = answer.text.split('\n\n').slice(0, -1).map((block) => JSON.parse(block.slice(6)));
        const bytes = Buffer.concat(all.filter((one) => one.type === 'chunk')
          .map((one) => Buffer.from(one.data, all[0].encoding === 'base64' ? 'base64' : 'utf8')));
        return {bytes, size: all[0].size, last: all.at(-1)};
      },
      mcp: async (path) => {
        const {isError, structuredContent} = await this.tool('read', {path});
        if (isError) return {code: structuredContent.code, status: 400};
        return {bytes: Buffer.from(structuredContent.content), size: structuredContent.size};
      },
    };
  }
}
