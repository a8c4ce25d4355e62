import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ByteSource, MinkeError, memorySource } from '@minke/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeSafetensors, openSafetensors } from './index.ts';
import { runMutations } from './testing/safetensors-mutations.ts';

const utf8 = new TextEncoder();

/** A file of this header text and so many data bytes. */
function file(header: string | Uint8Array, dataBytes = 0, headerLength?: bigint): Uint8Array {
  const json = typeof header === 'string' ? utf8.encode(header) : header;
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, headerLength ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const tensor = (dtype: string, shape: unknown, offsets: unknown) =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });
const good = tensor('F32', [2], [0, 8]);

async function problemOf(bytes: Uint8Array): Promise<string> {
  const error: unknown = await openSafetensors(memorySource(bytes)).then(
    () => expect.fail('the file was opened'),
    (reason) => reason,
  );
  expect(error).toMatchObject({ name: 'MinkeError', code: 'invalid-file' });
  return (error as MinkeError).message;
}

describe('a malformed file is refused', () => {
  it.each<[string, Uint8Array, RegExp]>([
    ['an empty file', new Uint8Array(0), /at least 8 bytes, got 0/],
    ['fewer than 8 bytes', new Uint8Array(7), /at least 8 bytes, got 7/],
    ['a header longer than the file', file('{}', 0, 3n), /cut short/],
    [
      'a header of 2^64 - 1 bytes',
      file('{}', 0, 2n ** 64n - 1n),
      /at most 100000000 bytes, got 18446744073709551615/,
    ],
    ['a header above 100 MB', file('{}', 0, 100_000_001n), /at most 100000000 bytes/],
    ['an empty header', file('', 4), /begins with "{"/],
    ['a header that is not UTF-8', file(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d])), /not UTF-8/],
    ['a header that begins with a byte order mark', file('\ufeff{}'), /begins with "{"/],
    ['a header that begins with a space', file(' {}'), /begins with "{"/],
    ['an array for a header', file('[]'), /begins with "{"/],
    ['text after the closing brace', file('{}x'), /unexpected text after the closing brace/],
    ['a second object', file('{} {}'), /unexpected text/],
    ['NUL padding', file('{}\0\0'), /unexpected text/],
    ['an unfinished object', file('{"a":'), /expected an object, got the end/],
    ['an unfinished string', file('{"a'), /a string does not end/],
    ['a trailing comma', file(`{"a":${good},}`, 8), /expected a key/],
    ['a missing colon', file('{"a" {}}'), /expected ":"/],
    ['a missing comma', file(`{"a":${good}"b":${good}}`, 8), /expected "," or "}"/],
    ['a key without quotes', file('{a:1}'), /expected a key/],
    ['a raw control character in a name', file('{"a\n":1}'), /control character/],
    ['an unknown escape', file('{"\\x41":1}'), /unknown escape/],
    ['an escape named after an object method', file('{"\\constructor":1}'), /unknown escape/],
    ['a short \\u escape', file('{"\\u12g4":1}'), /four hexadecimal digits/],
    ['half a surrogate pair', file('{"\\ud800":1}'), /half a surrogate pair/],
    ['deep nesting', file(`{"a":${'['.repeat(10_000)}`), /expected an object/],
    ['deep nesting in an unknown field', file(`{"a":{"x":${'['.repeat(10_000)}`), /nested deeper than 8/],
    ['deep objects in an unknown field', file(`{"a":{"x":${'{"x":'.repeat(10_000)}`), /nested deeper than 8/],
    ['a duplicate tensor', file(`{"a":${good},"a":${good}}`, 8), /the key "a" appears twice/],
    [
      'a duplicate tensor written with an escape',
      file(`{"a":${good},"\\u0061":${good}}`, 8),
      /appears twice/,
    ],
    ['a duplicate field', file('{"a":{"dtype":"F32","dtype":"F16"}}'), /the key "dtype" appears twice/],
    ['duplicate metadata', file('{"__metadata__":{"a":"1","a":"2"}}'), /appears twice/],
    ['two metadata objects', file('{"__metadata__":{},"__metadata__":{}}'), /appears twice/],
    ['a tensor named __proto__', file(`{"__proto__":${good}}`, 8), /"__proto__" is not allowed/],
    ['a field named __proto__', file('{"a":{"__proto__":{}}}'), /"__proto__" is not allowed/],
    ['metadata named __proto__', file('{"__metadata__":{"__proto__":"x"}}'), /"__proto__" is not allowed/],
    ['metadata that is a number', file('{"__metadata__":{"a":1}}'), /a string for __metadata__.a/],
    ['metadata that is null', file('{"__metadata__":null}'), /expected an object/],
    ['metadata that nests', file('{"__metadata__":{"a":{"b":"c"}}}'), /a string for __metadata__.a/],
    ['a tensor that is a string', file('{"a":"F32"}'), /expected an object/],
    [
      'a tensor without a shape',
      file('{"a":{"dtype":"F32","data_offsets":[0,0]}}'),
      /expected dtype, shape and/,
    ],
    ['a tensor without fields', file('{"a":{}}'), /expected dtype, shape and/],
    ['an unknown dtype', file(`{"a":${tensor('F128', [1], [0, 16])}}`, 16), /unknown dtype "F128"/],
    ['a dtype in lower case', file(`{"a":${tensor('f32', [2], [0, 8])}}`, 8), /unknown dtype "f32"/],
    [
      'a dtype named after an object method',
      file(`{"a":${tensor('toString', [2], [0, 8])}}`, 8),
      /unknown dtype/,
    ],
    ['a dtype that is a number', file('{"a":{"dtype":32}}'), /the dtype of tensor "a" \(a string\)/],
    ['one offset', file(`{"a":${tensor('F32', [2], [8])}}`, 8), /expected two data_offsets/],
    ['three offsets', file(`{"a":${tensor('F32', [2], [0, 8, 8])}}`, 8), /more than 2 numbers/],
    ['begin after end', file(`{"a":${tensor('F32', [2], [8, 0])}}`, 8), /begins at 8, after its end at 0/],
    [
      'a negative offset',
      file(`{"a":${tensor('F32', [2], [-8, 0])}}`, 8),
      /an offset of tensor "a" \(a whole number/,
    ],
    ['a fractional offset', file(`{"a":${tensor('F32', [2], [0, 8.5])}}`, 8), /a whole number/],
    ['an offset with an exponent', file('{"a":{"data_offsets":[0,8e0]}}', 8), /a whole number/],
    ['an offset with a decimal point', file('{"a":{"data_offsets":[0,8.0]}}', 8), /a whole number/],
    ['an offset with a leading zero', file('{"a":{"data_offsets":[00,8]}}', 8), /a whole number/],
    [
      'an offset above 2^53',
      file('{"a":{"data_offsets":[0,9007199254740993]}}', 8),
      /a whole number below 2\^53/,
    ],
    ['an offset that is a string', file(`{"a":${tensor('F32', [2], ['0', '8'])}}`, 8), /a whole number/],
    ['an offset that is null', file(`{"a":${tensor('F32', [2], [null, 8])}}`, 8), /a whole number/],
    ['an offset that is infinite', file('{"a":{"data_offsets":[0,1e999]}}', 8), /a whole number/],
    ['a negative dimension', file(`{"a":${tensor('F32', [-2], [0, 8])}}`, 8), /a dimension of tensor "a"/],
    [
      '65 dimensions',
      file(`{"a":${tensor('F32', new Array(65).fill(1), [0, 4])}}`, 4),
      /more than 64 numbers/,
    ],
    [
      'a shape too large for its bytes',
      file(`{"a":${tensor('F32', [3], [0, 8])}}`, 8),
      /takes 12 bytes, but its span has 8/,
    ],
    [
      'a shape too small for its bytes',
      file(`{"a":${tensor('F32', [1], [0, 8])}}`, 8),
      /takes 4 bytes, but its span has 8/,
    ],
    [
      'another width than the dtype',
      file(`{"a":${tensor('F16', [2], [0, 8])}}`, 8),
      /takes 4 bytes, but its span has 8/,
    ],
    [
      'a shape whose product overflows',
      file(`{"a":${tensor('F32', [2 ** 32, 2 ** 32], [0, 0])}}`),
      /more than 2\^53 elements/,
    ],
    [
      'a product that would wrap to zero in 64 bits',
      file(`{"a":${tensor('U8', [2 ** 33, 2 ** 33, 2 ** 33], [0, 0])}}`),
      /more than 2\^53 elements/,
    ],
    [
      'a byte count that overflows',
      file(`{"a":${tensor('F64', [2 ** 52], [0, 0])}}`),
      /more than 2\^53 bits/,
    ],
    ['half a byte', file(`{"a":${tensor('F4', [3], [0, 1])}}`, 1), /12 bits are not a whole number of bytes/],
    ['data past the end', file(`{"a":${good}}`, 7), /ends at byte .*cut short/],
    ['a tensor wholly past the end', file(`{"a":${tensor('F32', [0], [8, 8])}}`, 0), /a hole of 8 bytes/],
    [
      'overlapping tensors',
      file(`{"a":${good},"b":${tensor('F32', [2], [4, 12])}}`, 12),
      /"b" overlaps tensor "a" by 4/,
    ],
    ['two tensors in one place', file(`{"a":${good},"b":${good}}`, 8), /overlaps/],
    [
      'an empty tensor inside another',
      file(`{"a":${good},"b":${tensor('F32', [0], [4, 4])}}`, 8),
      /overlaps/,
    ],
    [
      'a hole between tensors',
      file(`{"a":${good},"b":${tensor('F32', [1], [12, 16])}}`, 16),
      /a hole of 4 bytes/,
    ],
    [
      'a hole before the first tensor',
      file(`{"a":${tensor('F32', [1], [4, 8])}}`, 8),
      /a hole of 4 bytes between the header/,
    ],
    ['bytes after the last tensor', file(`{"a":${good}}`, 9), /1 bytes after tensor "a" belong to no tensor/],
    ['data but no tensor', file('{}', 3), /3 bytes after the header/],
    [
      'a Git LFS pointer',
      utf8.encode('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 268435456\n'),
      /Git LFS pointer.*git lfs pull/,
    ],
    ['a web page', utf8.encode('<!DOCTYPE html><html><body>404: Not Found</body></html>'), /a web page/],
    [
      'a web page after a newline',
      utf8.encode('\n<html><head><title>503</title></head></html>'),
      /a web page/,
    ],
    [
      'a pickle',
      new Uint8Array([0x80, 4, 0x95, 0x1a, 0, 0, 0, 0, 0, 0, 0, 0x7d, 0x94]),
      /a pickle.*never opened/,
    ],
    ['a zipped pickle', utf8.encode('PK\x03\x04\0\0\b\b\0\0model/data.pkl'), /a pickle/],
    ['a GGUF file', utf8.encode('GGUF\x03\0\0\0\0\0\0\0\0\0\0\0'), /a GGUF file/],
    ['plain JSON', utf8.encode('{"error":"Repository not found"}'), /at most 100000000 bytes|cut short/],
  ])('%s', async (_, bytes, message) => {
    expect(await problemOf(bytes)).toMatch(message);
  });
});

describe('a well-formed file is read', () => {
  it.each<[string, Uint8Array, number]>([
    ['no tensors', file('{}'), 0],
    ['padding of any JSON white space', file('{} \t\r\n '), 0],
    ['empty metadata', file('{"__metadata__":{}}'), 0],
    ['an unknown field', file(`{"a":{"x":[1.5e3,{"y":null}],${good.slice(1)}}`, 8), 1],
    [
      'empty tensors anywhere between others',
      file(`{"a":${good},"b":${tensor('I8', [0], [0, 0])},"c":${tensor('I8', [0, 9], [8, 8])}}`, 8),
      3,
    ],
    [
      'sub-byte types that fill bytes',
      file(`{"a":${tensor('F4', [2, 3], [0, 3])},"b":${tensor('F6_E2M3', [4], [3, 6])}}`, 6),
      2,
    ],
    [
      'names of object methods',
      file(`{"constructor":${good},"toString":${tensor('I8', [1], [8, 9])}}`, 9),
      2,
    ],
    [
      'white space everywhere',
      file(`{ "a" : { "dtype" : "F32" , "shape" : [ 2 ] , "data_offsets" : [ 0 , 8 ] } } `, 8),
      1,
    ],
  ])('%s', async (_, bytes, count) => {
    expect((await openSafetensors(memorySource(bytes))).tensors.size).toBe(count);
  });

  it('whose header length looks like a pickle', async () => {
    const header = `{"a":${good}}`.padEnd(640); // 640 = 0x280: the bytes 80 02
    const bytes = file(header, 8);
    expect([...bytes.subarray(0, 2)]).toEqual([0x80, 2]);
    expect((await openSafetensors(memorySource(bytes))).tensors.size).toBe(1);
  });

  it('from a source at an odd address', async () => {
    const bytes = await encodeSafetensors({
      x: { dtype: 'F32', shape: [2], data: new Float32Array([1, 2]) },
    });
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    const opened = await openSafetensors(memorySource(shifted.subarray(1)));
    expect(await opened.readFloat32('x')).toEqual(new Float32Array([1, 2]));
  });

  it('keeps NaN and infinity, which the format allows', async () => {
    const data = new Float32Array([Number.NaN, Number.POSITIVE_INFINITY, -0]);
    const opened = await openSafetensors(
      memorySource(await encodeSafetensors({ x: { dtype: 'F32', shape: [3], data } })),
    );
    expect(await opened.readFloat32('x')).toEqual(data);
  });
});

describe('whatever happens', () => {
  const tensors = {
    w: { dtype: 'F32', shape: [2, 3], data: new Float32Array([1, 2, 3, 4, 5, 6]) },
    b: { dtype: 'BF16', shape: [3], data: new Uint16Array(3) },
    n: { dtype: 'I64', shape: [], data: new BigInt64Array([7n]) },
  } as const;

  /** Opens and reads all: either everything is within the file, or a MinkeError says what is wrong. */
  async function openAndRead(bytes: Uint8Array): Promise<boolean> {
    try {
      const opened = await openSafetensors(memorySource(bytes));
      let total = 0;
      for (const [name, info] of opened.tensors) {
        expect((await opened.read(name)).length).toBe(info.byteLength);
        total += info.byteLength;
      }
      expect(total).toBeLessThan(bytes.length);
      return true;
    } catch (error) {
      if (!MinkeError.isInstance(error)) throw error;
      expect(error.code).toBe('invalid-file');
      return false;
    }
  }

  it('every truncation is refused', async () => {
    const bytes = await encodeSafetensors(tensors);
    for (let length = 0; length < bytes.length; length++) {
      expect(await openAndRead(bytes.subarray(0, length))).toBe(false);
    }
    expect(await openAndRead(bytes)).toBe(true);
  });

  it('4,000 damaged files open or give typed errors', async () => {
    const good = await runMutations(4000, 1);
    expect(good).toBeGreaterThan(20);
    expect(good).toBeLessThan(3000);
  });

  it('any tensors survive a round trip', async () => {
    const name = fc
      .string({ unit: 'grapheme', maxLength: 12 })
      .filter((s) => s !== '__metadata__' && s !== '__proto__');
    const shape = fc.array(fc.nat({ max: 4 }), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(name, shape),
        fc.dictionary(
          fc.string().filter((s) => s !== '__proto__'),
          fc.string(),
        ),
        async (shapes, metadata) => {
          const given: Record<
            string,
            { dtype: 'F32' | 'I8'; shape: number[]; data: Float32Array | Int8Array }
          > = {};
          for (const [i, [key, dimensions]] of Object.entries(shapes).entries()) {
            const count = dimensions.reduce((a, b) => a * b, 1);
            given[key] =
              i % 2
                ? { dtype: 'F32', shape: dimensions, data: new Float32Array(count).fill(i) }
                : { dtype: 'I8', shape: dimensions, data: new Int8Array(count).fill(i) };
          }
          const opened = await openSafetensors(memorySource(await encodeSafetensors(given, { metadata })));
          expect({ ...opened.metadata }).toEqual({ ...metadata });
          expect(opened.tensors.size).toBe(Object.keys(given).length);
          for (const [key, { shape, data }] of Object.entries(given)) {
            expect(opened.tensors.get(key)!.shape).toEqual(shape);
            expect(await opened.readTyped(key)).toEqual(data);
          }
        },
      ),
      { numRuns: 200, seed: 2 },
    );
  });

  it('a read that fails at any point gives that error and closes the source', async () => {
    const bytes = await encodeSafetensors(tensors);
    for (let failing = 0; failing < 2; failing++) {
      let reads = 0;
      let closed = 0;
      const inner = memorySource(bytes);
      const source: ByteSource = {
        size: inner.size,
        read: async (offset, length) => {
          if (reads++ === failing) throw new MinkeError('invalid-file', 'disk: EIO');
          return inner.read(offset, length);
        },
        close: async () => {
          closed++;
        },
      };
      await expect(openSafetensors(source)).rejects.toThrow('disk: EIO');
      expect(closed).toBe(1);
    }
  });

  it('an array of five million numbers is refused or skipped in bounded time', {
    timeout: 30_000,
  }, async () => {
    // Refused early where the count is bounded, skipped without being kept in an unknown field.
    const huge = `[${'1,'.repeat(5_000_000)}1]`;
    expect(await problemOf(file(`{"a":{"shape":${huge}}}`))).toMatch(/more than 64 numbers/);
    expect(await problemOf(file(`{"a":{"x":${huge}}}`))).toMatch(/expected dtype, shape and/);
  });
});

describe('openSafetensors of a path', () => {
  it('names the file in its errors', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'minke-safetensors-'));
    const path = join(folder, 'model.safetensors');
    await writeFile(path, 'version https://git-lfs.github.com/spec/v1\n');
    await expect(openSafetensors(path)).rejects.toThrow(
      `openSafetensors(${path}): this is a Git LFS pointer`,
    );
    await expect(openSafetensors(join(folder, 'none'))).rejects.toMatchObject({ code: 'invalid-file' });
    await rm(folder, { recursive: true });
  });
});
