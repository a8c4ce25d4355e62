/**
 * Operands of products that are not plain f32: bf16 numbers, and weights packed as tiles of 32 columns
 * (layout: `packWeight` in core's op table).
 */
import { bfloat16ToFloat32, type DType, elementCount, float32ToBfloat16, type Shape } from '@minke/core';
import type { Tensor } from './kernel.ts';

const tileColumns = 32;
const smallestNormal = 2 ** -126;
const normal = (x: number): number => (Math.abs(x) < smallestNormal ? 0 : x);

const halves = (t: Tensor): Uint16Array => new Uint16Array(Uint8Array.from(t.data).buffer);

/** Numbers as a product with bf16 takes them: rounded to nearest even, below 2^-126 zero. */
export function bfloatOperand(t: Tensor): Tensor {
  const bits = t.dtype === 'bf16' ? halves(t) : float32ToBfloat16(Float32Array.from(t.data, normal));
  return { dtype: 'f32', shape: t.shape, data: bfloat16ToFloat32(bits).map(normal) };
}

/** Factors of products as the attribute `bfloat` has them: rounded to bf16, or as they are. */
export function operandsOf(bfloat: number): (t: Tensor) => Tensor {
  return bfloat ? bfloatOperand : (t) => t;
}

/** Where element [n, k] of w [N, K] lies among the elements of its packed form. */
function packedPosition(n: number, k: number, inner: number, dtype: DType): number {
  const pairs = dtype === 'bf16' ? 2 : 1;
  const tile = Math.floor(n / tileColumns) * Math.ceil(inner / pairs) + Math.floor(k / pairs);
  return (tile * tileColumns + (n % tileColumns)) * pairs + (k % pairs);
}

function forEachElement(
  w: Shape,
  dtype: DType,
  packedSize: number,
  move: (from: number, to: number) => void,
): void {
  const [rows, inner] = w.slice(-2) as [number, number];
  const count = w.length === 3 ? w[0]! : 1;
  for (let e = 0; e < count; e++)
    for (let n = 0; n < rows; n++)
      for (let k = 0; k < inner; k++)
        move((e * rows + n) * inner + k, (e * packedSize) / count + packedPosition(n, k, inner, dtype));
}

/** w [N, K] or [E, N, K] into its packed form. */
export function pack(w: Tensor, packed: Tensor): void {
  const bytes = w.dtype === 'bf16' ? 2 : 1;
  packed.data.fill(0);
  forEachElement(w.shape, w.dtype, elementCount(packed.shape), (from, to) => {
    for (let i = 0; i < bytes; i++) packed.data[to * bytes + i] = w.data[from * bytes + i]!;
  });
}

/** The weight [columns, inner] (or [E, columns, inner]) of its packed form, as a product takes it. */
export function unpack(packed: Tensor, columns: number, inner: number): Tensor {
  const shape = [...(packed.shape.length === 4 ? [packed.shape[0]!] : []), columns, inner];
  const source = packed.dtype === 'bf16' ? bfloatOperand(packed).data : packed.data;
  const data = new Float64Array(elementCount(shape));
  forEachElement(shape, packed.dtype, elementCount(packed.shape), (from, to) => {
    data[from] = source[to]!;
  });
  return { dtype: 'f32', shape, data };
}
