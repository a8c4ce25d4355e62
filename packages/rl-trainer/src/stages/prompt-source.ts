/**
 * Where the prompts of reinforcement learning come from: an endless, resumable stream of token ids with what rewards
 * need to know. A prompt is a conversation as the chat template renders it, up to where the assistant begins.
 */
import { type Problem, TaskStream, type TaskStreamState } from '@minke/reasoning-tasks';
import { type ChatMessage, encodeChat } from '@minke/tokenizer-merging/chat';
import { ShuffledSource } from '../example-source.ts';
import type { RewardInput } from '../rewards/reward.ts';
import { checkGenerationPrompt, type PromptFormat } from './prompt-format.ts';

/** One prompt of a stage. */
export interface RlPrompt {
  /** Ids that the policy continues, at least one. */
  readonly tokens: readonly number[];
  /** What rewards get beside the completion. Plain data. */
  readonly input: Omit<RewardInput, 'completion' | 'length'>;
}

export interface PromptSource {
  next(): RlPrompt;
  /** Plain JSON. */
  state(): unknown;
  /** Continues with exactly the prompt that would have come next when the state was taken. */
  restore(state: unknown): void;
}

/** A prompt as a data set has it. */
export interface PromptData extends Partial<Omit<RlPrompt['input'], 'prompt'>> {
  /** A question, or a conversation up to the reply. */
  readonly prompt: string | readonly ChatMessage[];
}

/**
 * Generated tasks as prompts. Rewards find the answer, the question's language (`en` or `es`), the family as `domain`
 * and the whole problem as `metadata`, which is what `taskAccuracyReward()` takes.
 *
 * @example
 * const prompts = taskPrompts(new TaskStream({ seed: 1 }), language);
 */
export function taskPrompts(stream: TaskStream, format: PromptFormat): PromptSource {
  let tasks = stream;
  return {
    next: () => ofTask(tasks.next(), format),
    state: () => tasks.state(),
    restore(state) {
      tasks = TaskStream.fromState(state as TaskStreamState);
    },
  };
}

/**
 * The rows of a data set as prompts, endlessly, shuffled anew each epoch.
 *
 * @param rows at least one
 * @example
 * const prompts = rowPrompts([{ prompt: 'What is 2 + 2?', answer: '4' }], language, { seed: 1 });
 */
export function rowPrompts(
  rows: readonly PromptData[],
  format: PromptFormat,
  { seed }: { readonly seed: number },
): PromptSource {
  const source = new ShuffledSource(rows, seed);
  return {
    next: () => encodePrompt(source.next(), format),
    state: () => source.state(),
    restore: (state) => source.restore(state),
  };
}

function ofTask(problem: Problem, format: PromptFormat): RlPrompt {
  const { prompt, answer, language = 'en', family: domain } = problem;
  return encodePrompt({ prompt, answer, language, domain, metadata: problem }, format);
}

/** A row as a prompt. Throws `unsupported` for a template without a generation prompt. */
export function encodePrompt({ prompt, ...rest }: PromptData, format: PromptFormat): RlPrompt {
  checkGenerationPrompt(format);
  const { tokenizer, template } = format;
  const messages = typeof prompt === 'string' ? [{ role: 'user' as const, content: prompt }] : prompt;
  const question = messages.findLast(({ role }) => role === 'user')?.content;
  return {
    tokens: [...encodeChat(tokenizer, template, messages).ids],
    input: { ...rest, prompt: typeof question === 'string' ? question : '' },
  };
}
