/**
 * Seeded text of all kinds, for comparing tokenizers: words, numbers, signs, white space, Chinese, emoji, control
 * characters and any other character there is. No lone surrogates, which other tokenizers cannot have, and no characters
 * newer than Unicode 16, on which engines differ.
 */
import type { Random } from '@minke/core';
import { decodedRanges } from '../tokenizer/unicode-version.ts';

const unassigned = new Uint8Array(0x110000);
for (const [first, last] of decodedRanges()) unassigned.fill(1, first, last + 1);

const words = [
  'the',
  'The',
  'HTTP',
  'don',
  "'t",
  "'S",
  "'LL",
  "'re",
  "'ſ",
  "n't",
  'naïve',
  'Straße',
  'мир',
  'Ωmega',
  'ﬁ',
  'ǅ',
  'function',
  'return',
  'const x',
  '$_x',
  '#include',
  '//',
  '/*',
  '*/',
  '=>',
  '!==',
  '</p>',
  '\\n',
  '`',
  '"',
  '---',
  '。',
  '，',
  '你好',
  '世界',
  '龥龦',
  '鯨',
  'ひらがな',
  'カタカナー',
  'ｶﾅ',
  '한국어',
  'สวัสดี',
  'नमस्ते',
  'مرحبا',
  'שלום',
  '〇',
  '々',
  '\u3040',
  '\u3099',
  '\u30fb',
  '\u0301',
  '\u0e31',
  '\u200d',
  '\ufe0f',
  '\u00ad',
  '\u200b',
  '\ufeff',
  '\u2060',
  '👍🏽',
  '👨‍👩‍👧',
  '🇩🇪',
  '🐋',
  '☃',
  '©',
  '€',
  '½',
  '²³',
  'Ⅷ',
  '١٢٣',
  '𝟙𝟚',
  '𝒳',
  '𐐀',
  '𠀀',
  '\u{e0001}',
  '\ue000',
  '\u{f0000}',
  '0',
  '7',
  '12',
  '123',
  '1234',
  '2024-01-31',
  '3.14',
  '1e-5',
  '0x1F',
  '1,000,000',
];
const spaces = [
  ' ',
  ' ',
  ' ',
  '  ',
  '   ',
  '\n',
  '\n\n',
  '\r\n',
  '\r',
  '\t',
  '\u000b',
  '\u0085',
  '\u00a0',
  '\u2003',
  '\u2028',
  '\u3000',
  ' \n ',
  '\t\t',
];

/** Any character that Unicode 16 has or that no version has, no surrogate. */
export function randomCharacter(random: Random): string {
  for (;;) {
    const kind = random.uniform();
    const limit = kind < 0.3 ? 0x80 : kind < 0.5 ? 0x800 : kind < 0.85 ? 0x10000 : 0x110000;
    const point = Math.floor(random.uniform() * limit);
    if ((point >= 0xd800 && point < 0xe000) || isNewer(point)) continue;
    return String.fromCodePoint(point);
  }
}

/** A character that the engine knows and Unicode 16 does not. */
function isNewer(point: number): boolean {
  return unassigned[point] === 1 && !/\p{Cn}/u.test(String.fromCodePoint(point));
}

/** Up to `most` parts, of `more` as well as of what is above. */
export function randomText(random: Random, most = 24, more: readonly string[] = []): string {
  const one = (list: readonly string[]) => list[Math.floor(random.uniform() * list.length)]!;
  let text = '';
  for (let parts = Math.floor(random.uniform() * (most + 1)); parts > 0; parts--) {
    const kind = random.uniform();
    if (kind < 0.3) text += one(spaces);
    else if (kind < 0.4)
      text += one([' ', '\n', '1', '9', 'a', '.', '\u0001', '漢', '\u0301']).repeat(
        1 + Math.floor(random.uniform() * 5),
      );
    else if (kind < 0.65) text += one(words);
    else if (kind < 0.8 && more.length > 0) text += one(more);
    else text += randomCharacter(random);
  }
  return text;
}

/** Every character there is but surrogates, in surroundings of choice; one in 97 of the empty and the private planes. */
export function textOfEveryCharacter(surround: (character: string) => string): string {
  const parts: string[] = [];
  for (let point = 0; point < 0x110000; point++) {
    const dull = (point >= 0x40000 && point < 0xe0000) || point >= 0xf0000;
    if ((point >= 0xd800 && point < 0xe000) || (dull && point % 97 !== 0)) continue;
    parts.push(surround(String.fromCodePoint(point)));
  }
  return parts.join('');
}
