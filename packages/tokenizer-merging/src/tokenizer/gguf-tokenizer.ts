/**
 * The tokenizer inside a GGUF file, as a `tokenizer.json`: byte-level BPE (`tokenizer.ggml.model` gpt2).
 *
 * GGUF names its pre-tokenizer (`tokenizer.ggml.pre`) instead of holding it; the patterns here are those of the
 * published `tokenizer.json` that each name stands for (llama.cpp, src/llama-vocab.cpp, has the same as regular
 * expressions). Token types: 1 is an ordinary token, 2 to 4 are added tokens, of which 4 is ordinary text kept
 * whole; 5 fills the embedding up and is left out. Vocabularies of SentencePiece (`llama`) are refused.
 */
import { MinkeError } from '@minke/core';
import { wordsPattern } from './known-patterns.ts';
import { deepseekPreTokenizer } from './pre-tokenizer-forms.ts';
import { Tokenizer } from './tokenizer.ts';
import { type AddedTokenJson, byteLevelDecoder } from './write-tokenizer-json.ts';

const split = (regex: string) => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Isolated',
  invert: false,
});
const byteLevel = (useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const sequence = (...pretokenizers: object[]) => ({ type: 'Sequence', pretokenizers });
const singleDigits = { type: 'Digits', individual_digits: true };

interface Form {
  readonly preTokenizer: object;
  readonly normalizer?: object;
  readonly ignoreMerges?: boolean;
  /** Whether a beginning of sequence is added where the file says nothing. */
  readonly addBos?: boolean;
}

const gpt2: Form = { preTokenizer: byteLevel(true) };
const smollm: Form = { preTokenizer: sequence(singleDigits, byteLevel(true)) };
const llama3: Form = {
  preTokenizer: sequence(split(wordsPattern('\\p{N}{1,3}')), byteLevel(false)),
  ignoreMerges: true,
  addBos: true,
};
const qwen2: Form = {
  preTokenizer: sequence(split(wordsPattern('\\p{N}')), byteLevel(false)),
  normalizer: { type: 'NFC' },
};
const deepseek3: Form = { preTokenizer: deepseekPreTokenizer('groups-of-3') };

/** DeepSeek LLM and V2: ends of lines, letters that have case, signs of three blocks, Han and Hangul, digits. */
const deepseekLlm: Form = {
  preTokenizer: sequence(
    split('[\\r\\n]'),
    split('\\s?[\\p{Lu}\\p{Ll}\\p{Lt}]+'),
    split('\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+'),
    split('\\s+$'),
    split('[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+'),
    singleDigits,
    byteLevel(false),
  ),
};
const deepseekCoder: Form = {
  preTokenizer: sequence(
    split('[\\r\\n]'),
    split('\\s?\\p{L}+'),
    split('\\s?\\p{P}+'),
    split('[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+'),
    singleDigits,
    byteLevel(false),
  ),
};

/** By `tokenizer.ggml.pre`. */
const forms: Readonly<Record<string, Form>> = {
  'gpt-2': gpt2,
  smollm,
  'llama-bpe': llama3,
  'llama-v3': llama3,
  llama3,
  qwen2,
  'deepseek-r1-qwen': qwen2,
  'deepseek-v3': deepseek3,
  'deepseek-llm': deepseekLlm,
  'deepseek-coder': deepseekCoder,
};

/** Longest template or token text looked at, and most tokens. */
const maxTokens = 1 << 22;

/**
 * A tokenizer from a GGUF file's metadata.
 *
 * @param values `openGguf(path).values` of `@minke/checkpoints`, or any map with its `tokenizer.ggml.*` keys.
 * @throws MinkeError 'unsupported' for other kinds of tokenizer and pre-tokenizers that have no pattern here;
 * 'invalid-file' for arrays that do not fit together, tokens twice, and merges of unknown tokens.
 * @example
 * const tokenizer = ggufTokenizer(file.values);
 * tokenizer.decode(tokenizer.encode('Hello')); // 'Hello'
 */
export function ggufTokenizer(values: ReadonlyMap<string, unknown>): Tokenizer {
  const model = values.get('tokenizer.ggml.model');
  if (model !== 'gpt2')
    throw unsupported(`expected tokenizer.ggml.model gpt2 (byte-level BPE), got ${shown(model)}`);
  const form = formOf(values.get('tokenizer.ggml.pre'));
  const tokens = strings(values, 'tokenizer.ggml.tokens');
  const types = tokenTypes(values, tokens.length);
  const vocab = new Map<string, number>();
  const added: AddedTokenJson[] = [];
  tokens.forEach((token, id) => {
    const type = types[id] as number;
    if (type === 5) return;
    if (type === 1) {
      const other = vocab.get(token);
      if (other !== undefined) throw broken(`token ${JSON.stringify(token)} has both ids ${other} and ${id}`);
      vocab.set(token, id);
    } else if (type >= 2 && type <= 4) added.push(addedToken(id, token, type !== 4));
    else throw broken(`expected token types 1 to 5, got ${type} for id ${id}`);
  });
  const bos = values.get('tokenizer.ggml.bos_token_id');
  const addsBos = (values.get('tokenizer.ggml.add_bos_token') ?? form.addBos) === true;
  return Tokenizer.fromJson({
    version: '1.0',
    added_tokens: added,
    normalizer: form.normalizer ?? null,
    pre_tokenizer: form.preTokenizer,
    post_processor: addsBos ? beginning(bos, tokens) : null,
    decoder: byteLevelDecoder,
    model: {
      type: 'BPE',
      ignore_merges: form.ignoreMerges ?? false,
      vocab: Object.assign(Object.create(null), Object.fromEntries(vocab)),
      merges: strings(values, 'tokenizer.ggml.merges'),
    },
  });
}

const unsupported = (problem: string) => new MinkeError('unsupported', `ggufTokenizer: ${problem}`);
const broken = (problem: string) => new MinkeError('invalid-file', `ggufTokenizer: ${problem}`);
const shown = (value: unknown) =>
  value === undefined ? 'none' : typeof value === 'object' ? 'a list' : String(value).slice(0, 60);

function formOf(pre: unknown): Form {
  const form = typeof pre === 'string' && Object.hasOwn(forms, pre) ? forms[pre] : undefined;
  if (form === undefined)
    throw unsupported(
      `expected tokenizer.ggml.pre among ${Object.keys(forms).join(', ')}, got ${shown(pre)}; use the model's tokenizer.json`,
    );
  return form;
}

function strings(values: ReadonlyMap<string, unknown>, key: string): readonly string[] {
  const list = values.get(key);
  if (!Array.isArray(list) || list.length === 0 || typeof list[0] !== 'string')
    throw broken(`expected ${key} to be a list of strings, got ${shown(list)}`);
  if (list.length >= maxTokens)
    throw broken(`expected ${key} below ${maxTokens} entries, got ${list.length}`);
  return list as readonly string[];
}

function tokenTypes(values: ReadonlyMap<string, unknown>, count: number): ArrayLike<number> {
  const key = 'tokenizer.ggml.token_type';
  const types = values.get(key) ?? new Int32Array(count).fill(1);
  const good = types instanceof Int32Array || types instanceof Uint32Array;
  if (!good || types.length !== count)
    throw broken(
      `expected ${key} to be ${count} integers, one for each token, got ${good ? types.length : shown(types)}`,
    );
  return types;
}

function addedToken(id: number, content: string, special: boolean): AddedTokenJson {
  return { id, content, special, single_word: false, lstrip: false, rstrip: false, normalized: false };
}

/** A post-processor that puts the beginning of sequence before a text. */
function beginning(bos: unknown, tokens: readonly string[]): object {
  const token = typeof bos === 'number' ? tokens[bos] : undefined;
  if (token === undefined)
    throw broken(`expected tokenizer.ggml.bos_token_id below ${tokens.length}, got ${shown(bos)}`);
  return {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: { [token]: { id: token, ids: [bos], tokens: [token] } },
  };
}
