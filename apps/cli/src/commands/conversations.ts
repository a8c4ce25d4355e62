/**
 * Reads training conversations from JSON lines in the Hub's conversational form, as `toJsonLines` of
 * `@minke/reasoning-tasks` writes them: `{"messages": [{"role": "user", "content": ...}, {"role": "assistant",
 * "content": ..., "reasoning_content": ...}]}`. One question and one answer a line.
 */
import { readFile } from 'node:fs/promises';
import { MinkeError } from '@minke/core';
import type { Conversation } from '@minke/rl-trainer';

/** Throws `invalid-file` naming the line. */
export async function readConversations(path: string): Promise<Conversation[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new MinkeError('invalid-file', `${path}: cannot be read: ${(cause as Error).message}`, { cause });
  }
  const conversations: Conversation[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() !== '') conversations.push(parseConversation(line, `${path}:${index + 1}`));
  }
  if (conversations.length === 0)
    throw new MinkeError('invalid-file', `${path}: expected at least one conversation, got none`);
  return conversations;
}

function parseConversation(line: string, where: string): Conversation {
  let row: { messages?: { role?: unknown; content?: unknown; reasoning_content?: unknown }[] } | null;
  try {
    row = JSON.parse(line);
  } catch (cause) {
    throw new MinkeError('invalid-file', `${where}: expected JSON, got ${(cause as Error).message}`, {
      cause,
    });
  }
  const messages = Array.isArray(row?.messages) ? row.messages : [];
  const [user, assistant] = messages;
  const { content: question } = user ?? {};
  const { content: answer, reasoning_content: reasoning } = assistant ?? {};
  const roles = messages.map((message) => message?.role).join(', ');
  if (
    roles !== 'user, assistant' ||
    typeof question !== 'string' ||
    typeof answer !== 'string' ||
    typeof reasoning !== 'string'
  ) {
    throw new MinkeError(
      'invalid-file',
      `${where}: expected messages of a user (content) and an assistant (content, reasoning_content), got roles ${roles || 'none'}`,
    );
  }
  return { question, reasoning, answer };
}
