/**
 * DeepSeek-V2, V3 and R1: embedding, blocks, head, and V3's multi-token-prediction modules; and the dense Llama and
 * Qwen2 models that R1 was distilled into, of which only attention and feed-forward differ (dense-config.ts).
 *
 * Sources: DeepSeek-V2, arXiv 2405.04434; DeepSeek-V3, arXiv 2412.19437, sections 2.1, 2.2 and 4.2 (initialisation).
 * The MTP projection takes [embedding ; hidden], the order of the released weights, not the paper's. Tokens of all
 * sequences are rows of one batch; nothing is padded. A model can carry low-rank adapters (lora.ts) on frozen weights.
 * Layers may look locally or globally (`layerPlan`) or at what an indexer selects (V3.2). Does not do: quantised weights.
 */
import { type Backend, check, Random } from '@minke/core';
import { type AttentionBatch, type AttentionForm, packSequences, packShared } from '@minke/mla-attention';
import { MoeLayer, type Routing, sequenceBalanceLoss } from '@minke/moe-router';
import {
  type Arena,
  add,
  affine,
  crossEntropy,
  gatherRows,
  type LowRank,
  linear,
  type Module,
  normalInit,
  rmsNorm,
  sum,
  type Tensor,
} from '@minke/tensor';
import { Block, MtpModule, runBlocks, under } from './block.ts';
import { type ModelConfig, validateConfig } from './config.ts';
import {
  type AttentionRopes,
  attentionRopes,
  createAttentionCache,
  type IndexerStage,
  type ModelCache,
  type ModelCacheSize,
} from './layer-attention.ts';
import { checkLora, type Lora } from './lora.ts';
import { parameterShapes } from './names.ts';
import { sharingOf } from './prompt-sharing.ts';

/** Tokens of one forward pass: `packSequences` or a cache's `append`, with their ids. */
export interface ModelBatch extends AttentionBatch {
  /** Token ids, i32 [N]. */
  readonly ids: Tensor;
}

export interface ForwardOptions {
  /** Past tokens, from `createCache`; the batch must come from its `append`. */
  readonly cache?: ModelCache;
  /** Pins the form of attention. Default: by token role beside a latent cache, else expanded. */
  readonly form?: AttentionForm;
  /** Trains the indexers of sparse attention: dense attention first (`warm-up`), then what they select (`sparse`). */
  readonly indexer?: IndexerStage;
  /** Routing replay: experts of each row, i32 [N, K], one tensor for each mixture-of-experts layer in order. */
  readonly choices?: readonly Tensor[];
  /** Rows to compute logits for: every one (default), the last of each segment, or these (i32 [M]). */
  readonly outputs?: 'all' | 'last' | Tensor;
}

/** What the layers make of a batch. */
export interface HiddenResult {
  /** After the final norm, every row, [N, D]. */
  readonly hidden: Tensor;
  /** Choices per expert, f32 [E], one for each mixture-of-experts layer in order. */
  readonly loads: readonly Tensor[];
  /** Scores, choices and weights of each mixture-of-experts layer: what balance losses are computed from. */
  readonly routings: readonly Routing[];
  /** With `indexer`: the loss of each layer's indexer, one element each, to be added to the main loss. */
  readonly indexerLosses: readonly Tensor[];
}

/** Whose rows the routings of a balance loss have: a batch, or the entries of one. */
export interface BalancedRows extends Pick<AttentionBatch, 'segments'> {
  readonly ids: Pick<Tensor, 'size' | 'arena'>;
}

export interface ForwardResult extends HiddenResult {
  /** [M, V], M as `outputs` says. */
  readonly logits: Tensor;
}

/** Where a new model's weights come from. */
export interface ModelInit {
  /** Persistent arena that will own the weights. */
  readonly arena: Arena;
  /** Random stream, or a seed for one. */
  readonly random?: Random;
  readonly seed?: number;
}

/**
 * @example
 * const model = DeepSeekModel.init(config, { arena: new Arena(backend, { persistent: true }), seed: 0 });
 * const step = new Arena(backend, { grad: true });
 * const batch = model.batch(step, [[1, 2, 3], [4, 5]]);
 * const { logits } = model.forward(batch); // [5, V]
 */
export class DeepSeekModel implements Module {
  readonly config: ModelConfig;
  /** Blocks in order; MTP modules follow in `mtp`. */
  readonly layers: readonly Block[];
  readonly mtp: readonly MtpModule[];
  /** The adapter whose additions every pass makes, or null. */
  readonly lora: Lora | null;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #ropes: AttentionRopes;

  /**
   * Takes over parameters named and shaped as `parameterShapes` says. Throws `invalid-argument` on a difference.
   * @param options rotary tables to share, and an adapter: use `withLora`
   */
  constructor(
    config: ModelConfig,
    parameters: ReadonlyMap<string, Tensor>,
    options: { readonly ropes?: AttentionRopes; readonly lora?: Lora | null } = {},
  ) {
    this.config = validateConfig(config);
    const shapes = parameterShapes(config);
    for (const [name, shape] of shapes) {
      const found = parameters.get(name)?.shape;
      check(
        found?.join() === shape.join(),
        () =>
          `DeepSeekModel: expected ${name} [${shape.join(', ')}], got ${found ? `[${found.join(', ')}]` : 'none'}`,
      );
    }
    this.#parameters = new Map([...shapes.keys()].map((name) => [name, parameters.get(name) as Tensor]));
    const { ropes = attentionRopes(config, this.#weight('model.embed_tokens.weight').arena) } = options;
    this.#ropes = ropes;
    this.lora = options.lora ?? null;
    if (this.lora !== null) checkLora(config, this.lora);
    const pairs = this.lora?.pairs ?? new Map<string, LowRank>();
    const count = config.numLayers + config.mtpLayers;
    const blocks = Array.from(
      { length: count },
      (_, i) =>
        new Block(config, i, this.#under(`model.layers.${i}.`), ropes, under(pairs, `model.layers.${i}.`)),
    );
    this.layers = blocks.slice(0, config.numLayers);
    this.mtp = blocks
      .slice(config.numLayers)
      .map((block, k) => new MtpModule(config, this.#under(`model.layers.${config.numLayers + k}.`), block));
  }

  /** A model with published initialisation: normal weights of `config.initStd`, norms of one, zero biases. */
  static init(config: ModelConfig, { arena, seed = 0, random = new Random(seed) }: ModelInit): DeepSeekModel {
    validateConfig(config);
    const parameters = new Map<string, Tensor>();
    for (const [name, shape] of parameterShapes(config)) {
      const size = shape.reduce((product, n) => product * n, 1);
      if (name.endsWith('e_score_correction_bias')) parameters.set(name, arena.zeros(shape));
      else if (startsAtZero(name)) parameters.set(name, arena.parameter(new Float32Array(size), shape));
      else if (name.includes('norm'))
        parameters.set(name, arena.parameter(new Float32Array(size).fill(1), shape));
      else parameters.set(name, normalInit(arena, random, shape, config.initStd));
    }
    return new DeepSeekModel(config, parameters);
  }

  /**
   * This model with an adapter: another model on the same memory, whose own weights have no gradient. This one stays
   * the base without the adapter. Throws `invalid-argument` where the adapter is of another shape.
   *
   * @example
   * const adapted = model.withLora(createLora(model, { r: 8, alpha: 16, targets: ['attention'] }));
   */
  withLora(lora: Lora): DeepSeekModel {
    const frozen = new Map([...this.#parameters].map(([name, tensor]) => [name, tensor.detach()]));
    return new DeepSeekModel(this.config, frozen, { ropes: this.#ropes, lora });
  }

  /** What training changes, by name: every parameter, or beside an adapter its matrices alone. */
  trainable(): Map<string, Tensor> {
    if (this.lora === null) return this.parameters();
    const pairs = new Map<string, Tensor>();
    for (const [name, { a, b }] of this.lora.pairs)
      pairs.set(`${name}.lora_A.weight`, a).set(`${name}.lora_B.weight`, b);
    return pairs;
  }

  get backend(): Backend {
    return this.#weight('model.embed_tokens.weight').arena.backend;
  }

  /** Every parameter by name, in forward order; routed experts packed. The correction bias is one, without gradient. */
  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  /**
   * Whole sequences packed into one batch. With `promptLengths`, neighbours whose first tokens (so many of each) are
   * the same compute them once (`packShared`): the batch has fewer rows then, and `shared.rowOf` says which of them
   * computes each token of the concatenated sequences.
   */
  batch(
    arena: Arena,
    sequences: readonly (readonly number[])[],
    { promptLengths }: { readonly promptLengths?: readonly number[] } = {},
  ): ModelBatch {
    const sharing = promptLengths === undefined ? undefined : sharingOf(sequences, promptLengths);
    if (sharing?.some(({ shared }) => shared)) {
      const { batch, tokens } = packShared(arena, sharing);
      const all = sequences.flat();
      const rows = Array.from(tokens, (token) => all[token] as number);
      return { ids: arena.tensor(rows, [rows.length], 'i32'), ...batch };
    }
    const ids = arena.tensor(sequences.flat(), [sequences.reduce((n, s) => n + s.length, 0)], 'i32');
    const lengths = sequences.map((sequence) => sequence.length);
    return { ids, ...packSequences(arena, lengths) };
  }

  /**
   * A cache for all layers: latents, or with `form: 'expanded'` every head's keys and values; with a layer plan rings
   * of latents for local layers, with an indexer its keys too.
   *
   * @example
   * const cache = model.createCache({ maxTokens: 512, sequences: 8 });
   * const batch = cache.append(arena, [{ sequence: 0, count: prompt.length, role: 'prompt' }]);
   * model.forward({ ids: arena.tensor(prompt, [prompt.length], 'i32'), ...batch }, { cache, outputs: 'last' });
   */
  createCache(size: ModelCacheSize): ModelCache {
    const { maxPositions } = this.config;
    check(
      size.maxTokens <= maxPositions,
      () =>
        `createCache: expected at most ${maxPositions} tokens (the model's context), got ${size.maxTokens}`,
    );
    return createAttentionCache(this.backend, this.config, size);
  }

  /** Logits and hidden states of a batch. Differentiable in an arena with gradients, without a cache. */
  forward(batch: ModelBatch, options: ForwardOptions = {}): ForwardResult {
    const { outputs = 'all', ...attention } = options;
    const result = this.hidden(batch, attention);
    return { logits: this.#head(selectRows(result.hidden, batch, outputs)), ...result };
  }

  /** Hidden states without logits: for another head, or a loss that computes logits itself. Differentiable likewise. */
  hidden(batch: ModelBatch, options: Omit<ForwardOptions, 'outputs'> = {}): HiddenResult {
    const { x, ...routed } = runBlocks(this.layers, this.embed(batch.ids), { ...options, batch });
    return { hidden: this.finalNorm(x), ...routed };
  }

  /**
   * What MTP module `depth` predicts: for row i, from the previous depth's hidden state and the token
   * `depth + 1` places after it, the token `depth + 2` places after it.
   * @param hidden `forward`'s (depth 0) or the previous depth's, [N, D]
   * @param batch the same rows; `ids` are the following tokens, -1 where a sequence has none
   * @returns `hidden` for the next depth, and logits [N, V]
   */
  predictAhead(
    depth: number,
    hidden: Tensor,
    batch: ModelBatch,
  ): { logits: Tensor; hidden: Tensor; load: Tensor | null } {
    const module = this.mtp[depth];
    check(
      module !== undefined,
      () => `predictAhead: expected a depth below ${this.mtp.length}, got ${depth}`,
    );
    const embedded = this.embed(batch.ids);
    const result = module.forward(hidden, embedded, batch);
    return { logits: this.#head(result.hidden), ...result };
  }

  /**
   * The MTP loss, V3 section 2.2: weight / D times the sum over depths of the mean cross-entropy of the tokens two
   * and more places ahead. One element, to be added to the main loss.
   * @param sequences the batch's token ids, as they were given to `batch`
   */
  mtpLoss(
    hidden: Tensor,
    batch: ModelBatch,
    sequences: readonly (readonly number[])[],
    { weight }: { weight: number },
  ): Tensor {
    check(this.mtp.length > 0, () => 'mtpLoss: expected a model with MTP modules, got none');
    check(
      batch.shared === undefined,
      () =>
        'mtpLoss: expected a batch without shared prompts, got one; the token after a row would depend on the sequence',
    );
    const { arena } = hidden;
    const ahead = (n: number) => sequences.flatMap((s) => s.map((_, i) => s[i + n] ?? -1));
    const upload = (ids: number[]) => arena.tensor(ids, [ids.length], 'i32');
    let loss: Tensor | null = null;
    for (let depth = 0; depth < this.mtp.length; depth++) {
      const predicted = this.predictAhead(depth, hidden, { ...batch, ids: upload(ahead(depth + 1)) });
      const targets = ahead(depth + 2);
      const count = targets.filter((id) => id >= 0).length;
      const scale = weight / (this.mtp.length * Math.max(count, 1));
      const term = affine(sum(crossEntropy(predicted.logits, upload(targets))), scale, 0);
      loss = loss ? add(loss, term) : term;
      hidden = predicted.hidden;
    }
    return loss as Tensor;
  }

  /** V3's sequence-wise balance loss, section 2.1.2, summed over layers: one element, to be added to the main loss. */
  balanceLoss(
    { routings }: Pick<HiddenResult, 'routings'>,
    { segments, ids }: BalancedRows,
    { alpha }: { alpha: number },
  ): Tensor {
    check(
      segments !== undefined && routings.length > 0,
      () => 'balanceLoss: expected segments and routings, got none',
    );
    const rows = ids.size;
    const averaging = new Float32Array(segments.length * rows);
    for (const [s, { start, count, prefix }] of segments.entries()) {
      const weight = 1 / (count + (prefix?.count ?? 0));
      for (const part of prefix ? [prefix, { start, count }] : [{ start, count }])
        averaging.fill(weight, s * rows + part.start, s * rows + part.start + part.count);
    }
    const weights = ids.arena.tensor(averaging, [segments.length, rows]);
    const topK = (this.config.moe as { topK: number }).topK;
    return routings
      .map(({ scores }) => sequenceBalanceLoss(scores, weights, { topK, alpha }))
      .reduce((a, b) => add(a, b));
  }

  /** The auxiliary-loss-free update of every correction bias, from `forward`'s loads of a whole batch. */
  updateBiases(loads: readonly Tensor[], options: { gamma: number; centred?: boolean }): void {
    const layers = this.layers.flatMap(({ mlp }) => (mlp instanceof MoeLayer ? [mlp] : []));
    loads.forEach((load, i) => {
      layers[i]?.updateBias(load, options);
    });
  }

  /** Embeddings [N, D] of token ids i32 [N]; zeros for ids outside the vocabulary. */
  embed(ids: Tensor): Tensor {
    return gatherRows(this.#weight('model.embed_tokens.weight'), ids);
  }

  /** The norm between the last block and the head, [N, D]. */
  finalNorm(x: Tensor): Tensor {
    return rmsNorm(x, this.#weight('model.norm.weight'), this.config.normEps);
  }

  /** [V, D]: logits are `linear(hidden, headWeight)`. */
  get headWeight(): Tensor {
    return this.#weight(this.config.tieEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight');
  }

  #head(x: Tensor): Tensor {
    return linear(x, this.headWeight);
  }

  #weight(name: string): Tensor {
    return this.#parameters.get(name) as Tensor;
  }

  #under(prefix: string): Map<string, Tensor> {
    return under(this.#parameters, prefix);
  }
}

/** Biases, and what attention has beside DeepSeek's: at zero a layer begins as latent attention. */
function startsAtZero(name: string): boolean {
  return name.endsWith('.bias') || name.endsWith('.sinks') || name.includes('.far_bias.');
}

/** The rows of hidden states that logits are wanted for. */
export function selectRows(hidden: Tensor, batch: AttentionBatch, outputs: 'all' | 'last' | Tensor): Tensor {
  if (outputs === 'all') return hidden;
  if (outputs !== 'last') return gatherRows(hidden, outputs);
  const { segments } = batch;
  check(segments !== undefined, () => "forward: expected a batch with segments for outputs 'last', got none");
  const last = segments.map(({ start, count }) => start + count - 1);
  if (last.length === hidden.shape[0]) return hidden;
  return gatherRows(hidden, hidden.arena.tensor(last, [last.length], 'i32'));
}
