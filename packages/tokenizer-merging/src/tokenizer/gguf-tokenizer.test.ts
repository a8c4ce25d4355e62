import { MinkeError } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { byteToChar } from './byte-alphabet.ts';
import { ggufTokenizer } from './gguf-tokenizer.ts';

/** The bytes, two merges, and a token of each other type. */
const tokens = [...byteToChar, 'he', 'hel', '<|end|>', '  ', '[PAD]', '12', '123'];
const types = [...byteToChar.map(() => 1), 1, 1, 3, 4, 5, 1, 1];
const good: Readonly<Record<string, unknown>> = {
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.pre': 'smollm',
  'tokenizer.ggml.tokens': tokens,
  'tokenizer.ggml.token_type': Int32Array.from(types),
  'tokenizer.ggml.merges': ['h e', 'he l', '1 2', '12 3'],
  'tokenizer.ggml.bos_token_id': 258,
};
const tokenizerOf = (change: Readonly<Record<string, unknown>> = {}) =>
  ggufTokenizer(new Map(Object.entries({ ...good, ...change })));
const pieces = (pre: string, text: string) => {
  const tokenizer = tokenizerOf({ 'tokenizer.ggml.pre': pre });
  return Array.from(tokenizer.encode(text), (id) => tokenizer.idToToken(id));
};

describe('the tokenizer of a GGUF file', () => {
  it('merges, keeps added tokens whole, and gives the text back', () => {
    const tokenizer = tokenizerOf();
    expect([...tokenizer.encode('hel')]).toEqual([257]);
    expect([...tokenizer.encode('<|end|>', { allowSpecial: true })]).toEqual([258]);
    expect([...tokenizer.encode('<|end|>')]).not.toContain(258);
    const text = 'hello, 123 größe 重み 🐋\n  x';
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it('leaves out bytes that the vocabulary lacks', () => {
    const without = tokens.map((token, id) => (id === 1 || id === 0xf0 ? `unused ${id}` : token));
    const tokenizer = tokenizerOf({ 'tokenizer.ggml.tokens': without });
    expect([...tokenizer.encode('h\u0001he')]).toEqual([104, 256]);
    expect([...tokenizer.encode('\u0001')]).toEqual([]);
    expect(tokenizer.encode('🐋').length).toBe(3);
  });

  it('puts a beginning before a text where the file says so', () => {
    const start = (change: object) => tokenizerOf(change as never).encode('h', { addSpecialTokens: true })[0];
    expect(start({})).not.toBe(258);
    expect(start({ 'tokenizer.ggml.add_bos_token': true })).toBe(258);
    expect(start({ 'tokenizer.ggml.pre': 'llama-bpe' })).toBe(258);
    expect(start({ 'tokenizer.ggml.pre': 'llama-bpe', 'tokenizer.ggml.add_bos_token': false })).not.toBe(258);
  });

  it('cuts numbers as the named pre-tokenizer does', () => {
    for (const pre of ['gpt-2', 'llama-bpe', 'deepseek-v3']) expect(pieces(pre, '123')).toEqual(['123']);
    for (const pre of ['smollm', 'qwen2', 'deepseek-r1-qwen', 'deepseek-llm', 'deepseek-coder'])
      expect(pieces(pre, '123')).toEqual(['1', '2', '3']);
  });

  it.each<[string, Record<string, unknown>, string, RegExp]>([
    ['SentencePiece', { 'tokenizer.ggml.model': 'llama' }, 'unsupported', /model gpt2 .*, got llama/],
    ['an unknown pre-tokenizer', { 'tokenizer.ggml.pre': 'constructor' }, 'unsupported', /got constructor/],
    ['no pre-tokenizer', { 'tokenizer.ggml.pre': undefined }, 'unsupported', /got none/],
    [
      'types of another number',
      { 'tokenizer.ggml.token_type': new Int32Array(5) },
      'invalid-file',
      /one for each token, got 5/,
    ],
    ['types that are none', { 'tokenizer.ggml.token_type': 'x' }, 'invalid-file', /got x/],
    [
      'an unknown type',
      { 'tokenizer.ggml.token_type': Int32Array.from(types, () => 9) },
      'invalid-file',
      /types 1 to 5, got 9/,
    ],
    ['no tokens', { 'tokenizer.ggml.tokens': undefined }, 'invalid-file', /list of strings, got none/],
    ['numbers for tokens', { 'tokenizer.ggml.tokens': new Int32Array(9) }, 'invalid-file', /list of strings/],
    [
      'a token twice',
      { 'tokenizer.ggml.tokens': tokens.map((t) => (t === '12' ? 'he' : t)) },
      'invalid-file',
      /"he" has both ids/,
    ],
    ['merges of absent tokens', { 'tokenizer.ggml.merges': ['h zz'] }, 'invalid-file', /model.merges\[0\]/],
    ['merges that are no pairs', { 'tokenizer.ggml.merges': ['h'] }, 'invalid-file', /model.merges\[0\]/],
    ['no merges', { 'tokenizer.ggml.merges': undefined }, 'invalid-file', /merges to be a list/],
    [
      'a missing byte',
      { 'tokenizer.ggml.tokens': tokens.map((t) => (t === '!' ? 'zzz' : t)) },
      'unsupported',
      /each byte of plain ASCII text/,
    ],
    [
      'a beginning beyond the vocabulary',
      { 'tokenizer.ggml.add_bos_token': true, 'tokenizer.ggml.bos_token_id': 1e6 },
      'invalid-file',
      /bos_token_id below 263/,
    ],
  ])('refuses %s', (_, change, code, message) => {
    let problem: unknown;
    try {
      tokenizerOf(change);
    } catch (error) {
      problem = error;
    }
    expect(MinkeError.isInstance(problem)).toBe(true);
    expect(problem).toMatchObject({ code, message: expect.stringMatching(message) });
  });
});
