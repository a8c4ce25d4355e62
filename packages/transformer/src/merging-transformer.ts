/**
 * A model of the DeepSeek family whose middle layers see fewer rows: tokens, pre layers, soft token merging, middle
 * layers over entries, dynamic token inflation, post layers, head.
 *
 * The names are those of Yuan et al. (CVPR 2024 workshops), the layout is H-Net's (arXiv 2507.07955); no DeepSeek model
 * contains it. It stands around an existing model and shares its weights: with threshold 0 every token is an entry and
 * logits are that model's, bit for bit. Entries are rotated at the position of their boundary and routed to experts
 * like tokens; one of s tokens has gamma log s added to its scores (ToMe, arXiv 2210.09461, equation 1, gamma 1 there).
 * Does not do: balance losses over entries.
 */
import { type Backend, check } from '@minke/core';
import { type AttentionBatch, type KeyBias, packSequences, type Segment } from '@minke/mla-attention';
import { Arena, addParameters, constantInit, linear, type Module, type Tensor } from '@minke/tensor';
import {
  DynamicTokenInflator,
  type InitOptions,
  type MergeBatch,
  type MergePlan,
  SoftTokenMerger,
} from '@minke/tokenizer-merging/merging';
import { runBlocks } from './block.ts';
import type { DeepSeekModel, ForwardOptions, ModelBatch } from './deepseek.ts';
import {
  learnsBias,
  type MergingConfig,
  middleLayers,
  partConfigs,
  validateMerging,
} from './merging-config.ts';
import { MergingState, type MergingStateSize } from './merging-state.ts';

/** What a pass takes beside its tokens. */
export interface MergingForwardOptions
  extends Pick<ForwardOptions, 'form'>,
    Pick<MergeBatch, 'protect' | 'boundaries' | 'threshold'> {
  /** Past tokens, from `createState`; the batch must come from its `append`. */
  readonly state?: MergingState;
}

/** What a pass gives. */
export interface MergingResult {
  /** [N, V] */
  readonly logits: Tensor;
  /** After the final norm, [N, D]. */
  readonly hidden: Tensor;
  /** Who became an entry: for the ratio loss and statistics. */
  readonly plan: MergePlan;
  /** Choices per expert, as the model's own; of entries in middle layers, which do not run where there are none. */
  readonly loads: readonly Tensor[];
}

/** What stands around and in the middle layers of a model. */
export interface MergingParts {
  readonly merger: SoftTokenMerger;
  readonly inflator: DynamicTokenInflator;
  /** For each middle layer where the config says `learned`, [H]. */
  readonly sizeBias?: readonly Tensor[];
}

/**
 * @example
 * const merging = MergingTransformer.init(model, { preLayers: 2, postLayers: 2 }, { arena });
 * const { logits, plan } = await merging.forward(model.batch(step, [[1, 2, 3], [4, 5]]));
 */
export class MergingTransformer implements Module {
  readonly model: DeepSeekModel;
  readonly config: MergingConfig;
  readonly merger: SoftTokenMerger;
  readonly inflator: DynamicTokenInflator;

  /** Of each middle layer where it is learned, [H]. */
  readonly sizeBias: readonly Tensor[];

  /** @param parts made for the model's shape and the config's settings; `init` does */
  constructor(model: DeepSeekModel, config: MergingConfig, parts: MergingParts) {
    this.config = validateMerging(config, model.config);
    this.model = model;
    this.merger = parts.merger;
    this.inflator = parts.inflator;
    this.sizeBias = parts.sizeBias ?? [];
    const { hiddenSize, numHeads } = model.config;
    const biases = middleLayers(model.config, config).length * Number(learnsBias(config));
    check(
      this.sizeBias.length === biases && this.sizeBias.every(({ size }) => size === numHeads),
      () =>
        `MergingTransformer: expected ${biases} size biases [${numHeads}], got ${this.sizeBias.map(({ shape }) => `[${shape.join(', ')}]`).join(', ') || 'none'}`,
    );
    const same = this.merger.config.maxRun === this.inflator.config.maxRun;
    const widths = [this.merger.config.hiddenSize, this.inflator.config.hiddenSize];
    check(
      same && widths.every((width) => width === hiddenSize),
      () =>
        `MergingTransformer: expected a merger and an inflator of width ${hiddenSize} with the same maxRun, got widths ${widths.join(' and ')}, maxRun ${this.merger.config.maxRun} and ${this.inflator.config.maxRun}`,
    );
  }

  /** Around a model, with a new merger and inflator. Throws `invalid-config`. */
  static init(model: DeepSeekModel, config: MergingConfig, options: InitOptions): MergingTransformer {
    const { merger, inflator } = partConfigs(model.config, config);
    const { arena = new Arena(model.backend, { persistent: true, label: 'merging weights' }) } = options;
    return new MergingTransformer(model, config, {
      merger: SoftTokenMerger.init(merger, { arena }),
      inflator: DynamicTokenInflator.init(inflator, { arena }),
      sizeBias: learnsBias(config)
        ? middleLayers(model.config, config).map(() => constantInit(arena, [model.config.numHeads], 0))
        : [],
    });
  }

  get backend(): Backend {
    return this.model.backend;
  }

  /** The model's parameters, then those of merging. */
  parameters(): Map<string, Tensor> {
    return new Map([...this.model.parameters(), ...this.mergingParameters()]);
  }

  /** `merging.merger.*`, `merging.inflator.*` and `merging.layers.{layer}.size_bias`. */
  mergingParameters(): Map<string, Tensor> {
    const own = new Map<string, Tensor>();
    addParameters(own, 'merging.merger', this.merger);
    addParameters(own, 'merging.inflator', this.inflator);
    const layers = middleLayers(this.model.config, this.config);
    for (const [i, bias] of this.sizeBias.entries()) own.set(`merging.layers.${layers[i]}.size_bias`, bias);
    return own;
  }

  /**
   * @example
   * using state = merging.createState({ maxTokens: 512 });
   * const batch = state.append(arena, [{ sequence: 0, count: ids.length, role: 'prompt' }]);
   * await merging.forward({ ids: arena.tensor(ids, [ids.length], 'i32'), ...batch }, { state });
   */
  createState(size: MergingStateSize): MergingState {
    return new MergingState(this.backend, this.model.config, this.config, this.merger, size);
  }

  /** A pass over a batch. The router's probabilities are read on the way. Differentiable without a state. */
  async forward(batch: ModelBatch, options: MergingForwardOptions = {}): Promise<MergingResult> {
    const { state, form, ...decisions } = options;
    const { arena } = batch.ids;
    const { segments } = batch;
    check(
      segments !== undefined && batch.shared === undefined,
      () => 'MergingTransformer: expected a batch of whole or cached sequences without shared prompts',
    );
    const { preLayers, postLayers } = this.config;
    const { layers, headWeight } = this.model;
    const firstPost = layers.length - postLayers;
    const pinned = form === undefined ? {} : { form };
    const outer = { batch, ...pinned, ...(state && { cache: state.outer }) };
    const pre = runBlocks(layers.slice(0, preLayers), this.model.embed(batch.ids), outer);
    const h = pre.x;
    const merging: MergeBatch = {
      ...decisions,
      counts: segments.map(({ count }) => count),
      ...(state && { state: state.merge, sequences: segments.map(({ sequence }) => sequence) }),
    };
    const { entries, plan } = await this.merger.forward(h, merging);
    let middle: Pick<ReturnType<typeof runBlocks>, 'x' | 'loads'> = { x: entries, loads: [] };
    if (plan.size.length > 0) {
      const batchOfEntries = entryBatch(arena, segments, plan, state);
      middle = runBlocks(layers.slice(preLayers, firstPost), entries, {
        ...{ batch: batchOfEntries, ...pinned, keepInput: true, keyBiases: this.#keyBiases(arena, plan) },
        ...(state && { cache: state.middle }),
      });
    }
    const inflated = this.inflator.forward(h, entries, middle.x, plan, merging);
    const post = runBlocks(layers.slice(firstPost), inflated, { ...outer, first: preLayers });
    const hidden = this.model.finalNorm(post.x);
    const logits = linear(hidden, headWeight);
    const loads = [...pre.loads, ...middle.loads, ...post.loads];
    if (state) arena.submit(); // a place saved next must find the rows written
    return { logits, hidden, plan, loads };
  }

  /** What the sizes of entries add to scores, for each middle layer. */
  #keyBiases(arena: Arena, { logSize }: MergePlan): KeyBias[] | undefined {
    const { sizeBias = 'learned' } = this.config;
    if (sizeBias === 0) return undefined;
    const of = arena.tensor(logSize, [logSize.length]);
    if (sizeBias === 'learned') return this.sizeBias.map((weights) => ({ of, weights }));
    const { numHeads } = this.model.config;
    const weights = arena.tensor(new Float32Array(numHeads).fill(sizeBias), [numHeads]);
    return middleLayers(this.model.config, this.config).map(() => ({ of, weights }));
  }
}

/** The entries of a plan as a batch: each sequence's own, rotated where their boundaries are. */
function entryBatch(
  arena: Arena,
  segments: readonly Segment[],
  plan: MergePlan,
  state: MergingState | undefined,
): AttentionBatch {
  const counts = segments.map(
    (_, b) => (plan.entryOffsets[b + 1] as number) - (plan.entryOffsets[b] as number),
  );
  const positions = arena.tensor(plan.entryPosition, [plan.entryPosition.length], 'i32');
  if (state === undefined) return { ...packSequences(arena, counts), positions };
  const requests = segments.map(({ sequence, role }, b) => ({ sequence, role, count: counts[b] as number }));
  const some = requests.filter(({ count }) => count > 0);
  return { ...state.middle.append(arena, some), positions };
}
