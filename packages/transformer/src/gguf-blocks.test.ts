// GGUF files of blocks: taken as they are where blocks are asked for, rows of heads in our order.

import { openGguf } from '@minke/checkpoints';
import { buildGguf, type TestTensor, type TestValue } from '@minke/checkpoints/testing';
import { memorySource, quantizeBlocks } from '@minke/core';
import { Arena, linear } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { configFromGguf } from './gguf-config.ts';
import { ggufWeights } from './gguf-weights.ts';
import { loadModel } from './load.ts';
import { fastBackend as backend, distance } from './testing/fixtures.ts';

const [D, F, V, heads, keyHeads, width] = [64, 96, 40, 4, 2, 16];
const u32 = (value: number): TestValue => ({ type: 4, value });
const f32 = (value: number): TestValue => ({ type: 6, value });
const values: [string, TestValue][] = [
  ['general.architecture', { type: 8, value: 'llama' }],
  ['llama.block_count', u32(1)],
  ['llama.context_length', u32(64)],
  ['llama.embedding_length', u32(D)],
  ['llama.feed_forward_length', u32(F)],
  ['llama.attention.head_count', u32(heads)],
  ['llama.attention.head_count_kv', u32(keyHeads)],
  ['llama.attention.layer_norm_rms_epsilon', f32(1e-5)],
  ['llama.rope.freq_base', f32(10000)],
  ['llama.rope.dimension_count', u32(width)],
  ['llama.vocab_size', u32(V)],
  ['tokenizer.ggml.bos_token_id', u32(0)],
  ['tokenizer.ggml.eos_token_id', u32(1)],
];

/** Blocks whose scales `quantize` would not choose: no integer is as large as it can be. */
function blocksOf(type: 'Q8_0' | 'Q4_0', count: number, salt: number): Uint8Array {
  const bytes = quantizeBlocks(
    type,
    Float32Array.from({ length: count }, (_, i) => Math.sin(i * i + salt) / 8),
  );
  const size = type === 'Q8_0' ? 34 : 18;
  for (let at = 0; at < bytes.length; at += size)
    for (let i = 2; i < size; i++)
      bytes[at + i] =
        type === 'Q8_0'
          ? ((bytes[at + i]! << 24) >> 25) & 255
          : (bytes[at + i]! & 0x77) | ((bytes[at + i]! & 0x88) >> 1);
  return bytes;
}

function fileOf(type: 'Q8_0' | 'Q4_0', tied = false): Uint8Array {
  const number = type === 'Q8_0' ? 8 : 2;
  let salt = 0;
  const matrix = (name: string, rows: number, columns: number): TestTensor => ({
    name: `${name}.weight`,
    type: number,
    sizes: [columns, rows],
    data: blocksOf(type, rows * columns, ++salt),
  });
  const norm = (name: string): TestTensor => ({
    name: `${name}.weight`,
    type: 0,
    sizes: [D],
    data: new Uint8Array(new Float32Array(D).fill(1).buffer),
  });
  const tensors = [
    matrix('token_embd', V, D),
    norm('output_norm'),
    ...(tied ? [] : [matrix('output', V, D)]),
    norm('blk.0.attn_norm'),
    norm('blk.0.ffn_norm'),
    matrix('blk.0.attn_q', heads * width, D),
    matrix('blk.0.attn_k', keyHeads * width, D),
    matrix('blk.0.attn_v', keyHeads * width, D),
    matrix('blk.0.attn_output', D, heads * width),
    matrix('blk.0.ffn_gate', F, D),
    matrix('blk.0.ffn_up', F, D),
    matrix('blk.0.ffn_down', D, F),
  ];
  return buildGguf({ values, tensors }).bytes;
}

describe.each([
  ['Q8_0', 'q8_0'],
  ['Q4_0', 'q4_0'],
] as const)('a file of %s', (type, quantize) => {
  const open = async (ask?: 'q8_0' | 'q4_0', tied = false) => {
    const file = await openGguf(memorySource(fileOf(type, tied)));
    const config = await configFromGguf(file);
    return loadModel({ config, weights: ggufWeights(file, config) }, { backend, quantize: ask });
  };

  const other = quantize === 'q8_0' ? 'q4_0' : 'q8_0';

  it('gives its own numbers, with rows in the order of ours', async () => {
    const [plain, blocks] = [await open(), await open(quantize)];
    using arena = new Arena(backend);
    let compared = 0;
    for (const [name, w] of blocks.parameters()) {
      const exact = plain.parameters().get(name)!;
      if (w.dtype === 'f32') {
        expect(distance(w.readSync(), exact.readSync()), name).toBe(0);
        continue;
      }
      expect(w.dtype).toBe(quantize);
      compared++;
      const [rows, columns] = w.shape as [number, number];
      // Rows of the identity are rounded without error, so the product is the weight.
      const identity = Float32Array.from({ length: columns * columns }, (_, i) =>
        Number(i % (columns + 1) === 0),
      );
      const product = linear(arena.tensor(identity, [columns, columns]), w).readSync();
      const numbers = exact.readSync();
      let worst = 0;
      for (let row = 0; row < rows; row++)
        for (let column = 0; column < columns; column++) {
          const wanted = numbers[row * columns + column]!;
          worst = Math.max(
            worst,
            Math.abs(product[column * rows + row]! - wanted) / (Math.abs(wanted) + 1e-3),
          );
        }
      expect(worst, name).toBeLessThan(1e-6);
    }
    expect(compared).toBe(9);
  });

  it('is rounded anew where the other type is asked for, but for the table', async () => {
    const model = await open(other);
    expect(model.parameters().get('lm_head.weight')!.dtype).toBe(other);
    expect(model.parameters().get('model.embed_tokens.weight')!.dtype).toBe(quantize);
  });

  it('has one table for looking up and the head, where the file has one', async () => {
    const exact = await open(undefined, true);
    for (const asked of [quantize, other] as const) {
      const model = await open(asked, true);
      expect([model.headWeight.dtype, model.headWeight.tiles!.dtype]).toEqual([quantize, quantize]);
      using arena = new Arena(backend);
      const ids = arena.tensor([0, 39, 40, 7, -1], [5], 'i32');
      expect(await model.embed(ids).read()).toEqual(await exact.embed(ids).read());
    }
  });

  it('is read in parts as a whole', async () => {
    const file = await openGguf(memorySource(fileOf(type)));
    const weights = ggufWeights(file, await configFromGguf(file));
    for (const name of ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.o_proj']) {
      const key = `model.layers.0.${name}.weight`;
      const whole = await weights.readFloat32(key);
      const blocks = await weights.readBlocks!(key);
      const bytes = blocks.length / whole.length;
      for (const [start, count] of [
        [0, 32],
        [3 * D, 5 * D],
        [D * width - 64, 96],
        [D * 20, D * 12],
      ] as const) {
        expect(await weights.readFloat32(key, { start, count })).toEqual(whole.slice(start, start + count));
        expect(await weights.readBlocks!(key, { start, count })).toEqual(
          blocks.slice(start * bytes, (start + count) * bytes),
        );
      }
    }
  });
});
