// Bits per byte against a calculation by hand, and against transformers' logits on a saved model.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '@minke/checkpoints';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { loadModel, MergingTransformer } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import {
  bitsPerByte,
  compareBitsPerByte,
  type ScoredDocument,
  scoredDocument,
  scoringWindows,
  type WindowScorer,
} from './bits-per-byte.ts';
import { bootstrapRatio, pairedRatios } from './bootstrap.ts';
import { modelScorer } from './model-scorer.ts';

/** Every token has the probability 2^-bits(tokens of the window before it). */
const scorer =
  (bits: (before: number, id: number) => number): WindowScorer =>
  async (windows) =>
    windows.map(({ ids, from }) => ids.slice(from).map((id, i) => -Math.LN2 * bits(from + i, id)));

const documents: ScoredDocument[] = [
  { id: 'a', ids: [0, 1, 2, 3], bytes: 6 },
  { id: 'b', ids: Array.from({ length: 10 }, (_, i) => i), bytes: 30 },
];

describe('bitsPerByte', () => {
  it('is the sum of bits over the sum of bytes, by hand', async () => {
    const { bitsPerByte: rate, ...report } = await bitsPerByte({
      ...{ documents, score: scorer((_, id) => id), context: 16 },
    });
    // ids are their bits: 1 + 2 + 3 over 6 bytes, 1 + ... + 9 over 30.
    expect(report.documents.map(({ bits }) => Number(bits.toFixed(9)))).toEqual([6, 45]);
    expect(rate.value).toBeCloseTo(51 / 36, 12);
    expect(report).toMatchObject({ bytes: 36, tokens: 12, context: 16, stride: 8 });
    // Two documents: the mean of one drawn twice is 1 or 1.5.
    expect([rate.low, rate.high].map((x) => Number(x.toFixed(9)))).toEqual([1, 1.5]);
  });

  it('reads windows that overlap, and counts every token once, in the first window that reaches it', async () => {
    expect(scoringWindows(10, 6, 3)).toEqual([
      [0, 6, 1],
      [3, 9, 6],
      [6, 10, 9],
    ]);
    expect(scoringWindows(6, 6, 3)).toEqual([[0, 6, 1]]);
    expect(scoringWindows(7, 2, 1).map(([, , from]) => from)).toEqual([1, 2, 3, 4, 5, 6]);
    const before: number[] = [];
    const score = scorer((tokens) => {
      before.push(tokens);
      return 1;
    });
    const calls: number[] = [];
    const counted: WindowScorer = (windows) => {
      calls.push(windows.reduce((n, { ids }) => n + ids.length, 0));
      return score(windows);
    };
    const done: number[] = [];
    const report = await bitsPerByte({
      ...{ documents, score: counted, context: 6, stride: 3, tokensPerCall: 10 },
      onProgress: (progress) => done.push(progress.done),
    });
    expect(report.tokens).toBe(12);
    expect(report.bits).toBeCloseTo(12, 12);
    expect(before).toEqual([1, 2, 3, 1, 2, 3, 4, 5, 3, 4, 5, 3]);
    expect(calls).toEqual([10, 10]);
    expect(done).toEqual([1, 2]);
  });

  it('counts the UTF-8 bytes of a text, and every token but the one that begins it', () => {
    const tokenizer = { encode: (text: string) => new TextEncoder().encode(text) };
    const document = scoredDocument('x', 'né 🐋', tokenizer, 256);
    expect(document).toMatchObject({ id: 'x', bytes: 8 });
    expect(document.ids).toHaveLength(9);
  });

  it.each([
    ['no documents', { documents: [] }, /a document or more, got none/],
    ['an empty document', { documents: [{ id: 'e', ids: [0], bytes: 0 }] }, /in e, got 1 ids and 0 bytes/],
    ['a document twice', { documents: [documents[0], documents[0]] }, /every id of a document once, got a/],
    ['a stride as long as the context', { stride: 16 }, /stride from 1 to 15 .*got 16/],
    ['no context', { context: 1 }, /context of 2 tokens or more, got 1/],
    ['no tokens a call', { tokensPerCall: 0 }, /tokensPerCall of 1 or more, got 0/],
  ])('refuses %s', async (_, change, message) => {
    const options = { documents, score: scorer(() => 1), context: 16, ...change } as never;
    await expect(bitsPerByte(options)).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(bitsPerByte(options)).rejects.toThrow(message);
  });

  it.each([
    ['too few', async () => [[-1], [-1]], /expected 3 log-probabilities of a window of a, got 1/],
    ['none', async () => [], /got none/],
    ['a likelihood', scorer(() => -0.5), /at most 0 in a, got 0.34/],
    ['no number', scorer(() => Number.NaN), /got NaN/],
    ['certain failure', scorer(() => Number.POSITIVE_INFINITY), /got -Infinity/],
  ] as [string, WindowScorer, RegExp][])('refuses a scorer that gives %s', async (_, score, message) => {
    const measuring = bitsPerByte({ documents, score, context: 16 });
    await expect(measuring).rejects.toMatchObject({ code: 'internal' });
    await expect(measuring).rejects.toThrow(message);
  });
});

describe('compareBitsPerByte', () => {
  const of = (bits: readonly number[]) =>
    bits.map((value, i) => ({ id: String(i), bits: value, bytes: 10 + i, tokens: 3 }));

  it('is the difference of both, with an interval narrower than theirs', () => {
    const a = Array.from({ length: 60 }, (_, i) => 20 + 15 * Math.sin(i * i));
    const b = a.map((bits, i) => bits + 0.3 + 0.1 * Math.sin(i));
    const difference = compareBitsPerByte(of(a), of(b).reverse());
    const bytes = of(a).map((document) => document.bytes);
    const [before, after] = [bootstrapRatio(a, bytes), bootstrapRatio(b, bytes)];
    expect(difference.value).toBeCloseTo(after.value - before.value, 12);
    expect(difference.high - difference.low).toBeLessThan((before.high - before.low) / 10);
    expect(difference.low).toBeGreaterThan(0);
    expect(difference).toMatchObject({ n: 60, p: 1 / 2001 });
    expect(compareBitsPerByte(of(a), of(a))).toMatchObject({ value: 0, low: 0, high: 0, p: 1 });
  });

  it('finds the quantiles of all resamples, listed', () => {
    const [above, below] = [
      [4, 9, 1],
      [2, 3, 4],
    ] as const;
    const all = [0, 1, 2].flatMap((i) =>
      [0, 1, 2].flatMap((j) =>
        [0, 1, 2].map((k) => (above[i]! + above[j]! + above[k]!) / (below[i]! + below[j]! + below[k]!)),
      ),
    );
    all.sort((x, y) => x - y);
    const rate = bootstrapRatio(above, below, { resamples: 40_000, level: 26 / 27 });
    expect(rate.value).toBeCloseTo(14 / 9, 12);
    expect(rate.low).toBeCloseTo(all[0] as number, 1);
    expect(rate.high).toBeCloseTo(all.at(-1) as number, 1);
  });

  it('refuses other documents, and sums that nothing can be divided by', () => {
    expect(() => compareBitsPerByte(of([1, 2]), of([1]))).toThrow(/same documents for both, got 2 and 1/);
    expect(() => compareBitsPerByte([], [])).toThrow(/got 0 and 0/);
    const other = of([1, 2]).map((document) => ({ ...document, bytes: 10 }));
    expect(() => compareBitsPerByte(of([1, 2]), other)).toThrow(
      /document 1 of 11 bytes in both, got one of 10/,
    );
    expect(() => bootstrapRatio([1], [0])).toThrow(/above 0 to divide by, got 0/);
    expect(() => pairedRatios([1], [Number.NaN], [1])).toThrow(/finite values, got NaN/);
  });
});

describe('modelScorer', () => {
  const folder = fileURLToPath(new URL('../../transformer/fixtures/v3-base', import.meta.url));
  const backend = createReference();

  /** -log2 of each next token under the logits that transformers computed in float64, [2][63]. */
  async function expectedBits() {
    const tensors = await openSafetensors(`${folder}/expected.safetensors`);
    const ids = Array.from((await tensors.readTyped('input_ids')) as Int32Array);
    const logits = await tensors.readFloat32('logits_f64');
    await tensors.close();
    const V = (JSON.parse(readFileSync(`${folder}/config.json`, 'utf8')) as { vocab_size: number })
      .vocab_size;
    const bits = (row: number) => {
      const own = Array.from(logits.subarray(row * V, (row + 1) * V));
      const top = Math.max(...own);
      const sum = own.reduce((total, x) => total + Math.exp(x - top), 0);
      return (top + Math.log(sum) - (own[ids[row + 1] as number] as number)) / Math.LN2;
    };
    return [0, 64].map((start) => ({
      ids: ids.slice(start, start + 64),
      bits: Array.from({ length: 63 }, (_, t) => bits(start + t)),
    }));
  }

  it('gives the bits that transformers gives for the same saved model', async () => {
    const expected = await expectedBits();
    const model = await loadModel(folder, { backend });
    const own = expected.map(({ ids }, i) => ({ id: String(i), ids, bytes: 200 }));
    const sum = (bits: readonly number[]) => bits.reduce((a, b) => a + b);
    const report = await bitsPerByte({ documents: own, score: modelScorer(model), context: 64 });
    for (const [i, { bits }] of report.documents.entries())
      expect(Math.abs(bits - sum(expected[i]!.bits)) / bits).toBeLessThan(1e-5);
    // The first window of a shorter context sees what the whole saw; the second one does not.
    const windows = await modelScorer(model)([{ ids: expected[0]!.ids.slice(0, 40), from: 10 }]);
    const first = Array.from(windows[0] as ArrayLike<number>, (nats) => -nats / Math.LN2);
    first.forEach((bits, t) => {
      expect(bits).toBeCloseTo(expected[0]!.bits[9 + t] as number, 3);
    });
    const short = await bitsPerByte({ documents: own, score: modelScorer(model), context: 40, stride: 20 });
    expect(Math.abs(short.bits - report.bits)).toBeGreaterThan(0.01);
    expect(short.tokens).toBe(report.tokens);
  });

  it('scores a model that merges, which merges nothing at threshold 0', async () => {
    const model = await loadModel(folder, { backend });
    const { ids } = (await expectedBits())[0]!;
    const windows = [{ ids, from: 1 }];
    const arena = new Arena(backend, { persistent: true });
    const of = (threshold: number) => {
      const merging = MergingTransformer.init(model, { preLayers: 1, postLayers: 0, threshold }, { arena });
      return modelScorer(merging)(windows);
    };
    const plain = await modelScorer(model)(windows);
    expect(await of(0)).toEqual(plain);
    expect(await of(0.5)).not.toEqual(plain);
    arena.dispose();
  });
});
