/**
 * Byte-level BPE training (Sennrich et al. 2016): count the distinct pre-tokens once, then merge the most
 * frequent adjacent pair until the vocabulary is full.
 *
 * Ids are special tokens first, then the 256 bytes by character of the byte alphabet, then merges in order, as Hugging
 * Face's BpeTrainer gives them. One deviation: a merge that would spell a special token is skipped, so that text can
 * never turn into one.
 */
import { check } from '@minke/core';
import { byteToChar, charToByte, inByteAlphabet } from './byte-alphabet.ts';
import { CountedWords, type WordCounts } from './counted-words.ts';
import { IdBuffer } from './id-buffer.ts';
import { learnMerges } from './learn-merges.ts';
import { type PreTokenizer, parsePreTokenizer } from './pre-tokenizer.ts';
import { type DigitSplit, deepseekPreTokenizer, withSuperwords } from './pre-tokenizer-forms.ts';
import { Tokenizer } from './tokenizer.ts';
import { type AddedTokenJson, byteLevelDecoder } from './write-tokenizer-json.ts';

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

const utf8 = new TextEncoder();

/** Ids of published vocabularies are below 2^18; a merger's heap keys are exact to 2^22. */
const largestVocabulary = 2 ** 21;

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
  const words = new CountedWords(counts, (piece) =>
    Array.from(inByteAlphabet(utf8.encode(piece)), (char) => ids.get(char)!),
  );
  const forbidden = new Set(specials.map((token) => token.content));
  const merges = learnMerges(words, tokens, { forbidden, vocabSize, minFrequency });

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

/** What to add to a vocabulary. */
export interface ExtendVocabularyOptions extends Pick<TrainBpeOptions, 'vocabSize' | 'minFrequency'> {
  /** New merges may join words: see `superwordPreTokenizer`. Default false. */
  readonly superwords?: boolean;
}

/**
 * Goes on training where a tokenizer's merges end, on other texts: its ids and merges stay, new ones are appended, so
 * a model keeps its embeddings and learns the rows of new ids. On the texts it was trained on, the result is the
 * tokenizer that `trainBpe` gives at the larger size.
 *
 * With `superwords` it is the second stage of SuperBPE (Liu et al. 2025, https://arxiv.org/abs/2503.13423): tokens such
 * as ` of the` join words, and a text has fewer tokens. Throws `unsupported` for a tokenizer that does not cut as
 * `trainBpe` does, because only there it is known which cuts to leave out.
 *
 * ```ts
 * const wider = extendVocabulary(tokenizer, logFiles, { vocabSize: tokenizer.vocabSize + 500 });
 * const joined = extendVocabulary(tokenizer, articles, { vocabSize: 32_768, superwords: true });
 * ```
 */
export function extendVocabulary(
  tokenizer: Tokenizer,
  texts: Iterable<string>,
  { vocabSize, minFrequency = 2, superwords = false }: ExtendVocabularyOptions,
): Tokenizer {
  const present = tokenizer.vocabSize;
  checkSizes('extendVocabulary', { vocabSize, minFrequency }, [present, 'what there is']);
  const json = tokenizer.toJson();
  const preTokenizerJson = superwords ? withSuperwords(json.pre_tokenizer) : json.pre_tokenizer;
  const counts = countPieces(tokenizer.normalised(texts), parsePreTokenizer(preTokenizerJson));
  const tokens = Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.idToToken(id) ?? '');
  const words = new CountedWords(counts, (piece) => {
    const ids = new IdBuffer();
    tokenizer.encodePiece(piece, ids);
    return ids.toArray();
  });
  const forbidden = new Set(tokenizer.specialTokens.map(({ content }) => content));
  const merges = learnMerges(words, tokens, { forbidden, vocabSize, minFrequency });
  const vocab = { ...json.model.vocab };
  for (let id = tokenizer.vocabSize; id < tokens.length; id++) vocab[tokens[id]!] = id;
  return Tokenizer.fromJson({
    ...json,
    pre_tokenizer: preTokenizerJson,
    model: { ...json.model, vocab, merges: [...json.model.merges, ...merges] },
  });
}

function checkSizes(
  where: string,
  { vocabSize, minFrequency }: { readonly vocabSize: number; readonly minFrequency: number },
  [least, leastIs]: readonly [number, string],
): void {
  check(
    Number.isInteger(vocabSize) && vocabSize >= least && vocabSize < largestVocabulary,
    () =>
      `${where}: expected vocabSize from ${least} (${leastIs}) to ${largestVocabulary - 1}, got ${vocabSize}`,
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

/** Counts the pieces of texts in which what is no Unicode is replaced. */
function countPieces(texts: Iterable<string>, preTokenizer: PreTokenizer): WordCounts {
  const counts = new Map<string, { count: number }>();
  const add = (piece: string) => {
    const known = counts.get(piece);
    if (known === undefined) counts.set(piece, { count: 1 });
    else known.count++;
  };
  for (const text of texts) {
    check(typeof text === 'string', () => `trainBpe: expected texts, got ${typeof text}`);
    preTokenizer.split(text.replace(/\p{Surrogate}/gu, '\ufffd'), add);
  }
  return counts;
}
