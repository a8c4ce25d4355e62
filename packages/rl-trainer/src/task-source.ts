/**
 * Training examples from the generated reasoning tasks: an endless mixture, encoded as conversations.
 */
import { TaskStream, type TaskStreamState, toChat } from '@minke/reasoning-tasks';
import { type ChatTemplate, encodeChat, encodeReply } from '@minke/tokenizer-merging/chat';
import type { Tokenizer } from '@minke/tokenizer-merging/tokenizer';
import type { Example } from './batch.ts';
import type { ExampleSource } from './example-source.ts';

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

export class TaskSource implements ExampleSource {
  #stream: TaskStream;
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;

  /** @param stream of the training split */
  constructor(stream: TaskStream, tokenizer: Tokenizer, template: ChatTemplate) {
    this.#stream = stream;
    this.#tokenizer = tokenizer;
    this.#template = template;
  }

  next(): Example {
    const [user, assistant] = toChat(this.#stream.next()).messages;
    const { content: answer, reasoning_content: reasoning } = assistant;
    return encodeExample(this.#tokenizer, this.#template, { question: user.content, reasoning, answer });
  }

  state(): TaskStreamState {
    return this.#stream.state();
  }

  restore(state: unknown): void {
    this.#stream = TaskStream.fromState(state as TaskStreamState);
  }
}
