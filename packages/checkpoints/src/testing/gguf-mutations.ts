/**
 * Structure-aware damage to a GGUF file: wrong numbers where numbers stand, broken text, bytes removed or inserted, the
 * file cut short. Whatever comes out must either open with every tensor inside the file, or give a typed error, having
 * read and kept no more than the file is long.
 */
import { MinkeError, Random } from '@minke/core';
import { openGguf } from '../gguf.ts';
import { buildGguf, type Field } from './gguf-builder.ts';
import { countedSource, readAllTensors } from './read-all-tensors.ts';

const data = (bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => (i * 37) & 0x3f);

/** A file with a value of every type and a tensor of several. */
export const goodFile = buildGguf({
  values: [
    ['general.architecture', { type: 8, value: 'llama' }],
    ['general.alignment', { type: 4, value: 32 }],
    ['llama.block_count', { type: 4, value: 2 }],
    ['a.u8', { type: 0, value: 200 }],
    ['a.i16', { type: 3, value: -5 }],
    ['a.f32', { type: 6, value: 0.5 }],
    ['a.flag', { type: 7, value: 1 }],
    ['a.u64', { type: 10, value: 2n ** 60n }],
    ['a.f64', { type: 12, value: -1.5 }],
    ['tokenizer.ggml.tokens', { type: 9, items: 8, values: ['a', 'Ġb', '<|end|>', ''] }],
    ['tokenizer.ggml.token_type', { type: 9, items: 5, values: [1, 1, 3, 1] }],
    ['a.flags', { type: 9, items: 7, values: [1, 0, 1] }],
  ],
  tensors: [
    { name: 'token_embd.weight', type: 8, sizes: [32, 4], data: data(34 * 4) },
    { name: 'blk.0.ffn_up.weight', type: 12, sizes: [256, 2], data: data(144 * 2) },
    { name: 'norm.weight', type: 0, sizes: [5], data: data(20) },
    { name: 'half', type: 1, sizes: [3, 1, 2], data: data(12) },
    { name: 'bf', type: 30, sizes: [2], data: data(4) },
  ],
});

const interesting = [
  0n,
  1n,
  2n,
  3n,
  4n,
  5n,
  7n,
  8n,
  9n,
  12n,
  31n,
  33n,
  64n,
  255n,
  2n ** 16n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 62n,
  2n ** 63n,
  2n ** 64n - 1n,
];

/** One to three changes, as the random stream says. */
export function mutate(good: { bytes: Uint8Array; fields: readonly Field[] }, random: Random): Uint8Array {
  let bytes = [...good.bytes];
  const below = (n: number) => Math.floor(random.uniform() * n);
  for (let changes = 1 + below(3); changes > 0; changes--) {
    const kind = random.uniform();
    const field = good.fields[below(good.fields.length)] as Field;
    if (kind < 0.6) {
      const current = BigInt(bytes[field.at] ?? 0);
      const near = [current + 1n, current - 1n, current * 2n];
      const value = random.uniform() < 0.3 ? near[below(3)]! : interesting[below(interesting.length)]!;
      for (let i = 0; i < Math.min(field.bytes, 8); i++)
        bytes[field.at + i] = Number((value >> BigInt(8 * i)) & 255n);
    } else if (kind < 0.75) bytes[below(bytes.length)] = below(256);
    else if (kind < 0.85) bytes.splice(field.at, below(12));
    else if (kind < 0.93)
      bytes.splice(field.at, 0, ...Array.from({ length: 1 + below(9) }, () => below(256)));
    else bytes = bytes.slice(0, below(bytes.length + 1));
    if (bytes.length === 0) bytes = [0];
  }
  return Uint8Array.from(bytes, (byte) => byte ?? 0);
}

/** Opens and reads everything. Returns whether it was a good file; throws for anything but a typed error. */
export async function openAndReadAll(bytes: Uint8Array): Promise<boolean> {
  const { source, check } = countedSource(bytes);
  try {
    const file = await openGguf(source);
    check();
    await readAllTensors(file, bytes.length);
    return true;
  } catch (problem) {
    if (!MinkeError.isInstance(problem)) throw problem;
    if (!['invalid-file', 'unsupported', 'invalid-argument'].includes(problem.code)) throw problem;
    check();
    return false;
  }
}

/** Runs so many mutations; returns how many were still good files. A failure names the seed that repeats it. */
export async function runMutations(count: number, seed: number): Promise<number> {
  let good = 0;
  for (let i = 0; i < count; i++) {
    const bytes = mutate(goodFile, new Random(seed + i));
    try {
      if (await openAndReadAll(bytes)) good++;
    } catch (problem) {
      throw new Error(`mutation with seed ${seed + i}: ${(problem as Error).message}`, { cause: problem });
    }
  }
  return good;
}
