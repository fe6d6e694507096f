// SPDX-License-Identifier: Apache-2.0
// Watches of directories.

import assert from 'node:assert/strict';

import {eventually} from './daemon.mjs';
import {events, open} from './http.mjs';

/** A watch whose events are gathered: {seen, close, until(type, path), ended}; `last`: the id of an event to go on behind. */
export async function watch(daemon, id, query, last) {
  const answer = await open(daemon.port, {
    host: daemon.bare, path: `/v1/sandboxes/${id}/watch?${query}`, headers: last ? {'Last-Event-ID': last} : {}});
  assert.equal(answer.status, 200);
  const seen = [];
  let failure = null;
  const ended = (async () => {
    try {
      for await (const event of events(answer.stream)) seen.push(event);
    } catch (error) {
      failure = error;
    }
  })();
  await eventually('it watches', () => seen.some((one) => one.type === 'watching'));
  const has = (eventType, path) => seen.some((one) => one.eventType === eventType && one.path === path);
  return {
    seen, ended, last: () => seen.findLast((one) => one.lastEventId)?.lastEventId, has, close: answer.close, failure: () => failure,
    until: (eventType, path) => eventually(`${eventType} ${path} in ${JSON.stringify(seen.slice(-20))}`, () => has(eventType, path)),
    of: (path) => seen.filter((one) => one.path === path && one.type === 'event').map((one) => one.eventType),
  };
}
