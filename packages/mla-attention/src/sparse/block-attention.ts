/**
 * Mixture of block attention: each query attends to the blocks of keys whose mean key it likes best, its own always.
 *
 * Source: MoBA, arXiv 2502.13189, section 2.2: the score of a block is q . mean of its keys; blocks of the future do not
 * take part, the query's own is always chosen (and counts among the `topK`) and is masked causally. Without parameters;
 * the choice carries no gradient. From general ops with a mask over all pairs: exact, not fast.
 */
import { check } from '@minke/core';
import {
  type Arena,
  add,
  affine,
  call,
  concat,
  matmul,
  permute,
  repeat,
  softmax,
  type Tensor,
  topK,
} from '@minke/tensor';
import { headsFirst } from '../attention.ts';
import type { AttentionBatch } from '../batch.ts';
import { causalMask } from './causal-mask.ts';

export interface BlockAttentionOptions {
  readonly scale: number;
  /** Keys of a block, counted from the sequence's first token. */
  readonly blockSize: number;
  /** Blocks that a query attends to, its own among them. With all of them it is dense attention. */
  readonly topK: number;
}

/**
 * Differentiable in q, k and v.
 * @param q [N, H, C]; @param k [N, Hk, C]; @param v [N, Hk, W]; @param batch whole sequences, from `packSequences`
 * @returns [N, H, W]
 *
 * @example
 * const o = blockAttention(q, k, v, packSequences(arena, [4096]), { scale: 64 ** -0.5, blockSize: 512, topK: 3 });
 */
export function blockAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  batch: AttentionBatch,
  options: BlockAttentionOptions,
): Tensor {
  for (const name of ['blockSize', 'topK'] as const)
    check(
      Number.isSafeInteger(options[name]) && options[name] >= 1,
      () => `blockAttention: expected ${name} a positive integer, got ${options[name]}`,
    );
  const { segments } = batch;
  check(
    segments?.every(({ context }) => context === 0) === true,
    () => 'blockAttention: expected whole sequences from packSequences, got a batch of another kind',
  );
  const outputs = segments.map(({ start, count }) => {
    const rows = (x: Tensor) => x.rows(start, start + count);
    return ofSequence(rows(q), rows(k), rows(v), options);
  });
  if (outputs.length === 0) return q.arena.zeros([0, q.shape[1] as number, v.shape[2] as number]);
  return outputs.length === 1 ? (outputs[0] as Tensor) : concat(outputs, 0);
}

function ofSequence(q: Tensor, k: Tensor, v: Tensor, options: BlockAttentionOptions): Tensor {
  const [rows, heads] = q.shape as readonly [number, number];
  const { arena } = q;
  const keys = headsFirst(k, heads, q);
  const queries = permute(q, [1, 0, 2]);
  const mask = arena.withoutGrad(() => blockMask(arena, queries, keys, options));
  const scores = affine(matmul(queries, keys, { transB: true }), options.scale, 0);
  const causal = causalMask(arena, 0, rows);
  return permute(matmul(softmax(add(add(scores, mask), causal)), headsFirst(v, heads, q)), [1, 0, 2]);
}

/** 0 at keys of the chosen blocks and -1e30 elsewhere, [H, T, T]. */
function blockMask(
  arena: Arena,
  q: Tensor,
  k: Tensor,
  { blockSize, topK: most }: BlockAttentionOptions,
): Tensor {
  const [heads, rows] = q.shape as readonly [number, number];
  const blocks = Math.ceil(rows / blockSize);
  const sizeOf = (block: number) => Math.min(blockSize, rows - block * blockSize);
  const belongs = (block: number, token: number) => Number(Math.floor(token / blockSize) === block);
  const table = (value: (block: number, token: number) => number) =>
    Array.from({ length: blocks * rows }, (_, i) => value(Math.floor(i / rows), i % rows));
  const averaging = arena.tensor(
    table((b, t) => belongs(b, t) / sizeOf(b)),
    [blocks, rows],
  );
  const means = matmul(repeat(averaging.reshape([1, blocks, rows]), 0, heads), k);
  // The own block comes before all others, those of the future after.
  const order = Array.from({ length: rows * blocks }, (_, i) => {
    const own = Math.floor(Math.floor(i / blocks) / blockSize);
    return 1e30 * Math.sign(own - (i % blocks) === 0 ? 1 : Math.min(0, own - (i % blocks)));
  });
  const scores = add(matmul(q, means, { transB: true }), arena.tensor(order, [rows, blocks]));
  const count = Math.min(most, blocks);
  const { indices } = topK(scores.reshape([heads * rows, blocks]), count);
  const ones = arena.full([heads * rows, count], 1);
  const chosen = call('scatterLast', [ones, indices], { size: blocks })[0] as Tensor;
  const tokens = matmul(chosen, arena.tensor(table(belongs), [blocks, rows]));
  return affine(tokens, 1e30, -1e30).reshape([heads, rows, rows]);
}
