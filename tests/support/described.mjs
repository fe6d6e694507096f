// SPDX-License-Identifier: Apache-2.0
// What a daemon answers, held against its own description: statuses, headers, media types and bodies. What is not
// described is not there.

import assert from 'node:assert/strict';

import {Ajv2020} from 'ajv/dist/2020.js';
import formats from 'ajv-formats';

import {open} from './http.mjs';

const LIMIT_MS = 60_000;

/** Objects have the members that are described, and no others. */
function closed(schema) {
  if (Array.isArray(schema)) return schema.map(closed);
  if (schema === null || typeof schema !== 'object') return schema;
  const copy = Object.fromEntries(Object.entries(schema).map(([name, value]) => [name, closed(value)]));
  if (schema.type === 'object' && schema.properties && schema.additionalProperties === undefined) {
    copy.additionalProperties = false;
  }
  return copy;
}

/** The events of a stream that came to its end: their names and data. */
function eventsOf(text) {
  assert.ok(text === '' || text.endsWith('\n\n'), `a stream that ends within an event: ${JSON.stringify(text.slice(-80))}`);
  return text.split('\n\n').filter((block) => block !== '' && !block.startsWith(':')).map((block) => ({
    name: block.match(/^event: (.*)$/m)?.[1],
    data: block.match(/^data: (.*)$/m)?.[1],
  }));
}

export class Described {
  static async of(daemon) {
    return new Described(daemon, (await daemon.request('', {path: '/v1/openapi.json'})).json());
  }

  constructor(daemon, api) {
    this.daemon = daemon;
    this.api = api;
    this.ajv = new Ajv2020({allErrors: true, strict: false});
    formats.default(this.ajv);
    this.ajv.addSchema({$id: 'api', components: closed(api.components)});
    this.validators = new Map();
    this.operations = new Map();
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        this.operations.set(operation.operationId, {path, method: method.toUpperCase(), operation});
      }
    }
    /** "operation status media type" of every answer that was looked at. */
    this.seen = new Set();
    /** "schema.member" of everything that was there. */
    this.members = new Set();
  }

  get names() { return [...this.operations.keys()].sort(); }

  url(name, values = {}, query = []) {
    const {path} = this.operations.get(name);
    const filled = path.replace(/\{(\w+)\}/g, (_, one) => String(values[one] ?? `no-${one}`)
      .split('/').map(encodeURIComponent).join('/'));
    const search = (Array.isArray(query) ? query : Object.entries(query))
      .map((pair) => pair.map(encodeURIComponent).join('=')).join('&');
    return search === '' ? filled : `${filled}?${search}`;
  }

  /**
   * Asks and checks. `path`, `query`: by name; `json`, `body`, `headers`: of the request; `until`: leaves a stream at an
   * event for which it is true.
   */
  async call(name, {path, query, json, body, headers = {}, method, until} = {}) {
    const known = this.operations.get(name);
    assert.ok(known, `there is no operation ${name}`);
    const {status, headers: got, stream, close} = await open(this.daemon.port, {
      host: this.daemon.bare, method: method ?? known.method, path: this.url(name, path, query), json, body, headers});
    const parts = [];
    let late = false;
    const timer = setTimeout(() => { late = true; close(); }, LIMIT_MS);
    try {
      for await (const part of stream) {
        parts.push(part);
        if (until && eventsOf(wholeEvents(Buffer.concat(parts).toString())).some(until)) break;
      }
    } catch (error) {
      assert.fail(`${name} ${late ? 'came to no end' : error.message}: ${Buffer.concat(parts).toString().slice(0, 2000)}`);
    } finally {
      clearTimeout(timer);
      if (until) close();
    }
    const bytes = Buffer.concat(parts);
    const text = until ? wholeEvents(bytes.toString()) : bytes.toString();
    const answer = {name, status, headers: got, bytes, text, json: () => JSON.parse(text), events: () => eventsOf(text)};
    if ((method ?? known.method) !== 'HEAD') this.check(answer);
    return answer;
  }

  check({name, status, headers, text}) {
    const {operation} = this.operations.get(name);
    const what = `${name}: ${status} ${headers['content-type'] ?? ''} ${text.slice(0, 2000)}`;
    let described = operation.responses[status];
    if (!described && status >= 400) described = operation.responses.default;
    assert.ok(described, `no such status is described: ${what}`);
    if (described.$ref) described = this.at(described.$ref);
    for (const header of ['X-Request-Id']) {
      assert.ok(header in described.headers, what);
      assert.ok(headers[header.toLowerCase()], `there is no ${header}: ${what}`);
    }
    const type = headers['content-type']?.replace(/;.*/, '');
    if (!described.content) {
      assert.equal(text, '', what);
      this.seen.add(`${name} ${status}`);
      return;
    }
    const place = type in described.content ? type : '*/*';
    const content = described.content[place];
    assert.ok(content, `no such media type is described: ${what}`);
    this.seen.add(`${name} ${status} ${place}`);
    if (type === 'application/json' && content.schema) this.fits(content.schema, JSON.parse(text), what);
    if (type === 'text/event-stream' && content['x-itemSchema']) {
      for (const {data} of eventsOf(text)) this.fits(content['x-itemSchema'], JSON.parse(data), `${name}: ${data}`);
    }
  }

  at(reference) {
    return reference.slice(2).split('/').reduce((value, part) => value[part], this.api);
  }

  fits(schema, value, what) {
    const key = JSON.stringify(schema);
    if (!this.validators.has(key)) {
      const text = JSON.stringify(closed(schema)).replaceAll('"#/components', '"api#/components');
      this.validators.set(key, this.ajv.compile(JSON.parse(text)));
    }
    const validate = this.validators.get(key);
    if (!validate(value)) assert.fail(`${what}\n${JSON.stringify(validate.errors, null, 1).slice(0, 4000)}`);
    this.note(schema, value);
  }

  /** Remembers which members of which schemas were there. */
  note(schema, value, name) {
    if (schema.$ref) return this.note(this.at(schema.$ref), value, schema.$ref.split('/').at(-1));
    for (const one of schema.oneOf ?? schema.anyOf ?? []) {
      const text = JSON.stringify(closed(one)).replaceAll('"#/components', '"api#/components');
      if (this.ajv.validate(JSON.parse(text), value)) this.note(one, value);
    }
    if (schema.items && Array.isArray(value)) for (const item of value) this.note(schema.items, item);
    for (const [member, inner] of Object.entries(schema.properties ?? {})) {
      if (value?.[member] === undefined) continue;
      if (name) this.members.add(`${name}.${member}`);
      this.note(inner, value[member]);
    }
  }

  /** Members that are described and were not there in any answer so far. */
  get unseenMembers() {
    return Object.entries(this.api.components.schemas)
      .flatMap(([name, {properties}]) => Object.keys(properties ?? {}).map((member) => `${name}.${member}`))
      .filter((member) => !this.members.has(member)).sort();
  }
}

const wholeEvents = (text) => text.slice(0, text.lastIndexOf('\n\n') + 2).replace(/^\n/, '');
