import { readFileSync } from 'node:fs';
import { MinkeError } from '@minke/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Tokenizer, trainBpe } from './index.ts';

const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../fixtures/${name}.json`, import.meta.url), 'utf8'));
const deepseekJson = fixture('deepseek-v3').tokenizer;
const deepseek = Tokenizer.fromJson(deepseekJson);
const others = ['gpt2', 'llama3', 'gpt4o', 'qwen2'].map((name) =>
  Tokenizer.fromJson(fixture(name).tokenizer),
);
const flagged = Tokenizer.fromJson(fixture('added-token-flags').tokenizer);
const anyText = fc.string({ unit: 'binary', maxLength: 200 });
const withTags = fc
  .array(fc.oneof(anyText, fc.constantFrom(...deepseek.specialTokens.map((token) => token.content))), {
    maxLength: 8,
  })
  .map((parts) => parts.join(''));

function failure(run: () => unknown): MinkeError {
  try {
    run();
  } catch (error) {
    if (MinkeError.isInstance(error)) return error;
    throw error;
  }
  throw new Error('expected a MinkeError, nothing was thrown');
}

describe('round trips', () => {
  it('gives back any text, whatever its characters and whichever tokens are allowed', () => {
    fc.assert(
      fc.property(withTags, fc.boolean(), (text, allowSpecial) => {
        for (const tokenizer of [deepseek, ...others])
          expect(tokenizer.decode(tokenizer.encode(text, { allowSpecial }))).toBe(text);
      }),
      { numRuns: 300 },
    );
  });

  it('encodes lone surrogates as U+FFFD', () => {
    expect(deepseek.decode(deepseek.encode('a\ud800b\udc00'))).toBe('a\ufffdb\ufffd');
  });

  it('keeps a byte order mark and control characters', () => {
    const text = '\ufeffa\u0000\ufeff';
    expect(deepseek.decode(deepseek.encode(text))).toBe(text);
  });

  it('gives the same ids with a warm cache as with a cold one', () => {
    const texts = fixture('texts') as string[];
    const cold = texts.map((text) => Array.from(Tokenizer.fromJson(deepseekJson).encode(text)));
    for (let round = 0; round < 2; round++)
      expect(texts.map((text) => Array.from(deepseek.encode(text)))).toEqual(cold);
  });
});

describe('control tokens', () => {
  const controls = new Set(deepseek.specialTokens.map((token) => token.id));

  it('never come out of text unless allowed', () => {
    fc.assert(
      fc.property(withTags, (text) => {
        expect(deepseek.encode(text).some((id) => controls.has(id))).toBe(false);
      }),
    );
  });

  it('come out one by one when only some are allowed', () => {
    const ids = Array.from(deepseek.encode('<think>a</think>', { allowSpecial: new Set(['<think>']) }));
    expect(ids[0]).toBe(deepseek.tokenToId('<think>'));
    expect(ids).not.toContain(deepseek.tokenToId('</think>'));
  });

  it('are not read across or inside a plain range', () => {
    const text = '<think><think>';
    const think = deepseek.tokenToId('<think>')!;
    const encode = (plainRanges: [number, number][]) =>
      Array.from(deepseek.encode(text, { allowSpecial: true, plainRanges }));
    expect(encode([])).toEqual([think, think]);
    expect(encode([[3, 4]]).filter((id) => id === think)).toHaveLength(1);
    expect(encode([[0, 14]])).toEqual(Array.from(deepseek.encode(text)));
    expect(failure(() => encode([[0, 15]])).code).toBe('invalid-argument');
  });

  it('cannot be spelled by merges, even in a file whose merges do so', () => {
    const json = structuredClone(deepseekJson);
    const target = json.model.merges.findIndex((pair: string[]) => pair.join('') === 'th');
    expect(target).toBeGreaterThanOrEqual(0);
    json.added_tokens.push({ ...json.added_tokens[0], content: 'th', id: json.model.vocab.th });
    const tokenizer = Tokenizer.fromJson(json);
    expect(Array.from(tokenizer.encode('th'))).not.toContain(json.model.vocab.th);
    expect(Array.from(tokenizer.encode('th', { allowSpecial: true }))).toEqual([json.model.vocab.th]);
  });

  it('are skipped by decode only if special, as the reference does', () => {
    const ids = flagged.encode('<｜begin▁of▁sentence｜><think>a</think>', { allowSpecial: true });
    expect(flagged.decode(ids, { skipSpecial: true })).toBe('<think>a</think>');
    expect(flagged.decode(ids)).toBe('<｜begin▁of▁sentence｜><think>a</think>');
  });
});

describe('the stream decoder', () => {
  it('joins to what decode gives, and shows only whole characters', () => {
    fc.assert(
      fc.property(withTags, (text) => {
        const stream = deepseek.streamDecoder();
        const parts = Array.from(deepseek.encode(text, { allowSpecial: true }), (id) => stream.push(id));
        for (const part of parts)
          expect(part.replaceAll('\ufffd', '')).toBe(
            part.replace(/\p{Surrogate}/gu, '').replaceAll('\ufffd', ''),
          );
        expect(parts.join('') + stream.flush()).toBe(text);
      }),
    );
  });

  it('agrees with decode on arbitrary ids, valid UTF-8 or not', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(deepseek.vocabSize - 1), { maxLength: 60 }), (ids) => {
        const stream = deepseek.streamDecoder();
        expect(ids.map((id) => stream.push(id)).join('') + stream.flush()).toBe(deepseek.decode(ids));
      }),
    );
  });

  it('holds back a character until its last byte and marks a broken one at the flush', () => {
    const bytes = trainBpe([], { vocabSize: 256 });
    const ids = Array.from(bytes.encode('🐋'));
    expect(ids).toHaveLength(4);
    const stream = bytes.streamDecoder();
    expect(ids.map((id) => stream.push(id))).toEqual(['', '', '', '🐋']);
    expect(stream.flush()).toBe('');
    expect(stream.push(ids[0]!) + stream.push(ids[1]!)).toBe('');
    expect(stream.flush()).toBe('\ufffd');
    expect(stream.flush()).toBe('');
  });

  it('adds nothing for an id of a padded embedding row and refuses what is no id', () => {
    expect(deepseek.decode([deepseek.vocabSize + 5])).toBe('');
    expect(failure(() => deepseek.decode([-1])).code).toBe('invalid-argument');
    expect(failure(() => deepseek.decode([0.5])).code).toBe('invalid-argument');
  });
});

describe('adversarial text', () => {
  const size = 200_000;
  const noise = Array.from({ length: size }, (_, i) =>
    String.fromCharCode((Math.imul(i, 2654435761) >>> 16) & 0xffff),
  ).join('');
  const inputs: Record<string, string> = {
    'one letter': 'a'.repeat(size),
    'two letters': 'ab'.repeat(size / 2),
    'white space before a letter': `${' '.repeat(size)}x`,
    newlines: '\n'.repeat(size),
    digits: '1'.repeat(size),
    'opening brackets': '<'.repeat(size),
    'beginnings of a token': '<think'.repeat(size / 6),
    'combining marks': '\u0301'.repeat(size),
    'apostrophes and letters': "'s".repeat(size / 2),
    'random code units': noise,
  };
  it.each(Object.keys(inputs))('of 200,000 characters takes bounded time: %s', (name) => {
    const text = inputs[name]!;
    // A vocabulary that merges long runs, so that every position takes part in many merges.
    const runs = trainBpe([text.slice(0, 4000), 'a'.repeat(4096), ' '.repeat(4096)], {
      vocabSize: 400,
      minFrequency: 1,
    });
    for (const tokenizer of [runs, deepseek, ...others]) {
      const start = process.cpuUsage();
      const ids = tokenizer.encode(text, { allowSpecial: true });
      const { user, system } = process.cpuUsage(start);
      expect(tokenizer.decode(ids)).toBe(text.replace(/\p{Surrogate}/gu, '\ufffd'));
      expect((user + system) / 1e6).toBeLessThan(5);
    }
  });
});

describe('tokenizer.json', () => {
  it('survives writing and reading', () => {
    for (const tokenizer of [deepseek, ...others, flagged]) {
      const again = Tokenizer.parse(JSON.stringify(tokenizer.toJson()));
      expect(again.toJson()).toEqual(tokenizer.toJson());
      expect(again.vocabSize).toBe(tokenizer.vocabSize);
    }
  });

  it('names ids and tokens both ways', () => {
    expect(deepseek.idToToken(deepseek.tokenToId('<think>')!)).toBe('<think>');
    expect(deepseek.tokenToId('no such token')).toBeUndefined();
    expect(deepseek.idToToken(1e6)).toBeUndefined();
    expect(flagged.vocabSize).toBe(Math.max(...flagged.specialTokens.map((token) => token.id)) + 1);
  });

  it('accepts an empty normalizer sequence and NFC', () => {
    const nfc = Tokenizer.fromJson({ ...deepseekJson, normalizer: { type: 'NFC' } });
    expect(nfc.decode(nfc.encode('e\u0301'))).toBe('\u00e9');
    const none = Tokenizer.fromJson({ ...deepseekJson, normalizer: { type: 'Sequence', normalizers: [] } });
    expect(none.decode(none.encode('e\u0301'))).toBe('e\u0301');
  });

  // biome-ignore lint/suspicious/noExplicitAny: edits reach into any part of the file
  const broken: [string, (json: any) => void, string][] = [
    ['model', (j) => delete j.model, 'invalid-file'],
    ['model', (j) => (j.model = []), 'invalid-file'],
    ['model.type', (j) => (j.model.type = 7), 'invalid-file'],
    ['model.type', (j) => (j.model.type = 'Unigram'), 'unsupported'],
    ['model.byte_fallback', (j) => (j.model.byte_fallback = true), 'unsupported'],
    ['model.byte_fallback', (j) => (j.model.byte_fallback = 'no'), 'invalid-file'],
    ['model.dropout', (j) => (j.model.dropout = 0.1), 'unsupported'],
    ['model.dropout', (j) => (j.model.dropout = 'x'), 'invalid-file'],
    ['model.continuing_subword_prefix', (j) => (j.model.continuing_subword_prefix = '##'), 'unsupported'],
    ['model.end_of_word_suffix', (j) => (j.model.end_of_word_suffix = 3), 'invalid-file'],
    ['model.ignore_merges', (j) => (j.model.ignore_merges = 1), 'invalid-file'],
    ['model.vocab', (j) => (j.model.vocab = null), 'invalid-file'],
    ['model.vocab', (j) => (j.model.vocab.a = -1), 'invalid-file'],
    ['model.vocab', (j) => (j.model.vocab.a = 1.5), 'invalid-file'],
    ['model.vocab', (j) => (j.model.vocab.a = 1e9), 'invalid-file'],
    ['model.vocab', (j) => (j.model.vocab.a = '5'), 'invalid-file'],
    ['model.vocab', (j) => (j.model.vocab.a = j.model.vocab.b), 'invalid-file'],
    ['model.vocab', (j) => delete j.model.vocab.Ġ, 'unsupported'],
    ['model.merges', (j) => delete j.model.merges, 'invalid-file'],
    ['model.merges[0]', (j) => (j.model.merges[0] = 'ab'), 'invalid-file'],
    ['model.merges[0]', (j) => (j.model.merges[0] = 'a b c'), 'invalid-file'],
    ['model.merges[0]', (j) => (j.model.merges[0] = ['a']), 'invalid-file'],
    ['model.merges[0]', (j) => (j.model.merges[0] = ['a', 1]), 'invalid-file'],
    ['model.merges[0]', (j) => (j.model.merges[0] = ['a', 'no such']), 'invalid-file'],
    ['model.merges[0]', (j) => (j.model.merges[0] = ['~', '~']), 'invalid-file'],
    ['added_tokens', (j) => (j.added_tokens = {}), 'invalid-file'],
    ['added_tokens[0]', (j) => (j.added_tokens[0] = null), 'invalid-file'],
    ['added_tokens[0].content', (j) => (j.added_tokens[0].content = ''), 'invalid-file'],
    ['added_tokens[0].content', (j) => delete j.added_tokens[0].content, 'invalid-file'],
    [
      'added_tokens[1].content',
      (j) => (j.added_tokens[1].content = j.added_tokens[0].content),
      'invalid-file',
    ],
    ['added_tokens[0].id', (j) => (j.added_tokens[0].id = 1), 'invalid-file'],
    [
      'added_tokens[0].id',
      (j) => (j.added_tokens[0] = { ...j.added_tokens[0], content: '<new>', id: 50 }),
      'invalid-file',
    ],
    ['added_tokens[0].special', (j) => (j.added_tokens[0].special = 'yes'), 'invalid-file'],
    ['normalizer', (j) => (j.normalizer = { type: 'Lowercase' }), 'unsupported'],
    ['normalizer', (j) => (j.normalizer = 'NFC'), 'invalid-file'],
    ['pre_tokenizer', (j) => (j.pre_tokenizer = null), 'invalid-file'],
    ['pre_tokenizer', (j) => (j.pre_tokenizer = { type: 'Metaspace' }), 'unsupported'],
    ['pre_tokenizer', (j) => j.pre_tokenizer.pretokenizers.pop(), 'unsupported'],
    ['pre_tokenizer', (j) => j.pre_tokenizer.pretokenizers.reverse(), 'unsupported'],
    [
      'pre_tokenizer',
      (j) => {
        const [first, ...rest] = j.pre_tokenizer.pretokenizers;
        j.pre_tokenizer.pretokenizers = [...Array(40).fill(first), ...rest];
      },
      'invalid-file',
    ],
    ['pre_tokenizer', (j) => (j.pre_tokenizer.pretokenizers[0].behavior = 'MergedWithNext'), 'unsupported'],
    ['pre_tokenizer', (j) => (j.pre_tokenizer.pretokenizers[0].pattern = {}), 'invalid-file'],
    ['pre_tokenizer', (j) => (j.pre_tokenizer.pretokenizers[0].pattern = { Regex: '(' }), 'invalid-file'],
    ['pre_tokenizer', (j) => (j.pre_tokenizer.pretokenizers[0].pattern = { Regex: '(a+)+b' }), 'unsupported'],
    ['pre_tokenizer', (j) => (j.pre_tokenizer.pretokenizers[0].pattern = { String: '' }), 'invalid-file'],
    ['decoder', (j) => (j.decoder = null), 'invalid-file'],
    ['decoder', (j) => (j.decoder = { type: 'WordPiece' }), 'unsupported'],
    ['post_processor', (j) => (j.post_processor = { type: 'BertProcessing' }), 'unsupported'],
    [
      'post_processor',
      (j) => (j.post_processor = { type: 'TemplateProcessing', single: [] }),
      'invalid-file',
    ],
    [
      'post_processor',
      (j) =>
        (j.post_processor = {
          type: 'TemplateProcessing',
          single: [{ SpecialToken: { id: 'x', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
          special_tokens: { x: { id: 'x', ids: [99999], tokens: ['x'] } },
        }),
      'invalid-file',
    ],
  ];
  it.each(broken.map(([path, edit, code], i) => ({ i, path, edit, code })))(
    'with a bad $path ($i) is refused with a message that names it',
    ({ path, edit, code }) => {
      const json = structuredClone(deepseekJson);
      edit(json);
      const error = failure(() => Tokenizer.fromJson(json));
      expect(error.code).toBe(code);
      expect(error.message).toContain(path);
    },
  );

  it.each([null, 42, 'text', [], true])('that is %j is refused', (json) => {
    expect(failure(() => Tokenizer.fromJson(json)).code).toBe('invalid-file');
  });

  it('never fails with anything but a MinkeError, whatever one field holds', () => {
    const paths = fc.constantFrom(
      'model',
      'added_tokens',
      'normalizer',
      'pre_tokenizer',
      'post_processor',
      'decoder',
    );
    fc.assert(
      fc.property(paths, fc.jsonValue(), (path, value) => {
        try {
          Tokenizer.fromJson({ ...deepseekJson, [path]: value });
        } catch (error) {
          expect(MinkeError.isInstance(error), String(error)).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('that is a Git LFS pointer or cut off is refused as such', () => {
    expect(failure(() => Tokenizer.parse('version https://git-lfs.github.com/spec/v1\n')).message).toContain(
      'LFS',
    );
    expect(failure(() => Tokenizer.parse('{"model": {')).code).toBe('invalid-file');
  });

  it('keeps names of JavaScript object members as ordinary tokens', () => {
    const json = structuredClone(deepseekJson);
    const vocab = JSON.parse(
      JSON.stringify(json.model.vocab).replace(/}$/, ',"__proto__":5000,"constructor":5001}'),
    );
    const tokenizer = Tokenizer.fromJson({ ...json, model: { ...json.model, vocab } });
    expect(tokenizer.tokenToId('__proto__')).toBe(5000);
    expect(Object.hasOwn(tokenizer.toJson().model.vocab, '__proto__')).toBe(true);
    expect(tokenizer.decode([5001])).toBe('constructor');
  });
});
