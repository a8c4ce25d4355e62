import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const cli = fileURLToPath(new URL('../dist/main.js', import.meta.url));

// Two small real stages: one draws a file line by line with its own checkpoint, the other counts the lines.
const module = `
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
export default (preset) => [
  { name: 'lines', version: 1, inputs: {}, settings: { count: preset === 'ci' ? 3 : 400 }, run: lines },
  { name: 'count', version: 1, inputs: { lines: 'lines' }, settings: {}, run: count },
];
async function lines({ folder, settings, signal, progress }) {
  const file = join(folder, 'lines.txt');
  const done = existsSync(file) ? readFileSync(file, 'utf8').split('\\n').length - 1 : 0;
  for (let i = done; i < settings.count; i++) {
    appendFileSync(file, i + '\\n');
    progress(i + 1, settings.count);
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (signal.aborted) throw Object.assign(new Error('stopped at ' + i), { [Symbol.for('minke.error')]: true, code: 'aborted' });
  }
}
async function count({ folder, input }) {
  const value = readFileSync(join(input('lines'), 'lines.txt'), 'utf8').split('\\n').length - 1;
  const row = { metric: 'lines', value, low: null, high: null, n: 1, seeds: [0] };
  writeFileSync(join(folder, 'evaluation.json'), JSON.stringify({ stage: 'lines', rows: [row] }));
}
`;

let root: string;
let stages: string;
beforeAll(() => {
  if (!existsSync(cli))
    throw new Error(`expected the built command at ${cli}; run npm test, which builds it`);
  root = mkdtempSync(join(tmpdir(), 'minke-recipe-'));
  stages = join(root, 'lines-recipe.mjs');
  writeFileSync(stages, module);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function start(args: readonly string[]): {
  child: ChildProcess;
  ended: Promise<{ code: number | null; out: string; err: string }>;
} {
  const child = spawn(process.execPath, [cli, 'train', 'recipe', '--stages', stages, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (err += text));
  return {
    child,
    ended: new Promise((resolve) => child.once('close', (code) => resolve({ code, out, err }))),
  };
}
const run = (...args: string[]) => start(args).ended;

describe('minke train recipe', () => {
  it('runs the stages, prints results alone on stdout, and reuses them', async () => {
    const out = join(root, 'ci');
    const first = await run('--preset', 'ci', '--out', out, '--json');
    expect(first.code, first.err).toBe(0);
    expect(JSON.parse(first.out)).toMatchObject({
      folder: out,
      stages: [
        { stage: 'lines', state: 'done' },
        { stage: 'count', state: 'done' },
      ],
      report: { stages: [{ stage: 'lines', metric: 'lines', value: 3, n: 1 }], seed: 0 },
    });
    expect(first.err).toContain('report.html');
    expect(readFileSync(join(out, 'report.md'), 'utf8')).toContain('| lines | 3.000 | 1 |');
    const again = await run('--preset', 'ci', '--out', out);
    expect(again).toMatchObject({ code: 0, out: '' });
    expect(again.err).toMatch(/^= lines {2}.*was there\n= count/);
  });

  it('lists what would run and why, and leaves no trace', async () => {
    const out = join(root, 'listed');
    const plan = await run('--preset', 'ci', '--out', out, '--list');
    expect(plan).toMatchObject({ code: 0, err: '' });
    expect(plan.out).toBe(
      'lines  run       never ran\ncount  waits     after lines, if that comes out differently\n',
    );
    expect(existsSync(out)).toBe(false);
    const json = await run('--preset', 'ci', '--out', out, '--list', '--json', '--only', 'lines');
    expect(JSON.parse(json.out)).toMatchObject([{ stage: 'lines', state: 'run' }, { state: 'left out' }]);
  });

  it('ends with 130 at Ctrl-C and goes on from there', async () => {
    const out = join(root, 'stopped');
    const { child, ended } = start(['--out', out, '--page']);
    while (!existsSync(join(out, 'state.json'))) await new Promise((resolve) => setTimeout(resolve, 20));
    await new Promise((resolve) => setTimeout(resolve, 200));
    child.kill('SIGINT');
    const stopped = await ended;
    expect(stopped.code, stopped.err).toBe(130);
    expect(stopped.err).toContain('stage lines: stopped at');
    expect(existsSync(join(out, 'report.html'))).toBe(true);
    const plan = await run('--out', out, '--list');
    expect(plan.out).toContain('continue  was interrupted');
    const rest = await run('--out', out, '--json');
    expect(JSON.parse(rest.out).report.stages[0].value).toBe(400);
  });

  it.each([
    ['no module', ['--stages', '/no/such.mjs'], 1, /no\/such\.mjs: expected a module whose default export/],
    ['an unknown preset', ['--preset', 'huge'], 2, /full, demo, ci/],
    [
      'an unknown stage',
      ['--only', 'lines,dance'],
      1,
      /expected stages out of lines, count, got dance for only/,
    ],
    ['an empty name', ['--force', 'lines,'], 2, /names separated by commas/],
    ['a port out of range', ['--page', '70000'], 2, /port from 0 to 65535/],
  ] as const)('%s is named', async (_, args, code, message) => {
    const result = await run('--out', join(root, 'wrong'), ...args);
    expect(result.code).toBe(code);
    expect(result.out).toBe('');
    expect(result.err).toMatch(message);
  });
});
