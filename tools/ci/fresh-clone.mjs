// What a newcomer does, twice: a fresh clone of the last commit with an empty home folder, `npm start`, a few
// questions, stop, `npm start` again. Once as this machine is, once with no C++ compiler on the PATH, where
// WebAssembly must give the same answers (temperature 0) and `npm test` must pass for all that computes.
//
// Limits: the first start answers within 3 minutes (set-up included), the second within 5 seconds.
// The last line is `N passed, M failed`.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { npm, repositoryRoot, run, SetupError } from '../scripts/process.mjs';
import { countLine, parseCountLine } from '../scripts/steps.mjs';

const firstAnswerLimitSeconds = 180;
const secondAnswerLimitSeconds = 5;
const startTimeoutMs = 10 * 60_000;
const compilerName = /(^|-)(g\+\+|gcc|cc|c\+\+|cpp|clang|clang\+\+|c89|c99|tcc|zig)(-[\d.]+)?$/;
/** What computes, where the want of a compiler may show; but for what the whole run does with the same WebAssembly. */
const testsOnKernels = [
  ...['gpu-backends', 'tensor', 'mla-attention', 'moe-router', 'transformer', 'inference', 'rl-trainer'].map(
    (name) => `packages/${name}/`,
  ),
  ...['packages/evaluation/', 'packages/tiny-reasoner/', 'packages/tokenizer-merging/src/merging'],
  ...['apps/', 'tools/study/'],
  ...['**/conformance.test.ts', '**/wasm.test.ts'].map((path) => `--exclude=${path}`),
];
const questions = [
  'What is 348 + 977?',
  'What is 802 - 415?',
  'What is 47 * 36?',
  'Sort these numbers from smallest to largest: 512, 77, 904, 230, 618.',
  'How many times does the letter r appear in "strawberry"?',
];

const work = mkdtempSync(join(tmpdir(), 'minke-fresh-'));
const counts = { passed: 0, failed: 0, skipped: 0 };
try {
  const usual = await newcomer('usual', process.env.PATH);
  const bare = await newcomer('no-compiler', pathWithoutCompilers());
  report(
    'no add-on without a compiler',
    !existsSync(join(bare.clone, 'packages/gpu-backends/build/minke.node')),
  );
  for (const [i, question] of questions.entries()) {
    const same = usual.answers[i] !== undefined && usual.answers[i] === bare.answers[i];
    report(`same answer: ${question}`, same, `usual: ${usual.answers[i]}\nno-compiler: ${bare.answers[i]}`);
  }
  await testWithoutCompiler(bare);
} finally {
  rmSync(work, { recursive: true, force: true, maxRetries: 3 });
}
console.log(countLine(counts));
process.exitCode = counts.failed + counts.skipped > 0 ? 1 : 0;

async function newcomer(name, path) {
  const clone = join(work, name);
  const home = join(work, `${name}-home`);
  mkdirSync(home);
  await run('git', ['clone', '--quiet', '--no-hardlinks', repositoryRoot, clone]);
  const env = { PATH: path, HOME: home, ...networkSettings() };
  const first = await session(clone, env, questions);
  report(
    `${name}: first start, first answer`,
    first.seconds <= firstAnswerLimitSeconds,
    first.log,
    first.seconds,
  );
  const second = await session(clone, env, questions.slice(0, 1));
  report(
    `${name}: second start, first answer`,
    second.seconds <= secondAnswerLimitSeconds,
    second.log,
    second.seconds,
  );
  return { clone, env, answers: first.answers };
}

/** Starts the server, asks, stops it; `seconds` is the time from the start to the first answer. */
async function session(clone, env, asked) {
  const port = await freePort();
  const begin = performance.now();
  const server = spawn('npm', ['start', '--', '--port', String(port)], { cwd: clone, env, detached: true });
  let log = '';
  let ended = false;
  const closed = new Promise((done) => server.once('close', done));
  server.stdout.on('data', (text) => (log += text));
  server.stderr.on('data', (text) => (log += text));
  server.once('close', () => (ended = true));
  const answers = [];
  let seconds = Number.POSITIVE_INFINITY;
  try {
    while (!log.includes(`listening on http://127.0.0.1:${port}`)) {
      if (ended) throw new Error('the server ended');
      if (performance.now() - begin > startTimeoutMs) throw new Error('the server did not come up');
      await sleep(20);
    }
    for (const question of asked) {
      answers.push(await ask(port, question));
      if (answers.length === 1) seconds = (performance.now() - begin) / 1000;
    }
  } catch (error) {
    log += `\n${error.message}`;
  }
  if (!ended) process.kill(-server.pid, 'SIGTERM');
  await closed;
  return { answers, seconds, log };
}

async function ask(port, question) {
  const base = `http://127.0.0.1:${port}/v1`;
  const models = await (await fetch(`${base}/models`)).json();
  const body = { model: models.data[0].id, temperature: 0, messages: [{ role: 'user', content: question }] };
  const response = await fetch(`${base}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`expected status 200, got ${response.status}: ${text}`);
  const { message } = JSON.parse(text).choices[0];
  if (!message.content) throw new Error(`expected an answer, got ${text}`);
  return `${message.reasoning_content ?? ''}\n${message.content}`;
}

async function testWithoutCompiler({ clone, env }) {
  let output;
  try {
    output = await npm(['test', '--', ...testsOnKernels], { cwd: clone, env, show: true });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    output = error.stdout ?? '';
  }
  const tests = parseCountLine(output) ?? { passed: 0, failed: 1, skipped: 0 };
  for (const key of Object.keys(counts)) counts[key] += tests[key];
}

function report(title, ok, details = '', seconds) {
  counts[ok ? 'passed' : 'failed']++;
  const time = seconds === undefined ? '' : ` (${seconds.toFixed(1)} s)`;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${title}${time}${ok ? '' : `\n${details}`}`);
}

/** A folder of links to everything on the PATH except C and C++ compilers. */
function pathWithoutCompilers() {
  const folder = join(work, 'bin');
  mkdirSync(folder);
  const linked = new Set();
  for (const directory of process.env.PATH.split(delimiter).filter((entry) => existsSync(entry))) {
    for (const name of readdirSync(directory)) {
      if (compilerName.test(name) || linked.has(name)) continue;
      linked.add(name);
      symlinkSync(join(directory, name), join(folder, name));
    }
  }
  return folder;
}

/** The variables that a machine behind a proxy or a registry mirror needs. */
function networkSettings() {
  const wanted =
    /^(https?_proxy|no_proxy|npm_config_registry|npm_config_.*proxy|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE)$/i;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => wanted.test(name)));
}

function freePort() {
  return new Promise((done, failed) => {
    const server = createServer();
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}
