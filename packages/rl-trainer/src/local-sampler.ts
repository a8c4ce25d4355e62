/**
 * A sampler in this process: the inference engine for tokens, a forward pass of the learner for their log-probabilities.
 *
 * Samples of one prompt start together, so that the engine computes the prompt once. Log-probabilities are those of
 * the learner's forward pass over the finished samples, exactly what the first update after a rollout sees; the
 * engine's own, which it reports with each token, are not used yet.
 */
import { check, MinkeError, Random } from '@minke/core';
import type { Engine } from '@minke/inference';
import type { Learner, PolicyExport, Sample, SampleRequest, Sampler } from './interfaces.ts';

export class LocalSampler implements Sampler {
  readonly #engine: Engine;
  readonly #scorer: Pick<Learner, 'forward'>;
  #version = 0;

  /** @param engine and @param scorer of one model, which they share */
  constructor(engine: Engine, scorer: Pick<Learner, 'forward'>) {
    this.#engine = engine;
    this.#scorer = scorer;
  }

  async sample(request: SampleRequest, signal?: AbortSignal): Promise<Sample[]> {
    const { prompts, samplesPerPrompt, temperature, topP, topK, maxNewTokens, stopTokenIds } = request;
    check(
      Number.isSafeInteger(samplesPerPrompt) && samplesPerPrompt >= 1,
      () => `sample: expected samplesPerPrompt of 1 or more, got ${samplesPerPrompt}`,
    );
    const policyVersion = this.#version;
    const seeds = new Random(request.seed);
    const sampling = { temperature, topP, topK, minP: 0 };
    const running = prompts.flatMap((promptIds, prompt) =>
      Array.from({ length: samplesPerPrompt }, async () => {
        const seed = Math.floor(seeds.uniform() * Number.MAX_SAFE_INTEGER);
        const stream = this.#engine.generate({
          promptIds,
          maxNewTokens,
          sampling,
          seed,
          stopTokenIds,
          signal,
        });
        const tokens: number[] = [];
        let finish: Sample['finish'] = 'length';
        for await (const event of stream) {
          tokens.push(event.token);
          finish = event.finish ?? finish;
        }
        return { prompt, tokens, finish };
      }),
    );
    const drawn = await Promise.all(running);
    const sequences = drawn.map(({ prompt, tokens }) => {
      const promptIds = prompts[prompt] as readonly number[];
      return { tokens: [...promptIds, ...tokens], completionStart: promptIds.length };
    });
    const logProbs =
      temperature > 0 ? await this.#scorer.forward(sequences, { temperature }) : drawn.map(() => []);
    return drawn.map((sample, i) => ({
      ...sample,
      logProbs: logProbs[i] as readonly number[],
      policyVersion,
    }));
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
