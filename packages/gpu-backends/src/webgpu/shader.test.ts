/** What holds of the kernels' text without a device; on a device they are tested by tools/webgpu. */
import { opNames } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { composedOps } from './kernel.ts';
import { reads, shader, writes } from './shader.ts';
import { WebgpuBackend } from './webgpu-backend.ts';

describe('a WebGPU kernel', () => {
  it('gets its buffers as bindings and where its tensors begin as parameters', () => {
    const { code } = shader(
      'double',
      { x: reads(), y: writes('i32') },
      { n: 'u32', scale: 'f32' },
      'y[y_at] = i32(x[x_at]);',
    );
    expect(code).toContain('@binding(1) var<storage, read> x: array<f32>;');
    expect(code).toContain('@binding(2) var<storage, read_write> y: array<i32>;');
    expect(code).toContain('{ inf_bits: u32, x_at: u32, y_at: u32, n: u32, scale: f32 }');
  });

  it('has no more buffers and parameters than every device offers', () => {
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`b${i}`, reads()]));
    expect(() => shader('eight', many(8), {}, '')).not.toThrow();
    expect(() => shader('nine', many(9), {}, '')).toThrow('nine: expected at most 8 buffers');
    const numbers = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`p${i}`, 'u32' as const]));
    expect(() => shader('long', {}, numbers, '')).toThrow('64 parameters');
  });
});

it('every op has a WebGPU kernel, or a composed form', () => {
  const { supports } = WebgpuBackend.prototype;
  expect(opNames.filter((op) => !supports(op)).sort()).toEqual([...composedOps].sort());
});
