// SPDX-License-Identifier: Apache-2.0
// What a sandbox can reach, and what is refused at once.

import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import http from 'node:http';
import os from 'node:os';
import {after, before, describe, it} from 'node:test';

import {Daemon} from './support/daemon.mjs';

// A connection is refused when it cannot be made, or carries nothing.
const TRY_TCP = `
import json, socket, sys, time
def attempt(family, address, port):
    begin = time.monotonic()
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(20)
    try:
        s.connect((address, port))
        s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
        data = s.recv(100).decode('latin1')
        result = 'data' if data else 'closed'
    except socket.timeout:
        result = 'hung'
    except OSError as e:
        result = 'refused'
    s.close()
    return [address, port, result, time.monotonic() - begin]
`;

describe('egress', () => {
  let daemon;
  let box;
  let listed;
  let unlisted;
  let names;
  const hits = [];

  const listen = (host) => new Promise((resolve) => {
    const server = http.createServer((request, answer) => {
      hits.push(server);
      answer.end('hello from the host\n');
    });
    server.listen(0, host, () => resolve(server));
  });

  // Answers private.test with a refused address, public.test with a public one, silent.test never.
  async function nameServer() {
    const socket = dgram.createSocket('udp4');
    socket.on('message', (query, from) => {
      const labels = [];
      let at = 12;
      while (query[at] !== 0) {
        labels.push(query.subarray(at + 1, at + 1 + query[at]).toString());
        at += query[at] + 1;
      }
      const question = query.subarray(12, at + 5);
      const isA = query.readUInt16BE(at + 1) === 1;
      const name = labels.join('.').toLowerCase();
      if (name === 'silent.test') return;
      const addresses = {'private.test': [10, 1, 2, 3], 'loop.test': [127, 0, 0, 1],
                         'metadata.test': [169, 254, 169, 254], 'public.test': [93, 184, 215, 14]};
      const address = isA ? addresses[name] : undefined;
      const head = Buffer.alloc(12);
      query.copy(head, 0, 0, 2);
      head.writeUInt16BE(name in addresses ? 0x8180 : 0x8183, 2);
      head.writeUInt16BE(1, 4);
      head.writeUInt16BE(address ? 1 : 0, 6);
      const record = address ? Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address]) : Buffer.alloc(0);
      socket.send(Buffer.concat([head, question, record]), from.port, from.address);
    });
    await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));
    return socket;
  }

  before(async () => {
    [listed, unlisted, names] = await Promise.all([listen('127.0.0.1'), listen('0.0.0.0'), nameServer()]);
    daemon = await Daemon.start({sections: {egress: {
      host_ports: [listed.address().port],
      nameservers: [`127.0.0.1:${names.address().port}`],
    }}});
    box = daemon.sandbox('net');
    await box.create();
  });
  after(async () => {
    await daemon?.cleanup();
    listed?.close();
    unlisted?.close();
    names?.close();
  });

  const resolve = (name) => box.python(`
import json, socket
try:
    print(json.dumps(sorted({a[4][0] for a in socket.getaddrinfo('${name}', 80)})))
except socket.gaierror as e:
    print(json.dumps([]))
`);

  it('has only lo', async () => {
    assert.equal((await box.sh('ls /sys/class/net 2>/dev/null || ip -o link | cut -d: -f2 | tr -d " "')).trim(), 'lo');
  });

  it('refuses private, link-local, special and host addresses at once', async () => {
    const port = unlisted.address().port;
    const own = Object.values(os.networkInterfaces()).flat()
        .filter((one) => one.family === 'IPv4' && !one.internal).map((one) => one.address);
    const targets = ['10.0.0.1', '10.255.255.254', '172.16.0.1', '172.31.255.254', '192.168.0.1', '192.168.255.1',
                     '100.64.0.1', '169.254.169.254', '169.254.0.1', '192.0.0.1', '198.19.0.1', '224.0.0.1',
                     '240.0.0.1', '255.255.255.255', '0.0.0.0', '168.63.129.16', '198.18.0.3', ...own];
    const results = await box.python(`${TRY_TCP}
print(json.dumps([attempt(socket.AF_INET, a, p) for a in ${JSON.stringify(targets)} for p in (80, ${port})]))
`);
    for (const [address, at, result, seconds] of results) {
      assert.ok(['refused', 'closed'].includes(result), `${address}:${at} ${result}`);
      assert.ok(seconds < 10, `${address}:${at} took ${seconds} s`);
    }
    assert.equal(hits.filter((server) => server === unlisted).length, 0, 'the host was reached');
  });

  it('has a loopback of its own', async () => {
    const [[, , result]] = await box.python(`${TRY_TCP}
print(json.dumps([attempt(socket.AF_INET, '127.0.0.1', ${daemon.port})]))
`);
    assert.equal(result, 'refused');
  });

  it('reaches a listed port of the host as host.atoll, and no other', async () => {
    const get = (port) => box.run(`curl -sS -m 20 http://host.atoll:${port}/`);
    assert.equal((await get(listed.address().port)).stdout, 'hello from the host\n');
    for (const port of [unlisted.address().port, daemon.port, 22]) {
      const {exitCode, stdout} = await get(port);
      assert.ok(![0, 28].includes(exitCode), `port ${port}: curl ended with ${exitCode}`);
      assert.equal(stdout, '');
    }
  });

  it('answers names or refuses them, and never hangs', async () => {
    assert.deepEqual(await resolve('public.test'), ['93.184.215.14']);
    assert.deepEqual(await resolve('missing.test'), []);
    assert.deepEqual(await resolve('silent.test'), []);
  });

  it('does not hold other names up while one waits', async () => {
    const slow = resolve('silent.test');
    for (let i = 0; i < 5; i++) assert.deepEqual(await resolve('public.test'), ['93.184.215.14']);
    assert.equal(await box.sh('echo works'), 'works\n');
    await slow;
  });

  it('refuses names that point to refused addresses', async () => {
    for (const name of ['private.test', 'loop.test', 'metadata.test']) {
      assert.deepEqual(await resolve(name), [], name);
    }
  });

  it('survives nonsense sent to the name server', async () => {
    await box.python(`
import json, os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(300):
    s.sendto(os.urandom(i % 600), ('198.18.0.1', 53))
for data in (b'', b'\\0' * 12, b'\\0' * 4 + b'\\xff' * 8, b'\\0\\1\\1\\0\\0\\1' + b'\\0' * 6 + b'\\xc0\\x0c' * 40):
    s.sendto(data, ('198.18.0.1', 53))
print(json.dumps(True))
`);
    assert.deepEqual(await resolve('public.test'), ['93.184.215.14']);
  });

  it('refuses UDP other than names at once', async () => {
    const [result, seconds] = await box.python(`
import json, socket, time
begin = time.monotonic()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.connect(('93.184.215.14', 123))
try:
    s.send(b'x')
    s.recv(10)
    result = 'answered'
except socket.timeout:
    result = 'hung'
except OSError:
    result = 'refused'
print(json.dumps([result, time.monotonic() - begin]))
`);
    assert.equal(result, 'refused');
    assert.ok(seconds < 10);
  });

  it('has no IPv6', async () => {
    const results = await box.python(`${TRY_TCP}
print(json.dumps([attempt(socket.AF_INET6, a, 80) for a in ('2001:db8::1', 'fe80::1', '::ffff:10.0.0.1', 'fd00::1')]))
`);
    for (const [address, , result] of results) assert.ok(['refused', 'closed'].includes(result), `${address} ${result}`);
    assert.equal(await box.sh('cat /proc/net/if_inet6 2>/dev/null | wc -l'), '0\n');
  });

  it('cannot change its own rules', async () => {
    for (const command of ['ip addr add 10.9.9.9/8 dev lo', 'ip route del local 0.0.0.0/0 dev lo table local',
                           'sysctl -w net.ipv6.conf.all.disable_ipv6=0']) {
      assert.notEqual((await box.run(command)).exitCode, 0, command);
    }
  });

  it('has its network back after the daemon was restarted', async () => {
    await daemon.restart();
    assert.deepEqual(await resolve('public.test'), ['93.184.215.14']);
    assert.equal(await box.sh(`curl -sS -m 20 http://host.atoll:${listed.address().port}/`), 'hello from the host\n');
  });
});
