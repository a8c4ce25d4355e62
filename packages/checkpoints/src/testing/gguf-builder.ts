/**
 * GGUF files for tests, field by field: beside the bytes it says where each field is and what it means, so that a test
 * can put wrong values exactly there.
 */

/** Kinds of fields that mutations treat differently. */
export type FieldKind = 'magic' | 'count' | 'length' | 'type' | 'rank' | 'size' | 'offset' | 'value' | 'text';

export interface Field {
  readonly kind: FieldKind;
  readonly at: number;
  readonly bytes: number;
}

export interface TestTensor {
  readonly name: string;
  /** Number of the type in the file. */
  readonly type: number;
  /** Fastest dimension first, as in the file. */
  readonly sizes: readonly (number | bigint)[];
  readonly data: Uint8Array;
  /** Instead of the offset that follows from the data before. */
  readonly offset?: number | bigint;
}

/** A value type and the value; arrays name the type of their items. */
export type TestValue =
  | { readonly type: number; readonly value: number | bigint | string }
  | { readonly type: 9; readonly items: number; readonly values: readonly (number | bigint | string)[] };

export interface TestFile {
  readonly version?: number;
  readonly values?: readonly (readonly [key: string, value: TestValue])[];
  readonly tensors?: readonly TestTensor[];
  readonly alignment?: number;
}

const numberBytes: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};

export function buildGguf(file: TestFile): { bytes: Uint8Array; fields: Field[] } {
  const { version = 3, values = [], tensors = [], alignment = 32 } = file;
  const out: number[] = [];
  const fields: Field[] = [];
  const put = (kind: FieldKind, bytes: number, value: number | bigint) => {
    fields.push({ kind, at: out.length, bytes });
    for (let i = 0n; i < BigInt(bytes); i++) out.push(Number((BigInt(value) >> (8n * i)) & 255n));
  };
  const putText = (text: string) => {
    const bytes = new TextEncoder().encode(text);
    put('length', 8, bytes.length);
    fields.push({ kind: 'text', at: out.length, bytes: bytes.length });
    for (const byte of bytes) out.push(byte);
  };
  const putValue = (type: number, value: number | bigint | string) => {
    if (typeof value === 'string') putText(value);
    else if (type === 6 || type === 12) {
      const view = new DataView(new ArrayBuffer(8));
      if (type === 6) view.setFloat32(0, Number(value), true);
      else view.setFloat64(0, Number(value), true);
      put('value', numberBytes[type]!, view.getBigUint64(0, true));
    } else put('value', numberBytes[type]!, value);
  };
  put('magic', 4, 0x46554747);
  put('type', 4, version);
  put('count', 8, tensors.length);
  put('count', 8, values.length);
  for (const [key, value] of values) {
    putText(key);
    put('type', 4, value.type);
    if ('items' in value) {
      put('type', 4, value.items);
      put('count', 8, value.values.length);
      for (const item of value.values) putValue(value.items, item);
    } else putValue(value.type, value.value);
  }
  const pad = (n: number) => Math.ceil(n / alignment) * alignment;
  let offset = 0;
  for (const tensor of tensors) {
    putText(tensor.name);
    put('rank', 4, tensor.sizes.length);
    for (const size of tensor.sizes) put('size', 8, size);
    put('type', 4, tensor.type);
    put('offset', 8, tensor.offset ?? offset);
    offset = pad(offset + tensor.data.length);
  }
  while (out.length % alignment !== 0) out.push(0);
  for (const { data } of tensors) {
    for (const byte of data) out.push(byte);
    while (out.length % alignment !== 0) out.push(0);
  }
  return { bytes: new Uint8Array(out), fields };
}
