// Tests of packages on WebGPU (token merging and inflation, the model that merges, models with layer plans and indexers,
// layers with windows, sparse attention, biases by key): the same files that run on the other backends, with Dawn named to them.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { repositoryRoot, run } from '../scripts/process.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const vitest = join(repositoryRoot, 'node_modules/vitest/vitest.mjs');
const env = { ...process.env, MINKE_DAWN: join(here, 'node_modules/webgpu/index.js') };
const report = join(here, 'node_modules/.package-tests.json');
const files = [
  'packages/tokenizer-merging/src/merging',
  'packages/mla-attention/src/hybrid',
  'packages/mla-attention/src/key-bias',
  'packages/mla-attention/src/sparse',
  'packages/transformer/src/layer-attention.test.ts',
  'packages/transformer/src/load-failures.test.ts',
  'packages/transformer/src/merging.test.ts',
];
const args = [vitest, 'run', ...files, '-t', 'on webgpu', '--reporter=json', `--outputFile=${report}`];
await run(process.execPath, args, { cwd: repositoryRoot, env, show: true, timeoutMs: 8 * 60_000 });
const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(report, 'utf8'));
if (numPassedTests === 0) throw new Error('expected tests on webgpu, got none');
console.log(`${numPassedTests} passed, ${numFailedTests} failed`);
