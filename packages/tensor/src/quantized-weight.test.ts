// Weights that are only there as blocks: the bits of packed ones, and what cannot be done with them.
import { byteLength, dequantizeBlocks, quantizeBlocks } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { withoutOps } from '@minke/gpu-backends/testing';
import { afterAll, describe, expect, it } from 'vitest';
import {
  Arena,
  add,
  attachTiles,
  gatherRows,
  linear,
  linearPacked,
  PackedWeights,
  packWeight,
  quantizedWeight,
  rowBlocksOf,
  sum,
  type Tensor,
  writeQuantized,
} from './index.ts';

const cpu = nativeAvailable().available ? await createNative({ threads: 2 }) : await createWasm();
afterAll(() => cpu.dispose());
const numbers = (count: number, salt = 0) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * i + salt));

describe.each([cpu, createReference()].map((backend) => [backend.info.name, backend] as const))(
  'on %s',
  (_, backend) => {
    const owner = new Arena(backend, { persistent: true });
    const staging = new Arena(backend);
    const step = new Arena(backend);
    afterAll(() => {
      for (const arena of [step, staging, owner]) arena.dispose();
    });

    it.each(['q8_0', 'q4_0'] as const)(
      '%s weights give the bits of packed ones, however written',
      async (type) => {
        for (const height of [64, 70]) {
          const shape = [height, 96];
          const data = numbers(height * 96);
          const w = owner.tensor(data, shape);
          const whole = quantizedWeight(owner, shape, type);
          writeQuantized(whole, data, { staging });
          const pieces = quantizedWeight(owner, shape, type);
          writeQuantized(pieces, data.subarray(32 * 96), { staging, row: 32 });
          writeQuantized(pieces, data.subarray(0, 32 * 96), { staging });
          using packed = new PackedWeights(backend, [w], { quantize: type });
          const x = numbers(3 * 96, 1);
          const bias = owner.tensor(numbers(height, 2), [height]);
          const exact = new Arena(backend, { packed });
          const wanted = await linear(exact.tensor(x, [3, 96]), w, bias).read();
          exact.dispose();
          for (const own of [whole, pieces])
            expect(await linear(step.tensor(x, [3, 96]), own, bias).read()).toEqual(wanted);
          step.reset();
        }
      },
    );

    it('takes blocks as they are', async () => {
      const data = numbers(40 * 64);
      for (const [type, gguf] of [['q8_0', 'Q8_0'] as const, ['q4_0', 'Q4_0'] as const]) {
        const w = quantizedWeight(owner, [2, 40, 64], type);
        const bytes = quantizeBlocks(gguf, data);
        writeQuantized(w, bytes, { staging, expert: 1 });
        writeQuantized(w, bytes.subarray(0, byteLength(type, 32 * 64)), { staging, expert: 0 });
        writeQuantized(w, bytes.subarray(byteLength(type, 32 * 64)), { staging, expert: 0, row: 32 });
        const [first, second] = [w.tiles!.rows(0, 1), w.tiles!.rows(1, 2)].map((t) => t.readSync());
        expect(first).toEqual(second);
        const flat = quantizedWeight(owner, [40, 64], type);
        writeQuantized(flat, bytes, { staging });
        const scales = step.tensor(numbers(64, 3), [1, 64]);
        const blocks = owner.empty([40, 64], type);
        backend.write(blocks.ref.buffer, bytes, blocks.ref.offset);
        const packed = packWeight(blocks, { arena: owner });
        expect(await linear(scales, flat).read()).toEqual(await linearPacked(scales, packed).read());
        step.reset();
      }
    });

    it('rows are looked up in blocks, exact, and in those of the table where a head has others', async () => {
      const data = numbers(70 * 64);
      const ids = [69, 0, 33, -1, 70, 33];
      const lookUp = (table: Tensor) => gatherRows(table, step.tensor(ids, [ids.length], 'i32')).read();
      for (const [type, gguf] of [['q8_0', 'Q8_0'] as const, ['q4_0', 'Q4_0'] as const]) {
        const bytes = quantizeBlocks(gguf, data);
        const wanted = await lookUp(owner.tensor(dequantizeBlocks(gguf, bytes), [70, 64]));
        const table = quantizedWeight(owner, [70, 64], type, { rows: true });
        writeQuantized(table, bytes, { staging });
        expect(await lookUp(table)).toEqual(wanted);
        expect(await rowBlocksOf(step, table)!.read()).toEqual(bytes);
        const head = quantizedWeight(owner, [70, 64], 'q4_0');
        attachTiles(table, 'q4_0');
        for (const w of [head, table]) writeQuantized(w, numbers(70 * 64, 9), { staging });
        expect(await lookUp(table)).toEqual(wanted);
        const x = step.tensor(numbers(64, 5), [1, 64]);
        expect(await linear(x, table).read()).toEqual(await linear(x, head).read());
      }
      step.reset();
    });

    it('an f32 weight can have them besides', async () => {
      const data = numbers(32 * 32);
      const w = owner.tensor(data, [32, 32]);
      const own = quantizedWeight(owner, [32, 32], 'q4_0');
      writeQuantized(own, data, { staging });
      attachTiles(w, 'q4_0');
      writeQuantized(w, data, { staging });
      const x = step.tensor(numbers(32, 5), [1, 32]);
      expect(await linear(x, w).read()).toEqual(await linear(x, own).read());
      expect(await step.adopt(w).read()).toEqual(await w.read());
      step.reset();
    });
  },
);

describe('anything else', () => {
  const owner = new Arena(cpu, { persistent: true });
  const staging = new Arena(cpu);
  const w = quantizedWeight(owner, [64, 32], 'q4_0');
  writeQuantized(w, numbers(64 * 32), { staging });
  afterAll(() => {
    for (const arena of [staging, owner]) arena.dispose();
  });

  it('says that the numbers are only there packed', async () => {
    const unsupported = expect.objectContaining({
      code: 'unsupported',
      message: expect.stringContaining('kept packed'),
    });
    const step = new Arena(cpu, { grad: true });
    const x = step.tensor(numbers(32), [1, 32]);
    expect(() => linear(x, w)).toThrow(unsupported);
    expect(() => step.adopt(w)).toThrow(unsupported);
    expect(() => sum(add(step.tensor([1], [1, 1]), w))).toThrow(unsupported);
    expect(() => w.rows(0, 1)).toThrow(unsupported);
    expect(() => w.read()).toThrow(unsupported);
    expect(() => w.write([1])).toThrow();
    step.dispose();
  });

  it('rows that are no whole tiles, or too many, are refused', () => {
    const write = (count: number, at: object) => () =>
      writeQuantized(w, numbers(32 * count), { staging, ...at });
    for (const wrong of [
      write(16, {}),
      write(96, {}),
      write(32, { row: 16 }),
      write(32, { row: 64 }),
      write(32, { expert: 1 }),
      () => writeQuantized(w, new Uint8Array(19), { staging }),
    ])
      expect(wrong).toThrow('writeQuantized: expected a multiple of 32 rows');
    expect(() => quantizedWeight(owner, [4, 48], 'q8_0')).toThrow('multiple of 32');
    expect(() => attachTiles(owner.parameter(numbers(32), [1, 32]), 'q8_0')).toThrow('not trained');
  });

  it('a backend without such products says so', () => {
    const plain = new Arena(withoutOps(cpu, 'matmulQuantized'), { persistent: true });
    expect(() => quantizedWeight(plain, [32, 32], 'q8_0')).toThrow(/products of q8_0 weights/);
    plain.dispose();
  });

  it('takes the memory of blocks', () => {
    using arena = new Arena(cpu, { persistent: true });
    quantizedWeight(arena, [1024, 1024], 'q4_0');
    expect(arena.bytes).toBeLessThan(1.001 * byteLength('q4_0', 1024 * 1024));
  });
});
