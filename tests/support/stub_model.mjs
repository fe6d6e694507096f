// SPDX-License-Identifier: Apache-2.0
// A model provider of the tests' own: speaks OpenAI's chat completions and Anthropic's messages,
// streaming. The first answer calls the bash tool, the answer after its result is text; a request
// without tools asks for a title. Any key but the expected one is refused.

import http from 'node:http';

const TEXT = 'Done: the file is written.';
const TITLE = 'Writing a file';

export class StubModel {
  static async start({key, command = 'echo from the agent > agent.txt'}) {
    const stub = new StubModel(key, command);
    await new Promise((resolve) => stub.server.listen(0, '127.0.0.1', resolve));
    stub.port = stub.server.address().port;
    return stub;
  }

  constructor(key, command) {
    this.key = key;
    this.command = command;
    this.requests = [];
    this.server = http.createServer((request, answer) => this.handle(request, answer));
  }

  get baseUrl() { return `http://127.0.0.1:${this.port}/v1`; }
  get origin() { return `http://127.0.0.1:${this.port}`; }

  stop() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }

  async handle(request, answer) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const text = Buffer.concat(parts).toString();
    const path = request.url.split('?')[0];
    const record = {method: request.method, path, headers: request.headers, text, status: 200};
    this.requests.push(record);
    const fail = (status, message) => {
      record.status = status;
      answer.writeHead(status, {'Content-Type': 'application/json'});
      answer.end(JSON.stringify({type: 'error', error: {type: 'stub', message}}));
    };
    const given = request.headers['x-api-key'] ??
        (request.headers.authorization ?? '').replace(/^Bearer /, '');
    if (given !== this.key) return fail(401, 'wrong key');
    if (request.method === 'GET' && path.endsWith('/models')) {
      answer.writeHead(200, {'Content-Type': 'application/json'});
      return answer.end(JSON.stringify({object: 'list', data: [{id: 'stub-1', object: 'model'}]}));
    }
    if (request.method !== 'POST') return fail(404, 'no such route');
    const body = JSON.parse(text);
    if (path.endsWith('/chat/completions')) return this.openAi(body, answer);
    if (path.endsWith('/messages')) return this.anthropic(body, answer);
    return fail(404, 'no such route');
  }

  get toolInput() {
    return JSON.stringify({command: this.command, description: 'Writes a file'});
  }

  openAi(body, answer) {
    const called = body.messages.at(-1).role === 'tool';
    const base = {id: 'chatcmpl-1', created: 1, model: body.model};
    const usage = {prompt_tokens: 10, completion_tokens: 5, total_tokens: 15};
    if (!body.stream) {
      answer.writeHead(200, {'Content-Type': 'application/json'});
      return answer.end(JSON.stringify({...base, object: 'chat.completion', usage, choices: [
        {index: 0, finish_reason: 'stop', message: {role: 'assistant', content: TITLE}}]}));
    }
    answer.writeHead(200, {'Content-Type': 'text/event-stream'});
    const send = (delta, finish_reason = null) => answer.write('data: ' + JSON.stringify(
        {...base, object: 'chat.completion.chunk', choices: [{index: 0, delta, finish_reason}]}) + '\n\n');
    if (body.tools?.length && !called) {
      send({role: 'assistant', tool_calls: [{index: 0, id: 'call_1', type: 'function',
                                             function: {name: 'bash', arguments: ''}}]});
      send({tool_calls: [{index: 0, function: {arguments: this.toolInput}}]});
      send({}, 'tool_calls');
    } else {
      const words = body.tools?.length ? TEXT : TITLE;
      send({role: 'assistant', content: ''});
      for (const word of words.split(/(?<= )/)) send({content: word});
      send({}, 'stop');
    }
    answer.write('data: ' + JSON.stringify(
        {...base, object: 'chat.completion.chunk', choices: [], usage}) + '\n\n');
    answer.end('data: [DONE]\n\n');
  }

  anthropic(body, answer) {
    const last = body.messages.at(-1).content;
    const called = Array.isArray(last) && last.some((block) => block.type === 'tool_result');
    const message = {id: 'msg_1', type: 'message', role: 'assistant', model: body.model, content: [],
                     stop_reason: null, stop_sequence: null, usage: {input_tokens: 10, output_tokens: 1}};
    if (!body.stream) {
      answer.writeHead(200, {'Content-Type': 'application/json'});
      return answer.end(JSON.stringify(
          {...message, stop_reason: 'end_turn', content: [{type: 'text', text: TITLE}]}));
    }
    answer.writeHead(200, {'Content-Type': 'text/event-stream'});
    const send = (type, rest) =>
        answer.write(`event: ${type}\ndata: ${JSON.stringify({type, ...rest})}\n\n`);
    send('message_start', {message});
    const wantsTool = body.tools?.length && !called;
    if (wantsTool) {
      send('content_block_start', {index: 0, content_block:
          {type: 'tool_use', id: 'toolu_1', name: 'bash', input: {}}});
      send('content_block_delta', {index: 0, delta:
          {type: 'input_json_delta', partial_json: this.toolInput}});
    } else {
      send('content_block_start', {index: 0, content_block: {type: 'text', text: ''}});
      send('content_block_delta', {index: 0, delta:
          {type: 'text_delta', text: body.tools?.length ? TEXT : TITLE}});
    }
    send('content_block_stop', {index: 0});
    send('message_delta', {delta: {stop_reason: wantsTool ? 'tool_use' : 'end_turn', stop_sequence: null},
                           usage: {output_tokens: 5}});
    send('message_stop', {});
    answer.end();
  }
}

export const finalText = TEXT;
