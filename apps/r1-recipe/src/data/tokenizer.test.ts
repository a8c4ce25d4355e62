import { deepseekR1Template, encodeChat } from '@minke/tokenizer-merging/chat';
import { Tokenizer } from '@minke/tokenizer-merging/tokenizer';
import { describe, expect, it } from 'vitest';
import { baseRows } from './base-mixture.ts';
import { shortWords } from './general-words.ts';
import { tasksOf } from './task-stream.ts';
import { fingerprint, firstRows } from './testing/rows.ts';
import { recipeTokenizer, tokenizerFiles } from './tokenizer.ts';
import { completionOf } from './trace.ts';

const tokenizer = recipeTokenizer();

describe('recipeTokenizer', () => {
  it('has some hundred ids, always the same', () => {
    expect(tokenizer.vocabSize).toBeLessThan(700);
    expect(fingerprint(tokenizer.toJson())).toMatchInlineSnapshot(`"f6ec1d17c19502f4"`);
  });

  it('gives back every row of the mixture, every task, and text it never saw', () => {
    const texts = [
      ...firstRows(baseRows({ seed: 5 }), 500).flatMap((row) => [row.question, completionOf(row)]),
      ...firstRows(tasksOf('beyond-reasoning', { seed: 5 }), 200).map(({ prompt }) => prompt),
      'Größe 鯨 🐋 \u0000 zebra',
    ];
    for (const text of texts) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it('spells digits, names and words to capitalise', () => {
    expect(tokenizer.encode('1325')).toHaveLength(4);
    for (const word of shortWords) {
      expect(tokenizer.encode(` ${word}`), word).toHaveLength(word.length + 1);
      expect(tokenizer.encode(word.toUpperCase()), word).toHaveLength(word.length);
    }
  });

  it('has whole tokens for fixed words, and none that hides a letter', () => {
    for (const word of [' respuesta', ' answer', 'prueba', 'wrong', ' whale', ' Minke'])
      expect(tokenizer.encode(word), word).toHaveLength(1);
    for (const letter of 'abcdefghijklmnopqrstuvwxyz')
      expect(tokenizer.encode(` ${letter}`), letter).toHaveLength(2);
  });

  it('opens a thought by the template, and loads from its files', () => {
    const { ids, opensThought } = encodeChat(tokenizer, deepseekR1Template, [
      { role: 'user', content: '1+1?' },
    ]);
    expect(opensThought).toBe(true);
    expect(ids.length).toBeLessThan(12);
    const read = Tokenizer.fromJson(tokenizerFiles()['tokenizer.json'] as never);
    expect([...read.encode('The answer is 12.')]).toEqual([...tokenizer.encode('The answer is 12.')]);
  });
});
