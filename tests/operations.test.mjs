// SPDX-License-Identifier: Apache-2.0
// What whoever runs the daemon sees of it: metrics, health.

import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';

import {Daemon, eventually} from './support/daemon.mjs';
import {assertError} from './support/http.mjs';
import {parseMetrics, valueOf} from './support/prometheus.mjs';

async function metricsOf(daemon) {
  const answer = await daemon.request('', {path: '/metrics'});
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  return parseMetrics(answer.text);
}

describe('operations', () => {
  let daemon;
  let box;

  before(async () => {
    daemon = await Daemon.start();
    box = daemon.sandbox('ops');
  });
  after(() => daemon?.cleanup());

  describe('metrics', () => {
    it('are what Prometheus reads, in base units, under names of Atoll and of processes', async () => {
      const families = await metricsOf(daemon);
      for (const {name, type} of families.values()) {
        assert.match(name, /^(atoll|process)_[a-z_]+$/);
        assert.doesNotMatch(name, /_(ms|milliseconds|minutes|kb|mb|kilobytes|percent)(_|$)/);
        if (type === 'histogram') assert.match(name, /_seconds$/);
      }
      assert.equal(valueOf(families, 'process_resident_memory_bytes') > 1e6, true);
      assert.equal(families.get('atoll_build_info').samples[0].value, 1);
    });

    it('count a life: create, run, snapshot, restore, stop, start, delete', async () => {
      const before = await metricsOf(daemon);
      await box.create();
      await box.sh('echo hello > /workspace/greeting');
      const {snapshotId} = await box.snapshot('/workspace');
      await box.restore(snapshotId);
      const during = await metricsOf(daemon);
      assert.equal(valueOf(during, 'atoll_sandboxes', {state: 'running'}), 1);
      assert.equal(valueOf(during, 'atoll_sandboxes', {state: 'failed'}), 0);
      const stopped = await daemon.request('', {method: 'POST', path: '/v1/sandboxes/ops/stop'});
      assert.equal(stopped.status, 200, stopped.text);
      await box.create();
      assert.equal((await box.delete()).status, 204);
      const after = await metricsOf(daemon);
      assert.equal(valueOf(after, 'atoll_sandboxes', {state: 'running'}), 0);
      const grown = (name, labels) => {
        const full = `atoll_${name}_duration_seconds`;
        const by = (part) => valueOf(after, full, labels, part) - valueOf(before, full, labels, part);
        assert.ok(by('_sum') > 0, `${name}: time passes`);
        return by('_count');
      };
      assert.equal(grown('sandbox_create', {kind: 'cold', result: 'ok'}), 1);
      for (const name of ['sandbox_start', 'sandbox_stop', 'sandbox_delete', 'restore', 'run_spawn']) {
        assert.equal(grown(name, {result: 'ok'}), 1, name);
      }
      // One that was asked for, and what a stop saves.
      assert.ok(grown('snapshot', {result: 'ok'}) >= 1);
      assert.ok(valueOf(after, 'atoll_snapshot_added_bytes_total') > 0);
    });

    it('count requests by where they went, and errors by what they were', async () => {
      const before = await metricsOf(daemon);
      assert.equal((await daemon.request('nobody', {path: '/api'})).status, 404);
      assert.equal((await daemon.request('3000-nobody', {path: '/'})).status, 404);
      assert.equal((await daemon.request('', {host: 'elsewhere.example', path: '/'})).status, 404);
      const after = await metricsOf(daemon);
      const requests = (labels) => {
        const value = (families) => valueOf(families, 'atoll_http_requests_total', labels);
        return value(after) - value(before);
      };
      assert.equal(requests({route: 'sandbox', status: '4xx'}), 1);
      assert.equal(requests({route: 'port', status: '4xx'}), 1);
      assert.equal(requests({route: 'unknown', status: '4xx'}), 1);
      assert.equal(requests({route: 'bare', status: '2xx'}), 1);
      assert.equal(valueOf(after, 'atoll_http_requests_in_flight'), 1);
      const code = {code: 'SANDBOX_NOT_FOUND'};
      assert.equal(valueOf(after, 'atoll_errors_total', code) - valueOf(before, 'atoll_errors_total', code), 2);
    });
  });

  describe('health', () => {
    it('is told while the process answers', async () => {
      const answer = await daemon.request('', {path: '/health'});
      assert.equal(answer.status, 200);
      assert.equal(answer.json().status, 'ok');
      assert.match(answer.json().version, /^\d+\.\d+\.\d+$/);
      assert.equal((await daemon.request('', {method: 'HEAD', path: '/health'})).status, 200);
      assertError(await daemon.request('', {method: 'POST', path: '/health'}), 405, 'METHOD_NOT_ALLOWED');
    });

    it('is ready once everything that was there is adopted', async () => {
      const answer = await eventually('the daemon is ready', async () => {
        const one = await daemon.request('', {path: '/ready'});
        return one.status === 200 && one;
      });
      const {ready, checks} = answer.json();
      assert.equal(ready, true);
      assert.deepEqual(checks.map((one) => one.name),
                       ['database', 'cgroup', 'runtime', 'image', 'disk', 'sandboxes']);
      for (const {name, ok, detail} of checks) assert.ok(ok && detail, `${name}: ${detail}`);
    });

    it('is not ready without what sandboxes are made of, and says so', async () => {
      const bare = await Daemon.start({sections: {sandbox: {image: 'nowhere'}}});
      try {
        const answer = await bare.request('', {path: '/ready'});
        assert.equal(answer.status, 503);
        const {ready, checks} = answer.json();
        assert.equal(ready, false);
        const failed = checks.filter((one) => !one.ok);
        assert.deepEqual(failed.map((one) => one.name), ['image']);
        assert.match(failed[0].detail, /nowhere.*atoll image build nowhere/);
        assert.equal((await bare.request('', {path: '/health'})).status, 200);
      } finally {
        await bare.cleanup();
      }
    });
  });

  it('is nothing that a sandbox or a page of one could ask for', async () => {
    await box.create();
    for (const path of ['/metrics', '/ready', '/health']) {
      const foreign = await daemon.request('', {path, headers: {Origin: daemon.url('ops').slice(0, -1)}});
      assert.equal(foreign.status, 403, `${path} from a page of a sandbox`);
      for (const label of ['nobody', '3000-ops']) {
        const answer = await daemon.request(label, {path});
        assert.notEqual(answer.status, 200, `${path} of ${label}`);
        assert.doesNotMatch(answer.text, /atoll_|"ready"|"status":"ok"/);
      }
    }
    assert.equal((await box.delete()).status, 204);
  });
});
