/** What a WebGPU kernel is: a function from the tensors and attributes of a call to dispatches. */
import type { Attributes, DType, OpName, opTable, Shape } from '@minke/core';
import type { Dispatcher, View } from './dispatcher.ts';

/** A tensor of a call. As a view its unit is one element, or one byte for types other than f32, i32, bf16, f16. */
export interface Tensor extends View {
  readonly dtype: DType;
  readonly shape: Shape;
  /** Elements. */
  readonly count: number;
}

type Each<Slots extends readonly unknown[]> = { readonly [I in keyof Slots]: Tensor };

/** The tensors of one call of `O`: its row's inputs, then its outputs. */
type Call<O extends OpName> = readonly [
  ...Each<(typeof opTable)[O]['inputs']>,
  ...Each<(typeof opTable)[O]['outputs']>,
];

/**
 * Ops without a WGSL kernel: fused ones that take more buffers than a device offers or run on the host, packed
 * and bf16 products and those with quantised weights and rounded caches, which are for CPUs so far. All but the last
 * have composed forms.
 */
export const composedOps = [
  'blend',
  'muonDirection',
  'sample',
  'prefixedAttention',
  'route',
  'routeGrad',
  'moeFeedForward',
  'moeFeedForwardGrad',
  'moeFeedForwardGradWeight',
  'moeFeedForwardPacked',
  'matmulBf16',
  'packWeight',
  'packWeightBf16',
  'matmulPacked',
  'matmulPackedBf16',
  'groupedMatmulBf16',
  'groupedMatmulPacked',
  'groupedMatmulPackedBf16',
  'quantize',
  'packQuantized',
  'quantizeRows',
  'matmulQuantized',
  'groupedMatmulQuantized',
  'gatherRowsQuantized',
  'expandedAttention',
  'storeRounded',
  'attentionRounded',
  'latentAttentionRounded',
  'absorbQueryQuantized',
  'absorbOutputQuantized',
  'moeFeedForwardQuantized',
] as const satisfies readonly OpName[];

/** One function per op. */
export type Kernels = {
  readonly [O in Exclude<OpName, (typeof composedOps)[number]>]: (
    dispatcher: Dispatcher,
    tensors: Call<O>,
    attributes: Attributes<O>,
  ) => void;
};

/** Product of the axes before `axis`, its size, and the product of those after it. */
export function around(shape: Shape, axis: number): [outer: number, size: number, inner: number] {
  const product = (sizes: Shape) => sizes.reduce((a, b) => a * b, 1);
  return [product(shape.slice(0, axis)), shape[axis]!, product(shape.slice(axis + 1))];
}

/** Rows and width of a tensor as a matrix of its last axis. */
export function rowsOf(tensor: Tensor): [rows: number, width: number] {
  const width = tensor.shape[tensor.shape.length - 1] ?? 1;
  return [width === 0 ? 0 : tensor.count / width, width];
}

/** The same memory in bytes. */
export function bytesOf({ block, at, length, unit }: View): View {
  return { block, at: at * unit, length: length * unit, unit: 1 };
}
