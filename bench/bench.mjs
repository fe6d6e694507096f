// SPDX-License-Identifier: Apache-2.0
// Runs the parts of the benchmark and prints, writes or checks what they found.

import {measureExec} from './exec.mjs';
import {measureFiles} from './files.mjs';
import {measureLifecycle} from './lifecycle.mjs';
import {measureProxy} from './proxy.mjs';
import {writeResults} from './report.mjs';
import {measureSandboxes} from './sandboxes.mjs';
import {measureSnapshots} from './snapshots.mjs';
import {measureTerminals} from './terminal.mjs';

const PARTS = {sandboxes: measureSandboxes, exec: measureExec, lifecycle: measureLifecycle,
               snapshots: measureSnapshots, proxy: measureProxy, files: measureFiles, terminal: measureTerminals};
const USAGE = `usage: bench/run.sh BUILD_DIR [--only ${Object.keys(PARTS).join('|')}] [--write] [--check] [--quick] [--among NAMES]`;

function parse(args) {
  const options = {parts: Object.keys(PARTS), write: false, check: false, quick: false};
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--only' && Object.hasOwn(PARTS, args[i + 1])) {
      options.parts = [args[++i]];
    } else if (args[i] === '--among' && args[i + 1]) {
      // Of the steps of one part: for whoever works on them.
      options.among = args[++i].split(',');
    } else if (['--write', '--check', '--quick'].includes(args[i])) {
      options[args[i].slice(2)] = true;
    } else {
      console.error(USAGE);
      process.exit(2);
    }
  }
  return options;
}

const options = parse(process.argv.slice(2));
const reports = [];
for (const part of options.parts) {
  const report = await PARTS[part]({quick: options.quick, among: options.among});
  reports.push(report);
  // At once: a later part that fails takes nothing away.
  console.log(report.text());
  if (options.write) writeResults([report], options.among !== undefined);
}
if (options.check && !reports.every((report) => report.allKept)) process.exitCode = 1;
