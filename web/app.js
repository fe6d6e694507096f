// SPDX-License-Identifier: Apache-2.0
// The dashboard: the list of sandboxes and what is done with one, over the daemon's /v1 API. Commands
// and snapshots are components of their own inside its scope.

import * as api from './api.js';
import {browser} from './browse.js';
import {commands} from './commands.js';
import {comparison} from './compare.js';
import {keeping} from './keep.js';
import {ports} from './ports.js';
import {restoring} from './restore.js';
import {terminals} from './terminals.js';
import {timeline} from './timeline.js';
import {transfers} from './transfers.js';
import {memoryShare, usage} from './usage.js';
import * as words from './words.js';

const POLL_MS = 2000;
// Every snapshot, whoever it is of. An id never holds a slash.
const ALL_SNAPSHOTS = '#/snapshots';

function dashboard() {
  return {
    ...transfers(),
    host: location.host,
    online: true,
    loaded: false,
    sandboxes: [],
    selected: '',
    view: 'sandbox',
    creating: false,
    createForm: {id: '', opencode: true, memory: '', cpus: '', disk: '', error: null, touched: false},
    clone: {repo: '', branch: '', busy: false, error: null, result: null},
    created: {},
    stop: {id: '', error: null},
    starting: '',
    deleting: {id: '', unsaved: false, busy: false, error: null},
    notice: '',

    init() {
      this.createForm.id = words.suggestId();
      addEventListener('hashchange', () => this.followAddress());
      document.addEventListener('visibilitychange', () => this.refreshIfVisible());
      setInterval(() => this.refreshIfVisible(), POLL_MS);
      this.followAddress();
      this.refresh();
    },

    // --- the list -----------------------------------------------------------------------------

    refreshIfVisible() {
      if (document.visibilityState === 'visible') this.refresh();
    },

    async refresh() {
      try {
        const list = await api.listSandboxes();
        list.sort((a, b) => (a.id < b.id ? -1 : 1));
        this.sandboxes = list;
        this.online = true;
        this.loaded = true;
        this.keepSelection();
      } catch (error) {
        this.online = error.status !== 0;
        this.loaded = true;
      }
    },

    keepSelection() {
      if (this.viewsAll || (this.selected && (this.current.id || this.creating))) return;
      this.select(this.sandboxes.length > 0 ? this.sandboxes[0].id : '');
    },

    get viewsAll() {
      return this.view === 'snapshots';
    },

    get current() {
      return this.sandboxes.find((one) => one.id === this.selected) ?? {};
    },

    get isEmpty() {
      return this.loaded && this.sandboxes.length === 0 && !this.viewsAll;
    },

    get hasCurrent() {
      return this.current.id !== undefined && !this.viewsAll;
    },

    get hasSnapshots() {
      return this.hasCurrent || this.viewsAll;
    },

    exists(id) {
      return this.sandboxes.some((one) => one.id === id);
    },

    ringClass(sandbox) {
      return 'ring ring-' + words.stateKind(sandbox.state);
    },

    itemClass(sandbox) {
      return this.isSelected(sandbox) === 'true' ? 'item item-selected' : 'item';
    },

    isSelected(sandbox) {
      return sandbox.id === this.selected && !this.viewsAll ? 'true' : 'false';
    },

    summary(sandbox) {
      return words.summary(sandbox);
    },

    hasUsage(sandbox) {
      return sandbox.state === 'running' && sandbox.usage?.memory !== undefined;
    },

    memoryShare(sandbox) {
      return memoryShare(sandbox);
    },

    get facts() {
      return words.facts(this.current);
    },

    get opencodeLine() {
      return this.current.state === 'running' ? words.opencodeLine(this.current.opencode) : '';
    },

    get stateLine() {
      return words.stateLine(this.isStopping ? {state: 'stopping'} : this.current);
    },

    get createdLine() {
      return this.created[this.selected] ?? '';
    },

    followAddress() {
      this.view = location.hash === ALL_SNAPSHOTS ? 'snapshots' : 'sandbox';
      if (!this.viewsAll) this.select(decodeURIComponent(location.hash.slice(1)));
      if (!this.viewsAll && this.loaded) this.keepSelection();
    },

    choose(sandbox) {
      this.select(sandbox.id);
    },

    select(id) {
      this.view = 'sandbox';
      const address = id ? '#' + encodeURIComponent(id) : location.pathname;
      if (location.hash.slice(1) !== encodeURIComponent(id)) history.replaceState(null, '', address);
      if (id === this.selected) return;
      this.selected = id;
      this.clone.error = this.clone.result = null;
    },

    // --- create, stop, start, delete ----------------------------------------------------------

    get idProblem() {
      return words.idProblem(this.createForm.id);
    },

    get showIdProblem() {
      return this.createForm.touched && this.idProblem !== '';
    },

    get futureAddress() {
      return (this.createForm.id || '…') + '.' + this.host;
    },

    anotherId() {
      this.createForm.id = words.suggestId();
      this.createForm.touched = false;
    },

    async create() {
      const form = this.createForm;
      form.touched = true;
      form.error = null;
      if (this.idProblem) return;
      // Nobody waits for OpenCode: its page is there at once.
      const options = form.opencode ? {} : {opencode: false};
      if (form.memory) options.memory = form.memory;
      if (form.cpus) options.cpus = Number(form.cpus);
      if (form.disk) options.disk = form.disk;
      const id = form.id;
      this.creating = true;
      try {
        const made = await api.createSandbox(id, options);
        this.created[id] = words.phases(made.phases);
        await this.refresh();
        this.select(id);
        this.anotherId();
        const restored = (made.restored ?? []).map((one) => one.dir).join(', ');
        this.say(restored ? `Sandbox ${id} is ready, with ${restored} as saved last.` :
                            `Sandbox ${id} is ready.`);
        this.$nextTick(() => this.announce('sandbox-ready', {id}));
      } catch (error) {
        form.error = api.problemOf(error);
      } finally {
        this.creating = false;
      }
    },

    get canStop() {
      return ['running', 'paused'].includes(this.current.state) || this.isStopping;
    },

    get isStopping() {
      return this.current.state === 'stopping' || this.stop.id === this.selected;
    },

    get stopProblem() {
      return this.stop.error?.id === this.selected ? this.stop.error : null;
    },

    async stopSandbox() {
      const id = this.selected;
      this.stop = {id, error: null};
      setTimeout(() => this.refresh(), 200);
      try {
        const stopped = await api.stopSandbox(id);
        const count = stopped.snapshots.length;
        if (!stopped.saved) this.stop.error = {id, code: 'NOT_SAVED', message: stopped.saveFailure};
        this.say(!stopped.saved ? `${id} is stopped, but not saved.` : count === 0 ?
          `${id} is stopped; nothing had changed.` :
          `${id} is stopped and saved in ${count} ${count === 1 ? 'snapshot' : 'snapshots'}.`);
      } catch (error) {
        this.stop.error = {id, ...api.problemOf(error)};
      } finally {
        this.stop.id = '';
        await this.refresh();
        this.announce('snapshots-changed');
      }
    },

    get canSleep() {
      return this.current.state === 'running' && !this.isStopping;
    },

    async sleepSandbox() {
      const id = this.selected;
      this.stop.error = null;
      try {
        await api.sleepSandbox(id);
        this.say(`${id} sleeps; it wakes when it is used.`);
      } catch (error) {
        this.stop.error = {id, ...api.problemOf(error)};
      } finally {
        await this.refresh();
      }
    },

    get isStopped() {
      return this.current.state === 'stopped';
    },

    get isStarting() {
      return this.starting === this.selected;
    },

    /** Creating what is there brings it up again as it was. */
    async startSandbox() {
      const id = this.selected;
      this.starting = id;
      this.stop.error = null;
      try {
        await api.createSandbox(id, {opencode: false});
        this.say(`${id} runs again.`);
      } catch (error) {
        this.stop.error = {id, ...api.problemOf(error)};
      } finally {
        this.starting = '';
        await this.refresh();
      }
    },

    askDelete() {
      const unsaved = this.current.unsaved === true;
      this.deleting = {id: this.selected, unsaved, busy: false, error: null};
      this.$refs.confirm.showModal();
    },

    cancelDelete() {
      this.$refs.confirm.close();
    },

    async confirmDelete() {
      const id = this.deleting.id;
      this.deleting.busy = true;
      this.deleting.error = null;
      try {
        await api.deleteSandbox(id);
        this.announce('sandbox-gone', {id});
        delete this.created[id];
        this.$refs.confirm.close();
        this.say(`Sandbox ${id} is deleted.`);
        await this.refresh();
      } catch (error) {
        this.deleting.error = api.problemOf(error);
      } finally {
        this.deleting.busy = false;
      }
    },

    // --- clone --------------------------------------------------------------------------------

    async gitClone() {
      const id = this.selected;
      const options = {repo: this.clone.repo.trim()};
      if (this.clone.branch.trim()) options.branch = this.clone.branch.trim();
      this.clone.busy = true;
      this.clone.error = this.clone.result = null;
      try {
        const result = await api.gitClone(id, options);
        if (id === this.selected) this.clone.result = words.cloneResult(result);
        this.say(`Cloned into ${result.dir}.`);
      } catch (error) {
        if (id === this.selected) this.clone.error = api.problemOf(error);
      } finally {
        this.clone.busy = false;
      }
    },

    /** To components that are not below this one. */
    announce(name, detail = {}) {
      dispatchEvent(new CustomEvent(name, {detail}));
    },

    /** Read out by screen readers, shown for a moment. */
    say(text) {
      this.notice = text;
      clearTimeout(this.noticeTimer);
      this.noticeTimer = setTimeout(() => { this.notice = ''; }, 4000);
    },
  };
}

document.addEventListener('alpine:init', () => {
  const components = {dashboard, commands, timeline, restoring, browser, comparison, keeping, ports,
    terminals, usage};
  for (const [name, component] of Object.entries(components)) window.Alpine.data(name, component);
});
