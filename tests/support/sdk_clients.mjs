// SPDX-License-Identifier: Apache-2.0
// @cloudflare/sandbox as npm has it, and what its clients need to find a daemon.

import dns from 'node:dns';
import {register} from 'node:module';

import {WebSocket} from 'ws';

register('./sdk_loader.mjs', import.meta.url);
export const sdk = await import('@cloudflare/sandbox');

// Browsers and curl know that these are this machine; Node.js asks the resolver, which may not.
const lookup = dns.lookup;
dns.lookup = (name, options, done) =>
  lookup(name.endsWith('.localhost') ? '127.0.0.1' : name, options, done);
// Node.js has one of its own from version 22 on.
globalThis.WebSocket ??= WebSocket;

export const transports = ['http', 'websocket'];

/** What a client is told to talk to this sandbox over this transport. */
export function optionsFor(daemon, id, transport) {
  const host = daemon.host(`sdk--${id}`);
  const options = {baseUrl: `http://${host}`};
  if (transport === 'websocket') {
    Object.assign(options, {transportMode: 'websocket', wsUrl: `ws://${host}/ws`});
  }
  return options;
}
