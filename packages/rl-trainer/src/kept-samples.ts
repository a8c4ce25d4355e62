/**
 * What rejection sampling kept, as a file and as training examples: the ids are those the policy sampled, so nothing
 * is encoded again.
 */
import { createReadStream, existsSync } from 'node:fs';
import { MinkeError } from '@minke/core';
import { readJsonLines } from '@minke/reasoning-tasks';
import type { Example } from './batch.ts';

/** One line of `kept.jsonl`; the prompt's further columns stand beside these. */
export interface KeptSample {
  readonly id: string;
  readonly kind: string;
  readonly sample: number;
  readonly prompt: string;
  readonly completion: string;
  readonly prompt_tokens: readonly number[];
  readonly completion_tokens: readonly number[];
}

/**
 * The samples of a `kept.jsonl` as training examples, in order.
 * Throws `invalid-file`, naming the line, for a file of something else.
 */
export async function readKept(path: string): Promise<(Example & { readonly row: KeptSample })[]> {
  const examples: (Example & { row: KeptSample })[] = [];
  if (!existsSync(path))
    throw new MinkeError(
      'invalid-file',
      `${path}: expected a file, got none; use a kept.jsonl of rejection sampling`,
    );
  for await (const { line, value } of readJsonLines(createReadStream(path), { name: path })) {
    const row = value as unknown as KeptSample;
    const ids = (tokens: unknown) =>
      Array.isArray(tokens) && tokens.length > 0 && tokens.every((id) => Number.isSafeInteger(id) && id >= 0);
    if (!ids(row.prompt_tokens) || !ids(row.completion_tokens))
      throw new MinkeError(
        'invalid-file',
        `${path}: line ${line}: expected prompt_tokens and completion_tokens, got ${Object.keys(value).join(', ') || 'none'}; use a kept.jsonl of rejection sampling`,
      );
    const all = Int32Array.from([...row.prompt_tokens, ...row.completion_tokens]);
    examples.push({ ids: all, completionStart: row.prompt_tokens.length, row });
  }
  return examples;
}
