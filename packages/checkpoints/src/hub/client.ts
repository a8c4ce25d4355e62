/**
 * Requests to a hub: redirects followed by hand so that the token stays with the endpoint, time-outs for answers
 * that stop coming, and one account of when to ask again.
 *
 * Worth another attempt: lost connections, time-outs, short bodies, 408, 425, 429 and 5xx but 501; it waits
 * 2^i times `retryDelayMs` up to half a minute, or what Retry-After or RateLimit says, and then every request of the
 * client waits. A transfer that gets on has all its attempts again. Bodies are asked for as they are stored
 * (`identity`): a range of a compressed body would mean nothing.
 */
import { MinkeError } from '@minke/core';
import { HubError } from './hub-error.ts';
import { type HubSettings, hubEndpoint, hubToken, isOffline } from './settings.ts';

/** How requests are made. */
export interface RequestOptions extends HubSettings {
  /** Default: the global one. It must not follow redirects when asked not to, as Node's does. */
  readonly fetch?: typeof fetch;
  readonly signal?: AbortSignal | undefined;
  /** Attempts after the first, counted anew after each progress. Default 5. */
  readonly retries?: number;
  /** Default 500. */
  readonly retryDelayMs?: number;
  /** Milliseconds without a byte after which an attempt has failed. Default 30,000. */
  readonly timeoutMs?: number;
  /** Longest wait that a hub may ask for. Default 300,000. */
  readonly maxWaitMs?: number;
}

/** An answer with its body still to come. Either `body` is read to its end or `close` is called. */
export interface HubResponse {
  readonly status: number;
  readonly headers: Headers;
  /** After redirects. */
  readonly url: string;
  /** Whether the endpoint itself answered. */
  readonly own: boolean;
  /** Throws {@link Transient} where it breaks. */
  body(): AsyncGenerator<Uint8Array>;
  close(): void;
}

/** A failure that another attempt may mend. */
export class Transient extends Error {
  readonly afterMs: number | undefined;

  constructor(message: string, afterMs?: number) {
    super(message);
    this.afterMs = afterMs;
  }
}

const maxRedirects = 8;
const maxDelayMs = 30_000;

export class HubClient {
  readonly endpoint: string;
  readonly signal: AbortSignal | undefined;
  readonly #token: string | undefined;
  readonly #options: RequestOptions;
  #notBefore = 0;

  constructor(options: RequestOptions = {}) {
    this.endpoint = hubEndpoint(options);
    this.#token = hubToken(options);
    this.signal = options.signal;
    this.#options = options;
    if (isOffline())
      throw new HubError(
        'unreachable',
        `hub: expected leave to ask ${this.endpoint}, but HF_HUB_OFFLINE is set; unset it`,
      );
  }

  /**
   * One attempt. Answers of status 200 to 299 and 416 come back, others throw: {@link Transient}, or a `HubError`
   * about `what`.
   */
  async open(
    what: string,
    url: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<HubResponse> {
    await this.#wait(this.#notBefore - performance.now());
    let at = url;
    for (let hops = 0; ; hops++) {
      const own = new URL(at).origin === new URL(this.endpoint).origin;
      const response = await this.#once(at, own, headers);
      const location = response.headers.get('location');
      if (response.status >= 300 && response.status < 400 && location !== null) {
        response.close();
        at = this.#target(what, at, location, hops);
        continue;
      }
      if ((response.status >= 200 && response.status < 300) || response.status === 416) return response;
      throw await this.#failure(what, response);
    }
  }

  /** The attempts of one task. */
  tries(what: string): Tries {
    return new Tries(what, this.endpoint, this.#options, (ms) => this.#wait(ms));
  }

  /** A body of at most `limit` bytes, read with retries, and its headers. */
  async read(what: string, url: string, limit: number): Promise<{ bytes: Buffer; headers: Headers }> {
    const tries = this.tries(what);
    for (;;)
      try {
        const response = await this.open(what, url);
        const chunks: Uint8Array[] = [];
        let size = 0;
        for await (const chunk of response.body()) {
          size += chunk.length;
          if (size > limit) {
            response.close();
            throw new HubError(
              'bad-listing',
              `${what}: expected at most ${limit} bytes from ${shown(url)}, got more`,
            );
          }
          chunks.push(chunk);
        }
        return { bytes: Buffer.concat(chunks), headers: response.headers };
      } catch (problem) {
        await tries.failed(problem);
      }
  }

  /** @throws MinkeError `aborted` */
  checkSignal(): void {
    if (this.signal?.aborted)
      throw new MinkeError('aborted', 'hub: expected the files, got the abort of the signal');
  }

  #target(what: string, from: string, location: string, hops: number): string {
    if (hops >= maxRedirects)
      throw new HubError(
        'refused',
        `${what}: expected an answer, got more than ${maxRedirects} redirects from ${shown(from)}`,
      );
    const url = URL.canParse(location, from) ? new URL(location, from) : undefined;
    if (url === undefined || !/^https?:$/.test(url.protocol))
      throw new HubError(
        'refused',
        `${what}: expected a redirect to an http(s) address, got ${JSON.stringify(location.slice(0, 200))}`,
      );
    url.username = '';
    url.password = '';
    return url.href;
  }

  async #once(url: string, own: boolean, headers: Readonly<Record<string, string>>): Promise<HubResponse> {
    this.checkSignal();
    const { fetch: send = fetch, timeoutMs = 30_000 } = this.#options;
    const controller = new AbortController();
    const { signal } = this;
    const abort = () => controller.abort();
    signal?.addEventListener('abort', abort);
    let timer = setTimeout(abort, timeoutMs);
    const close = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      controller.abort();
    };
    const explain = (cause: unknown) => {
      const late = controller.signal.aborted;
      close();
      this.checkSignal();
      const { cause: inner, message } = cause as Error;
      return new Transient(
        late ? `no byte in ${timeoutMs} ms` : ((inner as Error | undefined)?.message ?? message),
      );
    };
    let response: Response;
    try {
      response = await send(url, {
        redirect: 'manual',
        signal: controller.signal,
        headers: {
          'accept-encoding': 'identity',
          'user-agent': 'minke',
          ...headers,
          ...(own && this.#token !== undefined && { authorization: `Bearer ${this.#token}` }),
        },
      });
    } catch (cause) {
      throw explain(cause);
    }
    async function* body(): AsyncGenerator<Uint8Array> {
      const reader = response.body?.getReader();
      try {
        for (;;) {
          clearTimeout(timer);
          timer = setTimeout(abort, timeoutMs);
          const next = await reader?.read();
          if (next === undefined || next.done) return;
          // A reader that takes its time (a full disk, a long queue) is no silence of the server.
          clearTimeout(timer);
          yield next.value;
        }
      } catch (cause) {
        throw explain(cause);
      } finally {
        close();
      }
    }
    return { status: response.status, headers: response.headers, url, own, body, close };
  }

  async #failure(what: string, response: HubResponse): Promise<Error> {
    const { status, headers, url, own } = response;
    const said = await firstText(response);
    const details = { status, url: shown(url) };
    if ([408, 425, 429].includes(status) || (status >= 500 && status !== 501)) {
      const afterMs = waitOf(headers);
      if (afterMs !== undefined) this.#notBefore = Math.max(this.#notBefore, performance.now() + afterMs);
      return new Transient(`${status} ${said}`.trim(), afterMs);
    }
    // A signed address of a store behind the hub that has expired: the hub gives another.
    if (!own && [401, 403, 404, 410].includes(status)) return new Transient(`${status} of ${shown(url)}`);
    const code = headers.get('x-error-code');
    if (code === 'GatedRepo')
      return new HubError(
        'gated',
        `${what}: its owner asks to accept terms first; accept them on ${this.endpoint}/${what}, then set HF_TOKEN to a token that may read it`,
        { details },
      );
    if (code === 'RevisionNotFound')
      return new HubError('no-such-revision', `${what}: the model has no such branch, tag or commit`, {
        details,
      });
    if (code === 'EntryNotFound')
      return new HubError('no-such-file', `${what}: expected the file at ${shown(url)}, got none`, {
        details,
      });
    if (status === 404 || code === 'RepoNotFound')
      return new HubError(
        'no-such-model',
        `${what}: ${this.endpoint} has no such model, or a private one${this.#token === undefined ? '; if it is private, set HF_TOKEN' : ' that your token may not read'}`,
        { details },
      );
    if (status === 401 || status === 403)
      return new HubError(
        'unauthorized',
        this.#token === undefined
          ? `${what}: ${this.endpoint} wants a token; set HF_TOKEN (or there is no such model)`
          : `${what}: ${this.endpoint} does not accept your token for it (${status}); check HF_TOKEN`,
        { details },
      );
    return new HubError('refused', `${what}: expected an answer of ${shown(url)}, got ${status} ${said}`, {
      details,
    });
  }

  async #wait(ms: number): Promise<void> {
    this.checkSignal();
    if (!(ms > 0)) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.signal?.addEventListener('abort', done);
    });
    this.checkSignal();
  }
}

/** How often a task may still fail. */
export class Tries {
  #failures = 0;

  constructor(
    readonly what: string,
    readonly endpoint: string,
    readonly options: RequestOptions,
    readonly wait: (ms: number) => Promise<void>,
  ) {}

  /** The task got on: as many attempts again. */
  progressed(): void {
    this.#failures = 0;
  }

  /** Waits before the next attempt; throws where there is none. */
  async failed(problem: unknown): Promise<void> {
    if (!(problem instanceof Transient)) throw problem;
    const { retries = 5, retryDelayMs = 500, maxWaitMs = 300_000 } = this.options;
    const tooLong = problem.afterMs !== undefined && problem.afterMs > maxWaitMs;
    if (this.#failures++ >= retries || tooLong) {
      const asked = tooLong ? `, which asks to wait ${Math.ceil((problem.afterMs as number) / 1000)} s` : '';
      throw new HubError(
        'unreachable',
        `${this.what}: expected an answer of ${this.endpoint}${tooLong ? '' : ` in ${retries + 1} attempts`}, got ${problem.message}${asked}; what came is kept, run the same again later`,
        { cause: problem },
      );
    }
    await this.wait(problem.afterMs ?? Math.min(maxDelayMs, retryDelayMs * 2 ** (this.#failures - 1)));
  }
}

/** Milliseconds that a server asks to wait: Retry-After in seconds or as a date, else RateLimit's reset. */
function waitOf(headers: Headers): number | undefined {
  const after = headers.get('retry-after')?.trim();
  if (after !== undefined && /^\d{1,9}$/.test(after)) return Number(after) * 1000;
  const date = after === undefined ? Number.NaN : Date.parse(after);
  if (Number.isFinite(date)) return Math.max(0, date - Date.now());
  const reset = /;\s*r=0;\s*t=(\d{1,9})/.exec(headers.get('ratelimit') ?? '')?.[1];
  return reset === undefined ? undefined : Number(reset) * 1000;
}

/** The beginning of a refusal's text; nothing where it does not come. */
async function firstText(response: HubResponse): Promise<string> {
  let text = '';
  try {
    for await (const chunk of response.body()) {
      text += Buffer.from(chunk).toString('utf8');
      if (text.length > 300) break;
    }
  } catch (problem) {
    if (MinkeError.isInstance(problem)) throw problem;
  }
  response.close();
  return text.replaceAll(/\s+/g, ' ').slice(0, 200);
}

/** An address without what a signed one keeps secret. */
function shown(url: string): string {
  return url.split('?')[0] as string;
}
