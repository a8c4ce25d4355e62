/** Bad GGUF files, as `loadLanguageModel` and `loadModel` meet them: each kind is refused in words, or read right. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ErrorCode } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { loadModel } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import {
  expectLoadRefused,
  expectLoads,
  expectRefused,
  fileOf,
  useGoodFolder,
} from '../testing/bad-models.ts';
import { deepseekPath, type GgufChanges, ggufWith, tinyBytes } from '../testing/gguf-model.ts';

useGoodFolder();

type Case = [what: string, make: () => Uint8Array | Promise<Uint8Array>, message: RegExp, code?: ErrorCode];

/** The fixture with a number of its header replaced: counts stand at bytes 8 and 16, the first key's length at 24. */
const withNumber =
  (at: number, value: bigint, bytes = 8) =>
  () => {
    const file = tinyBytes();
    for (let i = 0; i < bytes; i++) file[at + i] = Number((value >> BigInt(8 * i)) & 255n);
    return file;
  };
const with_ = (changes: GgufChanges) => () => ggufWith(changes);
const value = (key: string, value: unknown) => with_({ values: { [key]: value } });
const tensor = (change: NonNullable<GgufChanges['tensors']>[string]) =>
  with_({ tensors: { 'output_norm.weight': change } });
const minusOne = 2n ** 64n - 1n;

const kinds: Record<string, Case[]> = {
  // The hand-made corruptions of llama.cpp, tests/test-gguf.cpp.
  'a header that is none': [
    ['other magic', withNumber(0, 0x55474746n, 4), /expected a GGUF file/],
    ['version 0', withNumber(4, 0n, 4), /version 2 or 3, got 0/, 'unsupported'],
    ['version 1', withNumber(4, 1n, 4), /version 2 or 3, got 1/, 'unsupported'],
    ['a future version', withNumber(4, 4n, 4), /version 2 or 3, got 4/, 'unsupported'],
    ['-1 tensors', withNumber(8, minusOne), /promises 18446744073709551615 tensors/],
    ['-1 values', withNumber(16, minusOne), /promises 18446744073709551615 metadata values/],
    ['a key of length -1', withNumber(24, minusOne), /a metadata key of at most 65535 bytes/],
    [
      'a name too long',
      with_({ tensors: { ['x'.repeat(2000)]: { type: 0, sizes: [1], data: new Uint8Array(4) } } }),
      /name of a tensor of at most 1024/,
    ],
    ['an unknown value type', value('x', { type: 13, value: 'x' }), /value type 13/],
    ['five dimensions', tensor({ sizes: [32, 1, 1, 1, 1] }), /at most 4 dimensions, got 5/],
    ['a product beyond 2^63', tensor({ sizes: [2n ** 32n, 2n ** 32n] }), /more than 2\^53 elements/],
    ['a negative size', tensor({ sizes: [minusOne] }), /more than 2\^53 elements/],
    ['bytes beyond 2^53', tensor({ sizes: [2n ** 52n] }), /beyond 2\^53 bytes/],
    ['an offset off the alignment', tensor({ offset: 8 }), /expected its data at offset/],
    ['an offset that wraps', tensor({ offset: 2n ** 63n }), /beyond 2\^53 bytes/],
    ['data too short', () => tinyBytes().subarray(0, -64), /ends at byte .*cut short/],
  ],
  'a file in another byte order': [
    ['its version alone', withNumber(4, 0x0300_0000n, 4), /big-endian/, 'unsupported'],
    [
      'all of it',
      () => {
        const file = tinyBytes();
        for (const [at, size] of [
          [4, 4],
          [8, 8],
          [16, 8],
          [24, 8],
        ] as const)
          file.subarray(at, at + size).reverse();
        return file;
      },
      /big-endian/,
      'unsupported',
    ],
  ],
  'an array that cannot be': [
    ['2^63 strings', () => lengthOfTokens(2n ** 63n), /promises 9223372036854775808 items/],
    ['more strings than bytes', () => lengthOfTokens(2n ** 24n), /promises 16777216 items/],
    ['arrays of arrays', value('x', { type: 9, items: 9, values: [] }), /an array of arrays/, 'unsupported'],
  ],
  'an alignment that is none': [
    ['0', value('general.alignment', 0), /power of two .* got 0/],
    ['13', value('general.alignment', 13), /power of two .* got 13/],
    ['in text', value('general.alignment', '32'), /got 32/],
    ['another than the data have', value('general.alignment', 64), /expected its data at offset/],
  ],
  'a tensor type that is not read': [
    ['unknown', tensor({ type: 99 }), /its type is 99/, 'unsupported'],
    ['retired', tensor({ type: 31 }), /Q4_0_4_4 \(31\), which is retired/, 'unsupported'],
    [
      'without a decoder',
      tensor({ type: 35, sizes: [256], data: new Uint8Array(66) }),
      /norm.weight is \[256\] instead of \[32\]/,
    ],
    ['blocks that a row does not fill', tensor({ type: 8, sizes: [33] }), /whole blocks of 32/],
  ],
  'a tokenizer that does not fit together': [
    [
      'types for some tokens',
      value('tokenizer.ggml.token_type', new Int32Array(5)),
      /one for each token, got 5/,
    ],
    ['merges of absent tokens', value('tokenizer.ggml.merges', ['h zz']), /model.merges\[0\]/],
    [
      'a token of a byte below 0',
      value(
        'tokenizer.ggml.token_type',
        Int32Array.from({ length: 261 }, () => 6),
      ),
      /types 1 to 5, got 6/,
    ],
    [
      'an end beyond the vocabulary',
      value('tokenizer.ggml.eos_token_id', 261),
      /eos_token_id to be a token, got 261/,
    ],
    [
      'a beginning beyond the vocabulary',
      value('tokenizer.ggml.bos_token_id', 4_000_000_000),
      /bos_token_id to be a token/,
    ],
    ['a negative end', value('tokenizer.ggml.eos_token_id', { type: 5, value: -1 }), /to be a token, got -1/],
    ['SentencePiece', value('tokenizer.ggml.model', 'llama'), /got llama/, 'unsupported'],
    [
      'more tokens than rows',
      value(
        'tokenizer.ggml.tokens',
        Array.from({ length: 300 }, (_, i) => `t${i}`),
      ),
      /one for each token, got 261/,
    ],
  ],
};

/** The fixture with another number of tokens. */
function lengthOfTokens(count: bigint): Uint8Array {
  const file = tinyBytes();
  const at = Buffer.from(file.buffer).indexOf('tokenizer.ggml.tokens') + 'tokenizer.ggml.tokens'.length + 8;
  new DataView(file.buffer).setBigUint64(at, count, true);
  return file;
}

it('the fixture itself, put together again, is read', async () => {
  await expectLoads(fileOf('good.gguf', await ggufWith({})));
  await expectLoads(fileOf('version-2.gguf', await ggufWith({ version: 2 })));
  // A token may look like a byte's without being one.
  const odd = await ggufWith({ values: { 'tokenizer.ggml.merges': ['h e'], 'general.note': '<0x-1>' } });
  await expectLoads(fileOf('odd.gguf', odd));
});

describe.each(Object.entries(kinds))('%s', (_, cases) => {
  it.each(cases)('is refused: %s', async (_, make, message, code = 'invalid-file') => {
    await expectLoadRefused(fileOf('bad.gguf', await make()), code, message);
  });
});

describe('a split file', () => {
  const part = (no: number, change: Record<string, unknown> = {}) =>
    ggufWith({ values: { 'split.no': no, 'split.count': 2, ...change }, ...(no === 1 && { tensors: {} }) });
  it('with a missing or misordered part is refused', async () => {
    const first = fileOf('m-00001-of-00002.gguf', await part(0));
    await expectLoadRefused(first, 'invalid-file', /m-00002-of-00002.gguf is missing/);
    const second = join(dirname(first), 'm-00002-of-00002.gguf');
    writeFileSync(second, await part(0));
    await expectLoadRefused(first, 'invalid-file', /expected split.no 1, got 0/);
    writeFileSync(second, await part(1));
    await expectLoadRefused(first, 'invalid-file', /tensor .* is also in/);
    await expectLoadRefused(second, 'invalid-file', /open the one with 00001/);
    await expectLoadRefused(fileOf('other.gguf', await part(0)), 'invalid-file', /to be called <name>-00001/);
  });
});

describe('hyperparameters that no model has', () => {
  const llama = (key: string, value: unknown, message: RegExp) => [`llama.${key}`, value, message] as const;
  it.each([
    llama('attention.head_count_kv', 3, /numKeyValueHeads dividing 4 heads, got 3/),
    llama('attention.head_count', 0, /numHeads an integer from 1/),
    llama('attention.head_count', 5, /headDim an integer/),
    llama('block_count', 1e9, /numLayers an integer from 1 to 1024, got 1000000000/),
    llama('block_count', 2n ** 63n, /a number, got "9223372036854775808"/),
    llama('rope.dimension_count', 7, /rope.dimension_count 8, got 7/),
    llama('embedding_length', 0, /hiddenSize an integer from 1/),
    llama('attention.layer_norm_rms_epsilon', { type: 6, value: Number.NaN }, /normEps a number above 0/),
    llama('rope.freq_base', { type: 6, value: Number.POSITIVE_INFINITY }, /ropeTheta a number above 0/),
    llama('context_length', 2 ** 32 - 1, /maxPositions an integer from 1/),
  ])('%s: %s', async (key, given, message) => {
    await expectLoadRefused(fileOf('bad.gguf', await value(key, given)()), 'invalid-config', message);
  });

  it.each<[string, unknown, RegExp]>([
    ['expert_used_count', 9, /moe.topK at most 8/],
    ['expert_count', 1e9, /moe.experts an integer/],
    ['expert_count', 6, /ffn_gate_inp|gate.weight is \[8, 48\] instead of \[6, 48\]/],
    ['expert_count', 0, /mlp.gate_proj.weight is missing/],
    ['expert_group_count', 3, /groups dividing 8 experts, got 3/],
    ['attention.kv_lora_rank', 0, /kvLoraRank an integer from 1/],
    ['rope.dimension_count', 7, /qkRopeHeadDim even, got 7/],
    ['rope.dimension_count', 24, /qkNopeHeadDim an integer from 1/],
    ['block_count', 1000, /layers.3.*is missing.*and \d+ more/],
  ])('deepseek2.%s: %s', async (key, given, message) => {
    const bytes = await ggufWith({ values: { [`deepseek2.${key}`]: given } }, deepseekPath('v3-base'));
    await expectModelRefused(bytes, message);
  });
});

async function expectModelRefused(bytes: Uint8Array, message: RegExp): Promise<void> {
  const backend = createReference();
  const load = () => loadModel(fileOf('bad.gguf', bytes), { backend });
  const code = /missing|instead/.test(message.source) ? 'invalid-file' : 'invalid-config';
  await expectRefused(load, code, message);
  expect(backend.memoryUse().bytes).toBe(0);
  backend.dispose();
}

describe('latent projections', () => {
  const weights = async (bytes: Uint8Array) => {
    const model = await loadModel(fileOf('model.gguf', bytes), { backend: createReference() });
    return [...model.parameters().get('model.layers.0.self_attn.kv_b_proj.weight')!.readSync()];
  };

  it('fused, split, or both are read, the fused one first', async () => {
    const fused = await weights(await ggufWith({}, deepseekPath('v2-lite-fused')));
    expect(new Set(fused).size).toBeGreaterThan(100);
    const split = await weights(await ggufWith({}, deepseekPath('v3-base')));
    const data = new Uint8Array(new Float32Array(split.length).fill(0.5).buffer);
    const both = { 'blk.0.attn_kv_b.weight': { type: 0, sizes: [24, split.length / 24], data } };
    expect(new Set(await weights(await ggufWith({ tensors: both }, deepseekPath('v3-base'))))).toEqual(
      new Set([0.5]),
    );
  });

  it('that are missing in part or whole are named', async () => {
    for (const [from, names] of [
      ['v3-base', ['blk.0.attn_k_b.weight']],
      ['v3-base', ['blk.0.attn_k_b.weight', 'blk.0.attn_v_b.weight']],
      ['v2-lite-fused', ['blk.0.attn_kv_b.weight']],
    ] as const) {
      const tensors = Object.fromEntries(names.map((name) => [name, undefined]));
      const bytes = await ggufWith({ tensors }, deepseekPath(from));
      await expectModelRefused(bytes, /layers.0.self_attn.kv_b_proj.weight is missing/);
    }
  });
});
