/**
 * Laying out a safetensors file, byte for byte as the reference library does.
 *
 * Tensors go by falling alignment of their type, then by name, and the header is padded with spaces to a
 * multiple of 8 (huggingface/safetensors, safetensors/src/tensor.rs, `prepare`), so that the same tensors
 * always give the same bytes. Metadata keys are sorted, which the reference leaves to its hash map.
 */
import { check } from '@minke/core';
import { dtypeRank, isSafetensorsDType, type SafetensorsDType, tensorByteLength } from './dtypes.ts';
import { maxHeaderBytes } from './header.ts';

/** Type and shape of a tensor to write. */
export interface TensorSpec {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
}

/** A tensor to write. */
export interface TensorData extends TensorSpec {
  /** Its elements, little-endian and row-major, as any typed array; or a function that makes them when needed. */
  readonly data: ArrayBufferView | (() => ArrayBufferView | Promise<ArrayBufferView>);
}

/** Tensors by name, as a map or a plain object. */
export type NamedTensors = ReadonlyMap<string, TensorData> | Readonly<Record<string, TensorData>>;

export interface WriteOptions {
  /** Strings for `__metadata__`; transformers expects `{ format: 'pt' }`. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A file about to be written: the length field and header, then these tensors in this order. */
export interface Layout<T extends TensorSpec> {
  readonly head: Uint8Array;
  readonly tensors: readonly (readonly [string, T])[];
  /** Bytes of the whole file. */
  readonly byteLength: number;
}

/** Name and tensor pairs of either form. */
export function entriesOf<T>(tensors: ReadonlyMap<string, T> | Readonly<Record<string, T>>): [string, T][] {
  return [...(tensors instanceof Map ? tensors.entries() : Object.entries(tensors))];
}

/** Bytes of a tensor by its type and shape. @throws MinkeError 'invalid-argument' for an impossible tensor. */
export function checkedByteLength(where: string, name: string, { dtype, shape }: TensorSpec): number {
  const label = `${where}: tensor ${JSON.stringify(name)}`;
  check(isSafetensorsDType(dtype), () => `${label}: unknown dtype ${JSON.stringify(dtype)}`);
  const valid = shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0);
  check(valid, () => `${label}: expected a shape of whole numbers, got [${shape}]`);
  const bytes = tensorByteLength(dtype, shape);
  check(typeof bytes === 'number', () => `${label} of shape [${shape}]: ${bytes}`);
  return bytes;
}

/** The bytes of a tensor, made now if need be. @throws MinkeError 'invalid-argument' if they do not fit its shape. */
export async function bytesOf(where: string, name: string, tensor: TensorData): Promise<Uint8Array> {
  const data = typeof tensor.data === 'function' ? await tensor.data() : tensor.data;
  const expected = checkedByteLength(where, name, tensor);
  check(
    data.byteLength === expected,
    () =>
      `${where}: tensor ${JSON.stringify(name)}, ${tensor.dtype} of shape [${tensor.shape}]: expected ${expected} bytes of data, got ${data.byteLength}`,
  );
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

const utf8 = new TextEncoder();

/** Order of the names' UTF-8 bytes. */
function compareNames(a: string, b: string): number {
  const [left, right] = [utf8.encode(a), utf8.encode(b)];
  const at = left.findIndex((byte, i) => byte !== right[i]);
  return at < 0 ? left.length - right.length : left[at]! - (right[at] ?? -1);
}

/** Sorts the tensors and builds the header. */
export function layOut<T extends TensorSpec>(
  where: string,
  tensors: ReadonlyMap<string, T> | Readonly<Record<string, T>>,
  options: WriteOptions,
): Layout<T> {
  const sorted = entriesOf(tensors);
  for (const [name, tensor] of sorted) {
    check(
      name !== '__metadata__' && name !== '__proto__' && new TextDecoder().decode(utf8.encode(name)) === name,
      () => `${where}: ${JSON.stringify(name)} cannot name a tensor`,
    );
    checkedByteLength(where, name, tensor);
  }
  sorted.sort(([a, { dtype: x }], [b, { dtype: y }]) => dtypeRank(y) - dtypeRank(x) || compareNames(a, b));

  const metadata = Object.entries(options.metadata ?? {}).sort(([a], [b]) => compareNames(a, b));
  const wrong = metadata.find(([key, value]) => typeof value !== 'string' || key === '__proto__');
  check(
    wrong === undefined,
    () => `${where}: expected metadata of strings, got ${wrong![0]}: ${String(wrong![1])}`,
  );
  // Written by hand because a JavaScript object would move names such as "12" to the front.
  const fields =
    metadata.length === 0 ? [] : [`"__metadata__":${JSON.stringify(Object.fromEntries(metadata))}`];
  let end = 0;
  for (const [name, tensor] of sorted) {
    const begin = end;
    end += checkedByteLength(where, name, tensor);
    const { dtype, shape } = tensor;
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`);
  }
  const json = utf8.encode(`{${fields.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  check(
    padded <= maxHeaderBytes,
    () => `${where}: the header would take ${padded} bytes; the format allows ${maxHeaderBytes}`,
  );
  const head = new Uint8Array(8 + padded).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(padded), true);
  head.set(json, 8);
  return { head, tensors: sorted, byteLength: head.length + end };
}

/**
 * A whole safetensors file as bytes in memory.
 *
 * @throws MinkeError 'invalid-argument' if data and shape disagree or a name is not allowed.
 * @example
 * const bytes = await encodeSafetensors({ x: { dtype: 'F32', shape: [2], data: new Float32Array([1, 2]) } });
 * const file = await openSafetensors(memorySource(bytes));
 */
export async function encodeSafetensors(
  tensors: NamedTensors,
  options: WriteOptions = {},
): Promise<Uint8Array> {
  const layout = layOut('encodeSafetensors', tensors, options);
  const bytes = new Uint8Array(layout.byteLength);
  bytes.set(layout.head);
  let at = layout.head.length;
  for (const [name, tensor] of layout.tensors) {
    const data = await bytesOf('encodeSafetensors', name, tensor);
    bytes.set(data, at);
    at += data.length;
  }
  return bytes;
}
