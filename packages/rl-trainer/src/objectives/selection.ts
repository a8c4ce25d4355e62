/**
 * Comparisons as numbers, for losses that act on one side of a threshold or one sign of the advantage.
 */
import { add, affine, call, mul, type Tensor } from '@minke/tensor';

/** 1 where x > 0, else 0 (also for NaN). No gradient. */
export function isPositive(x: Tensor): Tensor {
  const { arena } = x;
  // The derivative of relu is exactly this indicator.
  const [indicator] = call('unaryGrad', [x.detach(), arena.full(x.shape, 1)], { kind: 'relu', a: 0, b: 0 });
  return indicator!;
}

/** 1 - x. */
export const complement = (x: Tensor): Tensor => affine(x, -1, 1);

/** a where the indicator is 1, b where it is 0; both finite. Gradients flow to the chosen one. */
export function choose(indicator: Tensor, a: Tensor | number, b: Tensor | number): Tensor {
  return add(mul(indicator, a), mul(complement(indicator), b));
}
