import { MinkeError } from '@minke/core';
import type { ChatMessage, ChatTemplate } from '@minke/tokenizer-merging/chat';
import type { Tokenizer } from '@minke/tokenizer-merging/tokenizer';

/** How conversations become ids. */
export interface PromptFormat {
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;
}

/** Templates that were found good. */
const checked = new WeakSet<object>();

/** Throws `unsupported` for a template that renders no generation prompt: a reply would not be known as one. */
export function checkGenerationPrompt({ template }: PromptFormat): void {
  if (checked.has(template)) return;
  const messages: ChatMessage[] = [{ role: 'user', content: 'a' }];
  if (template.render(messages) === template.render(messages, { addGenerationPrompt: false }))
    throw new MinkeError(
      'unsupported',
      'chat template: expected one with a generation prompt (add_generation_prompt), got one that renders the same with and without; training needs to know where the reply begins',
    );
  checked.add(template);
}
