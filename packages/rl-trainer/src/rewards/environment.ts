/** The score that an environment gives its own episode, as a reward. */
import { MinkeError } from '@minke/core';
import { perCompletion, type Reward } from './reward.ts';

/**
 * The environment's `score()`; null where the environment failed or cannot judge.
 *
 * @throws MinkeError (when called) `invalid-config` without an environment
 * @example
 * const rewards = [{ name: 'accuracy', reward: environmentReward() }];
 */
export function environmentReward(): Reward {
  return perCompletion(({ episode }) => {
    if (episode === undefined)
      throw new MinkeError(
        'invalid-config',
        'environmentReward: expected episodes, got completions without an environment; give trainGrpo one',
      );
    return episode.score;
  });
}
