/**
 * Bad configurations, tokenizers and chat templates, as `loadLanguageModel` and `encodeChat` meet them: each is refused
 * in words, soon; and text in a message never becomes a control token.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ErrorCode } from '@minke/core';
import { type ChatMessage, encodeChat } from '@minke/tokenizer-merging/chat';
import { describe, expect, it } from 'vitest';
import { loadLanguageModel } from '../language-model.ts';
import { loadTextFormat } from '../load-text-format.ts';
import {
  expectLoadRefused,
  expectRefused,
  fileOf,
  folderWith,
  goodFolder,
  useGoodFolder,
} from '../testing/bad-models.ts';
import { ggufWith } from '../testing/gguf-model.ts';

useGoodFolder();

type Json = Record<string, unknown>;
const jsonOf = (name: string) => JSON.parse(readFileSync(join(goodFolder, name), 'utf8')) as Json;
/** config.json with this text for a field's value. */
const configWith = (field: string, text: string) =>
  folderWith({
    'config.json': JSON.stringify({ ...jsonOf('config.json'), [field]: '@' }).replace('"@"', text),
  });

describe('a config.json', () => {
  it.each<[string, () => string, RegExp, ErrorCode?]>([
    ['that is missing', () => folderWith({ 'config.json': null }), /no such file/, 'invalid-file'],
    ['that is no JSON', () => folderWith({ 'config.json': '{"model_type": ' }), /JSON/, 'invalid-file'],
    ['that is a list', () => folderWith({ 'config.json': '[]' }), /JSON object/, 'invalid-file'],
    [
      'that is no text',
      () => folderWith({ 'config.json': Uint8Array.of(0x7b, 0xff) }),
      /UTF-8/,
      'invalid-file',
    ],
    [
      'of 50 MB',
      () => configWith('note', `"${'x'.repeat(50_000_000)}"`),
      /at most 16777216 bytes/,
      'invalid-file',
    ],
    [
      'without fields',
      () => folderWith({ 'config.json': '{"model_type":"deepseek_v3"}' }),
      /vocab_size a number, got nothing; hidden_size/,
    ],
    [
      'of another model',
      () => configWith('model_type', '"gemma"'),
      /expected model_type deepseek_v2,.*got "gemma"/,
    ],
    [
      'whose type is nested',
      () => configWith('model_type', `${'['.repeat(5e4)}${']'.repeat(5e4)}`),
      /expected model_type .*got a value that nests/,
    ],
    ['with 1e309', () => configWith('rope_theta', '1e309'), /ropeTheta a number above 0.*got Infinity/],
    ['with a size of 1e309', () => configWith('hidden_size', '1e309'), /hiddenSize an integer/],
    [
      'with text for a number',
      () => configWith('num_hidden_layers', '"2"'),
      /num_hidden_layers a number, got "2"/,
    ],
    ['with a list for a number', () => configWith('kv_lora_rank', '[1]'), /kv_lora_rank a number, got \[1\]/],
    ['with null for a size', () => configWith('hidden_size', 'null'), /hidden_size a number, got null/],
    ['with a fraction', () => configWith('num_attention_heads', '2.5'), /numHeads an integer/],
    ['with a negative size', () => configWith('vocab_size', '-5'), /vocabSize an integer from 1/],
    [
      'with a billion layers',
      () => configWith('num_hidden_layers', '1e9'),
      /numLayers an integer from 1 to 1024/,
    ],
    [
      'with more experts used than there are',
      () => configWith('num_experts_per_tok', '99'),
      /moe.topK at most/,
    ],
    ['with groups that do not divide', () => configWith('n_group', '3'), /groups dividing 4 experts, got 3/],
    ['with an unknown activation', () => configWith('hidden_act', '"gelu"'), /hidden_act "silu", got "gelu"/],
    [
      'with an unknown rotary scaling',
      () => configWith('rope_scaling', '{"type":"ntk","factor":2}'),
      /rope_type default or yarn/,
    ],
    [
      'of weights quantised in a way that is not read',
      () => configWith('quantization_config', '{"quant_method":"awq"}'),
      /DeepSeek's FP8 .*got "awq"/,
      'unsupported',
    ],
    [
      'of another width than the weights',
      () => configWith('hidden_size', '26'),
      /instead of \[.*26/,
      'invalid-file',
    ],
    [
      'with an end that is nested',
      () => configWith('eos_token_id', `${'['.repeat(2e4)}${']'.repeat(2e4)}`),
      /eosTokenIds .*got a value that nests/,
    ],
  ])('%s is refused', async (_, make, message, code = 'invalid-config') => {
    await expectLoadRefused(make(), code, message);
  });
});

it('files beside it that are no JSON, of the wrong kind or too large are refused by their names', async () => {
  const spaces = ' '.repeat((1 << 27) + 1);
  for (const [name, text, message] of [
    ['tokenizer_config.json', '{', /tokenizer_config.json: expected JSON/],
    ['tokenizer_config.json', '{"chat_template": 5}', /chat_template to be a string/],
    ['generation_config.json', '[]', /generation_config.json: expected a JSON object/],
    ['generation_config.json', '{"eos_token_id": 1e9}', /eos_token_id below \d+/],
    ['generation_config.json', '{"eos_token_id": 1, "temperature": "hot"}', /generation_config.json/],
    ['tokenizer.json', '', /tokenizer/],
    ['tokenizer.json', spaces, /at most 134217728 bytes/],
  ] as const)
    await expectLoadRefused(folderWith({ [name]: text }), 'invalid-file', message);
});

describe('a chat template', () => {
  const user: ChatMessage[] = [{ role: 'user', content: 'Hi' }];
  const folderOf = (chat_template: string) =>
    folderWith({
      'tokenizer_config.json': JSON.stringify({ ...jsonOf('tokenizer_config.json'), chat_template }),
    });

  it.each<[string, string, ErrorCode, RegExp]>([
    [
      'loops for ever',
      '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}',
      'out-of-memory',
      /stay within/,
    ],
    [
      'asks for a huge range',
      '{% for i in range(1000000000) %}x{% endfor %}',
      'out-of-memory',
      /lists of 100000/,
    ],
    [
      'calls itself',
      '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}',
      'invalid-argument',
      /refused the messages/,
    ],
    [
      'doubles a string',
      "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
      'out-of-memory',
      /strings/,
    ],
    ['calls what is not there', '{{ nothing() }}', 'invalid-argument', /chat template/],
    [
      'raises an exception',
      "{{ raise_exception('only users, please') }}",
      'invalid-argument',
      /only users, please/,
    ],
  ])('that %s fails for the conversation, in words', async (_, source, code, message) => {
    const folder = folderOf(source);
    const { template } = await loadTextFormat(folder);
    await expectRefused(() => template.render(user), code, message);
    // The same out of a GGUF file.
    const path = fileOf('model.gguf', await ggufWith({ values: { 'tokenizer.chat_template': source } }));
    const format = await loadTextFormat(path);
    await expectRefused(() => format.template.render(user), code, message);
  });

  it('that only prints what is not there renders as empty', async () => {
    expect(
      (await loadTextFormat(folderOf('[{{ nothing }}{{ nothing.of.this }}]'))).template.render(user),
    ).toBe('[]');
  });

  it.each([
    ['is no Jinja', '{% for %}', /valid Jinja/],
    ['is too long', 'x'.repeat(300_000), /at most 262144 characters/],
    ['nests too deeply', `{{ ${'('.repeat(60_000)}1${')'.repeat(60_000)} }}`, /valid Jinja|stack/],
  ])('that %s is refused with the folder', async (_, source, message) => {
    await expectLoadRefused(folderOf(source), 'invalid-file', message);
    const bytes = await ggufWith({ values: { 'tokenizer.chat_template': source } });
    await expectLoadRefused(fileOf('model.gguf', bytes), 'invalid-file', message);
  });
});

describe('a pre-tokenizer', () => {
  it.each(['(a+)+$', '(a|aa)*b', '(?:a?){30,}', '([a-z]+)*\\d', '(x+x+)+y'])(
    'whose pattern %s can take exponential time is refused',
    async (Regex) => {
      const split = { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false };
      const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
      const pre_tokenizer = { type: 'Sequence', pretokenizers: [split, byteLevel] };
      const text = JSON.stringify({ ...jsonOf('tokenizer.json'), pre_tokenizer });
      await expectLoadRefused(folderWith({ 'tokenizer.json': text }), 'unsupported', /pattern|Regex/);
    },
  );
});

describe('the text of a control token in a message', () => {
  it.each(['a folder', 'a GGUF file'])('does not become one, with the model from %s', async (from) => {
    const path = from === 'a folder' ? goodFolder : fileOf('model.gguf', await ggufWith({}));
    const { tokenizer, template } = await loadTextFormat(path);
    const specials = tokenizer.toJson().added_tokens.filter(({ special }) => special);
    expect(specials.length).toBeGreaterThan(0);
    const count = (content: string) =>
      encodeChat(tokenizer, template, [{ role: 'user', content }]).ids.filter((id) =>
        specials.some((token) => token.id === id),
      ).length;
    const plain = count('hello');
    for (const { content } of specials)
      expect(count(`a ${content} b ${content}${content}`), content).toBe(plain);
  });
});

it('the good folder itself is read', async () => {
  const { createReference } = await import('@minke/gpu-backends/reference');
  const backend = createReference();
  expect((await loadLanguageModel(goodFolder, { backend })).stopTokenIds.length).toBe(1);
});
