/**
 * For tests of GGUF files: the fixture of a small language model taken apart, and put together again with other
 * metadata or tensors.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openGguf } from '@minke/checkpoints';
import { buildGguf, type TestTensor, type TestValue } from '@minke/checkpoints/testing';

/** Written by tools/parity/gguf_language.py. */
export const tinyPath: string = fileURLToPath(new URL('../../fixtures/tiny.gguf', import.meta.url));
/** A V3 whose latent projections are split, and a V2-Lite whose are not; neither has a tokenizer. */
export const deepseekPath = (name: 'v3-base' | 'v2-lite-fused'): string =>
  fileURLToPath(new URL(`../../../transformer/fixtures/gguf/${name}.gguf`, import.meta.url));

export const tinyBytes = (): Uint8Array => new Uint8Array(readFileSync(tinyPath));

/** Numbers of ggml's types that the fixtures have. */
const typeNumbers: Readonly<Record<string, number>> = { F32: 0, Q8_0: 8 };

/** A metadata value as one of GGUF's types. */
export function ggufValue(value: unknown): TestValue {
  if (typeof value === 'string') return { type: 8, value };
  if (typeof value === 'boolean') return { type: 7, value: Number(value) };
  if (typeof value === 'bigint') return { type: 10, value };
  if (typeof value === 'number') return { type: Number.isSafeInteger(value) ? 4 : 6, value };
  const items = [...(value as Iterable<string | number>)];
  return { type: 9, items: typeof items[0] === 'string' ? 8 : 5, values: items };
}

export interface GgufChanges {
  /** Values by key, of JavaScript or as GGUF's; undefined removes one. */
  readonly values?: Readonly<Record<string, unknown>>;
  /** Tensors by name; undefined removes one. */
  readonly tensors?: Readonly<Record<string, Partial<TestTensor> | undefined>>;
  readonly version?: number;
}

/** The bytes of a fixture with these changes. */
export async function ggufWith(changes: GgufChanges, from: string = tinyPath): Promise<Uint8Array> {
  const file = await openGguf(from);
  const values = new Map<string, TestValue>([...file.values].map(([key, value]) => [key, ggufValue(value)]));
  for (const [key, value] of Object.entries(changes.values ?? {})) {
    if (value === undefined) values.delete(key);
    else values.set(key, isTestValue(value) ? value : ggufValue(value));
  }
  const tensors = new Map<string, TestTensor>();
  for (const [name, { dtype, shape }] of file.tensors)
    tensors.set(name, {
      name,
      type: typeNumbers[dtype] as number,
      sizes: [...shape].reverse(),
      data: await file.read(name),
    });
  for (const [name, change] of Object.entries(changes.tensors ?? {})) {
    if (change === undefined) tensors.delete(name);
    else tensors.set(name, { ...(tensors.get(name) as TestTensor), name, ...change });
  }
  await file.close();
  const { bytes } = buildGguf({
    ...(changes.version !== undefined && { version: changes.version }),
    values: [...values],
    tensors: [...tensors.values()],
  });
  return bytes;
}

const isTestValue = (value: unknown): value is TestValue =>
  typeof value === 'object' && value !== null && 'type' in value;
