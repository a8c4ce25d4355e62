/** Helpers of this package's tests. */
import { Random } from '@minke/core';
import type { Arena, Tensor } from '@minke/tensor';

/** Standard normals, seeded. */
export function normals(count: number, seed: number): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => random.normal());
}

/** A tensor of seeded standard normals. */
export function randomTensor(arena: Arena, shape: readonly number[], seed: number): Tensor {
  return arena.tensor(
    normals(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
    shape,
  );
}

/** Largest absolute difference of two lists of numbers; Infinity when their lengths differ. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] as number) - (b[i] as number));
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return worst;
}
