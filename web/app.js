// SPDX-License-Identifier: Apache-2.0
// The dashboard: one Alpine component over the daemon's /v1 API.

import * as api from './api.js';
import {Screen} from './screen.js';
import * as words from './words.js';

const POLL_MS = 2000;
const CLOCK_MS = 100;

// Not part of Alpine's reactive state: page elements and abort handles, by sandbox id.
const screens = new Map();
const aborts = new Map();

const IDLE_RUN = Object.freeze(
    {running: false, done: false, ok: false, badge: '', startedAt: 0, duration: ''});

function problemOf(error) {
  return {code: error.code ?? 'PAGE_ERROR', message: error.message ?? String(error)};
}

function dashboard() {
  return {
    host: location.host,
    online: true,
    loaded: false,
    sandboxes: [],
    selected: '',
    creating: false,
    createForm: {id: '', opencode: true, memory: '', cpus: '', error: null, touched: false},
    clone: {repo: '', branch: '', busy: false, error: null, result: null},
    command: {text: '', cwd: '', history: [], at: 0},
    runs: {},
    snapshot: {dir: '/workspace', name: '', busy: false, error: null},
    snapshots: [],
    restoring: '',
    created: {},
    preview: {port: '', error: null},
    deleting: {id: '', busy: false, error: null},
    notice: '',

    init() {
      this.createForm.id = words.suggestId();
      addEventListener('hashchange', () => this.selectFromAddress());
      document.addEventListener('visibilitychange', () => this.refreshIfVisible());
      setInterval(() => this.refreshIfVisible(), POLL_MS);
      setInterval(() => this.tick(), CLOCK_MS);
      this.selectFromAddress();
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
      if (this.selected && this.current.id) return;
      if (this.selected && this.creating) return;
      this.select(this.sandboxes.length > 0 ? this.sandboxes[0].id : '');
    },

    get current() {
      return this.sandboxes.find((one) => one.id === this.selected) ?? {};
    },

    get isEmpty() {
      return this.loaded && this.sandboxes.length === 0;
    },

    get hasCurrent() {
      return this.current.id !== undefined;
    },

    ringClass(sandbox) {
      return 'ring ring-' + words.stateKind(sandbox.state);
    },

    itemClass(sandbox) {
      return sandbox.id === this.selected ? 'item item-selected' : 'item';
    },

    isSelected(sandbox) {
      return sandbox.id === this.selected ? 'true' : 'false';
    },

    summary(sandbox) {
      return words.summary(sandbox);
    },

    get facts() {
      return words.facts(this.current);
    },

    get opencodeLine() {
      return words.opencodeLine(this.current.opencode);
    },

    get createdLine() {
      return this.created[this.selected] ?? '';
    },

    selectFromAddress() {
      const id = decodeURIComponent(location.hash.slice(1));
      if (id !== this.selected) this.select(id);
    },

    choose(sandbox) {
      this.select(sandbox.id);
    },

    select(id) {
      if (id === this.selected) return;
      this.selected = id;
      this.clone.error = this.clone.result = null;
      this.snapshot.error = null;
      this.preview.error = null;
      this.snapshots = [];
      const address = id ? '#' + encodeURIComponent(id) : location.pathname;
      if (location.hash.slice(1) !== encodeURIComponent(id)) history.replaceState(null, '', address);
      if (!id) return;
      this.$nextTick(() => this.showScreen());
      this.loadSnapshots();
    },

    // --- create, delete -----------------------------------------------------------------------

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
      const options = {opencode: form.opencode};
      if (form.memory) options.memory = form.memory;
      if (form.cpus) options.cpus = Number(form.cpus);
      const id = form.id;
      this.creating = true;
      try {
        const made = await api.createSandbox(id, options);
        this.created[id] = words.phases(made.phases);
        await this.refresh();
        this.select(id);
        this.anotherId();
        this.say(`Sandbox ${id} is ready.`);
        this.$nextTick(() => this.focusCommand());
      } catch (error) {
        form.error = problemOf(error);
      } finally {
        this.creating = false;
      }
    },

    askDelete() {
      this.deleting = {id: this.selected, busy: false, error: null};
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
        aborts.get(id)?.abort();
        screens.delete(id);
        delete this.runs[id];
        delete this.created[id];
        this.$refs.confirm.close();
        this.say(`Sandbox ${id} is deleted.`);
        await this.refresh();
      } catch (error) {
        this.deleting.error = problemOf(error);
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
        if (id === this.selected) this.clone.error = problemOf(error);
      } finally {
        this.clone.busy = false;
      }
    },

    // --- run ----------------------------------------------------------------------------------

    get run() {
      return this.runs[this.selected] ?? IDLE_RUN;
    },

    get badgeClass() {
      return this.run.ok ? 'badge badge-good' : 'badge badge-bad';
    },

    screen() {
      if (!screens.has(this.selected)) {
        const element = document.createElement('div');
        element.className = 'screen';
        screens.set(this.selected, new Screen(element));
      }
      return screens.get(this.selected);
    },

    showScreen() {
      if (this.$refs.terminal) this.$refs.terminal.replaceChildren(this.screen().element);
    },

    focusCommand() {
      this.$refs.command?.focus();
    },

    clearScreen() {
      this.screen().clear();
      if (!this.run.running) delete this.runs[this.selected];
    },

    olderCommand() {
      this.recall(this.command.at - 1);
    },

    newerCommand() {
      this.recall(this.command.at + 1);
    },

    recall(at) {
      const {history} = this.command;
      if (history.length === 0) return;
      this.command.at = Math.max(0, Math.min(history.length, at));
      this.command.text = history[this.command.at] ?? '';
    },

    async runCommand() {
      const id = this.selected;
      const text = this.command.text.trim();
      if (!text || this.run.running) return;
      const screen = this.screen();
      const abort = new AbortController();
      aborts.set(id, abort);
      this.command.history = [...this.command.history.filter((one) => one !== text), text];
      this.command.at = this.command.history.length;
      this.command.text = '';
      this.runs[id] = {...IDLE_RUN, running: true, startedAt: performance.now()};
      screen.note('prompt', text);
      const options = {command: text};
      if (this.command.cwd.trim()) options.cwd = this.command.cwd.trim();
      try {
        let last = null;
        await api.runCommand(id, options, (event) => {
          if (event.type === 'stdout' || event.type === 'stderr') {
            screen.write(event.type, api.eventText(event));
          } else {
            last = event;
          }
        }, abort.signal);
        this.finishRun(id, screen, last);
      } catch (error) {
        if (abort.signal.aborted) {
          this.endRun(id, false, 'stopped');
        } else {
          screen.note('problem', `${error.code ?? 'ERROR'}: ${error.message}`);
          this.endRun(id, false, 'not run');
        }
      } finally {
        aborts.delete(id);
      }
    },

    finishRun(id, screen, last) {
      screen.draw();
      if (last?.type === 'complete') {
        this.endRun(id, last.exitCode === 0, words.exitBadge(last));
      } else if (last?.type === 'error') {
        screen.note('problem', `${last.code}: ${last.error}`);
        this.endRun(id, false, 'not run');
      } else {
        screen.note('problem', 'The connection ended before the command did.');
        this.endRun(id, false, 'cut off');
      }
    },

    endRun(id, ok, badge) {
      const run = this.runs[id];
      if (!run) return;
      run.duration = words.duration(performance.now() - run.startedAt);
      Object.assign(run, {running: false, done: true, ok, badge});
    },

    stopCommand() {
      aborts.get(this.selected)?.abort();
    },

    tick() {
      for (const run of Object.values(this.runs)) {
        if (run.running) run.duration = words.duration(performance.now() - run.startedAt);
      }
    },

    // --- snapshots ----------------------------------------------------------------------------

    async loadSnapshots() {
      const id = this.selected;
      try {
        const list = await api.listSnapshots(id);
        list.sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
        if (id === this.selected) this.snapshots = list.map(words.snapshotRow);
      } catch (error) {
        if (id === this.selected && error.status !== 404) this.snapshot.error = problemOf(error);
      }
    },

    async takeSnapshot() {
      const id = this.selected;
      const options = {dir: this.snapshot.dir.trim() || '/workspace'};
      if (this.snapshot.name.trim()) options.name = this.snapshot.name.trim();
      this.snapshot.busy = true;
      this.snapshot.error = null;
      try {
        const made = await api.takeSnapshot(id, options);
        this.snapshot.name = '';
        this.say(`Snapshot of ${made.dir} taken.`);
        await this.loadSnapshots();
      } catch (error) {
        if (id === this.selected) this.snapshot.error = problemOf(error);
      } finally {
        this.snapshot.busy = false;
      }
    },

    async restore(row) {
      const id = this.selected;
      this.restoring = row.snapshotId;
      this.snapshot.error = null;
      try {
        const result = await api.restoreSnapshot(id, row.snapshotId);
        this.say(`${result.dir} is as it was.`);
      } catch (error) {
        if (id === this.selected) this.snapshot.error = problemOf(error);
      } finally {
        this.restoring = '';
      }
    },

    isRestoring(row) {
      return this.restoring === row.snapshotId;
    },

    restoreLabel(row) {
      return this.restoring === row.snapshotId ? 'Restoring…' : 'Restore';
    },

    // --- ports --------------------------------------------------------------------------------

    openPort() {
      this.preview.error = null;
      const port = Number(this.preview.port);
      if (!Number.isInteger(port) || port < 1 || port > 65535) {
        this.preview.error = {code: 'INVALID_PORT', message: 'A port is a number from 1 to 65535.'};
        return;
      }
      const url = new URL(this.current.url);
      url.hostname = `${port}-${url.hostname}`;
      open(url.href, '_blank', 'noopener');
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
  window.Alpine.data('dashboard', dashboard);
});
