import { type Backend, Random } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { expect, test } from 'vitest';
import { Arena, crossEntropy, type SamplingRows, sampleTokens } from './index.ts';

const kernels = await (nativeAvailable().available ? createNative({ threads: 2 }) : createWasm());
const logitsOf = (rows: number, vocabulary: number, scale: number, seed = 3): Float32Array => {
  const random = new Random(seed);
  return Float32Array.from({ length: rows * vocabulary }, () => scale * random.normal());
};
/** One setting for all rows, each row its own stream. */
function settings(
  rows: number,
  one: { temperature: number; topK?: number; topP?: number; minP?: number },
): SamplingRows {
  const all = (x: number) => Array.from({ length: rows }, () => x);
  return {
    temperature: all(one.temperature),
    topK: all(one.topK ?? 0),
    topP: all(one.topP ?? 1),
    minP: all(one.minP ?? 0),
    random: Array.from({ length: rows }, (_, n) => new Random(2 ** 40 + n, n).state()),
  };
}

test.each([
  { temperature: 0 },
  { temperature: 1 },
  { temperature: 0.6, topP: 0.95 },
  { temperature: 1.3, topK: 50, topP: 0.8 },
  { temperature: 0.9, minP: 0.05 },
])('draws the tokens of the reference from many flat and peaked rows, %o', (one) => {
  for (const [rows, vocabulary, scale] of [
    [400, 64, 1],
    [40, 3000, 4],
    [10, 20_000, 1],
  ] as const) {
    const data = logitsOf(rows, vocabulary, scale);
    const [mine, theirs] = [kernels as Backend, createReference()].map((backend) => {
      const arena = new Arena(backend);
      const drawn = sampleTokens(arena.tensor(data, [rows, vocabulary]), settings(rows, one));
      const numbers = [drawn.tokens, drawn.logProbs, drawn.chosenLogProbs].map((t) =>
        Array.from(t.readSync()),
      );
      arena.dispose();
      return numbers;
    });
    expect(mine![0]).toEqual(theirs![0]);
    for (const t of [1, 2])
      mine![t]!.forEach((value, n) => {
        expect(value).toBeCloseTo(theirs![t]![n]!, 4);
      });
  }
});

test('a row draws the same token alone, and its log-probability has the bits of the loss', () => {
  const [rows, vocabulary] = [30, 777];
  const data = logitsOf(rows, vocabulary, 3);
  const one = settings(rows, { temperature: 0.8, topP: 0.9 });
  const arena = new Arena(kernels);
  const logits = arena.tensor(data, [rows, vocabulary]);
  const { tokens, logProbs } = sampleTokens(logits, one);
  const loss = crossEntropy(logits, tokens).readSync();
  expect(Array.from(logProbs.readSync())).toEqual(Array.from(loss, (x) => -x));
  const all = tokens.readSync();
  for (const n of [0, 13, 29]) {
    const alone = sampleTokens(logits.rows(n, n + 1), {
      temperature: [0.8],
      topK: [0],
      topP: [0.9],
      minP: [0],
      random: [one.random[n]!],
    });
    expect(alone.tokens.readSync()[0]).toBe(all[n]);
  }
  arena.dispose();
});

test('draws with the frequencies of the distribution it names', () => {
  const rows = 20_000;
  const row = [2, 1, 0, -1, 1.5];
  const arena = new Arena(kernels);
  const data = Float32Array.from({ length: rows * 5 }, (_, i) => row[i % 5]!);
  const { tokens, chosenLogProbs } = sampleTokens(
    arena.tensor(data, [rows, 5]),
    settings(rows, { temperature: 0.7, topK: 3 }),
  );
  const seen = new Map<number, { count: number; p: number }>();
  const p = chosenLogProbs.readSync();
  tokens.readSync().forEach((token, n) => {
    seen.set(token, { count: (seen.get(token)?.count ?? 0) + 1, p: Math.exp(p[n]!) });
  });
  expect([...seen.keys()].sort()).toEqual([0, 1, 4]);
  for (const { count, p } of seen.values())
    expect(Math.abs(count / rows - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / rows));
  arena.dispose();
});

test('settings of another length are refused', () => {
  const arena = new Arena(createReference());
  expect(() => sampleTokens(arena.zeros([2, 4]), settings(3, { temperature: 1 }))).toThrow(
    /expected settings of 2 rows, got 3, 3, 3, 3, 3/,
  );
});
