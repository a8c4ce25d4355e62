/**
 * Bits per byte of text under a language model: how many bits of surprise a byte of UTF-8 costs, whatever the tokenizer.
 *
 * The sum of -log2 p(token | tokens before it) over all tokens of a document, over the bytes they spell (Gao et al.
 * 2020, arXiv 2101.00027, section 3.1; the sliding window is that of Hugging Face's guide to perplexity). Documents are
 * independent: no token sees another document. A document longer than the context is read in windows of `context`
 * tokens, each `stride` further: every token counts once, in the first window that reaches it, behind at least
 * context - stride tokens of its own document where there are so many. The interval draws documents again, bits and
 * bytes together: tokens of one document are not independent, documents are. Does not do: text that several
 * tokenizations spell; only the given one counts, so the figure is an upper bound.
 */
import { check, MinkeError } from '@minke/core';
import { type BootstrapOptions, bootstrapRatio, type Difference, pairedRatios } from './bootstrap.ts';
import type { Rate } from './intervals.ts';

/** A text as a model reads it. */
export interface ScoredDocument {
  /** Tells documents of two models apart and together. */
  readonly id: string;
  /** Token ids, at least two. The first one is only read: a token that begins documents. */
  readonly ids: ArrayLike<number>;
  /** UTF-8 bytes that the ids after the first one spell, at least 1. */
  readonly bytes: number;
}

/** Part of a document: `ids` are read, those from `from` on are to be scored. */
export interface ScoringWindow {
  readonly ids: readonly number[];
  /** At least 1. */
  readonly from: number;
}

/** Natural log-probabilities of the ids from `from` on, for each window: see `modelScorer`. */
export type WindowScorer = (windows: readonly ScoringWindow[]) => Promise<readonly ArrayLike<number>[]>;

/** How to measure. */
export interface BitsPerByteOptions extends BootstrapOptions {
  readonly documents: readonly ScoredDocument[];
  readonly score: WindowScorer;
  /** Tokens of a window, at least 2. */
  readonly context: number;
  /** Tokens by which windows move on, from 1 to context - 1. Default: half of the context. */
  readonly stride?: number;
  /** Tokens of the windows of one call, at most. Default 8,192, and at least one window. */
  readonly tokensPerCall?: number;
  /** Called after every call with the documents that are complete. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
}

/** What one document cost. */
export interface DocumentBits {
  readonly id: string;
  readonly bits: number;
  readonly bytes: number;
  /** Tokens scored. */
  readonly tokens: number;
}

/** A JSON-ready report. */
export interface BitsPerByteReport {
  /** Bits over bytes of all documents, and the interval over documents. */
  readonly bitsPerByte: Rate;
  readonly bits: number;
  readonly bytes: number;
  readonly tokens: number;
  readonly context: number;
  readonly stride: number;
  readonly documents: readonly DocumentBits[];
}

/**
 * A text as a document: the id that begins it, then those of the text.
 *
 * @param tokenizer anything with an `encode`
 * @example
 * const document = scoredDocument('a.txt', text, tokenizer, tokenizer.tokenToId('<｜begin▁of▁sentence｜>'));
 */
export function scoredDocument(
  id: string,
  text: string,
  tokenizer: { encode(text: string): ArrayLike<number> },
  firstId: number,
): ScoredDocument {
  return {
    id,
    ids: [firstId, ...Array.from(tokenizer.encode(text))],
    bytes: new TextEncoder().encode(text).length,
  };
}

/**
 * The windows of a document of so many ids: begin, end, and the first id scored.
 *
 * @example
 * scoringWindows(10, 6, 3); // [0, 6, 1], [3, 9, 6], [6, 10, 9]
 */
export function scoringWindows(
  length: number,
  context: number,
  stride: number,
): [begin: number, end: number, from: number][] {
  const windows: [number, number, number][] = [];
  let from = 1;
  for (let begin = 0; from < length; begin += stride) {
    const end = Math.min(begin + context, length);
    windows.push([begin, end, from]);
    from = end;
  }
  return windows;
}

/**
 * Measures the bits per byte of documents.
 *
 * @throws MinkeError `invalid-argument` for documents or settings out of range; `internal` where the scorer returns
 *   something other than a log-probability for each token asked for. Its own errors pass through.
 * @example
 * const report = await bitsPerByte({ documents, score: modelScorer(model), context: 1024 });
 * console.log(report.bitsPerByte); // { value, low, high }
 */
export async function bitsPerByte(options: BitsPerByteOptions): Promise<BitsPerByteReport> {
  const { documents, score, context, tokensPerCall = 8192, onProgress } = options;
  const { stride = Math.max(1, context >> 1) } = options;
  validate(documents, context, stride, tokensPerCall);
  const windows = documents.flatMap(({ ids }, document) =>
    scoringWindows(ids.length, context, stride).map(([begin, end, from]) => ({ document, begin, end, from })),
  );
  const nats = new Float64Array(documents.length);
  for (let next = 0; next < windows.length; ) {
    const first = next;
    let rows = 0;
    while (next < windows.length) {
      const { begin, end } = windows[next] as (typeof windows)[number];
      if (next > first && rows + end - begin > tokensPerCall) break;
      rows += end - begin;
      next++;
    }
    const batch = windows.slice(first, next);
    const asked = batch.map(({ document, begin, end, from }) => ({
      ids: part((documents[document] as ScoredDocument).ids, begin, end),
      from: from - begin,
    }));
    const scores = await score(asked);
    batch.forEach(({ document, end, from }, i) => {
      nats[document] = (nats[document] as number) - total(scores[i], end - from, documents[document]?.id);
    });
    onProgress?.({ done: windows[next]?.document ?? documents.length, total: documents.length });
  }
  const each = documents.map(({ id, ids, bytes }, i) => ({
    id,
    bits: (nats[i] as number) / Math.LN2,
    bytes,
    tokens: ids.length - 1,
  }));
  const sum = (name: 'bits' | 'bytes' | 'tokens') => each.reduce((n, document) => n + document[name], 0);
  return {
    bitsPerByte: bootstrapRatio(
      each.map(({ bits }) => bits),
      each.map(({ bytes }) => bytes),
      options,
    ),
    bits: sum('bits'),
    bytes: sum('bytes'),
    tokens: sum('tokens'),
    context,
    stride,
    documents: each,
  };
}

/**
 * Bits per byte of model b minus those of model a, over the same documents, drawn in pairs: what is hard for both
 * cancels. Negative where b is the better one.
 *
 * @throws MinkeError `invalid-argument` where the documents differ
 */
export function compareBitsPerByte(
  a: readonly DocumentBits[],
  b: readonly DocumentBits[],
  options: BootstrapOptions = {},
): Difference {
  check(
    a.length === b.length && a.length > 0,
    () => `compareBitsPerByte: expected the same documents for both, got ${a.length} and ${b.length}`,
  );
  const other = new Map(b.map((document) => [document.id, document]));
  const pairs = a.map((document) => {
    const match = other.get(document.id);
    check(
      match?.bytes === document.bytes,
      () =>
        `compareBitsPerByte: expected the document ${document.id} of ${document.bytes} bytes in both, got ${match === undefined ? 'none' : `one of ${match.bytes}`}; measure both on the same documents`,
    );
    return [document.bits, (match as DocumentBits).bits] as const;
  });
  return pairedRatios(
    pairs.map(([bits]) => bits),
    pairs.map(([, bits]) => bits),
    a.map(({ bytes }) => bytes),
    options,
  );
}

const part = (ids: ArrayLike<number>, begin: number, end: number): number[] =>
  Array.from({ length: end - begin }, (_, i) => ids[begin + i] as number);

/** The sum of a window's log-probabilities; anything else throws `internal`. */
function total(scores: ArrayLike<number> | undefined, count: number, id: string | undefined): number {
  if (scores?.length !== count)
    throw new MinkeError(
      'internal',
      `bitsPerByte: expected ${count} log-probabilities of a window of ${id}, got ${scores?.length ?? 'none'}; score every id from \`from\` on`,
    );
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const value = scores[i] as number;
    if (!(value <= 0 && value > Number.NEGATIVE_INFINITY))
      throw new MinkeError(
        'internal',
        `bitsPerByte: expected log-probabilities of at most 0 in ${id}, got ${value}`,
      );
    sum += value;
  }
  return sum;
}

function validate(
  documents: readonly ScoredDocument[],
  context: number,
  stride: number,
  tokensPerCall: number,
): void {
  check(
    Number.isSafeInteger(context) && context >= 2,
    () => `bitsPerByte: expected a context of 2 tokens or more, got ${context}`,
  );
  check(
    Number.isSafeInteger(stride) && stride >= 1 && stride < context,
    () => `bitsPerByte: expected a stride from 1 to ${context - 1} (the context less one), got ${stride}`,
  );
  check(
    Number.isSafeInteger(tokensPerCall) && tokensPerCall >= 1,
    () => `bitsPerByte: expected tokensPerCall of 1 or more, got ${tokensPerCall}`,
  );
  check(documents.length > 0, () => 'bitsPerByte: expected a document or more, got none');
  const seen = new Set<string>();
  for (const { id, ids, bytes } of documents) {
    check(
      ids.length >= 2 && Number.isSafeInteger(bytes) && bytes >= 1,
      () =>
        `bitsPerByte: expected two ids and a byte or more in ${id}, got ${ids.length} ids and ${bytes} bytes; leave empty documents out`,
    );
    check(!seen.has(id), () => `bitsPerByte: expected every id of a document once, got ${id} again`);
    seen.add(id);
  }
}
