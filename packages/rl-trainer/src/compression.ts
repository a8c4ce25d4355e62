/**
 * How much a merging model is trained to merge: the ratio loss beside the main one, with an aim that moves by step.
 *
 * The loss is H-Net's (arXiv 2507.07955, equation 10, weight 0.03), 1 where the share of boundaries and their mean
 * probability are 1 / aim; a curriculum that begins with little merging is ATDC's (arXiv 2605.30080). Shares are those
 * of one micro-batch; protected tokens and full runs, about which the router has no say, do not count.
 */
import { affine, type Tensor } from '@minke/tensor';
import { compressionAim, type MergePlan, ratioLoss } from '@minke/tokenizer-merging/merging';

/**
 * The aim and its weight. Plain data.
 *
 * What a learner reports of a micro-batch, which adds up over those of a step: `ratio_loss` (without its weight),
 * `merge_tokens` and `merge_entries` (their quotient is the compression), `router_tokens` and `router_boundaries` (their
 * quotient is the boundary rate, aimed at 1 / aim). Of a step: `compression_aim`.
 */
export interface Compression {
  /** Of the ratio loss; 0 leaves the router to the main loss. */
  readonly ratioWeight: number;
  /**
   * What the learning rate of the router's weights is over that of the others. Default 1. Its gradients are faint, and
   * AdamW's steps are as large whatever their size.
   */
  readonly routerRate?: number;
  /** Tokens an entry that the first step aims at, above 1. */
  readonly start: number;
  /** Tokens an entry in the end, above 1. */
  readonly target: number;
  /** Optimiser steps in which the aim goes in a straight line from `start` to `target`. */
  readonly warmupSteps: number;
}

/** H-Net's weight; two tokens an entry, which suits BPE, from the first step on. */
export const defaultCompression: Compression = { ratioWeight: 0.03, start: 2, target: 2, warmupSteps: 0 };

/** What is wrong with a compression, each as "expected" continues it. */
export function compressionProblems(compression: Compression): string[] {
  const { ratioWeight, routerRate = 1, start, target, warmupSteps } = compression;
  const problems: string[] = [];
  if (!(ratioWeight >= 0 && Number.isFinite(ratioWeight)))
    problems.push(`compression.ratioWeight a number of at least 0, got ${ratioWeight}`);
  if (!(routerRate >= 0 && Number.isFinite(routerRate)))
    problems.push(`compression.routerRate a number of at least 0, got ${routerRate}`);
  for (const [name, value] of Object.entries({ start, target }))
    if (!(value > 1 && Number.isFinite(value)))
      problems.push(`compression.${name} a number above 1, got ${value}`);
  if (!(Number.isSafeInteger(warmupSteps) && warmupSteps >= 0))
    problems.push(`compression.warmupSteps a whole number of at least 0, got ${warmupSteps}`);
  return problems;
}

/** What a micro-batch adds to the loss, and its figures. */
export interface RatioTerm {
  /** One element; undefined where nothing is to be added. */
  readonly weighted: Tensor | undefined;
  readonly figures: () => Promise<Record<string, number>>;
}

export class CompressionControl {
  readonly #config: Compression;

  constructor(config: Compression) {
    this.#config = config;
  }

  /** Tokens an entry that a step, counted from 0, aims at. */
  aim(step: number): number {
    const { start, target, warmupSteps } = this.#config;
    return compressionAim(step, { start, target, warmup: warmupSteps });
  }

  /** @param share the micro-batch's sequences over the step's */
  loss(plan: MergePlan, step: number, share: number): RatioTerm {
    const asked = plan.probability !== null;
    const ratio = asked ? ratioLoss(plan, this.aim(step)) : undefined;
    const scale = this.#config.ratioWeight * share;
    const routed = plan.forced.reduce((n, forced) => n + 1 - forced, 0);
    const chosen = plan.boundary.reduce((n, one, t) => n + (plan.forced[t] ? 0 : one), 0);
    return {
      weighted: ratio !== undefined && scale > 0 ? affine(ratio, scale, 0) : undefined,
      figures: async () => ({
        ...(ratio && { ratio_loss: share * ((await ratio.read())[0] as number) }),
        merge_tokens: plan.boundary.length,
        merge_entries: plan.size.length,
        router_tokens: routed,
        router_boundaries: chosen,
      }),
    };
  }
}
