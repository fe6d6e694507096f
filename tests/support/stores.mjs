// SPDX-License-Identifier: Apache-2.0
// Stores of snapshots that fail as real ones do: one that is full, and one that takes connections and says nothing.

import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

function mount(...args) {
  const made = spawnSync('mount', args, {encoding: 'utf8'});
  if (made.status !== 0) throw new Error(`mount ${args.join(' ')}: ${made.error?.message ?? made.stderr}`);
}

/** A directory with room for 4 MB. */
export class SmallStore {
  constructor() {
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-full-'));
    mount('-t', 'tmpfs', '-o', 'size=4m,mode=700', 'tmpfs', this.dir);
  }

  grow() { mount('-o', 'remount,size=100m', this.dir); }

  remove() {
    spawnSync('umount', [this.dir]);
    fs.rmdirSync(this.dir);
  }
}

/** What looks like an S3 server. `snapshots` is what a daemon's section [snapshots] says for it. */
export class SilentStore {
  static async start() {
    const store = new SilentStore();
    store.sockets = new Set();
    store.server = net.createServer((socket) => {
      store.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => store.sockets.delete(socket));
    });
    await new Promise((resolve) => store.server.listen(0, '127.0.0.1', resolve));
    store.snapshots = {
      store: 's3://bucket/prefix', endpoint: `http://127.0.0.1:${store.server.address().port}`, region: 'auto', style: 'path',
      access_key: 'a', secret_key: 'b', password: 'secret', deadline: '5s',
    };
    return store;
  }

  stop() {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}
