/**
 * The three narrow interfaces that every stage of training is written against: who samples, who learns, who judges.
 *
 * Everything that crosses them is plain data and every call is asynchronous, so an implementation may be the
 * process itself, a worker thread, or a cluster behind HTTP, without a change of the algorithm:
 *
 * | here                     | Tinker API                    | vLLM, SGLang                                       |
 * | ------------------------ | ----------------------------- | -------------------------------------------------- |
 * | Sampler.sample           | sample                        | /inference/v1/generate, /generate with logprobs     |
 * | Sampler.update           | create_sampling_client        | /update_weights_from_disk, /start_weight_update ... |
 * | Learner.forward          | forward, compute_logprobs     |                                                     |
 * | Learner.forwardBackward  | forward_backward              |                                                     |
 * | Learner.optimStep        | optim_step                    |                                                     |
 * | Learner.saveState        | save_state                    |                                                     |
 * | Learner.exportForSampler | save_weights_for_sampler      | a folder of safetensors                             |
 *
 * A loss goes over as its name and plain settings, a batch as token ids and numbers for each of them.
 */
import type { DpoConfig, PolicyObjective, StepTotals } from './objectives/index.ts';

export interface SampleRequest {
  /** Token ids of each prompt, at least one. */
  readonly prompts: readonly (readonly number[])[];
  /** G */
  readonly samplesPerPrompt: number;
  readonly maxNewTokens: number;
  /** Instead of `maxNewTokens`, for each prompt its own. */
  readonly maxNewTokensOf?: readonly number[];
  /** Above 0 where log-probabilities matter; 0 is greedy. */
  readonly temperature: number;
  /** In (0, 1]; below 1 the log-probabilities are still those of the whole distribution. */
  readonly topP: number;
  /** 0 for all. */
  readonly topK: number;
  /** Ids that end a completion, and belong to it. */
  readonly stopTokenIds: readonly number[];
  /** Texts that end a completion; the token that completes one belongs to it. Default: none. */
  readonly stop?: readonly string[];
  /** Whole number; equal requests to an equal policy give equal samples where the engine can. */
  readonly seed: number;
}

export interface Sample {
  /** Which prompt it answers. */
  readonly prompt: number;
  /** Ids of the completion, at least one. */
  readonly tokens: readonly number[];
  /** Log-probability of each token at the request's temperature, in nats. */
  readonly logProbs: readonly number[];
  /** A stop token or text, or the length limit. */
  readonly finish: 'stop' | 'length';
  /** 0 for tokens that an environment wrote, 1 for the policy's; absent: all are the policy's. */
  readonly mask?: readonly number[];
  /** The policy it came from: the `version` of an export. */
  readonly policyVersion: number;
}

/** A policy as a learner hands it to samplers. */
export interface PolicyExport {
  /** Increases with every optimiser step. */
  readonly version: number;
  /** A folder with the weights, or null where sampler and learner share them. */
  readonly location: string | null;
}

export interface Sampler {
  /**
   * Whether its log-probabilities are those of the learner, bit for bit: no pass of the learner is then needed to know
   * them. Default false.
   */
  readonly exact?: boolean;
  /** Samples of all prompts, those of one prompt together and in the order of the prompts. Rejects with `aborted`. */
  sample(request: SampleRequest, signal?: AbortSignal): Promise<readonly Sample[]>;
  /** Uses this policy from the next request on. */
  update(policy: PolicyExport): Promise<void>;
}

/** One sequence to learn from. Arrays beside `tokens` have one entry for each token from `completionStart` on. */
export interface TrainingSequence {
  /** Ids, prompt and completion. */
  readonly tokens: readonly number[];
  /** Index of the completion's first token, at least 1. */
  readonly completionStart: number;
  /** 0 for completion tokens that do not count, such as what a tool wrote; default: all count. */
  readonly mask?: readonly number[];
  readonly advantages?: readonly number[];
  /** Of the policy before this rollout's updates; default: the learner's own. */
  readonly oldLogProbs?: readonly number[];
  readonly refLogProbs?: readonly number[];
  /** Of the engine that sampled. */
  readonly samplingLogProbs?: readonly number[];
  /** Of the critic at the rollout; for critics only. */
  readonly values?: readonly number[];
  /** What the critic is to learn; for critics only. */
  readonly returns?: readonly number[];
  /** A teacher's log-probabilities over the vocabulary, at temperature 1: V for each token, one token's after another's. */
  readonly teacherLogProbs?: ArrayLike<number>;
}

/** What `forwardBackward` computes. Sums are divided by the totals of the step, so micro-batches add up. */
export type LossSpec =
  /** With outputs `sums` no numbers of single tokens come back, which is cheaper; default `tokens`. */
  | { readonly name: 'cross_entropy'; readonly outputs?: 'tokens' | 'sums' }
  | { readonly name: 'policy'; readonly objective: PolicyObjective; readonly temperature: number }
  /** Sequences in pairs: chosen, then rejected. `refLogProbs` are needed. */
  | { readonly name: 'dpo'; readonly dpo: DpoConfig }
  /** beta 0: forward KL on a teacher's samples; 1: reverse KL on the learner's own. */
  | { readonly name: 'distillation'; readonly beta: number; readonly temperature: number };

export interface ForwardBackwardResult {
  /** This micro-batch's share of the step's loss. */
  readonly loss: number;
  /** Log-probabilities of the learner, one row a sequence, one entry a token that counts. */
  readonly logProbs: readonly (readonly number[])[];
  /** Entropies of the learner's distributions, likewise. */
  readonly entropies: readonly (readonly number[])[];
  /**
   * Figures of the learner's own, by name, which add up over micro-batches: `balance_loss`, `correct_tokens`, and those of
   * `Compression` where the model merges.
   */
  readonly metrics: Readonly<Record<string, number>>;
}

export interface OptimStepOptions {
  readonly learningRate: number;
  /** False leaves the experts' correction biases as they are; default true. */
  readonly updateBiases?: boolean;
}

export interface OptimStepResult {
  /** Optimiser steps so far. */
  readonly step: number;
  /** Global norm before clipping. */
  readonly gradNorm: number;
  /** Figures of the learner's own, by name: `max_vio` and `dead_experts` of a mixture of experts, `compression_aim` of merging. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Calls take effect in the order they are made, awaited or not; one that rejects changes nothing. */
export interface Learner {
  /** Log-probabilities of the completions' tokens, without gradient: of the old policy, or of a reference. */
  forward(
    sequences: readonly TrainingSequence[],
    options: { readonly temperature: number },
  ): Promise<readonly (readonly number[])[]>;
  /** Adds the gradients of one micro-batch. */
  forwardBackward(
    sequences: readonly TrainingSequence[],
    loss: LossSpec,
    totals: StepTotals,
  ): Promise<ForwardBackwardResult>;
  /** Updates the policy with the gradients added since the last step, and forgets them. */
  optimStep(options: OptimStepOptions): Promise<OptimStepResult>;
  /** Writes everything that a continuation needs into a folder. */
  saveState(folder: string): Promise<void>;
  /** Continues from a folder of `saveState`. */
  loadState(folder: string): Promise<void>;
  /** The policy as it is now, for samplers. */
  exportForSampler(): Promise<PolicyExport>;
}

/** What a verifier judges. */
export interface VerifierInput {
  readonly prompt: string;
  readonly completion: string;
  readonly finish: 'stop' | 'length';
  /** Further columns of the data set: answer, task, test cases. */
  readonly task: Readonly<Record<string, unknown>>;
}

export interface Verifier {
  /** In metrics: `rewards/{name}/mean`. */
  readonly name: string;
  /** A score, or null where it cannot judge, which is not the same as 0. */
  score(input: VerifierInput, signal?: AbortSignal): Promise<number | null>;
}
