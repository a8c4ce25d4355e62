/**
 * Training examples from the generated reasoning tasks: an endless mixture, encoded as conversations.
 *
 * Any byte-level tokenizer will do: words it has no token for become bytes, and examples become longer.
 */
import { MinkeError, Random } from '@minke/core';
import { hash64, TaskStream, type TaskStreamState, toChat } from '@minke/reasoning-tasks';
import { type ChatTemplate, encodeChat, encodeReply } from '@minke/tokenizer-merging/chat';
import type { Tokenizer } from '@minke/tokenizer-merging/tokenizer';
import type { Example } from './batch.ts';
import type { ExampleSource } from './example-source.ts';
import { drawThought, type ThoughtMixture, validateThoughts } from './thought-mixture.ts';

/** One question and its answer, the thought apart. */
export interface Conversation {
  readonly question: string;
  readonly reasoning: string;
  readonly answer: string;
}

/** Encodes one exchange: the prompt as the template renders it, then the supervised reply. */
export function encodeExample(tokenizer: Tokenizer, template: ChatTemplate, exchange: Conversation): Example {
  const prompt = encodeChat(tokenizer, template, [{ role: 'user', content: exchange.question }]);
  const reply = encodeReply(
    tokenizer,
    template,
    { reasoning: exchange.reasoning, content: exchange.answer },
    prompt,
  );
  const ids = new Int32Array(prompt.ids.length + reply.length);
  ids.set(prompt.ids);
  ids.set(reply, prompt.ids.length);
  return { ids, completionStart: prompt.ids.length };
}

/** Where a source of tasks stands. Plain JSON. */
export interface TaskSourceState extends TaskStreamState {
  /** Only where kinds of thoughts were asked for. */
  readonly thoughts?: ThoughtMixture;
}

/** A text that is equal for equal plain data, whatever the order of keys. */
function normalText(value: unknown): string {
  return JSON.stringify(value, (_, part) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

/** The seed of the thoughts: other random numbers than those of the problems. */
const thoughtSeed = (seed: number): number => Number(hash64(`thoughts ${seed}`) & 0x1f_ffff_ffff_ffffn);

/** An endless, resumable source over a stream of tasks. */
export class TaskSource implements ExampleSource {
  #stream: TaskStream;
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  readonly #thoughts: ThoughtMixture | undefined;

  /**
   * @param stream of the training split
   * @param thoughts kinds of thoughts; default: one plain derivation a problem
   */
  constructor(stream: TaskStream, tokenizer: Tokenizer, template: ChatTemplate, thoughts?: ThoughtMixture) {
    this.#stream = stream;
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#thoughts = thoughts && validateThoughts(thoughts);
  }

  next(): Example {
    const { seed, position } = this.#stream.state();
    const options =
      this.#thoughts === undefined
        ? {}
        : drawThought(this.#thoughts, new Random(thoughtSeed(seed), position));
    const [user, assistant] = toChat(this.#stream.next(), options).messages;
    const { content: answer, reasoning_content: reasoning } = assistant;
    return encodeExample(this.#tokenizer, this.#template, { question: user.content, reasoning, answer });
  }

  state(): TaskSourceState {
    const state = this.#stream.state();
    return this.#thoughts === undefined ? state : { ...state, thoughts: this.#thoughts };
  }

  restore(state: unknown): void {
    const { position, ...saved } = state as TaskSourceState;
    const { position: _, ...own } = this.state();
    if (normalText(saved) !== normalText(own))
      throw new MinkeError(
        'invalid-config',
        `TaskSource.restore: expected the mixture the run began with, ${normalText(saved)}, got ${normalText(own)}; resume with the same one, or use another folder`,
      );
    this.#stream = TaskStream.fromState({ ...this.#stream.options, position });
  }
}
