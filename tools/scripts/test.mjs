// `npm test`: does all set-up that is still missing, then checks the build, format and lint, types, layers and
// README examples, and runs every test. Each failed test has a line that begins with FAILED; the last line is
// `N passed, M failed`: the tests plus these checks, each of which counts as one. A skipped or unfinished test makes
// the run fail. Arguments go to vitest; with any, the checks of format, types, layers and examples, which look at
// everything, are left to the whole run.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { childEnvironment, repositoryRoot, SetupError } from './process.mjs';
import { ensureBuilt, ensureInstalled, ensureNative, setUpOrExit } from './setup.mjs';
import { countLine, passOrFail, secondsSince } from './steps.mjs';

const start = performance.now();
const steps = [];

await setUpOrExit(ensureInstalled);
await build();
const built = performance.now();
const nativeKernels = await ensureNative({ retry: true });
if (nativeKernels !== 'absent') {
  const seconds = secondsSince(built);
  steps.push({ title: 'native kernels', seconds, ...passOrFail(nativeKernels !== 'failed') });
}

const filters = process.argv.slice(2);
if (filters.length === 0) {
  await check('lint', ['node_modules/@biomejs/biome/bin/biome', 'ci', '.']);
  await check('types', ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', '--noEmit']);
  await check('layers', ['tools/checks/layers.mjs']);
  await check('README examples', ['tools/checks/readme-examples.mjs']);
}
await runTests(filters);

console.log('');
for (const { title, seconds, passed, failed, skipped } of steps) {
  console.log(
    `${title.padEnd(16)} ${seconds.toFixed(1).padStart(6)} s  ${countLine({ passed, failed, skipped })}`,
  );
}
const sum = (key) => steps.reduce((total, step) => total + step[key], 0);
const total = { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
console.log(`${'all'.padEnd(16)} ${secondsSince(start).toFixed(1).padStart(6)} s`);
console.log(countLine(total));
process.exitCode = total.failed + total.skipped > 0 ? 1 : 0;

/** The server's and the command line's tests run what is built; all others run the sources. Kernels compile beside. */
async function build() {
  const begin = performance.now();
  let built = true;
  try {
    await ensureBuilt();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`${error.log}\n${error.message}`);
    built = false;
  }
  steps.push({ title: 'build', seconds: secondsSince(begin), ...passOrFail(built) });
}

async function check(title, args) {
  const begin = performance.now();
  const code = await node(args);
  steps.push({ title, seconds: secondsSince(begin), ...passOrFail(code === 0) });
}

async function runTests(args) {
  const begin = performance.now();
  const folder = mkdtempSync(join(tmpdir(), 'minke-test-'));
  const report = join(folder, 'report.json');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const code = await node([
    'node_modules/vitest/vitest.mjs',
    'run',
    '--allowOnly=false',
    ...reporters,
    ...args,
  ]);
  steps.push({ title: 'tests', seconds: secondsSince(begin), ...testCounts(report, code) });
  rmSync(folder, { recursive: true, force: true });
}

/** Counts from vitest's report; a file that did not load, or an error outside any test, is one failure. */
function testCounts(report, code) {
  let results;
  try {
    results = JSON.parse(readFileSync(report, 'utf8')).testResults;
  } catch {
    return passOrFail(false); // vitest itself failed before it could write a report
  }
  for (const line of results.flatMap(failuresOf)) console.log(line);
  const tests = results.flatMap((file) => file.assertionResults);
  const passed = tests.filter(({ status }) => status === 'passed').length;
  const failedTests = tests.filter(({ status }) => status === 'failed').length;
  const failedFiles = results.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed'),
  ).length;
  const skipped = tests.length - passed - failedTests;
  const elsewhere = code !== 0 && failedTests + failedFiles === 0 ? 1 : 0;
  return { passed, failed: failedTests + failedFiles + elsewhere, skipped };
}

/** `FAILED file: test: what it said first`, as the other checks of CI name theirs. */
function failuresOf({ name, status, message, assertionResults }) {
  const failed = assertionResults.filter((test) => test.status === 'failed');
  const said = failed.map(({ fullName, failureMessages: [first] }) => `${fullName}: ${first}`);
  if (status === 'failed' && failed.length === 0) said.push(message);
  return said.map((text) => `FAILED ${relative(repositoryRoot, name)}: ${text.split('\n', 1)[0]}`);
}

function node(args) {
  return new Promise((done) => {
    const child = spawn(process.execPath, args, {
      cwd: repositoryRoot,
      env: childEnvironment(),
      stdio: 'inherit',
    });
    const passOn = (signal) => child.kill(signal);
    process.on('SIGINT', passOn).on('SIGTERM', passOn);
    child.on('close', (code, signal) => {
      process.off('SIGINT', passOn).off('SIGTERM', passOn);
      if (signal === 'SIGINT' || signal === 'SIGTERM') process.exit(signal === 'SIGINT' ? 130 : 143);
      done(code ?? 1);
    });
  });
}
