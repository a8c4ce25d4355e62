/**
 * A sampler in this process: the inference engine, with its own log-probabilities.
 *
 * Samples of one prompt start together, so that the engine computes the prompt once. An engine opened with
 * `{ form: 'expanded', temperedLogProbs: true }` computes what a learner's forward pass over the finished samples
 * would, bit for bit on the CPU backends, so no second pass is needed.
 */
import { check, MinkeError, Random } from '@minke/core';
import type { Engine, TokenStream } from '@minke/inference';
import type { PolicyExport, Sample, SampleRequest, Sampler } from './interfaces.ts';

/** What a sampler in this process can do beside ids. */
export interface LocalSamplerOptions {
  /** Text of ids: needed for requests that stop at a text. */
  readonly decode?: (tokens: readonly number[]) => string;
  /** See `Sampler`: for an engine of f32 weights and cache on a CPU backend. Default false. */
  readonly exact?: boolean;
}

/**
 * @example
 * const engine = new Engine(model, { maxSequences: 512, maxWaiting: 1e6, form: 'expanded', temperedLogProbs: true });
 * const sampler = new LocalSampler(engine);
 */
export class LocalSampler implements Sampler {
  readonly exact: boolean;
  readonly #engine: Engine;
  readonly #decode: LocalSamplerOptions['decode'];
  #version = 0;

  /** @param engine of the model that the learner trains */
  constructor(engine: Engine, { decode, exact = false }: LocalSamplerOptions = {}) {
    check(
      engine.temperedLogProbs,
      () =>
        "LocalSampler: expected an engine with { form: 'expanded', temperedLogProbs: true }, got one whose log-probabilities are not at the temperature of sampling",
    );
    this.exact = exact;
    this.#engine = engine;
    this.#decode = decode;
  }

  async sample(request: SampleRequest, signal?: AbortSignal): Promise<Sample[]> {
    const { prompts, samplesPerPrompt, temperature, topP, topK, stopTokenIds, stop = [] } = request;
    check(
      Number.isSafeInteger(samplesPerPrompt) && samplesPerPrompt >= 1,
      () => `sample: expected samplesPerPrompt of 1 or more, got ${samplesPerPrompt}`,
    );
    checkLimits(request);
    const policyVersion = this.#version;
    const seeds = new Random(request.seed);
    const sampling = { temperature, topP, topK, minP: 0 };
    const streams: TokenStream[] = [];
    // One listener for hundreds of streams.
    const abort = () => {
      for (const stream of streams) void stream.return();
    };
    signal?.addEventListener('abort', abort, { once: true });
    try {
      for (const [p, promptIds] of prompts.entries())
        for (let i = 0; i < samplesPerPrompt; i++) {
          const seed = Math.floor(seeds.uniform() * Number.MAX_SAFE_INTEGER);
          const maxNewTokens = request.maxNewTokensOf?.[p] ?? request.maxNewTokens;
          const stopWhen = stop.length === 0 ? undefined : this.#endsWith(stop);
          streams.push(
            this.#engine.generate({ promptIds, maxNewTokens, sampling, seed, stopTokenIds, stopWhen }),
          );
        }
      if (signal?.aborted) abort();
      const all = await Promise.all(streams.map((stream) => stream.rest()));
      if (signal?.aborted) throw new MinkeError('aborted', 'sample: the caller cancelled');
      return all.map(
        (events, i): Sample => ({
          prompt: Math.floor(i / samplesPerPrompt),
          tokens: events.map(({ token }) => token),
          logProbs: temperature > 0 ? events.map(({ logProb }) => logProb) : [],
          finish: events.at(-1)?.finish ?? 'length',
          policyVersion,
        }),
      );
    } finally {
      signal?.removeEventListener('abort', abort);
      abort(); // one that failed ends the others
    }
  }

  /** Whether the tokens so far end with one of the texts; a function for each completion. */
  #endsWith(stop: readonly string[]): (token: number) => boolean {
    const decode = this.#decode;
    if (decode === undefined)
      throw new MinkeError(
        'unsupported',
        `sample: expected stop token ids only, got the text ${JSON.stringify(stop[0])}; make the sampler with { decode }`,
      );
    // A token has a byte at least, so a text of n bytes that the last token completes began n tokens ago or later.
    const reach = Math.max(...stop.map((text) => Buffer.byteLength(text)));
    const recent: number[] = [];
    return (token) => {
      recent.push(token);
      if (recent.length > reach) recent.shift();
      const text = decode(recent);
      return stop.some((each) => text.includes(each));
    };
  }

  async update({ version, location }: PolicyExport): Promise<void> {
    if (location !== null)
      throw new MinkeError(
        'unsupported',
        `update: expected the policy of this process, got weights in ${location}; load them into the model`,
      );
    this.#version = version;
  }
}

function checkLimits({ prompts, maxNewTokensOf, stop = [] }: SampleRequest): void {
  check(
    maxNewTokensOf === undefined || maxNewTokensOf.length === prompts.length,
    () => `sample: expected maxNewTokensOf for ${prompts.length} prompts, got ${maxNewTokensOf?.length}`,
  );
  check(!stop.includes(''), () => 'sample: expected stop texts of one character or more, got an empty one');
}
