/**
 * Texts of any OpenAI-compatible server as samples: for rejection sampling and distillation from a model that is not
 * ours, whose ids and log-probabilities nobody tells. Requests and retries are `@minke/evaluation`'s.
 *
 * The prompts' texts go to the server's own chat template; the replies are encoded with the student's tokenizer, so
 * that training sees them as its own. There are no log-probabilities, and reinforcement learning refuses such samples.
 */
import { MinkeError } from '@minke/core';
import { type EndpointOptions, endpointSampler, type SampledText } from '@minke/evaluation';
import type { PolicyExport, Sample, SampleRequest, Sampler } from './interfaces.ts';

/** Which server, and how texts become ids. Temperature, topP, lengths and seeds are those of each request. */
export interface EndpointTextOptions
  extends Omit<EndpointOptions, 'temperature' | 'topP' | 'maxTokens' | 'seed' | 'signal'> {
  /** All prompts that will be asked for: what to say to the server in the place of the ids. */
  readonly prompts: readonly { readonly tokens: readonly number[]; readonly text: string }[];
  /** Ids of a completion's text (`thought</think>answer`), control tokens that it may hold allowed. */
  readonly encode: (text: string) => ArrayLike<number>;
}

/**
 * @throws MinkeError (of its calls) `invalid-argument` for a prompt that it does not know, or a request that the
 * endpoint has no word for; and what `endpointSampler` throws
 * @example
 * const encode = (text: string) => tokenizer.encode(text, { allowSpecial: true });
 * const sampler = new EndpointTextSampler({ baseURL, model: 'big-reasoner', prompts, encode });
 * await rejectionSample({ sampler, prompts, config, filters, stopTokenIds, decode, folder });
 */
export class EndpointTextSampler implements Sampler {
  readonly #options: EndpointTextOptions;
  readonly #texts: ReadonlyMap<string, string>;

  constructor(options: EndpointTextOptions) {
    endpointSampler(options); // its complaints about the settings come now
    this.#options = options;
    this.#texts = new Map(options.prompts.map(({ tokens, text }) => [tokens.join(), text]));
  }

  async sample(request: SampleRequest, signal?: AbortSignal): Promise<Sample[]> {
    const { samplesPerPrompt, maxNewTokens, maxNewTokensOf, temperature, topP, topK, stop = [] } = request;
    if (topK !== 0 || stop.length > 0 || maxNewTokensOf !== undefined)
      throw new MinkeError(
        'invalid-argument',
        'EndpointTextSampler: expected topK 0, one length for all and no stop texts, which chat endpoints have no common word for',
      );
    const texts = request.prompts.map((tokens, p) => {
      const text = this.#texts.get(tokens.join());
      if (text === undefined)
        throw new MinkeError(
          'invalid-argument',
          `EndpointTextSampler: expected a prompt that it was made with, got prompt ${p} of the request`,
        );
      return text;
    });
    const { prompts: _, encode: __, ...server } = this.#options;
    const ask = endpointSampler({
      ...{ ...server, temperature, topP, maxTokens: maxNewTokens, seed: request.seed },
      ...(signal && { signal }),
    });
    const rows = await ask(texts, samplesPerPrompt);
    return rows.flatMap((row, prompt) => row.map((reply) => this.#sampleOf(reply, prompt, request)));
  }

  async update(policy: PolicyExport): Promise<void> {
    throw new MinkeError(
      'unsupported',
      `EndpointTextSampler: expected no policy, got version ${policy.version}; an OpenAI-compatible server takes no weights, use VllmSampler or SglangSampler`,
    );
  }

  #sampleOf({ completion, truncated = false }: SampledText, prompt: number, request: SampleRequest): Sample {
    const { maxNewTokens, stopTokenIds } = request;
    const ids = Array.from(this.#options.encode(completion));
    const end = stopTokenIds[0];
    const whole = !truncated && end !== undefined ? [...ids, end] : ids;
    // The limit was the server's, in its tokens; in ours the text may be longer.
    const cut = truncated || end === undefined || whole.length > maxNewTokens;
    const tokens = whole.slice(0, maxNewTokens);
    return {
      prompt,
      tokens,
      logProbs: [],
      finish: cut ? 'length' : 'stop',
      policyVersion: 0,
    };
  }
}
