// SPDX-License-Identifier: Apache-2.0
// What differs between two snapshots.

import * as api from './api.js';
import * as words from './snapshot_words.js';

const MOST_ENTRIES = 1000;
const MOST_CHOICES = 200;

/** A dialog. */
export function comparison() {
  return {
    snapshot: {},
    others: [],
    other: '',
    result: null,
    error: null,
    busy: false,
    turn: 0,

    async open({snapshot}) {
      Object.assign(this, {snapshot, others: [], other: '', result: null, error: null});
      this.$refs.dialog.showModal();
      this.busy = true;
      try {
        const {sandbox, dir} = snapshot;
        const {snapshots} = await api.listSnapshots({sandbox, dir, limit: MOST_CHOICES});
        if (this.snapshot.snapshotId !== snapshot.snapshotId) return;
        this.others = snapshots.filter((one) => one.snapshotId !== snapshot.snapshotId)
                          .map((one) => ({...one, text: words.choice(one)}));
        // The one before it, or else whichever is nearest.
        const before = this.others.find((one) => one.createdAt <= snapshot.createdAt);
        this.other = (before ?? this.others.at(-1))?.snapshotId ?? '';
        await this.compare();
      } catch (error) {
        this.error = api.problemOf(error);
      } finally {
        this.busy = false;
      }
    },

    close() {
      this.$refs.dialog.close();
    },

    get title() {
      return this.snapshot.snapshotId ? words.title(this.snapshot) : '';
    },

    get isAlone() {
      return !this.busy && !this.error && this.others.length === 0;
    },

    isOther(one) {
      return one.snapshotId === this.other;
    },

    /** Told as what came about from the older to the newer. */
    get order() {
      const other = this.others.find((one) => one.snapshotId === this.other);
      const pair = [other ?? {}, this.snapshot];
      return (other?.createdAt ?? '') > this.snapshot.createdAt ? pair.reverse() : pair;
    },

    get sentence() {
      const [older, newer] = this.order;
      if (!older.snapshotId || !newer.snapshotId) return '';
      return `From ${words.title(older)} (${words.when(older.createdAt)}) to ${words.title(newer)} (${words.when(newer.createdAt)})`;
    },

    async compare() {
      if (!this.other) return;
      const turn = ++this.turn;
      this.busy = true;
      this.error = null;
      try {
        const [older, newer] = this.order;
        const result = await api.compareSnapshots(older.snapshotId, newer.snapshotId, MOST_ENTRIES);
        if (turn === this.turn) this.result = this.shown(result);
      } catch (error) {
        if (turn === this.turn) this.error = api.problemOf(error);
      } finally {
        if (turn === this.turn) this.busy = false;
      }
    },

    shown(result) {
      const counts = ['added', 'changed', 'removed', 'metadata'];
      const total = counts.reduce((sum, name) => sum + result[name], 0);
      const told = {metadata: 'touched'};
      return {
        same: total === 0,
        counts: counts.filter((name) => result[name] > 0).map((name) => (
          {name, className: 'count-change change-' + name,
           text: `${result[name].toLocaleString('en')} ${told[name] ?? name}`})),
        bytes: `+${words.bytes(result.bytesAdded)}, −${words.bytes(result.bytesRemoved)} of content`,
        entries: result.entries.map(words.change),
        rest: result.truncated ? `Only the first ${result.entries.length.toLocaleString('en')} are listed.` : '',
      };
    },

    changeClass(entry) {
      return 'change change-' + entry.kind;
    },
  };
}
