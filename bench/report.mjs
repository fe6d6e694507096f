// SPDX-License-Identifier: Apache-2.0
// What was measured, as tables, and RESULTS.md: one section for each part, those that were not run
// stay as they are.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {fileURLToPath} from 'node:url';

const RESULTS = path.join(path.dirname(fileURLToPath(import.meta.url)), 'RESULTS.md');
const HEAD = '# Results\n';
const FOOT = 'Again: `make bench`, or `bench/run.sh build/release --write`.\n';

export const now = () => performance.now();

export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}
export const p50 = (values) => quantile(values, 0.5);
export const p95 = (values) => quantile(values, 0.95);
export const p99 = (values) => quantile(values, 0.99);
export const ms = (value) => value >= 100 ? `${value.toFixed(0)} ms` : `${value.toFixed(2)} ms`;
export const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 2 : 0)} MiB`;

function cgroupKind() {
  if (fs.existsSync('/sys/fs/cgroup/cgroup.controllers')) return 'cgroup v2';
  return fs.existsSync('/sys/fs/cgroup/unified') ? 'hybrid cgroups' : 'cgroup v1';
}

function machine(load) {
  const cpu = os.cpus()[0]?.model.trim() ?? 'unknown processor';
  const memory = Math.round(os.totalmem() / 2 ** 30);
  return `Machine: ${os.cpus().length} × ${cpu}, ${memory} GB of memory; Linux ${os.release()}, ${cgroupKind()}; Node.js
${process.version} as the client; load average at the start ${load.map((one) => one.toFixed(1)).join(', ')}.
${new Date().toISOString().slice(0, 10)}, build type \`${path.basename(process.env.ATOLL_BUILD_DIR ?? '')}\`.`;
}

/** One part of the benchmark and its section. */
export class Report {
  constructor(title) {
    this.title = title;
    this.rows = [];
    this.notes = [];
    this.load = os.loadavg();
  }

  /** `kept` is left out where nothing is promised. */
  row(name, {atoll, tail = '', other = '', ratio = '', promise = '', kept}) {
    const verdict = kept === undefined ? '' : kept ? 'kept' : '**missed**';
    this.rows.push({name, cells: [atoll, tail, other, ratio, promise, verdict], ok: kept !== false});
    console.error(`${name}: ${atoll}${other && ` beside ${other}`}${ratio && `, ratio ${ratio}`}` +
                  `${promise && ` (${promise}: ${kept ? 'kept' : 'MISSED'})`}`);
  }

  /** A paragraph below the table. */
  note(text) { this.notes.push(text); }

  get allKept() { return this.rows.every((row) => row.ok); }

  text() {
    const lines = ['| what | Atoll, median | p95 | beside | ratio | promise | |', '|---|---|---|---|---|---|---|'];
    for (const {name, cells} of this.rows) lines.push(`| ${[name, ...cells].join(' | ')} |`);
    return [`## ${this.title}`, lines.join('\n'), machine(this.load), ...this.notes].join('\n\n') + '\n';
  }
}

/** Sections of RESULTS.md by title, in their order. */
function sections() {
  const text = fs.existsSync(RESULTS) ? fs.readFileSync(RESULTS, 'utf8') : '';
  const found = new Map();
  for (const part of text.replace(FOOT, '').split(/^(?=## )/m).slice(1)) {
    found.set(part.match(/^## (.*)/)[1], part.trimEnd() + '\n');
  }
  return found;
}

/** A row's name without how often it was measured. */
const bare = (name) => name.replace(/ \(n=\d+\)$/, '');

/** A section with the rows of a report that measured a part of it in the place of the old ones. */
function merged(section, report) {
  const lines = section.trimEnd().split('\n');
  const isRow = (line) => line.startsWith('| ');
  for (const {name, cells} of report.rows) {
    const row = `| ${[name, ...cells].join(' | ')} |`;
    const at = lines.findIndex((line) => isRow(line) && bare(line.split(' | ')[0].slice(2)) === bare(name));
    if (at >= 0) lines[at] = row;
    else lines.splice(lines.findLastIndex(isRow) + 1, 0, row);
  }
  const names = report.rows.map(({name}) => bare(name)).join('; ');
  const kept = lines.join('\n').split('\n\n').filter((one) => !one.startsWith(`Measured alone: ${names}.`));
  return [...kept, `Measured alone: ${names}. ${machine(report.load)}`].join('\n\n') + '\n';
}

/** With `partial`, what was not measured stays as it is. */
export function writeResults(reports, partial = false) {
  const all = sections();
  for (const report of reports) {
    const old = partial && all.get(report.title);
    all.set(report.title, old ? merged(old, report) : report.text());
  }
  fs.writeFileSync(RESULTS, [HEAD, ...all.values(), FOOT].join('\n'));
}
