/** Tasks as the prompts of reinforcement learning and of rejection sampling. */
import { MinkeError } from '@minke/core';
import type { PromptFormat, PromptSource, RlPrompt } from '@minke/rl-trainer';
import { encodeChat } from '@minke/tokenizer-merging/chat';
import { promptOf, type Task, type TaskAt } from '../data/index.ts';

/** Ids of a task's prompt, up to where the assistant begins to think. */
export function promptIds({ prompt }: { readonly prompt: string }, format: PromptFormat): number[] {
  return [...encodeChat(format.tokenizer, format.template, [{ role: 'user', content: prompt }]).ids];
}

/** A task with what rewards need to know of it. */
export function rlPrompt(task: Task, format: PromptFormat): RlPrompt {
  return { tokens: promptIds(task, format), input: promptOf(task) };
}

/** Tasks by position as an endless, resumable source of prompts. */
export function promptsOf(at: TaskAt, format: PromptFormat): PromptSource {
  let position = 0;
  return {
    next: () => rlPrompt(at(position++), format),
    state: () => ({ position }),
    restore(state) {
      const restored = (state as { position?: unknown }).position;
      if (!Number.isSafeInteger(restored) || (restored as number) < 0)
        throw new MinkeError(
          'invalid-file',
          `promptsOf: expected a position of at least 0, got ${restored}; pass what state() returned`,
        );
      position = restored as number;
    },
  };
}
