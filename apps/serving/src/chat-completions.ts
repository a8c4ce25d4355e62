/**
 * `POST /v1/chat/completions`, streamed and not: OpenAI's shapes with DeepSeek's `reasoning_content`.
 *
 * In a stream: the first chunk has the role, thoughts come as `{ content: null, reasoning_content }`, text as
 * `{ content, reasoning_content: null }`, then a chunk with the finish reason, then one with usage and no
 * choices where asked for, then `[DONE]`. Headers are sent only once the engine has taken the request, so a
 * refusal has its true status. A failure after that is an event with an `error` object. A reader that takes
 * nothing for a minute is given up.
 */
import { randomUUID } from 'node:crypto';
import type { Context } from 'hono';
import { type SSEStreamingApi, streamSSE } from 'hono/streaming';
import { toApiError } from './api-error.ts';
import type { ChatRequest } from './chat-request.ts';
import type { ChatEvent, EngineClient } from './engine-client.ts';
import type { Usage } from './engine-protocol.ts';

const keepAliveMs = 15_000;
const stalledMs = 60_000;

type Events = AsyncGenerator<ChatEvent, void, void>;

/** What every chunk of a response shares. */
interface Head {
  readonly id: string;
  readonly created: number;
  readonly model: string;
}

/** Answers one checked request. Throws the engine's refusal. */
export async function chatCompletions(
  c: Context,
  engine: EngineClient,
  request: ChatRequest,
): Promise<Response> {
  const { model, stream: streamed, includeUsage, ...job } = request;
  const cancel = new AbortController();
  c.req.raw.signal.addEventListener('abort', () => cancel.abort(), { once: true });
  const events = engine.chat(job, cancel.signal);
  await events.next();
  const head = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model };
  if (!streamed) return c.json(await whole(events, head));
  return streamSSE(c, (sse) => stream(sse, events, cancel, head, includeUsage));
}

async function whole(events: Events, head: Head): Promise<unknown> {
  let thought = '';
  let text = '';
  for await (const event of events) {
    if (event.type === 'part') {
      thought += event.thought ?? '';
      text += event.text ?? '';
    } else if (event.type === 'end') {
      const message = { role: 'assistant', content: text, reasoning_content: thought };
      return {
        ...head,
        object: 'chat.completion',
        choices: [{ index: 0, message, logprobs: null, finish_reason: event.finish }],
        usage: usageBody(event.usage),
        system_fingerprint: null,
      };
    }
  }
  throw new Error('internal: a completion ended without its end event');
}

async function stream(
  sse: SSEStreamingApi,
  events: Events,
  cancel: AbortController,
  head: Head,
  includeUsage: boolean,
): Promise<void> {
  sse.onAbort(() => cancel.abort());
  const gone = new Promise<void>((resolve) => {
    cancel.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const send = async (data: unknown) => {
    const stalled = setTimeout(() => cancel.abort(), stalledMs);
    await Promise.race([
      sse.writeSSE({ data: typeof data === 'string' ? data : JSON.stringify(data) }),
      gone,
    ]);
    clearTimeout(stalled);
  };
  const chunk = (choices: unknown[], usage: unknown = null) =>
    send({
      ...head,
      object: 'chat.completion.chunk',
      system_fingerprint: null,
      choices,
      ...(includeUsage && { usage }),
    });
  const delta = (content: unknown, finish: string | null = null) =>
    chunk([{ index: 0, delta: content, logprobs: null, finish_reason: finish }]);
  const keepAlive = setInterval(() => void sse.write(': keep-alive\n\n'), keepAliveMs);
  try {
    await delta({ role: 'assistant', content: null, reasoning_content: '' });
    for await (const event of events) {
      if (event.type === 'part') {
        if (event.thought) await delta({ content: null, reasoning_content: event.thought });
        if (event.text) await delta({ content: event.text, reasoning_content: null });
      } else if (event.type === 'end') {
        await delta({ content: '', reasoning_content: null }, event.finish);
        if (includeUsage) await chunk([], usageBody(event.usage));
        await send('[DONE]');
      }
    }
  } catch (problem) {
    if (!cancel.signal.aborted) await send(toApiError(problem).body());
  } finally {
    clearInterval(keepAlive);
  }
}

function usageBody({ promptTokens, completionTokens, reasoningTokens }: Usage): Record<string, unknown> {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: reasoningTokens },
    prompt_cache_hit_tokens: 0,
    prompt_cache_miss_tokens: promptTokens,
  };
}
