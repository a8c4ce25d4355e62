// Merging without training, on every backend.

import { readFileSync } from 'node:fs';
import { Arena, add, type Tensor, tanh } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { testBackends } from '../testing/backends.ts';
import { distance, normals } from '../testing/numbers.ts';
import {
  type CausalLocalOptions,
  groupNeighbours,
  mergeBidirectional,
  mergeCausalLocal,
  mergeForLastPosition,
} from './index.ts';
import { energies, unitRows } from './matching.ts';

interface Values {
  shape: [number, number];
  data: number[];
}
interface ToMe {
  r: number;
  x: Values;
  metric: Values;
  size: number[];
  target: number[];
  kept: number[];
  merged: Values;
  mass: number[];
  margin: number;
  energy: number[];
}
const { tome } = JSON.parse(
  readFileSync(new URL('../../fixtures/merging.json', import.meta.url), 'utf8'),
) as { tome: ToMe[] };
const D = 4;
const round = (values: ArrayLike<number>) => Array.from(values, Math.fround);

describe.each(await testBackends())('on %s', (_, backend) => {
  const tolerance = backend.info.bits === 64 ? 1e-12 : 1e-5;

  describe('of encoders', () => {
    it.each(tome)(
      "matches, weighs and measures by ToMe's and PiToMe's formulas: $r of $size.length",
      async (fixture) => {
        const { x, metric, r, size, target, kept, merged, mass, margin, energy } = fixture;
        using arena = new Arena(backend);
        const rows = (v: Values) => arena.tensor(v.data, [1, ...v.shape]);
        const merge = await mergeBidirectional(rows(x), { metric: rows(metric), count: r, size });
        expect(Array.from(merge.position)).toEqual(kept);
        expect(Array.from(merge.source, (row) => kept[row])).toEqual(target);
        expect(Array.from(merge.size)).toEqual(mass);
        expect(Array.from(merge.offsets)).toEqual([0, kept.length]);
        expect(distance(await merge.merged.read(), merged.data)).toBeLessThan(tolerance);
        const unit = unitRows(arena.tensor(metric.data, metric.shape));
        expect(distance(await energies(unit, margin).read(), energy)).toBeLessThan(tolerance);
      },
    );

    it('keeps the order of what stays, and gives equal tokens back exactly', async () => {
      using arena = new Arena(backend);
      const kinds = normals(5 * D, 1);
      const order = [0, 0, 3, 1, 1, 2, 0, 2, 4, 4];
      const data = order.flatMap((kind) => kinds.slice(kind * D, (kind + 1) * D));
      const x = arena.tensor([...data, ...data.toReversed()], [2, 10, D]);
      for (const mix of ['mean', 'mlerp'] as const) {
        const merge = await mergeBidirectional(x, { threshold: 0.99999, mix });
        expect(merge.merged.shape[0]).toBeLessThan(20);
        for (const b of [0, 1]) {
          const place = merge.position.slice(merge.offsets[b], merge.offsets[b + 1]);
          expect(place.every((p, i) => i === 0 || p > (place[i - 1] as number))).toBe(true);
        }
        const back = await merge.unmerge(merge.merged).read();
        const wanted = await x.read();
        // A norm is a square root: mlerp is exact up to its rounding.
        expect(distance(back, wanted)).toBeLessThanOrEqual(mix === 'mean' ? 0 : 1e-6);
      }
    });

    it('merges as many as asked, and leaves the protected alone', async () => {
      using arena = new Arena(backend);
      const x = arena.tensor(normals(2 * 12 * D, 2), [2, 12, D]);
      const protect = Uint8Array.from({ length: 24 }, (__, t) => Number(t % 12 < 2));
      for (const [options, gone] of [
        [{ count: 3 }, 6],
        [{ ratio: 0.25 }, 6],
        [{ count: 100 }, 10],
        [{ ratio: 0.25, energyMargin: 0.3 }, 6],
        [{ count: 0 }, 0],
        [{ threshold: 1 }, 0],
      ] as const) {
        const merge = await mergeBidirectional(x, { ...options, protect });
        expect(24 - merge.size.length).toBe(gone);
        expect(merge.size.reduce((a, b) => a + b, 0)).toBe(24);
        for (const [t, own] of protect.entries())
          if (own) expect(merge.size[merge.source[t] as number]).toBe(1);
      }
    });

    it('spares by energy what is unlike the rest', async () => {
      using arena = new Arena(backend);
      const common = normals(D, 3);
      const rows = Array.from({ length: 8 }, (__, t) =>
        t === 3 ? common.map((x) => -x) : common.map((x, d) => x + 0.01 * (normals(D, t + 10)[d] as number)),
      );
      const x = arena.tensor(rows.flat(), [1, 8, D]);
      const merge = await mergeBidirectional(x, { count: 3, energyMargin: 0.5 });
      expect(merge.size.length).toBe(5);
      expect(merge.size[merge.source[3] as number]).toBe(1);
    });

    it('lets a mean by mlerp have the largest norm of its members', async () => {
      using arena = new Arena(backend);
      const x = arena.tensor([3, 0, 0, 4], [1, 2, 2]);
      const metric = arena.tensor([1, 1], [1, 2, 1]);
      const merge = await mergeBidirectional(x, { metric, count: 1, mix: 'mlerp' });
      const [a, b] = (await merge.merged.read()) as unknown as [number, number];
      expect(Math.hypot(a, b)).toBeCloseTo(4, 5);
      expect(a / b).toBeCloseTo(3 / 4, 5);
    });

    it('gives no way back to the tokens of a causal model', async () => {
      using arena = new Arena(backend);
      const x = arena.tensor(normals(2 * 6 * D, 4), [2, 6, D]);
      const merge = await mergeForLastPosition(x, { ratio: 0.5 });
      expect([merge.causal, merge.scope, 'unmerge' in merge]).toEqual([false, 'lastPositionOnly', false]);
      const merged = await merge.merged.read();
      const all = await x.read();
      for (const b of [0, 1]) {
        const row = merge.lastRow[b] as number;
        expect(row).toBe((merge.offsets[b + 1] as number) - 1);
        expect(round(merged.slice(row * D, (row + 1) * D))).toEqual(
          round(all.slice((b * 6 + 5) * D, (b + 1) * 6 * D)),
        );
      }
    });
  });

  describe('of neighbours in a causal model', () => {
    const lengths = [19, 1, 8];
    const total = 28;
    /** A random walk, so that neighbours are alike, with jumps. */
    const walk = (seed: number) => {
      const steps = normals(total * D, seed);
      const rows: number[] = [];
      for (let i = 0; i < total * D; i++)
        rows.push(
          i < D || Math.floor(i / D) % 5 === 0
            ? (steps[i] as number)
            : Math.fround((rows[i - D] as number) + 0.3 * (steps[i] as number)),
        );
      return rows;
    };
    const data = walk(5);
    const options: CausalLocalOptions = { threshold: 0.8, maxRun: 3, counts: lengths };
    const layer = (t: Tensor) => add(t, tanh(t));
    const output = async (values: number[], own: CausalLocalOptions) => {
      using arena = new Arena(backend);
      const h = arena.tensor(values, [values.length / D, D]);
      const merge = await mergeCausalLocal(h, h, own);
      return { ...merge, numbers: Array.from(await merge.inflate(layer(merge.entries)).read()) };
    };

    it('merges alike neighbours, in order, within runs, and every token into one group', async () => {
      const { size, groupOfToken, firstRow, lastRow, visibleEntry } = await output(data, options);
      expect(Math.max(...size)).toBe(3);
      expect(size.length).toBeLessThan(total);
      expect(size.reduce((a, b) => a + b, 0)).toBe(total);
      for (const [row, group] of groupOfToken.entries()) {
        expect(row >= (firstRow[group] as number) && row <= (lastRow[group] as number)).toBe(true);
        expect(visibleEntry[row] as number).toBeLessThanOrEqual(group);
        if (visibleEntry[row] === group) expect(row).toBe(lastRow[group]);
      }
    });

    it('does not see the future, bit for bit', async () => {
      const before = await output(data, options);
      for (const t of [0, 2, 7, 12]) {
        const changed = [...data.slice(0, (t + 1) * D), ...walk(t + 60).slice((t + 1) * D)];
        const after = await output(changed, options);
        const past = (t + 1) * D;
        expect(after.numbers.slice(0, past).every((x, i) => Object.is(x, before.numbers[i]))).toBe(true);
      }
    });

    it('keeps the stable entries of a prefix when text is appended', async () => {
      for (const keepLast of [0, 3]) {
        const whole = await output(data.slice(0, 19 * D), { ...options, counts: [19], keepLast });
        const entriesOf = async (values: number[], own: CausalLocalOptions) => {
          using arena = new Arena(backend);
          const h = arena.tensor(values, [values.length / D, D]);
          return Array.from(await (await mergeCausalLocal(h, h, own)).entries.read());
        };
        const all = await entriesOf(data.slice(0, 19 * D), { ...options, counts: [19], keepLast });
        for (let length = 1; length <= 19; length++) {
          const prefix = data.slice(0, length * D);
          const own = { ...options, counts: [length], keepLast };
          const { stable, lastRow } = await output(prefix, own);
          const count = Math.min(stable[0] as number, whole.stable[0] as number);
          expect(Array.from(lastRow.slice(0, count))).toEqual(Array.from(whole.lastRow.slice(0, count)));
          expect((await entriesOf(prefix, own)).slice(0, count * D)).toEqual(all.slice(0, count * D));
        }
        expect(whole.stable[0]).toBeGreaterThan(3);
      }
    });

    it('merges packed documents as each alone', async () => {
      const packed = await output(data, options);
      let start = 0;
      for (const length of lengths) {
        const own = data.slice(start * D, (start + length) * D);
        const alone = await output(own, { ...options, counts: [length] });
        expect(alone.numbers).toEqual(packed.numbers.slice(start * D, (start + length) * D));
        start += length;
      }
    });

    it('is the layers without merging where nothing may merge, bit for bit', async () => {
      using arena = new Arena(backend);
      const plain = Array.from(await layer(arena.tensor(data, [total, D])).read());
      for (const own of [
        { maxRun: 1 },
        { threshold: 1 },
        { protect: new Uint8Array(total).fill(1) },
        { keepLast: 19 },
      ])
        expect((await output(data, { ...options, ...own })).numbers).toEqual(plain);
    });

    it('merges equal neighbours into what they are', async () => {
      using arena = new Arena(backend);
      const row = normals(D, 9);
      const h = arena.tensor([...row, ...row, ...row], [3, D]);
      const merge = await mergeCausalLocal(h, h, { threshold: 0.9 });
      expect(Array.from(merge.size)).toEqual([3]);
      expect(round(await merge.entries.read())).toEqual(row);
    });
  });
});

describe('groups of neighbours', () => {
  it('end where tokens are unlike, protected, full, or the last', () => {
    const similarity = [0, 1, 1, 1, 0, 1, 1, 1, 1];
    const protect = [0, 0, 0, 0, 0, 0, 1, 0, 0];
    const groups = groupNeighbours(similarity, { threshold: 0.5, maxRun: 3, protect, keepLast: 1 });
    expect(Array.from(groups.groupOfToken)).toEqual([0, 0, 0, 1, 2, 2, 3, 4, 5]);
    expect(Array.from(groups.visibleEntry)).toEqual([-1, -1, 0, 0, 1, 1, 3, 3, 5]);
    expect(Array.from(groups.entryPosition)).toEqual([2, 3, 5, 6, 7, 8]);
    expect(Array.from(groups.stable)).toEqual([4]);
  });

  it('name what is wrong with their options', () => {
    expect(() => groupNeighbours([0, 1], { threshold: 2, maxRun: 0, keepLast: -1, protect: [1] })).toThrow(
      /maxRun.*keepLast.*threshold.*protect/,
    );
  });
});

it('encoders name what is wrong with their options', async () => {
  const [first] = await testBackends();
  using arena = new Arena(first![1]);
  const x = arena.zeros([1, 4, 2]);
  await expect(mergeBidirectional(x, {})).rejects.toThrow(/one of count, ratio and threshold, got 0/);
  await expect(
    mergeBidirectional(x, { threshold: 0.5, count: -1, energyMargin: 1, size: [1] }),
  ).rejects.toThrow(/got 2; count.*energyMargin without threshold; size of 4/);
  await expect(mergeBidirectional(arena.zeros([4, 2]), { count: 1 })).rejects.toThrow(/\[B, T, D\]/);
});
