/**
 * Rows of data sets as token ids: preferences for DPO and reward models, labelled texts for safety models.
 *
 * A prompt is what the chat template renders with its generation prompt; replies are encoded as a reasoning model
 * writes them. A reward model may read the whole reply, or only what follows the thought: DeepSeek-R1 judges
 * helpfulness by the final summary alone and safety by the whole text (https://arxiv.org/abs/2501.12948, section
 * 2.3.4).
 */
import { createReadStream } from 'node:fs';
import { MinkeError } from '@minke/core';
import {
  type Message,
  type PreferenceRow,
  type RowFormat,
  type RowOf,
  readRow,
  readRows,
} from '@minke/reasoning-tasks';
import { type ChatMessage, encodeChat, encodeReply, splitThought } from '@minke/tokenizer-merging/chat';
import type { Example } from '../batch.ts';
import type { ScoredText } from '../rewards/model-score.ts';
import { readParquet } from './parquet-rows.ts';
import { checkGenerationPrompt, type PromptFormat } from './prompt-format.ts';

/** Two replies to one prompt, the first the better one. */
export interface PreferencePair {
  readonly chosen: Example;
  readonly rejected: Example;
  /** By how much the chosen one should lead; default 0. */
  readonly margin?: number;
}

/** What a reward model reads of a reply: everything, or only what follows the thought. */
export type ScoredPart = 'whole' | 'summary';

/**
 * All rows of a file of JSON lines, or, where its name ends in `.parquet`, of a Parquet file. Throws `invalid-file` naming
 * the file and the line or row: wrong columns, no rows, bytes that are not UTF-8, a line that is too long, damage; and
 * `unsupported` for a Parquet file that is encrypted or compressed in a way that cannot be read.
 *
 * @example
 * const rows = await readRowFile('train-00000-of-00001.parquet', 'preference');
 */
export async function readRowFile<Format extends RowFormat>(
  path: string,
  format: Format,
): Promise<RowOf[Format][]> {
  const rows: RowOf[Format][] = [];
  if (path.endsWith('.parquet')) {
    for await (const { row, value } of readParquet(path))
      rows.push(
        readRow(
          value,
          format,
          (text) => new MinkeError('invalid-file', `${path}: row ${row}: ${text}`, { details: { row } }),
        ),
      );
    return rows;
  }
  try {
    for await (const row of readRows(createReadStream(path), format, { name: path })) rows.push(row);
  } catch (cause) {
    if (cause instanceof MinkeError) throw cause;
    throw new MinkeError('invalid-file', `${path}: cannot be read: ${(cause as Error).message}`, { cause });
  }
  return rows;
}

/** A preference row as two examples. Of replies with several messages the last one is learnt from. */
export function encodePreference(
  row: PreferenceRow,
  format: PromptFormat,
  part: ScoredPart = 'whole',
): PreferencePair {
  const { margin } = row.extra;
  const side = (reply: readonly Message[]) =>
    encodeTurn([...row.prompt, ...reply.slice(0, -1)], reply.at(-1) as Message, format, part);
  const pair = { chosen: side(row.chosen), rejected: side(row.rejected) };
  return typeof margin === 'number' ? { ...pair, margin } : pair;
}

/** A conversation and the assistant's next message. Throws `unsupported` for a template without a generation prompt. */
export function encodeTurn(
  context: readonly Message[],
  reply: Message,
  format: PromptFormat,
  part: ScoredPart = 'whole',
): Example {
  checkGenerationPrompt(format);
  const { tokenizer, template } = format;
  const prompt = encodeChat(tokenizer, template, context.map(toChatMessage));
  const { content, reasoning } = withoutTags(reply);
  const thought = part === 'summary' ? undefined : reasoning;
  const ids = encodeReply(
    tokenizer,
    template,
    { content, ...(thought !== undefined && { reasoning: thought }) },
    prompt,
  );
  return { ids: Int32Array.from([...prompt.ids, ...ids]), completionStart: prompt.ids.length };
}

/** A reply with its thought apart, also where only the closing tag is there because the prompt had the other. */
function withoutTags(reply: Message): ChatMessage {
  const { role, content, reasoning } = toChatMessage(reply);
  const { thought, answer } = splitThought(content);
  if (reasoning !== undefined || thought === undefined)
    return { role, content, ...(reasoning !== undefined && { reasoning }) };
  return { role, content: answer.replace(/^\s+/, ''), reasoning: thought };
}

function toChatMessage({ role, content, reasoning_content: reasoning }: Message): ChatMessage {
  return { role, content, ...(reasoning !== undefined && { reasoning }) };
}

/**
 * Ids of a text as rewards hand it to a reward model: what `encodePreference` gives the same question and reply.
 * A response whose thought never ends stays open, as it was sampled.
 */
export function encodeScoredText(text: ScoredText, format: PromptFormat, part: ScoredPart): number[] {
  const question: Message = { role: 'user', content: text.prompt };
  const reply: Message = { role: 'assistant', content: text.response };
  const closed = part === 'summary' || splitThought(text.response).thought !== undefined;
  if (closed) return [...encodeTurn([question], reply, format, part).ids];
  const { tokenizer, template } = format;
  const prompt = encodeChat(tokenizer, template, [toChatMessage(question)]);
  const ids = tokenizer.encode(text.response);
  return prompt.opensThought ? [...prompt.ids, ...ids] : [...encodeTurn([question], reply, format).ids];
}
