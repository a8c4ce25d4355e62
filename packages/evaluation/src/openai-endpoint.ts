/**
 * Samples from any OpenAI-compatible server (`POST {baseURL}/chat/completions`), for `collectSamples`.
 *
 * Thoughts: DeepSeek's `reasoning_content` (also vLLM's and SGLang's) or OpenRouter's `reasoning` goes in front of
 * `</think>`, so that a completion reads as our own models write it; content that has tags itself is left as it is.
 * Each sample is a request of its own, since many servers ignore `n`. Busy and broken servers (408, 409, 429, 5xx,
 * but not 501, lost connections, time-outs) are asked again after 2^i times `retryDelayMs`, or what Retry-After says; other
 * answers are errors at once.
 */
import { check, MinkeError } from '@minke/core';
import type { SampledText } from './samples.ts';

/** Which server and model, and how to sample. */
export interface EndpointOptions {
  /** For example `http://127.0.0.1:8000/v1`. */
  readonly baseURL: string;
  readonly model: string;
  readonly apiKey?: string;
  /** Default 0.6, R1's; 0 is greedy. */
  readonly temperature?: number;
  /** Default 0.95, R1's. */
  readonly topP?: number;
  /** Tokens of a completion, thought included. Default 4,096. */
  readonly maxTokens?: number;
  /** Sent as seed + sample, where the server can use it. Absent: not sent. */
  readonly seed?: number;
  /** Requests at a time. Default 8. */
  readonly concurrency?: number;
  /** Times a request is asked again. Default 5. */
  readonly retries?: number;
  /** Default 1,000. */
  readonly retryDelayMs?: number;
  /** Milliseconds a request. Default 600,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
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
  const { concurrency = 8, retries = 5 } = options;
  check(
    URL.canParse(options.baseURL) && /^https?:/.test(options.baseURL),
    () =>
      `endpointSampler: expected an http(s) baseURL, got ${JSON.stringify(options.baseURL)}; it ends in /v1`,
  );
  check(
    Number.isSafeInteger(concurrency) && concurrency >= 1 && Number.isSafeInteger(retries) && retries >= 0,
    () => `endpointSampler: expected concurrency >= 1 and retries >= 0, got ${concurrency} and ${retries}`,
  );
  return async (prompts, count) => {
    const rows = prompts.map(() => new Array<SampledText>(count));
    let next = 0;
    let failed = false;
    const work = async () => {
      while (!failed && next < prompts.length * count) {
        const job = next++;
        const [i, k] = [Math.floor(job / count), job % count];
        try {
          (rows[i] as SampledText[])[k] = await withRetries(options, prompts[i] as string, k);
        } catch (problem) {
          failed = true;
          throw problem;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(concurrency, prompts.length * count) }, work));
    return rows;
  };
}

/** A failure that asking again may mend. */
class Transient extends Error {
  readonly afterMs: number | undefined;
  constructor(message: string, afterMs?: number) {
    super(message);
    this.afterMs = afterMs;
  }
}

async function withRetries(options: EndpointOptions, prompt: string, sample: number): Promise<SampledText> {
  const { retries = 5, retryDelayMs = 1000, signal } = options;
  for (let attempt = 0; ; attempt++)
    try {
      return await ask(options, prompt, sample);
    } catch (problem) {
      if (signal?.aborted)
        throw new MinkeError('aborted', 'endpointSampler: expected an answer, got the abort of its signal');
      if (!(problem instanceof Transient)) throw problem;
      if (attempt >= retries)
        throw new MinkeError(
          'internal',
          `endpointSampler: expected an answer of ${options.baseURL} in ${retries + 1} attempts, got at last: ${problem.message}; is the server up?`,
          { cause: problem },
        );
      await pause(problem.afterMs ?? retryDelayMs * 2 ** attempt, signal);
    }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, 60_000));
    signal?.addEventListener('abort', done);
  });
}

async function ask(options: EndpointOptions, prompt: string, sample: number): Promise<SampledText> {
  const {
    model,
    apiKey,
    temperature = 0.6,
    topP = 0.95,
    maxTokens = 4096,
    seed,
    timeoutMs = 600_000,
  } = options;
  const url = `${options.baseURL.replace(/\/+$/, '')}/chat/completions`;
  const timeout = AbortSignal.timeout(timeoutMs);
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
      },
      body: JSON.stringify({
        model,
        messages: [{ role: 'user', content: prompt }],
        temperature,
        top_p: topP,
        max_tokens: maxTokens,
        stream: false,
        ...(seed === undefined ? {} : { seed: seed + sample }),
      }),
      signal: options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]),
    });
    text = await response.text();
  } catch (cause) {
    const reason = timeout.aborted ? `no answer in ${timeoutMs} ms` : `${(cause as Error).cause ?? cause}`;
    throw new Transient(reason);
  }
  if (!response.ok) {
    const message = `${response.status} ${text.slice(0, 300)}`;
    const after = Number(response.headers.get('retry-after') ?? Number.NaN);
    const broken = response.status >= 500 && response.status !== 501;
    if ([408, 409, 429].includes(response.status) || broken)
      throw new Transient(message, Number.isFinite(after) ? after * 1000 : undefined);
    throw new MinkeError(
      'unsupported',
      `endpointSampler: expected a chat completion from ${url}, got ${message}; check model, key and limits`,
      { details: { status: response.status } },
    );
  }
  return readCompletion(url, text);
}

function readCompletion(url: string, text: string): SampledText {
  let body: ChatResponse | null;
  try {
    body = JSON.parse(text) as ChatResponse | null;
  } catch {
    body = null;
  }
  const choice = body?.choices?.[0];
  const message = choice?.message;
  if (body === null || typeof message !== 'object' || message === null)
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
