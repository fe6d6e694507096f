// SPDX-License-Identifier: Apache-2.0
// Real git behind HTTP on the host's loopback: /public.git, /slow.git (takes its time), /writable.git
// and /void.git (empty), which take pushes, /private.git (user `u`, password `p`), /hang.git (never
// answers); everything else is 404.

import {execFileSync, spawn} from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';

const AUTHOR = ['-c', 'user.name=Test', '-c', 'user.email=test@example.org', '-c', 'init.defaultBranch=main'];

function git(cwd, ...args) {
  return execFileSync('git', [...AUTHOR, ...args], {cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});
}

export class GitServer {
  static async start() {
    const server = new GitServer();
    await new Promise((resolve) => server.http.listen(0, '127.0.0.1', resolve));
    server.port = server.http.address().port;
    return server;
  }

  constructor() {
    this.root = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-git-'));
    const work = path.join(this.root, 'work');
    fs.mkdirSync(path.join(work, 'src'), {recursive: true});
    git(work, 'init', '-q');
    fs.writeFileSync(path.join(work, 'README.md'), '# some\n');
    fs.writeFileSync(path.join(work, 'src', 'main.txt'), 'hello\n');
    git(work, 'add', '.');
    git(work, 'commit', '-q', '-m', 'First');
    git(work, 'checkout', '-q', '-b', 'feature');
    fs.writeFileSync(path.join(work, 'feature.txt'), 'feature\n');
    git(work, 'add', '.');
    git(work, 'commit', '-q', '-m', 'Feature');
    this.featureCommit = git(work, 'rev-parse', 'HEAD').trim();
    git(work, 'checkout', '-q', 'main');
    fs.writeFileSync(path.join(work, 'second.txt'), 'second\n');
    git(work, 'add', '.');
    git(work, 'commit', '-q', '-m', 'Second');
    this.mainCommit = git(work, 'rev-parse', 'HEAD').trim();
    for (const name of ['public.git', 'private.git', 'slow.git', 'writable.git']) {
      git(this.root, 'clone', '-q', '--bare', work, name);
      git(path.join(this.root, name), 'config', 'uploadpack.allowFilter', 'true');
    }
    git(this.root, 'init', '-q', '--bare', 'void.git');
    for (const name of ['writable.git', 'void.git']) {
      git(path.join(this.root, name), 'config', 'http.receivepack', 'true');
    }
    this.hanging = new Set();
    this.http = http.createServer((request, answer) => this.handle(request, answer));
  }

  /** As sandboxes see it. */
  url(name) { return `http://host.atoll:${this.port}/${name}`; }

  async stop() {
    this.http.closeAllConnections();
    await new Promise((resolve) => this.http.close(resolve));
    fs.rmSync(this.root, {recursive: true, force: true});
  }

  handle(request, answer) {
    const url = new URL(request.url, 'http://localhost');
    if (url.pathname.startsWith('/hang.git')) {
      this.hanging.add(request.socket);
      return;
    }
    if (url.pathname.startsWith('/private.git')) {
      const wanted = 'Basic ' + Buffer.from('u:p').toString('base64');
      if (request.headers.authorization !== wanted) {
        answer.writeHead(401, {'WWW-Authenticate': 'Basic realm="git"'});
        return answer.end('who are you?\n');
      }
    } else if (url.pathname.startsWith('/slow.git')) {
      return setTimeout(() => this.serve(request, answer, url), 400);
    } else if (!/^\/(public|writable|void)\.git/.test(url.pathname)) {
      answer.writeHead(404);
      return answer.end('not here\n');
    }
    this.serve(request, answer, url);
  }

  serve(request, answer, url) {
    const child = spawn('git', ['http-backend'], {
      env: {
        PATH: process.env.PATH,
        GIT_PROJECT_ROOT: this.root,
        GIT_HTTP_EXPORT_ALL: '1',
        PATH_INFO: url.pathname,
        QUERY_STRING: url.search.slice(1),
        REQUEST_METHOD: request.method,
        CONTENT_TYPE: request.headers['content-type'] ?? '',
        HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
        GIT_PROTOCOL: request.headers['git-protocol'] ?? '',
        REMOTE_ADDR: '127.0.0.1',
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: 'safe.directory',
        GIT_CONFIG_VALUE_0: '*',
      },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    request.pipe(child.stdin);
    child.stdin.on('error', () => {});
    let head = Buffer.alloc(0);
    const onHead = (data) => {
      head = Buffer.concat([head, data]);
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      child.stdout.off('data', onHead);
      let status = 200;
      const headers = {};
      for (const line of head.subarray(0, end).toString().split('\r\n')) {
        const [name, value] = line.split(/:\s*/, 2);
        if (name.toLowerCase() === 'status') status = parseInt(value, 10);
        else headers[name] = value;
      }
      answer.writeHead(status, headers);
      answer.write(head.subarray(end + 4));
      child.stdout.pipe(answer);
    };
    child.stdout.on('data', onHead);
    child.on('close', () => answer.end());
  }
}
