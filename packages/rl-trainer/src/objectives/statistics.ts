/**
 * Means and standard deviations that leave out what could not be scored, in float64.
 *
 * A score that is null counts nowhere. Standard deviations have Bessel's correction, as in TRL and PyTorch.
 */

export type Score = number | null;

/** The numbers among the scores. */
export const scored = (scores: readonly Score[]): number[] =>
  scores.filter((score): score is number => score !== null);

/** 0 of nothing. */
export const meanOf = (values: readonly number[]): number =>
  values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;

/** With Bessel's correction; 0 of fewer than two numbers, and exactly 0 of equal ones. */
export function stdOf(values: readonly number[]): number {
  if (allEqual(values)) return 0;
  const mean = meanOf(values);
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1));
}

/** Sums of rewards that are equal in exact arithmetic differ by less than this, relative to the largest. */
const ROUNDING = 1e-12;

/** Equal up to the rounding of sums; true also of one number and of none. */
export function allEqual(values: readonly number[]): boolean {
  const [low, high] = values.reduce(
    ([l, h], value) => [Math.min(l, value), Math.max(h, value)],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  );
  return !(high - low > ROUNDING * Math.max(Math.abs(high), Math.abs(low)));
}
