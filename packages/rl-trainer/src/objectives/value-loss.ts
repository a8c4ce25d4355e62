/**
 * The critic's loss of PPO: half the squared error, clipped around the value at the time of the rollout.
 *
 * 1/2 max((V - R)^2, (clip(V, V_old - epsilon, V_old + epsilon) - R)^2), as in the implementations that followed
 * https://arxiv.org/abs/1707.06347.
 */
import { add, affine, maximum, minimum, square, sub, type Tensor } from '@minke/tensor';

/**
 * Loss of each token, [N]; aggregate it as the policy's.
 * @param values of the critic, [N], differentiable; @param oldValues at the rollout; @param returns targets, both constant
 * @param epsilon how far a value may move with profit, at least 0; Infinity for plain squared error
 */
export function tokenValueLoss(
  values: Tensor,
  oldValues: Tensor,
  returns: Tensor,
  { epsilon }: { readonly epsilon: number },
): Tensor {
  const plain = square(sub(values, returns));
  if (epsilon === Number.POSITIVE_INFINITY) return affine(plain, 0.5, 0);
  const clipped = minimum(maximum(values, add(oldValues, -epsilon)), add(oldValues, epsilon));
  return affine(maximum(plain, square(sub(clipped, returns))), 0.5, 0);
}
