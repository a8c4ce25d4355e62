/**
 * Command lists as programs: arrays of numbers that the kernels run in one call (layout: kernels/kernels.cc).
 *
 * A list is encoded once and kept; submitting it again with bindings patches a copy. Bound attributes are
 * checked against the op table again, because kernels trust shapes.
 */
import {
  type BackendBuffer,
  type Bindings,
  byteLength,
  type CommandList,
  type CommandRecord,
  dtypes,
  MinkeError,
  opNames,
  rebind,
  type TensorRef,
} from '@minke/core';
import { checkAttributes, checkTypes } from '../record-checks.ts';

const opCodes = new Map(opNames.map((name, code) => [name, code]));

/** Where a record's attributes lie, and where a tensor's address does. */
interface Encoded {
  readonly words: Float64Array;
  readonly attributesAt: readonly number[];
  readonly pointers: readonly { readonly at: number; readonly tensor: TensorRef; readonly bytes: number }[];
  readonly buffers: readonly BackendBuffer[];
}

/** Numbers that a record takes in a program. */
export function recordWords({ attributes, tensors }: CommandRecord): number {
  return 3 + attributes.length + 7 * tensors.length;
}

function encode(records: readonly CommandRecord[]): Encoded {
  let size = 0;
  for (const record of records) size += recordWords(record);
  const words = new Float64Array(size);
  const attributesAt: number[] = [];
  const pointers: { at: number; tensor: TensorRef; bytes: number }[] = [];
  const buffers = new Set<BackendBuffer>();
  let at = 0;
  for (const record of records) {
    checkTypes(record);
    words[at++] = opCodes.get(record.op)!;
    words[at++] = record.tensors.length;
    words[at++] = record.attributes.length;
    attributesAt.push(at);
    words.set(record.attributes, at);
    at += record.attributes.length;
    for (const tensor of record.tensors) {
      pointers.push({ at, tensor, bytes: byteLength(tensor.dtype, tensor.offset) });
      buffers.add(tensor.buffer);
      words[at + 1] = dtypes[tensor.dtype].code;
      words[at + 2] = tensor.shape.length;
      words.set(tensor.shape, at + 3);
      at += 7;
    }
  }
  return { words, attributesAt, pointers, buffers: [...buffers] };
}

/** Turns lists into programs for buffers whose addresses `addressOf` knows; it throws for a released buffer. */
export class Encoder {
  readonly #cache = new WeakMap<CommandList, { length: number; encoded: Encoded; epoch: number }>();
  readonly #addressOf: (buffer: BackendBuffer) => number;

  constructor(addressOf: (buffer: BackendBuffer) => number) {
    this.#addressOf = addressOf;
  }

  /** The program of `list`; valid until the next call with the same list. */
  program(list: CommandList, bindings: Bindings = {}): Float64Array {
    const records = list.records;
    let kept = this.#cache.get(list);
    if (kept === undefined || kept.length !== records.length) {
      kept = { length: records.length, encoded: encode(records), epoch: 0 };
      if (list.closed) this.#cache.set(list, kept);
    }
    const { words, attributesAt, pointers, buffers } = kept.encoded;
    const addresses = new Map<BackendBuffer, number>();
    for (const buffer of buffers) {
      const tensor = { buffer, dtype: buffer.dtype, shape: [], offset: 0 };
      addresses.set(buffer, this.#addressOf(rebind(tensor, bindings.buffers)));
    }
    for (const { at, tensor, bytes } of pointers) words[at] = addresses.get(tensor.buffer)! + bytes;
    if (!bindings.attributes?.size) return words;
    const patched = words.slice();
    for (const [index, attributes] of bindings.attributes) {
      const record = records[index];
      if (record === undefined)
        throw new MinkeError(
          'invalid-argument',
          `submit: expected record indices below ${records.length}, got ${index}`,
        );
      checkAttributes(record, index, attributes);
      patched.set(attributes, attributesAt[index]!);
    }
    return patched;
  }
}
