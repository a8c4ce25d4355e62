/**
 * What a policy update did, under TRL's names, from host numbers of the whole step in float64.
 *
 * `clip_ratio/*` are shares of tokens (of sequences where the ratio is a sequence's): low where A < 0 and the ratio is below its bound, high where A > 0 and it is
 * above (low_min and high_max: of a sequence). `sampling/*` compare the trainer with the engine that sampled.
 * Ours beside TRL's: `ratio/{min,mean,max}`, and `approx_kl`, the mean of lo - l (verl: `actor/ppo_kl`).
 */
import { check } from '@minke/core';
import { type KlEstimator, klValue, MAX_LOG_RATIO } from './kl.ts';
import type { PolicyLoss } from './policy-losses.ts';
import type { RatioLevel } from './ratio.ts';
import { meanOf } from './statistics.ts';

/** Packed tokens of the whole step, N numbers each. */
export interface StepRecord {
  readonly lengths: readonly number[];
  readonly logProbs: ArrayLike<number>;
  readonly oldLogProbs: ArrayLike<number>;
  readonly advantages: ArrayLike<number>;
  readonly refLogProbs?: ArrayLike<number> | undefined;
  readonly samplingLogProbs?: ArrayLike<number> | undefined;
  readonly entropies?: ArrayLike<number> | undefined;
}

export type StepMetrics = Readonly<Record<string, number>>;

/** Metrics of a step; those whose numbers are missing or whose loss does not clip are left out. */
export function stepMetrics(record: StepRecord, loss: PolicyLoss, kl: KlEstimator = 'k3'): StepMetrics {
  const { lengths, logProbs, oldLogProbs, refLogProbs, samplingLogProbs, entropies } = record;
  const tokens = lengths.reduce((sum, n) => sum + n, 0);
  for (const [name, values] of Object.entries(record)) {
    check(
      name === 'lengths' || values === undefined || values.length === tokens,
      () => `stepMetrics: expected ${tokens} numbers in ${name}, got ${values?.length}`,
    );
  }
  const each = (f: (t: number) => number): number[] => Array.from({ length: tokens }, (_, t) => f(t));
  const difference = each((t) => at(logProbs, t) - at(oldLogProbs, t));
  const ratios = sampleRatios(difference, lengths, 'ratio' in loss ? loss.ratio : 'token');
  const metrics: Record<string, number> = {
    approx_kl: 0 - meanOf(difference),
    'ratio/min': least(ratios),
    'ratio/mean': meanOf(ratios),
    'ratio/max': most(ratios),
    ...clipMetrics(record, loss, ratios, difference),
  };
  if (entropies !== undefined) metrics.entropy = meanOf(Array.from(entropies));
  if (refLogProbs !== undefined)
    metrics.kl = meanOf(each((t) => klValue(at(logProbs, t), at(refLogProbs, t), kl)));
  if (samplingLogProbs !== undefined) {
    const gap = each((t) => Math.abs(at(oldLogProbs, t) - at(samplingLogProbs, t)));
    const weights = each((t) => Math.exp(at(oldLogProbs, t) - at(samplingLogProbs, t)));
    metrics['sampling/sampling_logp_difference/mean'] = meanOf(gap);
    metrics['sampling/sampling_logp_difference/max'] = tokens === 0 ? 0 : most(gap);
    metrics['sampling/importance_sampling_ratio/min'] = least(weights);
    metrics['sampling/importance_sampling_ratio/mean'] = meanOf(weights);
    metrics['sampling/importance_sampling_ratio/max'] = most(weights);
  }
  return metrics;
}

function clipMetrics(
  { lengths, advantages }: StepRecord,
  loss: PolicyLoss,
  ratios: readonly number[],
  difference: readonly number[],
): Record<string, number> {
  const share = (f: (t: number) => boolean) => ratios.map((_, t) => (f(t) ? 1 : 0));
  // A ratio of whole sequences counts once for each, as in TRL.
  const whole = 'ratio' in loss && loss.ratio !== 'token';
  const mean = (values: readonly number[]) => meanOf(whole ? sequenceMeans(values, lengths) : values);
  if (loss.name === 'cispo') {
    const clipped = share((t) => at(ratios, t) > loss.ratioMax && at(advantages, t) > 0);
    return { cispo_clip_ratio: mean(clipped) };
  }
  if (loss.name !== 'clip' && loss.name !== 'gmpo') return {};
  // TRL measures the ratio that delta has capped already; that only acts above the upper bound, so nothing changes.
  const [value, low, high] =
    loss.name === 'gmpo'
      ? [difference, -loss.epsilonLow, loss.epsilonHigh]
      : [ratios, 1 - loss.epsilonLow, 1 + loss.epsilonHigh];
  const lows = share((t) => at(value, t) < low && at(advantages, t) < 0);
  const highs = share((t) => at(value, t) > high && at(advantages, t) > 0);
  return {
    'clip_ratio/low_mean': mean(lows),
    'clip_ratio/low_min': least(sequenceMeans(lows, lengths)),
    'clip_ratio/high_mean': mean(highs),
    'clip_ratio/high_max': most(sequenceMeans(highs, lengths)),
    'clip_ratio/region_mean': mean(lows) + mean(highs),
  };
}

/** The ratio of each token at the level of the loss, from l - lo. */
function sampleRatios(
  difference: readonly number[],
  lengths: readonly number[],
  level: RatioLevel,
): number[] {
  const ratio = (x: number) => Math.exp(Math.min(Math.max(x, -MAX_LOG_RATIO), MAX_LOG_RATIO));
  if (level === 'token') return difference.map(ratio);
  const values: number[] = [];
  for (const part of split(difference, lengths)) {
    const sum = part.reduce((a, b) => a + b, 0);
    values.push(...part.map(() => ratio(level === 'sequence-product' ? sum : sum / part.length)));
  }
  return values;
}

const sequenceMeans = (values: readonly number[], lengths: readonly number[]): number[] =>
  split(values, lengths)
    .filter(({ length }) => length > 0)
    .map(meanOf);

function split(values: readonly number[], lengths: readonly number[]): number[][] {
  let start = 0;
  return lengths.map((n) => values.slice(start, (start += n)));
}

const at = (values: ArrayLike<number>, i: number): number => values[i] as number;
const least = (values: readonly number[]): number => values.reduce((a, b) => Math.min(a, b), Infinity);
const most = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b), -Infinity);
