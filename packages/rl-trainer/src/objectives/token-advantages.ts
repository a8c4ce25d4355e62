/**
 * Advantages that differ from token to token, on the host in float64: REINFORCE++ and generalised advantage estimation.
 *
 * Rewards of tokens: R on the last one, minus beta k1 on each (k1 = l - lref of the policy that sampled). Token
 * arrays are packed, sequence after sequence.
 *
 * reinforce++   discounted return, whitened over the batch, https://arxiv.org/abs/2501.03262
 * gae           delta_t = r_t + gamma V_(t+1) - V_t, A_t = sum_k (gamma lambda)^k delta_(t+k), whitened over the batch;
 *               returns A + V before whitening. https://arxiv.org/abs/1506.02438, equation 16; for language models
 *               gamma 1 and lambda 1 or 0.95.
 */
import { check } from '@minke/core';
import { whitened } from './advantages.ts';
import type { Score } from './statistics.ts';

/**
 * Reward of each token. A sample without score (null) gets the penalty only.
 * @param rewards one a sample; @param lengths its tokens
 * @param kl log-probabilities of the sampling policy and the reference, [N], and the weight beta
 */
export function tokenRewards(
  rewards: readonly Score[],
  lengths: readonly number[],
  kl?: {
    readonly beta: number;
    readonly logProbs: ArrayLike<number>;
    readonly refLogProbs: ArrayLike<number>;
  },
): Float64Array {
  const tokens = lengths.reduce((sum, n) => sum + n, 0);
  check(
    rewards.length === lengths.length,
    () => `tokenRewards: expected a reward for each of ${lengths.length} samples, got ${rewards.length}`,
  );
  const result = new Float64Array(tokens);
  if (kl !== undefined && kl.beta !== 0) {
    check(
      kl.logProbs.length === tokens && kl.refLogProbs.length === tokens,
      () =>
        `tokenRewards: expected ${tokens} log-probabilities, got ${kl.logProbs.length} and ${kl.refLogProbs.length}`,
    );
    for (let t = 0; t < tokens; t++)
      result[t] = -kl.beta * ((kl.logProbs[t] as number) - (kl.refLogProbs[t] as number));
  }
  let end = 0;
  lengths.forEach((n, i) => {
    end += n;
    if (n > 0) result[end - 1] = (result[end - 1] as number) + (rewards[i] ?? 0);
  });
  return result;
}

/**
 * R - beta sum_t k1: the reward of a whole sample with the KL inside, as RLOO has it.
 * Parameters as for `tokenRewards`.
 */
export function penalizedRewards(
  rewards: readonly Score[],
  lengths: readonly number[],
  kl: {
    readonly beta: number;
    readonly logProbs: ArrayLike<number>;
    readonly refLogProbs: ArrayLike<number>;
  },
): Score[] {
  const perToken = tokenRewards(rewards, lengths, kl);
  let start = 0;
  return lengths.map((n, i) => {
    const sum = perToken.subarray(start, start + n).reduce((total, r) => total + r, 0);
    start += n;
    const reward = rewards[i] as Score;
    return reward === null ? null : n > 0 ? sum : reward;
  });
}

/** REINFORCE++: [N] from rewards of tokens [N]; tokens of samples without score are left out and get 0. */
export function reinforcePlusPlus(
  rewards: Float64Array,
  lengths: readonly number[],
  { gamma, scored }: { readonly gamma: number; readonly scored?: readonly boolean[] },
): Float64Array {
  const returns = new Float64Array(rewards.length);
  backwards(lengths, (t, last) => {
    returns[t] = (rewards[t] as number) + (last ? 0 : gamma * (returns[t + 1] as number));
  });
  return whitened(returns, tokenWeights(lengths, scored));
}

export interface GaeResult {
  /** Whitened, [N]. */
  readonly advantages: Float64Array;
  /** Targets of the value function, [N]. */
  readonly returns: Float64Array;
}

/** Generalised advantage estimation from rewards and values of tokens, [N] each. V after the last token is 0. */
export function gae(
  rewards: Float64Array,
  values: ArrayLike<number>,
  lengths: readonly number[],
  {
    gamma,
    lambda,
    scored,
  }: { readonly gamma: number; readonly lambda: number; readonly scored?: readonly boolean[] },
): GaeResult {
  check(
    values.length === rewards.length,
    () => `gae: expected ${rewards.length} values, got ${values.length}`,
  );
  const advantages = new Float64Array(rewards.length);
  backwards(lengths, (t, last) => {
    const next = last ? 0 : (values[t + 1] as number);
    const delta = (rewards[t] as number) + gamma * next - (values[t] as number);
    advantages[t] = delta + (last ? 0 : gamma * lambda * (advantages[t + 1] as number));
  });
  const returns = advantages.map((a, t) => a + (values[t] as number));
  return { advantages: whitened(advantages, tokenWeights(lengths, scored)), returns };
}

/** Calls `visit` for each packed token, every sequence from its last token to its first. */
function backwards(lengths: readonly number[], visit: (token: number, last: boolean) => void): void {
  let start = 0;
  for (const n of lengths) {
    for (let t = start + n - 1; t >= start; t--) visit(t, t === start + n - 1);
    start += n;
  }
}

const tokenWeights = (lengths: readonly number[], scored?: readonly boolean[]): number[] | undefined =>
  scored && lengths.flatMap((n, i) => new Array<number>(n).fill(scored[i] ? 1 : 0));
