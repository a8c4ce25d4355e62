/**
 * The metadata values of a GGUF file: numbers, flags, text, and arrays of them.
 *
 * Whole numbers of 64 bits become a `number` where that is exact, else a `bigint`. Arrays of numbers become typed arrays,
 * so that a million of them take no more memory than in the file. Arrays of arrays, which nothing writes, are refused.
 */
import type { TypedArray } from './dtypes.ts';
import type { GgufCursor } from './gguf-cursor.ts';

/** A metadata value. */
export type GgufValue =
  | number
  | bigint
  | boolean
  | string
  | readonly string[]
  | readonly boolean[]
  | TypedArray;

/** Longest text: chat templates and licences are far shorter. */
const maxStringBytes = 1 << 24;
/** Longest array: vocabularies have some hundred thousand entries. */
const maxItems = 1 << 24;

const numbers = {
  0: { bytes: 1, Type: Uint8Array },
  1: { bytes: 1, Type: Int8Array },
  2: { bytes: 2, Type: Uint16Array },
  3: { bytes: 2, Type: Int16Array },
  4: { bytes: 4, Type: Uint32Array },
  5: { bytes: 4, Type: Int32Array },
  6: { bytes: 4, Type: Float32Array },
  10: { bytes: 8, Type: BigUint64Array },
  11: { bytes: 8, Type: BigInt64Array },
  12: { bytes: 8, Type: Float64Array },
} as const;
const flag = 7;
const text = 8;
const array = 9;

/** Reads a value type and the value. @param key what to call it in errors. */
export async function readGgufValue(cursor: GgufCursor, key: string): Promise<GgufValue> {
  const type = await cursor.u32(`the type of ${key}`);
  if (type === text) return cursor.string(key, maxStringBytes);
  if (type !== array) return single((await readItems(cursor, type, 1, key))[0] as GgufValue);
  const itemType = await cursor.u32(`the item type of ${key}`);
  if (itemType === array) throw cursor.error(`${key} is an array of arrays`, 'unsupported');
  const least = itemType === text ? 8 : itemBytes(cursor, itemType, key);
  const count = await cursor.count(`items of ${key}`, least, maxItems);
  if (itemType !== text) return readItems(cursor, itemType, count, key);
  const strings: string[] = [];
  for (let i = 0; i < count; i++) strings.push(await cursor.string(`item ${i} of ${key}`, maxStringBytes));
  return strings;
}

function itemBytes(cursor: GgufCursor, type: number, key: string): number {
  if (type === flag) return 1;
  if (!Object.hasOwn(numbers, type))
    throw cursor.error(`${key} has value type ${type}, which GGUF does not have`);
  return numbers[type as keyof typeof numbers].bytes;
}

async function readItems(
  cursor: GgufCursor,
  type: number,
  count: number,
  key: string,
): Promise<readonly boolean[] | TypedArray> {
  const bytes = count * itemBytes(cursor, type, key);
  await cursor.need(bytes, key);
  const raw = cursor.take(bytes);
  if (type === flag) {
    const wrong = raw.find((byte) => byte > 1);
    if (wrong !== undefined) throw cursor.error(`${key}: expected 0 or 1 for a flag, got ${wrong}`);
    return Array.from(raw, (byte) => byte === 1);
  }
  const { Type } = numbers[type as keyof typeof numbers];
  const items = new Type(new Uint8Array(raw).buffer);
  return items;
}

/** 64-bit integers as a number where that is exact. */
function single(value: GgufValue): GgufValue {
  const exact = typeof value === 'bigint' && BigInt.asIntN(54, value) === value;
  return exact ? Number(value) : value;
}
