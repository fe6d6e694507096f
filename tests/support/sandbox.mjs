// SPDX-License-Identifier: Apache-2.0
// One sandbox through the routes of its own host.

import assert from 'node:assert/strict';

import {events, open} from './http.mjs';

const RUN_LIMIT_MS = 180_000;

export class Sandbox {
  constructor(daemon, id) {
    this.daemon = daemon;
    this.id = id;
  }

  post(path, json, options = {}) {
    return this.daemon.request(this.id, {method: 'POST', path, json, ...options});
  }

  /** Creates it, without OpenCode unless asked for. */
  async create(options = {}) {
    const answer = await this.post('/create', {opencode: false, ...options}, {limitMs: 200_000});
    assert.equal(answer.status, 200, `create ${this.id}: ${answer.text}`);
    return answer.json();
  }

  delete() {
    return this.daemon.request(this.id, {method: 'DELETE', path: '/'});
  }

  /** Begins a command: {status, headers, events, close}. */
  async start(command, options = {}) {
    const body = typeof command === 'object' ? command : {command, ...options};
    const answer = await open(this.daemon.port, {
      host: this.daemon.host(this.id), method: 'POST', path: '/run', json: body});
    return {...answer, events: events(answer.stream)};
  }

  /** Runs a command to its end: {status, headers, events, stdout, stderr, exitCode, last}. */
  async run(command, options = {}) {
    const started = await this.start(command, options);
    if (started.status !== 200) {
      let text = '';
      for await (const part of started.stream) text += part;
      assert.fail(`run ${JSON.stringify(command)}: ${started.status} ${text}`);
    }
    const all = [];
    const limit = setTimeout(() => started.close(), RUN_LIMIT_MS);
    try {
      for await (const event of started.events) all.push(event);
    } finally {
      clearTimeout(limit);
    }
    const last = all.at(-1);
    const bytes = (type) => Buffer.concat(all.filter((one) => one.type === type).map(eventBytes));
    return {
      status: started.status, headers: started.headers,
      events: all, last, exitCode: last?.exitCode,
      stdout: bytes('stdout').toString(), stderr: bytes('stderr').toString(),
      stdoutBytes: bytes('stdout'), stderrBytes: bytes('stderr'),
    };
  }

  /** Standard output of a command that must succeed. */
  async sh(command, options = {}) {
    const result = await this.run(command, options);
    assert.equal(result.exitCode, 0,
                 `${command}\n${result.stdout}${result.stderr}${JSON.stringify(result.last)}`);
    return result.stdout;
  }

  /** Runs a program text inside with python3 and returns the JSON that it prints. */
  async python(program, options = {}) {
    const text = Buffer.from(program).toString('base64');
    return JSON.parse(await this.sh(`echo ${text} | base64 -d | python3 -`, options));
  }

  /** Writes a file inside. */
  async write(path, text) {
    const encoded = Buffer.from(text).toString('base64');
    await this.sh(`mkdir -p "$(dirname '${path}')" && echo ${encoded} | base64 -d > '${path}'`);
  }

  /** Starts a program that outlives the request. After `exec program` it is that program already. */
  async background(command) {
    const runs = command.startsWith('exec ') ? `; while pgrep -f '^bash -c exec ' > /tmp/begins; do sleep 0.01; done` : '';
    await this.sh(`setsid -f bash -c ${quote(command)} </dev/null >/tmp/background.log 2>&1${runs}`);
  }

  async snapshot(dir, name) {
    const answer = await this.post('/snapshot', name ? {dir, name} : {dir});
    assert.equal(answer.status, 200, `snapshot ${dir}: ${answer.text}`);
    return answer.json();
  }

  async restore(snapshotId) {
    const answer = await this.daemon.request(this.id, {method: 'POST', path: `/restore/${snapshotId}`});
    assert.equal(answer.status, 200, `restore: ${answer.text}`);
    return answer.json();
  }
}

export const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function eventBytes(event) {
  return event.base64 === undefined ? Buffer.from(event.data) : Buffer.from(event.base64, 'base64');
}
