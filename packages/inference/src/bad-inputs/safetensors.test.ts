/** Bad safetensors in a model's folder, as `loadLanguageModel` meets them: each kind is refused in words, or read right. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  expectLoadRefused,
  expectLoads,
  folderWith,
  goodFolder,
  namedPipe,
  peakMemory,
  useGoodFolder,
} from '../testing/bad-models.ts';

useGoodFolder();

const weights = 'model.safetensors';
const utf8 = new TextEncoder();
const goodBytes = () => new Uint8Array(readFileSync(join(goodFolder, weights)));

/** A file of this header, and so many bytes of data. */
function file(header: string | Uint8Array, dataBytes = 0, headerLength?: bigint): Uint8Array {
  const json = typeof header === 'string' ? utf8.encode(header) : header;
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, headerLength ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

interface Entry {
  dtype: unknown;
  shape: unknown;
  data_offsets: unknown;
}
type HeaderJson = Record<string, Entry>;

/** The good file with its header changed; the data stay. */
function changed(edit: (header: HeaderJson, names: readonly string[]) => void): Uint8Array {
  const bytes = goodBytes();
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))) as HeaderJson;
  edit(
    header,
    Object.keys(header).filter((name) => name !== '__metadata__'),
  );
  const head = file(JSON.stringify(header));
  const out = new Uint8Array(head.length + bytes.length - 8 - length);
  out.set(head);
  out.set(bytes.subarray(8 + length), head.length);
  return out;
}

/** The first tensor's entry with this field. */
const withField = (field: keyof Entry, value: unknown) => () =>
  changed((header, [first]) => {
    (header[first as string] as Entry)[field] = value;
  });

const deep = (open: string) => `{"a":{"x":${open.repeat(10_000)}`;
const span = (begin: unknown, end: unknown) => withField('data_offsets', [begin, end]);

/** The whole model in two shards: the first tensor, and the rest. */
function shards(index: (names: readonly string[]) => object, second?: (rest: Uint8Array) => Uint8Array) {
  const bytes = goodBytes();
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))) as HeaderJson;
  const names = Object.keys(header).filter((name) => name !== '__metadata__');
  const part = (own: readonly string[]) => {
    const spans = own.map((name) => (header[name] as { data_offsets: [number, number] }).data_offsets);
    let at = 0;
    const json: HeaderJson = {};
    own.forEach((name, i) => {
      const size = spans[i]![1] - spans[i]![0];
      json[name] = { ...(header[name] as Entry), data_offsets: [at, at + size] };
      at += size;
    });
    const data = spans.map(([begin, end]) => bytes.subarray(8 + length + begin, 8 + length + end));
    return Buffer.concat([file(JSON.stringify(json)), ...data]);
  };
  const rest = part(names.slice(1));
  return folderWith({
    [weights]: null,
    'a.safetensors': part(names.slice(0, 1)),
    'b.safetensors': second ? second(rest) : rest,
    'model.safetensors.index.json': JSON.stringify(index(names)),
  });
}
const mapOf = (names: readonly string[], change: Record<string, string> = {}) => ({
  ...Object.fromEntries(names.map((name, i) => [name, i === 0 ? 'a.safetensors' : 'b.safetensors'])),
  ...change,
});

const invalid = 'invalid-file' as const;
const kinds: Record<string, [what: string, make: () => Uint8Array, message: RegExp][]> = {
  'a file that is empty or too short': [
    ['nothing', () => new Uint8Array(0), /at least 8 bytes, got 0/],
    ['seven bytes', () => new Uint8Array(7), /at least 8 bytes, got 7/],
  ],
  'a length of the header that cannot be': [
    ['beyond the file', () => file('{}', 0, 3n), /cut short/],
    ['2^64 - 1', () => file('{}', 0, 2n ** 64n - 1n), /at most 100000000 bytes/],
    ['100 MB and one', () => file('{}', 0, 100_000_001n), /at most 100000000 bytes/],
  ],
  'a header that is no JSON object': [
    ['other bytes than UTF-8', () => file(new Uint8Array([0x7b, 0xff, 0x7d])), /not UTF-8/],
    ['an array', () => file('[]'), /begins with "\{"/],
    ['text behind it', () => file('{} {}'), /unexpected text/],
    ['arrays in arrays', () => file(deep('[')), /nested deeper than 8/],
    ['objects in objects', () => file(deep('{"x":')), /nested deeper than 8/],
    ['a key __proto__', () => file('{"__proto__":{}}'), /"__proto__" is not allowed/],
  ],
  'keys that appear twice': [
    ['tensors', () => file('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}'), /"a" appears/],
    ['fields', () => file('{"a":{"dtype":"F32","dtype":"F32"}}'), /"dtype" appears twice/],
  ],
  'offsets that cannot be': [
    ['the end before the beginning', span(8, 0), /begins at 8, after its end at 0/],
    ['negative', span(-8, 0), /a whole number/],
    ['fractional', span(0, 8.5), /a whole number/],
    ['beyond 2^53', () => file('{"a":{"data_offsets":[0,9007199254740993]}}'), /below 2\^53/],
    [
      'overlapping',
      () => changed((h, [a, b]) => Object.assign(h, { [b as string]: h[a as string] })),
      /overlaps/,
    ],
    [
      'a hole',
      () =>
        changed((h, [a]) => {
          delete h[a as string];
        }),
      /a hole of \d+ bytes/,
    ],
    ['beyond the data', () => goodBytes().subarray(0, -4), /ends at byte .*cut short/],
  ],
  'a shape that is not that of its bytes': [
    ['too large', withField('shape', [7]), /but its span has/],
    ['a product beyond 2^53', withField('shape', [2 ** 33, 2 ** 33]), /more than 2\^53 elements/],
  ],
  'a type that is none, or of another width': [
    ['unknown', withField('dtype', 'F128'), /unknown dtype "F128"/],
    ['half as wide', withField('dtype', 'BF16'), /but its span has/],
    ['a quarter as wide', withField('dtype', 'F8_E4M3'), /but its span has/],
    [
      'no whole bytes',
      () => file('{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}', 1),
      /12 bits are not/,
    ],
  ],
  'metadata that is no text': [
    ['a number', () => file('{"__metadata__":{"a":1}}'), /a string for __metadata__.a/],
    ['an object', () => file('{"__metadata__":{"a":{}}}'), /a string for __metadata__.a/],
  ],
  'a file that is something else': [
    [
      'a Git LFS pointer',
      () => utf8.encode('version https://git-lfs.github.com/spec/v1\noid sha256:4d'),
      /LFS/,
    ],
    ['an error page', () => utf8.encode('<!DOCTYPE html><html>404</html>'), /a web page/],
    ['a renamed pickle', () => utf8.encode('PK\x03\x04\0\0\b\b\0\0model/data.pkl'), /a pickle.*never opened/],
    ['an old pickle', () => Uint8Array.of(0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46), /a pickle/],
  ],
};

describe.each(Object.entries(kinds))('%s', (_, cases) => {
  it.each(cases)('is refused: %s', async (_, make, message) => {
    await expectLoadRefused(folderWith({ [weights]: make() }), invalid, message);
  });
});

describe('an index', () => {
  it('of good shards is read', async () => {
    await expectLoads(shards((names) => ({ weight_map: mapOf(names) })));
  });

  it.each<[string, (names: readonly string[]) => object, RegExp]>([
    ['a missing shard', (n) => ({ weight_map: mapOf(n, { x: 'c.safetensors' }) }), /missing files, first c/],
    ['a path out of the folder', (n) => ({ weight_map: mapOf(n, { x: '../../etc/passwd' }) }), /same folder/],
    ['an absolute path', (n) => ({ weight_map: mapOf(n, { x: '/etc/passwd' }) }), /same folder/],
    [
      'a wrong total',
      (n) => ({ metadata: { total_size: 5 }, weight_map: mapOf(n) }),
      /says total_size 5, but the tensors take/,
    ],
    [
      'a tensor in another shard',
      (n) => ({ weight_map: mapOf(n, { [n[1] as string]: 'a.safetensors' }) }),
      /is in b.safetensors, but .* says a.safetensors/,
    ],
  ])('that names %s is refused', async (_, index, message) => {
    await expectLoadRefused(shards(index), invalid, message);
  });

  it('with a loop of links, a pipe, a tensor in two shards, or a shard cut short is refused', async () => {
    const index = (names: readonly string[]) => ({ weight_map: mapOf(names) });
    const loop = folderWith({ [weights]: { link: weights } });
    await expectLoadRefused(loop, invalid, /loop of symbolic links/);
    const pipe = folderWith({ [weights]: null });
    namedPipe(join(pipe, weights));
    await expectLoadRefused(pipe, invalid, /not a regular file/);
    await expectLoadRefused(shards(index, goodBytes), invalid, /is in both|says a.safetensors/);
    await expectLoadRefused(
      shards(index, (rest) => rest.subarray(0, rest.length - 1)),
      invalid,
      /b.safetensors.*cut short/,
    );
  });
});

it('weights that are NaN or infinite are refused by their name', async () => {
  for (const [value, message] of [
    [Number.NaN, /finite weights, got NaN in .* \(element \d+\)/],
    [Number.NEGATIVE_INFINITY, /finite weights, got -Infinity in/],
  ] as const) {
    const bytes = goodBytes();
    new DataView(bytes.buffer).setFloat32(bytes.length - 8, value, true);
    await expectLoadRefused(folderWith({ [weights]: bytes }), invalid, message);
  }
});

it('a header of 90 MB is read or refused without several times its size in memory', async () => {
  const entry = '"x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},';
  const header = `{${entry}"y":{"z":"${'z'.repeat(90_000_000)}"}}`;
  const folder = folderWith({ [weights]: file(header) });
  const before = peakMemory();
  await expectLoadRefused(folder, invalid, /tensor "y": expected dtype/);
  expect(peakMemory() - before).toBeLessThan(1e9);
  rmSync(folder, { recursive: true });
});
