import { describe, expect, it } from 'vitest';
import type { TensorRef } from './buffers.ts';
import { CommandList } from './command-list.ts';
import type { DType, Shape } from './dtype.ts';
import { elementCount } from './dtype.ts';
import { encodeAttributes, inferOutputs } from './op-calls.ts';
import { broadcastDivisor } from './ops.ts';

const ref = (shape: Shape, dtype: DType = 'f32', offset = 0): TensorRef => ({
  buffer: { dtype, length: elementCount(shape) },
  dtype,
  shape,
  offset,
});

describe('inferOutputs', () => {
  it('gives the product shape for every transpose form', () => {
    for (const [transA, transB] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ] as const) {
      const a = ref(transA ? [5, 3] : [3, 5]);
      const b = ref(transB ? [7, 5] : [5, 7]);
      expect(inferOutputs('matmul', [a, b], { transA, transB })).toEqual([{ dtype: 'f32', shape: [3, 7] }]);
    }
  });

  it('names what was expected and what came', () => {
    expect(() => inferOutputs('matmul', [ref([3, 5]), ref([4, 7])], { transA: 0, transB: 0 })).toThrow(
      'matmul: expected equal inner sizes, got 5 and 4, got f32[3, 5], f32[4, 7]',
    );
    expect(() => inferOutputs('rmsNorm', [ref([3, 5]), ref([5], 'i32')], { eps: 1e-6 })).toThrow(
      'rmsNorm: expected w to be f32 of rank 1, got i32[5]',
    );
  });
});

describe('encodeAttributes', () => {
  it('turns words into indices and refuses unknown ones', () => {
    expect(encodeAttributes('rope', { start: 4, layout: 'half', inverse: 0 })).toEqual([4, 1, 0]);
    expect(() => encodeAttributes('rope', { start: 0.5, layout: 'half', inverse: 0 })).toThrow(
      'start to be an integer',
    );
    expect(() => encodeAttributes('rope', { start: 0, layout: 'other' as 'half', inverse: 0 })).toThrow(
      'one of',
    );
  });
});

describe('broadcastDivisor', () => {
  it('tells suffixes from columns', () => {
    expect(broadcastDivisor([4, 3], [3])).toBe(1);
    expect(broadcastDivisor([4, 3], [1])).toBe(1);
    expect(broadcastDivisor([4, 3], [4, 1])).toBe(3);
    expect(() => broadcastDivisor([4, 3], [4])).toThrow();
  });
});

describe('CommandList', () => {
  it('refuses views outside their buffer, wrong outputs and records after closing', () => {
    const list = new CommandList();
    const x = ref([2, 3]);
    expect(() => list.record('swiglu', [{ ...x, offset: 1 }, x], [ref([2, 3])], {})).toThrow(
      'inside its buffer',
    );
    expect(() => list.record('swiglu', [x, x], [ref([3, 2])], {})).toThrow('expected outputs f32[2, 3]');
    expect(list.record('swiglu', [x, x], [ref([2, 3])], {})).toBe(0);
    expect(() => list.close().record('swiglu', [x, x], [ref([2, 3])], {})).toThrow('closed');
  });
});
