/**
 * What a request's consumer sees: its tokens in order, then an end or an error.
 *
 * The producer never waits for the consumer; what is unread is bounded by the request's own length. The request
 * ends once, by its last token, an error, its signal or the consumer leaving, and its place is given back then.
 */
import { MinkeError } from '@minke/core';
import type { DrawnToken } from './sampling.ts';

/** A generated token, with its log-probabilities. */
export interface TokenEvent extends DrawnToken {
  /** Set on the last event: a stop token, or a length limit. */
  readonly finish: 'stop' | 'length' | null;
}

/** Tokens as they are generated, for one consumer. */
export interface TokenStream extends AsyncIterableIterator<TokenEvent> {
  /** All tokens that were not read yet, once the last one has come: one promise instead of one a token. */
  rest(): Promise<readonly TokenEvent[]>;
  /** Cancels what has not been generated yet. */
  return(): Promise<IteratorResult<TokenEvent>>;
}

export class TokenQueue implements TokenStream {
  readonly #events: TokenEvent[] = [];
  readonly #onEnd: () => void;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = () => this.end(new MinkeError('aborted', 'generate: the caller cancelled'));
  #read = 0;
  #ended = false;
  #failure: unknown;
  #wake: () => void = () => {};
  #atEnd: () => void = () => {};

  /** @param onEnd called once, when the request needs its place no longer */
  constructor(onEnd: () => void, signal?: AbortSignal) {
    this.#onEnd = onEnd;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#abort);
    if (signal?.aborted) queueMicrotask(this.#abort);
  }

  /** No more tokens will come. */
  get ended(): boolean {
    return this.#ended;
  }

  push(event: TokenEvent): void {
    if (this.#ended) return;
    this.#events.push(event);
    if (event.finish !== null) this.end();
    else this.#wake();
  }

  /** Ends the stream, with the error the consumer gets after the tokens it has not read yet. */
  end(failure?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = failure;
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#onEnd();
    this.#wake();
    this.#atEnd();
  }

  async next(): Promise<IteratorResult<TokenEvent>> {
    while (this.#read === this.#events.length && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#read < this.#events.length) {
      return { done: false, value: this.#events[this.#read++] as TokenEvent };
    }
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
    return { done: true, value: undefined };
  }

  async rest(): Promise<readonly TokenEvent[]> {
    if (!this.#ended)
      await new Promise<void>((resolve) => {
        this.#atEnd = resolve;
      });
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
    const first = this.#read;
    this.#read = this.#events.length;
    return first === 0 ? this.#events : this.#events.slice(first);
  }

  async return(): Promise<IteratorResult<TokenEvent>> {
    this.#read = this.#events.length;
    this.end();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
