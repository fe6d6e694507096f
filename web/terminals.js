// SPDX-License-Identifier: Apache-2.0
// The terminal on a sandbox's page: one shell per sandbox, which stays when the page goes. It is
// looked at only while its sandbox is: a page that nobody sees keeps nothing awake.

import * as api from './api.js';
import {TerminalLink} from './terminal_link.js';
import {documentForTerminals} from './terminal_styles.js';

const SESSION = 'dashboard';
const HIDDEN_LIMIT_MS = 5 * 60_000;

const THEME = {
  background: '#0b1d24', foreground: '#d5e6e6', cursor: '#d8c08a', cursorAccent: '#0b1d24',
  selectionBackground: '#2a5560', black: '#17323b', red: '#ff8a75', green: '#86dba0', yellow: '#ecd07e',
  blue: '#82bdf2', magenta: '#d9a5ea', cyan: '#74d8d6', white: '#d5e6e6', brightBlack: '#6d868c',
  brightRed: '#ffab97', brightGreen: '#a9ebbc', brightYellow: '#f5e0a2', brightBlue: '#a9d3f7',
  brightMagenta: '#e6c3f2', brightCyan: '#9be9e6', brightWhite: '#f2f8f8',
};

// Not part of Alpine's reactive state: {screen, fit, element, link} by sandbox id.
const shells = new Map();

let library = null;
function loadScript(address) {
  return new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = address;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${address} did not load`));
    document.head.append(script);
  });
}
/** xterm.js, once somebody wants a terminal. */
function loadLibrary() {
  library ??= loadScript('/xterm.js').then(() => loadScript('/addon-fit.js'));
  return library;
}

/** Inside the dashboard's scope: `selected` is the dashboard's. */
export function terminals() {
  return {
    states: {},  // by sandbox id: {state, detail}

    init() {
      this.$watch('selected', () => this.$nextTick(() => this.show()));
      new ResizeObserver(() => this.fit()).observe(this.$refs.shell);
      document.addEventListener('visibilitychange', () => this.whenHidden());
    },

    get state() {
      return this.states[this.selected]?.state ?? 'none';
    },

    get isOpen() {
      return ['connecting', 'open', 'lost', 'away'].includes(this.state);
    },

    get isShown() {
      return this.state !== 'none';
    },

    get openWord() {
      return this.state === 'ended' ? 'Open another' : 'Open';
    },

    get line() {
      if (this.state === 'connecting') return 'connecting…';
      if (this.state === 'lost') return 'connection lost, trying again…';
      return this.state === 'ended' ? this.states[this.selected].detail : '';
    },

    async open() {
      const id = this.selected;
      this.states[id] = {state: 'connecting'};
      await loadLibrary();
      shells.get(id)?.screen.dispose();
      shells.delete(id);
      await this.$nextTick();
      if (id === this.selected) this.begin(id);
      else delete this.states[id];
    },

    begin(id) {
      const element = document.createElement('div');
      element.className = 'shell';
      this.$refs.shell.replaceChildren(element);
      const screen = new Terminal({
        fontFamily: getComputedStyle(document.documentElement).getPropertyValue('--mono'),
        fontSize: 13, lineHeight: 1.25, scrollback: 5000, theme: THEME, cursorBlink: true,
        documentOverride: documentForTerminals(),
      });
      const fit = new FitAddon.FitAddon();
      screen.loadAddon(fit);
      screen.open(element);
      screen.textarea?.setAttribute('aria-label', 'Terminal input');
      const shell = {screen, fit, element, link: null};
      shells.set(id, shell);
      fit.fit();
      screen.onData((text) => shell.link?.type(text));
      screen.onBinary((binary) => shell.link?.typeBytes(binary));
      screen.onResize(({cols, rows}) => shell.link?.resize(cols, rows));
      this.look(id);
      screen.focus();
      this.$root.scrollIntoView({block: 'nearest'});
    },

    // Looks at the terminal, from where it was last seen.
    look(id) {
      const shell = shells.get(id);
      const earlier = shell.link;
      shell.link = new TerminalLink(id, SESSION, () => ({cols: shell.screen.cols, rows: shell.screen.rows}), {
        output: (bytes) => shell.screen.write(bytes),
        state: (state, detail = '') => { this.states[id] = {state, detail}; },
      }, earlier);
    },

    leave(id) {
      if (!['connecting', 'open', 'lost'].includes(this.states[id]?.state)) return;
      shells.get(id)?.link?.leave();
      this.states[id] = {state: 'away'};
    },

    // Another sandbox is looked at.
    show() {
      for (const id of shells.keys()) {
        if (id !== this.selected) this.leave(id);
      }
      const shell = shells.get(this.selected);
      if (!shell) return;
      this.$refs.shell.replaceChildren(shell.element);
      if (this.state === 'away') this.look(this.selected);
      this.fit();
    },

    fit() {
      const shell = shells.get(this.selected);
      if (shell?.element.isConnected && shell.element.clientHeight > 0) shell.fit.fit();
    },

    whenHidden() {
      clearTimeout(this.hidden);
      if (document.visibilityState === 'hidden') {
        this.hidden = setTimeout(() => this.leave(this.selected), HIDDEN_LIMIT_MS);
      } else if (this.state === 'away') {
        this.look(this.selected);
      }
    },

    async end() {
      try {
        await api.closeTerminal(this.selected, SESSION);
      } catch (error) {
        this.states[this.selected] = {state: 'ended', detail: error.message};
      }
    },

    forget(event) {
      const {id} = event.detail;
      const shell = shells.get(id);
      shell?.link?.leave();
      shell?.screen.dispose();
      shells.delete(id);
      delete this.states[id];
    },
  };
}
