/** Who sees whom in a stretch of one sequence, as numbers to add to scores. */
import { type Arena, call, type Tensor } from '@minke/tensor';

/** Tokens `context` .. `context + count` see themselves and what is before them: [count, context + count]. */
export function causalMask(arena: Arena, context: number, count: number): Tensor {
  const numbers = Array.from({ length: count }, (_, i) => [0, context + i + 1]).flat();
  const size = context + count;
  return call('rangeMask', [arena.tensor(numbers, [count, 2], 'i32')], { size })[0] as Tensor;
}
