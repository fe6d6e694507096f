// SPDX-License-Identifier: Apache-2.0

const MOST_PENDING = 64 << 20;

/**
 * The JSON of server-sent events; `onId` hears the id of each that has one. Leaving the loop ends the request. What is
 * events already, as the streams of this client are, is passed on.
 */
export async function* parseSSEStream<Event>(
  stream: AsyncIterable<unknown>, options?: AbortSignal | ((id: string) => void)): AsyncGenerator<Event, void, void> {
  const signal = typeof options === 'object' ? options : undefined;
  const onId = typeof options === 'function' ? options : undefined;
  const decoder = new TextDecoder();
  let pending = '';
  for await (const part of stream) {
    signal?.throwIfAborted();
    if (typeof part !== 'string' && !(part instanceof Uint8Array)) {
      yield part as Event;
      continue;
    }
    pending += typeof part === 'string' ? part : decoder.decode(part, {stream: true});
    for (let end = pending.indexOf('\n\n'); end >= 0; end = pending.indexOf('\n\n')) {
      const lines = pending.slice(0, end).split('\n');
      const of = (field: string) => lines.filter((line) => line.startsWith(`${field}:`))
        .map((line) => line.slice(field.length + (line[field.length + 1] === ' ' ? 2 : 1)));
      const data = of('data').join('\n');
      const id = of('id').at(-1);
      if (id !== undefined) onId?.(id);
      pending = pending.slice(end + 2);
      if (data !== '') yield JSON.parse(data) as Event;
    }
    if (pending.length > MOST_PENDING) throw new Error('an event has more than 64 MiB');
  }
}

/** Output as bytes: events and chunks hold text, or base64 where it is none. */
export function bytesOf(piece: {data?: string; base64?: string}): Buffer {
  return piece.base64 === undefined ? Buffer.from(piece.data ?? '') : Buffer.from(piece.base64, 'base64');
}
