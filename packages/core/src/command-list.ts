/**
 * A recorded sequence of operations, checked as it is recorded.
 *
 * A list can be submitted once, or closed and submitted many times with other buffers and attributes.
 */
import type { BackendBuffer, TensorRef } from './buffers.ts';
import { check, MinkeError } from './errors.ts';
import { checkCall, encodeAttributes } from './op-calls.ts';
import type { Attributes, OpName } from './ops.ts';

/** One call. `tensors` holds the row's inputs (in-out ones included), then its outputs. */
export interface CommandRecord {
  readonly op: OpName;
  readonly tensors: readonly TensorRef[];
  /** In the row's order, enumerations as their index. */
  readonly attributes: readonly number[];
}

export class CommandList {
  readonly #records: CommandRecord[] = [];
  #closed = false;

  /** Commands in execution order. */
  get records(): readonly CommandRecord[] {
    return this.#records;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Appends a call. Throws `invalid-argument` when types, ranks or shapes do not fit the op's row.
   * @returns the record's index, the name for `Bindings.attributes`.
   */
  record<O extends OpName>(
    op: O,
    inputs: readonly TensorRef[],
    outputs: readonly TensorRef[],
    attributes: Attributes<O>,
  ): number {
    if (this.#closed)
      throw new MinkeError('invalid-argument', 'CommandList.record: the list is closed; start a new one');
    checkCall(op, inputs, outputs, attributes);
    this.#records.push({
      op,
      tensors: [...inputs, ...outputs],
      attributes: encodeAttributes(op, attributes),
    });
    return this.#records.length - 1;
  }

  /** No more commands may follow; the list can now be kept and replayed. */
  close(): this {
    this.#closed = true;
    return this;
  }

  /** Every buffer the list touches. */
  buffers(): Set<BackendBuffer> {
    const buffers = new Set<BackendBuffer>();
    for (const record of this.#records) for (const tensor of record.tensors) buffers.add(tensor.buffer);
    return buffers;
  }
}

/** The tensor a record uses under `buffers`, checked to be large enough. */
export function rebind(
  tensor: TensorRef,
  buffers: ReadonlyMap<BackendBuffer, BackendBuffer> | undefined,
): BackendBuffer {
  const bound = buffers?.get(tensor.buffer);
  if (bound === undefined) return tensor.buffer;
  check(
    bound.dtype === tensor.buffer.dtype && bound.length >= tensor.buffer.length,
    () =>
      `submit: expected a replacement of at least ${tensor.buffer.length} ${tensor.buffer.dtype}, got ${bound.length} ${bound.dtype}`,
  );
  return bound;
}
