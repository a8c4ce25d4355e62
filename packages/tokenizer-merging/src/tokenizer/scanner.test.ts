// Hand-written scans against the regular expressions they stand for.
import { readFileSync } from 'node:fs';
import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { randomText, textOfEveryCharacter } from '../testing/random-text.ts';
import { wordsPattern } from './known-patterns.ts';
import { parsePreTokenizer } from './pre-tokenizer.ts';
import { deepseekPreTokenizer } from './pre-tokenizer-forms.ts';

const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../fixtures/${name}.json`, import.meta.url), 'utf8')) as {
    tokenizer: { pre_tokenizer: object };
  };
const byteLevel = (use_regex: boolean) => ({ type: 'ByteLevel', add_prefix_space: false, use_regex });
const oneSplit = (regex: string) => ({
  type: 'Sequence',
  pretokenizers: [
    { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false },
    byteLevel(false),
  ],
});

const families: Record<string, object> = {
  'DeepSeek-V3': deepseekPreTokenizer('groups-of-3'),
  'DeepSeek-V3 with single digits': deepseekPreTokenizer('individual'),
  'DeepSeek-V3 with whole numbers': deepseekPreTokenizer('none'),
  'Llama 3': fixture('llama3').tokenizer.pre_tokenizer,
  Qwen2: fixture('qwen2').tokenizer.pre_tokenizer,
  'Qwen2 with whole numbers': oneSplit(wordsPattern('\\p{N}+')),
  'GPT-2': byteLevel(true),
};
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

describe.each(Object.keys(families))('the scan for %s', (name) => {
  const { scanner, split } = parsePreTokenizer(families[name]);

  const bySplit = (text: string) => {
    const pieces: string[] = [];
    split(text, (piece) => pieces.push(piece));
    return pieces;
  };
  const byScan = (text: string) => {
    const bytes = new TextEncoder().encode(text);
    const pieces: string[] = [];
    for (let at = 0; at < bytes.length; ) {
      const next = scanner!.next(bytes, at, bytes.length);
      if (next <= at || next > bytes.length)
        throw new Error(`a piece [${at}, ${next}) of ${JSON.stringify(text)}`);
      pieces.push(decoder.decode(bytes.subarray(at, next)));
      at = next;
    }
    return pieces;
  };

  it('cuts random Unicode text where the regular expressions do', () => {
    const random = new Random(2024);
    for (let i = 0; i < 3000; i++) {
      const text = randomText(random);
      expect(byScan(text), JSON.stringify(text)).toEqual(bySplit(text));
    }
  });

  it('knows every character, alone and beside others', () => {
    const text = textOfEveryCharacter((character) => `a${character} ${character}1`);
    const [scanned, cut] = [byScan(text), bySplit(text)];
    const first = cut.findIndex((piece, i) => piece !== scanned[i]);
    expect(first, JSON.stringify([cut.slice(first, first + 3), scanned.slice(first, first + 3)])).toBe(-1);
    expect(scanned.length).toBe(cut.length);
  });
});

it('is not used for patterns that are nearly those', () => {
  const scannerOf = (json: object) => parsePreTokenizer(json).scanner;
  expect(scannerOf(oneSplit(wordsPattern('\\p{N}{1,4}')))).toBeUndefined();
  expect(scannerOf(oneSplit('\\p{L}+'))).toBeUndefined();
  expect(
    scannerOf({
      type: 'Sequence',
      pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel(true)],
    }),
  ).toBeUndefined();
  const [digits, ...others] = (deepseekPreTokenizer('groups-of-3') as { pretokenizers: object[] })
    .pretokenizers;
  expect(
    scannerOf({ type: 'Sequence', pretokenizers: [{ ...digits, behavior: 'Removed' }, ...others] }),
  ).toBeUndefined();
});
