/** A check that a row has the same bits alone as among others, and the comparison of bits that such checks share. */
import type { Attributes, OpName } from '@minke/core';
import type { ContractCheck } from './contract-check.ts';
import type { HostTensor } from './draw.ts';
import { execute, sameBits, type Written } from './execute.ts';

/** Throws unless outputs have the same bits, naming the first that has not. */
export function equalBits(got: readonly Written[], want: readonly Written[], what: string): void {
  want.forEach(({ name, data }, i) => {
    if (!sameBits(got[i]!.data, data)) throw new Error(`expected ${name} with the same bits ${what}`);
  });
}

/** Rows `from .. from + count` of a tensor whose first axis is rows. */
export function rowsOf(tensor: HostTensor, from: number, count: number): HostTensor {
  const width = tensor.data.length / tensor.shape[0]!;
  return {
    dtype: tensor.dtype,
    shape: [count, ...tensor.shape.slice(1)],
    data: tensor.data.slice(from * width, (from + count) * width),
  };
}

/** Runs `op` on all rows, then on parts of them: each row must come out with the same bits. `perRow` names the
 *  inputs that have one row per output row. */
export function batchInvariance<O extends OpName>(
  op: O,
  label: string,
  inputs: readonly HostTensor[],
  perRow: readonly number[],
  attributes: Attributes<O>,
): ContractCheck {
  return {
    name: `${op}: a row does not depend on its batch${label}`,
    op,
    async run(backend) {
      const rows = inputs[perRow[0]!]!.shape[0]!;
      const all = await execute(backend, op, inputs, attributes);
      for (const [from, count] of [
        [0, 1],
        [rows - 1, 1],
        [3, 2],
        [5, 7],
        [1, rows - 1],
      ] as const) {
        const part = inputs.map((input, i) => (perRow.includes(i) ? rowsOf(input, from, count) : input));
        const got = await execute(backend, op, part, attributes, 1);
        const want = all.map(({ name, dtype, data }) => {
          const width = data.length / rows;
          return { name, dtype, data: data.slice(from * width, (from + count) * width) };
        });
        equalBits(got, want, `for rows ${from} to ${from + count} alone`);
      }
    },
  };
}
