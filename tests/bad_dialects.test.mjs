// SPDX-License-Identifier: Apache-2.0
// Bodies that the description of the API does not name, or not to their last member: those of the Sandbox SDK's routes, of the
// hosts of sandboxes, of the first message of a command's WebSocket, and objects within bodies. What is none of its type
// is refused in the words of its dialect, and nothing comes of it.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import WebSocket from 'ws';

import {Daemon} from './support/daemon.mjs';
import {good} from './support/good_requests.mjs';
import {wrongFor} from './support/wrong_values.mjs';

const text = {type: 'string'};
const yes = {type: 'boolean'};
const list = {type: 'array'};
const map = {type: 'object', additionalProperties: text};
const object = {type: 'object'};
const number = (minimum, maximum) => ({type: 'integer', minimum, maximum});

const LONG = 'x'.repeat((1 << 20) + 1);
const BROKEN = ['{', '[]', '"x"', '7', 'null', 'true', '{"a":NaN}', '\xff', '{"a":"\xff"}', '{}{}', '{"a":'.repeat(3000) + '1' + '}'.repeat(3000), '\0'];

describe('bad bodies, of every dialect', () => {
  let daemon;
  let api;

  before(async () => {
    daemon = await Daemon.start();
    api = (await daemon.request('', {path: '/v1/openapi.json'})).json();
    await daemon.sandbox('bad').create();
    await daemon.sandbox('bad').sh('echo x > /workspace/file; mkdir /workspace/dir');
  });
  after(() => daemon?.cleanup());

  const healthy = async () => {
    assert.equal((await daemon.request('', {path: '/health'})).status, 200);
    assert.equal(await daemon.sandbox('bad').sh('cat /workspace/file; ls /workspace'), 'x\ndir\nfile\n');
    assert.deepEqual(await daemon.ids(), ['bad']);
  };

  /** What is wrong about an answer that ought to be a refusal with a `code` and a `message`. */
  function problemOf({status, headers, text: body}, statuses = [400]) {
    if (!statuses.includes(status)) return `${status} ${body.slice(0, 300)}`;
    if (!/^application\/json/.test(headers['content-type'] ?? '')) return `no JSON: ${body.slice(0, 300)}`;
    const {code, message} = JSON.parse(body);
    if (!/^[A-Z][A-Z0-9_]+$/.test(code) || !(message.length > 5)) return `no reason: ${body.slice(0, 300)}`;
    return body.length > 8192 ? `a refusal of ${body.length} bytes` : undefined;
  }

  const post = (host, path, json, more = {}) => daemon.request(host, {method: 'POST', path, json, limitMs: 60_000, ...more});
  const postBytes = (host, path, body) => daemon.request(host, {
    method: 'POST', path, body: Buffer.from(body, 'latin1'), headers: {'Content-Type': 'application/json'}, limitMs: 60_000});

  /** Every field of `fields` wrong in `base`; `at` puts them where they belong. */
  async function tryFields(problems, what, fields, base, ask, {at = (fieldsOf) => fieldsOf, notWrong = {}, anyLength = []} = {}) {
    let tried = 0;
    for (const [name, field] of Object.entries(fields)) {
      const long = field.type === 'string' ? [LONG] : field.type === 'array' ? [[LONG]] : field.additionalProperties ? [{[LONG]: 'x'}, {A: LONG}] : [];
      for (const value of [...wrongFor(field), ...(anyLength.includes(name) ? [] : long)]) {
        if ((notWrong[name] ?? []).some((one) => JSON.stringify(one) === JSON.stringify(value))) continue;
        ++tried;
        const isLong = JSON.stringify(value).length > 1000;
        const problem = problemOf(await ask(at({...base, [name]: value})), isLong ? [400, 404, 409, 413] : [400]);
        if (problem) problems.push(`${what} ${name} = ${JSON.stringify(value).slice(0, 60)}: ${problem}`);
      }
    }
    return tried;
  }

  async function tryBroken(problems, host, path) {
    for (const body of BROKEN) {
      const problem = problemOf(await postBytes(host, path, body));
      if (problem) problems.push(`${path} with ${JSON.stringify(body).slice(0, 40)}: ${problem}`);
    }
    return BROKEN.length;
  }

  // The fields that the SDK's clients send (0.12.10).
  const session = {sessionId: text};
  const timeout = number(1);
  const sdk = {
    '/api/execute': [{command: 'true', sessionId: 's'}, {command: text, ...session, cwd: text, env: map, timeoutMs: timeout, background: yes}],
    '/api/execute/stream': [{command: 'true', sessionId: 's'}, {command: text, ...session, cwd: text, env: map, timeoutMs: timeout}],
    '/api/session/create': [{}, {id: text, cwd: text, env: map, commandTimeoutMs: timeout}],
    '/api/session/delete': [{}, {sessionId: text}],
    '/api/read': [{path: '/workspace/file', sessionId: 's'}, {path: text, ...session, encoding: text}],
    '/api/read/stream': [{path: '/workspace/file', sessionId: 's'}, {path: text, ...session}],
    '/api/write': [{path: '/workspace/none/x', content: '', sessionId: 's'}, {path: text, content: text, ...session, encoding: text}],
    '/api/delete': [{path: '/workspace/none', sessionId: 's'}, {path: text, ...session}],
    '/api/rename': [{oldPath: '/workspace/none', newPath: '/workspace/none2', sessionId: 's'}, {oldPath: text, newPath: text, ...session}],
    '/api/move': [{sourcePath: '/workspace/none', destinationPath: '/workspace/none2', sessionId: 's'},
                  {sourcePath: text, destinationPath: text, ...session}],
    '/api/mkdir': [{path: '/workspace/none/x', sessionId: 's'}, {path: text, ...session, recursive: yes}],
    '/api/list-files': [{path: '/workspace', sessionId: 's'}, {path: text, ...session, options: object}],
    '/api/exists': [{path: '/workspace/file', sessionId: 's'}, {path: text, ...session}],
    '/api/process/start': [{command: 'true', sessionId: 's'},
                           {command: text, ...session, processId: text, cwd: text, env: map, timeoutMs: timeout, autoCleanup: yes}],
    '/api/port-watch': [{port: 3000}, {port: number(1, 65535), mode: text, path: text, statusMin: number(100, 599), statusMax: number(100, 599),
                                       processId: text, interval: number(0)}],
    '/api/expose-port': [{}, {port: number(1, 65535)}],
    '/api/git/checkout': [{repoUrl: 'file:///etc', sessionId: 's'},
                          {repoUrl: text, ...session, branch: text, targetDir: text, depth: number(1), timeoutMs: timeout}],
    '/api/watch': [{path: '/workspace/none'}, {path: text, recursive: yes, include: list, exclude: list, events: list, ...session}],
    '/api/watch/check': [{path: '/workspace'}, {path: text, recursive: yes, include: list, exclude: list, since: text, ...session}],
    '/api/backup/create': [{dir: '/workspace/dir', archivePath: '/var/backups/x.sqsh'},
                           {dir: text, archivePath: text, excludes: list, gitignore: yes, compression: object}],
    '/api/backup/restore': [{dir: '/workspace/dir', archivePath: '/var/backups/x.sqsh'}, {dir: text, archivePath: text}],
    '/api/contexts': [{}, {language: text, cwd: text, env_vars: map}],
    '/api/execute/code': [{code: '1'}, {code: text, context_id: text, language: text, env_vars: map, timeout_ms: timeout}],
  };

  it('are refused by the routes of the SDK', async () => {
    const problems = [];
    let tried = 0;
    for (const [path, [base, fields]] of Object.entries(sdk)) {
      const ask = (json) => post('sdk--bad', path, json);
      tried += await tryFields(problems, path, fields, base, ask, {
        // Content is any text, and a version that nobody gave is one that is over.
        notWrong: path === '/api/write' ? {content: ['a\0b']} : {}, anyLength: ['content', 'code', 'since']});
      tried += await tryBroken(problems, 'sdk--bad', path);
    }
    assert.deepEqual(problems, []);
    assert.ok(tried > 500, `${tried}`);
    await healthy();
  });

  it('are refused by the hosts of sandboxes', async () => {
    const problems = [];
    let tried = 0;
    for (const [operationId, path] of Object.entries({
      createSandbox: '/create', forkSandbox: '/fork', runCommand: '/run', cloneRepository: '/gitClone', createSnapshot: '/snapshot',
      restoreSnapshot: `/restore/${'f'.repeat(64)}`})) {
      const operation = Object.values(api.paths).flatMap((methods) => Object.values(methods)).find((one) => one.operationId === operationId);
      const {properties} = operation.requestBody.content['application/json'].schema;
      const fields = Object.fromEntries(Object.entries(properties).filter(([, field]) => field.type));
      assert.ok(Object.keys(fields).length > 1, operationId);
      for (const field of Object.values(fields)) field.type = [field.type].flat().filter((type) => type !== 'null')[0];
      const ask = (json) => post('bad', path, json);
      tried += await tryFields(problems, path, fields, good[operationId] ?? {}, ask, {anyLength: ['command']});
      tried += await tryBroken(problems, 'bad', path);
    }
    assert.deepEqual(problems, []);
    assert.ok(tried > 150, `${tried}`);
    await healthy();
  });

  it('are refused as the first message of a command on a WebSocket', async () => {
    const ask = (message) => new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/v1/sandboxes/bad/exec/ws`, {headers: {Host: daemon.bare}, perMessageDeflate: false});
      const frames = [];
      const timer = setTimeout(() => { socket.terminate(); reject(new Error(`no end of ${String(message).slice(0, 60)}`)); }, 20_000);
      socket.on('open', () => socket.send(message));
      socket.on('message', (data, isBinary) => frames.push(isBinary ? data : data.toString()));
      socket.on('error', reject);
      socket.on('close', (code) => { clearTimeout(timer); resolve({code, frames}); });
    });
    const problemOfFrames = ({code, frames}) => {
      if (code === 1009) return undefined;
      const last = JSON.parse(String(frames.at(-1) ?? '{}'));
      if (last.type !== 'error' || !/^[A-Z][A-Z0-9_]+$/.test(last.code)) return `${code} ${frames.join(' ').slice(0, 300)}`;
      if (!((last.message ?? last.error)?.length > 5) || last.code === 'INTERNAL_ERROR') return JSON.stringify(last).slice(0, 300);
      return undefined;
    };
    const {properties} = api.paths['/v1/sandboxes/{id}/exec'].post.requestBody.content['application/json'].schema;
    const fields = {...properties, tty: yes, cols: number(1, 1000), rows: number(1, 1000)};
    delete fields.encoding;
    const problems = [];
    let tried = 0;
    for (const [name, field] of Object.entries(fields)) {
      const type = [field.type].flat()[0];
      for (const value of [...wrongFor({...field, type}), ...(type === 'string' && !/^stdin|^command/.test(name) ? [LONG] : [])]) {
        if (name === 'stdin' && typeof value === 'string') continue;
        ++tried;
        const tty = ['cols', 'rows'].includes(name) ? {tty: true} : {};
        const problem = problemOfFrames(await ask(JSON.stringify({command: 'true', ...tty, [name]: value})));
        if (problem) problems.push(`${name} = ${JSON.stringify(value).slice(0, 60)}: ${problem}`);
      }
    }
    for (const message of [...BROKEN.filter((one) => !one.includes('\xff')), '', Buffer.from('{"command":"true"}'), Buffer.from([0xff]), '{}',
                           '{"command":""}', '{"argv":[]}', '{"command":"true","nobody":1}']) {
      ++tried;
      const problem = problemOfFrames(await ask(message));
      if (problem) problems.push(`${String(message).slice(0, 40)}: ${problem}`);
    }
    assert.deepEqual(problems, []);
    assert.ok(tried > 60, `${tried}`);
    await healthy();
  });

  it('are refused in the objects within bodies', async () => {
    const problems = [];
    let tried = 0;
    const members = [
      ['/v1/sandboxes/bad/buckets', 'POST', (credentials) => ({bucket: 'backups', path: '/workspace/b', endpoint: 'http://127.0.0.1:9', credentials}),
       {accessKeyId: 'a', secretAccessKey: 'b'}, {accessKeyId: text, secretAccessKey: text}],
      ['/v1/sandboxes/bad/git/commit', 'POST', (author) => ({dir: '/workspace', message: 'x', author}), {name: 'A', email: 'a@b'}, {name: text, email: text}],
      ['/v1/sandboxes/bad', 'PATCH', (snapshots) => ({snapshots}), {}, {onStop: yes, onStart: yes, interval: {type: 'string'}, paths: list}],
      ['/v1/sandboxes/bad/create', 'POST', (snapshots) => ({snapshots}), {}, {onStop: yes, onStart: yes, interval: {type: 'string'}, paths: list}],
    ];
    for (const [path, method, at, base, fields] of members) {
      const ask = (json) => daemon.request('', {method, path, json, limitMs: 60_000});
      tried += await tryFields(problems, path, fields, base, ask, {at});
      for (const name of Object.keys(fields)) {
        ++tried;
        const problem = problemOf(await ask(at({...base, [`${name}s`]: 'x'})));
        if (problem) problems.push(`${path} with the member ${name}s: ${problem}`);
      }
    }
    // The bridge's own words: an error, and one of its codes.
    const mount = async (options) => {
      const answer = await daemon.request('', {method: 'POST', path: '/v1/sandbox/bad/mount', limitMs: 60_000,
                                               json: {bucket: 'backups', mountPath: '/workspace/b', options}});
      const body = JSON.parse(answer.text);
      assert.deepEqual(Object.keys(body), ['error', 'code'], answer.text);
      return {...answer, text: JSON.stringify({code: body.code.toUpperCase(), message: body.error})};
    };
    const credentials = {accessKeyId: 'a', secretAccessKey: 'b'};
    tried += await tryFields(problems, 'mount options', {endpoint: text, region: text, provider: text, prefix: text, readOnly: yes, credentials: object},
                             {endpoint: 'http://127.0.0.1:9', credentials}, mount);
    tried += await tryFields(problems, 'mount options.credentials', {accessKeyId: text, secretAccessKey: text}, credentials,
                             (given) => mount({endpoint: 'http://127.0.0.1:9', credentials: given}));
    const listFiles = (options) => post('sdk--bad', '/api/list-files', {path: '/workspace', sessionId: 's', options});
    tried += await tryFields(problems, 'list-files options', {recursive: yes, includeHidden: yes}, {}, listFiles);
    assert.deepEqual(problems, []);
    assert.ok(tried > 60, `${tried}`);
    await healthy();
  });
});
