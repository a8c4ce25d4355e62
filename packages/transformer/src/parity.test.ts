import type { Backend } from '@minke/core';
import type { AttentionForm, TokenRole } from '@minke/mla-attention';
import { Arena } from '@minke/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import type { DeepSeekModel } from './deepseek.ts';
import { loadModel } from './load.ts';
import {
  distance,
  type Expected,
  fastBackend,
  fixtureFolder,
  fixtureNames,
  otherBackends,
  readExpected,
  sparseFixtureNames,
} from './testing/fixtures.ts';

const tolerance = 1e-4;
const report: Record<string, Record<string, string>> = {};
afterAll(() => console.table(report));

/** Logits [2, 64, V] of one pass over both sequences; checks the chosen experts on the way. */
function oneShot(
  model: DeepSeekModel,
  { sequences, experts }: Expected,
  form: AttentionForm,
): ArrayLike<number> {
  using arena = new Arena(model.backend);
  const { logits, routings } = model.forward(model.batch(arena, sequences), { form });
  expect(routings.map(({ indices }) => [...indices.readSync()])).toEqual(
    experts.map((chosen) => [...chosen]),
  );
  return logits.readSync();
}

/** Logits [2, 64, V] through a cache, both sequences in each step, in pieces of so many tokens: by default one. */
function throughCache(
  model: DeepSeekModel,
  { sequences }: Expected,
  options: { kept: AttentionForm; role: TokenRole; form?: AttentionForm; pieces?: readonly number[] },
): Float32Array {
  const { vocabSize } = model.config;
  const [length] = sequences.map((sequence) => sequence.length) as [number];
  const { kept, role, form, pieces = new Array<number>(length).fill(1) } = options;
  using cache = model.createCache({ maxTokens: length, sequences: 2, form: kept });
  using arena = new Arena(model.backend);
  const all = new Float32Array(2 * length * vocabSize);
  let start = 0;
  for (const count of pieces) {
    const ids = sequences.flatMap((sequence) => sequence.slice(start, start + count));
    const batch = cache.append(
      arena,
      [0, 1].map((sequence) => ({ sequence, count, role: count > 1 ? 'prompt' : role })),
    );
    const input = { ids: arena.tensor(ids, [ids.length], 'i32'), ...batch };
    const { logits } = model.forward(input, { cache, ...(form && { form }) });
    const rows = Float32Array.from(logits.readSync());
    const size = count * vocabSize;
    for (let s = 0; s < 2; s++)
      all.set(rows.subarray(s * size, (s + 1) * size), (s * length + start) * vocabSize);
    start += count;
    arena.reset();
  }
  return all;
}

/** A prompt in two chunks, then tokens, more of the prompt, and tokens again. */
const chunks = [24, 16, 1, 1, 20, 1, 1];

const ways: Record<string, (model: DeepSeekModel, expected: Expected) => ArrayLike<number>> = {
  'one shot, expanded': (model, expected) => oneShot(model, expected, 'expanded'),
  'one shot, absorbed': (model, expected) => oneShot(model, expected, 'absorbed'),
  'by token, absorbed': (model, expected) =>
    throughCache(model, expected, { kept: 'absorbed', role: 'generated' }),
  'by token, latents expanded': (model, expected) =>
    throughCache(model, expected, { kept: 'absorbed', role: 'prompt' }),
  'a prompt, then tokens': (model, expected) =>
    throughCache(model, expected, { kept: 'absorbed', role: 'generated', pieces: chunks }),
  'by token, expanded cache': (model, expected) =>
    throughCache(model, expected, { kept: 'expanded', role: 'generated' }),
};

function compare(backend: Backend, name: string, chosen: readonly string[]): void {
  it.each(chosen)(`gives transformers' logits, ${name}, %s`, async (way) => {
    const model = await loadModel(fixtureFolder(name), { backend });
    const expected = await readExpected(name);
    const logits = ways[way]!(model, expected);
    const worst = Math.max(distance(logits, expected.logits), distance(logits, expected.exact));
    const row = (report[`${name}, ${backend.info.name}`] ??= {});
    row[way] = worst.toExponential(1);
    expect(worst).toBeLessThanOrEqual(tolerance);
  });
}

/** Sparse attention: every query reads the tokens that its layer's indexer selects. */
function sparse(backend: Backend): void {
  for (const name of sparseFixtureNames)
    compare(backend, name, ['one shot, absorbed', 'by token, absorbed', 'a prompt, then tokens']);
}

describe(`on ${fastBackend.info.name}`, () => {
  for (const name of fixtureNames) compare(fastBackend, name, Object.keys(ways));
  sparse(fastBackend);
});

describe.each(otherBackends.map((backend) => [backend.info.name, backend] as const))(
  'on %s',
  (_, backend) => {
    for (const name of fixtureNames) compare(backend, name, ['one shot, expanded', 'one shot, absorbed']);
    compare(backend, 'v3-base', [
      'by token, absorbed',
      'by token, latents expanded',
      'by token, expanded cache',
    ]);
    sparse(backend);
  },
);
