/**
 * Soft token merging: tokens become fewer, wider entries before the middle layers, and nothing looks ahead.
 *
 * The name and the aim are those of Yuan et al., Efficient Transformer Adaptation with Soft Token Merging (CVPR 2024
 * workshops). Boundaries are H-Net's (arXiv 2507.07955, equation 4): p[t] = (1 - cos(Wq h[t], Wk h[t - 1])) / 2,
 * both matrices the identity at first; a token is one where p >= threshold, at the start of a sequence, where it is
 * protected and where a run is full. A `paced` router is ours: p[t] = sigmoid(b[run] - s cos(Wq h[t], Wk h[t - 1])), run
 * the tokens since the latest boundary, b such at first that every N-th token is one. Ours is the entry, too:
 * e = h[boundary] + c (pool - h[boundary]), with pool the anchored mean a + sum softmax(w . h) (h - a) of the tokens
 * since the boundary before (a is the first of them, so a mean of equal vectors is that vector) and c the share of these
 * tokens, through a learned gate for each channel in the mix `gated`. Everything in an entry lies at or before its
 * boundary.
 *
 * Documents are never merged with each other: each is a sequence of its own. Boundaries can also be decided by what
 * tokens are (`entropy-boundaries.ts`) or, to measure what routing gains, by their position (`fixed-router.ts`).
 */
import { type Backend, check, formatShape } from '@minke/core';
import {
  Arena,
  add,
  affine,
  clamp,
  constantInit,
  linear,
  type Module,
  maximum,
  mul,
  rsqrt,
  sigmoid,
  square,
  sum,
  type Tensor,
} from '@minke/tensor';
import { type MergeRouter, type MergerConfig, resolveMergerConfig } from './config.ts';
import { fixedBoundaries } from './fixed-router.ts';
import { firstPace, runsBefore } from './pace.ts';
import { countsOf, type MergeBatch, remember, sequencesOf, startsOf, withPast } from './past.ts';
import { type MergePlan, makePlan } from './plan.ts';
import { poolTails } from './pool.ts';
import { takeRows } from './rows.ts';
import { MergeState, type MergeStateSize } from './state.ts';

/** Where a new module's weights live. */
export interface InitOptions {
  /** A persistent arena; or give `backend`, and the module makes its own. */
  readonly arena?: Arena;
  readonly backend?: Backend;
}

/** A plan and the entries made by it. */
export interface Merged {
  /** [E, D] */
  readonly entries: Tensor;
  readonly plan: MergePlan;
}

/** Squares below this count as this: keeps the cosine of a zero vector finite. */
const LEAST_SQUARE = 1e-24;

/** The arena for a new module's weights. */
export function initArena(options: InitOptions): Arena {
  if (options.arena) return options.arena;
  check(options.backend !== undefined, () => 'init: expected an arena or a backend, got neither');
  return new Arena(options.backend, { persistent: true, label: 'merging weights' });
}

/** Whether a router decides by its weights. */
const learns = (router: MergeRouter) => router === 'learned' || router === 'paced';

/** Names and shapes of a merger's parameters; query and key are those of a router that learns. */
export function mergerParameterShapes({
  hiddenSize: D,
  router = 'learned',
  maxRun = 8,
}: MergerConfig): Map<string, readonly number[]> {
  return new Map<string, readonly number[]>([
    ...(learns(router) ? (['query.weight', 'key.weight'] as const) : []).map(
      (name) => [name, [D, D]] as const,
    ),
    ...(router === 'paced'
      ? ([
          ['run_bias', [maxRun, 1]],
          ['sharpness', [1]],
        ] as const)
      : []),
    ['importance.weight', [1, D]],
    ['gate', [D]],
  ]);
}

/**
 * @example
 * const merger = SoftTokenMerger.init({ hiddenSize: 64 }, { backend });
 * const { entries, plan } = await merger.forward(h, { counts: [12, 7] }); // h [19, 64], entries [E, 64]
 */
export class SoftTokenMerger implements Module {
  readonly config: Required<MergerConfig>;
  readonly #parameters: ReadonlyMap<string, Tensor>;

  /** @param parameters by the names that `parameters()` returns them under */
  constructor(config: MergerConfig, parameters: ReadonlyMap<string, Tensor>) {
    this.config = resolveMergerConfig(config);
    this.#parameters = parameters;
    for (const [name, shape] of mergerParameterShapes(config)) {
      const found = parameters.get(name)?.shape;
      check(
        found?.join() === shape.join(),
        () =>
          `SoftTokenMerger: expected ${name} ${formatShape(shape)}, got ${found ? formatShape(found) : 'none'}`,
      );
    }
  }

  /** Identity routing, the pace of the config, even importance, gates of one half. Throws `invalid-config`. */
  static init(config: MergerConfig, options: InitOptions): SoftTokenMerger {
    const resolved = resolveMergerConfig(config);
    const { hiddenSize: D } = resolved;
    const arena = initArena(options);
    const identity = Float32Array.from({ length: D * D }, (_, i) => (i % (D + 1) === 0 ? 1 : 0));
    const first = new Map([
      ['query.weight', identity],
      ['key.weight', identity],
      ['run_bias', firstPace(resolved)],
      ['sharpness', Float32Array.of(1)],
    ]);
    const parameters = [...mergerParameterShapes(config)].map(([name, shape]) => {
      const values = first.get(name);
      return [name, values ? arena.parameter(values, shape) : constantInit(arena, shape, 0)] as const;
    });
    return new SoftTokenMerger(config, new Map(parameters));
  }

  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  /**
   * A state for generating: sequences that are all new. A token that can be taken back holds two rows of D numbers, and
   * with a convolution three.
   */
  createState({ backend, ...size }: MergeStateSize & { readonly backend: Backend }): MergeState {
    return new MergeState(backend, this.config.hiddenSize, this.config.maxRun, size);
  }

  /** Decides about boundaries and merges: h [T, D]. What the router says is read on the way. */
  async forward(h: Tensor, batch: MergeBatch = {}): Promise<Merged> {
    const scores = this.#scores(h, batch);
    const plan = this.#plan(h, batch, scores, await Promise.all(scores.map((one) => one.read())));
    return { plan, entries: this.merge(h, plan, batch) };
  }

  /** `forward` on backends that can block. Throws `unsupported` on others. */
  forwardSync(h: Tensor, batch: MergeBatch = {}): Merged {
    const scores = this.#scores(h, batch);
    const plan = this.#plan(
      h,
      batch,
      scores,
      scores.map((one) => one.readSync()),
    );
    return { plan, entries: this.merge(h, plan, batch) };
  }

  /** The entries [E, D] of a plan for h [T, D]; a state in the batch moves on. */
  merge(h: Tensor, plan: MergePlan, batch: MergeBatch = {}): Tensor {
    const { state } = batch;
    const { mix } = this.config;
    let entries = takeRows(h, plan.entryRow);
    if (mix !== 'select' && plan.size.some((size) => size > 1)) {
      const known = withPast(h, batch, plan.starts);
      const scores = linear(known.rows, this.#get('importance.weight'));
      const gate = mix === 'gated' ? sigmoid(h.arena.adopt(this.#get('gate'))) : null;
      entries = poolTails(known, entries, plan, scores, gate);
    }
    if (state) {
      const sequences = sequencesOf(batch, plan);
      remember(h, state.history, countsOf(h, batch), plan.starts, sequences);
      state.advance(plan, sequences);
    }
    return entries;
  }

  /**
   * What boundaries are decided by: probabilities [T], or of a paced router what tokens say [T] and the biases of runs
   * [maxRun, 1]. None where nothing depends on them.
   */
  #scores(h: Tensor, batch: MergeBatch): readonly Tensor[] {
    const { threshold = this.config.threshold, boundaries } = batch;
    const { router } = this.config;
    if (threshold <= 0 || boundaries || !learns(router)) return [];
    const cosine = this.#cosine(h, batch);
    if (router === 'learned') return [clamp(affine(cosine, -0.5, 0.5), 0, 1)];
    return [mul(affine(cosine, -1, 0), h.arena.adopt(this.#get('sharpness'))), this.#get('run_bias')];
  }

  /** cos(Wq h[t], Wk h[t - 1]), [T]; 0 at the start of a sequence. */
  #cosine(h: Tensor, batch: MergeBatch): Tensor {
    const counts = countsOf(h, batch);
    const known = withPast(h, batch, startsOf(counts, batch));
    const previous: number[] = [];
    let row = known.offset;
    counts.forEach((count, b) => {
      for (let i = 0; i < count; i++, row++) previous.push(i > 0 ? row - 1 : (known.last[b] as number));
    });
    const q = linear(h, this.#get('query.weight'));
    const k = takeRows(linear(known.rows, this.#get('key.weight')), previous);
    const inverseNorm = (x: Tensor) => rsqrt(maximum(sum(square(x), 1), LEAST_SQUARE));
    return mul(mul(sum(mul(q, k), 1), inverseNorm(q)), inverseNorm(k));
  }

  #plan(
    h: Tensor,
    batch: MergeBatch,
    scores: readonly Tensor[],
    numbers: readonly ArrayLike<number>[],
  ): MergePlan {
    const { threshold = this.config.threshold, protect } = batch;
    const counts = countsOf(h, batch);
    const starts = startsOf(counts, batch);
    const boundaries = batch.boundaries ?? fixedBoundaries(this.config, counts, starts);
    check(
      this.config.router !== 'tokens' || boundaries !== null || threshold <= 0,
      () => "SoftTokenMerger: expected boundaries in the batch, since the router is 'tokens', got none",
    );
    const [score, runBias] = scores;
    const [said, biases] = numbers;
    const paced = (row: number, run: number) =>
      1 / (1 + Math.exp(-((said?.[row] as number) + (biases?.[run] as number))));
    const plan = makePlan({
      ...{ counts, threshold, maxRun: this.config.maxRun, starts },
      probability: score ?? null,
      probabilities: runBias ? paced : (said ?? null),
      ...(protect && { protect }),
      ...(boundaries && { boundaries }),
    });
    if (!score || !runBias) return plan;
    const bias = takeRows(runBias, runsBefore(plan), h.arena).reshape(score.shape);
    return { ...plan, probability: sigmoid(add(score, bias)) };
  }

  #get(name: string): Tensor {
    return this.#parameters.get(name) as Tensor;
  }
}
