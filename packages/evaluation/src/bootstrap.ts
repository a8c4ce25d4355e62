/**
 * How sure a mean over problems is, and the difference of two systems over the same problems: percentile bootstrap.
 *
 * Efron 1979 (https://doi.org/10.1214/aos/1176344552); Efron and Tibshirani 1993, chapters 13 and 16. What is drawn
 * again is the problem, with all its samples: samples of one problem are not independent, problems are. Seeded, so a
 * report can be made again to the last digit. Not bias-corrected: means of bounded values hardly need it from some 30
 * problems on, and where all values are equal any bootstrap's interval is empty (use `wilson` for such rates).
 */
import { check, Random } from '@minke/core';
import type { Rate } from './intervals.ts';

/** How to draw. */
export interface BootstrapOptions {
  /** Default 0. */
  readonly seed?: number;
  /** Resamples. Default 2,000. */
  readonly resamples?: number;
  /** Coverage of the interval. Default 0.95. */
  readonly level?: number;
}

/** A difference between two systems over the same problems. */
export interface Difference extends Rate {
  /** Problems in both. */
  readonly n: number;
  /**
   * Two-sided p-value against no difference: the share of resamples, centred on 0, that are at least as far from 0
   * as the difference is; (b + 1) / (resamples + 1), so never 0.
   */
  readonly p: number;
}

function settings(where: string, options: BootstrapOptions) {
  const { seed = 0, resamples = 2000, level = 0.95 } = options;
  check(
    Number.isSafeInteger(resamples) && resamples >= 1 && level > 0 && level < 1,
    () => `${where}: expected resamples >= 1 and 0 < level < 1, got ${resamples} and ${level}`,
  );
  return { seed, resamples, level };
}

function checkFinite(where: string, values: ArrayLike<number>): void {
  for (let i = 0; i < values.length; i++)
    check(
      Number.isFinite(values[i]),
      () => `${where}: expected finite values, got ${values[i]} at ${i}; leave out what could not be judged`,
    );
}

/** Means of resampled values, ascending. */
function resampledMeans(values: ArrayLike<number>, seed: number, resamples: number): Float64Array {
  const random = new Random(seed);
  const n = values.length;
  const means = new Float64Array(resamples);
  for (let r = 0; r < resamples; r++) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += values[random.integer(0, n)] as number;
    means[r] = sum / n;
  }
  return means.sort();
}

/** Sums of `above` over sums of `below`, the same ones drawn for both, ascending. */
function resampledRatios(
  above: ArrayLike<number>,
  below: ArrayLike<number>,
  seed: number,
  resamples: number,
): Float64Array {
  const random = new Random(seed);
  const n = above.length;
  const ratios = new Float64Array(resamples);
  for (let r = 0; r < resamples; r++) {
    let [over, under] = [0, 0];
    for (let i = 0; i < n; i++) {
      const drawn = random.integer(0, n);
      over += above[drawn] as number;
      under += below[drawn] as number;
    }
    ratios[r] = over / under;
  }
  return ratios.sort();
}

/** The q-quantile of ascending values, linear between them (numpy's default). */
export function quantile(ascending: ArrayLike<number>, q: number): number {
  const at = q * (ascending.length - 1);
  const below = Math.floor(at);
  const low = ascending[below] as number;
  return low + (at - below) * ((ascending[Math.min(below + 1, ascending.length - 1)] as number) - low);
}

const mean = (values: ArrayLike<number>) => {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] as number;
  return sum / values.length;
};

/**
 * The mean with its percentile interval. Without values the mean is NaN and the interval unbounded.
 *
 * @param values one number a problem, for example its share of right samples
 * @example
 * bootstrapMean([1, 0.5, 0, 1, 0.25], { seed: 1 });
 */
export function bootstrapMean(values: ArrayLike<number>, options: BootstrapOptions = {}): Rate {
  const { seed, resamples, level } = settings('bootstrapMean', options);
  checkFinite('bootstrapMean', values);
  if (values.length === 0)
    return { value: Number.NaN, low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
  const means = resampledMeans(values, seed, resamples);
  return {
    value: mean(values),
    low: quantile(means, (1 - level) / 2),
    high: quantile(means, (1 + level) / 2),
  };
}

/**
 * The mean of b - a with its interval, problems drawn in pairs: what both find hard cancels, so the interval is
 * narrower than those of the two systems suggest.
 *
 * @param a values of the first system, one a problem
 * @param b values of the second system for the same problems in the same order
 * @throws MinkeError `invalid-argument` for different counts, no problems, or values that are no numbers
 */
export function pairedBootstrap(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  options: BootstrapOptions = {},
): Difference {
  const { seed, resamples, level } = settings('pairedBootstrap', options);
  check(
    a.length === b.length && a.length > 0,
    () =>
      `pairedBootstrap: expected the same problems for both, got ${a.length} and ${b.length}; match them by id`,
  );
  checkFinite('pairedBootstrap', a);
  checkFinite('pairedBootstrap', b);
  const differences = Float64Array.from(b, (value, i) => value - (a[i] as number));
  const value = mean(differences);
  const means = resampledMeans(differences, seed, resamples);
  // Sums of one resample and of the whole differ in their last bits where they are equal in truth.
  const far = means.filter((sample) => Math.abs(sample - value) >= Math.abs(value) - 1e-12).length;
  return {
    value,
    low: quantile(means, (1 - level) / 2),
    high: quantile(means, (1 + level) / 2),
    n: a.length,
    p: (far + 1) / (resamples + 1),
  };
}

/**
 * The sum of `above` over the sum of `below` with its interval: what is drawn again is the pair, such as a document with
 * its bits and its bytes.
 *
 * @param below positive
 * @throws MinkeError `invalid-argument` for different counts, none, values that are no numbers or `below` of 0 and less
 * @example
 * bootstrapRatio([810, 95], [400, 52]); // 905 / 452 bits a byte
 */
export function bootstrapRatio(
  above: ArrayLike<number>,
  below: ArrayLike<number>,
  options: BootstrapOptions = {},
): Rate {
  const { seed, resamples, level } = settings('bootstrapRatio', options);
  checkRatio('bootstrapRatio', above, below);
  const ratios = resampledRatios(above, below, seed, resamples);
  return {
    value: mean(above) / mean(below),
    low: quantile(ratios, (1 - level) / 2),
    high: quantile(ratios, (1 + level) / 2),
  };
}

/**
 * The ratio of b to `below` minus that of a, with its interval, drawn in triples: `pairedBootstrap` for sums.
 *
 * @throws MinkeError `invalid-argument` as `bootstrapRatio` does
 */
export function pairedRatios(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  below: ArrayLike<number>,
  options: BootstrapOptions = {},
): Difference {
  const { seed, resamples, level } = settings('pairedRatios', options);
  checkRatio('pairedRatios', a, below);
  checkRatio('pairedRatios', b, below);
  const differences = Float64Array.from(b, (value, i) => value - (a[i] as number));
  const value = mean(differences) / mean(below);
  const ratios = resampledRatios(differences, below, seed, resamples);
  const far = ratios.filter((sample) => Math.abs(sample - value) >= Math.abs(value) - 1e-12).length;
  return {
    value,
    low: quantile(ratios, (1 - level) / 2),
    high: quantile(ratios, (1 + level) / 2),
    n: below.length,
    p: (far + 1) / (resamples + 1),
  };
}

function checkRatio(where: string, above: ArrayLike<number>, below: ArrayLike<number>): void {
  check(
    above.length === below.length && above.length > 0,
    () =>
      `${where}: expected as many values above as below and one or more, got ${above.length} and ${below.length}`,
  );
  checkFinite(where, above);
  checkFinite(where, below);
  const bad = Array.from(below).find((value) => value <= 0);
  check(bad === undefined, () => `${where}: expected values above 0 to divide by, got ${bad}`);
}
