/**
 * YaRN: rotary frequencies for contexts longer than a model was trained on.
 *
 * Source: Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models", arXiv 2309.00071,
 * sections 3.2 and 3.4, as released with DeepSeek-V2 and V3: the ramp's upper bound is clamped to width - 1 (not
 * width / 2 - 1), and there are two temperature factors, one on cos and sin and one, squared, on the softmax
 * scale. Both hold at every length once YaRN is configured, short ones included.
 */

/** YaRN's settings, as in `rope_scaling` of a published config. */
export interface YarnConfig {
  /** Context extension s, for example 40. */
  readonly factor: number;
  /** Positions the unscaled model was trained on. */
  readonly originalMaxPositions: number;
  /** Rotations over the original context above which a frequency is kept. Published: 32. */
  readonly betaFast: number;
  /** Rotations below which a frequency is divided by the factor. Published: 1. */
  readonly betaSlow: number;
  /** Numerator of the multiplier on cos and sin. Without both mscales that is 0.1 ln s + 1. */
  readonly mscale?: number;
  /** Denominator of that multiplier, and, squared, the factor on the softmax scale. */
  readonly mscaleAllDim?: number;
  /** Overrides the multiplier on cos and sin. */
  readonly attentionFactor?: number;
}

/** The temperature m(s, a) = 0.1 a ln s + 1, or 1 when s <= 1. */
export function yarnMagnitude(factor: number, mscale = 1): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}

/** What cos and sin are multiplied by: 1 in every DeepSeek release, where both mscales are equal. */
export function yarnRotaryFactor(yarn: YarnConfig): number {
  if (yarn.attentionFactor !== undefined) return yarn.attentionFactor;
  if (!yarn.mscale || !yarn.mscaleAllDim) return yarnMagnitude(yarn.factor);
  return yarnMagnitude(yarn.factor, yarn.mscale) / yarnMagnitude(yarn.factor, yarn.mscaleAllDim);
}

/**
 * The softmax scale of heads of `width` query entries: width^-0.5, times m(s, mscaleAllDim)^2 under YaRN. It is
 * the same in the absorbed form, whatever the width of the cached rows.
 *
 * @example
 * attentionScale(192, { factor: 40, originalMaxPositions: 4096, betaFast: 32, betaSlow: 1, mscale: 1, mscaleAllDim: 1 }); // 0.135233779
 */
export function attentionScale(width: number, yarn: YarnConfig | null = null): number {
  const magnitude = yarn?.mscaleAllDim ? yarnMagnitude(yarn.factor, yarn.mscaleAllDim) : 1;
  return width ** -0.5 * magnitude * magnitude;
}

/** Angular frequencies f'_i, i < width / 2: f_i where the ramp is 0, f_i / s where it is 1, blended between. */
export function yarnFrequencies(width: number, theta: number, yarn: YarnConfig): Float64Array {
  const dimensionOf = (rotations: number) =>
    (width * Math.log(yarn.originalMaxPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const low = Math.max(Math.floor(dimensionOf(yarn.betaFast)), 0);
  let high = Math.min(Math.ceil(dimensionOf(yarn.betaSlow)), width - 1);
  if (high === low) high += 0.001;
  return Float64Array.from({ length: width / 2 }, (_, i) => {
    const frequency = theta ** ((-2 * i) / width);
    const ramp = Math.min(Math.max((i - low) / (high - low), 0), 1);
    return frequency * (1 - ramp) + (frequency / yarn.factor) * ramp;
  });
}
