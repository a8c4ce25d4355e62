/**
 * Byte-level BPE training (Sennrich et al. 2016): count the distinct pre-tokens once, then merge the most
 * frequent adjacent pair until the vocabulary is full.
 *
 * Incremental: pair counts are kept per pair with the words that hold it, a merge touches only those words,
 * and a heap with lazy refresh gives the next pair. Ties go to the pair with the smaller left id, then the
 * smaller right id, which is also the rule of Hugging Face's BpeTrainer; ids are special tokens first, then
 * the 256 bytes by character of the byte alphabet, then merges in order. One deviation: a merge that would
 * spell a special token is skipped, so that text can never turn into one.
 */
import { check } from '@minke/core';
import { byteToChar, charToByte, toByteAlphabet } from './byte-alphabet.ts';
import { parsePreTokenizer } from './pre-tokenizer.ts';
import { Tokenizer } from './tokenizer.ts';
import { type AddedTokenJson, byteLevelDecoder } from './write-tokenizer-json.ts';

/** How numbers are cut before merging; arithmetic wants single digits, published vocabularies use groups. */
export type DigitSplit = 'individual' | 'groups-of-3' | 'none';

/** What to train. */
export interface TrainBpeOptions {
  /** Size of the whole vocabulary, special tokens and the 256 bytes included. Fewer if the text runs out. */
  readonly vocabSize: number;
  /** Get ids 0, 1, ... in order; a string means `{ content, special: true }`. */
  readonly specialTokens?: readonly (string | { readonly content: string; readonly special?: boolean })[];
  /** Default `groups-of-3`, DeepSeek-V3's. */
  readonly digits?: DigitSplit;
  /** Pairs seen fewer times are not merged; default 2. */
  readonly minFrequency?: number;
}

/** Ids are below 2^21, so a pair is one exact integer whose order is (left, right). */
const idSpan = 2 ** 21;

/**
 * Trains a tokenizer on texts (special tokens in them count as ordinary text).
 *
 * ```ts
 * const tokenizer = trainBpe(['low lower lowest', 'new newer newest'],
 *   { vocabSize: 270, specialTokens: ['<eos>'], digits: 'individual' });
 * ```
 */
export function trainBpe(texts: Iterable<string>, options: TrainBpeOptions): Tokenizer {
  const { vocabSize, digits = 'groups-of-3', minFrequency = 2 } = options;
  const specials = (options.specialTokens ?? []).map((token) =>
    typeof token === 'string' ? { content: token, special: true } : { special: true, ...token },
  );
  checkSizes('trainBpe', { vocabSize, minFrequency }, [256 + specials.length, 'bytes and special tokens']);
  checkSpecials(specials);
  const preTokenizerJson = deepseekPreTokenizer(digits);
  const counts = countPieces(texts, parsePreTokenizer(preTokenizerJson));

  const alphabet = [...byteToChar].sort((a, b) => (a < b ? -1 : 1));
  const tokens = [...specials.map((token) => token.content), ...alphabet];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges = learnMerges(
    countWords(counts, (piece) => Array.from(toByteAlphabet(piece), (char) => ids.get(char)!)),
    tokens,
    new Set(specials.map((token) => token.content)),
    vocabSize,
    minFrequency,
  );

  const addedTokens: AddedTokenJson[] = specials.map(({ content, special }, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special,
  }));
  return Tokenizer.fromJson({
    added_tokens: addedTokens,
    normalizer: null,
    pre_tokenizer: preTokenizerJson,
    post_processor: null,
    decoder: byteLevelDecoder,
    model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
  });
}

/**
 * Goes on training where a tokenizer's merges end, on other texts: its ids and merges stay, new ones are appended, so
 * a model keeps its embeddings and learns the rows of new ids. On the texts it was trained on, the result is the
 * tokenizer that `trainBpe` gives at the larger size.
 *
 * ```ts
 * const wider = extendVocabulary(tokenizer, logFiles, { vocabSize: tokenizer.vocabSize + 500 });
 * ```
 */
export function extendVocabulary(
  tokenizer: Tokenizer,
  texts: Iterable<string>,
  { vocabSize, minFrequency = 2 }: Pick<TrainBpeOptions, 'vocabSize' | 'minFrequency'>,
): Tokenizer {
  const present = tokenizer.vocabSize;
  checkSizes('extendVocabulary', { vocabSize, minFrequency }, [present, 'what there is']);
  const json = tokenizer.toJson();
  const preTokenizer = parsePreTokenizer(json.pre_tokenizer);
  const counts = countPieces(tokenizer.normalised(texts), preTokenizer);
  const tokens = Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.idToToken(id) ?? '');
  const merges = learnMerges(
    countWords(counts, (piece) => tokenizer.encodePiece(piece)),
    tokens,
    new Set(tokenizer.specialTokens.map(({ content }) => content)),
    vocabSize,
    minFrequency,
  );
  const vocab = { ...json.model.vocab };
  for (let id = tokenizer.vocabSize; id < tokens.length; id++) vocab[tokens[id]!] = id;
  return Tokenizer.fromJson({
    ...json,
    model: { ...json.model, vocab, merges: [...json.model.merges, ...merges] },
  });
}

/**
 * DeepSeek-V3's pre-tokenizer with the digit step of choice: digits, then runs of Han and kana, then words
 * with one leading character, punctuation and white space (deepseek-ai/DeepSeek-V3, `tokenizer.json`).
 */
export function deepseekPreTokenizer(digits: DigitSplit): object {
  const digitPatterns = { individual: '\\p{N}', 'groups-of-3': '\\p{N}{1,3}', none: '\\p{N}+' };
  const split = (regex: string) => ({
    type: 'Split',
    pattern: { Regex: regex },
    behavior: 'Isolated',
    invert: false,
  });
  return {
    type: 'Sequence',
    pretokenizers: [
      split(digitPatterns[digits]),
      split('[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+'),
      split(
        '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|' +
          ' ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
      ),
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  };
}

function checkSizes(
  where: string,
  { vocabSize, minFrequency }: { readonly vocabSize: number; readonly minFrequency: number },
  [least, leastIs]: readonly [number, string],
): void {
  check(
    Number.isInteger(vocabSize) && vocabSize >= least && vocabSize < idSpan,
    () => `${where}: expected vocabSize from ${least} (${leastIs}) to ${idSpan - 1}, got ${vocabSize}`,
  );
  check(
    Number.isInteger(minFrequency) && minFrequency >= 1,
    () => `${where}: expected minFrequency of at least 1, got ${minFrequency}`,
  );
}

function checkSpecials(specials: readonly { readonly content: string }[]): void {
  const seen = new Set<string>();
  for (const { content } of specials) {
    check(
      content.length > 0 && !seen.has(content) && !charToByte.has(content),
      () =>
        `trainBpe: expected distinct special tokens of several characters, got ${JSON.stringify(content)}`,
    );
    seen.add(content);
  }
}

function countPieces(
  texts: Iterable<string>,
  preTokenizer: ReturnType<typeof parsePreTokenizer>,
): Map<string, number> {
  const counts = new Map<string, number>();
  const add = (piece: string) => counts.set(piece, (counts.get(piece) ?? 0) + 1);
  for (const text of texts) {
    check(typeof text === 'string', () => `trainBpe: expected texts, got ${typeof text}`);
    preTokenizer.split(text.replace(/\p{Surrogate}/gu, '\ufffd'), add);
  }
  return counts;
}

/** Distinct pre-tokens as ids, and how often each occurs. */
interface CountedWords {
  readonly words: number[][];
  readonly frequencies: number[];
}

function countWords(
  pieces: ReadonlyMap<string, number>,
  idsOf: (piece: string) => Iterable<number>,
): CountedWords {
  return {
    words: Array.from(pieces.keys(), (piece) => [...idsOf(piece)]),
    frequencies: [...pieces.values()],
  };
}

/** Appends the new tokens to `tokens` (ids without a token are empty); gives the new merges in order. */
function learnMerges(
  { words, frequencies }: CountedWords,
  tokens: string[],
  forbidden: ReadonlySet<string>,
  vocabSize: number,
  minFrequency: number,
): [string, string][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const counts = new Map<number, number>();
  const holders = new Map<number, number[]>();
  const change = (pair: number, by: number, word: number) => {
    counts.set(pair, (counts.get(pair) ?? 0) + by);
    if (by < 0) return;
    const list = holders.get(pair);
    if (list === undefined) holders.set(pair, [word]);
    else if (list[list.length - 1] !== word) list.push(word);
  };
  words.forEach((word, w) => {
    for (let i = 0; i + 1 < word.length; i++) change(word[i]! * idSpan + word[i + 1]!, frequencies[w]!, w);
  });

  const queue = new PairQueue();
  for (const [pair, count] of counts) queue.push(count, pair);
  const merges: [string, string][] = [];
  const merged = new Set<number>();
  let round = 0;
  const visited = new Int32Array(words.length).fill(-1);
  while (tokens.length < vocabSize) {
    const top = queue.pop();
    if (top === undefined) break;
    const count = counts.get(top.pair) ?? 0;
    if (count !== top.count) {
      if (count >= minFrequency) queue.push(count, top.pair);
      continue;
    }
    if (count < minFrequency) break;
    const left = Math.floor(top.pair / idSpan);
    const right = top.pair % idSpan;
    const token = tokens[left]! + tokens[right]!;
    const where = holders.get(top.pair)!;
    counts.delete(top.pair);
    holders.delete(top.pair);
    if (forbidden.has(token)) continue;
    let id = ids.get(token);
    if (id === undefined) {
      id = tokens.length;
      tokens.push(token);
      ids.set(token, id);
    }
    const grown = new Set<number>();
    round++;
    for (const w of where) {
      if (visited[w] === round) continue;
      visited[w] = round;
      const frequency = frequencies[w]!;
      mergeWord(words[w]!, left, right, id, (pair, sign) => {
        change(pair, sign * frequency, w);
        if (sign > 0) grown.add(pair);
      });
    }
    counts.delete(top.pair);
    // A pair can come back when two merges spell one token; it keeps its first rank.
    if (!merged.has(top.pair)) merges.push([tokens[left]!, tokens[right]!]);
    merged.add(top.pair);
    for (const pair of grown) {
      const now = counts.get(pair) ?? 0;
      if (now >= minFrequency) queue.push(now, pair);
    }
  }
  return merges;
}

/** Replaces each (left, right) by `id` in place, left to right, and reports the pairs lost and gained. */
function mergeWord(
  word: number[],
  left: number,
  right: number,
  id: number,
  report: (pair: number, sign: 1 | -1) => void,
): void {
  let write = 0;
  for (let read = 0; read < word.length; read++) {
    const symbol = word[read]!;
    if (symbol !== left || word[read + 1] !== right) {
      word[write++] = symbol;
      continue;
    }
    if (write > 0) {
      report(word[write - 1]! * idSpan + left, -1);
      report(word[write - 1]! * idSpan + id, 1);
    }
    const after = word[read + 2];
    if (after !== undefined) {
      report(right * idSpan + after, -1);
      report(id * idSpan + after, 1);
    }
    word[write++] = id;
    read++;
  }
  word.length = write;
}

/** Binary heap of pairs: the largest count first, then the smallest pair. */
class PairQueue {
  private readonly counts: number[] = [];
  private readonly pairs: number[] = [];

  push(count: number, pair: number): void {
    let at = this.pairs.length;
    this.counts.push(count);
    this.pairs.push(pair);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.before(count, pair, parent)) break;
      this.move(parent, at);
      at = parent;
    }
    this.counts[at] = count;
    this.pairs[at] = pair;
  }

  pop(): { count: number; pair: number } | undefined {
    if (this.pairs.length === 0) return undefined;
    const top = { count: this.counts[0]!, pair: this.pairs[0]! };
    const count = this.counts.pop()!;
    const pair = this.pairs.pop()!;
    const size = this.pairs.length;
    if (size === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && this.before(this.counts[child + 1]!, this.pairs[child + 1]!, child)) child++;
      if (this.before(count, pair, child)) break;
      this.move(child, at);
      at = child;
    }
    this.counts[at] = count;
    this.pairs[at] = pair;
    return top;
  }

  private before(count: number, pair: number, other: number): boolean {
    const theirs = this.counts[other]!;
    return count > theirs || (count === theirs && pair < this.pairs[other]!);
  }

  private move(from: number, to: number): void {
    this.counts[to] = this.counts[from]!;
    this.pairs[to] = this.pairs[from]!;
  }
}
