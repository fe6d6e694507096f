#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// generate.mjs OPENAPI_JSON: writes src/operations.ts, the types of every request, to standard output.
// OPENAPI_JSON is a file, or an URL of a daemon: http://127.0.0.1:8787/v1/openapi.json.

import fs from 'node:fs';
import {pathToFileURL} from 'node:url';

const METHODS = ['get', 'put', 'post', 'patch', 'delete'];
const NAMES = /^[A-Za-z_$][\w$]*$/;

const nameOf = (name) => (NAMES.test(name) ? name : JSON.stringify(name));

function typeOf(schema) {
  const types = [schema.type].flat();
  const known = types.map((type) => {
    switch (type) {
      case 'string': return 'string';
      case 'integer':
      case 'number': return 'number';
      case 'boolean': return 'boolean';
      case 'null': return 'null';
      case 'array': return `${typeOf(schema.items)}[]`;
      case 'object': return schema.additionalProperties
        ? `Record<string, ${typeOf(schema.additionalProperties)}>` : 'Record<string, unknown>';
      default: return 'unknown';
    }
  });
  return [...new Set(known)].join(' | ');
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
      types += `    body: ${schema ? members(body, '      ') : 'undefined'};\n  };\n`;
      table += `  ${nameOf(operation.operationId)}: {method: '${method.toUpperCase()}', path: '${path}'},\n`;
    }
  }
  return `// SPDX-License-Identifier: Apache-2.0
// Made by generate.mjs of /v1/openapi.json. Not to be edited.

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
