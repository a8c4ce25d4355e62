/**
 * Checking calls against the op table: attributes, input types and shapes, output shapes, views.
 */
import type { TensorRef } from './buffers.ts';
import { type DType, dtypes, elementCount, formatShape, type Shape, sameShape } from './dtype.ts';
import { MinkeError } from './errors.ts';
import type { Slot } from './ops/op-row.ts';
import { type Attributes, type OpName, opRow } from './ops.ts';

/** Attributes in row order, enumerations as their index. */
export function encodeAttributes<O extends OpName>(op: O, attributes: Attributes<O>): number[] {
  const given = attributes as Readonly<Record<string, number | string>>;
  return Object.entries(opRow(op).attributes).map(([name, kind]) => {
    const value = given[name];
    if (typeof kind === 'object') {
      const index = kind.indexOf(value as string);
      if (index < 0)
        throw new MinkeError(
          'invalid-argument',
          `${op}: expected ${name} to be one of ${kind.join(', ')}, got ${String(value)}`,
        );
      return index;
    }
    const valid =
      typeof value === 'number' && (kind === 'int' ? Number.isSafeInteger(value) : !Number.isNaN(value));
    if (!valid)
      throw new MinkeError(
        'invalid-argument',
        `${op}: expected ${name} to be ${kind === 'int' ? 'an integer' : 'a number'}, got ${String(value)}`,
      );
    return value as number;
  });
}

/** Types and shapes of an op's outputs. Throws `invalid-argument` when the inputs do not fit its row. */
export function inferOutputs<O extends OpName>(
  op: O,
  inputs: readonly { readonly dtype: DType; readonly shape: Shape }[],
  attributes: Attributes<O>,
): { dtype: DType; shape: Shape }[] {
  const row = opRow(op);
  const got = () => inputs.map((t) => `${t.dtype}${formatShape(t.shape)}`).join(', ');
  if (inputs.length !== row.inputs.length) {
    throw new MinkeError(
      'invalid-argument',
      `${op}: expected ${row.inputs.map((s) => s.name).join(', ')}, got ${inputs.length} tensors`,
    );
  }
  row.inputs.forEach((slot, i) => {
    const tensor = inputs[i]!;
    const rank = tensor.shape.length;
    if (!takes(slot, tensor.dtype) || rank < slot.rank[0] || rank > slot.rank[1]) {
      const ranks =
        slot.rank[0] === slot.rank[1] ? `rank ${slot.rank[0]}` : `rank ${slot.rank[0]} to ${slot.rank[1]}`;
      throw new MinkeError(
        'invalid-argument',
        `${op}: expected ${slot.name} to be ${[slot.dtype].flat().join(' or ')} of ${ranks}, got ${tensor.dtype}${formatShape(tensor.shape)}`,
      );
    }
    const { blockSize } = dtypes[tensor.dtype];
    if ((tensor.shape.at(-1) ?? 1) % blockSize !== 0) {
      throw new MinkeError(
        'invalid-argument',
        `${op}: expected ${slot.name} in ${tensor.dtype} with a last axis of whole blocks of ${blockSize}, got ${formatShape(tensor.shape)}`,
      );
    }
  });
  const encoded = encodeAttributes(op, attributes);
  const numbers: Record<string, number> = {};
  Object.keys(row.attributes).forEach((name, i) => {
    numbers[name] = encoded[i]!;
  });
  const { to } = row.attributes;
  const chosenType = () => (typeof to === 'object' ? (to[numbers.to!] as DType) : inputs[0]!.dtype);
  try {
    const shapes = row.shapes(
      inputs.map((t) => t.shape),
      numbers,
    );
    return shapes.map((shape, i) => {
      const slot = row.outputs[i]!;
      return {
        dtype: typeof slot.dtype === 'string' && slot.dtype !== 'any' ? slot.dtype : chosenType(),
        shape,
      };
    });
  } catch (problem) {
    if (typeof problem === 'string')
      throw new MinkeError('invalid-argument', `${op}: expected ${problem}, got ${got()}`);
    throw problem;
  }
}

function takes({ dtype }: Slot, given: DType): boolean {
  return dtype === 'any' || (typeof dtype === 'string' ? dtype === given : dtype.includes(given));
}

/** Checks a whole call: inputs against the row, outputs against the inferred shapes, every tensor inside its buffer. */
export function checkCall<O extends OpName>(
  op: O,
  inputs: readonly TensorRef[],
  outputs: readonly TensorRef[],
  attributes: Attributes<O>,
): void {
  const expected = inferOutputs(op, inputs, attributes);
  const fits =
    outputs.length === expected.length &&
    outputs.every((out, i) => out.dtype === expected[i]!.dtype && sameShape(out.shape, expected[i]!.shape));
  if (!fits) {
    const want = expected.map((t) => `${t.dtype}${formatShape(t.shape)}`).join(', ');
    const got = outputs.map((t) => `${t.dtype}${formatShape(t.shape)}`).join(', ');
    throw new MinkeError(
      'invalid-argument',
      `${op}: expected outputs ${want || 'none'}, got ${got || 'none'}`,
    );
  }
  for (const tensor of [...inputs, ...outputs]) {
    const end = tensor.offset + elementCount(tensor.shape);
    const aligned = tensor.offset % dtypes[tensor.dtype].blockSize === 0;
    if (tensor.offset < 0 || !aligned || end > tensor.buffer.length || tensor.buffer.dtype !== tensor.dtype) {
      throw new MinkeError(
        'invalid-argument',
        `${op}: expected a view inside its buffer, got ${tensor.dtype}${formatShape(tensor.shape)} at ${tensor.offset} of ${tensor.buffer.length} ${tensor.buffer.dtype}`,
      );
    }
  }
}
