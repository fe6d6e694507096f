// SPDX-License-Identifier: Apache-2.0
// Requests that are right but for what a test makes wrong of them.

/** A body that would do for each operation that needs one: what is refused is refused for the field alone. */
export const good = {
  exec: {command: 'true'}, startProcess: {command: 'true'}, execInSession: {command: 'true'}, runCode: {code: '1'},
  runInContext: {code: '1'}, runCommand: {command: 'true'}, gitClone: {repo: 'http://127.0.0.1:9/x.git'},
  cloneRepository: {repo: 'http://127.0.0.1:9/x.git'}, createSnapshot: {dir: '/workspace'}, signalProcess: {signal: 'TERM'},
  commit: {dir: '/workspace', message: 'x'}, createBranch: {name: 'x'}, checkout: {ref: 'x'},
  statFile: {path: '/etc'}, fileExists: {path: '/etc'}, listFiles: {path: '/etc'}, findFiles: {path: '/etc'},
  grepFiles: {path: '/etc/hostname', pattern: 'x'}, makeDirectory: {path: '/tmp/x', parents: true},
  moveFile: {from: '/none', to: '/tmp/x'}, copyFile: {from: '/none', to: '/tmp/x'}, removeFile: {path: '/none', missingOk: true},
  setFileAttributes: {path: '/tmp', mode: '1777'}, updateSandbox: {keepAlive: false},
  mountBucket: {bucket: 'backups', path: '/workspace/b', endpoint: 'http://127.0.0.1:9', credentials: {accessKeyId: 'a', secretAccessKey: 'b'}},
};

/** A path of the description with its values; "x" is there nowhere. */
export const urlOf = (path, id) =>
  path.replace(/\{(id|sandbox)\}/, id).replace('{port}', '3000').replace(/\{[^}]*\}/g, 'x');
