// SPDX-License-Identifier: Apache-2.0
// javascript_bridge.mjs DIR LANGUAGE: a JavaScript kernel behind the unix socket DIR/socket, which
// speaks as python_bridge.py does. Three parts: the bridge; the kernel, a process whose main thread
// runs nothing but code; in it a worker that has code evaluated as DevTools' console does (state
// lasts, await at the top), and can end it while it loops.

import {spawn} from 'node:child_process';
import fs from 'node:fs';
import inspector from 'node:inspector';
import {builtinModules, createRequire} from 'node:module';
import net from 'node:net';
import path from 'node:path';
import {createInterface} from 'node:readline';
import {fileURLToPath, pathToFileURL} from 'node:url';
import util from 'node:util';
import {isMainThread, parentPort, Worker} from 'node:worker_threads';

const self = fileURLToPath(import.meta.url);
const mostWaiting = 32;
const mostLine = 8 << 20;
const mostText = 64 << 10;
const grace = 5000;  // from an interrupt to a new kernel
const fromKernel = 3;
const toKernel = 4;
const kernelName = `globalThis[Symbol.for('atoll.kernel')]`;

function findTypeScript() {
  for (const from of [process.cwd(), '/usr/local/lib', '/usr/share/nodejs', '/usr/lib']) {
    try {
      const load = createRequire(path.join(from, 'x'));
      return load(from === '/usr/share/nodejs' ? '/usr/share/nodejs/typescript' : 'typescript');
    } catch {
      // elsewhere, then
    }
  }
  return null;
}

// ---- The kernel's main thread.

const binary = new Set(['png', 'jpeg', 'pdf']);
const forms = {
  'text/plain': 'text', 'text/html': 'html', 'text/markdown': 'markdown', 'text/latex': 'latex',
  'image/png': 'png', 'image/jpeg': 'jpeg', 'image/svg+xml': 'svg', 'application/pdf': 'pdf',
  'application/json': 'json', 'application/javascript': 'javascript', 'text/javascript': 'javascript'};

function emit(message) {
  const bytes = Buffer.from(JSON.stringify(message) + '\n');
  for (let at = 0; at < bytes.length;) {
    try {
      at += fs.writeSync(fromKernel, bytes, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);  // the reader is slow
    }
  }
}

function show(data, value) {
  const shown = {};
  for (let [form, content] of Object.entries(data)) {
    form = forms[form] ?? (form.startsWith('application/vnd.') ? 'chart' : form);
    if (binary.has(form) && typeof content !== 'string') content = Buffer.from(content).toString('base64');
    if (form === 'json' || form === 'chart') content = JSON.stringify(content);
    if (content !== undefined) shown[form] = String(content);
  }
  emit({type: 'result', value, forms: shown});
}

const inspect = (value) => util.inspect(value, {depth: 4, maxStringLength: 100_000});
const isPlain = (value) => Array.isArray(value) ||
    (value !== null && typeof value === 'object' && [Object.prototype, null].includes(Object.getPrototypeOf(value)));

function showValue(value, isResult) {
  const data = {text: inspect(value)};
  try {
    if (isPlain(value) && JSON.stringify(value).length < 1 << 20) data.json = value;
  } catch {
    // no JSON
  }
  show(data, isResult);
}

function display(...values) {
  for (const value of values) showValue(value, false);
}
display.mime = (data) => show(data, false);
for (const form of new Set(Object.values(forms))) display[form] = (content) => show({[form]: content}, false);

function runKernel(language) {
  const typescript = language === 'typescript' ? findTypeScript() : null;
  for (const stream of ['stdout', 'stderr']) {
    process[stream].write = (chunk, encoding, done) => {
      const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString();
      for (let at = 0; at < text.length; at += mostText) emit({type: stream, text: text.slice(at, at + mostText)});
      const after = typeof encoding === 'function' ? encoding : done;
      if (after) process.nextTick(after);
      return true;
    };
  }
  const tell = (what) => (error) => process.stderr.write(`${what}: ${inspect(error)}\n`);
  process.on('uncaughtException', tell('Uncaught exception'));
  process.on('unhandledRejection', tell('Unhandled rejection'));
  const load = createRequire(path.join(process.cwd(), 'x'));
  Object.assign(globalThis, {require: load, display});
  // A debugger is connected, which Node.js would wait for.
  process.exit = process.reallyExit = (code) => {
    emit({type: 'exit', code: code ?? process.exitCode ?? 0});
    process.kill(process.pid, 'SIGKILL');
  };
  let current = null;
  const end = (run, error) => {
    if (run === null || run !== current) return;
    current = null;
    for (const [name, text] of Object.entries(run.former)) {
      if (text === undefined) delete process.env[name];
      else process.env[name] = text;
    }
    if (error) emit(error);
    emit({type: 'done', ok: !error});
  };
  const builtin = new Set(builtinModules);
  const kernel = {
    import: (name) => import(name.startsWith('node:') || builtin.has(name) ? name :
        pathToFileURL(/^\.{0,2}\//.test(name) ? path.resolve(name) : load.resolve(name)).href),
    show: (value) => value !== undefined && showValue(value, true),
    interrupted: () => end(current, {type: 'error', name: 'Interrupted', text: 'the code was interrupted', traceback: []}),
  };
  Object.defineProperty(globalThis, Symbol.for('atoll.kernel'), {value: kernel});
  const post = connect((session) => session.connect());
  // Not from a timer: the interrupt ends everything on the stack.
  new Worker(self).on('message', async ({code, env}) => {
    const run = current = {former: Object.fromEntries(Object.keys(env).map((name) => [name, process.env[name]]))};
    Object.assign(process.env, env);
    try {
      const answer = await post('Runtime.evaluate', {
        expression: asScript(typescript ? withoutTypes(typescript, code) : code), replMode: true, awaitPromise: true});
      if (answer.exceptionDetails) {
        end(run, errorOf(answer.exceptionDetails));
        return;
      }
      const {objectId, unserializableValue, value} = answer.result;
      const {result} = await post('Runtime.evaluate', {expression: kernelName});
      if (run === current) {
        await post('Runtime.callFunctionOn', {
          objectId: result.objectId, functionDeclaration: 'function(value) { this.show(value); }',
          arguments: [objectId ? {objectId} : unserializableValue ? {unserializableValue} : {value}]});
      }
      end(run);
    } catch (error) {
      if (String(error.message).includes('Execution was terminated')) kernel.interrupted();
      end(run, {type: 'error', name: error.name ?? 'Error', text: String(error.message ?? error), traceback: []});
    }
    await post('Runtime.releaseObjectGroup', {objectGroup: ''}).catch(() => {});
  });
  setInterval(() => {}, 1 << 30);  // nothing else keeps it
}

// Whether `connectTo` is this thread or the main one: a promise for each answer.
function connect(connectTo) {
  const session = new inspector.Session();
  connectTo(session);
  return (method, params = {}) => new Promise((resolve, reject) => {
    session.post(method, params, (error, result) => error ? reject(error) : resolve(result));
  });
}

function withoutTypes(typescript, code) {
  const keepImports = Number.parseInt(typescript.version, 10) >= 5 ? {verbatimModuleSyntax: true} : {preserveValueImports: true};
  const {outputText} = typescript.transpileModule(code, {
    compilerOptions: {module: 'esnext', target: 'es2022', isolatedModules: true, ...keepImports}});
  return outputText.replace(/^export \{\};\s*$/m, '');
}

// Imports at the beginning of a line, and import(): a script knows neither.
function asScript(code) {
  const call = (name) => `(await ${kernelName}.import(${name}))`;
  code = code.replace(
      /^([ \t]*)import\s+(?:([\w$]+)\s*(?:,\s*)?)?(\{[^}]*\}|\*\s*as\s+[\w$]+)?\s*(?:from\s*)?(['"][^'"\n]+['"])[ \t]*;?/gm,
      (_, indent, whole, named, name) => {
        const parts = [];
        if (whole) parts.push(`var ${whole} = ${call(name)}.default`);
        if (named?.startsWith('*')) parts.push(`var ${named.replace(/^\*\s*as\s+/, '')} = ${call(name)}`);
        else if (named) parts.push(`var ${named.replace(/\s+as\s+/g, ': ')} = ${call(name)}`);
        return indent + (parts.join('; ') || call(name)) + ';';
      });
  return code.replace(/(^|[^.\w$'"`/])import\s*\(/g, `$1${kernelName}.import(`);
}

// ---- The kernel's worker.

async function runWorker() {
  setInterval(() => {}, 1 << 30);  // waiting for an answer of the main thread does not keep it
  const post = connect((session) => session.connectToMainThread());
  for await (const line of createInterface({input: fs.createReadStream(null, {fd: toKernel})})) {
    const command = JSON.parse(line);
    if (command.op === 'run') {
      parentPort.postMessage(command);
    } else {
      // Ends what runs; what is only waited for goes on in the background.
      await post('Runtime.terminateExecution').catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 100));
      await post('Runtime.evaluate', {expression: `${kernelName}.interrupted()`}).catch(() => {});
    }
  }
  process.exit(0);
}

function errorOf({exception, text}) {
  const lines = String(exception?.description ?? exception?.value ?? text).split('\n');
  const isError = exception?.subtype === 'error';
  const said = lines.filter((line) => !/^\s+at /.test(line)).join('\n');
  const [, name, message] = (isError && /^([\w$.]+)(?:: ([\s\S]*))?$/.exec(said)) || [null, exception?.className ?? 'Error', said];
  const own = lines.findIndex((line) => /^\s+at /.test(line) && (line.includes(self) || line.includes('node:inspector')));
  return {
    type: 'error', name: isError ? name : 'Error', text: (message ?? '').slice(0, mostText),
    traceback: (own < 0 ? lines : lines.slice(0, own)).slice(0, 64).map((line) => line.slice(0, 4096).replaceAll('\0', ''))};
}

// ---- The bridge.

class Bridge {
  constructor(language) {
    Object.assign(this, {language, count: 0, created: Date.now(), used: Date.now(), waiting: 0,
                         restarted: false, running: null, turn: Promise.resolve()});
    this.start();
  }

  start() {
    const kernel = spawn(process.execPath, ['--no-warnings', self, '--kernel', this.language],
                         {stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'], detached: true});
    kernel.stdio[toKernel].on('error', () => {});
    this.kernel = kernel;
    this.count = 0;
    createInterface({input: kernel.stdio[fromKernel]}).on('line', (line) => {
      const message = JSON.parse(line);
      if (message.type === 'exit') kernel.said = message.code;
      else if (kernel === this.kernel) this.running?.take(message, Buffer.byteLength(line) + 1);
    });
    // Of programs that it has started.
    for (const stream of ['stdout', 'stderr']) {
      kernel[stream].setEncoding('utf8').on('data', (text) => {
        if (text === 'Waiting for the debugger to disconnect...\n') return;  // Node.js, of our session
        const message = {type: stream, text};
        if (kernel === this.kernel) this.running?.take(message, JSON.stringify(message).length + 1);
      });
    }
    kernel.on('close', (code, signal) => {
      if (kernel !== this.kernel) return;
      const why = kernel.said !== undefined ? `with exit code ${kernel.said}` : signal ? `by ${signal}${signal === 'SIGKILL' ? ', perhaps for want of memory' : ''}` : `with exit code ${code}`;
      this.replace(`it has ended ${why}`);
    });
  }

  replace(why) {
    const kernel = this.kernel;
    this.restarted = true;
    this.start();
    endSession(kernel.pid);
    this.running?.die(`${why}; what this context had defined is lost`);
  }

  interrupt() {
    this.kernel.stdio[toKernel].write('{"op":"interrupt"}\n');
  }

  async run(request, socket, left) {
    const began = performance.now();
    let budget = request.max_output;
    const outcome = {type: 'done', timed_out: false, ok: true, truncated: false};
    const send = (message) => socket.write(JSON.stringify(message) + '\n');
    send({type: 'begun'});
    let finish = null;
    const finished = new Promise((resolve) => finish = resolve);
    this.running = {
      take: (message, size) => {
        if (message.type === 'done') {
          outcome.ok = message.ok;
          finish();
        } else if (message.type === 'error' || (size <= budget && size <= mostLine)) {
          if (message.type !== 'error') budget -= size;
          send(message);
        } else {
          outcome.truncated = true;
          const room = budget - 64;
          budget = 0;
          if (message.text !== undefined && room > 0) send({...message, text: message.text.slice(0, room)});
        }
      },
      die: (text) => {
        outcome.ok = false;
        send({type: 'error', name: 'KernelDied', text, traceback: []});
        finish();
      },
    };
    const {code, env = {}} = request;
    this.kernel.stdio[toKernel].write(JSON.stringify({op: 'run', code, env}) + '\n');
    const timer = setTimeout(() => {
      outcome.timed_out = true;
      this.interrupt();
    }, Math.min(request.timeout_ms, 2 ** 31 - 1));
    left.then(() => this.running && this.interrupt());
    let deadline = null;
    const watch = setInterval(() => {
      if (!outcome.timed_out && !left.done) return;
      deadline ??= Date.now() + grace;
      if (Date.now() > deadline) this.replace('the code did not end when it was interrupted');
      else this.interrupt();
    }, 1000);
    await finished;
    clearTimeout(timer);
    clearInterval(watch);
    this.running = null;
    this.count += 1;
    if (outcome.timed_out) outcome.ok = false;
    send({...outcome, restarted: this.restarted, count: this.restarted ? 0 : this.count, ms: performance.now() - began});
    if (this.restarted) this.count = 0;
    this.restarted = false;
  }

  async queue(request, socket, left) {
    if (this.waiting >= mostWaiting) {
      socket.write(JSON.stringify({type: 'refused', why: `${this.waiting} others wait already`}) + '\n');
      return;
    }
    this.waiting += 1;
    const before = this.turn;
    let release = null;
    this.turn = new Promise((resolve) => release = resolve);
    await before;
    this.waiting -= 1;
    this.used = Date.now();
    if (!left.done) await this.run(request, socket, left);
    this.used = Date.now();
    release();
  }

  async serve(socket) {
    const left = new Promise((resolve) => socket.on('close', resolve).on('end', resolve));
    left.then(() => left.done = true);
    socket.on('error', () => {});
    let text = '';
    for await (const chunk of createInterface({input: socket})) {
      text = chunk;
      break;
    }
    socket.resume();  // to see its end
    const request = JSON.parse(text);
    if (request.op === 'run') await this.queue(request, socket, left);
    if (request.op === 'interrupt' && this.running) this.interrupt();
    if (request.op === 'restart') {
      this.replace('it was restarted');
      if (!this.running) this.restarted = false;
    }
    const status = {created: this.created, used: this.used, busy: this.running !== null, count: this.count, cwd: process.cwd()};
    socket.end(request.op === 'run' ? '' : JSON.stringify({type: 'done', ...status}) + '\n');
  }
}

// Ends what the kernel has started: its session is its own.
function endSession(leader) {
  for (const entry of fs.readdirSync('/proc')) {
    try {
      const stat = /^\d+$/.test(entry) ? fs.readFileSync(`/proc/${entry}/stat`, 'latin1') : '';
      if (stat && Number(stat.slice(stat.lastIndexOf(')')).split(' ')[4]) === leader) process.kill(Number(entry), 'SIGKILL');
    } catch {
      // it has ended meanwhile
    }
  }
}

function runBridge(folder, language) {
  if (language === 'typescript' && !findTypeScript()) {
    console.log('failed: there is no package typescript');
    process.exit(41);
  }
  fs.rmSync(folder, {recursive: true, force: true});
  fs.mkdirSync(folder, {recursive: true, mode: 0o700});
  const bridge = new Bridge(language);
  const server = net.createServer({allowHalfOpen: true}, (socket) => {
    bridge.serve(socket).catch((error) => {
      console.error('a request:', error.message);
      socket.destroy();
    });
  });
  server.listen(`${folder}/socket`, () => console.log('ready'));
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      endSession(bridge.kernel.pid);
      fs.rmSync(folder, {recursive: true, force: true});
      process.exit(0);
    });
  }
}

if (!isMainThread) runWorker();
else if (process.argv[2] === '--kernel') runKernel(process.argv[3]);
else runBridge(process.argv[2], process.argv[3]);
