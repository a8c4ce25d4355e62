/**
 * Structure-aware damage to a tokenizer.json: fields of wrong types and values, missing, twice or in each other's place,
 * patterns and tokens changed a little, text cut short. What comes out must either load and encode as it says, or give a
 * typed error, in bounded time and memory.
 */
import { MinkeError, Random } from '@minke/core';
import { Tokenizer, trainBpe } from '../tokenizer/index.ts';
import { wordsPattern } from '../tokenizer/known-patterns.ts';
import { deepseekPreTokenizer } from '../tokenizer/pre-tokenizer-forms.ts';

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type Tree = { [name: string]: Json };

const split = (pattern: Json, behavior = 'Isolated') => ({ type: 'Split', pattern, behavior, invert: false });
const byteLevel = (use_regex: boolean, add_prefix_space = false) => ({
  type: 'ByteLevel',
  add_prefix_space,
  trim_offsets: true,
  use_regex,
});
const sequence = (...pretokenizers: Json[]) => ({ type: 'Sequence', pretokenizers });

const trained = trainBpe(['low lower lowest new newer newest 12 123 你好', "it's the end, 世界 é"], {
  vocabSize: 300,
  minFrequency: 1,
  specialTokens: ['<bos>', '<eos>', { content: '<think>', special: false }],
}).toJson();
const base = {
  ...(trained as unknown as Tree),
  truncation: null,
  padding: null,
  post_processor: {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<bos>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: { '<bos>': { id: '<bos>', ids: [0], tokens: ['<bos>'] } },
  },
} as Tree;

/** Good files of all the kinds of pre-tokenizer, normalizer and post-processor. */
export const goodFiles: readonly Tree[] = [
  base,
  { ...base, pre_tokenizer: deepseekPreTokenizer('individual') as Tree, normalizer: { type: 'NFC' } },
  { ...base, pre_tokenizer: byteLevel(true), post_processor: null },
  { ...base, pre_tokenizer: byteLevel(true, true), model: { ...(base.model as Tree), ignore_merges: true } },
  { ...base, pre_tokenizer: sequence(split({ Regex: wordsPattern('\\p{N}{1,3}') }), byteLevel(false)) },
  { ...base, pre_tokenizer: sequence({ type: 'Digits', individual_digits: true }, byteLevel(true)) },
  {
    ...base,
    pre_tokenizer: sequence(
      split({ String: ' ' }, 'Removed'),
      split({ Regex: '\\s?\\p{L}+' }),
      byteLevel(false),
    ),
    normalizer: { type: 'Sequence', normalizers: [] },
    decoder: { type: 'Sequence', decoders: [{ type: 'ByteLevel' }] },
  },
];

const goodTexts = goodFiles.map((file) => JSON.stringify(file));

const texts = [
  "It's the lowest, 1234 <think>newer</think> 你好。\r\n\n  é\u0301\u0001 🐋 <bos>x",
  '',
  ' \u{10ffff}\ud800',
];

const fragments = [
  '(',
  ')',
  '[',
  ']',
  '[^',
  '*',
  '+',
  '?',
  '{2}',
  '{1,3}',
  '{3,1}',
  '{,99999}',
  '|',
  '.',
  '\\',
  '\\p',
  '\\p{L}',
  '\\P{Han}',
  '\\p{^N}',
  '\\s',
  '\\S',
  '\\w',
  '(?:',
  '(?i:',
  '(?=',
  '(?!',
  '(?<=',
  '(?>',
  '^',
  '$',
  '\\b',
  '\\1',
  '-',
  '&&',
  '\\x{110000}',
  '\\u00e9',
  '\\d{1000}',
  'a',
  '你',
  '\ud800',
  '\u0000',
  '\n',
];

/** One to three changes, as the random stream says, in a copy of a good file; or its text, cut or with other bytes. */
export function mutate(random: Random): Json | { readonly text: string } {
  const below = (n: number) => Math.floor(random.uniform() * n);
  const one = <T>(list: readonly T[]): T => list[below(list.length)] as T;
  const file = JSON.parse(one(goodTexts)) as Tree;
  for (let changes = 1 + below(3); changes > 0; changes--) change(file, below, one);
  if (random.uniform() > 0.08) return file;
  let text = JSON.stringify(file);
  const at = below(text.length);
  text =
    random.uniform() < 0.4
      ? text.slice(0, at)
      : text.slice(0, at) + one([...'{}[]",:0e-n\\\u0000é']) + text.slice(at + 1);
  return { text };
}

interface Place {
  readonly parent: Json[] | Tree;
  readonly key: string | number;
}

function change(file: Tree, below: (n: number) => number, one: <T>(list: readonly T[]) => T): void {
  const place = placeIn(file, below, one);
  const { parent, key } = place;
  const value = (parent as Tree)[key] as Json;
  const put = (next: Json) => {
    (parent as Tree)[key] = next;
  };
  const kind = below(20);
  if (typeof value === 'string' && kind < 9) put(changedText(value, below, one));
  else if (typeof value === 'number' && kind < 9)
    put(
      one([
        value + 1,
        value - 1,
        -value,
        0,
        1,
        255,
        299,
        300,
        4_194_303,
        4_194_304,
        2 ** 31,
        2 ** 53,
        1e308,
        0.5,
        -1,
      ]),
    );
  else if (typeof value === 'boolean' && kind < 9) put(!value);
  else if (kind < 12)
    put(
      one<Json>([
        null,
        true,
        false,
        0,
        7,
        -1,
        1.5,
        '',
        'x',
        'BPE',
        [],
        {},
        [[]],
        [null],
        { type: 'NFC' },
        { id: 'A' },
      ]),
    );
  else if (kind < 14) Array.isArray(parent) ? parent.splice(key as number, 1) : delete parent[key];
  else if (kind < 16) {
    const other = placeIn(file, below, one);
    // What an object holds twice must not hold itself.
    put(structuredClone((other.parent as Tree)[other.key] as Json));
  } else if (kind < 18 && Array.isArray(parent))
    parent.splice(below(parent.length + 1), 0, structuredClone(value));
  else if (!Array.isArray(parent)) {
    delete parent[key];
    parent[changedText(String(key), below, one)] = value;
  } else put([value]);
}

/** A random place of the tree: every level is as likely to be the last, so that vocabulary and merges do not crowd out the rest. */
function placeIn(file: Tree, below: (n: number) => number, one: <T>(list: readonly T[]) => T): Place {
  let parent: Json[] | Tree = file;
  for (;;) {
    const keys: (string | number)[] = Array.isArray(parent) ? parent.map((_, i) => i) : Object.keys(parent);
    if (keys.length === 0) return { parent: file, key: 'model' };
    const key = one(keys);
    const value = (parent as Tree)[key] as Json;
    if (typeof value !== 'object' || value === null || below(3) === 0) return { parent, key };
    if ((Array.isArray(value) ? value.length : Object.keys(value).length) === 0) return { parent, key };
    parent = value;
  }
}

function changedText(text: string, below: (n: number) => number, one: <T>(list: readonly T[]) => T): string {
  const at = below(text.length + 1);
  const kind = below(8);
  if (kind < 4) return text.slice(0, at) + one(fragments) + text.slice(at + below(2));
  if (kind === 4) return text.slice(0, at) + text.slice(at + 1 + below(3));
  if (kind === 5) return text.slice(at) + text.slice(0, at);
  if (kind === 6)
    return one([
      '__proto__',
      'constructor',
      'Ġ',
      'th',
      '<eos>',
      ' ',
      'Sequence',
      'ByteLevel',
      'Split',
      'Regex',
      'toString',
    ]);
  return text.repeat(1 + below(3)).slice(0, 9000);
}

/** Loads and uses what was damaged. Returns whether it loaded; throws for anything but a typed error or a right load. */
export function loadAndUse(damaged: Json | { readonly text: string }): boolean {
  let tokenizer: Tokenizer;
  try {
    tokenizer = isText(damaged) ? Tokenizer.parse(damaged.text) : Tokenizer.fromJson(damaged);
  } catch (problem) {
    if (MinkeError.isInstance(problem) && ['invalid-file', 'unsupported'].includes(problem.code))
      return false;
    throw problem;
  }
  const written = Tokenizer.fromJson(JSON.parse(JSON.stringify(tokenizer.toJson())));
  const controls = new Set(
    tokenizer.specialTokens.filter(({ content }) => content.length > 1).map(({ id }) => id),
  );
  for (const text of texts)
    for (const allowSpecial of [false, true]) {
      const options = { allowSpecial, addSpecialTokens: allowSpecial };
      const ids = tokenizer.encode(text, options);
      ids.forEach((id) => {
        if (tokenizer.idToToken(id) === undefined) throw new Error(`id ${id} of no token`);
        if (!allowSpecial && controls.has(id) && tokenizer.idToToken(id)?.trim() !== '')
          throw new Error(`control token ${tokenizer.idToToken(id)} out of text`);
      });
      if (typeof tokenizer.decode(ids) !== 'string') throw new Error('decoded to no text');
      const again = written.encode(text, options);
      if (again.length !== ids.length || again.some((id, i) => id !== ids[i]))
        throw new Error('other ids after writing and reading');
    }
  return true;
}

function isText(damaged: Json | { readonly text: string }): damaged is { readonly text: string } {
  return typeof damaged === 'object' && damaged !== null && 'text' in damaged && !('model' in damaged);
}

/** Runs so many mutations; returns how many loaded and the longest in seconds. A failure names the seed that repeats it. */
export function runMutations(
  count: number,
  seed: number,
): { readonly good: number; readonly slowest: number } {
  let good = 0;
  let slowest = 0;
  for (let i = 0; i < count; i++) {
    const damaged = mutate(new Random(seed + i));
    const start = performance.now();
    try {
      if (loadAndUse(damaged)) good++;
    } catch (problem) {
      throw new Error(`mutation with seed ${seed + i}: ${(problem as Error).message}`, { cause: problem });
    }
    // Other programs may have had the processor meanwhile: what seems slow is done again and its own time taken.
    const seconds = (performance.now() - start) / 1000;
    slowest = Math.max(slowest, seconds > 0.2 ? processorSeconds(damaged) : seconds);
  }
  return { good, slowest };
}

function processorSeconds(damaged: Json | { readonly text: string }): number {
  const start = process.cpuUsage();
  loadAndUse(damaged);
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1e6;
}
