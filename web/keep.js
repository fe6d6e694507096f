// SPDX-License-Identifier: Apache-2.0
// How a snapshot is called and how long it is kept: name, tags, expiry, and its end.

import * as api from './api.js';
import * as words from './snapshot_words.js';

/** Two dialogs. */
export function keeping() {
  return {
    snapshot: {},
    form: {name: '', tags: '', ttl: ''},
    lifetimes: [
      {value: '', text: 'as it is'},
      {value: '1d', text: '1 day from now'},
      {value: '3d', text: '3 days from now'},
      {value: '1w', text: '1 week from now'},
      {value: '30d', text: '30 days from now'},
      {value: 'never', text: 'for good'},
    ],
    error: null,
    busy: false,

    edit({snapshot}) {
      this.begin(snapshot);
      this.form = {name: snapshot.name, tags: snapshot.tags.join(', '), ttl: ''};
      this.$refs.edit.showModal();
    },

    askDelete({snapshot}) {
      this.begin(snapshot);
      this.$refs.remove.showModal();
    },

    begin(snapshot) {
      Object.assign(this, {snapshot, error: null, busy: false});
    },

    cancel() {
      this.$refs.edit.close();
      this.$refs.remove.close();
    },

    get title() {
      return this.snapshot.snapshotId ? words.title(this.snapshot) : '';
    },

    get source() {
      const {sandbox, dir, createdAt} = this.snapshot;
      return createdAt ? `${sandbox || '?'}:${dir}, ${new Date(createdAt).toLocaleString()}` : '';
    },

    save() {
      const tags = this.form.tags.split(',').map((one) => one.trim()).filter(Boolean);
      const changes = {name: this.form.name.trim(), tags: [...new Set(tags)]};
      if (this.form.ttl) changes.ttl = this.form.ttl;
      const {snapshotId} = this.snapshot;
      this.act(async () => {
        const changed = await api.changeSnapshot(snapshotId, changes);
        this.announce('snapshot-replaced', {before: snapshotId, changed});
        this.say('Saved.');
      });
    },

    remove() {
      const {snapshotId} = this.snapshot;
      this.act(async () => {
        await api.deleteSnapshot(snapshotId);
        this.announce('snapshot-removed', {id: snapshotId});
        this.say('The snapshot is deleted.');
      });
    },

    async act(work) {
      this.busy = true;
      this.error = null;
      try {
        await work();
        this.cancel();
      } catch (error) {
        this.error = api.problemOf(error);
      } finally {
        this.busy = false;
      }
    },
  };
}
