/**
 * The attention of a model's layers, and what it keeps of past tokens: latent attention everywhere; with a layer plan
 * layers that look locally, globally or both; with an indexer sparse attention (DeepSeek-V3.2); in dense models
 * grouped-query attention.
 *
 * Multi-token-prediction modules look globally whatever the plan says. One cache serves all layers of a model.
 */
import { type Backend, check, type Shape } from '@minke/core';
import {
  type AttentionBatch,
  type AttentionCache,
  type AttentionForm,
  type CacheSize,
  type CacheType,
  cachedRowBytes,
  createMlaCache,
  ExpandedCache,
  GroupedQueryAttention,
  gqaParameterShapes,
  gqaRope,
  type KeyBias,
  MultiHeadLatentAttention,
  mlaParameterShapes,
  mlaRope,
  type RopeTable,
} from '@minke/mla-attention';
import {
  HybridCache,
  HybridLatentAttention,
  hybridCacheBytes,
  hybridParameterShapes,
} from '@minke/mla-attention/hybrid';
import {
  type IndexerStage,
  SparseCache,
  SparseLatentAttention,
  sparseCacheBytes,
  sparseIndexerRope,
  sparseParameterShapes,
} from '@minke/mla-attention/sparse';
import type { Arena, LowRank, Module, Tensor } from '@minke/tensor';
import { attentionConfig, type DeepSeekConfig, type ModelConfig } from './config.ts';
import { groupedQueryConfig, isDenseConfig } from './dense-config.ts';

/** Past tokens of a model: which kind it is follows from the model's config (`createAttentionCache`). */
export type ModelCache = AttentionCache | HybridCache | SparseCache;

/** How much a model's cache holds. */
export interface ModelCacheSize extends Omit<CacheSize, 'layers'> {
  /** What to keep where no layer plan and no indexer decide: latents (default), or every head's keys and values. */
  readonly form?: AttentionForm;
  /** How they are stored. Default f32, which is what caches of layer plans and indexers have. */
  readonly cacheType?: CacheType | undefined;
  /** With a layer plan: tokens that may be taken back at once beyond those that fit the window. Default 0. */
  readonly slack?: number;
}

/** What a layer's attention needs to know about the pass: as for attention, with the batch given. */
export interface LayerAttentionOptions {
  readonly batch: AttentionBatch;
  readonly cache?: ModelCache;
  readonly form?: AttentionForm;
  readonly layer?: number;
  /** A bias of attention scores by key. */
  readonly keyBias?: KeyBias;
  /** A stage that trains the indexer of sparse attention: its loss comes out too. */
  readonly indexer?: IndexerStage;
}

/** What a layer's attention gives. */
export interface Attended {
  /** [N, D]. */
  readonly output: Tensor;
  /** The indexer's loss, where a stage that trains it is asked for. */
  readonly indexerLoss: Tensor | null;
}

/** Attention as a block uses it. */
export interface LayerAttention extends Module {
  forward(x: Tensor, options: LayerAttentionOptions): Attended;
}

/** Rotary tables that the layers of a model share. */
export interface AttentionRopes {
  /** Of the whole model's attention: latent, or grouped-query over the whole head. */
  readonly latent: RopeTable;
  /** The indexer's, which are half-split. */
  readonly indexer: RopeTable | null;
}

/** The tables that a config asks for, in a persistent arena. */
export function attentionRopes(config: ModelConfig, arena: Arena): AttentionRopes {
  if (isDenseConfig(config)) return { latent: gqaRope(groupedQueryConfig(config), arena), indexer: null };
  const attention = attentionConfig(config);
  return {
    latent: mlaRope(attention, arena),
    indexer: config.indexer === undefined ? null : sparseIndexerRope(attention, arena),
  };
}

/** Names and shapes of the parameters of a layer's attention, as in Hugging Face checkpoints below `self_attn.`. */
export function attentionParameterShapes(config: ModelConfig, layer: number): Map<string, Shape> {
  if (isDenseConfig(config)) return gqaParameterShapes(groupedQueryConfig(config));
  const attention = attentionConfig(config);
  const { indexer, layerPlan, numLayers } = config;
  if (indexer !== undefined) return sparseParameterShapes({ ...attention, indexer });
  if (layerPlan !== undefined && layer < numLayers) return hybridParameterShapes(attention, layerPlan, layer);
  return mlaParameterShapes(attention);
}

/**
 * The attention of a layer.
 * @param parameters and @param additions by their names below `self_attn.`
 */
export function createLayerAttention(
  config: ModelConfig,
  layer: number,
  parameters: ReadonlyMap<string, Tensor>,
  ropes: AttentionRopes,
  additions: ReadonlyMap<string, LowRank>,
): LayerAttention {
  if (isDenseConfig(config))
    return new Grouped(
      new GroupedQueryAttention(groupedQueryConfig(config), parameters, ropes.latent, additions),
    );
  const attention = attentionConfig(config);
  const { indexer, layerPlan, numLayers } = config;
  if (indexer !== undefined) {
    const sparse = { ...attention, indexer };
    return new Sparse(
      new SparseLatentAttention(sparse, parameters, ropes.latent, ropes.indexer as RopeTable, additions),
    );
  }
  if (layerPlan !== undefined && layer < numLayers)
    return new Hybrid(
      new HybridLatentAttention(attention, layerPlan, layer, parameters, ropes.latent, additions),
    );
  return new Dense(new MultiHeadLatentAttention(attention, parameters, ropes.latent, additions));
}

/** A cache for all layers of a model. */
export function createAttentionCache(
  backend: Backend,
  config: ModelConfig,
  { form, slack, cacheType = 'f32', ...size }: ModelCacheSize,
): ModelCache {
  const { numLayers: layers } = config;
  checkCacheType(config, cacheType);
  if (isDenseConfig(config)) {
    check(
      form !== 'absorbed',
      () =>
        `createCache: expected the form expanded in a ${config.modelType} model, got absorbed; leave it out`,
    );
    const { numKeyValueHeads: heads, headDim } = config;
    const widths = { keyWidth: headDim, valueWidth: headDim };
    return new ExpandedCache(backend, { ...size, layers, heads, ...widths, cacheType });
  }
  const { layerPlan, indexer } = config;
  const attention = attentionConfig(config);
  if (layerPlan === undefined && indexer === undefined)
    return createMlaCache(backend, attention, { ...size, layers, cacheType, ...(form && { form }) });
  check(
    form !== 'expanded',
    () =>
      `createCache: expected the form absorbed beside ${indexer ? 'an indexer' : 'a layer plan'}, got expanded; leave it out`,
  );
  const width = latentWidth(config);
  if (layerPlan !== undefined)
    return new HybridCache(backend, {
      ...size,
      plan: layerPlan,
      width,
      ...(slack !== undefined && { slack }),
    });
  return new SparseCache(backend, { ...size, layers, width, indexWidth: indexer!.headDim });
}

/** Bytes of device memory that `createAttentionCache` takes, to the byte. Allocates nothing. */
export function attentionCacheBytes(
  config: ModelConfig,
  { form, cacheType = 'f32', ...size }: ModelCacheSize,
): number {
  checkCacheType(config, cacheType);
  const { numLayers: layers, numHeads } = config;
  if (isDenseConfig(config)) {
    const row = 2 * cachedRowBytes(cacheType, config.numKeyValueHeads * config.headDim);
    return layers * (size.sequences ?? 1) * size.maxTokens * row;
  }
  const { layerPlan, indexer, qkNopeHeadDim, qkRopeHeadDim, vHeadDim } = config;
  const width = latentWidth(config);
  if (layerPlan !== undefined) return hybridCacheBytes({ ...size, plan: layerPlan, width });
  if (indexer !== undefined) return sparseCacheBytes({ ...size, layers, width, indexWidth: indexer.headDim });
  const { sequences = 1, maxTokens } = size;
  const expanded = [qkNopeHeadDim + qkRopeHeadDim, vHeadDim].map((each) => numHeads * each);
  const rows = form === 'expanded' ? expanded : [width];
  const row = rows.reduce((bytes, each) => bytes + cachedRowBytes(cacheType, each), 0);
  return layers * sequences * maxTokens * row;
}

/** Throws unless it is f32, or the model's layers look at all past tokens alike. */
function checkCacheType(config: ModelConfig, cacheType: CacheType): void {
  const other = isDenseConfig(config)
    ? undefined
    : config.indexer
      ? 'latents beside an indexer'
      : config.layerPlan && 'latents with a layer plan';
  check(
    cacheType === 'f32' || !other,
    () => `createCache: expected cacheType f32 for ${other}, got ${cacheType}; leave it out`,
  );
}

const latentWidth = ({ kvLoraRank, qkRopeHeadDim }: DeepSeekConfig): number => kvLoraRank + qkRopeHeadDim;

/** The cache where it is of a kind; throws `invalid-argument` where it is of another. */
function cacheOf<K extends ModelCache['kind']>(
  { cache }: LayerAttentionOptions,
  ...kinds: readonly K[]
): Extract<ModelCache, { kind: K }> | undefined {
  check(
    cache === undefined || (kinds as readonly string[]).includes(cache.kind),
    () =>
      `attention: expected the ${kinds.join(' or ')} cache that this model's createCache makes, got ${cache?.kind}`,
  );
  return cache as Extract<ModelCache, { kind: K }> | undefined;
}

function withoutKeyBias({ keyBias }: LayerAttentionOptions, what: string): void {
  check(keyBias === undefined, () => `attention: expected no bias of keys in ${what} attention, got one`);
}

const plain = (output: Tensor): Attended => ({ output, indexerLoss: null });

class Dense implements LayerAttention {
  constructor(private readonly attention: MultiHeadLatentAttention) {}

  parameters(): Map<string, Tensor> {
    return this.attention.parameters();
  }

  forward(x: Tensor, options: LayerAttentionOptions): Attended {
    const { cache: _, ...others } = options;
    const cache = cacheOf(options, 'latent', 'expanded');
    return plain(this.attention.forward(x, { ...others, ...(cache && { cache }) }));
  }
}

class Grouped implements LayerAttention {
  constructor(private readonly attention: GroupedQueryAttention) {}

  parameters(): Map<string, Tensor> {
    return this.attention.parameters();
  }

  forward(x: Tensor, options: LayerAttentionOptions): Attended {
    withoutKeyBias(options, 'grouped-query');
    const { batch, layer, form } = options;
    check(
      form !== 'absorbed',
      () => 'attention: expected the form expanded in grouped-query attention, got absorbed; leave it out',
    );
    const cache = cacheOf(options, 'expanded');
    return plain(
      this.attention.forward(x, { batch, ...(cache && { cache }), ...(layer !== undefined && { layer }) }),
    );
  }
}

class Hybrid implements LayerAttention {
  constructor(private readonly attention: HybridLatentAttention) {}

  parameters(): Map<string, Tensor> {
    return this.attention.parameters();
  }

  forward(x: Tensor, options: LayerAttentionOptions): Attended {
    withoutKeyBias(options, 'hybrid');
    const { batch, form } = options;
    const cache = cacheOf(options, 'hybrid');
    return plain(this.attention.forward(x, { batch, ...(form && { form }), ...(cache && { cache }) }));
  }
}

class Sparse implements LayerAttention {
  constructor(private readonly attention: SparseLatentAttention) {}

  parameters(): Map<string, Tensor> {
    return this.attention.parameters();
  }

  forward(x: Tensor, options: LayerAttentionOptions): Attended {
    withoutKeyBias(options, 'sparse');
    const { batch, layer, indexer: stage } = options;
    const cache = cacheOf(options, 'sparse');
    const { output, loss } = this.attention.forward(x, {
      batch,
      ...(cache && { cache }),
      ...(layer !== undefined && { layer }),
      ...(stage && { stage }),
    });
    return { output, indexerLoss: loss };
  }
}

export type { IndexerStage };
