// SPDX-License-Identifier: Apache-2.0
// What a sandbox uses: a bar of its limit and a line of the last minutes for each resource.

import * as api from './api.js';
import * as words from './words.js';

const POLL_MS = 5000;
const WIDTH = 100;
const HEIGHT = 24;

const cpus = (value) => (value < 10 ? value.toFixed(2) : value.toFixed(1));

// Name, the field of a sample and of the limits, how a value is said, what the line is drawn against
// at least: idle noise is no mountain.
const RESOURCES = [
  {name: 'CPU', field: 'cpus', say: cpus, least: 0.1},
  {name: 'Memory', field: 'memory', say: words.bytes, least: 16 << 20},
  {name: 'Disk', field: 'disk', say: words.bytes, least: 16 << 20},
  {name: 'Processes', field: 'processes', say: String, least: 8},
];

/** Percent of the limit; nothing without one. */
export function share(value, limit) {
  if (!(limit > 0) || !(value >= 0)) return null;
  return Math.min(100, 100 * value / limit);
}

/** An SVG path through the values, oldest left. */
export function line(values, least) {
  if (values.length < 2) return '';
  const top = Math.max(least, ...values) * 1.05;
  const step = WIDTH / (values.length - 1);
  return values.map((value, at) => {
    const y = HEIGHT - HEIGHT * value / top;
    return `${at === 0 ? 'M' : 'L'}${(at * step).toFixed(1)},${y.toFixed(1)}`;
  }).join('');
}

function meters(now, limits, history) {
  const rows = [];
  for (const {name, field, say, least} of RESOURCES) {
    const value = now[field];
    if (typeof value !== 'number') continue;
    const percent = share(value, limits[field]);
    rows.push({
      name,
      value: (field === 'disk' && now.diskAtLeast ? 'over ' : '') + say(value),
      limit: percent === null ? '' : 'of ' + (field === 'cpus' ? String(limits[field]) : say(limits[field])),
      share: percent ?? 0,
      barClass: percent === null ? 'meter-bar meter-none' : percent > 90 ? 'meter-bar meter-full' : 'meter-bar',
      line: line(history.map((sample) => sample[field] ?? 0), least),
    });
  }
  return rows;
}

/** The memory of one sandbox in the list, as percent of its limit. */
export const memoryShare = (sandbox) => share(sandbox.usage?.memory, sandbox.memory) ?? 0;

export function oomLine(usage) {
  const kills = usage?.oomKills ?? 0;
  if (kills === 0) return '';
  const last = usage.lastOomAt ? `, last at ${words.when(usage.lastOomAt)}` : '';
  return `${kills === 1 ? 'A program was' : `${kills} programs were`} ended for want of memory${last}.`;
}

/** Inside the dashboard's scope: `selected` and `current` are the dashboard's. */
export function usage() {
  return {
    reports: {},

    init() {
      setInterval(() => this.look(), POLL_MS);
      this.$watch('selected', () => this.look());
      this.look();
    },

    async look() {
      const id = this.selected;
      if (document.visibilityState !== 'visible' || !id || this.current.state !== 'running') return;
      try {
        this.reports[id] = await api.usage(id);
      } catch {
        // The list says when the daemon is gone or the sandbox is.
      }
    },

    get meters() {
      const sandbox = this.current;
      if (sandbox.state !== 'running' || !sandbox.usage?.at) return [];
      const limits = {cpus: sandbox.cpus, memory: sandbox.memory, disk: sandbox.disk, processes: sandbox.pids};
      return meters(sandbox.usage, limits, this.reports[sandbox.id]?.history ?? []);
    },

    get hasMeters() {
      return this.meters.length > 0;
    },

    get networkLine() {
      const {sent = 0, received = 0} = this.current.usage ?? {};
      return sent + received === 0 ? '' : `Network: ${words.bytes(received)} in, ${words.bytes(sent)} out.`;
    },

    get oomLine() {
      return oomLine(this.current.usage);
    },
  };
}
