// SPDX-License-Identifier: Apache-2.0
// Proxying a small response from a port inside a sandbox, beside nginx in front of the same program.
// Each proxy has one core for itself, the load and the program behind share the other.

import {spawn, spawnSync} from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import {fileURLToPath} from 'node:url';

import {Daemon, eventually} from '../tests/support/daemon.mjs';
import {p50, Report} from './report.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const PORT_INSIDE = 3000;
const CONNECTIONS = 32;
const PROXY_CORE = '0';
const OTHER_CORE = '1';
const TICKS_PER_SECOND = 100;

function must(command, args) {
  const done = spawnSync(command, args, {encoding: 'utf8'});
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.error?.message ?? done.stderr}`);
  return done.stdout;
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const {port} = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** All threads of a process on one core. */
const pin = (pid, core) => must('taskset', ['-a', '-p', '-c', core, String(pid)]);

function cpuSeconds(pids) {
  let ticks = 0;
  for (const pid of pids) {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Requests each second through `port`, and microseconds of CPU time of `pids` for each. */
function load(port, host, pids, seconds) {
  const before = cpuSeconds(pids);
  const text = must('taskset', ['-c', OTHER_CORE, 'wrk', '-t1', `-c${CONNECTIONS}`, `-d${seconds}s`,
                                '-H', `Host: ${host}`, `http://127.0.0.1:${port}/`]);
  const used = cpuSeconds(pids) - before;
  const requests = Number(text.match(/(\d+) requests in/)[1]);
  if (/Non-2xx|Socket errors/.test(text)) throw new Error(text);
  return {rate: Number(text.match(/Requests\/sec:\s+([\d.]+)/)[1]), cpu: 1e6 * used / requests};
}

async function startNginx(dir, upstream) {
  const port = await freePort();
  const root = path.join(dir, 'nginx');
  fs.mkdirSync(root);
  fs.writeFileSync(path.join(root, 'nginx.conf'), `
user root; worker_processes 1; daemon off; pid ${root}/pid; error_log ${root}/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path ${root}/body; proxy_temp_path ${root}/proxy; fastcgi_temp_path ${root}/fastcgi;
  uwsgi_temp_path ${root}/uwsgi; scgi_temp_path ${root}/scgi;
  upstream behind { server 127.0.0.1:${upstream}; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://behind;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
}
`);
  const child = spawn('taskset', ['-c', PROXY_CORE, 'nginx', '-p', root, '-c', path.join(root, 'nginx.conf')],
                      {stdio: 'ignore'});
  const pids = await eventually('nginx has a worker', () => {
    const worker = spawnSync('pgrep', ['-P', String(child.pid)], {encoding: 'utf8'}).stdout.trim();
    return worker ? [child.pid, Number(worker)] : null;
  });
  return {port, pids, stop: () => child.kill('SIGTERM')};
}

/** The program, compiled for any root file system, as a file that sandboxes can fetch. */
async function serveProgram(dir) {
  const binary = path.join(dir, 'small_server');
  must('clang-19', ['-O2', '-static', '-s', '-o', binary, path.join(here, 'small_server.c')]);
  const server = http.createServer((_, answer) => fs.createReadStream(binary).pipe(answer));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {binary, server};
}

const hostPid = (name) => Number(must('pgrep', ['-n', '-f', name]).trim());

export async function measureProxy({quick}) {
  const report = new Report('Proxying');
  const rounds = quick ? 3 : 9;
  const seconds = quick ? 2 : 5;
  const dir = fs.mkdtempSync('/var/tmp/atoll-proxy-');
  const {binary, server} = await serveProgram(dir);
  const daemon = await Daemon.start({sections: {egress: {host_ports: [server.address().port]}}});
  const behind = await freePort();
  const host = spawn('taskset', ['-c', OTHER_CORE, binary, String(behind)], {stdio: 'ignore'});
  let nginx;
  try {
    const box = daemon.sandbox('proxy');
    await box.create();
    const name = `small_server_${process.pid}`;
    await box.sh(`curl -sSf -o /tmp/${name} http://host.atoll:${server.address().port}/ && chmod +x /tmp/${name}`);
    await box.background(`exec /tmp/${name} ${PORT_INSIDE}`);
    const label = `${PORT_INSIDE}-proxy`;
    await eventually('it answers', async () => (await daemon.request(label)).status === 200);
    pin(hostPid(`/tmp/${name}`), OTHER_CORE);
    pin(daemon.pid, PROXY_CORE);
    nginx = await startNginx(dir, behind);
    const measured = {atoll: [], nginx: [], direct: []};
    for (let i = 0; i < rounds; i++) {
      measured.direct.push(load(behind, 'x', [host.pid], seconds));
      measured.nginx.push(load(nginx.port, 'x', nginx.pids, seconds));
      measured.atoll.push(load(daemon.port, daemon.host(label), [daemon.pid], seconds));
    }
    const of = (one, field) => p50(measured[one].map((round) => round[field]));
    // Of each round: what else the machine does is in both.
    const ratio = (field) => p50(measured.atoll.map((round, i) => round[field] / measured.nginx[i][field]));
    const rate = (value) => `${Math.round(value)}/s`;
    report.row(`1 kB through \`<port>-<id>\`, ${CONNECTIONS} connections`, {
      atoll: rate(of('atoll', 'rate')), other: `nginx ${rate(of('nginx', 'rate'))}`,
      ratio: ratio('rate').toFixed(2), promise: '≥ 0.6 of nginx', kept: ratio('rate') >= 0.6});
    report.row('CPU time of the proxy for each request', {
      atoll: `${of('atoll', 'cpu').toFixed(1)} µs`, other: `nginx ${of('nginx', 'cpu').toFixed(1)} µs`,
      ratio: ratio('cpu').toFixed(2), promise: '≤ 1.5 × nginx', kept: ratio('cpu') <= 1.5});
    report.note(`The program behind alone: ${rate(of('direct', 'rate'))}. Each proxy on one core, load and program on ` +
                `the other; ${rounds} rounds of ${seconds} s in turn, ratios of rounds, median.`);
  } finally {
    nginx?.stop();
    host.kill('SIGKILL');
    server.close();
    await daemon.cleanup();
    fs.rmSync(dir, {recursive: true, force: true});
  }
  return report;
}
