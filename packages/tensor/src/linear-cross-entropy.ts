/**
 * Cross-entropy of a linear head over a large vocabulary, without its logits in memory.
 *
 * Rows are taken in chunks; the backward pass computes a chunk's logits again, with the same bits, from the saved
 * log-sum-exp (as attention does with its probabilities). Sums run in the order of `crossEntropy(linear(...))`:
 * rows are independent, and the head's gradient is one chain of additions over ascending rows. The price is one
 * product of the head more, of three.
 */
import { check, formatShape } from '@minke/core';
import { isLeaf, track } from './autograd.ts';
import { borrow, call, callOne, homeOf } from './call.ts';
import { crossEntropy } from './fused.ts';
import { linear, product } from './linear-algebra.ts';
import type { Tensor } from './tensor.ts';

/** Logits held at a time: 128 MiB, twice that in the backward pass. */
const CHUNK_ELEMENTS = 2 ** 25;
/** Chunks are of one size, so that they use the same memory, in whole tiles of the kernels that have the smallest. */
const ROW_MULTIPLE = 8;

/**
 * -log softmax(hidden head^T)[target] of each row: hidden [N, D], head [V, D], targets i32 [N] -> [N]. Rows whose
 * target is out of range (-1, say) give 0 and no gradient. Logits that fit into 128 MiB are kept, larger ones
 * computed in chunks of rows.
 *
 * @param options.chunkRows rows at a time; for tests and for tuning
 * @example
 * const loss = mean(linearCrossEntropy(hidden, lmHead, targets)); // V = 129,280, N = 2048: 260 MiB, not 2 GiB
 */
export function linearCrossEntropy(
  hidden: Tensor,
  head: Tensor,
  targets: Tensor,
  options: { readonly chunkRows?: number } = {},
): Tensor {
  const [rows, width] = hidden.shape as readonly [number, number];
  const vocabulary = head.shape[0]!;
  check(
    hidden.rank === 2 && head.rank === 2 && head.shape[1] === width && targets.shape[0] === rows,
    () =>
      `linearCrossEntropy: expected hidden [N, D], head [V, D] and targets [N], got ${formatShape(hidden.shape)}, ${formatShape(head.shape)} and ${formatShape(targets.shape)}`,
  );
  const fitting = Math.floor(CHUNK_ELEMENTS / Math.max(vocabulary, 1));
  const even = Math.ceil(rows / Math.ceil(rows / Math.max(1, fitting)) / ROW_MULTIPLE) * ROW_MULTIPLE;
  const chunkRows = options.chunkRows ?? even;
  const arena = homeOf('linearCrossEntropy', [hidden, head, targets]);
  const { backend } = arena;
  const fused = backend.supports('crossEntropy') && backend.supports('crossEntropyGrad');
  const fits = options.chunkRows === undefined && rows <= fitting;
  if (fits || !fused) return crossEntropy(linear(hidden, head), targets);

  const part = (t: Tensor, start: number, count: number) =>
    borrow(t, [count, ...t.shape.slice(1)], (start * t.size) / rows);
  /** Calls `body` for each chunk with its rows of what it is given, and releases what it made. */
  const chunks = (body: (of: (t: Tensor) => Tensor) => void) => {
    for (let start = 0; start < rows; start += chunkRows) {
      const count = Math.min(chunkRows, rows - start);
      arena.scope(() => body((t) => part(t, start, count)));
    }
  };
  const logitsOf = (x: Tensor) => callOne('matmul', [x, head], { transA: 0, transB: 1 }, arena);

  const [loss, lse] = arena.withoutGrad(() => {
    const results = [arena.empty([rows]), arena.empty([rows])] as const;
    chunks((of) => {
      const parts = call('crossEntropy', [logitsOf(of(hidden)), of(targets)], {}, arena);
      results.forEach((result, i) => {
        call('copyInto', [parts[i]!, of(result)], {}, arena);
      });
    });
    return results;
  });
  track('linearCrossEntropy', [hidden, head, targets], [loss], ([dloss]) => {
    const dhidden = hidden.requiresGrad ? arena.empty(hidden.shape) : null;
    const dhead = head.requiresGrad && !isLeaf(head) ? arena.zeros(head.shape) : null;
    chunks((of) => {
      const x = of(hidden);
      const dlogits = callOne('crossEntropyGrad', [logitsOf(x), of(targets), of(lse), of(dloss!)], {}, arena);
      if (dhidden) {
        const dx = callOne('matmul', [dlogits, head], { transA: 0, transB: 0 }, arena);
        call('copyInto', [dx, of(dhidden)], {}, arena);
      }
      if (dhead) call('matmulInto', [dlogits, x, dhead], { transA: 1, transB: 0 }, arena);
      else product(head, dlogits, x, 1, 0);
    });
    return [dhidden, dhead, null];
  });
  return loss;
}
