/**
 * Calling one op of the table on tensors, without gradient: what every differentiable function is made of,
 * and the way for other packages to reach their own ops.
 */
import { type Attributes, elementCount, formatShape, MinkeError, type OpName, type Shape } from '@minke/core';
import type { Arena } from './arena.ts';
import { Tensor } from './tensor.ts';

/** The arena of the result: that of the first non-persistent input; all others must agree. */
export function homeOf(where: string, inputs: readonly Tensor[]): Arena {
  let home: Arena | null = null;
  for (const { arena } of inputs) {
    if (arena.persistent) continue;
    if (home === null) home = arena;
    else if (arena !== home) {
      throw new MinkeError(
        'invalid-argument',
        `${where}: expected inputs of one arena, got "${home.label}" and "${arena.label}"; adopt one of them or read it`,
      );
    }
  }
  if (home === null) {
    throw new MinkeError(
      'invalid-argument',
      `${where}: expected an input of a step arena, got only persistent tensors; pass arena.adopt(tensor)`,
    );
  }
  return home;
}

/**
 * Runs one op of the table: checked against its row, recorded in the arena of its inputs, no gradient.
 * In-out tensors are inputs and are written in place.
 *
 * @param arena where the result lives, when it should not follow from the inputs.
 * @example
 * const [c] = call('matmul', [a, b], { transA: 0, transB: 1 });
 */
export function call<O extends OpName>(
  op: O,
  inputs: readonly Tensor[],
  attributes: Attributes<O>,
  arena?: Arena,
): Tensor[] {
  return (arena ?? homeOf(op, inputs)).run(op, inputs, attributes);
}

/** `call` for ops with one output. */
export function callOne<O extends OpName>(
  op: O,
  inputs: readonly Tensor[],
  attributes: Attributes<O>,
  arena?: Arena,
): Tensor {
  return call(op, inputs, attributes, arena)[0]!;
}

/** `t` under another shape for one call: holds no memory, needs no dispose. */
export function borrow(t: Tensor, shape: Shape, offset = 0): Tensor {
  const borrowed = new Tensor(t.arena, t.storage, shape, t.ref.offset + offset, false, t.generation);
  borrowed.disposed = t.disposed;
  return borrowed;
}

/** `t`, a fresh result, under another shape; `t` itself must not be used again. */
export function renamed(t: Tensor, shape: Shape): Tensor {
  const result = t.arena.view(t, shape, 0);
  t.dispose();
  return result;
}

/** [N, C] of [..., C]. */
export function flattened(t: Tensor): Tensor {
  if (t.shape.length === 2) return t;
  const width = t.shape.at(-1) ?? 1;
  return borrow(t, [width === 0 ? elementCount(t.shape.slice(0, -1)) : t.size / width, width]);
}

/** Checks an axis and returns it counted from the front; negative ones count from the back. */
export function resolveAxis(where: string, t: Tensor, axis: number): number {
  const resolved = axis < 0 ? axis + t.rank : axis;
  if (!Number.isInteger(resolved) || resolved < 0 || resolved >= t.rank)
    throw new MinkeError(
      'invalid-argument',
      `${where}: expected an axis of ${formatShape(t.shape)}, got ${axis}`,
    );
  return resolved;
}
