// SPDX-License-Identifier: Apache-2.0
// What the dashboard says of snapshots.

import {bytes, duration, when} from './words.js';

export const TRIGGERS = [
  {name: 'manual', title: 'By hand'},
  {name: 'stop', title: 'At stop'},
  {name: 'interval', title: 'At an interval'},
];

const PHASES = {
  lock: 'Waits for its turn in the repository',
  walk: 'Looks through the files',
  read: 'Reads what changed',
  store: 'Stores',
  plan: 'Compares with what is there',
  stage: 'Fetches what is missing',
  commit: 'Puts it in place',
  clean: 'Cleans up',
};

const number = (count) => Number(count).toLocaleString('en');
const several = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;
export const files = (count) => several(count, 'file', 'files');

/** A progress event as what is shown: {phase, share (null: not known), detail}. */
export function progress(event) {
  const known = event.phase !== 'walk' && event.phase !== 'lock';
  let share = null;
  if (known && event.bytesTotal > 0) {
    share = Math.min(1, event.bytesDone / event.bytesTotal);
  } else if (known && event.filesTotal > 0) {
    share = Math.min(1, event.filesDone / event.filesTotal);
  }
  const parts = [];
  if (event.filesTotal > 0) parts.push(`${number(event.filesDone)} of ${files(event.filesTotal)}`);
  if (event.bytesTotal > 0) parts.push(`${bytes(event.bytesDone)} of ${bytes(event.bytesTotal)}`);
  if (event.bytesPerSecond > 0) parts.push(`${bytes(event.bytesPerSecond)}/s`);
  if (known && event.secondsLeft > 1) parts.push(`${duration(event.secondsLeft * 1000)} left`);
  return {phase: PHASES[event.phase] ?? event.phase, share, detail: parts.join(' · ')};
}

export function taken(result) {
  const parts = [`${files(result.files)}, ${bytes(result.bytesTotal)}`,
                 `${bytes(result.bytesAdded)} added`, `took ${duration(result.durationMs)}`];
  if (result.freezeMs > 0) parts.push(`the sandbox stood still for ${duration(result.freezeMs)}`);
  if (result.changedWhileRead > 0) parts.push(`${files(result.changedWhileRead)} changed meanwhile`);
  if (result.skipped > 0) parts.push(`${number(result.skipped)} could not be read`);
  return parts.join(' · ');
}

export function restored(result) {
  const parts = [`${files(result.filesWritten)} written, ${bytes(result.bytesWritten)}`,
                 `${number(result.filesKept)} as they were`];
  if (result.removed > 0) parts.push(`${number(result.removed)} removed`);
  if (result.piecewise) parts.push('file by file, because space was short');
  parts.push(`took ${duration(result.durationMs)}`);
  return parts.join(' · ');
}

function expiry(snapshot, now) {
  if (snapshot.pinned) return 'kept until it is unpinned';
  if (!snapshot.expiresAt) return 'kept for good';
  const left = new Date(snapshot.expiresAt).getTime() - now;
  if (left <= 0) return 'expired';
  const minutes = left / 60_000;
  if (minutes < 90) return `expires in ${Math.max(1, Math.round(minutes))} min`;
  if (minutes < 36 * 60) return `expires in ${Math.round(minutes / 60)} h`;
  return `expires in ${Math.round(minutes / 1440)} days`;
}

export function day(iso, now) {
  const date = new Date(iso);
  const yesterday = new Date(now - 86_400_000);
  if (date.toDateString() === new Date(now).toDateString()) return 'Today';
  if (date.toDateString() === yesterday.toDateString()) return 'Yesterday';
  return date.toLocaleDateString('en', {weekday: 'long', month: 'long', day: 'numeric'});
}

function clock(iso) {
  return new Date(iso).toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'});
}

export const title = (snapshot) => snapshot.name || snapshot.snapshotId.slice(0, 8);

/** A line of the timeline. `most`: the largest number of bytes added that is shown with it. */
export function row(snapshot, {previous, most, now, all, exists}) {
  const known = snapshot.bytes !== undefined;
  const today = day(snapshot.createdAt, now);
  const added = snapshot.bytesAdded ?? 0;
  const gone = all && snapshot.sandbox !== '' && !exists(snapshot.sandbox);
  return {
    ...snapshot,
    title: title(snapshot),
    named: Boolean(snapshot.name),
    day: previous && day(previous.createdAt, now) === today ? '' : today,
    clock: clock(snapshot.createdAt),
    fullTime: new Date(snapshot.createdAt).toLocaleString(),
    gone,
    place: all ? `${snapshot.sandbox || snapshot.hostname || '?'}:${snapshot.dir}` : snapshot.dir,
    detail: known ? ` · ${files(snapshot.files)} · ${bytes(snapshot.bytes)}` : '',
    expiryShort: snapshot.pinned ? '' : ' · ' + expiry(snapshot, now),
    added: known ? '+' + bytes(added) : '',
    bar: {width: most > 0 ? `${Math.max(added > 0 ? 2 : 0, (added / most) * 100)}%` : '0'},
    triggerTitle: TRIGGERS.find((one) => one.name === snapshot.trigger)?.title ?? snapshot.trigger,
    facts: [
      {name: 'taken', value: new Date(snapshot.createdAt).toLocaleString()},
      {name: 'how', value: snapshot.consistency === 'frozen' ? 'at one moment, the sandbox stood still' :
                                                              'file by file, while programs ran'},
      known && {name: 'changed', value: `${number(snapshot.filesNew)} new, ${number(snapshot.filesChanged)} changed files`},
      {name: 'lifetime', value: expiry(snapshot, now)},
      {name: 'id', value: snapshot.snapshotId.slice(0, 16)},
    ].filter(Boolean),
  };
}

/** How one calls a snapshot in a list of choices. */
export function choice(snapshot) {
  const size = snapshot.bytesAdded === undefined ? '' : `, +${bytes(snapshot.bytesAdded)}`;
  return `${when(snapshot.createdAt)} ${snapshot.name || snapshot.snapshotId.slice(0, 8)} (${snapshot.trigger}${size})`;
}

/** The policy of a sandbox in a few words each. */
export function policy(given) {
  if (!given) return [];
  const off = !given.onStop && given.interval === 'off';
  if (off) return [{key: 'off', text: 'nothing is saved by itself'}];
  const parts = [];
  if (given.onStop) parts.push({key: 'stop', text: 'at stop', mark: 'stop'});
  if (given.interval !== 'off') parts.push({key: 'interval', text: `every ${given.interval} when something changed`, mark: 'interval'});
  if (given.onStart) parts.push({key: 'start', text: 'back at start'});
  return parts;
}

const CHANGES = {
  added: {mark: '+', title: 'added'},
  changed: {mark: '~', title: 'changed'},
  removed: {mark: '−', title: 'removed'},
  metadata: {mark: '·', title: 'other owner, mode or time'},
};

export function change(entry) {
  const {mark, title: words} = CHANGES[entry.change] ?? {mark: '?', title: entry.change};
  let size = '';
  if (entry.type === 'file') {
    size = entry.change === 'changed' ? `${bytes(entry.oldSize)} → ${bytes(entry.newSize)}` :
           entry.change === 'removed' ? bytes(entry.oldSize) :
           entry.change === 'added' ? bytes(entry.newSize) : '';
  }
  return {
    key: `${entry.change} ${entry.pathBase64 ?? entry.path}`, kind: entry.change, mark, words, size,
    path: entry.path + (entry.type === 'dir' ? '/' : ''),
  };
}

export {bytes, duration, when};
