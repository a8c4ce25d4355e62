/**
 * Byte-level BPE tokenizer over the Hugging Face `tokenizer.json` format: GPT-2, Llama 3, Qwen2 and
 * DeepSeek-V2/V3/R1 vocabularies, with ids equal to those of `tokenizers`.
 *
 * Differences, on purpose: by default no text becomes a control token (there, special tokens in the text do);
 * a merge that would spell a control token is ignored; a lone surrogate is encoded as U+FFFD; added tokens
 * decode to their own text even where its characters belong to the byte alphabet.
 */
import { check, MinkeError } from '@minke/core';
import { type AddedToken, AddedTokenMatcher, isControl, type PlainMask } from './added-tokens.ts';
import { bytesOfToken, byteToChar, inByteAlphabet } from './byte-alphabet.ts';
import { IdBuffer } from './id-buffer.ts';
import { BpeMerger, PairTable } from './merge.ts';
import { hashOf, PieceCache } from './piece-cache.ts';
import { StreamDecoder } from './stream-decoder.ts';
import { controlIds, parseTokenizerJson, type TokenizerSpec } from './tokenizer-json.ts';
import { type TokenizerJson, writeTokenizerJson } from './write-tokenizer-json.ts';

/** How to read a text. */
export interface EncodeOptions {
  /**
   * Which control tokens (added tokens such as `<｜User｜>`) the text may contain: none (default), all, or
   * those whose text is in the set. Text of the others is encoded as ordinary characters.
   */
  readonly allowSpecial?: boolean | ReadonlySet<string>;
  /** Stretches [start, end) in UTF-16 units that stay ordinary text even where control tokens are allowed. */
  readonly plainRanges?: readonly (readonly [start: number, end: number])[];
  /** Adds what the file's TemplateProcessing adds, usually a BOS; default false. */
  readonly addSpecialTokens?: boolean;
}

/** How to write ids. */
export interface DecodeOptions {
  /** Leaves out tokens whose `special` flag is set; default false. */
  readonly skipSpecial?: boolean;
}

const utf8 = new TextEncoder();
const noBytes = new Uint8Array(0);
/** A buffer for UTF-8 of up to this many bytes is kept between calls. */
const keptBytes = 65_536;

/**
 * A tokenizer made from a `tokenizer.json`, or by `trainBpe`.
 *
 * ```ts
 * const tokenizer = Tokenizer.fromJson(JSON.parse(await readFile('tokenizer.json', 'utf8')));
 * tokenizer.decode(tokenizer.encode('What is 348 + 977?')); // 'What is 348 + 977?'
 * ```
 */
export class Tokenizer {
  /** Rows an embedding needs: the largest id plus one. Ids without a token may lie below it. */
  readonly vocabSize: number;
  /** All added tokens in file order, each with its own `special` flag. */
  readonly specialTokens: readonly AddedToken[];

  private readonly spec: TokenizerSpec;
  private readonly addedIds: ReadonlyMap<string, number>;
  /** Bytes of tokens that were asked for, and of added ones. */
  private readonly bytes: (Uint8Array | undefined)[];
  private readonly specialIds: ReadonlySet<number>;
  private readonly controls: ReadonlySet<number>;
  private readonly merger: BpeMerger;
  private readonly cache = new PieceCache();
  private readonly allTokens: AddedTokenMatcher;
  private readonly textTokens: AddedTokenMatcher;
  /** UTF-8 of the text being encoded. */
  private utf8Text = new Uint8Array(1024);

  private constructor(spec: TokenizerSpec) {
    this.spec = spec;
    this.specialTokens = spec.addedTokens;
    this.addedIds = new Map(spec.addedTokens.map((token) => [token.content, token.id]));
    this.vocabSize = spec.tokenOfId.length;
    this.bytes = new Array(this.vocabSize).fill(undefined);
    for (const token of spec.addedTokens) this.bytes[token.id] = utf8.encode(token.content);
    this.specialIds = new Set(spec.addedTokens.filter((token) => token.special).map((token) => token.id));
    this.controls = controlIds(spec.addedTokens);
    this.allTokens = new AddedTokenMatcher(spec.addedTokens);
    this.textTokens = new AddedTokenMatcher(spec.addedTokens.filter((token) => !isControl(token)));
    const table = new PairTable(spec.merges.length);
    const results = new Int32Array(spec.merges.length);
    spec.merges.forEach(([left, right, result], rank) => {
      results[rank] = result;
      if (!this.controls.has(result)) table.set(left, right, rank, result);
    });
    this.merger = new BpeMerger(
      table,
      Int32Array.from(byteToChar, (char) => spec.vocab.get(char) ?? -1),
      results,
    );
  }

  /**
   * Reads the parsed content of a `tokenizer.json`. Throws `MinkeError('invalid-file')` for a malformed field
   * and `MinkeError('unsupported')` for a kind of tokenizer that is not byte-level BPE.
   */
  static fromJson(json: unknown): Tokenizer {
    return new Tokenizer(parseTokenizerJson(json));
  }

  /** Like {@link Tokenizer.fromJson} from the file's text; a text that is no JSON is an `invalid-file` too. */
  static parse(text: string): Tokenizer {
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (cause) {
      const hint = text.startsWith('version https://git-lfs') ? 'a Git LFS pointer' : 'text that is not JSON';
      throw new MinkeError(
        'invalid-file',
        `tokenizer.json: expected JSON, got ${hint}; fetch the file again`,
        { cause },
      );
    }
    return Tokenizer.fromJson(json);
  }

  /** The tokenizer as a `tokenizer.json` object, which `tokenizers` and transformers load. */
  toJson(): TokenizerJson {
    return writeTokenizerJson(this.spec);
  }

  /** Token ids of a text. O(n log n) in its length whatever it contains, with the published patterns. */
  encode(text: string, options: EncodeOptions = {}): Int32Array {
    check(typeof text === 'string', () => `Tokenizer.encode: expected a string, got ${typeof text}`);
    const { allowSpecial = false, addSpecialTokens = false } = options;
    const out = new IdBuffer(16 + (text.length >> 1));
    if (addSpecialTokens) out.pushAll(this.spec.prefix);
    const clean = wellFormed(text);
    const plain = options.plainRanges && markPlain(clean.length, options.plainRanges);
    for (const { id, start, end } of this.matcher(allowSpecial).split(clean, plain)) {
      if (id >= 0) out.push(id);
      else this.encodePlain(start === 0 && end === clean.length ? clean : clean.slice(start, end), out);
    }
    if (addSpecialTokens) out.pushAll(this.spec.suffix);
    return out.toArray();
  }

  /**
   * Text of ids. Bytes that are not UTF-8 become U+FFFD. An id without a token (embeddings are often padded
   * beyond the vocabulary) adds nothing; a negative or fractional id throws `invalid-argument`.
   */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const bytesOf = this.bytesFor(options);
    let all = new Uint8Array(8 * ids.length);
    let size = 0;
    for (let i = 0; i < ids.length; i++) {
      const part = bytesOf(ids[i]!);
      if (size + part.length > all.length) {
        const larger = new Uint8Array(2 * (size + part.length));
        larger.set(all);
        all = larger;
      }
      // A loop is faster than `set` for the few bytes of a token.
      for (let at = 0; at < part.length; at++) all[size++] = part[at]!;
    }
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(all.subarray(0, size));
  }

  /** A decoder for one stream of ids that never splits a character. */
  streamDecoder(options: DecodeOptions = {}): StreamDecoder {
    return new StreamDecoder(this.bytesFor(options));
  }

  /** Bytes of one token (half a character is possible), as log-probability lists need; do not modify. */
  tokenBytes(id: number): Uint8Array {
    check(Number.isInteger(id) && id >= 0, () => `Tokenizer: expected a token id, got ${id}`);
    const known = this.bytes[id];
    if (known !== undefined) return known;
    const token = this.spec.tokenOfId[id];
    if (token === undefined) return noBytes;
    const bytes = bytesOfToken(token);
    this.bytes[id] = bytes;
    return bytes;
  }

  /** Id of a token in its vocabulary spelling (`'Ġthe'`) or of an added token (`'<think>'`). */
  tokenToId(token: string): number | undefined {
    return this.addedIds.get(token) ?? this.spec.vocab.get(token);
  }

  /** Vocabulary spelling of an id, or undefined where it has none. */
  idToToken(id: number): string | undefined {
    return this.spec.tokenOfId[id];
  }

  private bytesFor({ skipSpecial = false }: DecodeOptions): (id: number) => Uint8Array {
    return (id) => (skipSpecial && this.specialIds.has(id) ? noBytes : this.tokenBytes(id));
  }

  private matcher(allow: boolean | ReadonlySet<string>): AddedTokenMatcher {
    if (allow === true) return this.allTokens;
    if (allow === false) return this.textTokens;
    return new AddedTokenMatcher(
      this.specialTokens.filter((token) => !isControl(token) || allow.has(token.content)),
    );
  }

  /** @internal Texts as they are split. */
  *normalised(texts: Iterable<string>): Iterable<string> {
    for (const text of texts) yield this.spec.nfc ? text.normalize('NFC') : text;
  }

  private encodePlain(text: string, out: IdBuffer): void {
    const { nfc, preTokenizer } = this.spec;
    const { scanner, prefixSpace } = preTokenizer;
    const normal = nfc ? text.normalize('NFC') : text;
    if (scanner === undefined) {
      preTokenizer.split(normal, (piece) => this.encodePiece(piece, out));
      return;
    }
    const end = this.toUtf8(prefixSpace && !normal.startsWith(' ') ? ` ${normal}` : normal);
    const bytes = this.utf8Text;
    for (let at = 0; at < end; ) {
      const next = scanner.next(bytes, at, end);
      this.encodeBytes(bytes, at, next, out);
      at = next;
    }
    if (bytes.length > keptBytes) this.utf8Text = new Uint8Array(1024);
  }

  /** @internal Appends the ids of one pre-token. */
  encodePiece(piece: string, out: IdBuffer): void {
    const end = this.toUtf8(piece);
    this.encodeBytes(this.utf8Text, 0, end, out);
    if (this.utf8Text.length > keptBytes) this.utf8Text = new Uint8Array(1024);
  }

  /** Appends the ids of the pre-token [from, to). */
  private encodeBytes(bytes: Uint8Array, from: number, to: number, out: IdBuffer): void {
    const { cache, merger } = this;
    const hash = hashOf(bytes, from, to);
    if (cache.read(bytes, from, to, hash, out)) return;
    const whole = this.spec.ignoreMerges ? this.wholeToken(bytes, from, to) : -1;
    let count = 1;
    if (whole >= 0) merger.ids[0] = whole;
    else count = merger.merge(bytes, from, to);
    cache.keep(bytes, from, to, hash, merger.ids, count);
    out.pushAll(merger.ids, 0, count);
  }

  /** Id of the token that these bytes are, unless it is a control token; -1 for none. */
  private wholeToken(bytes: Uint8Array, from: number, to: number): number {
    const id = this.spec.vocab.get(inByteAlphabet(bytes, from, to));
    return id === undefined || this.controls.has(id) ? -1 : id;
  }

  /** Writes UTF-8 to `utf8Text` and returns how many bytes. */
  private toUtf8(text: string): number {
    if (this.utf8Text.length < 3 * text.length) {
      if (3 * text.length > keptBytes) {
        this.utf8Text = utf8.encode(text);
        return this.utf8Text.length;
      }
      this.utf8Text = new Uint8Array(Math.max(3 * text.length, 2 * this.utf8Text.length));
    }
    return utf8.encodeInto(text, this.utf8Text).written;
  }
}

/** The text with U+FFFD in place of lone surrogates. */
function wellFormed(text: string): string {
  const isWellFormed = (text as { isWellFormed?: () => boolean }).isWellFormed;
  return isWellFormed?.call(text) ? text : text.replace(/\p{Surrogate}/gu, '\ufffd');
}

function markPlain(length: number, ranges: readonly (readonly [number, number])[]): PlainMask {
  const plain = new Uint8Array(length);
  for (const [start, end] of ranges) {
    check(
      Number.isInteger(start) && Number.isInteger(end) && start >= 0 && start <= end && end <= length,
      () =>
        `Tokenizer.encode: expected plainRanges inside the text of ${length} units, got [${start}, ${end})`,
    );
    plain.fill(1, start, end);
  }
  return plain;
}
