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
  check,
  type DType,
  dtypes,
  formatShape,
  MinkeError,
  opNames,
  opRow,
  rebind,
  sameShape,
  type TensorRef,
} from '@minke/core';

const opCodes = new Map(opNames.map((name, code) => [name, code]));
const numericTypes: readonly DType[] = ['f32', 'i32', 'bf16', 'f16', 'i8', 'u8'];

/** Where a record's attributes lie, and where a tensor's address does. */
interface Encoded {
  readonly words: Float64Array;
  readonly attributesAt: readonly number[];
  readonly pointers: readonly { readonly at: number; readonly tensor: TensorRef; readonly bytes: number }[];
  readonly buffers: readonly BackendBuffer[];
}

/** What the table cannot say about `any` slots: which storage types a kernel can read and write. */
export function checkTypes(record: CommandRecord): void {
  const [first, second] = record.tensors;
  if (record.op === 'copyInto')
    check(
      first!.dtype === second!.dtype,
      () => `copyInto: expected tensors of one type, got ${first!.dtype} and ${second!.dtype}; cast first`,
    );
  if (record.op === 'fill')
    check(
      numericTypes.includes(first!.dtype) || record.attributes[0] === 0,
      () => `fill: expected a number type or the value 0, got ${first!.dtype}`,
    );
}

function encode(records: readonly CommandRecord[]): Encoded {
  let size = 0;
  for (const record of records) size += 3 + record.attributes.length + 7 * record.tensors.length;
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

/** New attributes must lead to the shapes that were recorded. */
export function checkAttributes(record: CommandRecord, index: number, attributes: readonly number[]): void {
  const row = opRow(record.op);
  const names = Object.keys(row.attributes);
  const inputs = record.tensors.slice(0, row.inputs.length).map((t) => t.shape);
  const outputs = record.tensors.slice(row.inputs.length).map((t) => t.shape);
  let shapes: ReturnType<typeof row.shapes> = [];
  let problem = attributes.length === names.length ? '' : `${names.length} attributes`;
  if (!problem) {
    try {
      shapes = row.shapes(inputs, Object.fromEntries(names.map((name, i) => [name, attributes[i]!])));
      const same =
        shapes.length === outputs.length && shapes.every((shape, i) => sameShape(shape, outputs[i]!));
      if (!same) problem = `attributes that keep the shapes ${outputs.map(formatShape).join(', ')}`;
      names.forEach((name, i) => {
        const kind = row.attributes[name]!;
        const value = attributes[i]!;
        if (kind === 'int' ? !Number.isSafeInteger(value) : typeof kind === 'object' && !(value in kind))
          problem = `a valid ${name}`;
      });
    } catch (thrown) {
      if (typeof thrown !== 'string') throw thrown;
      problem = thrown;
    }
  }
  check(
    !problem,
    () => `submit: expected ${problem} for record ${index} (${record.op}), got [${attributes.join(', ')}]`,
  );
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
