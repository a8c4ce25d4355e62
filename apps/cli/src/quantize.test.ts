/** `minke quantize` from end to end: a folder and a GGUF file to a folder that answers, what is printed, what is refused. */
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectBuilt, type RunOptions, runMinke } from './testing/run-minke.ts';
import { saveSmallLanguage } from './testing/small-language.ts';

let folder: string;
const minke = (args: readonly string[], options: Omit<RunOptions, 'cwd'> = {}) =>
  runMinke(args, { cwd: folder, ...options });

beforeAll(async () => {
  expectBuilt();
  folder = await mkdtemp(join(tmpdir(), 'minke-cli-quantize-'));
  const widths = {
    hiddenSize: 64,
    intermediateSize: 96,
    qLoraRank: 32,
    kvLoraRank: 32,
    vHeadDim: 16,
    expertSize: 32,
  };
  await saveSmallLanguage(join(folder, 'small'), widths, 'bf16');
  await writeFile(join(folder, 'small', 'minke.json'), '{"id":"small"}');
  // Different sums: the errors of one that is repeated would all go the same way.
  const sums = Array.from({ length: 30 }, (_, i) => [(7 * i) % 90, (13 * i) % 80] as const);
  const text = sums.map(([a, b]) => `What is ${a} + ${b}? The answer is ${a + b}. `).join('');
  await writeFile(join(folder, 'text.txt'), text);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What greedy chat answers. */
async function answer(args: readonly string[]): Promise<string> {
  const { code, out, err } = await minke([
    'chat',
    ...args,
    '-m',
    'What is 1 + 2?',
    '--max-tokens',
    '12',
    '--temperature',
    '0',
    '--json',
  ]);
  expect(err).toBe('');
  expect(code).toBe(0);
  const { thought, answer } = JSON.parse(out);
  return thought + answer;
}

it('writes a folder that answers as the original with --quantize, and prints what was lost', async () => {
  const { code, out, err } = await minke([
    'quantize',
    'small',
    '--type',
    'q8_0',
    '--out',
    'int8',
    '--text',
    'text.txt',
    '--json',
  ]);
  expect(err).toContain('reading the text with the quantised model');
  expect(code).toBe(0);
  const report = JSON.parse(out);
  expect(report.bitsPerWeight).toBeGreaterThan(8.5);
  expect(report.error).toBeLessThan(0.01);
  expect(report.bytesAfter).toBeLessThan(0.8 * report.bytesBefore);
  const { before, after, tokens } = report.perplexity;
  expect(tokens).toBeGreaterThan(100);
  expect(Math.exp(before.natsPerToken)).toBeCloseTo(before.perplexity, 6);
  expect(after.perplexity).not.toBe(before.perplexity);
  expect(after.perplexity / before.perplexity).toBeCloseTo(1, 2);

  const files = await readdir(join(folder, 'int8'));
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json', 'minke.json'])
    expect(files).toContain(name);
  const text = await answer(['int8']);
  expect(text.length).toBeGreaterThan(0);
  expect(text).toBe(await answer(['small', '--quantize', 'q8_0']));
});

it('prints a table for people, with the tensors that rules change', async () => {
  const { code, out } = await minke([
    'quantize',
    'small',
    '--out',
    'int4',
    '--keep',
    'lm_head.weight',
    '--override',
    '*.o_proj.weight=q8_0',
  ]);
  expect(code).toBe(0);
  expect(out).toMatch(/\*\.self_attn\.o_proj +q8_0 +2 /);
  expect(out).toMatch(/lm_head +bf16 +1 /);
  expect(out).toMatch(/\*\.mlp\.experts\.\*\.down_proj +q4_0 +4 .* 4\.50 /);
  expect(out).toMatch(/million parameters, \d+\.\d\d bits a weight; .* before, .* after/);
  expect(out.trimEnd().split('\n').at(-1)).toBe('int4');
  const { code: ran, out: logits } = await minke(['logits', 'int4', '--ids', '5,9,2', '--json']);
  expect(ran).toBe(0);
  expect(JSON.parse(logits).logits).toHaveLength(3);
});

it('takes a GGUF file with its tokenizer', async () => {
  await mkdir(join(folder, 'gguf'));
  const gguf = fileURLToPath(new URL('../../../packages/inference/fixtures/tiny.gguf', import.meta.url));
  await copyFile(gguf, join(folder, 'gguf', 'tiny.gguf'));
  const { code, err } = await minke(['quantize', 'gguf/tiny.gguf', '--type', 'q8_0', '--out', 'from-gguf']);
  expect(err).not.toContain('minke:');
  expect(code).toBe(0);
  const config = JSON.parse(await readFile(join(folder, 'from-gguf', 'config.json'), 'utf8'));
  expect(config.quantization_config.quant_method).toBe('minke');
  expect(await answer(['from-gguf'])).toBe(await answer(['gguf/tiny.gguf', '--quantize', 'q8_0']));
});

it.each([
  ['no folder to write', ['quantize', 'small'], 2, '--out'],
  ['an unknown type', ['quantize', 'small', '--out', 'x', '--type', 'q3'], 2, 'q8_0, q4_0'],
  ['a rule without a type', ['quantize', 'small', '--out', 'x', '--override', 'lm_head'], 2, 'pattern=type'],
  ['a rule for nothing', ['quantize', 'small', '--out', 'x', '--keep', 'quack*'], 1, 'matches none'],
  ['a folder that is there', ['quantize', 'small', '--out', 'small'], 1, 'not there yet'],
  [
    'a text that is not there',
    ['quantize', 'small', '--out', 'x', '--text', 'no.txt'],
    1,
    'cannot read the text',
  ],
  ['a model that is not there', ['quantize', 'nothing', '--out', 'x'], 2, 'does not exist'],
])('%s is refused, and nothing is written', async (_, args, expected, message) => {
  const { code, out, err } = await minke(args);
  expect(err).toContain(message);
  expect(code).toBe(expected);
  expect(out).toBe('');
  expect((await readdir(folder)).filter((name) => /^x$|\.x\.|^\.small/.test(name))).toEqual([]);
});
