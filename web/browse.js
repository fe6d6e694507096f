// SPDX-License-Identifier: Apache-2.0
// Looks into a snapshot: its directories, and its files as text where they are.

import * as api from './api.js';
import * as words from './snapshot_words.js';

const MOST_TEXT = 256 << 10;

const KINDS = {dir: 'directory', file: 'file', symlink: 'link', fifo: 'pipe', socket: 'socket', device: 'device'};

/** A name as it stands in a path of an address. Names are bytes: what is no text is in base64. */
function encodedName(node) {
  if (node.nameBase64 === undefined) return encodeURIComponent(node.name);
  return Array.from(atob(node.nameBase64), (c) => '%' + c.charCodeAt(0).toString(16).padStart(2, '0')).join('');
}

/** The text of bytes, or null when they are none. */
function asText(bytes) {
  if (bytes.subarray(0, 8192).includes(0)) return null;
  try {
    return new TextDecoder('utf-8', {fatal: true}).decode(bytes);
  } catch {
    return null;
  }
}

/** A dialog. */
export function browser() {
  return {
    snapshot: {},
    path: [],  // [{name, encoded}] from the snapshot's directory
    entries: [],
    cursor: '',
    file: null,  // {name, facts, text, note, url}
    error: null,
    busy: false,
    turn: 0,

    open({snapshot}) {
      this.snapshot = snapshot;
      this.entries = [];
      this.$refs.dialog.showModal();
      this.go([]);
    },

    close() {
      this.$refs.dialog.close();
    },

    get title() {
      return this.snapshot.snapshotId ? words.title(this.snapshot) : '';
    },

    get source() {
      const {sandbox, createdAt} = this.snapshot;
      return createdAt ? `${sandbox || '?'}, ${new Date(createdAt).toLocaleString()}` : '';
    },

    get crumbs() {
      const last = this.path.length;
      return [{name: this.snapshot.dir ?? '', encoded: ''}, ...this.path].map((one, at) => (
        {key: at, name: one.name, at, current: at === last ? 'location' : null}));
    },

    encoded(path) {
      return path.map((one) => one.encoded).join('%2F');
    },

    /** Runs `load` unless something else is asked for meanwhile; `then` gets what it gives. */
    async show(load, then) {
      const turn = ++this.turn;
      this.busy = true;
      this.error = null;
      try {
        const loaded = await load();
        if (turn === this.turn) then(loaded);
      } catch (error) {
        if (turn === this.turn) this.error = api.problemOf(error);
      } finally {
        if (turn === this.turn) this.busy = false;
      }
    },

    go(path) {
      this.show(() => api.listTree(this.snapshot.snapshotId, this.encoded(path), ''), (listing) => {
        this.path = path;
        this.file = null;
        this.entries = listing.entries.map((node) => this.shown(node));
        this.cursor = listing.cursor ?? '';
        this.$refs.content.scrollTop = 0;
        this.$refs.content.focus();
      });
    },

    more() {
      const {snapshotId} = this.snapshot;
      this.show(() => api.listTree(snapshotId, this.encoded(this.path), this.cursor), (listing) => {
        this.entries = [...this.entries, ...listing.entries.map((node) => this.shown(node))];
        this.cursor = listing.cursor ?? '';
      });
    },

    shown(node) {
      const encoded = encodedName(node);
      return {
        ...node, encoded, key: encoded,
        sizeText: node.type === 'file' ? words.bytes(node.size) : '',
        time: words.when(node.mtime),
        targetText: node.type === 'symlink' ? '→ ' + node.target : '',
        kind: KINDS[node.type] ?? node.type,
        iconClass: 'icon-' + (KINDS[node.type] ? node.type : 'device'),
        can: node.type === 'dir' || node.type === 'file',
      };
    },

    get isEmptyDirectory() {
      return !this.busy && !this.error && !this.file && this.entries.length === 0;
    },

    get showsEntries() {
      return !this.file;
    },

    goTo(crumb) {
      this.go(this.path.slice(0, crumb.at));
    },

    choose(entry) {
      const path = [...this.path, {name: entry.name, encoded: entry.encoded}];
      if (entry.type === 'dir') {
        this.go(path);
      } else if (entry.type === 'file') {
        this.read(entry, path);
      }
    },

    read(entry, path) {
      const {snapshotId} = this.snapshot;
      const encoded = this.encoded(path);
      const file = {
        name: entry.name,
        facts: `${words.bytes(entry.size)} · ${entry.mode} · ${words.when(entry.mtime)}`,
        url: api.fileUrl(snapshotId, encoded), text: null, note: '',
      };
      const load = async () => {
        if (entry.size > MOST_TEXT) return {note: 'Too large to be shown here. Download it instead.'};
        const text = asText(await api.readFile(snapshotId, encoded));
        if (text === null) return {note: 'This is no text. Download it instead.'};
        return text === '' ? {note: 'The file is empty.'} : {text};
      };
      this.show(load, (loaded) => {
        this.path = path;
        this.file = {...file, ...loaded};
        this.$refs.content.scrollTop = 0;
        this.$refs.content.focus();
      });
    },

    get fileText() {
      return this.file?.text ?? '';
    },

    /** The directory that is shown can be restored where its name is text. */
    get canRestore() {
      return !this.file && !this.path.some((one) => one.encoded !== encodeURIComponent(one.name));
    },

    get restoreLabel() {
      return this.path.length === 0 ? 'Restore…' : 'Restore this directory…';
    },

    restore() {
      const from = this.path.map((one) => one.name).join('/');
      this.close();
      this.announce('restore-snapshot', {snapshot: this.snapshot, from});
    },
  };
}
