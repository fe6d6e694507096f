// SPDX-License-Identifier: Apache-2.0

import {setTimeout as sleep} from 'node:timers/promises';

import {AtollError} from './errors.js';
import {parseSSEStream} from './events.js';
import type {Transport} from './transport.js';
import type {FileWatchEvent, WatchOptions} from './types.js';

const PAUSE_MS = 250;
// As long as Atoll keeps a watch without its client.
const RESUME_MS = 60_000;

/** Events of what changes. A connection that is lost, or whose daemon is replaced, is made again behind the last event. */
export async function* watchFiles(transport: Transport, id: string, path: string, options: WatchOptions):
    AsyncGenerator<FileWatchEvent, void, void> {
  const {signal, resume = true, lastEventId, ...query} = options;
  let last = lastEventId;
  for (let lost = 0; ;) {
    try {
      const answer = await transport.open('watchFiles', {
        path: {id}, query: {path, ...query}, signal, ...(last === undefined ? {} : {headers: {'Last-Event-ID': last}})});
      for await (const event of parseSSEStream<FileWatchEvent>(answer.stream, (given) => { last = given; })) {
        lost = 0;
        const replaced = event.type === 'stopped' && event.reason.startsWith('the daemon');
        if (replaced && resume && last !== undefined) break;
        yield event;
        if (event.type === 'stopped' || event.type === 'error') return;
      }
    } catch (error) {
      // What was refused would be refused again.
      if (error instanceof AtollError && error.status < 500) throw error;
      if (signal?.aborted || !resume || last === undefined) throw error;
      if (lost !== 0 && Date.now() - lost > RESUME_MS) throw error;
    }
    if (!resume || last === undefined) return;
    if (lost === 0) lost = Date.now();
    if (Date.now() - lost > RESUME_MS) return;
    await sleep(PAUSE_MS, undefined, signal === undefined ? {} : {signal});
  }
}
