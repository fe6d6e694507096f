// SPDX-License-Identifier: Apache-2.0
// Every operation of the API with a form to try it, made of /v1/openapi.json.

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
const MOST_SHOWN = 200_000;

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'class') node.className = value;
    else if (value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

const typesOf = (schema) => [schema?.type ?? []].flat().filter((type) => type !== 'null');

function exampleOf(schema) {
  const type = typesOf(schema)[0];
  if (type === 'integer' || type === 'number') return Math.max(schema.minimum ?? 0, 1);
  if (type === 'boolean') return true;
  if (type === 'array') return [];
  if (type === 'object') return {};
  return '';
}

function hintOf(field) {
  const types = field.schema ? typesOf(field.schema).join(' or ') : 'JSON';
  return [types, field.description].filter(Boolean).join(': ');
}

// The form's fields for a parameter of path or query.
function parameterField(operation, parameter) {
  const id = `${operation.operationId}-${parameter.name}`;
  const input = element('input', {id, name: parameter.name, autocomplete: 'off', spellcheck: 'false'});
  if (parameter.required) input.required = true;
  return element('div', {class: 'field'},
                 element('label', {for: id}, parameter.name + (parameter.required ? ' *' : '')), input,
                 element('small', {}, hintOf(parameter)));
}

function bodyField(operation, content) {
  const id = `${operation.operationId}-body`;
  const schema = content['application/json']?.schema;
  const input = element('textarea', {id, name: '(body)', spellcheck: 'false'});
  const notes = [];
  if (schema) {
    const example = {};
    for (const name of schema.required ?? []) example[name] = exampleOf(schema.properties[name]);
    input.value = JSON.stringify(example, null, 2);
    for (const [name, field] of Object.entries(schema.properties)) {
      notes.push(element('small', {}, `${name} — ${hintOf({schema: field, description: field.description})}`));
    }
  }
  return element('div', {class: 'field'}, element('label', {for: id}, schema ? 'JSON' : 'Bytes'), input, ...notes);
}

function requestOf(path, operation, form) {
  const query = new URLSearchParams();
  let url = path;
  for (const parameter of operation.parameters ?? []) {
    // By this method: a parameter may be called `length`.
    const {value} = form.elements.namedItem(parameter.name);
    if (parameter.in === 'path') {
      const encoded = encodeURIComponent(value);
      url = url.replace(`{${parameter.name}}`, parameter.name === 'path' ? encoded.replaceAll('%2F', '/') : encoded);
    } else if (value !== '') {
      query.set(parameter.name, value);
    }
  }
  const text = query.toString();
  return text === '' ? url : `${url}?${text}`;
}

async function show(response, output) {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = '';
  while (reader !== undefined && text.length < MOST_SHOWN) {
    const {done, value} = await reader.read();
    if (done) break;
    text += decoder.decode(value, {stream: true});
    output.textContent = text;
  }
  await reader?.cancel();
  try {
    output.textContent = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    output.textContent = text === '' ? '(empty)' : text;
  }
}

function operationView(path, method, operation) {
  const content = operation.requestBody?.content;
  const answers = Object.values(operation.responses)[0]?.content ?? {};
  const send = element('button', {type: 'submit'}, 'Send');
  const status = element('span', {class: 'status', role: 'status'});
  const output = element('pre', {hidden: ''});
  const form = element('form', {},
                       ...(operation.parameters ?? []).map((one) => parameterField(operation, one)),
                       ...(content ? [bodyField(operation, content)] : []),
                       element('div', {class: 'act'}, send, status), output);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    send.disabled = true;
    status.textContent = '…';
    output.hidden = false;
    output.textContent = '';
    const began = performance.now();
    try {
      const headers = {};
      if (content) headers['Content-Type'] = Object.keys(content)[0];
      if ('text/event-stream' in answers) headers.Accept = 'text/event-stream, application/json';
      const response = await fetch(requestOf(path, operation, form), {
        method: method.toUpperCase(), headers, body: content ? form.elements['(body)'].value : undefined,
      });
      status.textContent = `${response.status} in ${Math.round(performance.now() - began)} ms`;
      await show(response, output);
    } catch (error) {
      status.textContent = error.message;
    } finally {
      send.disabled = false;
    }
  });
  const view = element('details', {class: 'operation', id: operation.operationId},
                       element('summary', {}, element('span', {class: `method method-${method.toUpperCase()}`},
                                                      method.toUpperCase()),
                               element('code', {}, path), element('span', {class: 'says'}, operation.summary)),
                       form);
  view.dataset.words = `${method} ${path} ${operation.operationId} ${operation.summary}`.toLowerCase();
  return view;
}

// "/v1/sandboxes/{id}/exec" belongs to "sandboxes".
const groupOf = (path) => path.split('/')[2]?.replace('.json', '') ?? '';

function filter(words) {
  let shown = 0;
  for (const view of document.querySelectorAll('.operation')) {
    view.hidden = !words.every((word) => view.dataset.words.includes(word));
    if (!view.hidden) ++shown;
  }
  for (const section of document.querySelectorAll('#operations > section')) {
    section.hidden = section.querySelectorAll('.operation:not([hidden])').length === 0;
  }
  document.querySelector('#count').textContent = `${shown} operations`;
}

async function start() {
  const api = await (await fetch('/v1/openapi.json')).json();
  const groups = new Map();
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const method of METHODS) {
      if (operations[method] === undefined) continue;
      const group = groupOf(path);
      if (!groups.has(group)) groups.set(group, element('section', {}, element('h2', {}, group)));
      groups.get(group).append(operationView(path, method, operations[method]));
    }
  }
  document.querySelector('#operations').append(...groups.values());
  const find = document.querySelector('#find');
  find.addEventListener('input', () => filter(find.value.toLowerCase().split(/\s+/)));
  filter([]);
  if (location.hash !== '') document.getElementById(location.hash.slice(1))?.setAttribute('open', '');
}

start().catch((error) => { document.querySelector('#count').textContent = `The API cannot be read: ${error.message}`; });
