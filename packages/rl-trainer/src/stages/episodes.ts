/**
 * Samples of several turns: the policy writes up to a stop text, an environment answers, and so on to the end.
 *
 * All episodes of a rollout go on together, a turn at a time: one request to the sampler for everyone's next turn, then
 * every environment's step at once. What an environment wrote is encoded by itself and appended as ids, never joined
 * with the policy's text and read again, and is marked 0 in the sample's mask: it is context and nothing else, without
 * loss, KL, log-probability or length. The limit of a completion's length counts it, since the context must hold it.
 *
 * An environment that throws, or does not answer in time, ends its episode without a score, so that the completion
 * leaves the batch. A reply that is too long is cut; one that leaves no room for a token ends the episode as the length
 * limit does, and so does the limit of turns. A step that never returns and never awaits cannot be interrupted here.
 */

import { check, MinkeError, Random } from '@minke/core';
import type { TextPart } from '@minke/reasoning-tasks';
import type { Sample, SampleRequest, Sampler } from '../interfaces.ts';
import type { Score } from '../objectives/statistics.ts';
import type { EpisodeOutcome } from '../rewards/episode-outcome.ts';
import type { RlPrompt } from './prompt-source.ts';

/** No vocabulary has tokens of more UTF-16 units on average. */
const MOST_UNITS_A_TOKEN = 64;

/** What an environment says to a turn; `Turn` of `@minke/reasoning-tasks`. */
export interface EpisodeTurn {
  /** Text to append before the policy goes on; null at the end. */
  readonly reply: string | null;
  readonly done: boolean;
  /** Where the reply says that a call went wrong. */
  readonly failed?: boolean;
}

/** An environment in the middle of an episode; every `Environment` after its `reset` is one. */
export interface Episode {
  /** Texts at which sampling stops and `step` is called. */
  readonly stop: readonly string[];
  /** Takes what the policy wrote since the last turn, without a stop token. */
  step(text: string): EpisodeTurn | Promise<EpisodeTurn>;
  score(): { readonly score: Score };
}

/** An environment for every completion, and its bounds. */
export interface EnvironmentOptions {
  /** A new episode of a prompt; see `episodesOf`. */
  readonly begin: (prompt: RlPrompt) => Episode;
  /** Turns of the policy, the last one included. Default 8. */
  readonly maxTurns?: number;
  /** Tokens of a reply; the rest of it is cut off. Default 256. */
  readonly maxReplyTokens?: number;
  /** Milliseconds that a step may take. Default 30,000. */
  readonly stepTimeoutMs?: number;
}

/** A completion of several turns. */
export interface EpisodeSample {
  readonly sample: Sample;
  readonly outcome: EpisodeOutcome;
}

/** What the trainer knows of texts and ids. */
export interface EpisodeSampling {
  readonly sampler: Sampler;
  readonly environment: EnvironmentOptions;
  readonly encode: (text: string) => ArrayLike<number>;
  readonly decode: (tokens: readonly number[]) => string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * `begin` for environments of `reset`, `step` and `score`. The task is the prompt's `metadata`, which is the whole
 * problem with `taskPrompts`.
 *
 * @example
 * await trainGrpo({ ...local, environment: { begin: episodesOf(() => new Calculator()) }, ... });
 */
export function episodesOf<Task>(
  make: () => Episode & { reset(task: Task): unknown },
  taskOf: (prompt: RlPrompt) => Task = ({ input }) => input.metadata as Task,
): EnvironmentOptions['begin'] {
  return (prompt) => {
    const environment = make();
    environment.reset(taskOf(prompt));
    return environment;
  };
}

/**
 * Samples of all prompts, those of one prompt together. `request.maxNewTokens` bounds a whole completion. Rejects with
 * `aborted` after the signal, and with what the sampler and `begin` throw.
 */
export async function sampleEpisodes(
  prompts: readonly RlPrompt[],
  request: Omit<SampleRequest, 'prompts' | 'stop' | 'maxNewTokensOf'>,
  options: EpisodeSampling,
): Promise<EpisodeSample[]> {
  const { sampler, environment, signal } = options;
  const { maxTurns = 8 } = environment;
  const running = prompts.flatMap((prompt, p) =>
    Array.from({ length: request.samplesPerPrompt }, () => new RunningEpisode(prompt, p, request, options)),
  );
  for (let turn = 0; turn < maxTurns; turn++) {
    const live = running.filter(({ ended }) => !ended);
    if (live.length === 0) break;
    const stop = [...new Set(live.flatMap((episode) => episode.stop))];
    // Samples of one prompt share its computation in the first turn only: afterwards each has a past of its own.
    const asked =
      turn === 0
        ? { ...request, prompts: prompts.map(({ tokens }) => tokens) }
        : {
            ...request,
            prompts: live.map((episode) => episode.context),
            samplesPerPrompt: 1,
            maxNewTokensOf: live.map((episode) => episode.room),
            seed: new Random(request.seed, turn).uint32(),
          };
    const samples = await sampler.sample({ ...asked, stop }, signal);
    check(
      samples.length === live.length,
      () => `sampleEpisodes: expected ${live.length} samples of the sampler, got ${samples.length}`,
    );
    const last = turn === maxTurns - 1;
    await Promise.all(live.map((episode, i) => episode.take(samples[i] as Sample, last)));
    if (signal?.aborted) throw new MinkeError('aborted', 'sampleEpisodes: the caller cancelled');
  }
  return running.map((episode) => episode.result());
}

class RunningEpisode {
  readonly #prompt: RlPrompt;
  readonly #index: number;
  readonly #episode: Episode;
  readonly #limit: number;
  readonly #stopTokenIds: readonly number[];
  readonly #greedy: boolean;
  readonly #options: EpisodeSampling;
  readonly #parts: TextPart[] = [];
  readonly #tokens: number[] = [];
  readonly #logProbs: number[] = [];
  readonly #mask: number[] = [];
  #version = Number.POSITIVE_INFINITY;
  #finish: Sample['finish'] = 'length';
  #turns = 0;
  #calls = 0;
  #failures = 0;
  #problem: string | null = null;
  ended = false;

  constructor(
    prompt: RlPrompt,
    index: number,
    {
      maxNewTokens,
      stopTokenIds,
      temperature,
    }: Pick<SampleRequest, 'maxNewTokens' | 'stopTokenIds' | 'temperature'>,
    options: EpisodeSampling,
  ) {
    this.#prompt = prompt;
    this.#index = index;
    this.#episode = options.environment.begin(prompt);
    this.#limit = maxNewTokens;
    this.#stopTokenIds = stopTokenIds;
    this.#greedy = temperature === 0;
    this.#options = options;
  }

  get stop(): readonly string[] {
    return this.#episode.stop;
  }

  /** What the policy continues. */
  get context(): number[] {
    return [...this.#prompt.tokens, ...this.#tokens];
  }

  /** Tokens that may still come. */
  get room(): number {
    return this.#limit - this.#tokens.length;
  }

  /** Adds a turn of the policy and what the environment says to it. */
  async take(sample: Sample, last: boolean): Promise<void> {
    const { tokens, logProbs, finish, policyVersion } = sample;
    this.#append(tokens, logProbs, 1);
    this.#version = Math.min(this.#version, policyVersion);
    this.#turns++;
    const ended = finish === 'stop' && this.#stopTokenIds.includes(tokens.at(-1) as number);
    const text = this.#options.decode(ended ? tokens.slice(0, -1) : tokens);
    this.#parts.push({ from: 'model', text });
    const turn = await this.#step(text);
    if (turn === null || turn.done || turn.reply === null) {
      this.ended = true;
      if (turn !== null) this.#finish = finish;
      return;
    }
    const { maxReplyTokens = 256 } = this.#options.environment;
    // Of a text of any size only what could be kept is read.
    const readable = turn.reply.slice(0, maxReplyTokens * MOST_UNITS_A_TOKEN);
    const reply = Array.from(this.#options.encode(readable)).slice(0, maxReplyTokens);
    // Nothing is added that the policy could not go on from.
    this.ended = last || finish === 'length' || reply.length >= this.room;
    if (this.ended) return;
    this.#append(reply, new Array<number>(reply.length).fill(0), 0);
    this.#parts.push({ from: 'environment', text: this.#options.decode(reply) });
  }

  result(): EpisodeSample {
    const outcome = {
      parts: this.#parts,
      score: this.#score(),
      turns: this.#turns,
      calls: this.#calls,
      failures: this.#failures,
      problem: this.#problem,
    };
    const sample = {
      prompt: this.#index,
      tokens: this.#tokens,
      // A greedy choice has none.
      logProbs: this.#greedy ? [] : this.#logProbs,
      mask: this.#mask,
      finish: this.#finish,
      policyVersion: this.#version,
    };
    return { sample, outcome };
  }

  /** The environment's turn, or null when it failed. */
  async #step(text: string): Promise<EpisodeTurn | null> {
    try {
      const turn = await inTime(this.#episode.step(text), this.#options);
      if (turn.reply !== null) this.#calls++;
      if (turn.reply !== null && turn.failed === true) this.#failures++;
      return turn;
    } catch (problem) {
      this.#calls++;
      this.#failures++;
      this.#problem = String(problem);
      return null;
    }
  }

  #score(): Score {
    if (this.#problem !== null) return null;
    try {
      return this.#episode.score().score;
    } catch (problem) {
      this.#problem = String(problem);
      return null;
    }
  }

  #append(tokens: readonly number[], logProbs: readonly number[], own: number): void {
    for (const [i, token] of tokens.entries()) {
      this.#tokens.push(token);
      this.#logProbs.push(logProbs[i] as number);
      this.#mask.push(own);
    }
  }
}

/** A step's answer, if it comes before the time is up and the signal. */
async function inTime(
  answer: EpisodeTurn | Promise<EpisodeTurn>,
  { environment: { stepTimeoutMs = 30_000 }, signal }: EpisodeSampling,
): Promise<EpisodeTurn> {
  if (!(answer instanceof Promise)) return answer;
  let stop = () => {};
  const cut = new Promise<never>((_, reject) => {
    const timer = setTimeout(
      () => reject(new MinkeError('aborted', `expected an answer in ${stepTimeoutMs} ms, got none`)),
      stepTimeoutMs,
    );
    const abort = () => reject(new MinkeError('aborted', 'the caller cancelled'));
    signal?.addEventListener('abort', abort, { once: true });
    stop = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };
  });
  try {
    return await Promise.race([answer, cut]);
  } finally {
    stop();
  }
}
