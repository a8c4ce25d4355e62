import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { memorySource } from '@minke/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  encodeSafetensors,
  fromFloat32,
  openSafetensors,
  type TensorData,
  writeSafetensors,
} from './index.ts';

// Written by the Python library: tools/parity/safetensors_fixture.py.
const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'minke-python-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('a file written by the Python library', () => {
  it('gives every type, shape and value', async () => {
    const file = await openSafetensors(fixture('types.safetensors'));
    expect(file.metadata).toEqual({});
    expect(file.tensors.size).toBe(25);
    expect(file.tensors.get('empty')).toMatchObject({ dtype: 'F32', shape: [0, 3], byteLength: 0 });
    expect(file.tensors.get('scalar')).toMatchObject({ dtype: 'F32', shape: [], byteLength: 4 });
    for (const name of ['float16', 'bfloat16', 'float32', 'float64']) {
      expect(file.tensors.get(name)?.shape).toEqual([2, 3]);
      expect([...(await file.readFloat32(name))]).toEqual([1, 2, 3, 4, 5, 6]);
    }
    for (const name of ['uint8', 'int8', 'int16', 'uint16', 'int32', 'uint32']) {
      expect([...(await file.readTyped(name))]).toEqual([1, 2, 3, 4, 5, 6]);
    }
    for (const name of ['int64', 'uint64']) {
      expect([...(await file.readTyped(name))]).toEqual([1n, 2n, 3n, 4n, 5n, 6n]);
    }
    expect(await file.readTyped('')).toEqual(new BigInt64Array([1n, -2n]));
    expect([...(await file.readTyped('bool'))]).toEqual([1, 1, 1, 1, 1, 1]);
    expect([...(await file.read('float8_e4m3fn'))]).toEqual([0x38, 0x40, 0x44, 0x48, 0x4a, 0x4c]);
    for (const [name, value] of [
      ['12', 3],
      ['a "quoted"\\\n\t\u0001 name', 4],
      ['größe/重み/🐋', 5],
      ['\uff5c', 6],
      ['\u{10000}', 7],
    ] as const) {
      expect([...(await file.readFloat32(name))]).toEqual([value]);
    }
    await file.close();
  });

  it('refuses to convert what has no float32 or array form', async () => {
    const file = await openSafetensors(fixture('types.safetensors'));
    for (const name of ['int32', 'int64', 'bool', 'float8_e4m3fn', 'complex64']) {
      await expect(file.readFloat32(name)).rejects.toMatchObject({ code: 'unsupported' });
    }
    await expect(file.readTyped('float8_e5m2')).rejects.toMatchObject({ code: 'unsupported' });
    await expect(file.read('none')).rejects.toMatchObject({ code: 'invalid-argument' });
    await file.close();
  });

  it('rounds to float16 and bfloat16 as torch does', async () => {
    const file = await openSafetensors(fixture('rounding.safetensors'));
    expect(file.metadata).toEqual({ format: 'pt' });
    const values = await file.readFloat32('f32');
    expect(values.length).toBeGreaterThan(8000);
    expect(fromFloat32('F16', values)).toEqual(await file.readTyped('f16'));
    expect(fromFloat32('BF16', values)).toEqual(await file.readTyped('bf16'));
    await file.close();
  });
});

describe('a file we write', () => {
  it.each(['types.safetensors', 'rounding.safetensors'])(
    'is byte for byte what Python wrote: %s',
    async (name) => {
      const expected = new Uint8Array(await readFile(fixture(name)));
      const file = await openSafetensors(memorySource(expected));
      // Handed over in another order than it is stored.
      const tensors = new Map<string, TensorData>();
      for (const [key, { dtype, shape }] of [...file.tensors].reverse()) {
        tensors.set(key, { dtype, shape, data: await file.read(key) });
      }
      expect(await encodeSafetensors(tensors, { metadata: file.metadata })).toEqual(expected);
      const path = join(folder, name);
      await writeSafetensors(path, tensors, { metadata: file.metadata });
      expect(new Uint8Array(await readFile(path))).toEqual(expected);
      expect((await stat(path)).size).toBe(expected.length);
    },
  );
});
