// SPDX-License-Identifier: Apache-2.0
// Answers are what the description of the API says of them, and nothing else: statuses, media types, members.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {Described} from './support/described.mjs';
import {GitServer} from './support/git_server.mjs';
import {upgrade} from './support/http.mjs';

// They need a store of S3 and s3fs; buckets.test.mjs has both.
const WITHOUT_SUCCESS = ['bridgeMountBucket', 'bridgeUnmountBucket', 'mountBucket', 'unmountBucket'];

// What these few requests need not come to see: true for all of it.
const RARE = {
  Bucket: true, PresignedArchive: true, UsageSample: true, Usage: ['diskAtLeast', 'lastOomAt'],
  CodeFailureEvent: true, ErrorEvent: true, OutputErrorEvent: true, OverflowEvent: true, ProgressEvent: true, CloneProgressEvent: true,
  CodeResult: ['chart'], CodeResultEvent: ['chart'],
  CreatedSandbox: ['restored'], RestoredDirectory: true, Sandbox: ['failure', 'saveFailure', 'unsaved'],
  StoppedSandbox: ['memoryFailure', 'memoryKept', 'saveFailure'],
  FileList: ['skipped'], RunCompleteEvent: ['oomKilled', 'outOfMemory'], Process: ['error'], Terminal: ['exitCode'],
  GitBranch: ['nameBase64', 'upstreamBase64'], GitChange: ['conflict', 'fromBase64', 'submodule'], GitDiff: ['patchBase64'],
  GitFileDiff: ['fromBase64', 'pathBase64'], GitPushedRef: ['refBase64'],
  RestoredSnapshot: ['piecewise'], RestoreCompleteEvent: ['piecewise'], SnapshotCompleteEvent: ['skippedPaths', 'unchanged'],
  SnapshotDiffEntry: ['pathBase64'], SnapshotNode: ['target', 'targetBase64'], TakenSnapshot: ['skippedPaths', 'unchanged'],
};

const SSE = {Accept: 'text/event-stream'};

describe('answers', () => {
  let daemon;
  let git;
  let api;
  const id = 'told';
  const path = {id};

  before(async () => {
    git = await GitServer.start();
    daemon = await Daemon.start({sections: {egress: {host_ports: [git.port]}}});
    api = await Described.of(daemon);
  });
  after(async () => {
    await git?.stop();
    await daemon?.cleanup();
  });

  /** One that must succeed. */
  const call = async (name, options = {}) => {
    const answer = await api.call(name, {path, ...options});
    assert.ok(answer.status < 400, `${name}: ${answer.status} ${answer.text}`);
    return answer;
  };
  const refused = async (name, status, options = {}) => {
    const answer = await api.call(name, {path, ...options});
    assert.equal(answer.status, status, `${name}: ${answer.text}`);
    return answer;
  };

  it('about sandboxes', async () => {
    await call('createSandbox', {json: {opencode: false, env: {A: 'b'}, snapshots: {onStop: true, paths: ['/workspace']}}});
    await call('newSandbox', {json: {id: 'other', opencode: false}, headers: {'Idempotency-Key': 'k'}});
    await call('listSandboxes');
    await call('listSandboxes', {query: {limit: 1}});
    await call('getSandbox');
    await call('updateSandbox', {json: {keepAlive: true}});
    await call('updateSandbox', {json: {keepAlive: false, sleepAfter: '20m'}});
    await eventually('it was looked at', async () => (await call('getUsage')).json().now?.at);
    await call('sleepSandbox', {json: {force: true}});
    await call('wakeSandbox');
    await call('forkSandbox', {json: {id: 'copied', opencode: false}});
    await call('deleteSandbox', {path: {id: 'copied'}});
    await call('listEvents');
    const events = await call('listEvents', {headers: SSE, until: ({name}) => name !== undefined});
    assert.ok(events.events().length > 0);
    await refused('getSandbox', 404, {path: {id: 'none'}});
    await refused('createSandbox', 400, {json: {memory: 'much'}});
  });

  it('about commands and sessions', async () => {
    await call('exec', {json: {command: 'echo out; echo err >&2; kill -9 $$'}});
    await call('exec', {json: {command: 'head -c 100 /dev/urandom; head -c 100 /dev/zero >&2', maxOutputBytes: 10}});
    await call('exec', {json: {command: 'kill -9 $$'}, headers: SSE});
    const streamed = await call('exec', {json: {command: 'echo out; printf "\\377"; exit 3'}, headers: SSE});
    assert.deepEqual(streamed.events().map(({data}) => JSON.parse(data).type), ['start', 'stdout', 'stdout', 'complete']);
    await call('exec', {json: {argv: ['cat', '/etc/hostname']}, headers: {Accept: 'application/octet-stream'}});
    await call('runCommand', {json: {command: 'echo out; printf "\\377"'}});
    await call('runCommand', {json: {command: 'sleep 100', timeout: 50}});
    await call('openSession', {json: {id: 'shell', user: 'nobody'}});
    await call('exec', {json: {command: 'cd /', session: 'shell'}});
    await call('listSessions');
    await call('closeSession', {path: {id, session: 'shell'}});
    await refused('exec', 404, {json: {argv: ['no-such-program']}});
    await refused('closeSession', 404, {path: {id, session: 'shell'}});
  });

  it('about processes', async () => {
    const one = {id, process: 'serves'};
    await call('startProcess', {json: {id: 'serves', command: 'echo "listening 1"; printf "\\377\\n"; exec python3 -m http.server 4321 --bind 127.0.0.1',
                                       service: true, keepAwake: true, user: 'root'}});
    await call('waitForProcess', {path: one, query: {for: 'log', regex: 'listening (\\d)'}});
    await call('waitForProcess', {path: one, query: {for: 'port', port: 4321, path: '/'}});
    await call('waitForProcess', {path: one, query: {for: 'port', port: 4321}});
    await call('listProcesses');
    await call('getProcess', {path: one});
    await call('getProcessLogs', {path: one});
    await call('getProcessLogs', {path: one, query: {follow: true}, until: ({data}) => data.includes('stdout')});
    await call('startProcess', {json: {id: 'ends', argv: ['sh', '-c', 'echo e >&2; exit 4']}});
    await call('waitForProcess', {path: {id, process: 'ends'}});
    await call('getProcessLogs', {path: {id, process: 'ends'}, headers: SSE});
    await call('startProcess', {json: {id: 'sleeps', command: 'exec sleep 1000'}});
    await call('signalProcess', {path: {id, process: 'sleeps'}, json: {signal: 'KILL'}});
    await call('waitForProcess', {path: {id, process: 'sleeps'}});
    await refused('waitForProcess', 408, {path: one, query: {for: 'exit', timeoutMs: 10}});
    await refused('getProcess', 404, {path: {id, process: 'none'}});

    await call('listPorts');
    await call('exposePort', {path: {id, port: 4321}, json: {name: 'files', ttl: 60, signed: true}});
    await call('listPorts');
    await call('listExposedPorts');
    await refused('exposePort', 409, {path: {id, port: 4321}});
    await call('unexposePort', {path: {id, port: 4321}});
    await call('stopProcess', {path: one});
    await call('stopProcesses');
  });

  it('about code', async () => {
    await call('runCode', {json: {code: 'import sys\nprint("out")\nprint("err", file=sys.stderr)\n{"a": 1}'}});
    const code = 'from IPython.display import *\n' +
        'for one in [HTML("h"), Markdown("m"), Latex("l"), SVG("<svg/>"), JSON({"a": 1}), Javascript("1")]: display(one)\n' +
        'for kind in ["png", "jpeg"]: display({f"image/{kind}": "eA=="}, raw=True)\n' +
        'display({"application/pdf": "eA=="}, raw=True)';
    for (const headers of [{}, SSE]) await call('runCode', {json: {code}, headers});
    const failed = await call('runCode', {json: {code: '1/0'}});
    assert.equal(failed.json().error.name, 'ZeroDivisionError');
    await call('runCode', {json: {code: 'import sys\nprint(1)\nprint(2, file=sys.stderr)\n1/0'}, headers: SSE});
    const {id: context} = (await call('createContext', {json: {language: 'javascript', cwd: '/'}})).json();
    const one = {id, context};
    await call('runInContext', {path: one, json: {code: 'x = 1'}});
    await call('runInContext', {path: one, json: {code: 'x'}, headers: SSE});
    await call('listContexts');
    await call('getContext', {path: one});
    await call('interruptContext', {path: one});
    await call('restartContext', {path: one});
    await call('deleteContext', {path: one});
    await refused('getContext', 404, {path: one});
  });

  it('about files', async () => {
    const file = {id, path: 'workspace/dir/file.txt'};
    await call('makeDirectory', {json: {path: '/workspace/dir', parents: true}});
    assert.equal((await call('writeFile', {path: file, body: 'one\ntwo\n'})).status, 201);
    assert.equal((await call('writeFile', {path: file, body: 'one\ntwo\n', query: {mode: '0600'}})).status, 200);
    const {headers} = await call('readFile', {path: file});
    for (const name of Object.keys(api.operations.get('readFile').operation.responses[200].headers)) {
      if (name !== 'Content-Range') assert.ok(headers[name.toLowerCase()], name);
    }
    const part = await call('readFile', {path: file, headers: {Range: 'bytes=1-2'}});
    assert.deepEqual([part.status, part.headers['content-range']], [206, 'bytes 1-2/8']);
    assert.equal((await call('readFile', {path: file, headers: {'If-None-Match': headers.etag}})).status, 304);
    await refused('readFile', 416, {path: file, headers: {Range: 'bytes=100-'}});
    await refused('readFile', 404, {path: {id, path: 'none'}});
    await call('statFile', {json: {path: '/workspace/dir/file.txt'}});
    await call('exec', {json: {command: 'ln -s file.txt link', cwd: '/workspace/dir'}});
    await call('statFile', {json: {path: '/workspace/dir/link', follow: false}});
    await call('fileExists', {json: {path: '/none'}});
    await call('listFiles', {json: {path: '/workspace/dir', limit: 1}});
    await call('findFiles', {json: {path: '/workspace'}});
    await call('grepFiles', {json: {pattern: 'tw', path: '/workspace'}});
    await call('copyFile', {json: {from: '/workspace/dir/file.txt', to: '/workspace/dir/copy'}});
    await call('moveFile', {json: {from: '/workspace/dir/copy', to: '/workspace/dir/moved'}});
    await call('setFileAttributes', {json: {path: '/workspace/dir/moved', mode: '0640'}});
    await call('checkChanges', {json: {path: '/workspace'}});
    /** Watches until an event has `word` in it; `act` happens as soon as it is watched. */
    const watch = async (directory, word, act) => {
      let acted;
      const answer = await call('watchFiles', {query: {path: directory}, until: ({data}) => {
        acted ??= act();
        return data.includes(word);
      }});
      await acted;
      return answer;
    };
    await watch('/workspace/dir', 'move_to', () =>
      call('moveFile', {json: {from: '/workspace/dir/moved', to: '/workspace/dir/again'}}));
    await call('makeDirectory', {json: {path: '/workspace/gone'}});
    await watch('/workspace/gone', '"stopped"', () => call('removeFile', {json: {path: '/workspace/gone', recursive: true}}));
    const anew = await call('watchFiles', {query: {path: '/workspace/dir'}, headers: {'Last-Event-ID': 'unknown-1'},
                                           until: ({data}) => data.includes('resync')});
    assert.ok(anew.events().some(({data}) => JSON.parse(data).type === 'resync'));
    const tar = await call('packFiles', {query: {path: '/workspace/dir'}});
    await call('packFiles', {query: {path: '/workspace/dir', format: 'tar.zst'}});
    await call('unpackFiles', {query: {path: '/workspace/unpacked'}, body: tar.bytes});
    await call('removeFile', {json: {path: '/workspace/unpacked', recursive: true}});
    await call('deleteFile', {path: {id, path: 'workspace/dir/link'}});
    await call('listBuckets');
    await refused('unmountBucket', 404, {query: {path: '/workspace/none'}});
  });

  it('about repositories', async () => {
    const dir = '/workspace/repo';
    const author = {name: 'A', email: 'a@example.org'};
    await call('gitClone', {json: {repo: git.url('writable.git'), dir}});
    await call('gitClone', {json: {repo: git.url('public.git'), dir: '/workspace/public'}, headers: SSE});
    await call('cloneRepository', {json: {repo: git.url('void.git'), dir: '/workspace/void'}});
    const cloned = await call('cloneRepository', {json: {repo: git.url('slow.git'), dir: '/workspace/slow'}, headers: SSE});
    assert.deepEqual(JSON.parse(cloned.events().at(-1).data).type, 'complete');
    await refused('gitClone', 404, {json: {repo: git.url('missing.git')}});
    await call('exec', {json: {cwd: dir, command: `git mv README.md READ.md; echo x >> src/main.txt; echo new > new.txt
      echo odd > "$(printf 'odd\\377')"; head -c 100 /dev/zero > binary; git add binary`}});
    await call('gitStatus', {json: {dir}});
    await call('gitDiff', {json: {dir}});
    await call('gitDiff', {json: {dir, staged: true}});
    await call('gitCommit', {json: {dir, message: 'All', all: true, author}});
    await call('gitLog', {json: {dir}});
    await call('createGitBranch', {json: {dir, name: 'topic/x'}});
    await call('listGitBranches', {query: {dir, remote: true}});
    await call('gitCheckout', {json: {dir, ref: 'topic/x'}});
    await call('gitCheckout', {json: {dir, ref: 'main'}});
    await call('deleteGitBranch', {path: {id, name: 'topic/x'}, query: {dir}});
    await call('gitFetch', {json: {dir}});
    await call('gitPull', {json: {dir}});
    await call('gitPush', {json: {dir}});
    await refused('gitCommit', 409, {json: {dir, message: 'x', author}});
  });

  it('about snapshots', async () => {
    const first = (await call('createSnapshot', {json: {dir: '/workspace', name: 'first', tags: ['a'], ttl: '3d', freeze: true}})).json();
    await call('writeFile', {path: {id, path: 'workspace/more'}, body: 'more'});
    const taken = await call('createSnapshot', {json: {dir: '/workspace'}, headers: SSE});
    const second = JSON.parse(taken.events().at(-1).data);
    const one = {snapshotId: first.snapshotId};
    await call('listSnapshots', {query: {limit: 1}});
    await call('listSandboxSnapshots');
    await call('getSnapshot', {path: one});
    await call('updateSnapshot', {path: one, json: {pinned: true}});
    await refused('deleteSnapshot', 409, {path: one});
    await call('updateSnapshot', {path: one, json: {pinned: false}});
    await call('diffSnapshots', {path: one, query: {to: second.snapshotId}});
    await call('listSnapshotFiles', {path: one, query: {path: '', limit: 1}});
    await call('listSnapshotFiles', {path: one, query: {path: 'dir'}});
    await call('listSnapshotFiles', {path: one, query: {path: 'repo'}});
    const file = {path: one, query: {path: 'dir/file.txt'}};
    await call('readSnapshotFile', file);
    assert.equal((await call('readSnapshotFile', {...file, headers: {Range: 'bytes=0-1'}})).status, 206);
    await refused('readSnapshotFile', 416, {...file, headers: {Range: 'bytes=100-'}});
    await call('downloadSnapshot', {path: one});
    await call('restoreSnapshot', {path: {id, ...one}});
    const restored = await call('restoreSnapshot', {path: {id, ...one}, headers: SSE});
    assert.equal(JSON.parse(restored.events().at(-1).data).type, 'complete');
    await call('deleteSnapshot', {path: one});
    await refused('restoreSnapshot', 404, {path: {id, ...one}});
  });

  it('about the pool, terminals, tools and itself', async () => {
    for (const name of ['getPoolStats', 'primePool', 'shutdownPrewarmed', 'getOpenApi', 'bridgeGetOpenApi']) await call(name);
    for (const [name, where] of [['openTerminal', {id}], ['execSocket', {id}], ['bridgePtyTerminal', {sandbox: id}]]) {
      const {status, head, socket} = await upgrade(daemon.port, {host: daemon.bare, path: api.url(name, where)});
      assert.match(head, /\r\nX-Request-Id: /i);
      api.check({name, status, headers: {'x-request-id': 'there'}, text: ''});
      if (name === 'openTerminal') await call('listTerminals');
      socket.destroy();
      await refused(name, name.startsWith('bridge') ? 400 : 426, {path: where});
    }
    await call('closeTerminal', {path: {id, name: 'default'}});
    await refused('closeTerminal', 404, {path: {id, name: 'none'}});

    const mcp = (method, params, options) => api.call('callMcp', {json: {jsonrpc: '2.0', id: 1, method, params}, ...options});
    const begun = await mcp('initialize', {protocolVersion: '2025-06-18', capabilities: {}, clientInfo: {name: 'x', version: '1'}});
    assert.ok(begun.headers['mcp-session-id']);
    await mcp('tools/list', {});
    await mcp('tools/call', {name: 'run', arguments: {sandbox: id, command: 'true'}});
    assert.ok((await mcp('nothing', {})).json().error);
    assert.equal((await api.call('callMcp', {json: {jsonrpc: '2.0', method: 'notifications/initialized'}})).status, 202);
    assert.equal((await mcp('ping', {}, {query: {sandbox: '-'}})).status, 400);
    assert.equal((await api.call('callMcp', {body: '{'})).status, 400);
    await api.call('callMcp', {body: '{}', query: [['sandbox', 'a'], ['sandbox', 'b']]});
    await api.call('endMcpSession');
  });

  it('of the bridge', async () => {
    const {id: sandbox} = (await call('bridgeCreateSandbox')).json();
    const one = {sandbox};
    await call('bridgeIsSandboxRunning', {path: one});
    await call('bridgeExecCommand', {path: one, json: {argv: ['echo', 'x']}});
    await refused('bridgeExecCommand', 400, {path: one, json: {argv: []}});
    const file = {sandbox, path: 'workspace/a'};
    await call('bridgeWriteFile', {path: file, body: 'x'});
    await call('bridgeReadFile', {path: file});
    await refused('bridgeReadFile', 404, {path: {sandbox, path: 'workspace/none'}});
    const tar = await call('bridgePersistWorkspace', {path: one});
    await call('bridgeHydrateWorkspace', {path: one, body: tar.bytes});
    await call('bridgeCreateSession', {path: one, json: {id: 's'}});
    await call('bridgeDeleteSession', {path: {sandbox, session: 's'}});
    await call('bridgeCreateTunnel', {path: {sandbox, port: 3000}, json: {name: 'n'}});
    await call('bridgeDeleteTunnel', {path: {sandbox, port: 3000}});
    await call('bridgeDeleteSandbox', {path: one});
  });

  it('that end a sandbox', async () => {
    await call('stopSandbox');
    await call('getSandbox');
    await call('createSandbox', {json: {opencode: false}});
    await call('deleteSandbox', {path: {id: 'other'}});
    await call('stopSandbox', {json: {}});
    await call('deleteSandbox');
  });

  it('that are failures, of every operation', async () => {
    for (const [name, {path: pattern, method}] of api.operations) {
      if (!pattern.includes('{')) continue;
      const body = method === 'GET' || method === 'DELETE' ? {} : {body: '['};
      const answer = await api.call(name, {...body, path: {sandbox: 'No', id: 'gone', snapshotId: 'f'.repeat(64)}});
      // The bridge's deletions are done when there is nothing; snapshots outlive what they are of.
      if (!name.startsWith('bridgeDelete') && name !== 'listSandboxSnapshots') assert.ok(answer.status >= 400 && answer.status < 500, `${name}: ${answer.status} ${answer.text}`);
    }
  });

  it('are all of those that are described', () => {
    const succeeded = new Set();
    const media = new Set();
    for (const seen of api.seen) {
      const [name, status, type] = seen.split(' ');
      if (Number(status) < 400) succeeded.add(name);
      if (Number(status) < 400) media.add(`${name} ${status} ${type ?? ''}`);
    }
    assert.deepEqual(api.names.filter((name) => !succeeded.has(name)), WITHOUT_SUCCESS);
    const missing = [];
    for (const [name, {operation}] of api.operations) {
      for (const [status, {content}] of Object.entries(operation.responses)) {
        if (status === 'default' || WITHOUT_SUCCESS.includes(name)) continue;
        for (const type of Object.keys(content ?? {'': {}})) {
          if (!media.has(`${name} ${status} ${type}`)) missing.push(`${name} ${status} ${type}`);
        }
      }
    }
    // An URL of an archive is of a store of S3: s3.test.mjs.
    assert.deepEqual(missing.sort(), ['downloadSnapshot 200 application/json']);
  });

  it('have had every member that is described, but for those of rare events', () => {
    const rare = ([schema, member]) => RARE[schema] === true || RARE[schema]?.includes(member);
    assert.deepEqual(api.unseenMembers.filter((name) => !rare(name.split('.'))), []);
  });
});
