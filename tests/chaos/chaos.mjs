// SPDX-License-Identifier: Apache-2.0
// node tests/chaos/chaos.mjs [--minutes N] [--seed N] [--write]: exits with 1 at a violation.

import {parseArgs} from 'node:util';

import {writeResults} from '../../bench/report.mjs';
import {chaos} from './run.mjs';
import {Summary} from './summary.mjs';

const {values} = parseArgs({options: {
  minutes: {type: 'string', default: '10'}, seed: {type: 'string', default: '1'}, write: {type: 'boolean'}}});
const minutes = Number(values.minutes);
if (!(minutes > 0)) throw new Error(`--minutes ${values.minutes}: a number above 0 is wanted`);
const say = (text) => console.error(`${new Date().toISOString().slice(11, 19)} ${text}`);
say(`seed ${values.seed}, ${minutes} min`);
try {
  const summary = new Summary(await chaos({seed: values.seed, ms: minutes * 60_000, say}));
  console.log(summary.text());
  if (values.write) writeResults([summary]);
} catch (error) {
  console.error(`VIOLATION\n${error.message}`);
  process.exit(1);
}
