/**
 * Training examples from a JSON-lines file in the Hub's conversational form: each line has `messages`, of
 * which the last is the assistant's and is trained on; its thought stands in `reasoning_content` or inside
 * `<think>` tags.
 */
import { readFileSync } from 'node:fs';
import { MinkeError } from '@minke/core';
import {
  type ChatMessage,
  type ChatTemplate,
  checkMessages,
  encodeChat,
  encodeReply,
  splitThought,
} from '@minke/tokenizer-merging/chat';
import type { Tokenizer } from '@minke/tokenizer-merging/tokenizer';
import type { Example } from './batch.ts';
import { ShuffledSource } from './example-source.ts';

/** One conversation ending in an assistant's turn. */
export interface ConversationRow {
  readonly messages: readonly ChatMessage[];
  readonly reasoning: string | undefined;
  readonly answer: string;
}

/** Reads a JSON-lines file. Throws `invalid-file` naming the first bad line and what is wrong with it. */
export function readConversations(path: string): ConversationRow[] {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (cause) {
    throw new MinkeError('invalid-file', `${path}: cannot be read as UTF-8 (${(cause as Error).message})`, {
      cause,
    });
  }
  const rows = text
    .split('\n')
    .flatMap((line, i) => (line.trim() === '' ? [] : [parseRow(line, `${path}:${i + 1}`)]));
  if (rows.length === 0)
    throw new MinkeError('invalid-file', `${path}: expected at least one line of JSON, got none`);
  return rows;
}

function parseRow(line: string, where: string): ConversationRow {
  try {
    const { messages } = JSON.parse(line) as { messages?: unknown };
    checkMessages(messages);
    const last = messages.at(-1) as ChatMessage & { readonly reasoning_content?: unknown };
    if (messages.length < 2 || last.role !== 'assistant') {
      throw new Error('expected messages that end with an assistant turn after a user turn');
    }
    const { thought, answer } = splitThought(last.content);
    const stated = last.reasoning_content ?? last.reasoning;
    return {
      messages: messages.slice(0, -1),
      reasoning: typeof stated === 'string' ? stated : thought,
      answer,
    };
  } catch (cause) {
    throw new MinkeError('invalid-file', `${where}: ${(cause as Error).message}`, { cause });
  }
}

/** The rows as a shuffled, endless source. */
export function conversationSource(
  rows: readonly ConversationRow[],
  tokenizer: Tokenizer,
  template: ChatTemplate,
  seed: number,
): ShuffledSource {
  const examples = rows.map(({ messages, reasoning, answer }): Example => {
    const prompt = encodeChat(tokenizer, template, messages);
    const reply = { content: answer, ...(reasoning === undefined ? {} : { reasoning }) };
    const ids = encodeReply(tokenizer, template, reply, prompt);
    return { ids: Int32Array.from([...prompt.ids, ...ids]), completionStart: prompt.ids.length };
  });
  return new ShuffledSource(examples, seed);
}
