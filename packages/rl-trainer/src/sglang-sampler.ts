/**
 * A sampler on an SGLang server (https://docs.sglang.io, "SGLang for RL systems"): `POST /generate` with ids in and
 * ids with log-probabilities out, policies by `POST /update_weights_from_disk`.
 *
 * Its log-probabilities are at the request's temperature unless it was told otherwise. Seeds count where it runs with
 * `--enable-deterministic-inference`. Kernels are not ours, so log-probabilities differ from the learner's by
 * rounding: a configuration's `correction` takes care of that.
 */

import {
  type HttpSamplerOptions,
  HttpSampling,
  type SingleReply,
  type SingleRequest,
} from './http-sampler.ts';
import type { PolicyExport, Sample, SampleRequest, Sampler } from './interfaces.ts';

/** What is read of an answer of `/generate`. */
interface GenerateAnswer {
  readonly meta_info?: {
    readonly finish_reason?: { readonly type?: unknown } | null;
    /** [log-probability, id, text] of each token. */
    readonly output_token_logprobs?: readonly (readonly unknown[])[];
    readonly weight_version?: unknown;
  };
}

/**
 * @throws MinkeError (of its calls) `aborted` by the signal; `unsupported` for answers that are not what they should
 * be; `internal` when the retries are used up, or the server has other weights than it should
 * @example
 * const sampler = new SglangSampler({ baseURL: 'http://127.0.0.1:30000' });
 * await sampler.update(await learner.exportForSampler()); // an ExportingLearner's
 */
export class SglangSampler implements Sampler {
  readonly #http: HttpSampling;

  constructor(options: HttpSamplerOptions) {
    this.#http = new HttpSampling('SglangSampler', options);
  }

  sample(request: SampleRequest, signal?: AbortSignal): Promise<Sample[]> {
    return this.#http.sampleAll(request, (single, stop) => this.#one(single, stop), signal);
  }

  update(policy: PolicyExport): Promise<void> {
    return this.#http.update(policy, async (folder, version) => {
      const body = { model_path: folder, weight_version: version, flush_cache: true };
      const answer = await this.#http.call('/update_weights_from_disk', 'new weights', body);
      if ((answer.json as { success?: unknown } | null | undefined)?.success !== true)
        throw this.#http.wrong(answer, '{"success": true}');
    });
  }

  async #one(
    { tokens, maxNewTokens, seed, request }: SingleRequest,
    signal: AbortSignal,
  ): Promise<SingleReply> {
    const { temperature, topP, topK, stopTokenIds, stop = [] } = request;
    const answer = await this.#http.call(
      '/generate',
      'a completion',
      {
        input_ids: tokens,
        sampling_params: {
          max_new_tokens: maxNewTokens,
          temperature,
          top_p: topP,
          top_k: topK === 0 ? -1 : topK,
          stop_token_ids: stopTokenIds,
          ...(stop.length > 0 && { stop, no_stop_trim: true }),
          sampling_seed: seed,
        },
        return_logprob: true,
        stream: false,
      },
      signal,
    );
    const meta = (answer.json as GenerateAnswer | null | undefined)?.meta_info;
    const drawn = meta?.output_token_logprobs;
    if (!Array.isArray(drawn) || !drawn.every(Array.isArray))
      throw this.#http.wrong(answer, 'meta_info.output_token_logprobs');
    this.#http.checkVersion(meta?.weight_version);
    return {
      tokens: drawn.map(([, id]) => id),
      logProbs: drawn.map(([logProb]) => logProb),
      finish: meta?.finish_reason?.type,
    };
  }
}
