/**
 * Greedy samples that are interrupted: at tokens of interest a caller says what shall stand there instead, and the
 * sampler goes on from that.
 *
 * Any `Sampler` will do, as an interruption is a stop token and a continuation a longer prompt; all prompts that were
 * interrupted go on together. Where the sampler computes prompts as it computes what it generates (`form: 'expanded'`),
 * a sample whose tokens are left as they are is the one that was never interrupted, bit for bit.
 */
import type { SampleRequest, Sampler } from '@minke/rl-trainer';

/** What to sample: one completion a prompt, greedily. */
export interface SteppedRequest extends Pick<SampleRequest, 'prompts' | 'maxNewTokens' | 'stopTokenIds'> {
  /** Ids at which the caller is asked. */
  readonly breakTokenIds: readonly number[];
}

/** A completion; its stop token, where it has one, is left out. */
export interface SteppedSample {
  readonly tokens: readonly number[];
  readonly finish: 'stop' | 'length';
}

/**
 * Samples, asking at each break.
 *
 * @param replace the token to stand in the place of the last of `tokens`, which prompt number `prompt` was answered
 * with so far
 */
export async function sampleInSteps(
  sampler: Sampler,
  { prompts, maxNewTokens, stopTokenIds, breakTokenIds }: SteppedRequest,
  replace: (prompt: number, tokens: readonly number[]) => number,
): Promise<SteppedSample[]> {
  const done = prompts.map((): { tokens: number[]; finish: SteppedSample['finish'] | null } => ({
    tokens: [],
    finish: null,
  }));
  for (;;) {
    const open = done.flatMap(({ finish }, i) => (finish === null ? [i] : []));
    if (open.length === 0) return done as SteppedSample[];
    const left = open.map((i) => maxNewTokens - (done[i] as SteppedSample).tokens.length);
    const samples = await sampler.sample({
      prompts: open.map((i) => [...(prompts[i] as number[]), ...(done[i] as SteppedSample).tokens]),
      samplesPerPrompt: 1,
      maxNewTokens: left.reduce((most, count) => Math.max(most, count)),
      ...{ temperature: 0, topP: 1, topK: 0, seed: 0 },
      stopTokenIds: [...stopTokenIds, ...breakTokenIds],
    });
    for (const [k, i] of open.entries()) {
      const sample = samples[k] as (typeof samples)[number];
      const own = done[i] as (typeof done)[number];
      const room = left[k] as number;
      const fits = sample.tokens.length <= room;
      own.tokens.push(...sample.tokens.slice(0, room));
      const last = own.tokens.at(-1) as number;
      if (!fits || sample.finish === 'length') own.finish = 'length';
      else if (stopTokenIds.includes(last)) {
        own.tokens.pop();
        own.finish = 'stop';
      } else {
        own.tokens[own.tokens.length - 1] = replace(i, own.tokens);
        if (own.tokens.length === maxNewTokens) own.finish = 'length';
      }
    }
  }
}
