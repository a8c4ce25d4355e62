/**
 * A model of the DeepSeek family whose middle layers see fewer rows: tokens, pre layers, soft token merging, middle
 * layers over entries, dynamic token inflation, post layers, head.
 *
 * The names are those of Yuan et al. (CVPR 2024 workshops), the layout is H-Net's (arXiv 2507.07955); no DeepSeek model
 * contains it. It stands around an existing model and shares its weights: with threshold 0 every token is an entry and
 * logits are that model's, bit for bit. Entries are rotated at the position of their boundary and routed to experts
 * like tokens. Does not do: a bias of attention by the sizes of entries, balance losses over entries.
 */
import { type Backend, check } from '@minke/core';
import { type AttentionBatch, packSequences, type Segment } from '@minke/mla-attention';
import { type Arena, addParameters, linear, type Module, type Tensor } from '@minke/tensor';
import {
  DynamicTokenInflator,
  type InitOptions,
  type MergeBatch,
  type MergePlan,
  SoftTokenMerger,
} from '@minke/tokenizer-merging/merging';
import { runBlocks } from './block.ts';
import type { DeepSeekModel, ForwardOptions, ModelBatch } from './deepseek.ts';
import { type MergingConfig, validateMerging } from './merging-config.ts';
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

  /** @param parts made for the model's width and the config's settings; `init` does */
  constructor(
    model: DeepSeekModel,
    config: MergingConfig,
    parts: { readonly merger: SoftTokenMerger; readonly inflator: DynamicTokenInflator },
  ) {
    this.config = validateMerging(config, model.config);
    this.model = model;
    this.merger = parts.merger;
    this.inflator = parts.inflator;
    const { hiddenSize } = model.config;
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
    const { preLayers, postLayers, threshold, mix, smoothing, offsets, refine, ...rest } = validateMerging(
      config,
      model.config,
    );
    const shared = { ...rest, hiddenSize: model.config.hiddenSize };
    const given = <T extends object>(settings: T) =>
      Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
    return new MergingTransformer(model, config, {
      merger: SoftTokenMerger.init({ ...shared, ...given({ threshold, mix }) }, options),
      inflator: DynamicTokenInflator.init({ ...shared, ...given({ smoothing, offsets, refine }) }, options),
    });
  }

  get backend(): Backend {
    return this.model.backend;
  }

  /** The model's parameters, then `merging.merger.*` and `merging.inflator.*`. */
  parameters(): Map<string, Tensor> {
    const all = this.model.parameters();
    addParameters(all, 'merging.merger', this.merger);
    return addParameters(all, 'merging.inflator', this.inflator);
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
        ...{ batch: batchOfEntries, ...pinned, keepInput: true },
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
