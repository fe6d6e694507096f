// SPDX-License-Identifier: Apache-2.0
// OpenStack Swift with its S3 middleware and one replica, on loopback: a store that refuses
// conditional writes. Of Debian's packages it needs python3-swift alone, which brings no services;
// the temporary folder needs extended attributes.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {aws, freePorts, run, Servers} from './processes.mjs';

const STORAGE = ['account', 'container', 'object'];

const PYTHON = '/usr/bin/python3';
const SERVER = `
import sys
from swift.common import utils
utils.set_swift_dir(sys.argv[1])
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(sys.argv[2], sys.argv[3]))
`;
const RING_BUILDER = `
import sys
from swift.common import utils
utils.set_swift_dir(sys.argv.pop(1))
sys.argv[0] = 'swift-ring-builder'
from swift.cli.ringbuilder import main
main()
`;
const SWIFT_CONF = `[swift-hash]
swift_hash_path_prefix = test
swift_hash_path_suffix = test
[storage-policy:0]
name = gold
default = yes
`;

function common(dir, port) {
  return `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
user = ${os.userInfo().username}
swift_dir = ${dir}
devices = ${dir}/devices
mount_check = false
fallocate_reserve = 0
log_address = ${dir}/no-log
workers = 0
`;
}

function storageConfig(dir, type, port) {
  return `${common(dir, port)}
[pipeline:main]
pipeline = ${type}-server
[app:${type}-server]
use = egg:swift#${type}
`;
}

// Nobody listens on port 9: without memcached what would be remembered is looked up again.
function proxyConfig(dir, port) {
  return `${common(dir, port)}
[pipeline:main]
pipeline = catch_errors cache listing_formats bulk s3api tempauth slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:9
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
`;
}

// One device, one replica.
async function makeRings(dir, ports) {
  for (const [i, type] of STORAGE.entries()) {
    const builder = path.join(dir, `${type}.builder`);
    const build = (...args) => run(PYTHON, ['-c', RING_BUILDER, dir, builder, ...args]);
    await build('create', '4', '1', '0');
    await build('add', `r1z1-127.0.0.1:${ports[i]}/one`, '1');
    await build('rebalance');
  }
}

async function startAll(servers, ports) {
  const {dir} = servers;
  const [proxy, ...storage] = ports;
  fs.mkdirSync(path.join(dir, 'devices', 'one'), {recursive: true});
  fs.writeFileSync(path.join(dir, 'swift.conf'), SWIFT_CONF);
  await makeRings(dir, storage);
  const serve = (name, file, app) => servers.start(name, PYTHON, ['-c', SERVER, dir, file, app]);
  for (const [i, type] of STORAGE.entries()) {
    const file = path.join(dir, `${type}.conf`);
    fs.writeFileSync(file, storageConfig(dir, type, storage[i]));
    serve(type, file, `${type}-server`);
  }
  const file = path.join(dir, 'proxy.conf');
  fs.writeFileSync(file, proxyConfig(dir, proxy));
  serve('proxy', file, 'proxy-server');
}

/** {endpoint, accessKey, secretKey, region, bucket, dir, stop()}. Takes about 10 seconds. */
export async function startSwift() {
  const servers = new Servers('swift');
  try {
    const ports = await freePorts(1 + STORAGE.length);
    await startAll(servers, ports);
    const server = {
      endpoint: `http://127.0.0.1:${ports[0]}`,
      accessKey: 'test:tester',
      secretKey: 'testing',
      region: 'us-east-1',
      bucket: 'atoll',
      dir: servers.dir,
      stop: () => servers.stop(),
    };
    await servers.until('Swift', () => aws(server, ['s3api', 'create-bucket', '--bucket', server.bucket]));
    return server;
  } catch (error) {
    await servers.stop();
    throw error;
  }
}
