/**
 * What a row of the op table says, and the words its shape rules are written in.
 *
 * A rule takes input shapes and attributes and gives output shapes; where something does not fit it throws a plain
 * string that says what was expected, and the caller adds the op and what came (`op-calls.ts`).
 */
import { type DType, type Shape, sameShape } from '../dtype.ts';

/** A tensor of a row. */
export interface Slot {
  readonly name: string;
  /** One storage type, some, or any; of an output that may have several, `to` or the first input says which. */
  readonly dtype: DType | readonly DType[] | 'any';
  /** Allowed ranks, inclusive. */
  readonly rank: readonly [number, number];
  /** Read and written in place. */
  readonly inout?: true;
}

/** What an attribute may be: a number, or one of some words (encoded as their index). */
export type AttributeKind = 'int' | 'float' | readonly string[];

/** A row: one operation. */
export interface OpRow {
  /** One line of mathematics. */
  readonly doc: string;
  readonly inputs: readonly Slot[];
  readonly outputs: readonly Slot[];
  readonly attributes: Readonly<Record<string, AttributeKind>>;
  /** Output shapes from input shapes; throws a plain string naming what does not fit. */
  readonly shapes: (inputs: readonly Shape[], attributes: Readonly<Record<string, number>>) => Shape[];
}

const any = [0, 4] as const;

/** A slot of f32, of any rank unless given. */
export const f32 = (name: string, rank: number | readonly [number, number] = any): Slot => ({
  name,
  dtype: 'f32',
  rank: typeof rank === 'number' ? [rank, rank] : rank,
});
/** A slot of i32. */
export const i32 = (name: string, rank: number | readonly [number, number] = any): Slot => ({
  ...f32(name, rank),
  dtype: 'i32',
});
/** A slot of bf16. */
export const bf16 = (name: string, rank: number | readonly [number, number]): Slot => ({
  ...f32(name, rank),
  dtype: 'bf16',
});
/** A slot of i8. */
export const i8 = (name: string, rank: number | readonly [number, number]): Slot => ({
  ...f32(name, rank),
  dtype: 'i8',
});
/** A slot of one of some storage types. */
export const anyOf = (
  name: string,
  types: readonly DType[],
  rank: number | readonly [number, number],
): Slot => ({
  ...f32(name, rank),
  dtype: types,
});
/** The slot, read and written in place. */
export const inout = (slot: Slot): Slot => ({ ...slot, inout: true });
/** A slot of any storage type and rank. */
export const anyType = (name: string): Slot => ({ name, dtype: 'any', rank: any });

/** Size of the last axis. */
export const last = (shape: Shape): number => shape[shape.length - 1] ?? 1;

/** Throws what was expected. */
export function expect(condition: boolean, message: string): void {
  if (!condition) throw message;
}

/** Size of an axis that the slot's rank guarantees. */
export const at = (shape: Shape, axis: number): number => shape[axis] as number;
/** The shape with another size on one axis. */
export const replaceAt = (shape: Shape, axis: number, size: number): Shape =>
  shape.map((s, i) => (i === axis ? size : s));

/** The axis of an attribute, checked. */
export function axisOf(shape: Shape, axis: number): number {
  expect(Number.isInteger(axis) && axis >= 0 && axis < shape.length, `axis ${axis} in rank ${shape.length}`);
  return axis;
}

/** Expects equal shapes. */
export const allSame = (shapes: readonly Shape[], names: string): void =>
  expect(
    shapes.every((shape) => sameShape(shape, shapes[0] as Shape)),
    `${names} of one shape`,
  );
