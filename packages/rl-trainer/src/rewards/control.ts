/**
 * A reward that knows nothing: the control that belongs beside every reward, since some base models improve even on
 * this (Spurious Rewards, https://arxiv.org/abs/2506.10947).
 */
import { check } from '@minke/core';
import type { Reward } from './reward.ts';

/**
 * 1 with the given probability whatever was written, else 0.
 *
 * @param random anything with `uniform()`, for example core's `Random`, whose state the caller saves with the run
 */
export function randomReward(random: { uniform(): number }, probability = 0.5): Reward {
  check(
    probability >= 0 && probability <= 1,
    () => `randomReward: expected a probability in [0, 1], got ${probability}`,
  );
  return (group) => group.map(() => (random.uniform() < probability ? 1 : 0));
}
