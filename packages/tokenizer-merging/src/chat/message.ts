/** A conversation as templates see it, and the check of one that came from outside. */
import { check } from '@minke/core';

/** Who wrote a message. */
export type ChatRole = 'system' | 'user' | 'assistant' | 'tool';

/** One turn. `reasoning` is an assistant's thought, kept apart from its answer. */
export interface ChatMessage {
  readonly role: ChatRole;
  readonly content: string;
  readonly reasoning?: string;
}

const roles: readonly string[] = ['system', 'user', 'assistant', 'tool'];

/** Throws `MinkeError('invalid-argument')` unless `messages` is a non-empty list of well-formed messages. */
export function checkMessages(messages: unknown): asserts messages is readonly ChatMessage[] {
  check(Array.isArray(messages) && messages.length > 0, () => 'chat: expected a non-empty list of messages');
  (messages as unknown[]).forEach((entry, i) => {
    const message = entry as Partial<Record<keyof ChatMessage, unknown>> | null;
    check(
      typeof message === 'object' && message !== null,
      () => `chat: expected messages[${i}] to be an object`,
    );
    check(
      typeof message.role === 'string' && roles.includes(message.role),
      () =>
        `chat: expected messages[${i}].role to be one of ${roles.join(', ')}, got ${JSON.stringify(message.role)}`,
    );
    for (const field of ['content', 'reasoning'] as const) {
      const value = message[field];
      check(
        typeof value === 'string' || (field === 'reasoning' && value === undefined),
        () =>
          `chat: expected messages[${i}].${field} to be a string, got ${value === null ? 'null' : typeof value}`,
      );
    }
  });
}
