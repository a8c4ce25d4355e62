/**
 * A bias of attention scores that belongs to keys: in head h, key m scores scale q.k[m] + weights[h] of[m].
 *
 * It is carried by one entry more of queries and keys, weights[h] / scale and of[m], so every form, cache and gradient
 * of attention has it without knowing it. A key whose number is 0 leaves every bit: the chain of products of a score
 * goes on with + 0. Merged tokens are weighed so, by the log of how many they are (ToMe, arXiv 2210.09461, section 3).
 */
import { check } from '@minke/core';
import { affine, concat, repeat, type Tensor } from '@minke/tensor';

/** What each new key adds to its scores. */
export interface KeyBias {
  /** A number for each row of the batch, [N]. */
  readonly of: Tensor;
  /** What each head multiplies it by, [H]. Differentiable. */
  readonly weights: Tensor;
}

/**
 * Queries [N, H, C] and shared keys [N, P] with the entry that carries the bias: [N, H, C + 1] and [N, P + 1].
 * Throws `invalid-argument` where its shapes do not fit.
 */
export function withKeyBias(
  q: Tensor,
  shared: Tensor,
  { of, weights }: KeyBias,
  scale: number,
): { q: Tensor; shared: Tensor } {
  const [rows, heads] = q.shape as readonly [number, number, number];
  check(
    of.size === rows && weights.size === heads,
    () =>
      `mlaAttention: expected a key bias of [${rows}] with weights [${heads}], got [${of.shape.join(', ')}] with [${weights.shape.join(', ')}]`,
  );
  const entry = affine(q.arena.adopt(weights), 1 / scale, 0).reshape([1, heads, 1]);
  return {
    q: concat([q, repeat(entry, 0, rows)], 2),
    shared: concat([shared, of.reshape([rows, 1])], 1),
  };
}
