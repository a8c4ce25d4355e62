// Boundaries by what tokens are: how they are chosen, and what is made of them.
import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { normals } from '../testing/numbers.ts';
import { entropyBoundaries, SoftTokenMerger, tokenRows } from './index.ts';

/** `0` is followed by anything, `1` by 0 or 2, all else by what is one more. */
const sequence = Array.from({ length: 600 }, (_, i) => [0, 2 + ((i * 7) % 5), 1, i % 2 ? 0 : 2, 3, 4]).flat();

const meanEntry = (ids: readonly number[], bitmap: Uint8Array, maxRun: number) => {
  let [entries, run] = [0, 0];
  ids.forEach((id, t) => {
    const begins = t === 0 || bitmap[id] === 1 || run + 1 >= maxRun;
    entries += Number(begins);
    run = begins ? 0 : run + 1;
  });
  return ids.length / entries;
};

describe('entropyBoundaries', () => {
  it('takes tokens behind which the next one is hard to foretell', () => {
    const chosen = entropyBoundaries([sequence], { vocabSize: 8, tokensPerEntry: 4 });
    expect([...chosen.keys()].filter((id) => chosen[id])).toEqual([0]);
    expect(entropyBoundaries([sequence], { vocabSize: 8, tokensPerEntry: 8 }).some(Boolean)).toBe(false);
    expect(entropyBoundaries([sequence], { vocabSize: 8, tokensPerEntry: 1 }).filter(Boolean).length).toBe(8);
  });

  it.each([
    [2, 8],
    [2, 3],
    [2.5, 3],
    [3, 4],
  ])('comes near %f tokens an entry of at most %i', (tokensPerEntry, maxRun) => {
    // Behind a token one of as many as its number modulo 16 says.
    const ids: number[] = [0];
    for (const x of normals(4000, 5)) {
      const before = ids.at(-1) as number;
      ids.push((5 * before + 3 + (Math.floor(Math.abs(x) * 1000) % (1 + (before % 16)))) % 64);
    }
    const chosen = entropyBoundaries([ids.slice(0, 1500), ids.slice(1500)], {
      ...{ vocabSize: 64, tokensPerEntry, maxRun },
    });
    expect(Math.abs(meanEntry(ids, chosen, maxRun) / tokensPerEntry - 1)).toBeLessThan(0.1);
  });

  it('leaves tokens that it hardly knows near the mean', () => {
    // 6 was followed by two tokens once each, 1 by two tokens often.
    const ids = [...Array.from({ length: 400 }, (_, i) => [1, 2 + (i % 2), 4, 5]).flat(), 6, 2, 4, 6, 3, 4];
    const chosen = entropyBoundaries([ids], { vocabSize: 8, tokensPerEntry: 4.1 });
    expect([chosen[1], chosen[6]]).toEqual([1, 0]);
  });

  it('refuses settings and ids that cannot be', () => {
    expect(() => entropyBoundaries([], { vocabSize: 0 })).toThrow(
      /whole vocabSize and maxRun.*got 0, 8 and 2/,
    );
    expect(() => entropyBoundaries([], { vocabSize: 4, tokensPerEntry: 9 })).toThrow(
      /tokensPerEntry from 1 to maxRun, got 4, 8 and 9/,
    );
    expect(() => entropyBoundaries([], { vocabSize: 4, maxRun: 2.5 })).toThrow(/got 4, 2.5 and 2/);
    expect(() => entropyBoundaries([[1, 4]], { vocabSize: 4 })).toThrow(/ids from 0 to 3, got 4/);
    expect(() => entropyBoundaries([[1, 0.5]], { vocabSize: 4 })).toThrow(/got 0.5/);
    expect(entropyBoundaries([], { vocabSize: 4 })).toHaveLength(4);
  });
});

describe('a merger that is told', () => {
  const backend = createReference();
  const merger = SoftTokenMerger.init({ hiddenSize: 2, router: 'tokens', maxRun: 3 }, { backend });
  const cut = async (ids: readonly number[], bitmap: Uint8Array) => {
    using arena = new Arena(backend);
    const h = arena.tensor(normals(ids.length * 2, 1), [ids.length, 2]);
    return (await merger.forward(h, { boundaries: tokenRows(ids, bitmap) })).plan.boundary;
  };

  it('cuts equal passages at equal places, wherever they stand', async () => {
    const bitmap = Uint8Array.from({ length: 8 }, (_, id) => Number(id % 3 === 0));
    const passage = [3, 1, 2, 6, 7, 4, 5, 1, 3, 2];
    for (const before of [[], [1], [1, 2], [6, 4, 4]]) {
      const boundary = await cut([...before, ...passage, ...passage], bitmap);
      const [first, second] = [0, 1].map((i) =>
        boundary.slice(before.length + i * 10, before.length + 10 + i * 10),
      );
      expect(first?.join('')).toBe('1001001010');
      expect(second).toEqual(first);
    }
  });

  it('has no weights of a router, and says what it was not told', async () => {
    expect([...merger.parameters().keys()]).toEqual(['importance.weight', 'gate']);
    using arena = new Arena(backend);
    const h = arena.tensor(normals(6, 1), [3, 2]);
    await expect(merger.forward(h)).rejects.toThrow(/expected boundaries in the batch.*'tokens', got none/);
    expect((await merger.forward(h, { threshold: 0 })).plan.boundary.join('')).toBe('111');
  });
});
