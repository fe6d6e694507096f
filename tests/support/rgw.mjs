// SPDX-License-Identifier: Apache-2.0
// A Ceph cluster of one monitor and one OSD in memory with its S3 gateway, on loopback.

import {randomUUID} from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import {aws, freePorts, run, Servers} from './processes.mjs';

// Keeps cephx on: without it radosgw 16 makes its pools and then hangs.
function config(dir, fsid, monPort, rgwPort) {
  return `[global]
fsid = ${fsid}
mon_host = v2:127.0.0.1:${monPort}/0
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv4 = true
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
auth_allow_insecure_global_id_reclaim = false
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
keyring = ${dir}/keyring
log_file = ${dir}/$name.log
run_dir = ${dir}
admin_socket = ${dir}/$name.asok
[mon.a]
mon_data = ${dir}/mon
[osd.0]
osd_data = ${dir}/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
[client.rgw]
rgw_data = ${dir}/rgw
rgw_frontends = beast endpoint=127.0.0.1:${rgwPort} tcp_nodelay=1
rgw_thread_pool_size = 16
debug_rgw = 0
`;
}

async function makeKeys(dir) {
  const keyring = path.join(dir, 'keyring');
  await run('ceph-authtool', ['--create-keyring', keyring, '--gen-key', '-n', 'mon.', '--cap', 'mon', 'allow *']);
  for (const name of ['client.admin', 'osd.0', 'client.rgw']) {
    await run('ceph-authtool', [keyring, '--gen-key', '-n', name,
      '--cap', 'mon', 'allow *', '--cap', 'osd', 'allow *', '--cap', 'mgr', 'allow *']);
  }
  return keyring;
}

async function startCluster(servers, monPort, rgwPort) {
  const {dir} = servers;
  const fsid = randomUUID();
  const file = path.join(dir, 'ceph.conf');
  for (const name of ['mon', 'osd', 'rgw']) fs.mkdirSync(path.join(dir, name));
  fs.writeFileSync(file, config(dir, fsid, monPort, rgwPort));
  const ceph = (...args) => run('ceph', ['-c', file, '--connect-timeout', '10', ...args]);
  const keyring = await makeKeys(dir);
  const monmap = path.join(dir, 'monmap');
  await run('monmaptool', ['--create', '--fsid', fsid, '--addv', 'a', `[v2:127.0.0.1:${monPort}]`, monmap]);
  await run('ceph-mon', ['-c', file, '-i', 'a', '--mkfs', '--monmap', monmap, '--keyring', keyring]);
  servers.start('ceph-mon', 'ceph-mon', ['-c', file, '-i', 'a', '-f']);
  await servers.until('monitor', () => ceph('mon', 'stat'));
  const osd = randomUUID();
  await ceph('osd', 'new', osd, '0');
  await ceph('auth', 'import', '-i', keyring);
  await run('ceph-osd', ['-c', file, '-i', '0', '--mkfs', '--osd-uuid', osd, '--monmap', monmap]);
  servers.start('ceph-osd', 'ceph-osd', ['-c', file, '-i', '0', '-f']);
  await servers.until('OSD', async () => /\b1 up\b/.test(await ceph('osd', 'stat')));
  servers.start('radosgw', 'radosgw', ['-c', file, '-n', 'client.rgw', '-f']);
  return file;
}

/** {endpoint, accessKey, secretKey, region, bucket, dir, stop()}. Takes about 15 seconds. */
export async function startRgw() {
  const servers = new Servers('rgw');
  try {
    const [monPort, rgwPort] = await freePorts(2);
    const file = await startCluster(servers, monPort, rgwPort);
    const server = {
      endpoint: `http://127.0.0.1:${rgwPort}`,
      accessKey: 'AKIDTEST00000000000A',
      secretKey: 'secretsecretsecret',
      region: 'us-east-1',
      bucket: 'atoll',
      dir: servers.dir,
      stop: () => servers.stop(),
    };
    await servers.until('radosgw', async () => (await fetch(server.endpoint)).status === 200);
    await run('radosgw-admin', ['-c', file, 'user', 'create', '--uid=test', '--display-name=test',
      `--access-key=${server.accessKey}`, `--secret-key=${server.secretKey}`]);
    await aws(server, ['s3api', 'create-bucket', '--bucket', server.bucket]);
    return server;
  } catch (error) {
    await servers.stop();
    throw error;
  }
}
