/**
 * Calls of a model server over HTTP, JSON in and out: what every client of one shares.
 *
 * Busy and broken servers (408, 409, 429, 5xx, but not 501, lost connections, time-outs) are asked again after 2^i
 * times `retryDelayMs`, or what Retry-After says; other answers are errors at once.
 */
import { check, MinkeError } from '@minke/core';

/** Which server, and how long to try. */
export interface HttpOptions {
  /** For example `http://127.0.0.1:8000/v1`. */
  readonly baseURL: string;
  readonly apiKey?: string;
  /** Requests at a time. Default 8. */
  readonly concurrency?: number;
  /** Times a request is asked again. Default 5. */
  readonly retries?: number;
  /** Default 1,000. */
  readonly retryDelayMs?: number;
  /** Milliseconds a request. Default 600,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** One call. */
export interface HttpCall {
  /** Whose call it is, for messages. */
  readonly where: string;
  /** What the answer should be, for messages: `a chat completion`. */
  readonly expected: string;
  /** After the base URL: `/chat/completions`. */
  readonly path: string;
  /** Sent as JSON; without one it is a GET. */
  readonly body?: unknown;
}

/** An answer with status 200 to 299. */
export interface HttpAnswer {
  readonly url: string;
  readonly text: string;
  /** The text as JSON; undefined where it is none. */
  readonly json: unknown;
}

/** Throws `invalid-argument` for settings out of range. */
export function checkHttp(where: string, { baseURL, concurrency = 8, retries = 5 }: HttpOptions): void {
  check(
    URL.canParse(baseURL) && /^https?:/.test(baseURL),
    () => `${where}: expected an http(s) baseURL, got ${JSON.stringify(baseURL)}`,
  );
  check(
    Number.isSafeInteger(concurrency) && concurrency >= 1 && Number.isSafeInteger(retries) && retries >= 0,
    () => `${where}: expected concurrency >= 1 and retries >= 0, got ${concurrency} and ${retries}`,
  );
}

/** A failure that asking again may mend. */
class Transient extends Error {
  readonly afterMs: number | undefined;
  constructor(message: string, afterMs?: number) {
    super(message);
    this.afterMs = afterMs;
  }
}

/**
 * Asks until there is an answer.
 *
 * @throws MinkeError `aborted` by the signal; `unsupported` for a status that asking again cannot change; `internal`
 * when the retries are used up
 * @example
 * const { json } = await callJson({ baseURL }, { where: 'ping', expected: 'models', path: '/models' });
 */
export async function callJson(options: HttpOptions, call: HttpCall): Promise<HttpAnswer> {
  const { retries = 5, retryDelayMs = 1000, signal } = options;
  const { where } = call;
  for (let attempt = 0; ; attempt++)
    try {
      return await ask(options, call);
    } catch (problem) {
      if (signal?.aborted)
        throw new MinkeError('aborted', `${where}: expected an answer, got the abort of its signal`);
      if (!(problem instanceof Transient)) throw problem;
      if (attempt >= retries)
        throw new MinkeError(
          'internal',
          `${where}: expected an answer of ${options.baseURL} in ${retries + 1} attempts, got at last: ${problem.message}; is the server up?`,
          { cause: problem },
        );
      await pause(problem.afterMs ?? retryDelayMs * 2 ** attempt, signal);
    }
}

/** Runs `count` calls, so many at a time; the first that fails ends the others through their signal. */
export async function inParallel<T>(
  count: number,
  { concurrency = 8, signal }: Pick<HttpOptions, 'concurrency' | 'signal'>,
  call: (index: number, signal: AbortSignal) => Promise<T>,
): Promise<T[]> {
  const results = new Array<T>(count);
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([stop.signal, signal]);
  let next = 0;
  let failure: { readonly problem: unknown } | undefined;
  const work = async () => {
    while (failure === undefined && next < count) {
      const index = next++;
      try {
        results[index] = await call(index, either);
      } catch (problem) {
        failure ??= { problem };
        stop.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, count) }, work));
  if (failure !== undefined) throw (failure as { readonly problem: unknown }).problem;
  return results;
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
    if (signal?.aborted) done();
  });
}

async function ask(
  { baseURL, apiKey, timeoutMs = 600_000, signal }: HttpOptions,
  { where, expected, path, body }: HttpCall,
): Promise<HttpAnswer> {
  const url = `${baseURL.replace(/\/+$/, '')}${path}`;
  const timeout = AbortSignal.timeout(timeoutMs);
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
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
      `${where}: expected ${expected} from ${url}, got ${message}; check model, key and limits`,
      { details: { status: response.status } },
    );
  }
  return { url, text, json: parsed(text) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
