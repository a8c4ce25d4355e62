// `minke logits --backend webgpu` as a person runs it, its numbers beside those of the WebAssembly kernels, and
// that the process ends by itself.

import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { modelFolder } from '../../packages/tiny-reasoner/dist/index.js';
import { run } from '../scripts/process.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const cli = join(here, '../../apps/cli/dist/main.js');
const loader = pathToFileURL(join(here, 'dawn.mjs')).href;

async function logits(backend, extra) {
  const args = [
    cli,
    'logits',
    modelFolder,
    '--ids',
    '5,9,2,77,130',
    '--backend',
    backend,
    '--json',
    ...extra,
  ];
  const output = await run(process.execPath, ['--import', loader, ...args], {
    env: process.env,
    timeoutMs: 120_000,
  });
  return JSON.parse(output).logits.flat();
}

let failed = 0;
for (const extra of [[], ['--step']]) {
  const [want, got] = [await logits('wasm', extra), await logits('webgpu', extra)];
  const worst = want.reduce((most, x, i) => Math.max(most, Math.abs(x - got[i])), 0);
  const right = want.length > 0 && want.length === got.length && worst <= 1e-4;
  console.log(
    `${right ? 'ok' : 'FAILED'}: ${want.length} logits ${extra.join(' ')}, largest difference ${worst.toExponential(1)}`,
  );
  if (!right) failed++;
}
console.log(`${2 - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
