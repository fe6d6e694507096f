// SPDX-License-Identifier: Apache-2.0
// The commands that run in sandboxes and what they print. One screen per sandbox: a command goes on
// while another sandbox is looked at.

import * as api from './api.js';
import {Screen} from './screen.js';
import * as words from './words.js';

const CLOCK_MS = 100;

// Not part of Alpine's reactive state: page elements and abort handles, by sandbox id.
const screens = new Map();
const aborts = new Map();

const IDLE_RUN = Object.freeze(
    {running: false, done: false, ok: false, badge: '', startedAt: 0, duration: ''});

/** Inside the dashboard's scope: `selected` is the dashboard's. */
export function commands() {
  return {
    command: {text: '', cwd: '', history: [], at: 0},
    runs: {},

    init() {
      setInterval(() => this.tick(), CLOCK_MS);
      this.$watch('selected', () => this.$nextTick(() => this.showScreen()));
      this.$nextTick(() => this.showScreen());
    },

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
      if (this.selected) this.$refs.terminal.replaceChildren(this.screen().element);
    },

    focusCommand(event) {
      if (event.detail.id === this.selected) this.$refs.command.focus();
    },

    forget(event) {
      const {id} = event.detail;
      aborts.get(id)?.abort();
      screens.delete(id);
      delete this.runs[id];
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
  };
}
