/** The pre-tokenizers of tokenizers that are trained here, as `tokenizer.json` writes them. */
import { MinkeError } from '@minke/core';

/** How numbers are cut before merging; arithmetic wants single digits, published vocabularies use groups. */
export type DigitSplit = 'individual' | 'groups-of-3' | 'none';

const digitPatterns = { individual: '\\p{N}', 'groups-of-3': '\\p{N}{1,3}', none: '\\p{N}+' } as const;

const hanAndKana = '[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+';

/** Words with one leading character, punctuation, white space. */
const words =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|' +
  ' ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

/** What may not be inside a superword: several signs in a row, ends of lines, more than one space. */
const phraseEnds = ' ?[\\p{P}\\p{S}]{2,}[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)';

function cutting(...patterns: readonly string[]): object {
  const splits = patterns.map((regex) => ({
    type: 'Split',
    pattern: { Regex: regex },
    behavior: 'Isolated',
    invert: false,
  }));
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  return { type: 'Sequence', pretokenizers: [...splits, bytes] };
}

/**
 * DeepSeek-V3's pre-tokenizer with the digit step of choice: digits, then runs of Han and kana, then words
 * with one leading character, punctuation and white space (deepseek-ai/DeepSeek-V3, `tokenizer.json`).
 */
export function deepseekPreTokenizer(digits: DigitSplit): object {
  return cutting(digitPatterns[digits], hanAndKana, words);
}

/**
 * As `deepseekPreTokenizer`, but words of a line stay together (Liu et al. 2025, https://arxiv.org/abs/2503.13423,
 * section 2): cuts are left at digits, Han and kana, two or more signs in a row, ends of lines and runs of spaces.
 */
export function superwordPreTokenizer(digits: DigitSplit): object {
  return cutting(digitPatterns[digits], hanAndKana, phraseEnds);
}

/** The superword form of a pre-tokenizer; throws `unsupported` for one that is not made here. */
export function withSuperwords(preTokenizer: unknown): object {
  const written = JSON.stringify(preTokenizer);
  for (const digits of Object.keys(digitPatterns) as DigitSplit[])
    for (const form of [deepseekPreTokenizer, superwordPreTokenizer])
      if (JSON.stringify(form(digits)) === written) return superwordPreTokenizer(digits);
  throw new MinkeError(
    'unsupported',
    'extendVocabulary: superwords need the pre-tokenizer that trainBpe writes, got another one; train a tokenizer with trainBpe first',
  );
}
