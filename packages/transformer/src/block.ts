/**
 * The parts that a model of the DeepSeek family repeats: a block of latent attention and (mixture-of-experts) SwiGLU,
 * and V3's module that predicts one token further ahead (DeepSeek-V3, arXiv 2412.19437, sections 2.1 and 2.2).
 */
import type { AttentionBatch, KeyBias } from '@minke/mla-attention';
import { MoeLayer, type Routing } from '@minke/moe-router';
import {
  add,
  concat,
  type LowRank,
  linear,
  lowRankLinear,
  type Module,
  rmsNorm,
  swiglu,
  type Tensor,
} from '@minke/tensor';
import { isMoeLayer, type ModelConfig } from './config.ts';
import {
  type AttentionRopes,
  createLayerAttention,
  type LayerAttention,
  type LayerAttentionOptions,
} from './layer-attention.ts';

/** What a block needs to know about the pass. */
export interface BlockOptions extends LayerAttentionOptions {
  /** Experts of each row, i32 [N, K], instead of the router's choice; nothing to a dense feed-forward. */
  readonly choices?: Tensor | undefined;
}

/** What comes out of a block; `load` and `routing` are null where its feed-forward is dense. */
export interface BlockResult {
  readonly x: Tensor;
  readonly indexerLoss: Tensor | null;
  readonly load: Tensor | null;
  readonly routing: Routing | null;
}

/** One layer: x + attention(norm(x)), then x + feed-forward(norm(x)). */
export class Block {
  readonly attention: LayerAttention;
  /** Replaceable, like `attention`: anything with the same `forward`. */
  readonly mlp: MoeLayer | DenseMlp;
  readonly #attentionNorm: Tensor;
  readonly #mlpNorm: Tensor;
  readonly #eps: number;

  constructor(
    config: ModelConfig,
    layer: number,
    parameters: ReadonlyMap<string, Tensor>,
    ropes: AttentionRopes,
    additions: ReadonlyMap<string, LowRank> = new Map(),
  ) {
    this.attention = createLayerAttention(
      config,
      layer,
      under(parameters, 'self_attn.'),
      ropes,
      under(additions, 'self_attn.'),
    );
    const [mlp, added] = [under(parameters, 'mlp.'), under(additions, 'mlp.')];
    const moe = isMoeLayer(config, layer) ? config.moe : null;
    this.mlp = moe
      ? new MoeLayer({ ...moe, hiddenSize: config.hiddenSize }, mlp, added)
      : new DenseMlp(mlp, added);
    this.#attentionNorm = parameters.get('input_layernorm.weight') as Tensor;
    this.#mlpNorm = parameters.get('post_attention_layernorm.weight') as Tensor;
    this.#eps = config.normEps;
  }

  forward(x: Tensor, options: BlockOptions): BlockResult {
    const attended = this.attention.forward(rmsNorm(x, this.#attentionNorm, this.#eps), options);
    const h = add(x, attended.output);
    const input = rmsNorm(h, this.#mlpNorm, this.#eps);
    const { choices } = options;
    const { output, load = null, routing = null } = this.mlp.forward(input, { choices });
    return { x: add(h, output), indexerLoss: attended.indexerLoss, load, routing };
  }
}

/** What blocks that follow one another need to know, and what the pass keeps. */
export interface StackOptions extends Omit<BlockOptions, 'layer' | 'choices' | 'keyBias'> {
  /** Layer of the cache that the first block has. Default 0. */
  readonly first?: number;
  /** As a block's, one for each mixture-of-experts layer in order. */
  readonly choices?: readonly Tensor[] | undefined;
  /** As a block's, one for each block. */
  readonly keyBiases?: readonly KeyBias[] | undefined;
  /** Leave the input to its owner where no gradient is recorded. Default false: it is given back after the first block. */
  readonly keepInput?: boolean;
}

/** Blocks in order, and what their routers chose. */
export function runBlocks(
  blocks: readonly Block[],
  input: Tensor,
  { first = 0, choices, keyBiases, keepInput = false, ...options }: StackOptions,
): { x: Tensor; loads: Tensor[]; routings: Routing[]; indexerLosses: Tensor[] } {
  const { arena } = input;
  const loads: Tensor[] = [];
  const routings: Routing[] = [];
  const indexerLosses: Tensor[] = [];
  let x = input;
  blocks.forEach((block, i) => {
    const keyBias = keyBiases?.[i];
    const own = {
      ...{ ...options, layer: first + i, choices: choices?.[routings.length] },
      ...(keyBias && { keyBias }),
    };
    const result = arena.scope(() => block.forward(x, own));
    if (!arena.recordsGradients && !(keepInput && i === 0)) x.dispose();
    x = result.x;
    if (result.load) loads.push(result.load);
    if (result.routing) routings.push(result.routing);
    if (result.indexerLoss) indexerLosses.push(result.indexerLoss);
  });
  return { x, loads, routings, indexerLosses };
}

/** A dense SwiGLU: down(silu(gate x) up x). */
export class DenseMlp implements Module {
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #additions: ReadonlyMap<string, LowRank>;

  /** @param additions low-rank additions by name (`up_proj`) */
  constructor(parameters: ReadonlyMap<string, Tensor>, additions: ReadonlyMap<string, LowRank> = new Map()) {
    this.#parameters = parameters;
    this.#additions = additions;
  }

  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  forward(x: Tensor, _options?: object): { output: Tensor; load?: Tensor; routing?: Routing } {
    const project = (input: Tensor, name: string) =>
      lowRankLinear(input, this.#parameters.get(`${name}.weight`) as Tensor, this.#additions.get(name));
    return { output: project(swiglu(project(x, 'gate_proj'), project(x, 'up_proj')), 'down_proj') };
  }
}

/** A multi-token-prediction module: a block over [norm(embedding) ; norm(hidden)] projected to the model's width. */
export class MtpModule {
  readonly block: Block;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #eps: number;

  constructor(config: ModelConfig, parameters: ReadonlyMap<string, Tensor>, block: Block) {
    this.block = block;
    this.#parameters = parameters;
    this.#eps = config.normEps;
  }

  /** @returns the hidden states after the module's own norm, for the shared head and the next module. */
  forward(hidden: Tensor, embedded: Tensor, batch: AttentionBatch): { hidden: Tensor; load: Tensor | null } {
    const norm = (x: Tensor, name: string) => rmsNorm(x, this.#get(`${name}.weight`), this.#eps);
    const joined = concat([norm(embedded, 'enorm'), norm(hidden, 'hnorm')], 1);
    const { x, load } = this.block.forward(linear(joined, this.#get('eh_proj.weight')), { batch });
    return { hidden: norm(x, 'shared_head.norm'), load };
  }

  #get(name: string): Tensor {
    return this.#parameters.get(name) as Tensor;
  }
}

/** Entries whose names begin with the prefix, without it. */
export function under<T>(all: ReadonlyMap<string, T>, prefix: string): Map<string, T> {
  const found = new Map<string, T>();
  for (const [name, value] of all) if (name.startsWith(prefix)) found.set(name.slice(prefix.length), value);
  return found;
}
