/**
 * Training examples from a file of JSON lines, or a Parquet file, in the Hub's conversational form: each row has `messages`,
 * of which the last is the assistant's and is trained on; its thought stands in `reasoning_content` or inside
 * `<think>` tags.
 */
import { MinkeError } from '@minke/core';
import type { MessagesRow } from '@minke/reasoning-tasks';
import type { ChatTemplate } from '@minke/tokenizer-merging/chat';
import type { Tokenizer } from '@minke/tokenizer-merging/tokenizer';
import { ShuffledSource } from './example-source.ts';
import { encodeTurn, readRowFile } from './stages/encode-rows.ts';
import { checkGenerationPrompt } from './stages/prompt-format.ts';

/** Reads a file, Parquet where its name ends in `.parquet`. Throws `invalid-file` naming the first bad row and what is wrong. */
export async function readConversations(path: string): Promise<MessagesRow[]> {
  const rows = await readRowFile(path, 'messages');
  for (const [i, { messages }] of rows.entries())
    if (messages.length < 2 || messages.at(-1)?.role !== 'assistant')
      throw new MinkeError(
        'invalid-file',
        `${path}: row ${i + 1}: expected messages that end with an assistant turn after a user turn, got ${messages.map(({ role }) => role).join(', ')}`,
      );
  return rows;
}

/**
 * The rows as a shuffled, endless source. Throws `unsupported` for a template without a generation prompt.
 *
 * @param rows at least one, each ending with an assistant's message
 */
export function conversationSource(
  rows: readonly MessagesRow[],
  tokenizer: Tokenizer,
  template: ChatTemplate,
  seed: number,
): ShuffledSource {
  const format = { tokenizer, template };
  checkGenerationPrompt(format);
  const examples = rows.map(({ messages }) =>
    encodeTurn(messages.slice(0, -1), messages[messages.length - 1] as (typeof messages)[number], format),
  );
  return new ShuffledSource(examples, seed);
}
