// A router that begins as a fixed stride and knows how long a run is.
import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { normals } from '../testing/numbers.ts';
import { type MergerConfig, SoftTokenMerger } from './index.ts';

const backend = createReference();
const D = 4;
const T = 60;
const numbers = normals(T * D, 1);

/** The plan of T tokens with parameters changed by name. */
async function planOf(config: Partial<MergerConfig>, changes: Record<string, readonly number[]> = {}) {
  using arena = new Arena(backend);
  const merger = SoftTokenMerger.init({ hiddenSize: D, router: 'paced', ...config }, { backend });
  for (const [name, values] of Object.entries(changes)) merger.parameters().get(name)?.write(values);
  return (await merger.forward(arena.tensor(numbers, [T, D]), { counts: [T - 7, 7] })).plan;
}
const text = ({ boundary }: { boundary: Uint8Array }) => boundary.join('');

describe('a paced router', () => {
  it.each([1, 2, 3, 5])('begins as every %i-th token, by its own decision', async (tokensPerEntry) => {
    const plan = await planOf({ tokensPerEntry });
    expect(text(plan)).toBe(text(await planOf({ router: 'stride', tokensPerEntry })));
    expect(plan.forced.reduce((a, b) => a + b)).toBe(2); // the starts of two sequences
  });

  it('begins with both lengths beside a pace between two whole numbers', async () => {
    const { size } = await planOf({ tokensPerEntry: 2.5 });
    const lengths = new Set(size.slice(1, -4));
    expect([...lengths].sort()).toEqual([2, 3]);
  });

  it('is certain at first, and less so where the content says otherwise', async () => {
    const { boundary, probabilities, forced } = await planOf({ tokensPerEntry: 2 });
    boundary.forEach((is, t) => {
      if (forced[t]) return;
      const p = probabilities?.[t] as number;
      expect(is ? p : 1 - p).toBeGreaterThan(1 / (1 + Math.exp(-1)));
      expect(is ? p : 1 - p).toBeLessThan(1 / (1 + Math.exp(-3)));
    });
  });

  it('leaves its pace for the content where that weighs more, and never a run that is full', async () => {
    const plan = await planOf({ tokensPerEntry: 2, maxRun: 4 }, { sharpness: [5000] });
    const unlike = await planOf({ router: 'learned', maxRun: 4 });
    expect(text(plan)).toBe(text(unlike));
    expect(text(plan)).not.toBe(text(await planOf({ tokensPerEntry: 2 })));
    expect(Math.max(...plan.size)).toBeLessThanOrEqual(4);
  });

  it('decides by its threshold: none of 0 or 1 asks it', async () => {
    expect(text(await planOf({ threshold: 0 }))).toBe('1'.repeat(T));
    expect(text(await planOf({ threshold: 1, maxRun: 5 }))).toBe(
      text(await planOf({ router: 'stride', tokensPerEntry: 5 })),
    );
    expect((await planOf({ threshold: 0.99, maxRun: 8 })).size.length).toBeLessThan(T / 2);
  });

  it('has a router of its own: names and shapes', () => {
    const made = SoftTokenMerger.init({ hiddenSize: D, router: 'paced', maxRun: 3 }, { backend });
    const shapes = [...made.parameters()].map(([name, { shape }]) => `${name} ${shape}`);
    expect(shapes).toEqual([
      ...['query.weight 4,4', 'key.weight 4,4', 'run_bias 3,1', 'sharpness 1'],
      ...['importance.weight 1,4', 'gate 4'],
    ]);
  });
});
