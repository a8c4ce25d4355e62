/**
 * Checks of recorded commands that kernels rely on, beyond what the op table says when a command is recorded.
 */
import { type CommandRecord, check, type DType, formatShape, opRow, sameShape } from '@minke/core';

const numericTypes: readonly DType[] = ['f32', 'i32', 'bf16', 'f16', 'i8', 'u8'];

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
