/**
 * GPU hours and money of a training run.
 *
 * Published figures: DeepSeek-V3, arXiv 2412.19437, section 1 and table 1; DeepSeek-R1, Nature 645 (2025),
 * supplementary table of training cost. Research, ablations and data are not in them.
 */

/** One stage of a published run. */
export interface TrainingStage {
  readonly stage: string;
  readonly gpuHours: number;
}

/** H800 hours of DeepSeek-V3's final run. */
export const deepseekV3Training: readonly TrainingStage[] = [
  { stage: 'pre-training', gpuHours: 2_664_000 },
  { stage: 'context extension', gpuHours: 119_000 },
  { stage: 'post-training', gpuHours: 5_000 },
];

/** H800 hours of DeepSeek-R1 on top of V3's base model. */
export const deepseekR1Training: readonly TrainingStage[] = [
  { stage: 'R1-Zero', gpuHours: 101_000 },
  { stage: 'SFT data creation', gpuHours: 5_000 },
  { stage: 'R1', gpuHours: 41_000 },
];

/** Tokens of DeepSeek-V3's pre-training. */
export const deepseekV3Tokens = 14.8e12;

/** Hours and money of all stages at a price per GPU hour, 2 dollars as in the papers. */
export function trainingCost(
  stages: readonly TrainingStage[],
  pricePerGpuHour = 2,
): { readonly gpuHours: number; readonly price: number } {
  const gpuHours = stages.reduce((sum, stage) => sum + stage.gpuHours, 0);
  return { gpuHours, price: gpuHours * pricePerGpuHour };
}

/**
 * GPU hours of training on `tokens` at `flopsPerToken`, with GPUs that achieve `achievedFlops` each.
 *
 * @example
 * gpuHours({ tokens: 14.8e12, flopsPerToken: trainingFlopsPerToken(v3, 4096), achievedFlops: 385e12 }); // 2.67e6
 */
export function gpuHours(run: {
  readonly tokens: number;
  readonly flopsPerToken: number;
  /** FLOP/s one GPU achieves; DeepSeek-V3's run achieved 385e12 on H800. */
  readonly achievedFlops: number;
}): number {
  return (run.tokens * run.flopsPerToken) / (run.achievedFlops * 3600);
}

/** FLOP/s each GPU achieved, from what a run took. */
export function achievedFlops(run: {
  readonly tokens: number;
  readonly flopsPerToken: number;
  readonly gpuHours: number;
}): number {
  return (run.tokens * run.flopsPerToken) / (run.gpuHours * 3600);
}
