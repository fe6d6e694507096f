// SPDX-License-Identifier: Apache-2.0
// The daemon's /v1 API on the page's own origin.

/** An error as the daemon words it. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export function problemOf(error) {
  return {code: error.code ?? 'PAGE_ERROR', message: error.message ?? String(error)};
}

async function failure(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // Not from the daemon's API: the status has to do.
  }
  return new ApiError(response.status, body.code ?? `HTTP_${response.status}`,
                      body.message ?? `The daemon answered ${response.status}.`);
}

async function send(method, path, body, {signal, headers = {}} = {}) {
  const options = {method, signal, headers: {...headers}};
  if (body !== undefined) {
    options.headers['Content-Type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch('/v1' + path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'UNREACHABLE', 'The daemon does not answer. Is it running?');
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function json(method, path, body) {
  const response = await send(method, path, body);
  return response.status === 204 ? null : response.json();
}

const of = (id) => '/sandboxes/' + encodeURIComponent(id);

export const listSandboxes = async () => (await json('GET', '/sandboxes')).sandboxes ?? [];
export const createSandbox = (id, options) => json('POST', of(id) + '/create', options);
export const deleteSandbox = (id) => json('DELETE', of(id));
export const gitClone = (id, options) => json('POST', of(id) + '/gitClone', options);
export const sleepSandbox = (id) => json('POST', of(id) + '/sleep', {});
export const usage = (id) => json('GET', of(id) + '/usage');
export const ports = async (id) => (await json('GET', of(id) + '/ports')).ports ?? [];
export const exposedPorts = async (id) => (await json('GET', of(id) + '/ports/exposed')).ports ?? [];
export const exposePort = (id, port) => json('POST', `${of(id)}/ports/${port}/expose`, {});
export const unexposePort = (id, port) => json('DELETE', `${of(id)}/ports/${port}/expose`);
export const stopSandbox = (id) => json('POST', of(id) + '/stop');

/** Hands every event of a stream to onEvent, as it comes. */
async function readEvents(response, onEvent) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const {done, value} = await reader.read();
    if (done) break;
    const blocks = (rest + decoder.decode(value, {stream: true})).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split('\n').filter((line) => line.startsWith('data:'))
                       .map((line) => line.slice(5).replace(/^ /, '')).join('\n');
      if (data) onEvent(JSON.parse(data));
    }
  }
}

/** Runs a command and hands every event of its output to onEvent, as it comes. */
export async function runCommand(id, options, onEvent, signal) {
  await readEvents(await send('POST', of(id) + '/run', options, {signal}), onEvent);
}

// --- snapshots ------------------------------------------------------------------------------------

const snapshotPath = (id) => '/snapshots/' + encodeURIComponent(id);

function query(parameters) {
  const text = Object.entries(parameters)
      .filter(([, value]) => value !== undefined && value !== '')
      .map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');
  return text ? '?' + text : '';
}

/** Does what takes a while: its progress goes to onProgress, its result or error is the outcome. */
async function follow(path, body, onProgress) {
  const response = await send('POST', path, body, {headers: {Accept: 'text/event-stream'}});
  let last = null;
  try {
    await readEvents(response, (event) => {
      if (event.type === 'progress') {
        onProgress(event);
      } else {
        last = event;
      }
    });
  } catch {
    last = null;
  }
  if (last?.type === 'complete') return last;
  if (last) throw new ApiError(response.status, last.code, last.message);
  throw new ApiError(0, 'CUT_OFF', 'The connection ended before the work did; it may go on. ' +
                                   'Look at the list in a moment.');
}

export const takeSnapshot = (id, options, onProgress) =>
    follow(of(id) + '/snapshot', options, onProgress);
export const restoreSnapshot = (id, snapshotId, options, onProgress) =>
    follow(`${of(id)}/restore/${encodeURIComponent(snapshotId)}`, options, onProgress);

/** {snapshots, cursor?}; filters: sandbox, dir, trigger, limit, cursor. */
export const listSnapshots = (filters) => json('GET', '/snapshots' + query(filters));
export const changeSnapshot = (id, changes) => json('PATCH', snapshotPath(id), changes);
export const deleteSnapshot = (id) => json('DELETE', snapshotPath(id));
export const compareSnapshots = (from, to, limit) =>
    json('GET', snapshotPath(from) + '/diff' + query({to, limit}));
export const archiveUrl = (id) => '/v1' + snapshotPath(id) + '/archive';

export const listTerminals = (id) => json('GET', of(id) + '/terminals');
export const closeTerminal = (id, name) =>
    send('DELETE', `${of(id)}/terminals/${encodeURIComponent(name)}`);

// Paths in snapshots are bytes: they come percent-encoded.
export const listTree = (id, path, cursor) =>
    json('GET', `${snapshotPath(id)}/tree?path=${path}&limit=500` +
                (cursor ? '&cursor=' + encodeURIComponent(cursor) : ''));
export const fileUrl = (id, path) => `/v1${snapshotPath(id)}/file?path=${path}`;

export async function readFile(id, path) {
  const response = await send('GET', `${snapshotPath(id)}/file?path=${path}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** The text of an output event: bytes that are not UTF-8 travel as base64. */
export function eventText(event) {
  if (event.base64 === undefined) return event.data ?? '';
  const bytes = Uint8Array.from(atob(event.base64), (c) => c.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}
