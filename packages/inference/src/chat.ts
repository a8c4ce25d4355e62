/**
 * A conversation's next answer: streamed with the thought apart from the text (`chat`), or whole as the model
 * wrote it (`complete`).
 *
 * The thought is what stands before `</think>`; the prompt may already have opened it. Characters are never
 * split, stop strings act on the visible text only, and every generated token is counted, the thought's own
 * apart.
 */
import { type ChatMessage, encodeChat, ThoughtParser } from '@minke/tokenizer-merging/chat';
import type { Engine } from './engine.ts';
import type { SamplingParams } from './sampling.ts';
import { StopStrings } from './stop-strings.ts';
import type { TextFormat } from './text-format.ts';
import type { TokenStream } from './token-queue.ts';

/** What is left out comes from the model's generation defaults. */
export interface CompleteOptions {
  readonly temperature?: number | undefined;
  readonly topP?: number | undefined;
  readonly topK?: number | undefined;
  readonly minP?: number | undefined;
  /** Thought and answer together; the context's end may come earlier. Default: to the context's end. */
  readonly maxTokens?: number | undefined;
  /** Seed of the draws; default 0, so the same call gives the same answer. */
  readonly seed?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ChatOptions extends CompleteOptions {
  /** Texts that end the answer; not shown, not looked for in the thought. */
  readonly stop?: readonly string[] | undefined;
  /** Called once the prompt is accepted, before the first token. */
  readonly onAdmitted?: ((promptTokens: number) => void) | undefined;
}

/** Counts of one request, in tokens. */
export interface ChatUsage {
  readonly promptTokens: number;
  /** Everything generated, control tokens included. */
  readonly completionTokens: number;
  /** Of the completion, tokens up to the end of the thought. */
  readonly reasoningTokens: number;
}

/** A piece of the answer; the last one has `finish` and `usage`, and empty text. */
export type ChatPart =
  | { readonly thought: string; readonly text?: undefined; readonly finish?: undefined }
  | { readonly thought?: undefined; readonly text: string; readonly finish?: undefined }
  | {
      readonly thought?: undefined;
      readonly text: '';
      readonly finish: 'stop' | 'length';
      readonly usage: ChatUsage;
    };

/**
 * Streams the answer to `messages`. Ending the loop early frees the request's place. Rejects as
 * `Engine.generate` does, and with `invalid-argument` for messages the template refuses.
 *
 * @example
 * const engine = new Engine(language.model);
 * for await (const part of chat(engine, language, [{ role: 'user', content: 'What is 17 * 23?' }])) {
 *   process.stdout.write(part.thought ?? part.text);
 * }
 */
export async function* chat(
  engine: Engine,
  language: TextFormat,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): AsyncGenerator<ChatPart, void, void> {
  const stops = new StopStrings(options.stop ?? []);
  const { tokens, promptTokens, opensThought } = start(engine, language, messages, options);
  const decoder = language.tokenizer.streamDecoder();
  const thoughts = new ThoughtParser({ startInThought: opensThought });
  let completionTokens = 0;
  let reasoningTokens = 0;
  let finish: 'stop' | 'length' = 'stop';
  let stopped = false;
  const shown = (deltas: ReturnType<ThoughtParser['push']>): ChatPart[] => {
    const parts: ChatPart[] = [];
    for (const delta of deltas) {
      if ('thought' in delta) parts.push({ thought: delta.thought });
      else {
        const { text, stopped: now } = stops.push(delta.text);
        if (text !== '') parts.push({ text });
        stopped = now;
        if (stopped) break;
      }
    }
    return parts;
  };
  try {
    options.onAdmitted?.(promptTokens);
    for await (const event of tokens) {
      completionTokens++;
      if (thoughts.thinking) reasoningTokens++;
      if (event.finish !== null) finish = event.finish;
      // A stop token is no text.
      if (event.finish !== 'stop') yield* shown(thoughts.push(decoder.push(event.token)));
      if (stopped) break;
    }
  } finally {
    await tokens.return();
  }
  if (!stopped) yield* shown([...thoughts.push(decoder.flush()), ...thoughts.flush()]);
  const held = stops.flush();
  if (held !== '') yield { text: held };
  if (stopped) finish = 'stop';
  yield { text: '', finish, usage: { promptTokens, completionTokens, reasoningTokens } };
}

/** A whole completion. */
export interface Completion {
  /** As the model wrote it after the prompt, `</think>` included, the stop token left out. */
  readonly text: string;
  readonly finish: 'stop' | 'length';
  /** Generated tokens, the stop token included. */
  readonly tokens: number;
}

/**
 * The whole completion of `messages`, thought and answer in one text: what verifiers read. Several calls at once
 * are computed as one batch.
 *
 * @example
 * const { text } = await complete(engine, language, [{ role: 'user', content: 'What is 2 + 2?' }], { temperature: 0 });
 */
export async function complete(
  engine: Engine,
  language: TextFormat,
  messages: readonly ChatMessage[],
  options: CompleteOptions = {},
): Promise<Completion> {
  const { tokens } = start(engine, language, messages, options);
  const ids: number[] = [];
  let finish: 'stop' | 'length' = 'stop';
  let count = 0;
  for await (const event of tokens) {
    count++;
    if (event.finish !== null) finish = event.finish;
    if (event.finish !== 'stop') ids.push(event.token);
  }
  return { text: language.tokenizer.decode(ids), finish, tokens: count };
}

function start(
  engine: Engine,
  { tokenizer, template, stopTokenIds, sampling }: TextFormat,
  messages: readonly ChatMessage[],
  options: CompleteOptions,
): { tokens: TokenStream; promptTokens: number; opensThought: boolean } {
  const { ids, opensThought } = encodeChat(tokenizer, template, messages, { addGenerationPrompt: true });
  const tokens = engine.generate({
    promptIds: ids,
    maxNewTokens: options.maxTokens ?? engine.contextLength,
    sampling: {
      temperature: options.temperature ?? sampling.temperature,
      topP: options.topP ?? sampling.topP,
      topK: options.topK ?? sampling.topK,
      minP: options.minP ?? sampling.minP,
    } satisfies SamplingParams,
    seed: options.seed ?? 0,
    stopTokenIds,
    signal: options.signal,
  });
  return { tokens, promptTokens: ids.length, opensThought };
}
