/**
 * One forward pass over rows of several sequences, beside the latent cache: what the engine runs again and
 * again.
 *
 * A chunk's tokens are appended to its cache region and the logits of its last row come back. Prompt rows run
 * in the expanded form, generated rows absorbed (`@minke/mla-attention`). A pass that fails leaves every region
 * as long as it was, so the caller may try again with fewer chunks. One pass at a time.
 *
 * A pass over one generated token of each sequence is, where the model allows it, recorded once for each batch size and then run again as
 * a plan: recording some hundreds of commands takes longer than computing them for a small model.
 */
import { type Backend, MinkeError, type RandomState } from '@minke/core';
import type { TokenRole } from '@minke/mla-attention';
import {
  Arena,
  gatherRows,
  mul,
  PackedWeights,
  type Plan,
  type SampledTokens,
  SamplingInputs,
  type SamplingRows,
  sampleTokens,
  type Tensor,
} from '@minke/tensor';
import {
  headName,
  isLatentProjection,
  isQuantizable,
  type ModelBatch,
  plainModel,
  type TransformerModel,
  tokenTable,
} from '@minke/transformer';
import { type DrawnToken, drawToken, type SamplingParams } from './sampling.ts';
import { type StepMemory, type StepModel, stepModel } from './step-model.ts';

/** New tokens of one sequence. */
export interface Chunk {
  /** Cache region. */
  readonly slot: number;
  /** At least one token id. */
  readonly ids: Int32Array;
  readonly role: TokenRole;
}

/** A token to draw after the last one of a chunk. */
export interface Draw {
  /** Index of the chunk; several draws may name the same one. */
  readonly chunk: number;
  readonly sampling: SamplingParams;
  /** Where the random stream stands; see `wordsOfDraw` for how far a draw moves it. */
  readonly random: RandomState;
}

/** Memory, and how tokens are drawn. */
export interface ModelStepOptions extends StepMemory {
  /** Log-probabilities at the temperature of each draw. Default: of the logits as they are. */
  readonly temperedLogProbs?: boolean | undefined;
  /** Keeps packed forms of the weights, and computes from those. Default false. */
  readonly packWeights?: boolean | undefined;
  /** Rounds them to 8 or 4 bits, and computes from those. Default: as they are. */
  readonly quantize?: QuantizedStorage | undefined;
}

/** Decoding plans kept, of different batch sizes; each holds the memory of one pass over its rows. */
const keptPlans = 8;

/** Draws whose settings the device reads, and where their tokens come out. */
interface Sampling {
  readonly inputs: SamplingInputs;
  /** 1 / temperature of each row, [rows, 1]; null where logits are drawn from as they are. */
  readonly scales: Tensor | null;
  readonly sampled: SampledTokens;
}

/** A decoding pass over a fixed number of rows: what it reads, and where its results come out. */
interface DecodingPlan {
  readonly arena: Arena;
  readonly batch: ModelBatch;
  readonly logits: Tensor;
  /** One draw a row; null for a plan without draws. */
  readonly sampling: Sampling | null;
  readonly plan: Plan;
}

export class ModelStep {
  readonly #backend: Backend;
  readonly #vocabSize: number;
  readonly #model: StepModel;
  readonly #tempered: boolean;
  readonly #packed: PackedWeights | null;
  readonly #arena: Arena;
  /** By number of rows, draws and shared beginnings; least recently used first. */
  readonly #plans = new Map<string, DecodingPlan>();

  /** Takes cache memory for `slots` regions of `maxTokens` tokens. Throws `out-of-memory`. */
  constructor(model: TransformerModel, options: ModelStepOptions) {
    this.#backend = model.backend;
    this.#vocabSize = plainModel(model).config.vocabSize;
    this.#tempered = options.temperedLogProbs ?? false;
    const { packWeights, quantize } = options;
    this.#packed = packedWeightsOf(model, { packWeights, quantize });
    try {
      this.#model = stepModel(model, options);
    } catch (problem) {
      this.#packed?.dispose();
      throw problem;
    }
    this.#arena = this.#newArena('generation step');
  }

  /** Bytes of packed weights. */
  get packedBytes(): number {
    return this.#packed?.bytes ?? 0;
  }

  #newArena(label: string): Arena {
    return new Arena(this.#backend, this.#packed === null ? { label } : { label, packed: this.#packed });
  }

  /** Bytes of memory of past tokens. */
  get cacheBytes(): number {
    return this.#model.bytes;
  }

  /** Tokens a region holds. */
  length(slot: number): number {
    return this.#model.length(slot);
  }

  /** Forgets a region. */
  clear(slot: number): void {
    this.#model.clear(slot);
  }

  /** Makes region `to` hold what `from` holds; where the cache can, it reads it there (`lends`). */
  share(from: number, to: number): void {
    this.#model.share(this.#arena, from, to);
  }

  /** Whether another region reads what this one holds: it must not be cleared yet. */
  lends(slot: number): boolean {
    return this.#model.lends(slot);
  }

  /** Appends the chunks and returns the logits after each one's last token, [chunks, V]. */
  run(chunks: readonly Chunk[]): Promise<Float32Array> {
    return this.#orRestore(chunks, async () => {
      if (this.#repeats(chunks)) return hostLogits(await (await this.#decode(chunks, null)).logits.read());
      try {
        return hostLogits(await (await this.#record(this.#arena, chunks)).logits.read());
      } finally {
        this.#arena.reset();
      }
    });
  }

  /** Appends the chunks and draws tokens after them, on the device where it can. */
  async draw(chunks: readonly Chunk[], draws: readonly Draw[]): Promise<DrawnToken[]> {
    if (!this.#backend.supports('sample')) {
      const logits = await this.run(chunks);
      const vocabSize = this.#vocabSize;
      return draws.map((draw) => {
        const row = logits.subarray(draw.chunk * vocabSize, (draw.chunk + 1) * vocabSize);
        const [scale, { sampling, random }] = [this.#scaleOf(draw), this.#settingsOf(draw)];
        return drawToken(scale === 1 ? row : row.map((logit) => logit * scale), sampling, random);
      });
    }
    return this.#orRestore(chunks, async () => {
      const oneEach = draws.length === chunks.length && draws.every(({ chunk }, i) => chunk === i);
      if (this.#repeats(chunks) && oneEach)
        return readDrawn((await this.#decode(chunks, draws)).sampling!.sampled);
      try {
        const { logits } = await this.#record(this.#arena, chunks);
        if (draws.length === 0) return [];
        const rows = this.#arena.tensor(
          draws.map(({ chunk }) => chunk),
          [draws.length],
          'i32',
        );
        return await readDrawn(this.#sample(this.#arena, gatherRows(logits, rows), draws).sampled);
      } finally {
        this.#arena.reset();
      }
    });
  }

  /** Whether the pass can be a plan: one generated token each, beside a cache that recorded passes follow. */
  #repeats(chunks: readonly Chunk[]): boolean {
    return this.#model.repeats && isDecoding(chunks);
  }

  /** Runs `f`; when it fails, every region of the chunks is again as long as it was. */
  async #orRestore<T>(chunks: readonly Chunk[], f: () => Promise<T>): Promise<T> {
    const before = chunks.map(({ slot }) => this.#model.length(slot));
    this.#packed?.refresh();
    try {
      return await f();
    } catch (problem) {
      chunks.forEach(({ slot }, i) => {
        this.#model.takeBack(slot, before[i] as number);
      });
      throw problem;
    }
  }

  /** Runs the plan for as many rows, which is made at first. `draws`: one a row, or null for none. */
  async #decode(chunks: readonly Chunk[], draws: readonly Draw[] | null): Promise<DecodingPlan> {
    this.#arena.submit(); // copies of regions that this step reads
    const slots = chunks.map(({ slot }) => slot);
    const key = `${slots.length} ${draws === null ? 'logits' : 'draws'} ${this.#model.shares(slots)}`;
    let kept = this.#plans.get(key);
    if (kept === undefined) kept = await this.#makePlan(chunks, draws);
    else {
      this.#model.appendAgain(kept.batch, slots);
      kept.batch.ids.write(chunks.map(({ ids }) => ids[0] as number));
      if (draws !== null) this.#rewrite(kept.sampling as Sampling, draws);
      kept.plan.run();
    }
    this.#plans.delete(key);
    this.#plans.set(key, kept);
    return kept;
  }

  /** Records and runs a decoding pass; the least recently used plan makes room for it. */
  async #makePlan(chunks: readonly Chunk[], draws: readonly Draw[] | null): Promise<DecodingPlan> {
    let arena: Arena | undefined;
    const [oldest] = this.#plans;
    if (this.#plans.size >= keptPlans && oldest !== undefined) {
      this.#plans.delete(oldest[0]);
      arena = oldest[1].arena;
      arena.reset();
    }
    arena ??= this.#newArena('decoding plan');
    try {
      const { batch, logits } = await this.#record(arena, chunks);
      const sampling = draws === null ? null : this.#sample(arena, logits, draws);
      return { arena, batch, logits, sampling, plan: arena.keep() };
    } catch (problem) {
      arena.dispose();
      throw problem;
    }
  }

  /** Draws one token a row. Tempered logits are drawn from at temperature 1, so that all figures are theirs. */
  #sample(arena: Arena, logits: Tensor, draws: readonly Draw[]): Sampling {
    const inputs = new SamplingInputs(arena, samplingRows(draws.map(this.#settingsOf)));
    if (!this.#tempered) return { inputs, scales: null, sampled: sampleTokens(logits, inputs) };
    const scales = arena.tensor(draws.map(this.#scaleOf), [draws.length, 1]);
    return { inputs, scales, sampled: sampleTokens(mul(logits, scales), inputs) };
  }

  #rewrite({ inputs, scales }: Sampling, draws: readonly Draw[]): void {
    inputs.write(samplingRows(draws.map(this.#settingsOf)));
    scales?.write(draws.map(this.#scaleOf));
  }

  /** What logits are multiplied by before a draw. */
  readonly #scaleOf = ({ sampling: { temperature } }: Draw): number =>
    this.#tempered && temperature > 0 ? 1 / temperature : 1;

  /** The draw's settings after the logits were scaled. */
  readonly #settingsOf = (draw: Draw): Draw =>
    this.#tempered && draw.sampling.temperature > 0
      ? { ...draw, sampling: { ...draw.sampling, temperature: 1 } }
      : draw;

  async #record(arena: Arena, chunks: readonly Chunk[]): Promise<{ batch: ModelBatch; logits: Tensor }> {
    const rows = chunks.flatMap(({ ids }) => [...ids]);
    const ids = arena.tensor(rows, [rows.length], 'i32');
    const requests = chunks.map(({ slot, ids, role }) => ({ sequence: slot, count: ids.length, role }));
    const batch = { ids, ...this.#model.append(arena, requests) };
    return { batch, logits: await this.#model.logits(batch) };
  }

  dispose(): void {
    for (const { arena } of this.#plans.values()) arena.dispose();
    this.#plans.clear();
    this.#arena.dispose();
    this.#packed?.dispose();
    this.#model.dispose();
  }
}

/** How weights can be rounded: GGUF's blocks of 32 numbers of 8 or 4 bits with a scale. */
export type QuantizedStorage = 'q8_0' | 'q4_0';

/**
 * Packed forms of what the model multiplies by: every matrix but a table that only looks tokens up, and those that are
 * packed as they are. Rounded, only what `isQuantizable` says, and in a model of rounded weights, whoever rounded them,
 * the up-projection of latents, to 8 bits in both forms of attention.
 */
function packedWeightsOf(
  model: TransformerModel,
  { packWeights = false, quantize }: Pick<ModelStepOptions, 'packWeights' | 'quantize'>,
): PackedWeights | null {
  const { backend } = model;
  const inBlocks = [...model.parameters().values()].some(({ tiles }) => tiles !== null);
  if (!packWeights && quantize === undefined && !inBlocks) return null;
  const table = plainModel(model).config.tieEmbeddings
    ? null
    : model.parameters().get('model.embed_tokens.weight');
  const rounded = (name: string, w: Tensor) =>
    (quantize !== undefined || inBlocks) &&
    isLatentProjection(name) &&
    w.tiles === null &&
    w.shape.at(-1)! % 32 === 0;
  const matrices = [...model.parameters()].filter(
    ([name, w]) =>
      (w.rank === 2 || w.rank === 3) &&
      w.dtype === 'f32' &&
      w !== table &&
      w.tiles === null &&
      !rounded(name, w) &&
      (quantize === undefined || isQuantizable(name === tokenTable ? headName : name, w.shape)),
  );
  if (quantize !== undefined && !backend.supports('matmulQuantized'))
    throw new MinkeError(
      'unsupported',
      `Engine: expected a backend with products of ${quantize} weights, got ${backend.info.name}; leave quantize out, or use the native, wasm or reference backend`,
    );
  return new PackedWeights(backend, packWeights || quantize !== undefined ? matrices.map(([, w]) => w) : [], {
    quantize,
    rows: [...model.parameters()].flatMap(([name, w]) => (rounded(name, w) ? [w] : [])),
  });
}

/** Of the layers and the vocabulary. */

const isDecoding = (chunks: readonly Chunk[]): boolean =>
  chunks.every(({ ids, role }) => role === 'generated' && ids.length === 1);

function samplingRows(draws: readonly Draw[]): SamplingRows {
  const setting = (name: keyof SamplingParams) => draws.map(({ sampling }) => sampling[name]);
  return {
    temperature: setting('temperature'),
    topK: setting('topK'),
    topP: setting('topP'),
    minP: setting('minP'),
    random: draws.map(({ random }) => random),
  };
}

async function readDrawn({ tokens, logProbs, chosenLogProbs }: SampledTokens): Promise<DrawnToken[]> {
  const [ids, own, drawn] = [await tokens.read(), await logProbs.read(), await chosenLogProbs.read()];
  return Array.from(ids, (token, n) => ({
    token,
    logProb: own[n] as number,
    drawnLogProb: drawn[n] as number,
  }));
}

/** The logits in f32, which a backend that computes in f64 hands out in f64. */
function hostLogits(logits: ArrayLike<number>): Float32Array {
  return logits instanceof Float32Array ? logits : Float32Array.from(logits);
}
