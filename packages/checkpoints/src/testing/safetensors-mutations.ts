/**
 * Structure-aware damage to a safetensors file or an index of shards: numbers, names, types and punctuation of the JSON
 * changed, repeated, swapped and removed, the length field wrong or made right again, bytes changed, the file cut
 * short. Whatever comes out must either open with every tensor inside the file, or give a typed error, having read no
 * more than twice what there is.
 */
import { MinkeError, Random } from '@minke/core';
import { encodeSafetensors } from '../encode.ts';
import { openSafetensors } from '../safetensors.ts';
import { parseShardIndex } from '../shard-index.ts';
import { countedSource, readAllTensors } from './read-all-tensors.ts';

/** A header in its parts, and the data behind it. */
export interface GoodFile {
  readonly tokens: readonly string[];
  readonly data: Uint8Array;
}

const partsOf = (json: string): string[] => json.match(/"(?:[^"\\]|\\.)*"|-?\d+|[^"\d-]/g) ?? [];

/** A file with tensors of several types, empty and scalar ones among them, and metadata. */
export async function goodSafetensors(): Promise<GoodFile> {
  const bytes = await encodeSafetensors(
    {
      'model.w': { dtype: 'F32', shape: [2, 3], data: new Float32Array([1, -2, 3, 4, 5, 6]) },
      'model.b': { dtype: 'BF16', shape: [3], data: new Uint16Array([0x3f80, 0, 1]) },
      'model.fp8': {
        dtype: 'F8_E4M3',
        shape: [2, 4],
        data: Uint8Array.of(0, 8, 56, 126, 127, 128, 254, 255),
      },
      'model.scale': { dtype: 'F8_E8M0', shape: [1, 1], data: Uint8Array.of(127) },
      half: { dtype: 'F16', shape: [1, 2, 1], data: new Uint16Array([0x3c00, 0x7c00]) },
      steps: { dtype: 'I64', shape: [], data: new BigInt64Array([7n]) },
      none: { dtype: 'F64', shape: [0, 4], data: new Float64Array(0) },
      flags: { dtype: 'BOOL', shape: [2], data: Uint8Array.of(1, 0) },
    },
    { metadata: { format: 'pt', note: 'a "quoted" word' } },
  );
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const json = new TextDecoder().decode(bytes.subarray(8, 8 + length));
  return { tokens: partsOf(json), data: bytes.subarray(8 + length) };
}

const goodIndex = partsOf(
  '{"metadata":{"total_size":48},"weight_map":{"a":"m-1.safetensors","b":"m-1.safetensors","c":"m-2.safetensors"}}',
);

const numbers = [
  ...[
    '0',
    '1',
    '2',
    '3',
    '4',
    '7',
    '8',
    '12',
    '63',
    '64',
    '65',
    '255',
    '256',
    '4096',
    '-1',
    '-0',
    '00',
    '1.5',
  ],
  ...['1e3', '1e309', '2147483648', '4294967295', '4294967296', '9007199254740991', '9007199254740992'],
  ...[
    '9223372036854775808',
    '18446744073709551615',
    '99999999999999999999',
    'NaN',
    'null',
    'true',
    '"8"',
    '[]',
  ],
];
const texts = [
  ...[
    '"__metadata__"',
    '"__proto__"',
    '"constructor"',
    '"dtype"',
    '"shape"',
    '"data_offsets"',
    '""',
    '"\\u0000"',
  ],
  ...[
    '"\\ud800"',
    '"\\u12g4"',
    '"a',
    "'a'",
    '"model.w"',
    '"F32"',
    '"F64"',
    '"BF16"',
    '"F8_E4M3"',
    '"F8_E8M0"',
  ],
  ...[
    '"F4"',
    '"F6_E2M3"',
    '"BOOL"',
    '"I64"',
    '"f32"',
    '"../../etc/passwd"',
    '"/etc/passwd"',
    '"a\\\\b"',
    '{}',
    '0',
  ],
];
const marks = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  ' ',
  '\n',
  '\0',
  '\ufeff',
  '{"x":',
  '[[[[[[[[[',
  ',,',
];

const below = (random: Random, n: number) => Math.floor(random.uniform() * n);
const pick = <T>(random: Random, from: readonly T[]): T => from[below(random, from.length)] as T;

/** One to three changes of a text's parts. */
function mutateText(good: readonly string[], random: Random): string {
  const tokens = [...good];
  for (let changes = 1 + below(random, 3); changes > 0 && tokens.length > 0; changes--) {
    const kind = random.uniform();
    // Mostly numbers and strings; punctuation is more common, and soon noticed.
    let at = below(random, tokens.length);
    for (let tries = 0; tries < 3 && tokens[at]!.length === 1 && !/\d/.test(tokens[at]!); tries++)
      at = below(random, tokens.length);
    const token = tokens[at]!;
    if (kind < 0.5) {
      if (/^-?\d/.test(token)) {
        const near = [1, -1, 2, -2, 8].map((step) => String(Number(token) + step));
        tokens[at] = random.uniform() < 0.4 ? pick(random, near) : pick(random, numbers);
      } else tokens[at] = token.startsWith('"') ? pick(random, texts) : pick(random, marks);
    } else if (kind < 0.6) tokens.splice(at, 1 + below(random, 3));
    else if (kind < 0.7) {
      const to = below(random, tokens.length);
      [tokens[at], tokens[to]] = [tokens[to]!, token];
    } else if (kind < 0.85) {
      // A piece again: a tensor, a field or a number twice.
      const length = 1 + below(random, 24);
      tokens.splice(below(random, tokens.length), 0, ...tokens.slice(at, at + length));
    } else tokens.splice(at, 0, pick(random, [...marks, ...numbers, ...texts]));
  }
  return tokens.join('');
}

/** A damaged file. */
export function mutateSafetensors({ tokens, data }: GoodFile, random: Random): Uint8Array {
  const json = new TextEncoder().encode(
    random.uniform() < 0.9 ? mutateText(tokens, random) : tokens.join(''),
  );
  const bytes = new Uint8Array(8 + json.length + data.length);
  const view = new DataView(bytes.buffer);
  const wrong = [0n, 1n, 2n, BigInt(json.length + 1), 100_000_000n, 100_000_001n, 2n ** 53n, 2n ** 64n - 1n];
  view.setBigUint64(0, random.uniform() < 0.85 ? BigInt(json.length) : pick(random, wrong), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  const kind = random.uniform();
  if (kind < 0.15) bytes[below(random, bytes.length)] = below(random, 256);
  if (kind > 0.93) return bytes.subarray(0, below(random, bytes.length + 1));
  if (kind > 0.88) return Uint8Array.from([...bytes, ...new Array(1 + below(random, 9)).fill(0x20)]);
  return bytes;
}

/** Opens and reads everything. Returns whether it was a good file; throws for anything but a typed error. */
export async function openAndReadAll(bytes: Uint8Array): Promise<boolean> {
  const { source, check } = countedSource(bytes);
  try {
    const file = await openSafetensors(source);
    await readAllTensors(file, bytes.length);
    let total = 0;
    for (const { byteLength } of file.tensors.values()) total += byteLength;
    if (total >= bytes.length) throw new Error('the tensors overlap');
    return true;
  } catch (problem) {
    if (!MinkeError.isInstance(problem) || problem.code !== 'invalid-file') throw problem;
    if (problem.message.length > 2000) throw new Error(`a message of ${problem.message.length} characters`);
    check();
    return false;
  }
}

/** Parses an index; as above. */
function parseIndex(text: string): boolean {
  try {
    const { shardOf } = parseShardIndex(text, 'index');
    for (const file of shardOf.values())
      if (/[/\\:\0]/.test(file) || file === '..') throw new Error(`${file} leads out of the folder`);
    return true;
  } catch (problem) {
    if (!MinkeError.isInstance(problem) || problem.code !== 'invalid-file') throw problem;
    return false;
  }
}

/**
 * Runs so many mutations, every eighth of an index; returns how many were still good. A failure names the seed that
 * repeats it.
 */
export async function runMutations(count: number, seed: number): Promise<number> {
  const file = await goodSafetensors();
  let good = 0;
  for (let i = 0; i < count; i++) {
    const random = new Random(seed + i);
    try {
      const fine =
        i % 8 === 7
          ? parseIndex(mutateText(goodIndex, random))
          : await openAndReadAll(mutateSafetensors(file, random));
      if (fine) good++;
    } catch (problem) {
      throw new Error(`mutation with seed ${seed + i}: ${(problem as Error).message}`, { cause: problem });
    }
  }
  return good;
}
