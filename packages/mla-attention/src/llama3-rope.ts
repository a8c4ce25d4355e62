/**
 * Llama 3's rotary frequencies for contexts longer than it was first trained on.
 *
 * Source: the release of Llama 3.1 (meta-llama/llama-models, models/llama3/model.py, `apply_scaling`), as in transformers'
 * `rope_type: llama3`. Short wavelengths stay, long ones are divided by the factor, those between are blended. Cosines
 * and the softmax scale are as without it.
 */

/** Its settings, as in `rope_scaling` of a published config. */
export interface Llama3RopeConfig {
  /** What long wavelengths are multiplied by. Published: 8 (3.1, 3.3) and 32 (3.2). */
  readonly factor: number;
  /** Wavelengths above originalMaxPositions / lowFreqFactor are long. Published: 1. */
  readonly lowFreqFactor: number;
  /** Wavelengths below originalMaxPositions / highFreqFactor are short. Published: 4. */
  readonly highFreqFactor: number;
  /** Positions of the first training. Published: 8192. */
  readonly originalMaxPositions: number;
}

/**
 * What each of the width / 2 frequencies is divided by, from 1 to the factor: `rope_freqs.weight` of a GGUF file.
 *
 * @example
 * llama3Divisors(128, 500000, { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 }).at(-1); // 8
 */
export function llama3Divisors(
  width: number,
  theta: number,
  { factor, lowFreqFactor, highFreqFactor, originalMaxPositions }: Llama3RopeConfig,
): Float64Array {
  return Float64Array.from({ length: width / 2 }, (_, i) => {
    const rotations = (originalMaxPositions * theta ** ((-2 * i) / width)) / (2 * Math.PI);
    if (rotations > highFreqFactor) return 1;
    if (rotations < lowFreqFactor) return factor;
    const kept = (rotations - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return 1 / ((1 - kept) / factor + kept);
  });
}
