/**
 * Grouped-query attention: several query heads share a key and value head.
 *
 * Source: Ainslie et al., arXiv 2305.13245; conventions of Llama and Qwen2 checkpoints: rotary embedding over the
 * whole head in the half-split layout, optional bias on q, k and v (Qwen2), none on the output. Equal head counts
 * give plain multi-head attention. Does not do: QK norms, sliding windows.
 */
import { check, MinkeError } from '@minke/core';
import { type Arena, gatherRows, type LowRank, lowRankLinear, type Module, type Tensor } from '@minke/tensor';
import { attention, cachedAttention } from './attention.ts';
import { ExpandedCache } from './cache.ts';
import type { CacheType } from './cache-type.ts';
import {
  type AttentionOptions,
  attentionInput,
  checkParameters,
  type InitOptions,
  initArena,
  initParameters,
} from './layer.ts';
import type { Llama3RopeConfig } from './llama3-rope.ts';
import { type RopeLayout, RopeTable } from './rope.ts';
import type { CacheSize } from './sequence-cache.ts';
import type { YarnConfig } from './yarn.ts';

export interface GqaConfig {
  /** Model width D. */
  readonly hiddenSize: number;
  /** Query heads H. */
  readonly numHeads: number;
  /** Key and value heads, dividing H. */
  readonly numKeyValueHeads: number;
  /** Entries of a head, even. */
  readonly headDim: number;
  /** Bias on the q, k and v projections. Default false. */
  readonly qkvBias?: boolean;
  /** Base of the rotary frequencies. Default 10000. */
  readonly ropeTheta?: number;
  /** Pairing of the rotary entries. Default `half`. */
  readonly ropeLayout?: RopeLayout;
  /** Scaling of the rotary frequencies, one of the two. Default: none. */
  readonly llama3?: Llama3RopeConfig | null;
  readonly yarn?: YarnConfig | null;
  /** Positions to make rotary tables for. Default 4096. */
  readonly maxPositions?: number;
}

/** Names and shapes of the parameters, as in Hugging Face checkpoints below `self_attn.`. */
export function gqaParameterShapes(config: GqaConfig): Map<string, readonly number[]> {
  const { hiddenSize: D, numHeads, numKeyValueHeads, headDim, qkvBias } = config;
  const shapes = new Map<string, readonly number[]>();
  for (const [name, heads] of [
    ['q_proj', numHeads],
    ['k_proj', numKeyValueHeads],
    ['v_proj', numKeyValueHeads],
  ] as const) {
    shapes.set(`${name}.weight`, [heads * headDim, D]);
    if (qkvBias) shapes.set(`${name}.bias`, [heads * headDim]);
  }
  return shapes.set('o_proj.weight', [D, numHeads * headDim]);
}

/**
 * @example
 * const gqa = GroupedQueryAttention.init({ hiddenSize: 64, numHeads: 4, numKeyValueHeads: 2, headDim: 16 }, { backend });
 * const y = gqa.forward(x); // x [B, T, 64]
 */
export class GroupedQueryAttention implements Module {
  readonly config: GqaConfig;
  readonly #parameters: Map<string, Tensor>;
  readonly #rope: RopeTable;
  readonly #additions: ReadonlyMap<string, LowRank>;

  /**
   * Takes over parameters named as `parameters()` returns them, and rotary tables of the head's width.
   * @param additions low-rank additions by name (`q_proj`), which are not parameters of the layer
   */
  constructor(
    config: GqaConfig,
    parameters: ReadonlyMap<string, Tensor>,
    rope: RopeTable,
    additions: ReadonlyMap<string, LowRank> = new Map(),
  ) {
    this.config = validate(config);
    checkParameters('groupedQueryAttention', gqaParameterShapes(config), parameters);
    this.#parameters = new Map(parameters);
    this.#rope = rope;
    this.#additions = additions;
  }

  /** A fresh layer. Throws `invalid-config`. */
  static init(config: GqaConfig, options: InitOptions): GroupedQueryAttention {
    validate(config);
    const arena = initArena(options);
    const parameters = initParameters(arena, gqaParameterShapes(config), options);
    return new GroupedQueryAttention(config, parameters, gqaRope(config, arena));
  }

  /** Hugging Face's names below `self_attn.`. */
  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  /** A cache of keys and values for this layer alone. */
  createCache(size: CacheSize & { readonly cacheType?: CacheType | undefined }): ExpandedCache {
    const { numKeyValueHeads: heads, headDim } = this.config;
    const backend = (this.#parameters.get('o_proj.weight') as Tensor).arena.backend;
    return new ExpandedCache(backend, { ...size, heads, keyWidth: headDim, valueWidth: headDim });
  }

  /**
   * Attention over a batch. Differentiable without a cache.
   * @param x [N, D] or [B, T, D] in a transient arena
   * @returns the shape of x
   */
  forward(x: Tensor, options: Omit<AttentionOptions, 'form'> = {}): Tensor {
    const { hiddenSize: D, numHeads, numKeyValueHeads, headDim } = this.config;
    const { cache, layer = 0 } = options;
    check(
      cache?.kind !== 'latent',
      () => 'groupedQueryAttention: expected a cache of keys and values, got a latent cache',
    );
    const { rows, batch } = attentionInput('groupedQueryAttention', x, D, options);
    const project = (name: string, heads: number) => this.#project(name, rows).reshape([-1, heads, headDim]);
    const q = this.#rope.apply(project('q_proj', numHeads), batch.positions);
    let k = this.#rope.apply(project('k_proj', numKeyValueHeads), batch.positions);
    let v = project('v_proj', numKeyValueHeads);
    const scale = headDim ** -0.5;
    let o: Tensor;
    if (cache?.kind === 'expanded') {
      const { rows: places, ranges } = batch.cached!;
      cache.write(layer, k, v, places);
      o = cachedAttention(q, cache, layer, ranges, { scale });
    } else {
      if (batch.shared !== undefined) {
        const { keyRows } = batch.shared;
        const gathered = (x: Tensor) =>
          gatherRows(x.reshape([-1, numKeyValueHeads * headDim]), keyRows).reshape([
            -1,
            numKeyValueHeads,
            headDim,
          ]);
        [k, v] = [gathered(k), gathered(v)];
      }
      o = attention(q, k, v, batch.ranges, { scale });
    }
    return this.#project('o_proj', o.reshape([-1, numHeads * headDim])).reshape(x.shape);
  }

  #project(name: string, x: Tensor): Tensor {
    const weight = this.#parameters.get(`${name}.weight`) as Tensor;
    return lowRankLinear(x, weight, this.#additions.get(name), this.#parameters.get(`${name}.bias`));
  }
}

/** The rotary tables a GQA config asks for, in a persistent arena; layers of a model share them. */
export function gqaRope(config: GqaConfig, arena: Arena): RopeTable {
  const { headDim: width, ropeTheta: theta = 10000, ropeLayout: layout = 'half', yarn, llama3 } = config;
  const scaling = { ...(yarn && { yarn }), ...(llama3 && { llama3 }) };
  return RopeTable.create(arena, { width, theta, layout, ...scaling }, config.maxPositions ?? 4096);
}

function validate(config: GqaConfig): GqaConfig {
  const problems: string[] = [];
  for (const name of ['hiddenSize', 'numHeads', 'numKeyValueHeads', 'headDim'] as const) {
    if (!Number.isSafeInteger(config[name]) || config[name] < 1) {
      problems.push(`${name} a positive integer, got ${config[name]}`);
    }
  }
  const { numHeads, numKeyValueHeads, headDim } = config;
  if (headDim % 2 !== 0) problems.push(`headDim even, got ${headDim}`);
  if (numHeads % numKeyValueHeads !== 0) {
    problems.push(`numKeyValueHeads dividing ${numHeads}, got ${numKeyValueHeads}`);
  }
  if (config.yarn && config.llama3) problems.push('yarn or llama3, got both');
  if (problems.length > 0) {
    throw new MinkeError('invalid-config', `groupedQueryAttention: expected ${problems.join('; ')}`);
  }
  return config;
}
