// SPDX-License-Identifier: Apache-2.0
// The files of one sandbox through the API of the bare domain.

import assert from 'node:assert/strict';

export class Files {
  constructor(daemon, id) {
    this.daemon = daemon;
    this.base = `/v1/sandboxes/${id}`;
  }

  url(path, query = '') {
    const parts = path.split('/').slice(1).map(encodeURIComponent);
    return `${this.base}/files/${parts.join('/')}${query}`;
  }

  get(path, {query = '', ...options} = {}) {
    return this.daemon.request('', {path: this.url(path, query), ...options});
  }

  put(path, body, {query = '', ...options} = {}) {
    return this.daemon.request('', {method: 'PUT', path: this.url(path, query), body, ...options});
  }

  remove(path, query = '') {
    return this.daemon.request('', {method: 'DELETE', path: this.url(path, query)});
  }

  /** POST fs/<operation>: the answer as it is. */
  ask(operation, json) {
    return this.daemon.request('', {method: 'POST', path: `${this.base}/fs/${operation}`, json});
  }

  /** The same, which must succeed: its JSON. */
  async act(operation, json) {
    const answer = await this.ask(operation, json);
    assert.ok(answer.status < 300, `${operation}: ${answer.status} ${answer.text}`);
    return answer.status === 204 ? null : answer.json();
  }

  /** Every page of a listing. */
  async all(operation, json) {
    const files = [];
    let cursor;
    do {
      const page = await this.act(operation, {...json, cursor});
      files.push(...page.files);
      cursor = page.cursor;
    } while (cursor);
    return files;
  }
}
