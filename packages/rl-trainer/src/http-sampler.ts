/**
 * What samplers over HTTP share: a request for each sample, with a seed of its own, and the checks of what comes back.
 *
 * Token ids go in and come out, so that nothing is ever encoded again: a text that was split differently would be
 * another sequence with other log-probabilities.
 */
import { check, MinkeError, Random } from '@minke/core';
import { callJson, checkHttp, type HttpAnswer, type HttpOptions, inParallel } from '@minke/evaluation';
import type { PolicyExport, Sample, SampleRequest } from './interfaces.ts';

/** Which server, and how it finds policies. `concurrency` is 64 by default. */
export interface HttpSamplerOptions extends HttpOptions {
  /** The path at which the server finds a policy's folder. Default: the same. */
  readonly locate?: (folder: string) => string;
}

/** One sample to ask for. */
export interface SingleRequest {
  readonly tokens: readonly number[];
  readonly maxNewTokens: number;
  readonly seed: number;
  readonly request: SampleRequest;
}

/** What a server said to one. */
export interface SingleReply {
  readonly tokens: readonly unknown[];
  readonly logProbs: readonly unknown[];
  readonly finish: unknown;
}

/** Log-probabilities are of f32 sums: a little above 0 is 0. */
const ROUNDING = 1e-3;

export class HttpSampling {
  readonly #name: string;
  readonly #options: HttpSamplerOptions;
  #version: number | null = null;

  /** @param name of the sampler, for messages */
  constructor(name: string, options: HttpSamplerOptions) {
    checkHttp(name, options);
    this.#name = name;
    this.#options = { concurrency: 64, ...options };
  }

  /** The version of the last update; null before the first. */
  get version(): number | null {
    return this.#version;
  }

  /** Samples of all prompts, those of one prompt together. */
  sampleAll(
    request: SampleRequest,
    ask: (single: SingleRequest, signal: AbortSignal) => Promise<SingleReply>,
    signal?: AbortSignal,
  ): Promise<Sample[]> {
    const { prompts, samplesPerPrompt, maxNewTokens, maxNewTokensOf } = request;
    check(
      Number.isSafeInteger(samplesPerPrompt) && samplesPerPrompt >= 1,
      () => `${this.#name}: expected samplesPerPrompt of 1 or more, got ${samplesPerPrompt}`,
    );
    const random = new Random(request.seed);
    // Below 2^31, which every server takes.
    const seeds = prompts.flatMap(() =>
      Array.from({ length: samplesPerPrompt }, () => random.uint32() >>> 1),
    );
    const policyVersion = this.#version ?? 0;
    const either = signal ?? this.#options.signal;
    return inParallel(seeds.length, { ...this.#options, signal: either }, async (job, stop) => {
      const prompt = Math.floor(job / samplesPerPrompt);
      const limit = maxNewTokensOf?.[prompt] ?? maxNewTokens;
      const single = {
        tokens: prompts[prompt] as readonly number[],
        maxNewTokens: limit,
        seed: seeds[job] as number,
        request,
      };
      return { prompt, ...this.#checked(await ask(single, stop), limit), policyVersion };
    });
  }

  /** Posts, or gets where there is no body. */
  call(path: string, expected: string, body?: unknown, signal?: AbortSignal): Promise<HttpAnswer> {
    const options = signal === undefined ? this.#options : { ...this.#options, signal };
    return callJson(options, { where: this.#name, expected, path, ...(body !== undefined && { body }) });
  }

  /** Has `load` load a policy's folder; its version holds from then on. */
  async update(
    { version, location }: PolicyExport,
    load: (folder: string, version: string) => Promise<void>,
  ): Promise<void> {
    if (location === null)
      throw new MinkeError(
        'unsupported',
        `${this.#name}: expected a policy in a folder, got one that shares its weights with a learner; wrap the learner in an ExportingLearner`,
      );
    const { locate = (folder) => folder } = this.#options;
    await load(locate(location), String(version));
    this.#version = version;
  }

  /** Throws where a server tells that it serves other weights than those of the last update. */
  checkVersion(served: unknown): void {
    if (
      this.#version !== null &&
      served !== undefined &&
      served !== null &&
      String(served) !== String(this.#version)
    )
      throw new MinkeError(
        'internal',
        `${this.#name}: expected samples of policy ${this.#version}, got ones of ${JSON.stringify(served)}; was the server restarted, or does somebody else update it?`,
      );
  }

  /** An answer that is not what it should be. */
  wrong({ url, text }: HttpAnswer, expected: string): MinkeError {
    return new MinkeError(
      'unsupported',
      `${this.#name}: expected ${expected} from ${url}, got ${text.slice(0, 200)}`,
    );
  }

  #checked({ tokens, logProbs, finish }: SingleReply, limit: number) {
    if (finish === 'abort')
      throw new MinkeError(
        'internal',
        `${this.#name}: expected a whole sample, got one that the server aborted; is it paused or updated by somebody else?`,
      );
    const problems: string[] = [];
    if (finish !== 'stop' && finish !== 'length')
      problems.push(`a finish reason stop or length, got ${JSON.stringify(finish)}`);
    if (tokens.length < 1 || tokens.length > limit)
      problems.push(`1 to ${limit} tokens, got ${tokens.length}`);
    if (logProbs.length !== tokens.length)
      problems.push(`a log-probability for each of ${tokens.length} tokens, got ${logProbs.length}`);
    const id = tokens.find((token) => !(Number.isSafeInteger(token) && (token as number) >= 0));
    if (id !== undefined) problems.push(`token ids, got ${JSON.stringify(id)}`);
    const odd = logProbs.find((value) => !(Number.isFinite(value) && (value as number) <= ROUNDING));
    if (odd !== undefined) problems.push(`log-probabilities of at most 0, got ${JSON.stringify(odd)}`);
    if (problems.length > 0)
      throw new MinkeError('unsupported', `${this.#name}: expected ${problems.join('; ')}`);
    return {
      tokens: tokens as number[],
      logProbs: (logProbs as number[]).map((value) => Math.min(value, 0)),
      finish: finish as Sample['finish'],
    };
  }
}
