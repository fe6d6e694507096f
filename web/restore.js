// SPDX-License-Identifier: Apache-2.0
// Asks where a snapshot, or a directory of it, shall be restored to, and does it.

import * as api from './api.js';
import * as snapshotWords from './snapshot_words.js';
import * as words from './words.js';

const NEW = '+';

/** Inside the dashboard's scope; a dialog. */
export function restoring() {
  return {
    snapshot: {},
    from: '',
    to: {sandbox: '', id: '', dir: '', merge: false},
    error: null,
    busy: false,

    /** {snapshot, from?}: `from` is a directory in it, relative to its own. */
    open({snapshot, from = ''}) {
      this.snapshot = snapshot;
      this.from = from;
      this.error = null;
      this.busy = false;
      const own = snapshot.sandbox || this.selected;
      const free = words.idProblem(own) === '' && !this.exists(own);
      let sandbox = this.viewsAll ? own : this.selected;
      if (!this.exists(sandbox)) sandbox = NEW;
      this.to = {
        sandbox,
        id: free ? own : words.suggestId(),
        dir: from ? `${snapshot.dir}/${from}` : snapshot.dir,
        merge: false,
      };
      this.$refs.dialog.showModal();
    },

    close() {
      this.$refs.dialog.close();
    },

    get what() {
      const title = this.snapshot.snapshotId ? snapshotWords.title(this.snapshot) : '';
      return this.from ? `${this.from} of ${title}` : title;
    },

    get source() {
      const {sandbox, dir, createdAt} = this.snapshot;
      return createdAt ? `${sandbox || '?'}:${dir}, ${new Date(createdAt).toLocaleString()}` : '';
    },

    get choices() {
      return [
        ...this.sandboxes.map((one) => ({value: one.id, text: one.id})),
        {value: NEW, text: 'a new sandbox…'},
      ];
    },

    isTo(choice) {
      return this.to.sandbox === choice.value;
    },

    get isNew() {
      return this.to.sandbox === NEW;
    },

    get target() {
      return this.isNew ? this.to.id : this.to.sandbox;
    },

    get warning() {
      const dir = this.to.dir || this.snapshot.dir;
      if (this.isNew) return `${this.target} is created, and ${dir} gets what the snapshot holds.`;
      return this.to.merge ?
          `Files of the snapshot are put into ${dir}; others stay.` :
          `${dir} becomes what the snapshot holds; files that it does not have are removed.`;
    },

    async confirm() {
      const id = this.target;
      const options = {dir: this.to.dir.trim(), mode: this.to.merge ? 'merge' : 'replace'};
      if (this.from) options.from = this.from;
      if (!options.dir || options.dir === this.snapshot.dir) delete options.dir;
      this.error = null;
      if (this.isNew && !await this.createTarget(id)) return;
      this.close();
      const {snapshotId, sandbox, dir} = this.snapshot;
      const result = await this.transfer(
          `Restore of ${this.what} into ${id}:${options.dir ?? dir}`,
          (onProgress) => api.restoreSnapshot(id, snapshotId, options, onProgress),
          snapshotWords.restored);
      if (result) {
        const back = id === sandbox && options.mode === 'replace' && !this.from && !options.dir;
        this.say(back ? `${result.dir} is as it was.` : `Restored into ${result.dir} of ${id}.`);
      }
      this.refresh();
    },

    async createTarget(id) {
      const problem = words.idProblem(id);
      if (problem || this.exists(id)) {
        this.error = {code: 'INVALID_NAME', message: problem || `${id} exists already.`};
        return false;
      }
      this.busy = true;
      try {
        // What is asked for is put there, and nothing else.
        const made = await api.createSandbox(id, {opencode: false});
        this.created[id] = words.phases(made.phases);
        await this.refresh();
        this.select(id);
        return true;
      } catch (error) {
        this.error = api.problemOf(error);
        return false;
      } finally {
        this.busy = false;
      }
    },
  };
}
