/**
 * What the critic knew of a rollout and what an update did to it, under verl's names, from host numbers of the tokens
 * that count, in float64.
 *
 * `critic/vf_explained_var` is 1 - var(R - V) / (var(R) + 1e-5), both with Bessel's correction: 1 for a critic that
 * knows every return, 0 for one that knows their mean, below 0 for one that is worse than none.
 */
import { meanOf, stdOf } from './statistics.ts';

/** Packed tokens, N numbers each. */
export interface ValueRecord {
  /** At the rollout. */
  readonly values: readonly number[];
  readonly returns: readonly number[];
}

/** Of a whole rollout: `critic/{values,returns,advantages}/{mean,max,min}` and `critic/vf_explained_var`. */
export function valueMetrics({
  values,
  returns,
  advantages,
}: ValueRecord & { readonly advantages: readonly number[] }): Record<string, number> {
  const left = returns.map((r, t) => r - (values[t] as number));
  return {
    ...spread('values', values),
    ...spread('returns', returns),
    ...spread('advantages', advantages),
    'critic/vf_explained_var': 1 - stdOf(left) ** 2 / (stdOf(returns) ** 2 + 1e-5),
  };
}

/**
 * Of an update: `critic/vpred_mean`, and `critic/vf_clipfrac`, the share of tokens where the clipped loss is the larger.
 * @param predicted of the critic before the update; @param epsilon as in the loss, null for none
 */
export function valueLossMetrics(
  predicted: readonly number[],
  { values, returns }: ValueRecord,
  epsilon: number | null,
): Record<string, number> {
  const clipped = predicted.map((v, t) => {
    if (epsilon === null) return 0;
    const [old, r] = [values[t] as number, returns[t] as number];
    const cut = Math.min(Math.max(v, old - epsilon), old + epsilon);
    return (cut - r) ** 2 > (v - r) ** 2 ? 1 : 0;
  });
  return { 'critic/vpred_mean': meanOf(predicted), 'critic/vf_clipfrac': meanOf(clipped) };
}

const spread = (name: string, numbers: readonly number[]): Record<string, number> => ({
  [`critic/${name}/mean`]: meanOf(numbers),
  [`critic/${name}/max`]: numbers.reduce((a, b) => Math.max(a, b), -Infinity),
  [`critic/${name}/min`]: numbers.reduce((a, b) => Math.min(a, b), Infinity),
});
