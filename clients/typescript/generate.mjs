#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// generate.mjs OPENAPI_JSON: writes src/operations.ts, the types of every request and answer, to standard output.
// OPENAPI_JSON is a file, or an URL of a daemon: http://127.0.0.1:8787/v1/openapi.json.

import fs from 'node:fs';
import {pathToFileURL} from 'node:url';

const METHODS = ['get', 'put', 'post', 'patch', 'delete'];
const NAMES = /^[A-Za-z_$][\w$]*$/;

const quote = (text) => `'${text.replaceAll("'", "\\'")}'`;
const nameOf = (name) => (NAMES.test(name) ? name : JSON.stringify(name));

const union = (types) => [...new Set(types)].join(' | ');
const listOf = (type) => (/[ |]/.test(type) ? `(${type})[]` : `${type}[]`);

function typeOf(schema) {
  if (schema.$ref) return `Schemas['${schema.$ref.split('/').at(-1)}']`;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const cases = schema.oneOf ?? schema.anyOf;
  if (cases) return union(cases.map(typeOf));
  if (schema.enum && [schema.type].flat().includes('string')) {
    const nothing = [schema.type].flat().includes('null') && !schema.enum.includes(null) ? ['null'] : [];
    return union([...schema.enum.map((one) => (one === null ? 'null' : quote(one))), ...nothing]);
  }
  const types = [schema.type].flat();
  const known = types.map((type) => {
    switch (type) {
      case 'string': return 'string';
      case 'integer':
      case 'number': return 'number';
      case 'boolean': return 'boolean';
      case 'null': return 'null';
      case 'array': return listOf(typeOf(schema.items));
      case 'object': return schema.additionalProperties
        ? `Record<string, ${typeOf(schema.additionalProperties)}>` : 'Record<string, unknown>';
      default: return 'unknown';
    }
  });
  return union(known);
}

/** A schema that has a name. */
function declared(name, schema) {
  if (!schema.properties) return `  ${nameOf(name)}: ${typeOf(schema)};\n`;
  const all = Object.entries(schema.properties).map(([inner, one]) =>
    member(inner, one, schema.required?.includes(inner), one.description, '    '));
  return `  ${nameOf(name)}: ${members(all, '    ')};\n`;
}

/** What `call` gives: JSON, or undefined when there is none; what is bytes or events alone has to be opened. */
function answerOf(operation) {
  const good = Object.entries(operation.responses).filter(([status]) => /^2/.test(status));
  const json = good.map(([, one]) => one.content?.['application/json']?.schema).filter(Boolean);
  if (json.length > 0) return union(json.map(typeOf));
  return good.some(([, one]) => one.content) ? 'never' : 'undefined';
}

function eventOf(operation) {
  const schemas = Object.values(operation.responses)
    .map((one) => one.content?.['text/event-stream']?.['x-itemSchema']).filter(Boolean);
  return schemas.length > 0 ? union(schemas.map(typeOf)) : 'never';
}

function member(name, schema, required, description, indent) {
  const about = description ? `${indent}/** ${description.replaceAll('*/', '* /')} */\n` : '';
  return `${about}${indent}${nameOf(name)}${required ? '' : '?'}: ${typeOf(schema)};\n`;
}

function members(list, indent) {
  return list.length === 0 ? 'Record<string, never>' : `{\n${list.join('')}${indent.slice(2)}}`;
}

export function generate(openapi) {
  let types = '';
  let table = '';
  for (const [path, methods] of Object.entries(openapi.paths)) {
    for (const method of METHODS.filter((one) => methods[one])) {
      const operation = methods[method];
      const of = (place) => (operation.parameters ?? []).filter((one) => one.in === place)
        .map((one) => member(one.name, one.schema ?? one.content['application/json'].schema, one.required, one.description, '      '));
      const schema = operation.requestBody?.content?.['application/json']?.schema;
      const body = Object.entries(schema?.properties ?? {}).map(([name, one]) =>
        member(name, one, schema.required?.includes(name), one.description, '      '));
      types += `  /** ${operation.summary.replaceAll('*/', '* /')} */\n  ${nameOf(operation.operationId)}: {\n`;
      types += `    path: ${members(of('path'), '      ')};\n`;
      types += `    query: ${members(of('query'), '      ')};\n`;
      types += `    body: ${schema ? members(body, '      ') : 'undefined'};\n`;
      types += `    answer: ${answerOf(operation)};\n    event: ${eventOf(operation)};\n  };\n`;
      table += `  ${nameOf(operation.operationId)}: {method: '${method.toUpperCase()}', path: '${path}'},\n`;
    }
  }
  const schemas = Object.entries(openapi.components.schemas).map(([name, one]) => declared(name, one)).join('');
  return `// SPDX-License-Identifier: Apache-2.0
// Made by generate.mjs of /v1/openapi.json. Not to be edited.

/** What answers are made of. */
export interface Schemas {
${schemas}}

export interface Operations {
${types}}

export const operations = {
${table}} as const;
`;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const source = process.argv[2];
  if (!source) {
    console.error('usage: generate.mjs OPENAPI_JSON');
    process.exit(2);
  }
  const text = /^https?:/.test(source) ? await (await fetch(source)).text() : fs.readFileSync(source, 'utf8');
  process.stdout.write(generate(JSON.parse(text)));
}
