/**
 * Continuous batching over one model: requests join and leave a running batch between decode steps.
 *
 * A turn computes a bounded number of prompt tokens (expanded form), then one row of every running request
 * (absorbed form), so a long prompt delays the others by one piece and no more. What a request gets does not
 * depend on what else runs: kernels are batch-invariant and each request draws from its own random stream.
 * Requests with the same prompt that start together (a group of samples) compute it once: the first one does, the
 * others read its cache rows and draw from the same logits. Models that merge tokens run as others do, without plans.
 * When a shared step fails, its requests are tried one by one, and only those that fail alone end.
 *
 * Does not do: a cache of prefixes that outlives its request, preemption (a request's whole context is reserved when it starts), speculation.
 */
import { check, MinkeError, type RandomState } from '@minke/core';
import type { AttentionForm, CacheType, TokenRole } from '@minke/mla-attention';
import { plainModel, type TransformerModel } from '@minke/transformer';
import { type Draw, ModelStep, type QuantizedStorage } from './model-step.ts';
import { type DrawnToken, type SamplingParams, validateSampling, wordsOfDraw } from './sampling.ts';
import { TokenQueue, type TokenStream } from './token-queue.ts';

export interface GenerationRequest {
  /** At least one token id, each below the vocabulary size. */
  readonly promptIds: ArrayLike<number>;
  /** Tokens to generate at most, at least 1; the context's end may come earlier. */
  readonly maxNewTokens: number;
  readonly sampling: SamplingParams;
  /** Seed of this request's own random stream, an integer in [0, 2^53). */
  readonly seed: number;
  /** Ids that end generation; the id itself is reported, with finish `stop`. */
  readonly stopTokenIds: readonly number[];
  /** Called with each drawn token in turn; true ends generation after it, with finish `stop`: for texts that stop. */
  readonly stopWhen?: ((token: number) => boolean) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface EngineOptions {
  /** Requests decoded together; others wait. Default 16. */
  readonly maxSequences?: number;
  /** Cached tokens a request, prompt included; at most the model's context. Default 4096 or that. */
  readonly contextLength?: number;
  /** Requests that may wait before new ones are refused with `out-of-memory`. Default 256. */
  readonly maxWaiting?: number;
  /** Prompt tokens computed, of all requests together, before running ones get their turn. Default 256. */
  readonly promptChunk?: number;
  /**
   * Pins the form of attention for every token. `expanded` caches every head's keys and values and gives, bit for
   * bit, the logits of a training step; default: prompts expanded, generated tokens absorbed, latents cached.
   */
  readonly form?: AttentionForm;
  /**
   * How past tokens are stored, latents or keys and values (llama.cpp's `--cache-type-k`): `bf16` takes half of the
   * memory and of what a token reads of it, `q8_0` 27 %; both are slightly wrong. Beside weights in blocks attention
   * to latents then multiplies bf16 numbers: a long prompt is a quarter faster, a token behind it a fifth. Results keep
   * all else: they do not depend on the batch or on the pieces of a prompt. Throws `unsupported` on backends without it,
   * `invalid-argument` with a layer plan, an indexer or merging. Default `f32`: exact.
   */
  readonly cacheType?: CacheType | undefined;
  /**
   * Reports `logProb` at each request's own temperature, as policy-gradient training needs it: beside
   * `form: 'expanded'` it has the bits of the loss of a training step at that temperature. Default false: the model's.
   */
  readonly temperedLogProbs?: boolean;
  /**
   * Keeps a second copy of the f32 weights in the layout that products of few rows read fastest, on backends that have
   * one: {@link Engine.packedBytes}, about the size of the model. Same results; weights that training changes are
   * packed again before they are used. Default false.
   */
  readonly packWeights?: boolean;
  /**
   * Computes from weights rounded to 8 or 4 bits (GGUF's q8_0 and q4_0, each scale of 32 numbers chosen for the least
   * error) and activations rounded to 8: a quarter or an eighth to read for each token, slightly wrong results. What
   * decides between experts stays exact, as do matrices whose inputs are no multiple of 32; the up-projection of latents
   * has 8 bits at least. The f32 weights stay in memory beside it: `loadModel` with `quantize`, or a folder of `minke
   * quantize`, gives the same results without them. Measured by `pnpm bench decode` and `pnpm bench prefill`. Throws
   * `unsupported` on a backend without these products. Default: exact.
   */
  readonly quantize?: QuantizedStorage;
}

/** Requests in the engine. */
export interface EngineLoad {
  readonly running: number;
  readonly waiting: number;
}

interface Sequence {
  readonly request: GenerationRequest;
  readonly prompt: Int32Array;
  /** Tokens to generate at most, the context considered. */
  readonly limit: number;
  readonly queue: TokenQueue;
  /** Cache region while running, else -1. */
  slot: number;
  /** The running request that computes the same prompt for this one too. */
  leader: Sequence | null;
  /** Prompt tokens computed. */
  prefilled: number;
  generated: number;
  last: number;
}

/** Tokens a sequence adds to a step. */
interface Piece {
  readonly sequence: Sequence;
  readonly ids: Int32Array;
  readonly role: TokenRole;
}

/**
 * @example
 * const engine = new Engine(model);
 * const request = { promptIds, maxNewTokens: 64, sampling: { ...defaultSampling, temperature: 0 }, seed: 0, stopTokenIds };
 * for await (const { token } of engine.generate(request)) console.log(token);
 */
export class Engine {
  /** Tokens a request may reach, prompt included. */
  readonly contextLength: number;
  /** Whether `logProb` is at each request's temperature. */
  readonly temperedLogProbs: boolean;
  readonly #vocabSize: number;
  readonly #step: ModelStep;
  readonly #maxWaiting: number;
  readonly #promptChunk: number;
  readonly #free: number[];
  /** Regions whose requests have left: free before the next step, or when no other request reads them. */
  #left: number[] = [];
  readonly #waiting: Sequence[] = [];
  readonly #running: Sequence[] = [];
  #loop: Promise<void> | undefined;
  #disposed = false;

  /** Takes the cache's memory at once. Throws `invalid-argument`, `out-of-memory`. */
  constructor(model: TransformerModel, options: EngineOptions = {}) {
    const { maxSequences = 16, maxWaiting = 256, promptChunk = 256 } = options;
    const { maxPositions, vocabSize } = plainModel(model).config;
    const contextLength = options.contextLength ?? Math.min(4096, maxPositions);
    for (const [name, value] of Object.entries({ maxSequences, contextLength, promptChunk })) {
      check(
        Number.isSafeInteger(value) && value >= 1,
        () => `Engine: expected ${name} of 1 or more, got ${value}`,
      );
    }
    check(
      Number.isSafeInteger(maxWaiting) && maxWaiting >= 0,
      () => `Engine: expected maxWaiting of 0 or more, got ${maxWaiting}`,
    );
    this.contextLength = contextLength;
    this.temperedLogProbs = options.temperedLogProbs ?? false;
    this.#vocabSize = vocabSize;
    this.#maxWaiting = maxWaiting;
    this.#promptChunk = promptChunk;
    this.#step = new ModelStep(model, {
      slots: maxSequences,
      maxTokens: contextLength,
      maxChunk: promptChunk,
      form: options.form,
      cacheType: options.cacheType,
      temperedLogProbs: this.temperedLogProbs,
      packWeights: options.packWeights,
      quantize: options.quantize,
    });
    this.#free = Array.from({ length: maxSequences }, (_, i) => maxSequences - 1 - i);
  }

  /** Requests running and waiting now. */
  get load(): EngineLoad {
    return { running: this.#running.length, waiting: this.#waiting.length };
  }

  /** Bytes of packed weights; 0 without `packWeights` or on a backend that does not have them. */
  get packedBytes(): number {
    return this.#step.packedBytes;
  }

  /** Bytes the latent cache takes. */
  get cacheBytes(): number {
    return this.#step.cacheBytes;
  }

  /**
   * Generates tokens for one request as they come.
   *
   * Ending the loop early, or the request's signal, frees its place. Throws at once: `invalid-argument` for ids
   * or parameters out of range, `context-overflow` when the prompt leaves no room, `out-of-memory` when too
   * many requests wait. The stream rejects with `aborted` after the signal or `dispose`, and with the backend's
   * error when its computation failed.
   */
  generate(request: GenerationRequest): TokenStream {
    const prompt = this.#checked(request);
    const sequence: Sequence = {
      request,
      prompt,
      limit: Math.min(request.maxNewTokens, this.contextLength - prompt.length),
      queue: new TokenQueue(() => this.#leave(sequence), request.signal),
      slot: -1,
      leader: null,
      prefilled: 0,
      generated: 0,
      last: -1,
    };
    this.#waiting.push(sequence);
    this.#loop ??= this.#run();
    return sequence.queue;
  }

  /** Ends every request with `aborted`; resolves when the step under way is over and the cache is freed. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const { queue } of [...this.#running, ...this.#waiting]) {
      queue.end(new MinkeError('aborted', 'generate: the engine was disposed'));
    }
    await this.#loop;
    this.#step.dispose();
  }

  #checked(request: GenerationRequest): Int32Array {
    const { promptIds, maxNewTokens, seed } = request;
    const vocabSize = this.#vocabSize;
    check(!this.#disposed, () => 'generate: expected an engine in use, got one that was disposed');
    check(promptIds.length > 0, () => 'generate: expected at least one prompt token, got none');
    const unknown = Array.from(promptIds).find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize));
    check(
      unknown === undefined,
      () => `generate: expected prompt ids from 0 to ${vocabSize - 1}, got ${unknown}`,
    );
    check(
      Number.isSafeInteger(maxNewTokens) && maxNewTokens >= 1,
      () => `generate: expected maxNewTokens of 1 or more, got ${maxNewTokens}`,
    );
    check(
      Number.isSafeInteger(seed) && seed >= 0,
      () => `generate: expected a seed of 0 or more, got ${seed}`,
    );
    validateSampling(request.sampling);
    if (promptIds.length >= this.contextLength) {
      throw new MinkeError(
        'context-overflow',
        `generate: expected a prompt of fewer than ${this.contextLength} tokens (the context), got ${promptIds.length}; shorten it`,
        { details: { promptTokens: promptIds.length, contextLength: this.contextLength } },
      );
    }
    if (this.#waiting.length >= this.#maxWaiting + this.#free.length + this.#left.length) {
      throw new MinkeError(
        'out-of-memory',
        `generate: ${this.#waiting.length} requests wait already; try again later`,
      );
    }
    return Int32Array.from(promptIds);
  }

  /** Takes a sequence out of the batch; its region serves the next one. */
  #leave(sequence: Sequence): void {
    for (const list of [this.#waiting, this.#running]) {
      const at = list.indexOf(sequence);
      if (at >= 0) list.splice(at, 1);
    }
    if (sequence.slot >= 0) this.#left.push(sequence.slot);
    sequence.slot = -1;
    this.#promote(this.#followers(sequence));
  }

  /** Running requests that wait for this one's prompt. */
  #followers(sequence: Sequence): Sequence[] {
    return this.#running.filter(({ leader }) => leader === sequence);
  }

  /** The first of these computes their prompt from here on. */
  #promote(followers: readonly Sequence[]): void {
    for (const follower of followers) follower.leader = follower === followers[0] ? null : followers[0]!;
  }

  async #run(): Promise<void> {
    for (;;) {
      // Messages, timers and sockets get their turn, and requests made together join the same batch.
      await new Promise<void>((resolve) => setImmediate(resolve));
      this.#freeLeft();
      this.#admit();
      if (this.#running.length === 0) break;
      await this.#advance(this.#promptPieces());
      await this.#advance(this.#nextRows());
    }
    this.#loop = undefined;
  }

  /** Borrowers first: then the regions they read may be free too. */
  #freeLeft(): void {
    for (let before = -1; before !== this.#left.length; ) {
      before = this.#left.length;
      this.#left = this.#left.filter((slot) => {
        if (this.#step.lends(slot)) return true;
        this.#step.clear(slot);
        this.#free.push(slot);
        return false;
      });
    }
  }

  #admit(): void {
    while (this.#waiting.length > 0 && this.#free.length > 0) {
      const sequence = this.#waiting.shift() as Sequence;
      sequence.slot = this.#free.pop() as number;
      sequence.leader = this.#running.find((other) => sharesPrompt(other, sequence)) ?? null;
      this.#running.push(sequence);
    }
  }

  /** Prompt tokens of this turn, oldest request first. */
  #promptPieces(): Piece[] {
    const pieces: Piece[] = [];
    let left = this.#promptChunk;
    for (const sequence of this.#running) {
      const { prompt, prefilled, leader } = sequence;
      if (leader !== null) continue;
      const ids = prompt.subarray(prefilled, prefilled + left);
      if (ids.length > 0) pieces.push({ sequence, ids, role: 'prompt' });
      left -= ids.length;
    }
    return pieces;
  }

  /** The latest token of every request that has one. */
  #nextRows(): Piece[] {
    return this.#running
      .filter(({ generated }) => generated > 0)
      .map((sequence) => ({ sequence, ids: Int32Array.of(sequence.last), role: 'generated' }));
  }

  /** Computes pieces together; a sequence whose prompt is complete gets its next token, and so do its followers. */
  async #advance(pieces: readonly Piece[]): Promise<void> {
    if (pieces.length === 0) return;
    const drawing: { sequence: Sequence; computedBy: Sequence }[] = [];
    const draws: Draw[] = [];
    pieces.forEach(({ sequence, ids, role }, chunk) => {
      const computed = sequence.prefilled + (role === 'prompt' ? ids.length : 0);
      if (computed < sequence.prompt.length) return;
      for (const each of role === 'prompt' ? [sequence, ...this.#followers(sequence)] : [sequence]) {
        drawing.push({ sequence: each, computedBy: sequence });
        draws.push({ chunk, sampling: each.request.sampling, random: randomState(each) });
      }
    });
    let drawn: DrawnToken[];
    try {
      const chunks = pieces.map(({ sequence, ids, role }) => ({ slot: sequence.slot, ids, role }));
      drawn = await this.#step.draw(chunks, draws);
    } catch (problem) {
      if (pieces.length === 1) pieces[0]?.sequence.queue.end(problem);
      else for (const piece of pieces) if (!piece.sequence.queue.ended) await this.#advance([piece]);
      return;
    }
    for (const { sequence, ids, role } of pieces) if (role === 'prompt') sequence.prefilled += ids.length;
    drawing.forEach(({ sequence, computedBy }, i) => {
      if (sequence !== computedBy) {
        if (sequence.leader !== computedBy || sequence.slot < 0) return; // one of them left while the step ran
        this.#step.share(computedBy.slot, sequence.slot);
        sequence.leader = null;
        sequence.prefilled = sequence.prompt.length;
      }
      this.#take(sequence, drawn[i] as DrawnToken);
    });
  }

  /** Hands a sequence its next token. */
  #take(sequence: Sequence, drawn: DrawnToken): void {
    const { request, queue } = sequence;
    if (queue.ended) return; // cancelled while its step ran
    sequence.last = drawn.token;
    sequence.generated++;
    let stop: boolean;
    try {
      stop = request.stopTokenIds.includes(drawn.token) || (request.stopWhen?.(drawn.token) ?? false);
    } catch (problem) {
      queue.end(problem); // the caller's function, so the caller's request alone
      return;
    }
    const finish = stop ? 'stop' : sequence.generated >= sequence.limit ? 'length' : null;
    queue.push({ ...drawn, finish });
  }
}

/** Where a sequence's own random stream stands. */
function randomState({ request, generated }: Sequence): RandomState {
  return { seed: request.seed, stream: 0, position: generated * wordsOfDraw(request.sampling) };
}

/** Whether `other` is about to compute the prompt of `sequence`. */
function sharesPrompt(other: Sequence, sequence: Sequence): boolean {
  const { prompt, prefilled, leader } = other;
  return (
    leader === null &&
    prefilled < prompt.length &&
    prompt.length === sequence.prompt.length &&
    prompt.every((id, i) => id === sequence.prompt[i])
  );
}
