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

async function send(method, path, body, signal) {
  const options = {method, signal, headers: {}};
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
export const takeSnapshot = (id, options) => json('POST', of(id) + '/snapshot', options);
export const restoreSnapshot = (id, snapshotId) =>
    json('POST', `${of(id)}/restore/${encodeURIComponent(snapshotId)}`);
export const listSnapshots = async (id) =>
    (await json('GET', of(id) + '/snapshots')).snapshots ?? [];

/** Runs a command and hands every event of its output to onEvent, as it comes. */
export async function runCommand(id, options, onEvent, signal) {
  const response = await send('POST', of(id) + '/run', options, signal);
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

/** The text of an output event: bytes that are not UTF-8 travel as base64. */
export function eventText(event) {
  if (event.base64 === undefined) return event.data ?? '';
  const bytes = Uint8Array.from(atob(event.base64), (c) => c.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}
