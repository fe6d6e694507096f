// SPDX-License-Identifier: Apache-2.0
// Reads Prometheus' text format 0.0.4 and refuses what Prometheus would, or what its guides forbid.
// https://prometheus.io/docs/instrumenting/exposition_formats/

import assert from 'node:assert/strict';

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*/;
const TYPES = new Set(['counter', 'gauge', 'histogram', 'summary', 'untyped']);

class Cursor {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  fail(why) {
    assert.fail(`${why} at ${this.at} of: ${this.text}`);
  }

  match(pattern, what) {
    const found = this.text.slice(this.at).match(pattern);
    if (!found) this.fail(`${what} is missing`);
    this.at += found[0].length;
    return found[0];
  }

  take(literal) {
    if (!this.text.startsWith(literal, this.at)) return false;
    this.at += literal.length;
    return true;
  }

  expect(literal) {
    if (!this.take(literal)) this.fail(`"${literal}" is missing`);
  }

  quoted() {
    this.expect('"');
    let value = '';
    for (;;) {
      if (this.at >= this.text.length) this.fail('a label value does not end');
      const c = this.text[this.at++];
      if (c === '"') return value;
      if (c !== '\\') {
        value += c;
        continue;
      }
      const escaped = this.text[this.at++];
      if (escaped === 'n') value += '\n';
      else if (escaped === '\\' || escaped === '"') value += escaped;
      else this.fail(`\\${escaped} is no escape`);
    }
  }
}

function parseNumber(text) {
  if (text === '+Inf') return Infinity;
  if (text === '-Inf') return -Infinity;
  if (text === 'NaN') return NaN;
  assert.match(text, /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/, `${text} is no number`);
  return Number(text);
}

function parseSample(line) {
  const cursor = new Cursor(line);
  const name = cursor.match(NAME, 'a name');
  const labels = {};
  if (cursor.take('{')) {
    while (!cursor.take('}')) {
      if (Object.keys(labels).length > 0) cursor.expect(',');
      const label = cursor.match(LABEL, 'a label');
      if (label in labels) cursor.fail(`the label ${label} stands there twice`);
      cursor.expect('=');
      labels[label] = cursor.quoted();
    }
  }
  cursor.expect(' ');
  const value = parseNumber(cursor.match(/^\S+/, 'a value'));
  if (cursor.at !== line.length) cursor.fail('something follows the value');
  return {name, labels, value};
}

const key = (labels) => JSON.stringify(Object.entries(labels).sort());
const without = (labels, name) => Object.fromEntries(Object.entries(labels).filter(([one]) => one !== name));

function checkHistogram(family) {
  const groups = new Map();
  for (const sample of family.samples) {
    const part = sample.name.slice(family.name.length);
    assert.ok(['_bucket', '_sum', '_count'].includes(part), `${sample.name} in a histogram`);
    const group = key(without(sample.labels, 'le'));
    if (!groups.has(group)) groups.set(group, {buckets: []});
    if (part === '_bucket') groups.get(group).buckets.push([parseNumber(sample.labels.le), sample.value]);
    else groups.get(group)[part] = sample.value;
  }
  for (const [labels, {buckets, _sum, _count}] of groups) {
    const where = `${family.name}${labels}`;
    assert.ok(_sum >= 0 && _count >= 0, `${where}: sum and count`);
    assert.equal(buckets.at(-1)?.[0], Infinity, `${where}: the last bucket is +Inf`);
    assert.equal(buckets.at(-1)[1], _count, `${where}: the last bucket is the count`);
    for (let i = 1; i < buckets.length; ++i) {
      assert.ok(buckets[i][0] > buckets[i - 1][0], `${where}: bounds ascend`);
      assert.ok(buckets[i][1] >= buckets[i - 1][1], `${where}: buckets are cumulative`);
    }
  }
}

function checkFamily(family) {
  assert.ok(family.help?.length > 0, `${family.name} has help`);
  assert.ok(family.samples.length > 0, `${family.name} has samples`);
  const seen = new Set();
  for (const {name, labels, value} of family.samples) {
    const one = name + key(labels);
    assert.ok(!seen.has(one), `${one} stands there twice`);
    seen.add(one);
    if (family.type !== 'histogram') assert.equal(name, family.name);
    if (family.type === 'counter') assert.ok(value >= 0, `${name} is not negative`);
  }
  assert.equal(family.name.endsWith('_total'), family.type === 'counter', `${family.name}: _total is for counters`);
  if (family.type === 'histogram') checkHistogram(family);
}

/** The families of a text by name, each {name, help, type, samples: [{name, labels, value}]}. */
export function parseMetrics(text) {
  assert.ok(text.endsWith('\n'), 'the last line ends');
  const families = new Map();
  let current = null;
  const begin = (name) => {
    if (current?.name === name) return current;
    assert.ok(!families.has(name), `${name} is in one piece`);
    current = {name, samples: []};
    families.set(name, current);
    return current;
  };
  for (const line of text.slice(0, -1).split('\n')) {
    const meta = line.match(/^# (HELP|TYPE) (\S+) (.*)$/);
    if (meta) {
      const family = begin(meta[2]);
      const field = meta[1].toLowerCase();
      assert.ok(!(field in family), `${meta[1]} of ${meta[2]} stands there once`);
      assert.equal(family.samples.length, 0, `${meta[1]} of ${meta[2]} stands before its samples`);
      if (field === 'type') assert.ok(TYPES.has(meta[3]), line);
      family[field] = meta[3];
      continue;
    }
    const sample = parseSample(line);
    assert.ok(current && sample.name.startsWith(current.name), `${sample.name} belongs to ${current?.name}`);
    current.samples.push(sample);
  }
  for (const family of families.values()) checkFamily(family);
  return families;
}

/** The value of one sample, or 0 when it is not there (yet). `suffix`: of a histogram's part. */
export function valueOf(families, name, labels = {}, suffix = '') {
  const family = families.get(name);
  const found = family?.samples.find(
    (one) => one.name === name + suffix && key(without(one.labels, 'le')) === key(labels));
  return found?.value ?? 0;
}
