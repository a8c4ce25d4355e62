/**
 * How much is merged: the loss that steers it, a schedule for its aim, and what to log.
 *
 * The loss is H-Net's (arXiv 2507.07955, equation 10): N / (N - 1) ((N - 1) F G + (1 - F)(1 - G)), with F the share of
 * boundaries and G their mean probability. Its gradient by G changes sign where F is 1 / N: a controller of the rate.
 * F and G are taken over tokens the router decided about; the others have no say. A schedule that begins with little
 * merging is ATDC's (arXiv 2605.30080).
 */
import { check } from '@minke/core';
import { affine, mul, sum, type Tensor } from '@minke/tensor';
import type { MergePlan } from './plan.ts';

/** Shares over the tokens that the router decided about. */
function routed(plan: MergePlan): { count: number; boundaries: number; probability: number } {
  let [count, boundaries, probability] = [0, 0, 0];
  plan.forced.forEach((forced, t) => {
    if (forced) return;
    count++;
    boundaries += plan.boundary[t] as number;
    probability += (plan.probabilities?.[t] as number) ?? 0;
  });
  return { count, boundaries, probability };
}

/**
 * The ratio loss of a plan, a tensor of one number; 1 where F = G = 1 / N. Add it times 0.03 to the model's loss.
 * Throws `invalid-argument` for a plan the router had no part in.
 *
 * @param tokensPerEntry the aim N, above 1
 */
export function ratioLoss(plan: MergePlan, tokensPerEntry: number): Tensor {
  const { probability } = plan;
  check(tokensPerEntry > 1, () => `ratioLoss: expected an aim above 1 token an entry, got ${tokensPerEntry}`);
  check(
    probability !== null,
    () => 'ratioLoss: expected a plan with probabilities; leave the loss out where the router is not asked',
  );
  const { count, boundaries } = routed(plan);
  const N = tokensPerEntry;
  const F = boundaries / Math.max(count, 1);
  const own = probability.arena.tensor(
    Array.from(plan.forced, (forced) => 1 - forced),
    probability.shape,
  );
  const G = affine(sum(mul(probability, own)), 1 / Math.max(count, 1), 0);
  // Linear in G: N / (N - 1) ((N F - 1) G + 1 - F).
  const scale = N / (N - 1);
  return affine(G, scale * (N * F - 1), scale * (1 - F));
}

/**
 * The aim at a step: from `start` tokens an entry in a straight line to `target`, reached after `warmup` steps.
 *
 * @example
 * const N = compressionAim(step, { target: 2, warmup: 0.4 * steps }); // 1.1 at first
 */
export function compressionAim(
  step: number,
  {
    target,
    warmup,
    start = 1.1,
  }: { readonly target: number; readonly warmup: number; readonly start?: number },
): number {
  return step >= warmup ? target : start + ((target - start) * Math.max(step, 0)) / warmup;
}

/** What to log about a plan. */
export interface MergeStatistics {
  readonly tokens: number;
  readonly entries: number;
  /** Tokens an entry, 0 without entries. */
  readonly compression: number;
  /** Share of the entries whose boundary the router did not choose. */
  readonly forcedShare: number;
  /** F and G of the ratio loss. */
  readonly boundaryRate: number;
  readonly meanProbability: number;
  /** Tokens an entry stands for: median, 95th percentile, largest. */
  readonly sizeP50: number;
  readonly sizeP95: number;
  readonly sizeMax: number;
  /** Tokens with |p - threshold| below 1e-4: decisions that rounding on another backend could turn. */
  readonly nearThreshold: number;
}

/** Statistics of one plan. */
export function mergeStatistics(plan: MergePlan): MergeStatistics {
  const { count, boundaries, probability } = routed(plan);
  const sizes = Array.from(plan.size).sort((a, b) => a - b);
  const quantile = (q: number) => sizes[Math.max(0, Math.ceil(q * sizes.length) - 1)] ?? 0;
  const entries = sizes.length;
  const tokens = plan.boundary.length;
  return {
    tokens,
    entries,
    compression: entries === 0 ? 0 : tokens / entries,
    forcedShare: entries === 0 ? 0 : (entries - boundaries) / entries,
    boundaryRate: boundaries / Math.max(count, 1),
    meanProbability: probability / Math.max(count, 1),
    sizeP50: quantile(0.5),
    sizeP95: quantile(0.95),
    sizeMax: sizes.at(-1) ?? 0,
    nearThreshold: Array.from(plan.probabilities ?? []).filter(
      (p, t) => !plan.forced[t] && Math.abs(p - plan.threshold) < 1e-4,
    ).length,
  };
}
