// SPDX-License-Identifier: Apache-2.0
// The ports of a sandbox: what listens inside, opened, and given URLs for others.

import * as api from './api.js';
import * as words from './words.js';

const POLL_MS = 3000;

function until(exposed) {
  return exposed.expiresAt ? `exposed until ${words.when(exposed.expiresAt)}` : 'exposed';
}

function row(port, program, detail, open, exposed) {
  const parts = [exposed ? until(exposed) : '', detail].filter(Boolean);
  return {
    key: `${port} ${exposed?.url ?? ''} ${parts}`, port, program, detail: parts.join(' · '), open,
    exposed: Boolean(exposed), url: exposed?.url ?? '',
    openLabel: `Open port ${port}`, copyLabel: `Copy the URL of port ${port}`,
    exposeLabel: `Expose port ${port}`, unexposeLabel: `Unexpose port ${port}`,
  };
}

/** One row a port: listeners of both families are one server, and an exposed port may have none. */
export function rows(listening, exposed) {
  const byPort = new Map();
  for (const one of listening) {
    if (byPort.has(one.port)) continue;
    const process = one.process ?? {};
    byPort.set(one.port, row(one.port, process.name || 'a program', (process.argv ?? []).join(' '), one.url,
                             one.exposed));
  }
  for (const one of exposed) {
    if (!byPort.has(one.port)) byPort.set(one.port, row(one.port, 'nothing listens', one.name, one.url, one));
  }
  return [...byPort.values()].sort((a, b) => a.port - b.port);
}

/** Inside the dashboard's scope: `selected` and `current` are the dashboard's. */
export function ports() {
  return {
    number: '',
    problem: null,
    busy: false,
    found: {id: '', rows: []},

    init() {
      setInterval(() => this.look(), POLL_MS);
      this.$watch('selected', () => { this.problem = null; this.look(); });
      this.look();
    },

    get rows() {
      return this.found.id === this.selected ? this.found.rows : [];
    },

    async look() {
      const id = this.selected;
      if (document.visibilityState !== 'visible' || !id) return;
      try {
        const [listening, exposed] = await Promise.all([api.ports(id), api.exposedPorts(id)]);
        this.found = {id, rows: rows(listening, exposed)};
      } catch {
        // The list says when the daemon is gone or the sandbox is.
      }
    },

    async change(act) {
      this.busy = true;
      this.problem = null;
      try {
        await act(this.selected);
      } catch (error) {
        this.problem = api.problemOf(error);
      } finally {
        this.busy = false;
        await this.look();
      }
    },

    expose(one) {
      return this.change(async (id) => {
        await api.exposePort(id, one.port);
        this.say(`Port ${one.port} is exposed.`);
      });
    },

    unexpose(one) {
      return this.change(async (id) => {
        await api.unexposePort(id, one.port);
        this.say(`The URL of port ${one.port} is no longer valid.`);
      });
    },

    async copyUrl(one) {
      this.problem = null;
      try {
        await navigator.clipboard.writeText(one.url);
        this.say('The URL is copied.');
      } catch {
        this.problem = {code: 'CLIPBOARD', message: 'The browser does not let the page copy; select the URL below.'};
      }
    },

    openPort() {
      this.problem = null;
      const port = Number(this.number);
      if (!Number.isInteger(port) || port < 1 || port > 65535) {
        this.problem = {code: 'INVALID_PORT', message: 'A port is a number from 1 to 65535.'};
        return;
      }
      const url = new URL(this.current.url);
      url.hostname = `${port}-${url.hostname}`;
      open(url.href, '_blank', 'noopener');
    },
  };
}
