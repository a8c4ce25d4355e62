/** Rows by position as the endless, resumable stream of examples that trainers take. */
import { MinkeError } from '@minke/core';
import { type Example, type ExampleSource, encodeExample } from '@minke/rl-trainer';
import type { ChatTemplate } from '@minke/tokenizer-merging/chat';
import type { Tokenizer } from '@minke/tokenizer-merging/tokenizer';
import type { RowAt } from './task.ts';

/**
 * A stream of encoded rows; its state is the position.
 *
 * @example
 * const source = new RowSource(baseRows({ seed: 1 }), recipeTokenizer(), deepseekR1Template);
 */
export class RowSource implements ExampleSource {
  readonly #at: RowAt;
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  #position = 0;

  constructor(at: RowAt, tokenizer: Tokenizer, template: ChatTemplate) {
    this.#at = at;
    this.#tokenizer = tokenizer;
    this.#template = template;
  }

  next(): Example {
    return encodeExample(this.#tokenizer, this.#template, this.#at(this.#position++));
  }

  state(): { position: number } {
    return { position: this.#position };
  }

  restore(state: unknown): void {
    const { position } = state as { position: number };
    if (!Number.isSafeInteger(position) || position < 0)
      throw new MinkeError(
        'invalid-file',
        `RowSource.restore: expected a position >= 0, got ${position}; pass what state() returned`,
      );
    this.#position = position;
  }
}
