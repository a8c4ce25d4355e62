import { type Backend, dequantizeBlocks, type OpName, Random } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { describe, expect, it } from 'vitest';
import { AdamW, Arena, linear, mean, PackedWeights, square, type Tensor } from './index.ts';

const random = new Random(5);
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const backend = createReference();

/** A product that reads the packed form, one that reads the weight, and whether the first did. */
function both(packed: PackedWeights, x: Float32Array, w: Tensor, bias: Tensor) {
  const results = [{ packed }, {}].map((options) => {
    const arena = new Arena(backend, options);
    const y = linear(arena.tensor(x, [4, 2, 19]), w, bias);
    expect(y.shape).toEqual([4, 2, 50]);
    const numbers = y.readSync();
    arena.dispose();
    return numbers;
  });
  return results as [Float32Array, Float32Array];
}

describe('PackedWeights', () => {
  it('serve linear layers of an arena, and are packed again after the host or an optimiser wrote the weight', () => {
    const owner = new Arena(backend, { persistent: true });
    const w = owner.parameter(normals(50 * 19), [50, 19]);
    const bias = owner.tensor(normals(50), [50]);
    const x = normals(8 * 19);
    using packed = new PackedWeights(backend, [w]);
    expect(packed.bytes).toBe(2 * 19 * 32 * 4);
    const [before, plain] = both(packed, x, w, bias);
    expect(before).toEqual(plain);

    w.write(normals(50 * 19));
    const [stale, written] = both(packed, x, w, bias);
    expect(stale).toEqual(before); // the packed form is what is read
    packed.refresh();
    expect(both(packed, x, w, bias)).toEqual([written, written]);

    const optimizer = new AdamW(new Map([['w', w]]), { lr: 0.1 });
    const step = new Arena(backend, { grad: true, packed });
    mean(square(linear(step.tensor(x, [8, 19]), w, bias))).backward();
    optimizer.step(step);
    packed.refresh(); // before anyone has submitted the step
    const [trained, expected] = both(packed, x, w, bias);
    expect(trained).toEqual(expected);
    expect(trained).not.toEqual(written);
    step.dispose();
    owner.dispose();
  });

  it('keep the blocks of weights that are read row by row too, with the numbers of their tiles, also after an update', () => {
    const owner = new Arena(backend, { persistent: true });
    const w = owner.parameter(normals(40 * 64), [40, 64]);
    using packed = new PackedWeights(backend, [], { quantize: 'q4_0', rows: [w] });
    const identity = Float32Array.from({ length: 64 * 64 }, (_, i) => Number(i % 64 === Math.floor(i / 64)));
    const columns = () => {
      const arena = new Arena(backend, { packed });
      const y = linear(arena.tensor(identity, [64, 64]), w).readSync();
      const blocks = backend.readSync!(packed.rows(w)!.ref.buffer) as Uint8Array;
      arena.dispose();
      return [Array.from(y), Array.from(dequantizeBlocks('Q8_0', blocks))] as const;
    };
    const check = () => {
      const [y, rows] = columns();
      for (let i = 0; i < 64; i++)
        for (let n = 0; n < 40; n++) expect(y[i * 40 + n]).toBeCloseTo(rows[n * 64 + i]!, 6);
      return rows;
    };
    const before = check();
    w.write(normals(40 * 64));
    packed.refresh();
    expect(check()).not.toEqual(before);
    owner.dispose();
  });

  it('rounded to 8 or 4 bits take a quarter or an eighth of the memory, and leave odd widths as they are', () => {
    const owner = new Arena(backend, { persistent: true });
    const [w, odd] = [owner.parameter(normals(64 * 96), [64, 96]), owner.parameter(normals(32 * 5), [32, 5])];
    const x = normals(3 * 96);
    for (const [quantize, bytes, bound] of [
      ['q8_0', 34 / 32, 0.012],
      ['q4_0', 18 / 32, 0.11],
    ] as const) {
      using packed = new PackedWeights(backend, [w, odd], { quantize });
      expect(packed.bytes).toBe(bytes * 64 * 96 + 4 * 5 * 32);
      const arena = new Arena(backend, { packed });
      const y = linear(arena.tensor(x, [3, 96]), w).readSync();
      const exact = linear(new Arena(backend).tensor(x, [3, 96]), w).readSync();
      const norm = (values: number[]) => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0));
      const error = norm(Array.from(y, (value, i) => value - exact[i]!)) / norm(Array.from(exact));
      expect(error).toBeGreaterThan(0);
      expect(error).toBeLessThan(bound);
      arena.dispose();
    }
    owner.dispose();
  });

  it('are empty on a backend without packed products', () => {
    const plain: Backend = {
      ...backend,
      supports: (op: OpName) => !/Packed/.test(op) && backend.supports(op),
    };
    const owner = new Arena(plain, { persistent: true });
    using packed = new PackedWeights(plain, [owner.tensor(normals(6), [2, 3])]);
    expect(packed.bytes).toBe(0);
    owner.dispose();
  });
});
