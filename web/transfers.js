// SPDX-License-Identifier: Apache-2.0
// Snapshots and restores under way, with how far they are. They go on whatever is looked at.

import * as api from './api.js';
import * as words from './snapshot_words.js';

const SHOWN_WHEN_DONE_MS = 12_000;

let lastKey = 0;

/** Members of the dashboard. */
export function transfers() {
  return {
    transfers: [],

    /** Runs `work(onProgress)` and shows how far it is; its result, or null when it failed. */
    async transfer(title, work, describe) {
      this.transfers = this.transfers.filter((one) => one.state !== 'done');
      this.transfers.push({
        key: ++lastKey, title, state: 'running', phase: 'Begins', share: null, detail: '', error: null,
      });
      // Behind Alpine's proxy, so that changes are seen.
      const transfer = this.transfers.at(-1);
      try {
        const result = await work((event) => Object.assign(transfer, words.progress(event)));
        Object.assign(transfer, {state: 'done', phase: 'Done', share: 1, detail: describe(result)});
        setTimeout(() => this.dismiss(transfer), SHOWN_WHEN_DONE_MS);
        return result;
      } catch (error) {
        Object.assign(transfer, {state: 'failed', phase: 'Failed', error: api.problemOf(error)});
        return null;
      }
    },

    dismiss(transfer) {
      this.transfers = this.transfers.filter((one) => one.key !== transfer.key);
    },

    transferClass(transfer) {
      return 'transfer transfer-' + transfer.state;
    },

    progressClass(transfer) {
      return transfer.share === null && transfer.state === 'running' ? 'progress progress-unknown' : 'progress';
    },

    progressStyle(transfer) {
      return {width: `${(transfer.share ?? 0) * 100}%`};
    },

    progressNow(transfer) {
      return transfer.share === null ? null : Math.round(transfer.share * 100);
    },
  };
}
