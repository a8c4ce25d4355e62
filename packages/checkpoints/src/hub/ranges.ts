/**
 * The bytes of one file in their order, over connections that break.
 *
 * A long file comes in segments, a few of them at once: the first is handed on as it arrives, the ones behind it wait
 * in memory, so that what is handed on never has holes. A segment that breaks goes on where it broke. A server that
 * ignores ranges is read from the beginning in one piece, what is there already being skipped.
 */
import { type HubClient, type HubResponse, Transient } from './client.ts';
import { entityTag, type HubFile } from './listing.ts';

/** A file to be read, and with how much at once. */
export interface RangeRequest {
  readonly client: HubClient;
  readonly url: string;
  readonly file: HubFile;
  /** For messages: the model. */
  readonly id: string;
  /** Limits the connections of all files together. */
  readonly slots: Slots;
  /** Segments under way at once. */
  readonly ranges: number;
  readonly segmentBytes: number;
  /** Where the hub's last redirect led: asked first, so that a file costs the hub few requests. */
  direct?: string | undefined;
}

/** The server answered with the whole file where a part was asked for. */
class RangeIgnored extends Error {}

/**
 * All bytes from `start` to the end of the file, exactly.
 *
 * @throws HubError `unreachable` when attempts are used up, `wrong-bytes` where the file is another by now
 */
export async function* readFrom(request: RangeRequest, start: number): AsyncGenerator<Uint8Array> {
  const { file, ranges, segmentBytes } = request;
  let at = start;
  if (file.size - start > segmentBytes) {
    const waiting: Prefetched[] = [];
    let next = start;
    const begin = () => {
      const end = Math.min(file.size, next + segmentBytes);
      waiting.push(new Prefetched(readRange(request, next, end)));
      next = end;
    };
    try {
      begin();
      while (waiting.length > 0) {
        for await (const chunk of waiting[0] as Prefetched) {
          // The first bytes say that ranges work.
          while (waiting.length < ranges && next < file.size) begin();
          at += chunk.length;
          yield chunk;
        }
        waiting.shift();
        if (waiting.length === 0 && next < file.size) begin();
      }
      return;
    } catch (problem) {
      if (!(problem instanceof RangeIgnored)) throw problem;
    } finally {
      for (const segment of waiting) segment.stop();
    }
  }
  yield* readToEnd(request, at);
}

/** The bytes of [from, to), by ranges only. */
async function* readRange(request: RangeRequest, from: number, to: number): AsyncGenerator<Uint8Array> {
  yield* attempts(request, from, to, ({ status }) => {
    if (status === 200 || status === 416) throw new RangeIgnored();
    return 0;
  });
}

/** The bytes from `from` to the end, also of a server that gives only whole files. */
function readToEnd(request: RangeRequest, from: number): AsyncGenerator<Uint8Array> {
  return readPart(request, from, request.file.size);
}

/** The bytes of [from, to) and no others; of a server that ignores ranges, what is before them comes too and is skipped. */
export async function* readPart(request: RangeRequest, from: number, to: number): AsyncGenerator<Uint8Array> {
  yield* attempts(request, from, to, ({ status }, at) => (status === 200 ? at : 0));
}

/**
 * Asks for [from, to) until all of it came.
 *
 * @param skip of an answer to a request from `at`: how many of its bytes come before those
 */
async function* attempts(
  request: RangeRequest,
  from: number,
  to: number,
  skip: (response: HubResponse, at: number) => number,
): AsyncGenerator<Uint8Array> {
  const { client, url, file, id, slots } = request;
  const tries = client.tries(`${id}, ${file.path}`);
  let at = from;
  let whole = false;
  while (at < to) {
    const free = await slots.take();
    try {
      whole ||= at === 0 && to === file.size;
      const range = { range: `bytes=${at}-${to - 1}` };
      const response = await client.open(id, request.direct ?? url, whole ? {} : range);
      try {
        request.direct = response.own ? undefined : response.url;
        let before = skip(response, at);
        // Whoever finds no bytes there may still give all of them.
        if (response.status === 416) whole = true;
        check(response, file, at);
        for await (const chunk of response.body()) {
          const part = chunk.subarray(Math.min(before, chunk.length));
          before -= chunk.length - part.length;
          if (part.length === 0) continue;
          // What is too much is not ours; whether the rest is, the digest tells.
          const wanted = part.subarray(0, to - at);
          at += wanted.length;
          tries.progressed();
          yield wanted;
          if (wanted.length < part.length) break;
        }
      } finally {
        response.close();
      }
      if (at < to) throw new Transient(`a body that ends at byte ${at} of ${file.size}`);
    } catch (problem) {
      free();
      request.direct = undefined;
      if (problem instanceof RangeIgnored) throw problem;
      await tries.failed(problem);
    } finally {
      free();
    }
  }
}

/** Throws where an answer is not the part of the file that was asked for. */
function check({ status, headers, own }: HubResponse, file: HubFile, at: number): void {
  const tag = own ? entityTag(headers) : undefined;
  if (tag !== undefined && /^[0-9a-f]+$/.test(tag) && tag.length === file.digest.hex.length)
    if (tag !== file.digest.hex)
      throw new Transient(`content ${tag} in place of ${file.digest.hex}, which the listing names`);
  if (status === 200) {
    const length = headers.get('content-length');
    if (length !== null && Number(length) !== file.size && isPlain(headers))
      throw new Transient(`${length} bytes in place of ${file.size}`);
    return;
  }
  if (status !== 206) throw new Transient(`status ${status} where the file was expected`);
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get('content-range') ?? '');
  const total = range?.[2] === '*' ? file.size : Number(range?.[2]);
  if (Number(range?.[1]) !== at || total !== file.size || !isPlain(headers))
    throw new Transient(
      `the range ${headers.get('content-range')} where byte ${at} of ${file.size} was expected`,
    );
}

function isPlain(headers: Headers): boolean {
  return (headers.get('content-encoding') ?? 'identity') === 'identity';
}

/** A generator that runs ahead of its reader. */
class Prefetched {
  readonly #chunks: Uint8Array[] = [];
  #end: { readonly problem?: unknown } | undefined;
  #wake: () => void = () => {};
  #stopped = false;

  constructor(source: AsyncGenerator<Uint8Array>) {
    this.#run(source);
  }

  async #run(source: AsyncGenerator<Uint8Array>): Promise<void> {
    try {
      for await (const chunk of source) {
        if (this.#stopped) break;
        this.#chunks.push(chunk);
        this.#wake();
      }
      this.#end = {};
    } catch (problem) {
      this.#end = { problem };
    }
    this.#wake();
  }

  stop(): void {
    this.#stopped = true;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) yield chunk;
      else if (this.#end === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      } else if ('problem' in this.#end) throw this.#end.problem;
      else return;
    }
  }
}

/** So many at a time, in the order of asking. */
export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Waits for a place; the result gives it back, once. */
  async take(): Promise<() => void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    };
  }
}
