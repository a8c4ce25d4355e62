import { expect, it } from 'vitest';
import { bitsPerByte } from './bits-per-byte.ts';
import { perplexity } from './perplexity.ts';

it('is the geometric mean of one over the probabilities, whatever the windows', async () => {
  const documents = [
    { id: 'a', ids: [0, 1, 2, 3, 4], bytes: 9 },
    { id: 'b', ids: [0, 5], bytes: 1 },
  ];
  const probability = (id: number) => 1 / (id + 1);
  const score = async (windows: readonly { ids: readonly number[]; from: number }[]) =>
    windows.map(({ ids, from }) => ids.slice(from).map((id) => Math.log(probability(id))));
  const expected = (2 * 3 * 4 * 5 * 6) ** (1 / 5);
  for (const context of [2, 3, 8]) {
    const report = await bitsPerByte({ documents, score, context });
    expect(perplexity(report)).toBeCloseTo(expected, 12);
    expect(perplexity(report.documents[1] as { bits: number; tokens: number })).toBeCloseTo(6, 12);
  }
});

it('refuses a report of nothing', () => {
  expect(() => perplexity({ bits: 0, tokens: 0 })).toThrow('expected bits of a token or more');
});
