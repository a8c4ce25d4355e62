import { readFileSync } from 'node:fs';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memorySource } from '@minke/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openGguf } from './gguf.ts';
import { buildGguf, type TestFile, type TestTensor, type TestValue } from './testing/gguf-builder.ts';
import { goodFile, openAndReadAll, runMutations } from './testing/gguf-mutations.ts';

const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url).pathname;
const tensor = (change: Partial<TestTensor> = {}): TestTensor => ({
  name: 'x',
  type: 0,
  sizes: [2],
  data: new Uint8Array(8),
  ...change,
});
const problemOf = async (file: TestFile | Uint8Array) => {
  const bytes = file instanceof Uint8Array ? file : buildGguf(file).bytes;
  const problem = await openGguf(memorySource(bytes)).then(
    () => undefined,
    (error: { code: string; message: string }) => error,
  );
  return problem && `${problem.code}: ${problem.message}`;
};

describe('a file of the Python library', () => {
  // Written by tools/parity/gguf_fixture.py.
  const expected = JSON.parse(readFileSync(fixture('python.gguf.json'), 'utf8')) as {
    values: Record<string, unknown>;
    tensors: Record<string, { dtype: string; shape: number[]; values: number[] }>;
  };

  it('gives the same metadata', async () => {
    const file = await openGguf(fixture('python.gguf'));
    const plain = Object.fromEntries(
      [...file.values].map(([key, value]) => [
        key,
        ArrayBuffer.isView(value) ? Array.from(value as Uint8Array, Number) : value,
      ]),
    );
    expect(plain).toEqual({ ...expected.values, 'big.u64': 2n ** 64n - 1n });
    expect(file.metadata['general.architecture']).toBe('llama');
    expect(file.version).toBe(3);
    await file.close();
  });

  it('gives the same tensors', async () => {
    const file = await openGguf(fixture('python.gguf'));
    expect([...file.tensors.keys()].sort()).toEqual(Object.keys(expected.tensors).sort());
    for (const [name, { dtype, shape, values }] of Object.entries(expected.tensors)) {
      expect(file.tensors.get(name)).toMatchObject({ dtype, shape });
      expect(await file.readFloat32(name)).toEqual(Float32Array.from(values));
    }
    expect(await file.readTyped('f16')).toBeInstanceOf(Uint16Array);
    await file.close();
  });
});

describe('what is refused', () => {
  const text = (value: string): TestValue => ({ type: 8, value });
  it.each<[string, TestFile, RegExp]>([
    ['version 1', { version: 1 }, /^unsupported: .*expected GGUF version 2 or 3, got 1/],
    ['version 4', { version: 4 }, /^unsupported: .*got 4/],
    ['big-endian files', { version: 0x0300_0000 }, /^unsupported: .*big-endian/],
    [
      'a key twice',
      {
        values: [
          ['a', text('1')],
          ['a', text('2')],
        ],
      },
      /the metadata key "a" appears twice/,
    ],
    ['a tensor twice', { tensors: [tensor(), tensor()] }, /tensor "x" appears twice/],
    ['unknown value types', { values: [['a', { type: 13, value: 'x' }]] }, /value type 13/],
    [
      'arrays of arrays',
      { values: [['a', { type: 9, items: 9, values: [] }]] },
      /^unsupported: .*array of arrays/,
    ],
    ['flags beyond 1', { values: [['a', { type: 7, value: 2 }]] }, /expected 0 or 1 for a flag, got 2/],
    ['an alignment of 0', { values: [['general.alignment', { type: 4, value: 0 }]] }, /power of two.*got 0/],
    ['an alignment of 24', { values: [['general.alignment', { type: 4, value: 24 }]] }, /got 24/],
    ['an alignment in text', { values: [['general.alignment', text('32')]] }, /got 32/],
    ['unknown tensor types', { tensors: [tensor({ type: 99 })] }, /^unsupported: .*its type is 99/],
    [
      'retired tensor types',
      { tensors: [tensor({ type: 4 })] },
      /^unsupported: .*Q4_2 \(4\), which is retired/,
    ],
    ['five dimensions', { tensors: [tensor({ sizes: [1, 1, 1, 1, 2] })] }, /at most 4 dimensions, got 5/],
    ['sizes whose product overflows', { tensors: [tensor({ sizes: [2n ** 40n, 2n ** 40n] })] }, /2\^53/],
    ['sizes beyond 2^63', { tensors: [tensor({ sizes: [2n ** 64n - 1n] })] }, /2\^53/],
    ['a size that wraps to 0', { tensors: [tensor({ sizes: [2n ** 32n, 2n ** 32n] })] }, /2\^53/],
    [
      'rows of half a block',
      { tensors: [tensor({ type: 8, sizes: [48] })] },
      /whole blocks of 32 for Q8_0, got 48/,
    ],
    ['more data than there is', { tensors: [tensor({ sizes: [1000] })] }, /ends at byte .* cut short/],
    [
      'data that overlap',
      { tensors: [tensor(), tensor({ name: 'y', offset: 0 })] },
      /expected its data at offset 32/,
    ],
    [
      'offsets off the alignment',
      { tensors: [tensor({ offset: 8 })] },
      /expected its data at offset 0.*got 8/,
    ],
    ['holes', { tensors: [tensor(), tensor({ name: 'y', offset: 64 })] }, /got 64/],
    ['offsets beyond 2^53', { tensors: [tensor({ offset: 2n ** 63n })] }, /beyond 2\^53 bytes/],
  ])('%s', async (_, file, message) => {
    expect(await problemOf(file)).toMatch(message);
  });

  it('counts and lengths that the file cannot hold, before anything is allocated', async () => {
    const { bytes, fields } = goodFile;
    for (const { kind, at, bytes: width } of fields) {
      if (kind !== 'count' && kind !== 'length') continue;
      const broken = new Uint8Array(bytes);
      broken.fill(255, at, at + width);
      expect(await problemOf(broken)).toMatch(/^invalid-file: .*(promises|at most)/);
    }
  });

  it('what people have instead, by name', async () => {
    const text = (s: string) => problemOf(new TextEncoder().encode(s));
    expect(await text('version https://git-lfs.github.com/spec/v1\noid sha256:0')).toMatch(/Git LFS pointer/);
    expect(await text('<!DOCTYPE html><html></html>')).toMatch(/web page/);
    expect(await text('')).toMatch(/^invalid-file: .*got 0 bytes/);
    expect(await text('GGUF')).toMatch(/^invalid-file/);
    expect(await text('GGML'.repeat(20))).toMatch(/^invalid-file/);
  });

  it('text that is not UTF-8', async () => {
    const { bytes } = buildGguf({ values: [['key', { type: 8, value: 'aaaa' }]] });
    bytes[bytes.indexOf(0x61)] = 0xff;
    expect(await problemOf(bytes)).toMatch(/"key" is not UTF-8/);
  });
});

describe('a split file', () => {
  let folder: string;
  const part = (no: number, names: string[], change: Record<string, number> = {}) => {
    const values = { 'split.no': no, 'split.count': 2, 'split.tensors.count': 3, ...change };
    return buildGguf({
      values: Object.entries(values).map(([key, value]) => [key, { type: 2, value }]),
      tensors: names.map((name) => tensor({ name, data: new Uint8Array(new Float32Array([no, 7]).buffer) })),
    }).bytes;
  };
  const path = (no: number) => join(folder, `model-0000${no}-of-00002.gguf`);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'minke-gguf-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('is read as one', async () => {
    await writeFile(path(1), part(0, ['a', 'b']));
    await writeFile(path(2), part(1, ['c']));
    const file = await openGguf(path(1));
    expect([...file.tensors.keys()]).toEqual(['a', 'b', 'c']);
    expect(file.files).toEqual([path(1), path(2)]);
    expect(await file.readFloat32('c')).toEqual(new Float32Array([1, 7]));
    await file.close();
  });

  it.each<[string, Uint8Array[], RegExp]>([
    ['a part that is missing', [part(0, ['a', 'b'])], /model-00002-of-00002.gguf is missing/],
    ['the same part twice', [part(0, ['a', 'b']), part(0, ['c'])], /expected split.no 1, got 0/],
    [
      'a part of another split',
      [part(0, ['a', 'b']), part(1, ['c'], { 'split.count': 3 })],
      /expected split.count 2, got 3/,
    ],
    ['a tensor in two parts', [part(0, ['a', 'b']), part(1, ['a'])], /tensor "a" is also in/],
    [
      'fewer tensors than promised',
      [part(0, ['a', 'b']), part(1, [])],
      /expected 3 tensors in all parts, got 2/,
    ],
    [
      'a part that is no GGUF file',
      [part(0, ['a']), new Uint8Array(100)],
      /model-00002.*expected a GGUF file/,
    ],
  ])('refuses %s', async (_, parts, message) => {
    await rm(path(2), { force: true });
    for (const [i, bytes] of parts.entries()) await writeFile(path(i + 1), bytes);
    await expect(openGguf(path(1))).rejects.toThrow(message);
  });

  it('refuses to begin with another part, and bytes that are part of a split', async () => {
    await writeFile(path(2), part(1, ['c']));
    await expect(openGguf(path(2))).rejects.toThrow(/open the one with 00001/);
    await expect(openGguf(memorySource(part(0, ['a'])))).rejects.toMatchObject({ code: 'invalid-argument' });
  });
});

describe('whatever happens', () => {
  it('every truncation is refused', async () => {
    const { bytes } = goodFile;
    expect(await openAndReadAll(bytes)).toBe(true);
    // The last tensor is four bytes, then padding that nothing needs.
    for (let length = 0; length < bytes.length - 28; length++)
      expect(await openAndReadAll(bytes.subarray(0, length))).toBe(false);
  });

  it('4,000 damaged files open or give typed errors', async () => {
    const good = await runMutations(4000, 1);
    expect(good).toBeGreaterThan(20);
    expect(good).toBeLessThan(3000);
  });

  it('a file of ten gigabytes opens in less than a second, reading its header only', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'minke-gguf-'));
    const path = join(folder, 'large.gguf');
    // Claims of 500 tensors of 20 MB, in a file with holes.
    const sizes = [4096, 1280];
    const { bytes } = buildGguf({
      tensors: Array.from({ length: 500 }, (_, i) =>
        tensor({ name: `blk.${i}`, sizes, data: new Uint8Array(0), offset: i * 4096 * 1280 * 4 }),
      ),
    });
    const handle = await open(path, 'w');
    await handle.write(bytes);
    await handle.truncate(bytes.length + 500 * 4096 * 1280 * 4);
    await handle.close();
    const started = performance.now();
    const file = await openGguf(path);
    expect(performance.now() - started).toBeLessThan(1000);
    expect(file.tensors.get('blk.499')).toMatchObject({ shape: [1280, 4096] });
    expect((await file.read('blk.499')).length).toBe(4096 * 1280 * 4);
    await file.close();
    await rm(folder, { recursive: true });
  });
});
