// SPDX-License-Identifier: Apache-2.0
// What the dashboard says: numbers, states and ids in words.

const ADJECTIVES = ['amber', 'azure', 'bright', 'calm', 'clear', 'coral', 'deep', 'drifting', 'gentle',
  'golden', 'green', 'hidden', 'high', 'little', 'low', 'open', 'pale', 'quiet', 'salt', 'silver',
  'slow', 'still', 'warm', 'wide'];
const NOUNS = ['bay', 'beach', 'cay', 'channel', 'current', 'dune', 'harbor', 'islet', 'lagoon', 'motu',
  'palm', 'pass', 'pearl', 'reef', 'sail', 'shoal', 'shore', 'spray', 'swell', 'tern', 'tide', 'turtle',
  'wave', 'wind'];
const RESERVED = ['www', 'api', 'sdk'];

const pick = (list) => list[Math.floor(Math.random() * list.length)];

export const suggestId = () => `${pick(ADJECTIVES)}-${pick(NOUNS)}`;

/** Why an id cannot be used; empty when it can. */
export function idProblem(id) {
  if (id === '') return 'Pick a name.';
  if (id.length > 39) return 'At most 39 characters.';
  if (/[^a-z0-9-]/.test(id)) return 'Only a–z, 0–9 and hyphens.';
  if (/^-|-$|--/.test(id)) return 'Hyphens stand alone, between other characters.';
  if (/^[0-9]+-/.test(id)) return 'Digits and a hyphen at the start mean a port.';
  if (RESERVED.includes(id)) return 'This name is reserved.';
  return '';
}

const STATES = {
  creating: 'is being made',
  paused: 'asleep; it wakes when it is used',
  stopping: 'is being saved and stopped',
  stopped: 'stopped; it starts when it is used',
  restoring: 'gets its files back',
  deleting: 'is being deleted',
};

export function stateLine(sandbox) {
  if (sandbox.state === 'failed' && sandbox.failure) return 'failed: ' + sandbox.failure;
  return STATES[sandbox.state] ?? sandbox.state ?? '';
}

export function stateKind(state) {
  if (state === 'running') return 'running';
  if (state === 'failed') return 'failed';
  return state === 'stopped' || state === 'paused' ? 'stopped' : 'moving';
}

const OPENCODE = {
  ready: 'OpenCode is ready',
  starting: 'OpenCode is starting',
  stopped: 'OpenCode starts when you open it',
  failed: 'OpenCode could not start',
};

export const opencodeLine = (state) => OPENCODE[state] ?? '';

export function summary(sandbox) {
  if (sandbox.state === 'paused') return 'asleep';
  if (sandbox.state !== 'running') return sandbox.state + (sandbox.unsaved ? ', unsaved' : '');
  return sandbox.opencode === 'ready' ? 'running, OpenCode ready' :
         sandbox.opencode === 'starting' ? 'running, OpenCode starting' : 'running';
}

export function bytes(count) {
  if (typeof count !== 'number') return String(count ?? '');
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) {
    count /= 1024;
    at++;
  }
  return (count < 10 && at > 0 ? Number(count.toFixed(1)) : Math.round(count)) + ' ' + units[at];
}

export function duration(ms) {
  if (ms < 1000) return Math.round(ms) + ' ms';
  if (ms < 60000) return (ms / 1000).toFixed(1) + ' s';
  return `${Math.floor(ms / 60000)} min ${Math.round((ms % 60000) / 1000)} s`;
}

export function when(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return '';
  const today = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'});
  return today ? time : `${date.toLocaleDateString([], {month: 'short', day: 'numeric'})}, ${time}`;
}

export function facts(sandbox) {
  const rows = [];
  if (sandbox.memory) rows.push({name: 'memory', value: bytes(sandbox.memory)});
  if (sandbox.cpus) rows.push({name: 'cpus', value: String(sandbox.cpus)});
  if (sandbox.pids) rows.push({name: 'processes', value: String(sandbox.pids)});
  if (sandbox.disk) rows.push({name: 'disk', value: bytes(sandbox.disk)});
  if (sandbox.image) rows.push({name: 'image', value: sandbox.image});
  if (sandbox.createdAt) rows.push({name: 'since', value: when(sandbox.createdAt)});
  return rows;
}

export function phases(given) {
  const entries = Object.entries(given ?? {}).filter(([, ms]) => typeof ms === 'number');
  if (entries.length === 0) return '';
  return entries.map(([name, ms]) => `${name} ${duration(ms)}`).join(' · ');
}

export function cloneResult(result) {
  return `${result.branch} at ${String(result.commit).slice(0, 8)} in ${result.dir}`;
}

export function exitBadge(event) {
  if (event.timedOut) return 'timed out';
  if (event.outOfMemory) return 'out of memory';
  if (event.exitCode > 128 && event.exitCode <= 192) return `signal ${event.exitCode - 128}`;
  return `exit ${event.exitCode}`;
}
