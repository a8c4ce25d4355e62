/**
 * The body of `POST /v1/chat/completions`: what is accepted, within which bounds, and what is refused.
 *
 * Unknown fields are ignored as OpenAI's server does; a known field this server cannot honour is an error,
 * never silently dropped.
 */
import type { ChatMessage } from '@minke/tokenizer-merging/chat';
import { z } from 'zod';
import { ApiError } from './api-error.ts';

const text = z.string().max(1_000_000);
const part = z.object({ type: z.literal('text', 'only text parts are supported'), text });
const content = z.union([text, z.array(part).min(1).max(1000)], {
  error: ({ input }) => `expected a string or a list of text parts, got ${kindOf(input)}`,
});
const message = z.discriminatedUnion('role', [
  z.object({ role: z.enum(['system', 'developer', 'user']), content }),
  z.object({ role: z.literal('assistant'), content: content.nullish(), reasoning_content: text.nullish() }),
]);
const stopString = z.string().min(1).max(200);
const stop = z.union([stopString, z.array(stopString).max(16)], {
  error: () => 'expected a non-empty string of at most 200 characters, or a list of at most 16 of them',
});
const nothing = (what: string) => z.literal(0, `${what} is not supported`).nullish();

const chatRequest = z.object({
  model: z.string().max(500),
  messages: z.array(message).min(1).max(2000),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(0).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  seed: z.int().nullish(),
  stop: stop.nullish(),
  n: z.literal(1, 'only n = 1 is supported').nullish(),
  logprobs: z.literal(false, 'logprobs are not supported').nullish(),
  top_logprobs: nothing('top_logprobs'),
  frequency_penalty: nothing('frequency_penalty'),
  presence_penalty: nothing('presence_penalty'),
  logit_bias: z.record(z.string(), z.never(), 'logit_bias is not supported').nullish(),
  tools: z.array(z.unknown()).max(0, 'tools are not supported').nullish(),
  functions: z.array(z.unknown()).max(0, 'functions are not supported').nullish(),
  response_format: z.object({ type: z.literal('text', 'only response_format text is supported') }).nullish(),
});

/** A checked request in our own terms. */
export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly maxTokens: number | undefined;
  readonly temperature: number | undefined;
  readonly topP: number | undefined;
  readonly topK: number | undefined;
  readonly minP: number | undefined;
  readonly seed: number | undefined;
  readonly stop: readonly string[];
}

/** Checks a parsed JSON body. Throws `ApiError` 400 naming the field. */
export function parseChatRequest(body: unknown): ChatRequest {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw refused('', `expected a JSON object, got ${kindOf(body)}`);
  }
  const parsed = chatRequest.safeParse(body);
  if (!parsed.success) {
    const issue = parsed.error.issues[0] as z.core.$ZodIssue;
    throw refused(issue.path.join('.'), issue.message);
  }
  const request = parsed.data;
  if (request.stream_options && !request.stream) {
    throw refused('stream_options', 'expected only together with stream: true');
  }
  return {
    model: request.model,
    messages: request.messages.map(toMessage),
    stream: request.stream ?? false,
    includeUsage: request.stream_options?.include_usage ?? false,
    maxTokens: request.max_completion_tokens ?? request.max_tokens ?? undefined,
    temperature: request.temperature ?? undefined,
    topP: request.top_p ?? undefined,
    topK: request.top_k ?? undefined,
    minP: request.min_p ?? undefined,
    seed: request.seed == null ? undefined : nonNegative(request.seed),
    stop: [request.stop ?? []].flat(),
  };
}

function refused(param: string, message: string): ApiError {
  const options = param === '' ? {} : { param };
  return new ApiError(400, 'invalid_request_error', `${param || 'body'}: ${message}`, options);
}

/** OpenAI allows any integer as a seed, the engine those from 0 to 2^53 - 1; different seeds stay different enough. */
function nonNegative(seed: number): number {
  return seed < 0 ? Number.MAX_SAFE_INTEGER + 1 + seed : seed;
}

function toMessage(given: z.infer<typeof message>): ChatMessage {
  const joined =
    typeof given.content === 'string' ? given.content : (given.content ?? []).map((p) => p.text).join('');
  // Earlier thoughts are not shown to the model again (DeepSeek's rule for multi-turn conversations).
  return { role: given.role === 'developer' ? 'system' : given.role, content: joined };
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`;
}
