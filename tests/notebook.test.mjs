// SPDX-License-Identifier: Apache-2.0
// The image `notebook`: plots, tables and TypeScript in the code interpreter.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import {after, before, describe, it} from 'node:test';

import {Daemon, preparedState} from './support/daemon.mjs';

// `make test` makes it; it has a gigabyte of packages.
const hasNotebook = fs.existsSync(`${preparedState}/images/notebook/image.json`);
describe('the notebook image', {skip: !hasNotebook && 'atoll image build notebook makes it'}, () => {
  let daemon;
  const path = '/v1/sandboxes/notebook/code';
  const code = async (json) => {
    const answer = await daemon.request('', {method: 'POST', path, json});
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  };
  before(async () => {
    daemon = await Daemon.start();
    const made = await daemon.request('', {
      method: 'POST', path: '/v1/sandboxes', json: {id: 'notebook', image: 'notebook', opencode: false}});
    assert.ok(made.status < 300, made.text);
  });

  after(() => daemon.cleanup());

  it('plots', async () => {
    const {results, error} = await code({code: `
import matplotlib.pyplot as plt
plt.plot([1, 4, 9])
plt.title('squares')
plt.show()`});
    assert.equal(error, undefined, JSON.stringify(error));
    const image = Buffer.from(results.find((result) => result.png).png, 'base64');
    assert.equal(image.subarray(1, 4).toString(), 'PNG');
    assert.ok(image.length > 1000 && image.readUInt32BE(16) > 100, 'a picture of some size');
  });

  it('plots for the SDK', async () => {
    const answer = await daemon.request('sdk--notebook', {method: 'POST', path: '/api/execute/code', json: {
      language: 'python', code: 'import matplotlib.pyplot as plt\nplt.plot([3, 1, 2])\nplt.show()'}});
    assert.equal(answer.status, 200, answer.text);
    const events = answer.text.split('\n\n').slice(0, -1).map((block) => JSON.parse(block.slice(6)));
    const shown = events.find((event) => event.png);
    assert.ok(shown, answer.text.slice(0, 1000));
    assert.equal(Buffer.from(shown.png, 'base64').subarray(1, 4).toString(), 'PNG');
  });

  it('shows tables', async () => {
    const {results} = await code({code: 'import pandas as pd; pd.DataFrame({"a": [1, 2]})'});
    assert.match(results[0].html, /<table/);
    assert.match(results[0].text, /^ {3}a/);
  });

  it('takes TypeScript', async () => {
    await code({language: 'typescript', code: 'interface A { n: number }\nconst a: A = {n: 41};\nimport fs from "fs";'});
    const {results, error} = await code({language: 'typescript', code: 'a.n + (fs.existsSync("/") as boolean ? 1 : 0)'});
    assert.equal(error, undefined, JSON.stringify(error));
    assert.equal(results[0].text, '42');
  });
});
