// SPDX-License-Identifier: Apache-2.0
// The InterpreterClient of @cloudflare/sandbox, unmodified, with real kernels: the same cases for each of its transports.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {optionsFor, sdk, transports} from './support/sdk_clients.mjs';

const {SandboxClient, CodeInterpreter, parseSSEStream} = sdk;

// One pixel.
const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

let daemon;
before(async () => {
  daemon = await Daemon.start();
});
after(() => daemon?.cleanup());

for (const transport of transports) {
  describe(`the InterpreterClient over ${transport}`, () => {
    let client;
    let code;
    before(() => {
      client = new SandboxClient(optionsFor(daemon, `code-${transport}`, transport));
      code = client.interpreter;
    });
    after(() => client.disconnect());

    /** Runs code and gives all that the callbacks are called with. */
    async function run(context, text, language, timeoutMs) {
      const told = {stdout: '', stderr: '', results: [], errors: []};
      await code.runCodeStream(context?.id, text, language, {
        onStdout: ({text}) => { told.stdout += text; },
        onStderr: ({text}) => { told.stderr += text; },
        onResult: (result) => { told.results.push(result); },
        onError: (error) => { told.errors.push(error); },
      }, timeoutMs);
      return told;
    }

    it('makes, lists and deletes contexts', async () => {
      const made = await code.createCodeContext({cwd: '/usr', envVars: {FROM: 'create', NOT: undefined}});
      assert.deepEqual([made.language, made.cwd], ['python', '/usr']);
      assert.ok(!Number.isNaN(made.createdAt.getTime()));
      const told = await run(made, 'import os; print(os.getcwd(), os.environ["FROM"])');
      assert.equal(told.stdout, '/usr create\n');
      const listed = (await code.listCodeContexts()).find(({id}) => id === made.id);
      assert.deepEqual([listed.language, listed.cwd], ['python', '/usr']);
      await code.deleteCodeContext(made.id);
      assert.ok(!(await code.listCodeContexts()).some(({id}) => id === made.id));
    });

    it('keeps what code has defined, in each context for itself', async () => {
      const one = await code.createCodeContext();
      const other = await code.createCodeContext();
      await run(one, 'x = 20');
      assert.equal((await run(one, 'x + 22')).results[0].text, '42');
      assert.equal((await run(other, 'x')).errors[0].name, 'NameError');
      // Without a context: the language's own.
      await run(undefined, 'y = 1', 'python');
      assert.equal((await run(undefined, 'y', 'python')).results[0].text, '1');
      await code.deleteCodeContext(other.id);
    });

    it('gives results in every form that they have', async () => {
      const {results, stderr, errors} = await run(undefined, `
import sys
from IPython.display import *
import base64
print('warned', file=sys.stderr)
display(HTML('<b>bold</b>'), Markdown('*m*'), Latex('$x$'), SVG('<svg xmlns="http://www.w3.org/2000/svg"/>'))
display(JSON({'a': [1, None]}), Javascript('alert(1)'))
display({'image/jpeg': '/9j/', 'application/vnd.vega.v5+json': {'marks': []}}, raw=True)
Image(data=base64.b64decode('${png}'))`, 'python');
      assert.deepEqual(errors, []);
      assert.equal(stderr, 'warned\n');
      const form = (name) => results.find((result) => result[name] !== undefined)?.[name];
      assert.deepEqual(
        ['html', 'markdown', 'latex', 'json', 'javascript', 'jpeg', 'png'].map(form),
        ['<b>bold</b>', '*m*', '$x$', {a: [1, null]}, 'alert(1)', '/9j/', png]);
      assert.match(form('svg'), /^<svg/);
      assert.ok(form('chart'), 'there is a chart');
      assert.ok(results.at(-1).formats().includes('png'));
    });

    it('runs JavaScript', async () => {
      const context = await code.createCodeContext({language: 'javascript'});
      await run(context, 'const double = async (n) => 2 * n');
      const told = await run(context, 'console.log("hi"); console.error("oh"); await double(21)');
      assert.deepEqual([told.stdout, told.stderr, told.results[0].text], ['hi\n', 'oh\n', '42']);
      const {errors} = await run(context, 'function f() { throw new TypeError("no") }\nf()');
      assert.deepEqual([errors[0].name, errors[0].message], ['TypeError', 'no']);
    });

    it('tells what fails, once and with where', async () => {
      const {errors} = await run(undefined, 'def f():\n  return 1 / 0\nprint("on")\nf()', 'python');
      assert.equal(errors.length, 1);
      assert.deepEqual([errors[0].name, errors[0].message], ['ZeroDivisionError', 'division by zero']);
      assert.match(errors[0].traceback.join('\n'), /return 1 \/ 0/);
    });

    it('obeys a limit of time, and goes on', async () => {
      const context = await code.createCodeContext();
      await run(context, 'x = 1');
      const {errors} = await run(context, 'while True: pass', undefined, 300);
      assert.deepEqual([errors.length, errors[0].name], [1, 'TimeoutError']);
      assert.match(errors[0].message, /300ms/);
      assert.equal((await run(context, 'x')).results[0].text, '1');
      await code.deleteCodeContext(context.id);
    });

    it('streams output as it comes, and ends what nobody listens to', async () => {
      const context = await code.createCodeContext();
      const seen = [];
      for await (const event of parseSSEStream(await code.streamCode(context.id, `
import os, time
print('one', flush=True)
while not os.path.exists('/tmp/go'): time.sleep(0.05)
3`))) {
        seen.push(event);
        if (event.text === 'one\n') await client.commands.execute('touch /tmp/go', 'code');
      }
      assert.deepEqual(seen.map(({type, text}) => [type, text]),
                       [['stdout', 'one\n'], ['result', '3'], ['execution_complete', undefined]]);
      const left = await code.streamCode(context.id, 'print("begun", flush=True)\ntime.sleep(1000)');
      const reader = left.getReader();
      await reader.read();
      await reader.cancel();
      // It would wait for the other one.
      assert.equal((await run(context, '1 + 1')).results[0].text, '2');
      await code.deleteCodeContext(context.id);
    });

    it('is what CodeInterpreter needs', async () => {
      const interpreter = new CodeInterpreter(code);
      const execution = await interpreter.runCode('print("a"); 6 * 7');
      assert.deepEqual(execution.logs, {stdout: ['a\n'], stderr: []});
      assert.equal(execution.results[0].text, '42');
      assert.equal((await interpreter.runCode('nothing')).error.name, 'NameError');
    });

    it('says which error it was', async () => {
      const missing = (promise) => assert.rejects(promise, (error) => {
        assert.equal(error.name, 'ContextNotFoundError', error.stack);
        assert.deepEqual([error.code, error.contextId, error.httpStatus],
                         ['CONTEXT_NOT_FOUND', 'context-python-none', 404]);
        return true;
      });
      await missing(code.deleteCodeContext('context-python-none'));
      // The clients' streams have their own class over WebSocket.
      await assert.rejects(code.runCodeStream('context-python-none', '1', 'python', {}), /context-python-none/);
      await assert.rejects(code.createCodeContext({language: 'cobol'}), {code: 'VALIDATION_FAILED'});
      await assert.rejects(code.createCodeContext({envVars: {'A B': 'x'}}), {code: 'VALIDATION_FAILED'});
    });

    it('says that a language is not installed, at once', async () => {
      const bare = new SandboxClient(optionsFor(daemon, `bare-${transport}`, transport));
      await bare.commands.execute('mkdir /opt/hidden; mv $(command -v node) /opt/hidden; ' +
                                  'rm -rf /usr/lib/python3/dist-packages/ipykernel*', 'bare');
      const refused = (language, name) => assert.rejects(bare.interpreter.createCodeContext({language}), {code: name, httpStatus: 501});
      await refused('javascript', 'JAVASCRIPT_NOT_AVAILABLE');
      await refused('typescript', 'JAVASCRIPT_NOT_AVAILABLE');
      await refused('python', 'PYTHON_NOT_AVAILABLE');
      bare.disconnect();
    });

    it('keeps contexts while the daemon is replaced by another', {skip: transport === 'websocket'}, async () => {
      const context = await code.createCodeContext();
      await run(context, 'kept = 42');
      await daemon.restart();
      const again = new SandboxClient(optionsFor(daemon, `code-${transport}`, transport));
      code = again.interpreter;
      await eventually('it answers', async () => (await again.utils.ping()) === 'pong');
      assert.equal((await run(context, 'kept')).results[0].text, '42');
    });
  });
}
