/**
 * A model of the DeepSeek family whose middle layers see fewer rows: tokens, pre layers, a short convolution where one is
 * asked for, soft token merging, middle layers over entries, dynamic token inflation, post layers, head.
 *
 * The names are those of Yuan et al. (CVPR 2024 workshops), the layout is H-Net's (arXiv 2507.07955); no DeepSeek model
 * contains it. It stands around an existing model and shares its weights: with threshold 0 and no convolution every
 * token is an entry and logits are that model's, bit for bit. Entries are rotated at the position of their boundary and
 * routed to experts like tokens; one of s tokens has gamma log s added to its scores (ToMe, arXiv 2210.09461, equation
 * 1, gamma 1 there). Does not do: multi-token prediction from its own states.
 */
import { type Backend, check } from '@minke/core';
import { type AttentionBatch, type KeyBias, packSequences, type Segment } from '@minke/mla-attention';
import { Arena, add, addParameters, constantInit, linear, type Module, type Tensor } from '@minke/tensor';
import {
  CausalConvolution,
  DynamicTokenInflator,
  type InitOptions,
  type MergeBatch,
  type MergePlan,
  parseTokenBitmap,
  SoftTokenMerger,
  tokenRows,
} from '@minke/tokenizer-merging/merging';
import { runBlocks } from './block.ts';
import { type DeepSeekConfig, isMoeLayer } from './config.ts';
import {
  type DeepSeekModel,
  type ForwardOptions,
  type HiddenResult,
  type ModelBatch,
  selectRows,
} from './deepseek.ts';
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
  extends Pick<ForwardOptions, 'form' | 'outputs'>,
    Pick<MergeBatch, 'protect' | 'boundaries' | 'threshold'> {
  /** Past tokens, from `createState`; the batch must come from its `append`. */
  readonly state?: MergingState;
}

/** What the layers make of a batch. */
export interface MergingHidden extends HiddenResult {
  /** Who became an entry: for the ratio loss and statistics. */
  readonly plan: MergePlan;
  /** Entries of each sequence as rows of the middle layers, whose loads and routings are of entries. */
  readonly entrySegments: readonly Segment[];
}

/** What a pass gives. */
export interface MergingResult extends MergingHidden {
  /** [M, V], M as `outputs` says. */
  readonly logits: Tensor;
}

/** What stands around and in the middle layers of a model. */
export interface MergingParts {
  /** Where the config has a kernel of more than 1. */
  readonly convolution?: CausalConvolution;
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
  readonly convolution: CausalConvolution | null;
  readonly merger: SoftTokenMerger;
  readonly inflator: DynamicTokenInflator;

  /** Of each middle layer where it is learned, [H]. */
  readonly sizeBias: readonly Tensor[];
  /** Of the router `tokens`, [V]. */
  readonly #boundaryTokens: Uint8Array | null;

  /** @param parts made for the model's shape and the config's settings; `init` does */
  constructor(model: DeepSeekModel, config: MergingConfig, parts: MergingParts) {
    this.config = validateMerging(config, model.config);
    this.model = model;
    this.convolution = parts.convolution ?? null;
    this.merger = parts.merger;
    this.inflator = parts.inflator;
    this.sizeBias = parts.sizeBias ?? [];
    const { boundaryTokens } = config;
    this.#boundaryTokens =
      boundaryTokens === undefined ? null : parseTokenBitmap(boundaryTokens, model.config.vocabSize);
    const { hiddenSize, numHeads } = model.config;
    const [kernel, expected] = [this.convolution?.config.kernel ?? 1, config.convKernel ?? 1];
    check(
      kernel === expected,
      () =>
        `MergingTransformer: expected a convolution over ${expected} tokens (1 is none), got one over ${kernel}`,
    );
    const biases = middleLayers(model.config, config).length * Number(learnsBias(config));
    check(
      this.sizeBias.length === biases && this.sizeBias.every(({ size }) => size === numHeads),
      () =>
        `MergingTransformer: expected ${biases} size biases [${numHeads}], got ${this.sizeBias.map(({ shape }) => `[${shape.join(', ')}]`).join(', ') || 'none'}`,
    );
    const same = this.merger.config.maxRun === this.inflator.config.maxRun;
    const widths = [this.convolution, this.merger, this.inflator].map(
      (part) => part?.config.hiddenSize ?? hiddenSize,
    );
    check(
      same && widths.every((width) => width === hiddenSize),
      () =>
        `MergingTransformer: expected a convolution, a merger and an inflator of width ${hiddenSize} with the same maxRun, got widths ${widths.join(', ')}, maxRun ${this.merger.config.maxRun} and ${this.inflator.config.maxRun}`,
    );
  }

  /** Around a model, with a new merger and inflator. Throws `invalid-config`. */
  static init(model: DeepSeekModel, config: MergingConfig, options: InitOptions): MergingTransformer {
    const { convolution, merger, inflator } = partConfigs(model.config, config);
    const { arena = new Arena(model.backend, { persistent: true, label: 'merging weights' }) } = options;
    return new MergingTransformer(model, config, {
      ...(convolution && { convolution: CausalConvolution.init(convolution, { arena }) }),
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

  /** `merging.convolution.*`, `merging.merger.*`, `merging.inflator.*` and `merging.layers.{layer}.size_bias`. */
  mergingParameters(): Map<string, Tensor> {
    const own = new Map<string, Tensor>();
    if (this.convolution) addParameters(own, 'merging.convolution', this.convolution);
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
    return new MergingState(
      this.backend,
      this.model.config as DeepSeekConfig,
      this.config,
      this.merger,
      size,
    );
  }

  /** What training changes, by name: what the model's training does, and merging. */
  trainable(): Map<string, Tensor> {
    return new Map([...this.model.trainable(), ...this.mergingParameters()]);
  }

  /** Whole sequences packed into one batch. Beginnings are not shared: each sequence has its own entries. */
  batch(arena: Arena, sequences: readonly (readonly number[])[]): ModelBatch {
    return this.model.batch(arena, sequences);
  }

  /** [V, D]: logits are `linear(hidden, headWeight)`. */
  get headWeight(): Tensor {
    return this.model.headWeight;
  }

  /** A pass over a batch. The router's probabilities are read on the way. Differentiable without a state. */
  async forward(batch: ModelBatch, options: MergingForwardOptions = {}): Promise<MergingResult> {
    const { outputs = 'all', ...rest } = options;
    const result = await this.#pass(batch, rest);
    const logits = linear(selectRows(result.hidden, batch, outputs), this.headWeight);
    if (options.state) logits.arena.submit(); // a place saved next must find the rows written
    return { logits, ...result };
  }

  /** Hidden states without logits, otherwise as `forward`. */
  async hidden(
    batch: ModelBatch,
    options: Omit<MergingForwardOptions, 'outputs'> = {},
  ): Promise<MergingHidden> {
    const result = await this.#pass(batch, options);
    if (options.state) result.hidden.arena.submit();
    return result;
  }

  /**
   * The model's sequence-wise balance loss, in middle layers over the entries of each sequence: one element, to be added
   * to the main loss.
   */
  balanceLoss(result: MergingHidden, batch: ModelBatch, { alpha }: { alpha: number }): Tensor {
    const { config } = this.model;
    const { preLayers, postLayers } = this.config;
    const { routings, entrySegments, plan } = result;
    const mixtures = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => from + i).filter((layer) => isMoeLayer(config, layer))
        .length;
    const first = mixtures(0, preLayers);
    const last = routings.length - mixtures(config.numLayers - postLayers, config.numLayers);
    const entries = { segments: entrySegments, ids: { size: plan.size.length, arena: batch.ids.arena } };
    const parts = [
      { of: routings.slice(0, first), rows: batch },
      { of: routings.slice(first, last), rows: entries },
      { of: routings.slice(last), rows: batch },
    ];
    return parts
      .filter(({ of }) => of.length > 0)
      .map(({ of, rows }) => this.model.balanceLoss({ routings: of }, rows, { alpha }))
      .reduce((a, b) => add(a, b));
  }

  /** The model's update of every correction bias, from the loads of a whole batch. */
  updateBiases(loads: readonly Tensor[], options: { gamma: number; centred?: boolean }): void {
    this.model.updateBiases(loads, options);
  }

  async #pass(batch: ModelBatch, options: Omit<MergingForwardOptions, 'outputs'>): Promise<MergingHidden> {
    const { state, form, ...decisions } = options;
    const { arena } = batch.ids;
    const { segments } = batch;
    check(
      segments !== undefined && batch.shared === undefined,
      () => 'MergingTransformer: expected a batch of whole or cached sequences without shared prompts',
    );
    const { preLayers, postLayers } = this.config;
    const { layers } = this.model;
    const firstPost = layers.length - postLayers;
    const pinned = form === undefined ? {} : { form };
    const outer = { batch, ...pinned, ...(state && { cache: state.outer }) };
    const pre = runBlocks(layers.slice(0, preLayers), this.model.embed(batch.ids), outer);
    const decided =
      decisions.boundaries ??
      (this.#boundaryTokens && tokenRows(await batch.ids.read(), this.#boundaryTokens));
    const merging: MergeBatch = {
      ...decisions,
      ...(decided && { boundaries: decided }),
      counts: segments.map(({ count }) => count),
      ...(state && { state: state.merge, sequences: segments.map(({ sequence }) => sequence) }),
    };
    const h = this.convolution?.forward(pre.x, merging) ?? pre.x;
    const { entries, plan } = await this.merger.forward(h, merging);
    let middle: ReturnType<typeof runBlocks> = { x: entries, loads: [], routings: [], indexerLosses: [] };
    let entrySegments: readonly Segment[] = [];
    if (plan.size.length > 0) {
      const batchOfEntries = entryBatch(arena, segments, plan, state);
      entrySegments = batchOfEntries.segments ?? [];
      middle = runBlocks(layers.slice(preLayers, firstPost), entries, {
        ...{ batch: batchOfEntries, ...pinned, keepInput: true, keyBiases: this.#keyBiases(arena, plan) },
        ...(state && { cache: state.middle }),
      });
    }
    const inflated = this.inflator.forward(h, entries, middle.x, plan, merging);
    const post = runBlocks(layers.slice(firstPost), inflated, { ...outer, first: preLayers });
    const hidden = this.model.finalNorm(post.x);
    const loads = [...pre.loads, ...middle.loads, ...post.loads];
    const routings = [...pre.routings, ...middle.routings, ...post.routings];
    return { hidden, plan, loads, routings, indexerLosses: [], entrySegments };
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

/** A model, or one that merges tokens before its middle layers. */
export type TransformerModel = DeepSeekModel | MergingTransformer;

/** Whether a model merges, whichever copy of the package made it. */
export function isMerging(model: TransformerModel): model is MergingTransformer {
  return 'merger' in model;
}

/** The model that a merging one stands around, whose weights and settings it shares; another one itself. */
export function plainModel(model: TransformerModel): DeepSeekModel {
  return isMerging(model) ? model.model : model;
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
