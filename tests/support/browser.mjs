// SPDX-License-Identifier: Apache-2.0
// A browser for tests of pages, with what it complains about.

import fs from 'node:fs';
import path from 'node:path';
import {fileURLToPath} from 'node:url';

const CHROMIUM = process.env.ATOLL_TEST_CHROMIUM ?? '/usr/bin/chromium';

/** Where screenshots go. */
export const OUTPUT = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'output');
/** Why tests with a browser cannot run; false if they can. */
export const noBrowser = fs.existsSync(CHROMIUM) ? false : `${CHROMIUM} is not installed`;

/** Adds what `page` complains about (errors; messages of these `levels`) to `complaints`. */
export function listen(page, complaints, levels = ['error']) {
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => { if (levels.includes(message.type())) complaints.push(message.text()); });
}

/** One context with one page. `options`: of the context. */
export async function openBrowser({limitMs = 60_000, levels, ...options} = {}) {
  const {chromium} = await import('playwright-core');
  fs.mkdirSync(OUTPUT, {recursive: true});
  const browser = await chromium.launch({executablePath: CHROMIUM, args: ['--no-sandbox']});
  const context = await browser.newContext({viewport: {width: 1280, height: 860}, ...options});
  context.setDefaultTimeout(limitMs);
  const page = await context.newPage();
  const complaints = [];
  listen(page, complaints, levels);
  return {browser, context, page, complaints};
}
