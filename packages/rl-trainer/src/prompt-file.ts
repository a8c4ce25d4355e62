/**
 * Prompts from a JSON-lines file in the Hub's prompt-only form, for reinforcement learning and for rejection sampling:
 * each line has `prompt`, a question or a conversation up to the reply. Rewards find `answer`, `language`, `domain`
 * and `metadata` under these names; without a column `metadata`, the columns that are left are it.
 */
import { MinkeError } from '@minke/core';
import type { PromptRow } from '@minke/reasoning-tasks';
import type { RejectionPrompt } from './rejection-selection.ts';
import { readRowFile } from './stages/encode-rows.ts';
import type { PromptFormat } from './stages/prompt-format.ts';
import { encodePrompt, type PromptData } from './stages/prompt-source.ts';

/**
 * Reads a JSON-lines file, for `rowPrompts` and `rejectionPrompts`.
 * Throws `invalid-file` naming the first bad line and what is wrong with it.
 */
export async function readPrompts(path: string): Promise<PromptData[]> {
  const rows = await readRowFile(path, 'prompt');
  return rows.map((row, i) => promptData(row, `${path}: row ${i + 1}`));
}

function promptData({ prompt, extra }: PromptRow, where: string): PromptData {
  const { answer, language, domain, metadata, ...rest } = extra;
  const fail = (expected: string, got: string) =>
    new MinkeError('invalid-file', `${where}: expected ${expected}, got ${got}; correct the row`);
  const last = prompt.at(-1)?.role;
  if (last === 'assistant')
    throw fail('a prompt that ends before the reply', 'an assistant message at its end');
  if (!['string', 'number', 'undefined'].includes(typeof answer) && answer !== null)
    throw fail('an answer as text or a number', JSON.stringify(answer).slice(0, 80));
  for (const [name, value] of Object.entries({ language, domain }))
    if (value !== undefined && typeof value !== 'string')
      throw fail(`${name} as text`, JSON.stringify(value).slice(0, 80));
  return {
    prompt: prompt.map(({ role, content, reasoning_content: reasoning }) => ({
      role,
      content,
      ...(reasoning !== undefined && { reasoning }),
    })),
    ...(answer !== undefined && { answer: answer === null ? null : String(answer) }),
    ...(language !== undefined && { language: language as string }),
    ...(domain !== undefined && { domain: domain as string }),
    metadata: metadata ?? rest,
  };
}

/**
 * Rows as prompts of rejection sampling, named by their number. Throws `unsupported` for a template without a
 * generation prompt.
 *
 * @example
 * const prompts = rejectionPrompts(await readPrompts('prompts.jsonl'), language);
 */
export function rejectionPrompts(rows: readonly PromptData[], format: PromptFormat): RejectionPrompt[] {
  return rows.map((row, i) => {
    const { tokens, input } = encodePrompt(row, format);
    const { prompt: text, domain = 'prompt', ...task } = input;
    return { id: `row-${i + 1}`, tokens, text, kind: domain, task };
  });
}
