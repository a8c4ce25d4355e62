/**
 * What optimisers share: the checks of their parameters, the global norm of gradients and clipping by it, clearing
 * of gradients, and state by parameter name.
 *
 * Clearing writes nothing: a cleared gradient is zero to everybody who reads it or adds to it, and a product that
 * would be the first to add writes instead, which saves two passes over every weight in a step.
 */
import { check, MinkeError } from '@minke/core';
import type { Arena } from './arena.ts';
import { call } from './call.ts';
import { affine, clamp, mul, reciprocal, sqrt, square } from './elementwise.ts';
import { sum } from './reductions.ts';
import type { Tensor } from './tensor.ts';

/** Throws unless every tensor is a parameter itself. */
export function checkParameters(where: string, parameters: ReadonlyMap<string, Tensor>): void {
  for (const [name, p] of parameters)
    check(
      p.leaf?.root === p,
      () => `${where}: expected parameters, got "${name}", which is none; make it with arena.parameter`,
    );
}

/** The squared norm of all gradients there are, [1]. */
export function squaredNorm(arena: Arena, parameters: Iterable<Tensor>): Tensor {
  const total = arena.zeros([1]);
  for (const { grad } of parameters) if (grad) addSumOfSquares(arena, grad, total);
  return total;
}

/** into += the squared norm of x */
function addSumOfSquares(arena: Arena, x: Tensor, into: Tensor): void {
  if (arena.backend.supports('sumSquares')) {
    call('sumSquares', [x, into], {}, arena);
    return;
  }
  arena.scope(() => {
    call('accumulate', [sum(square(arena.adopt(x))), into], { scale: 1 });
  });
}

/** `grad` scaled as `torch.nn.utils.clip_grad_norm_` does, in `arena`; 0 does not clip. */
export function clipped(arena: Arena, grad: Tensor, normSquared: Tensor, maxNorm: number): Tensor {
  const g = arena.adopt(grad);
  if (maxNorm === 0) return g;
  return mul(g, clamp(affine(reciprocal(affine(sqrt(normSquared), 1, 1e-6)), maxNorm, 0), 0, 1));
}

/** Makes every gradient zero; commands it needs later are recorded in `arena`. */
export function clearGradients(arena: Arena, parameters: Iterable<Tensor>): void {
  for (const { leaf } of parameters) if (leaf?.grad) leaf.cleared = arena;
}

/** Writes saved numbers into state tensors. Throws `invalid-argument` listing names that are missing or too many. */
export function restoreStates<K extends string>(
  where: string,
  own: ReadonlyMap<string, Readonly<Record<K, Tensor>>>,
  saved: ReadonlyMap<string, Readonly<Record<K, ArrayLike<number>>>>,
): void {
  const missing = [...own.keys()].filter((name) => !saved.has(name));
  const unknown = [...saved.keys()].filter((name) => !own.has(name));
  if (missing.length + unknown.length > 0)
    throw new MinkeError(
      'invalid-argument',
      `${where}.restore: expected the moments of this model, got ${missing.length} missing (${missing.join(', ')}) and ${unknown.length} unknown (${unknown.join(', ')})`,
    );
  for (const [name, tensors] of own) {
    const numbers = saved.get(name)!;
    for (const key of Object.keys(tensors) as K[]) tensors[key].write(numbers[key]);
  }
}
