/**
 * Multi-head latent attention that looks locally, globally, or both with a learned split.
 *
 * A hybrid layer has one softmax over all keys, whose far ones (beyond the window) get a bias for each head and query:
 * log beta = clamp(u_h . x + b_h + a_h log(1 + t / W)), zero at first. So it begins as exact full attention, ends
 * in exact window attention as beta goes to 0, and its weights always sum to one (less the sink's). The a_h term lets
 * the split depend on the length of the context. Sinks are gpt-oss's: one more score a head, without a value.
 * The design is ours; local and global layers are as in Gemma 3 (arXiv 2503.19786). Expanded and absorbed forms, with
 * a `HybridCache` or without a cache. Does not do: prefixes shared in a cache.
 */
import { check } from '@minke/core';
import {
  add,
  clamp,
  concat,
  gatherRows,
  type LowRank,
  linear,
  type Module,
  matmul,
  slice,
  type Tensor,
} from '@minke/tensor';
import { type AttentionBatch, type AttentionForm, formOf, type Run } from '../batch.ts';
import { gatheredAttention } from '../gathered-attention.ts';
import { LatentProjections } from '../latent-projections.ts';
import { attentionInput, checkParameters, type InitOptions, initArena, initParameters } from '../layer.ts';
import { type MlaConfig, mlaParameterShapes, mlaRope, validateMla } from '../mla-config.ts';
import type { RopeTable } from '../rope.ts';
import { attentionScale } from '../yarn.ts';
import type { HybridCache } from './hybrid-cache.ts';
import { defaultFarBiasLimit, type LayerPlan, type LayerType, validateLayerPlan } from './layer-plan.ts';
import { splitAttention } from './split-attention.ts';
import { placedTokens, rangeRows, splitNumbers, splitRanges } from './split-ranges.ts';
import type { SplitRanges } from './window-rows.ts';

export interface HybridAttentionOptions {
  /** Positions and ranges of the tokens; must have segments. Default: each row of x is one sequence. */
  readonly batch?: AttentionBatch;
  /** Past tokens; the batch must come from its `append`. */
  readonly cache?: HybridCache;
  /** Pins the form. Default: by each token's role with a cache, else expanded. */
  readonly form?: AttentionForm;
}

/** Names and shapes of the parameters of a layer: those of latent attention, and what its type adds. */
export function hybridParameterShapes(
  config: MlaConfig,
  plan: LayerPlan,
  layer: number,
): Map<string, readonly number[]> {
  const { numHeads: H, hiddenSize: D } = config;
  const shapes = mlaParameterShapes(config);
  if (plan.sinks) shapes.set('sinks', [H]);
  if (plan.layerTypes[layer] === 'hybrid') {
    shapes.set('far_bias.weight', [H, D]);
    shapes.set('far_bias.bias', [H]);
    shapes.set('far_bias.length', [H]);
  }
  return shapes;
}

/**
 * @example
 * const plan = interleavedPlan(4, { window: 128, far: 'hybrid' });
 * const attention = HybridLatentAttention.init(config, plan, 3, { backend, seed: 0 });
 * const y = attention.forward(x);
 */
export class HybridLatentAttention implements Module {
  readonly config: MlaConfig;
  readonly plan: LayerPlan;
  readonly layer: number;
  readonly type: LayerType;
  /** What scores are multiplied by before the softmax. */
  readonly scale: number;
  readonly #parameters: Map<string, Tensor>;
  readonly #projections: LatentProjections;

  /** Takes over parameters named as `parameters()` returns them, and rotary tables of matching width. */
  constructor(
    config: MlaConfig,
    plan: LayerPlan,
    layer: number,
    parameters: ReadonlyMap<string, Tensor>,
    rope: RopeTable,
    additions: ReadonlyMap<string, LowRank> = new Map(),
  ) {
    validateMla(config);
    validateLayerPlan(plan);
    check(
      layer >= 0 && layer < plan.layerTypes.length,
      () => `hybridAttention: expected a layer below ${plan.layerTypes.length}, got ${layer}`,
    );
    checkParameters('hybridAttention', hybridParameterShapes(config, plan, layer), parameters);
    this.config = config;
    this.plan = plan;
    this.layer = layer;
    this.type = plan.layerTypes[layer] as LayerType;
    this.#parameters = new Map(parameters);
    this.#projections = new LatentProjections(config, this.#parameters, rope, additions);
    this.scale =
      config.softmaxScale ?? attentionScale(config.qkNopeHeadDim + config.qkRopeHeadDim, config.yarn ?? null);
  }

  /** A fresh layer: as latent attention, sinks and the bias on far keys zero. Throws `invalid-config`. */
  static init(
    config: MlaConfig,
    plan: LayerPlan,
    layer: number,
    options: InitOptions,
  ): HybridLatentAttention {
    validateMla(config);
    validateLayerPlan(plan);
    const arena = initArena(options);
    const parameters = initParameters(arena, hybridParameterShapes(config, plan, layer), options);
    for (const [name, parameter] of parameters)
      if (name === 'sinks' || name.startsWith('far_bias.')) parameter.write(new Float32Array(parameter.size));
    return new HybridLatentAttention(config, plan, layer, parameters, mlaRope(config, arena));
  }

  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  /**
   * Attention over a batch. Differentiable without a cache.
   * @param x [N, D] or [B, T, D] in a transient arena
   * @returns the shape of x
   */
  forward(x: Tensor, options: HybridAttentionOptions = {}): Tensor {
    const { hiddenSize: D } = this.config;
    const { cache, form } = options;
    const { rows, batch } = attentionInput('hybridAttention', x, D, options);
    const projections = this.#projections;
    const q = projections.queries(projections.queryLatent(rows), batch.positions);
    const { latent, ropeKey } = projections.latents(rows, batch.positions);
    const bias = this.type === 'hybrid' ? this.#farBias(rows, batch) : undefined;
    const o =
      cache === undefined
        ? this.#uncached(q, latent, ropeKey, batch, bias, form ?? 'expanded')
        : this.#cached(q, latent, ropeKey, batch, bias, cache, form);
    return projections.output(o).reshape(x.shape);
  }

  /** log beta of each token and head, [N, H]. */
  farBias(x: Tensor, batch: AttentionBatch): Tensor {
    check(
      this.type === 'hybrid',
      () => `hybridAttention: expected a hybrid layer, got ${this.type}; only those have a bias on far keys`,
    );
    return this.#farBias(x, batch);
  }

  #farBias(x: Tensor, batch: AttentionBatch): Tensor {
    const limit = this.plan.farBiasLimit ?? defaultFarBiasLimit;
    const heads = this.config.numHeads;
    const lengths = batch.window?.lengths ?? lengthsOf(batch, this.plan.window);
    const byLength = matmul(lengths, x.arena.adopt(this.#get('far_bias.length')).reshape([1, heads]));
    const byQuery = linear(x, this.#get('far_bias.weight'), this.#get('far_bias.bias'));
    return clamp(add(byQuery, byLength), -limit, limit);
  }

  #uncached(
    q: Tensor,
    latent: Tensor,
    ropeKey: Tensor,
    batch: AttentionBatch,
    bias: Tensor | undefined,
    form: AttentionForm,
  ): Tensor {
    if (batch.shared !== undefined) {
      const { keyRows } = batch.shared;
      [latent, ropeKey] = [gatherRows(latent, keyRows), gatherRows(ropeKey, keyRows)];
    }
    const ranges = uncachedRanges(batch, this.type, this.plan.window);
    return form === 'absorbed'
      ? this.#absorbed(q, concat([latent, ropeKey], 1), ranges, bias)
      : this.#expanded(q, latent, ropeKey, ranges, bias);
  }

  #cached(
    q: Tensor,
    latent: Tensor,
    ropeKey: Tensor,
    batch: AttentionBatch,
    bias: Tensor | undefined,
    cache: HybridCache,
    pinned: AttentionForm | undefined,
  ): Tensor {
    check(
      batch.window !== undefined,
      () => "hybridAttention: expected a batch from a HybridCache's append, got one of another cache",
    );
    const row = concat([latent, ropeKey], 1);
    if (this.type === 'local') return this.#fromRing(q, row, batch, cache, pinned);
    const { runs, rows } = batch.cached!;
    cache.write(this.layer, row, rows);
    const { cached, ofRun } = batch.window[this.type];
    const table = cache.latents(this.layer);
    return this.#byRuns(runs, pinned, (form, start, end, run) => {
      const [query, own] = [q.rows(start, end), bias?.rows(start, end)];
      if (form === 'absorbed') return this.#absorbed(query, table, rangeRows(cached, start, end), own);
      let [keyLatent, key] = [latent.rows(start, end), ropeKey.rows(start, end)];
      if (!run.fresh) {
        const region = q.arena.adopt(table).rows(run.region, run.region + run.regionLength);
        [keyLatent, key] = this.#split(region);
      }
      return this.#expanded(query, keyLatent, key, rangeRows(ofRun, start, end), own);
    });
  }

  #fromRing(
    q: Tensor,
    row: Tensor,
    batch: AttentionBatch,
    cache: HybridCache,
    pinned: AttentionForm | undefined,
  ): Tensor {
    const { writes, named, old, order, ranges } = batch.window!.ring;
    const table = cache.latents(this.layer);
    const keys = named === null ? this.#ordered(row, table, old, order) : null;
    cache.write(this.layer, row, writes);
    return this.#byRuns(batch.cached!.runs, pinned, (form, start, end) => {
      const [query, own] = [q.rows(start, end), rangeRows(ranges, start, end)];
      if (keys === null) return this.#named(query, table, (named as Tensor).rows(start, end), own, form);
      if (form === 'absorbed') return this.#absorbed(query, keys, own, undefined);
      return this.#expanded(query, ...this.#split(keys), own, undefined);
    });
  }

  /** Old rows of the ring that new tokens need, and the new ones, by sequence and position. */
  #ordered(row: Tensor, table: Tensor, old: Tensor | null, order: Tensor | null): Tensor {
    const all = old === null ? row : concat([gatherRows(row.arena.adopt(table), old), row], 0);
    return order === null ? all : gatherRows(all, order);
  }

  /** Attention of queries to the rows of a table that each names; `ranges` are those among the named ones. */
  #named(q: Tensor, table: Tensor, rows: Tensor, ranges: SplitRanges, form: AttentionForm): Tensor {
    if (form === 'absorbed') {
      const options = { ...this.#options(undefined), valueWidth: this.config.kvLoraRank };
      return this.#projections.absorbed(q, (query) => gatheredAttention(query, table, rows, options));
    }
    const [queries, count] = rows.shape as readonly [number, number];
    const outputs = Array.from({ length: queries }, (_, n) => {
      const keys = gatherRows(q.arena.adopt(table), rows.rows(n, n + 1).reshape([count]));
      const own = rangeRows(ranges, n, n + 1);
      return this.#expanded(q.rows(n, n + 1), ...this.#split(keys), own, undefined);
    });
    return outputs.length === 1 ? (outputs[0] as Tensor) : concat(outputs, 0);
  }

  /** Runs of the batch, those of the absorbed form together with their neighbours. */
  #byRuns(
    runs: readonly Run[],
    pinned: AttentionForm | undefined,
    attend: (form: AttentionForm, start: number, end: number, run: Run) => Tensor,
  ): Tensor {
    const outputs: Tensor[] = [];
    for (let i = 0; i < runs.length; i++) {
      const run = runs[i]!;
      const form = formOf(run, pinned);
      let end = run.start + run.count;
      while (form === 'absorbed' && i + 1 < runs.length && formOf(runs[i + 1]!, pinned) === form)
        end += runs[++i]!.count;
      outputs.push(attend(form, run.start, end, run));
    }
    return outputs.length === 1 ? (outputs[0] as Tensor) : concat(outputs, 0);
  }

  #absorbed(q: Tensor, keys: Tensor, ranges: SplitRanges, bias: Tensor | undefined): Tensor {
    const [rows, width] = keys.shape as readonly [number, number];
    const shared = q.arena.adopt(keys).reshape([rows, 1, width]);
    return this.#projections.absorbed(q, (query) =>
      splitAttention(query, shared, shared, ranges, {
        ...this.#options(bias),
        valueWidth: this.config.kvLoraRank,
      }),
    );
  }

  #expanded(
    q: Tensor,
    latent: Tensor,
    ropeKey: Tensor,
    ranges: SplitRanges,
    bias: Tensor | undefined,
  ): Tensor {
    const { k, v } = this.#projections.expand(latent, ropeKey);
    return splitAttention(q, k, v, ranges, this.#options(bias));
  }

  #options(bias: Tensor | undefined) {
    const sink = this.#parameters.get('sinks');
    return { scale: this.scale, ...(bias && { bias }), ...(sink && { sink }) };
  }

  /** Latents [M, R] and rotary keys [M, P] of cache rows. */
  #split(rows: Tensor): [latent: Tensor, ropeKey: Tensor] {
    const { kvLoraRank: R, qkRopeHeadDim: P } = this.config;
    return [slice(rows, 1, 0, R), slice(rows, 1, R, P)];
  }

  #get(name: string): Tensor {
    return this.#parameters.get(name) as Tensor;
  }
}

/** What layers of a model have in common in one batch without a cache is made once. */
const uncached = new WeakMap<AttentionBatch, Map<string, SplitRanges | Tensor>>();

function shared<T extends SplitRanges | Tensor>(batch: AttentionBatch, key: string, make: () => T): T {
  const known = uncached.get(batch) ?? new Map<string, SplitRanges | Tensor>();
  uncached.set(batch, known);
  const found = (known.get(key) as T | undefined) ?? batch.positions.arena.unscoped(make);
  known.set(key, found);
  return found;
}

function uncachedRanges(batch: AttentionBatch, type: LayerType, window: number): SplitRanges {
  return shared(batch, `${type} ${window}`, () =>
    splitRanges(batch.positions.arena, splitNumbers(placedTokens(batch), type, window)),
  );
}

function lengthsOf(batch: AttentionBatch, window: number): Tensor {
  return shared(batch, `lengths ${window}`, () => {
    const numbers = placedTokens(batch).map(({ position }) => Math.log1p(position / window));
    return batch.positions.arena.tensor(numbers, [numbers.length, 1]);
  });
}
