// Boundaries by position alone, and changes copied back: what a learned router and inflation are compared with.
import { createReference } from '@minke/gpu-backends/reference';
import { Arena, add, gatherRows, sub } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { normals } from '../testing/numbers.ts';
import { D, Stack } from '../testing/stack.ts';
import { copyBack, type MergeBatch, type MergerConfig, SoftTokenMerger } from './index.ts';

const backend = createReference();
const planOf = async (config: Partial<MergerConfig>, tokens: number, batch: MergeBatch = {}) => {
  using arena = new Arena(backend);
  const merger = SoftTokenMerger.init({ hiddenSize: 2, ...config }, { backend });
  return (await merger.forward(arena.tensor(normals(tokens * 2, 1), [tokens, 2]), batch)).plan;
};
const boundaries = async (config: Partial<MergerConfig>, tokens: number, batch?: MergeBatch) =>
  (await planOf(config, tokens, batch)).boundary.join('');

describe('a router that does not learn', () => {
  it('takes every N-th token of each sequence', async () => {
    expect(await boundaries({ router: 'stride' }, 9)).toBe('101010101');
    expect(await boundaries({ router: 'stride', tokensPerEntry: 3 }, 8)).toBe('10010010');
    expect(await boundaries({ router: 'stride', tokensPerEntry: 1.5 }, 9)).toBe('101101101');
    expect(await boundaries({ router: 'stride', tokensPerEntry: 1 }, 4)).toBe('1111');
    expect(await boundaries({ router: 'stride' }, 7, { counts: [3, 4] })).toBe('101' + '1010');
  });

  it('takes tokens at random: the same by seed and position, independent of each other, one in N of them', async () => {
    const tokens = 4000;
    const of = (seed: number, tokensPerEntry = 2, maxRun = 64) =>
      boundaries({ router: 'random', seed, tokensPerEntry, maxRun }, tokens);
    const [a, b] = [await of(0), await of(1)];
    expect(await of(0)).toBe(a);
    const share = (text: string, one: RegExp) => (text.match(one)?.length ?? 0) / tokens;
    const spread = 4 * Math.sqrt(0.25 / tokens);
    expect(Math.abs(share(a, /1/g) - 1 / 2)).toBeLessThan(spread);
    expect(Math.abs(share(await of(0, 4), /1/g) - 1 / 4)).toBeLessThan(spread);
    expect(Math.abs(share(a, /1(?=1)/g) - 1 / 4)).toBeLessThan(spread);
    const same = Array.from(a).filter((bit, i) => bit === b[i]).length / tokens;
    expect(Math.abs(same - 1 / 2)).toBeLessThan(spread);
  });

  it('decides by force, within runs, beside protected tokens and decisions of the caller', async () => {
    const plan = await planOf({ router: 'random', tokensPerEntry: 3, maxRun: 3 }, 400);
    expect(Math.max(...plan.size)).toBe(3);
    expect(plan.forced.every(Boolean)).toBe(true);
    expect(plan.probability).toBeNull();
    const protect = Uint8Array.of(0, 1, 0, 0, 0);
    expect(await boundaries({ router: 'stride' }, 5, { protect })).toBe('11101');
    const own = Uint8Array.of(1, 0, 0, 1, 0);
    expect(await boundaries({ router: 'stride' }, 5, { boundaries: own })).toBe('10010');
    expect(await boundaries({ router: 'stride' }, 5, { threshold: 0 })).toBe('11111');
  });

  it('has no weights of a router', () => {
    const names = (router: 'stride' | 'learned') => [
      ...SoftTokenMerger.init({ hiddenSize: 4, router }, { backend }).parameters().keys(),
    ];
    expect(names('stride')).toEqual(['importance.weight', 'gate']);
    expect(names('learned')).toEqual(['query.weight', 'key.weight', 'importance.weight', 'gate']);
  });

  it('names every problem of its settings', () => {
    const wrong = { hiddenSize: 4, router: 'words', tokensPerEntry: 9, seed: 0.5 } as never;
    expect(() => SoftTokenMerger.init(wrong, { backend })).toThrow(
      /router learned, paced, tokens, stride or random, got words; tokensPerEntry from 1 to maxRun 8, got 9; seed .*0.5/,
    );
  });
});

it('copies back: every token gets the change of its entry as it is', async () => {
  const stack = new Stack(backend, { router: 'stride', tokensPerEntry: 3 }, copyBack);
  expect([...stack.inflator.parameters()]).toEqual([]);
  using arena = new Arena(backend);
  const h = arena.tensor(normals(11 * D, 4), [11, D]);
  const { output, entries, middle, plan } = await stack.forward(h);
  const change = gatherRows(sub(middle, entries), arena.tensor(plan.entryOfToken, [11], 'i32'));
  const [got, expected] = [await output.read(), await add(h, change).read()];
  const beyond = Array.from(plan.lag).flatMap((lag, t) => (lag > 0 ? [t] : []));
  expect(beyond.length).toBeGreaterThan(5);
  for (const t of beyond)
    expect(Array.from(got).slice(t * D, (t + 1) * D)).toEqual(Array.from(expected).slice(t * D, (t + 1) * D));
});
