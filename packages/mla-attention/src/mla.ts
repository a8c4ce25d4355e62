/**
 * Multi-head latent attention.
 *
 * Source: DeepSeek-V2, arXiv 2405.04434, section 2.1 and appendix C; the released weights' conventions: each head is
 * [no-position entries, rotary entries], the latent is normalised and the shared rotary key is not, `kv_b_proj` holds
 * per head its key rows, then its value rows. The latent norms have epsilon 1e-6 whatever the model's is.
 * What is done with `kv_b_proj` in either form is in latent-projections.ts. Does not do: sparse attention, quantised weights.
 */
import { type Backend, check } from '@minke/core';
import { concat, gatherRows, type LowRank, type Module, slice, type Tensor } from '@minke/tensor';
import { attention, cachedAttention, latentAttention } from './attention.ts';
import { type AttentionBatch, type AttentionForm, formOf } from './batch.ts';
import { type AttentionCache, ExpandedCache, LatentCache } from './cache.ts';
import type { CacheType } from './cache-type.ts';
import { type KeyBias, withKeyBias } from './key-bias.ts';
import { LatentProjections } from './latent-projections.ts';
import {
  type AttentionOptions,
  attentionInput,
  checkParameters,
  type InitOptions,
  initArena,
  initParameters,
} from './layer.ts';
import { type MlaConfig, mlaParameterShapes, mlaRope, validateMla } from './mla-config.ts';
import type { RopeTable } from './rope.ts';
import type { CacheSize } from './sequence-cache.ts';
import { attentionScale } from './yarn.ts';

/** What a pass of latent attention takes beside its rows. */
export interface MlaOptions extends AttentionOptions {
  /** A bias of scores by key; a cache must then have been made with `keyBias`. Default none. */
  readonly keyBias?: KeyBias;
}

/** How much a cache of latent attention holds. */
export interface MlaCacheSize extends CacheSize {
  /** What to keep: `absorbed` (default) the latents, `expanded` every head's keys and values. */
  readonly form?: AttentionForm;
  /** Whether keys have a bias: one number more each. Default false. */
  readonly keyBias?: boolean;
  /** How they are stored. Default f32, which keys with a bias must have. */
  readonly cacheType?: CacheType | undefined;
}

/**
 * @example
 * const mla = MultiHeadLatentAttention.init({ hiddenSize: 64, numHeads: 4, qLoraRank: null, kvLoraRank: 32,
 *   qkNopeHeadDim: 16, qkRopeHeadDim: 8, vHeadDim: 16 }, { backend, seed: 0 });
 * const y = mla.forward(x);                      // x [B, T, 64], expanded form
 * const cache = mla.createCache({ maxTokens: 4096 });
 * const z = mla.forward(xNext, { cache });       // absorbed form
 */
export class MultiHeadLatentAttention implements Module {
  readonly config: MlaConfig;
  /** What scores are multiplied by before the softmax. */
  readonly scale: number;
  readonly #parameters: Map<string, Tensor>;
  readonly #projections: LatentProjections;

  /**
   * Takes over parameters named as `parameters()` returns them, and rotary tables of matching width.
   * @param additions low-rank additions to projections by their names (`q_b_proj`)
   */
  constructor(
    config: MlaConfig,
    parameters: ReadonlyMap<string, Tensor>,
    rope: RopeTable,
    additions: ReadonlyMap<string, LowRank> = new Map(),
  ) {
    this.config = validateMla(config);
    checkParameters('mlaAttention', mlaParameterShapes(config), parameters);
    check(
      rope.config.width === config.qkRopeHeadDim,
      () => `mlaAttention: expected rotary tables of width ${config.qkRopeHeadDim}, got ${rope.config.width}`,
    );
    this.#parameters = new Map(parameters);
    this.#projections = new LatentProjections(config, this.#parameters, rope, additions);
    this.scale =
      config.softmaxScale ?? attentionScale(config.qkNopeHeadDim + config.qkRopeHeadDim, config.yarn ?? null);
  }

  /** A fresh layer: normal weights, norms of one, zero biases. Throws `invalid-config`. */
  static init(config: MlaConfig, options: InitOptions): MultiHeadLatentAttention {
    validateMla(config);
    const arena = initArena(options);
    const parameters = initParameters(arena, mlaParameterShapes(config), options);
    return new MultiHeadLatentAttention(config, parameters, mlaRope(config, arena));
  }

  /** Hugging Face's names below `self_attn.`. */
  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  /** A cache for this layer alone; a model makes one for all its layers. */
  createCache(size: MlaCacheSize): AttentionCache {
    return createMlaCache((this.#parameters.get('o_proj.weight') as Tensor).arena.backend, this.config, size);
  }

  /**
   * Attention over a batch. Differentiable without a cache.
   * @param x [N, D] or [B, T, D] in a transient arena
   * @returns the shape of x
   */
  forward(x: Tensor, options: MlaOptions = {}): Tensor {
    const { hiddenSize: D } = this.config;
    const { cache, layer = 0, form, keyBias } = options;
    const { rows, batch } = attentionInput('mlaAttention', x, D, options);
    if (cache !== undefined) checkWidth(this.config, cache, keyBias !== undefined);
    const projections = this.#projections;
    let q = projections.queries(projections.queryLatent(rows), batch.positions);
    let { latent, ropeKey } = projections.latents(rows, batch.positions);
    if (keyBias !== undefined) ({ q, shared: ropeKey } = withKeyBias(q, ropeKey, keyBias, this.scale));
    let o: Tensor;
    if (cache === undefined) o = this.#uncached(q, latent, ropeKey, batch, form ?? 'expanded');
    else if (cache.kind === 'expanded') {
      check(
        form !== 'absorbed',
        () => 'mlaAttention: expected form expanded with an expanded cache, got absorbed',
      );
      o = this.#fromExpandedCache(q, latent, ropeKey, batch, cache, layer);
    } else o = this.#fromLatentCache(q, latent, ropeKey, batch, cache, layer, form);
    return projections.output(o).reshape(x.shape);
  }

  #uncached(q: Tensor, latent: Tensor, ropeKey: Tensor, batch: AttentionBatch, form: AttentionForm): Tensor {
    if (batch.shared !== undefined) {
      const { keyRows } = batch.shared;
      [latent, ropeKey] = [gatherRows(latent, keyRows), gatherRows(ropeKey, keyRows)];
    }
    if (form === 'absorbed') return this.#absorbed(q, concat([latent, ropeKey], 1), batch.ranges);
    const { k, v } = this.#projections.expand(latent, ropeKey);
    return attention(q, k, v, batch.ranges, { scale: this.scale });
  }

  #fromExpandedCache(
    q: Tensor,
    latent: Tensor,
    ropeKey: Tensor,
    batch: AttentionBatch,
    cache: ExpandedCache,
    layer: number,
  ): Tensor {
    const { rows, ranges } = batch.cached!;
    const { k, v } = this.#projections.expand(latent, ropeKey);
    cache.write(layer, k, v, rows);
    return cachedAttention(q, cache, layer, ranges, { scale: this.scale });
  }

  #fromLatentCache(
    q: Tensor,
    latent: Tensor,
    ropeKey: Tensor,
    batch: AttentionBatch,
    cache: LatentCache,
    layer: number,
    pinned: AttentionForm | undefined,
  ): Tensor {
    const { kvLoraRank: R } = this.config;
    const { rows, ranges, runs } = batch.cached!;
    const stored = cache.write(layer, concat([latent, ropeKey], 1), rows);
    const outputs: Tensor[] = [];
    for (let i = 0; i < runs.length; i++) {
      const run = runs[i]!;
      let end = run.start + run.count;
      if (formOf(run, pinned) === 'absorbed') {
        // Absorbed queries read the cache only, so neighbours join whatever their context.
        while (i + 1 < runs.length && formOf(runs[i + 1]!, pinned) === 'absorbed') end += runs[++i]!.count;
        outputs.push(
          this.#absorbed(q.rows(run.start, end), cache.latents(layer), ranges.rows(run.start, end)),
        );
        continue;
      }
      const queries = q.rows(run.start, end);
      const own = batch.ranges.rows(run.start, end);
      const keys = run.fresh
        ? stored.rows(run.start, end)
        : q.arena.adopt(cache.latents(layer)).rows(run.region, run.region + run.regionLength);
      const fused = this.#projections.expandedAttention(queries, keys, own, this.scale);
      if (fused !== null) {
        outputs.push(fused);
        continue;
      }
      const { k, v } = this.#projections.expand(slice(keys, 1, 0, R), slice(keys, 1, R, cache.width - R));
      outputs.push(attention(queries, k, v, own, { scale: this.scale }));
    }
    return outputs.length === 1 ? (outputs[0] as Tensor) : concat(outputs, 0);
  }

  /** Attention of rotated queries to rows [M, R + P] of latents and keys, in the absorbed form: [N, H, dv]. */
  #absorbed(q: Tensor, keys: Tensor, ranges: Tensor): Tensor {
    const { kvLoraRank: valueWidth } = this.config;
    return this.#projections.absorbed(q, (query, bfloat) =>
      latentAttention(query, keys, ranges, { scale: this.scale, valueWidth, bfloat }),
    );
  }
}

/** A cache for layers of this shape: latents for `absorbed` (default), keys and values for `expanded`. */
export function createMlaCache(backend: Backend, config: MlaConfig, size: MlaCacheSize): AttentionCache {
  const { vHeadDim, numHeads } = config;
  const { latent, key } = cacheWidths(config, size.keyBias ?? false);
  const { cacheType = 'f32' } = size;
  check(
    cacheType === 'f32' || !size.keyBias,
    () => `createCache: expected cacheType f32 where keys have a bias, got ${cacheType}`,
  );
  if (size.form !== 'expanded') return new LatentCache(backend, { ...size, width: latent });
  return new ExpandedCache(backend, { ...size, heads: numHeads, keyWidth: key, valueWidth: vHeadDim });
}

/** Numbers of a latent row, and of a head's key. */
function cacheWidths(config: MlaConfig, keyBias: boolean): { latent: number; key: number } {
  const shared = config.qkRopeHeadDim + Number(keyBias);
  return { latent: config.kvLoraRank + shared, key: config.qkNopeHeadDim + shared };
}

/** Throws unless the cache's rows are as wide as this layer's. */
function checkWidth(config: MlaConfig, cache: AttentionCache, keyBias: boolean): void {
  const { latent, key } = cacheWidths(config, keyBias);
  const [expected, found] = cache.kind === 'latent' ? [latent, cache.width] : [key, cache.keyWidth];
  check(
    found === expected,
    () =>
      `mlaAttention: expected a cache of rows of ${expected}${keyBias ? ', made with keyBias' : ''}, got one of ${found}`,
  );
}
