/**
 * A sampler on a vLLM server: `POST /inference/v1/generate` with ids in and ids with log-probabilities out, policies
 * by the weight-transfer endpoints (https://docs.vllm.ai/en/latest/training/weight_transfer/) of a server started
 * with `VLLM_SERVER_DEV_MODE=1` and `--weight-transfer-config '{"backend": "disk"}'`.
 *
 * Log-probabilities are at the request's temperature with `--logprobs-mode processed_logprobs` only. While weights
 * change the server is paused, and its prefix cache emptied: old keys and values are another policy's. Development
 * endpoints must not be reachable from outside.
 */

import {
  type HttpSamplerOptions,
  HttpSampling,
  type SingleReply,
  type SingleRequest,
} from './http-sampler.ts';
import type { PolicyExport, Sample, SampleRequest, Sampler } from './interfaces.ts';

/** Which server and, where it serves several, which model. */
export interface VllmSamplerOptions extends HttpSamplerOptions {
  readonly model?: string;
}

/** What is read of an answer of `/inference/v1/generate`. */
interface GenerateAnswer {
  readonly choices?: readonly {
    readonly token_ids?: readonly unknown[] | null;
    readonly logprobs?: { readonly content?: readonly { readonly logprob?: unknown }[] | null } | null;
    readonly finish_reason?: unknown;
  }[];
}

/**
 * @throws MinkeError as `SglangSampler`
 * @example
 * const sampler = new VllmSampler({ baseURL: 'http://127.0.0.1:8000' });
 * await sampler.update(await learner.exportForSampler()); // an ExportingLearner's
 */
export class VllmSampler implements Sampler {
  readonly #http: HttpSampling;
  readonly #model: string | undefined;
  #opened = false;

  constructor({ model, ...options }: VllmSamplerOptions) {
    this.#http = new HttpSampling('VllmSampler', options);
    this.#model = model;
  }

  async sample(request: SampleRequest, signal?: AbortSignal): Promise<Sample[]> {
    // Answers do not name their weights; a server that was restarted has its first ones.
    if (this.#http.version !== null) {
      const info = await this.#http.call('/weight_info', 'its weights', undefined, signal);
      this.#http.checkVersion((info.json as { weight_version?: unknown } | null | undefined)?.weight_version);
    }
    return this.#http.sampleAll(request, (single, stop) => this.#one(single, stop), signal);
  }

  update(policy: PolicyExport): Promise<void> {
    return this.#http.update(policy, async (folder, version) => {
      const post = (path: string, body: unknown) => this.#http.call(path, 'new weights', body);
      if (!this.#opened) await post('/init_weight_transfer_engine', { init_info: {} });
      this.#opened = true;
      await post('/pause?mode=wait&clear_cache=true', {});
      try {
        await post('/start_weight_update', {});
        await post('/update_weights', { update_info: { path: folder } });
        await post('/finish_weight_update', { weight_version: version });
      } finally {
        await post('/resume', {});
      }
    });
  }

  async #one(
    { tokens, maxNewTokens, seed, request }: SingleRequest,
    signal: AbortSignal,
  ): Promise<SingleReply> {
    const { temperature, topP, topK, stopTokenIds, stop = [] } = request;
    const answer = await this.#http.call(
      '/inference/v1/generate',
      'a completion',
      {
        ...(this.#model !== undefined && { model: this.#model }),
        token_ids: tokens,
        sampling_params: {
          max_tokens: maxNewTokens,
          temperature,
          top_p: topP,
          top_k: topK,
          stop_token_ids: stopTokenIds,
          ...(stop.length > 0 && { stop, include_stop_str_in_output: true, detokenize: true }),
          seed,
          logprobs: 0,
        },
        stream: false,
      },
      signal,
    );
    const choice = (answer.json as GenerateAnswer | null | undefined)?.choices?.[0];
    const logProbs = choice?.logprobs?.content;
    if (!Array.isArray(choice?.token_ids) || !Array.isArray(logProbs))
      throw this.#http.wrong(answer, 'choices[0] with token_ids and logprobs.content');
    return {
      tokens: choice.token_ids,
      logProbs: logProbs.map((one: { readonly logprob?: unknown } | null) => one?.logprob),
      finish: choice.finish_reason,
    };
  }
}
