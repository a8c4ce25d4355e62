// WebGPU in Node on a software adapter (SwiftShader, of Debian's chromium): the conformance suite, greedy answers
// of the embedded model beside the other backends, a training run beside the reference, and the tests of
// packages that run on every backend. Needs the packages built; installs Dawn beside this file when it is missing.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { childEnvironment, npm, run, SetupError } from '../scripts/process.mjs';
import { countLine, parseCountLine, passOrFail, secondsSince } from '../scripts/steps.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const chromium = '/usr/lib/chromium';
const checks = ['conformance', 'device', 'answers', 'training', 'package-tests', 'command-line'];

if (!existsSync(join(here, 'node_modules/webgpu'))) {
  console.log('installing Dawn (npm package webgpu)');
  await npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: here });
}
const env = {
  ...childEnvironment(),
  VK_ICD_FILENAMES: join(chromium, 'vk_swiftshader_icd.json'),
  LD_LIBRARY_PATH: chromium, // its own Vulkan loader
};

const chosen = process.argv.length > 2 ? process.argv.slice(2) : checks;
const total = { passed: 0, failed: 0, skipped: 0 };
for (const name of chosen) {
  const start = performance.now();
  console.log(`\n--- ${name}`);
  const loader = pathToFileURL(join(here, 'dawn.mjs')).href;
  let counts;
  try {
    const output = await run(process.execPath, ['--import', loader, join(here, `${name}.mjs`)], {
      env,
      show: true,
      timeoutMs: 10 * 60_000,
    });
    counts = parseCountLine(output) ?? passOrFail(true);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.log(error.message);
    const parsed = parseCountLine(error.stdout ?? '');
    counts = parsed?.failed > 0 ? parsed : passOrFail(false);
  }
  console.log(`${name}: ${secondsSince(start).toFixed(0)} s`);
  for (const key of Object.keys(total)) total[key] += counts[key];
}
console.log(`\n${countLine(total)}`);
process.exitCode = total.failed > 0 ? 1 : 0;
