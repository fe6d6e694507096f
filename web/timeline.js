// SPDX-License-Identifier: Apache-2.0
// The snapshots of one sandbox, or all there are, newest first.

import * as api from './api.js';
import * as words from './snapshot_words.js';

const PAGE = 40;
const MOST = 1000;
const POLL_MS = 10_000;

// A snapshot whose name or tags change gets another id; its line stays the same one.
const lines = new Map();
const lineOf = (id) => lines.get(id) ?? id;

/** Inside the dashboard's scope. */
export function timeline() {
  return {
    triggers: words.TRIGGERS,
    filter: {sandbox: '', dir: '', trigger: ''},
    list: [],
    cursor: '',
    dirs: [],
    known: false,
    loading: false,
    opened: '',
    error: null,
    form: {dir: '/workspace', name: '', freeze: false, busy: 0},

    init() {
      this.$watch('selected', () => this.reset());
      this.$watch('view', () => this.reset());
      this.$watch('current.state', () => this.load());
      setInterval(() => {
        if (document.visibilityState === 'visible' && this.hasSnapshots && !this.loading) this.load();
      }, POLL_MS);
      this.reset();
    },

    reset() {
      Object.assign(this.filter, {sandbox: '', dir: '', trigger: ''});
      this.dirs = [];
      this.restart();
    },

    restart() {
      this.list = [];
      this.cursor = '';
      this.known = false;
      this.opened = '';
      this.error = null;
      this.load();
    },

    query() {
      const sandbox = this.viewsAll ? this.filter.sandbox.trim() : this.selected;
      return {sandbox, dir: this.filter.dir.trim(), trigger: this.filter.trigger};
    },

    /** What is shown again, as it is now. */
    async load() {
      if (!this.viewsAll && !this.selected) return;
      const query = this.query();
      await this.fetch({...query, limit: Math.min(MOST, Math.max(PAGE, this.list.length))}, query, false);
    },

    async loadOlder() {
      const query = this.query();
      await this.fetch({...query, limit: PAGE, cursor: this.cursor}, query, true);
    },

    async fetch(parameters, query, older) {
      const same = () => JSON.stringify(query) === JSON.stringify(this.query());
      this.loading = true;
      try {
        const {snapshots, cursor} = await api.listSnapshots(parameters);
        if (!same()) return;
        this.list = older ? [...this.list, ...snapshots] : snapshots;
        this.cursor = cursor ?? '';
        this.known = true;
        this.error = null;
        this.dirs = [...new Set([...this.dirs, ...snapshots.map((one) => one.dir)])].sort();
      } catch (error) {
        if (same()) this.error = api.problemOf(error);
      } finally {
        this.loading = false;
      }
    },

    // --- what is shown ------------------------------------------------------------------------

    get heading() {
      return this.viewsAll ? 'All snapshots' : 'Snapshots';
    },

    get rows() {
      const most = Math.max(0, ...this.list.map((one) => one.bytesAdded ?? 0));
      const now = Date.now();
      const exists = (id) => this.exists(id);
      return this.list.map((one, at) => ({
        ...words.row(one, {previous: this.list[at - 1], most, now, all: this.viewsAll, exists}),
        line: lineOf(one.snapshotId),
      }));
    },

    get total() {
      const added = this.list.reduce((sum, one) => sum + (one.bytesAdded ?? 0), 0);
      const count = this.list.length;
      return `${count}${this.cursor ? '+' : ''} ${count === 1 ? 'snapshot' : 'snapshots'}, ${words.bytes(added)} added`;
    },

    get isFiltered() {
      const {sandbox, dir, trigger} = this.filter;
      return Boolean(sandbox || dir || trigger);
    },

    get showsNothing() {
      return this.known && this.list.length === 0;
    },

    get policy() {
      return this.viewsAll ? [] : words.policy(this.current.snapshots);
    },

    get policyPaths() {
      return this.policy.some((one) => one.mark) ? this.current.snapshots.paths.join(', ') : '';
    },

    get dirChoices() {
      return [...new Set(['/workspace', ...(this.current.snapshots?.paths ?? []), ...this.dirs])];
    },

    get hasDirs() {
      return !this.viewsAll && (this.dirs.length > 1 || this.filter.dir !== '');
    },

    pressed(name, value) {
      return this.filter[name] === value ? 'true' : 'false';
    },

    filterBy(name, value) {
      this.filter[name] = this.filter[name] === value ? '' : value;
      this.restart();
    },

    showAllOf() {
      Object.assign(this.filter, {sandbox: '', dir: '', trigger: ''});
      this.restart();
    },

    markClass(trigger) {
      return 'mark mark-' + trigger;
    },

    isOpen(row) {
      return this.opened === row.snapshotId;
    },

    toggle(row) {
      this.opened = this.isOpen(row) ? '' : row.snapshotId;
    },

    archiveUrl(row) {
      return api.archiveUrl(row.snapshotId);
    },

    // --- what is done -------------------------------------------------------------------------

    get isTaking() {
      return this.form.busy > 0;
    },

    async takeSnapshot() {
      const id = this.selected;
      const options = {dir: this.form.dir.trim() || '/workspace'};
      if (this.form.name.trim()) options.name = this.form.name.trim();
      if (this.form.freeze) options.freeze = true;
      this.form.busy++;
      const result = await this.transfer(
          `Snapshot of ${id}:${options.dir}`, (onProgress) => api.takeSnapshot(id, options, onProgress),
          words.taken);
      this.form.busy--;
      if (!result) return;
      this.form.name = '';
      this.say(`Snapshot of ${result.dir} taken.`);
      this.refresh();
      if (!this.isFiltered) this.opened = '';
      await this.load();
    },

    async togglePin(row) {
      try {
        const changed = await api.changeSnapshot(row.snapshotId, {pinned: !row.pinned});
        this.replace({before: row.snapshotId, changed});
        this.say(changed.pinned ? 'Pinned: it stays until it is unpinned.' : 'Unpinned.');
      } catch (error) {
        this.error = api.problemOf(error);
      }
    },

    replace({before, changed}) {
      lines.set(changed.snapshotId, lineOf(before));
      this.list = this.list.map((one) => (one.snapshotId === before ? changed : one));
      if (this.opened === before) this.opened = changed.snapshotId;
      if (this.cursor === before) this.cursor = changed.snapshotId;
    },

    remove(id) {
      this.list = this.list.filter((one) => one.snapshotId !== id);
      this.load();
    },
  };
}
