/**
 * Sampler, learner, reference and critic of one loaded model in this process: what a stage needs beside prompts and
 * rewards.
 */
import { Engine, type LanguageModel } from '@minke/inference';
import { attentionCacheBytes, type ModelConfig } from '@minke/transformer';
import { LocalCritic } from '../local-critic.ts';
import { LocalLearner } from '../local-learner.ts';
import { LocalSampler } from '../local-sampler.ts';
import type { LocalLearnerOptions } from '../local-training.ts';
import type { GrpoOptions } from './grpo-options.ts';
import { LocalReference } from './reference.ts';

export interface LocalPolicyOptions {
  /** Of AdamW and of the experts' balance. */
  readonly learner?: Partial<LocalLearnerOptions>;
  /** Tokens of a prompt and its completion together, at most. Default: the model's context, at most 4096. */
  readonly contextLength?: number;
  /** Samples decoded together. Default: as many as a cache of 1 GiB holds, at most 512. */
  readonly maxSequences?: number;
  /** False for none: for configurations without KL. Default true. */
  readonly reference?: boolean;
  /** True for one, with the settings of `learner`; or its own. For configurations with `gae`. Default none. */
  readonly critic?: boolean | Partial<LocalLearnerOptions>;
}

/** What `trainGrpo` takes of a policy, and how to give its memory back. */
export interface LocalPolicy
  extends Required<Pick<GrpoOptions, 'sampler' | 'decode' | 'encode' | 'stopTokenIds'>> {
  readonly learner: LocalLearner;
  readonly reference: LocalReference | undefined;
  readonly critic: LocalCritic | undefined;
  dispose(): Promise<void>;
}

const CACHE_BYTES = 2 ** 30;

/** Where what is computed for a sequence has the same bits in every batch, trained or sampled. */
const cpuBackends: ReadonlySet<string> = new Set(['native', 'wasm', 'reference']);

/** How many sequences of so many tokens a cache of keys and values holds, from 1 to 512. */
function sequencesIn(bytes: number, config: ModelConfig, contextLength: number): number {
  const each = attentionCacheBytes(config, { maxTokens: contextLength, form: 'expanded' });
  return Math.max(1, Math.min(512, Math.floor(bytes / each)));
}

/**
 * Both sampler and learner use the weights of `language.model`, in the same form of attention, so that their
 * log-probabilities are equal. Reference and critic begin as copies of it as it is now; moments of optimisers are 0.
 *
 * @example
 * const local = await localPolicy(language, { contextLength: 256 });
 * await trainGrpo({ ...local, prompts, rewards, config, steps: 100, seed: 0, folder: 'run' });
 * await local.dispose();
 */
export async function localPolicy(
  { model, tokenizer, stopTokenIds }: LanguageModel,
  options: LocalPolicyOptions = {},
): Promise<LocalPolicy> {
  const { contextLength = Math.min(4096, model.config.maxPositions) } = options;
  const { maxSequences = sequencesIn(CACHE_BYTES, model.config, contextLength) } = options;
  const engine = new Engine(model, {
    maxSequences,
    contextLength,
    maxWaiting: 2 ** 20,
    promptChunk: 4096,
    form: 'expanded',
    temperedLogProbs: true,
  });
  const learner = new LocalLearner(model, options.learner);
  const reference = options.reference === false ? undefined : await LocalReference.of(model);
  const { critic: settings = false } = options;
  const critic =
    settings === false
      ? undefined
      : await LocalCritic.of(model, settings === true ? options.learner : settings);
  const decode = (tokens: readonly number[]) => tokenizer.decode([...tokens]);
  return {
    sampler: new LocalSampler(engine, { decode, exact: cpuBackends.has(model.backend.info.name) }),
    learner,
    reference,
    critic,
    decode,
    encode: (text) => tokenizer.encode(text),
    stopTokenIds,
    async dispose() {
      await engine.dispose();
      await learner.dispose();
      await reference?.dispose();
      await critic?.dispose();
    },
  };
}
