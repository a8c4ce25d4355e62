/**
 * The op table: every operation a backend may implement, with its tensors, attributes and shape rule. The rows stand
 * in `ops/`, by subject; their order here gives the codes of encoded lists.
 *
 * Nothing registers at run time. Dimension letters: N rows (flattened tokens), M key rows, H heads,
 * D width, E experts, K experts per token, R sorted expert rows (N x K), V vocabulary, C last axis.
 *
 * Rules that hold for every op: tensors are contiguous; arithmetic is f32; sums run in a fixed order
 * whatever the thread count; outputs never alias inputs unless a slot says `inout`; empty tensors are
 * valid. Index data is not trusted: an index outside its range reads as zeros and is skipped on writes.
 */
import { attentionOps } from './ops/attention.ts';
import { elementwiseOps } from './ops/elementwise.ts';
import { expertFeedForwardOps } from './ops/expert-feed-forward.ts';
import { expertOps } from './ops/experts.ts';
import { fusedOps } from './ops/fused.ts';
import { linearAlgebraOps } from './ops/linear-algebra.ts';
import { memoryOps } from './ops/memory.ts';
import type { OpRow } from './ops/op-row.ts';
import { quantizedOps } from './ops/quantized.ts';
import { recurrenceOps } from './ops/recurrences.ts';
import { reductionOps } from './ops/reductions.ts';

export { broadcastDivisor } from './ops/elementwise.ts';

/** Every op by name. */
export const opTable = {
  ...memoryOps,
  ...elementwiseOps,
  ...reductionOps,
  ...linearAlgebraOps,
  ...fusedOps,
  ...attentionOps,
  ...expertOps,
  ...expertFeedForwardOps,
  ...recurrenceOps,
  ...quantizedOps,
} as const satisfies Readonly<Record<string, OpRow>>;

export type OpName = keyof typeof opTable;

type AttributeValue<A> = A extends 'int' | 'float' ? number : A extends readonly (infer S)[] ? S : never;

/** An op's attributes by name, enumerations as their words. */
export type Attributes<O extends OpName> = {
  readonly [A in keyof (typeof opTable)[O]['attributes']]: AttributeValue<
    (typeof opTable)[O]['attributes'][A]
  >;
};

/** All op names in table order; the index is the op's code in encoded lists. */
export const opNames = Object.keys(opTable) as readonly OpName[];

/** The table row of an op, without its literal types. */
export function opRow(op: OpName): OpRow {
  return opTable[op];
}
