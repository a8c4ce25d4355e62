/**
 * How sure a measured rate is: Wilson's score interval, and the unbiased estimate of pass@k.
 *
 * Wilson 1927 (https://doi.org/10.1080/01621459.1927.10502953), without continuity correction: unlike the normal
 * interval it stays inside [0, 1] and is not empty at 0 of n or n of n. pass@k: Chen et al. 2021, section 2.1
 * (https://arxiv.org/abs/2107.03374), computed as a product, since the binomials overflow.
 */
import { check } from '@minke/core';

/** A rate with its two-sided interval; all in [0, 1]. */
export interface Rate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** The 0.975 quantile of the standard normal distribution. */
const z95 = 1.959963984540054;

/**
 * The share of successes with its Wilson 95 % interval. Without trials the value is NaN and the interval [0, 1].
 *
 * @example
 * wilson(90, 100); // { value: 0.9, low: 0.8256, high: 0.9448 }
 */
export function wilson(successes: number, trials: number, z = z95): Rate {
  check(
    Number.isSafeInteger(trials) && Number.isSafeInteger(successes) && successes >= 0 && successes <= trials,
    () => `wilson: expected integers 0 <= successes <= trials, got ${successes} of ${trials}; pass counts`,
  );
  if (trials === 0) return { value: Number.NaN, low: 0, high: 1 };
  const share = successes / trials;
  const z2 = (z * z) / trials;
  const centre = (share + z2 / 2) / (1 + z2);
  const half = (z / (1 + z2)) * Math.sqrt((share * (1 - share)) / trials + z2 / (4 * trials));
  // At the ends the exact bounds are 0 and 1; rounding must not move them.
  const low = successes === 0 ? 0 : centre - half;
  const high = successes === trials ? 1 : centre + half;
  return { value: share, low, high };
}

/**
 * The unbiased estimate of pass@k from `correct` of `samples` samples of one problem: 1 - C(n-c, k) / C(n, k).
 *
 * @example
 * passAtK(10, 3, 1); // 0.3
 */
export function passAtK(samples: number, correct: number, k: number): number {
  check(
    [samples, correct, k].every(Number.isSafeInteger) &&
      k >= 1 &&
      k <= samples &&
      correct >= 0 &&
      correct <= samples,
    () =>
      `passAtK: expected 1 <= k <= n and 0 <= c <= n, got n=${samples}, c=${correct}, k=${k}; pass counts`,
  );
  if (samples - correct < k) return 1;
  let allWrong = 1;
  for (let i = samples - correct + 1; i <= samples; i++) allWrong *= 1 - k / i;
  return 1 - allWrong;
}
