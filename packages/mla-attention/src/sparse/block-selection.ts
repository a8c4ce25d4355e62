/**
 * Which blocks of tokens a query of native sparse attention attends to (NSA, arXiv 2502.11089, section 3.3.2): those in
 * which compressed attention put most weight, and some first and last ones always.
 *
 * Equation 9 sums the probabilities of compressed blocks; its printed signs differ, and here are those under which a
 * compressed block counts for each of its strides that lies in the block to select.
 */
import { type Arena, add, affine, call, clamp, matmul, mul, repeat, sub, type Tensor } from '@minke/tensor';
import type { NativeSparseConfig } from './native-config.ts';
import { selectLargest } from './selection-mask.ts';

/** Positions of the queries: `context` tokens come before the first of `count`. */
export interface Stretch {
  readonly context: number;
  readonly count: number;
}

/** i32 [N, count]: the chosen blocks in order, then -1; probabilities [N, E] summed over heads. Without gradient. */
export function chooseBlocks(
  arena: Arena,
  probabilities: Tensor | null,
  config: NativeSparseConfig,
  { context, count }: Stretch,
): Tensor {
  const { size, initial, local, count: most } = config.selection;
  const { size: compressed, stride } = config.compression;
  const blocks = Math.ceil((context + count) / size);
  const always = Array.from({ length: count * blocks }, (_, i) => {
    const [own, block] = [Math.floor((context + Math.floor(i / blocks)) / size), i % blocks];
    if (block > own) return Number.NEGATIVE_INFINITY;
    return block < initial || block > own - local ? 1e30 : 0;
  });
  const forced = arena.tensor(always, [count, blocks]);
  const scores = () => {
    if (probabilities === null) return forced;
    const strides = probabilities.shape[1] as number;
    const overlap = new Float32Array(strides * blocks);
    for (let j = 0; j < blocks; j++)
      for (let m = 0; m < size / stride; m++)
        for (let n = 0; n < compressed / stride; n++) {
          const i = (size / stride) * j + m - n;
          if (i >= 0 && i < strides) overlap[i * blocks + j]! += 1;
        }
    return add(matmul(probabilities, arena.tensor(overlap, [strides, blocks])), forced);
  };
  return arena.withoutGrad(() => selectLargest(scores(), most));
}

/** Rows of the chosen blocks' tokens, i32 [N, count x size]; -1 for those after the query and of no block. */
export function rowsOfBlocks(chosen: Tensor, size: number, { context, count }: Stretch): Tensor {
  const { arena } = chosen;
  const most = chosen.shape[1] as number;
  const upload = (numbers: readonly number[], shape: readonly number[]) => arena.tensor(numbers, shape);
  const starts = affine(call('cast', [chosen], { to: 'f32' })[0] as Tensor, size, 0);
  const spread = repeat(starts.reshape([count * most, 1]), 1, size);
  const within = upload(
    Array.from({ length: size }, (_, i) => i),
    [size],
  );
  const rows = add(spread, within).reshape([count, most * size]);
  const ends = upload(
    Array.from({ length: count }, (_, i) => context + i + 1),
    [count, 1],
  );
  const before = clamp(sub(repeat(ends, 1, most * size), rows), 0, 1);
  const counts = mul(clamp(affine(rows, 1, 1), 0, 1), before);
  const named = affine(mul(affine(rows, 1, 1), counts), 1, -1);
  return call('cast', [named], { to: 'i32' })[0] as Tensor;
}

/** The same choice as numbers to add to scores, [N, context + count]: 0 for tokens of chosen blocks, else -1e30. */
export function maskOfBlocks(chosen: Tensor, size: number, { context, count }: Stretch): Tensor {
  const { arena } = chosen;
  const tokens = context + count;
  const blocks = Math.ceil(tokens / size);
  return arena.withoutGrad(() => {
    const ones = arena.full(chosen.shape, 1);
    const which = call('scatterLast', [ones, chosen], { size: blocks })[0] as Tensor;
    const belongs = Array.from({ length: blocks * tokens }, (_, i) =>
      Number(Math.floor((i % tokens) / size) === Math.floor(i / tokens)),
    );
    return affine(matmul(which, arena.tensor(belongs, [blocks, tokens])), 1e30, -1e30);
  });
}
