/**
 * Samples from any OpenAI-compatible server (`POST {baseURL}/chat/completions`), for `collectSamples`.
 *
 * Thoughts: DeepSeek's `reasoning_content` (also vLLM's and SGLang's) or OpenRouter's `reasoning` goes in front of
 * `</think>`, so that a completion reads as our own models write it; content that has tags itself is left as it is.
 * Each sample is a request of its own, since many servers ignore `n`. What is asked again is said in `http-json.ts`.
 */
import { MinkeError } from '@minke/core';
import { callJson, checkHttp, type HttpOptions, inParallel } from './http-json.ts';
import type { SampledText } from './samples.ts';

/** Which server (its `baseURL` ends in `/v1`) and model, and how to sample. */
export interface EndpointOptions extends HttpOptions {
  readonly model: string;
  /** Default 0.6, R1's; 0 is greedy. */
  readonly temperature?: number;
  /** Default 0.95, R1's. */
  readonly topP?: number;
  /** Tokens of a completion, thought included. Default 4,096. */
  readonly maxTokens?: number;
  /** Sent as seed + sample, where the server can use it. Absent: not sent. */
  readonly seed?: number;
}

/** The answer of a server, as far as it is read. */
interface ChatResponse {
  readonly choices?: readonly {
    readonly message?: {
      readonly content?: string | null;
      readonly reasoning_content?: string | null;
      readonly reasoning?: string | null;
    };
    readonly finish_reason?: string;
  }[];
  readonly usage?: { readonly completion_tokens?: number };
}

/**
 * A `sample` function for `collectSamples`.
 *
 * @throws MinkeError (when called) `aborted` by the signal; `unsupported` for an answer that is no chat completion or
 * a status that asking again cannot change; `internal` when the retries are used up
 * @example
 * const sample = endpointSampler({ baseURL: 'http://127.0.0.1:8000/v1', model: 'tiny-reasoner' });
 */
export function endpointSampler(
  options: EndpointOptions,
): (prompts: readonly string[], count: number) => Promise<SampledText[][]> {
  checkHttp('endpointSampler', options);
  return async (prompts, count) => {
    const samples = await inParallel(prompts.length * count, options, (job, signal) =>
      ask({ ...options, signal }, prompts[Math.floor(job / count)] as string, job % count),
    );
    return prompts.map((_, i) => samples.slice(i * count, (i + 1) * count));
  };
}

async function ask(options: EndpointOptions, prompt: string, sample: number): Promise<SampledText> {
  const { model, temperature = 0.6, topP = 0.95, maxTokens = 4096, seed } = options;
  const { url, text, json } = await callJson(options, {
    where: 'endpointSampler',
    expected: 'a chat completion',
    path: '/chat/completions',
    body: {
      model,
      messages: [{ role: 'user', content: prompt }],
      temperature,
      top_p: topP,
      max_tokens: maxTokens,
      stream: false,
      ...(seed === undefined ? {} : { seed: seed + sample }),
    },
  });
  return readCompletion(url, text, json);
}

function readCompletion(url: string, text: string, json: unknown): SampledText {
  const body = json as ChatResponse | null | undefined;
  const choice = body?.choices?.[0];
  const message = choice?.message;
  if (body === null || body === undefined || typeof message !== 'object' || message === null)
    throw new MinkeError(
      'unsupported',
      `endpointSampler: expected choices[0].message from ${url}, got ${text.slice(0, 200)}; is it an OpenAI-compatible server?`,
    );
  const content = message.content ?? '';
  const thought = message.reasoning_content ?? message.reasoning ?? '';
  const tokens = body.usage?.completion_tokens;
  const truncated = choice?.finish_reason === 'length';
  // A thought that was cut has no closing tag; a server that sends no thought has answered without one.
  const unfinished = truncated && thought !== '' && content === '';
  const completion = unfinished
    ? `<think>${thought}`
    : content.includes('</think>') || (content.includes('<think>') && thought === '')
      ? content
      : `${thought}\n</think>\n${content}`;
  return { completion, truncated, ...(tokens === undefined ? {} : { length: tokens }) };
}
