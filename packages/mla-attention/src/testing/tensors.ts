/** Helpers of this package's tests. */
import { type Backend, type OpName, Random } from '@minke/core';
import type { Arena, Tensor } from '@minke/tensor';

/** The same backend, but for ops it says it lacks: what runs is then their composed form. */
export function withoutOps(backend: Backend, ...lacking: OpName[]): Backend {
  return new Proxy(backend, {
    get(target, key) {
      if (key === 'supports') return (op: OpName) => !lacking.includes(op) && target.supports(op);
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

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
