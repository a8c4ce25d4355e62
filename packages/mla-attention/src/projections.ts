/**
 * What multi-head latent attention does with `kv_b_proj`: keys and values of every head from its product with the
 * latents, and its two halves as matrices of the absorbed form. Each is one fused op, or the same from general ops.
 *
 * Source: DeepSeek-V2, arXiv 2405.04434, section 2.1.2 and appendix C. The halves are read in place, so there is no
 * second copy of the weights that an optimiser step would leave behind; the general ops multiply the other half by
 * zeros or drop its products, which changes no bit. Gradients of the absorbed products take the general ops.
 */
import { call, concat, customOp, matmul, permute, repeat, slice, type Tensor } from '@minke/tensor';

/**
 * Keys [M, H, nope + P] and values [M, H, dv] of every head from their joint projection and the key entries all
 * heads share. Differentiable.
 * @param up [M, H, nope + dv]; @param shared [M, P]
 */
export function expandKeys(up: Tensor, shared: Tensor, nope: number): { k: Tensor; v: Tensor } {
  const { backend } = up.arena;
  if (backend.supports('expandKeys') && backend.supports('expandKeysGrad')) {
    const [k, v] = customOp({
      name: 'expandKeys',
      inputs: [up, shared],
      forward: () => call('expandKeys', [up, shared], { nope }),
      backward: ([dk, dv], [keys, values]) =>
        call('expandKeysGrad', [dk ?? up.arena.zeros(keys!.shape), dv ?? up.arena.zeros(values!.shape)], {
          nope,
        }),
    });
    return { k: k!, v: v! };
  }
  const [rows, heads, width] = up.shape as readonly [number, number, number];
  const everyHead = repeat(shared.reshape([rows, 1, shared.shape[1] as number]), 1, heads);
  return { k: concat([slice(up, 2, 0, nope), everyHead], 2), v: slice(up, 2, nope, width - nope) };
}

/**
 * Queries of the absorbed form: each head's first `nope` entries times the first rows of its weights, then its other
 * entries. Differentiable, unless w is blocks of q8_0.
 * @param q [N, H, C]; @param w [H, A, R] with A at least nope, f32 or q8_0
 * @returns [N, H, R + C - nope]
 */
export function absorbQuery(q: Tensor, w: Tensor, nope: number): Tensor {
  if (w.dtype === 'q8_0') return call('absorbQueryQuantized', [q, w], { nope })[0] as Tensor;
  if (isFused('absorbQuery', q, w)) return call('absorbQuery', [q, w], { nope })[0] as Tensor;
  const [rows, heads, width] = q.shape as readonly [number, number, number];
  const rest = (w.shape[1] as number) - nope;
  const padded = concat([swapHeads(slice(q, 2, 0, nope)), q.arena.zeros([heads, rows, rest])], 2);
  return concat([swapHeads(matmul(padded, w)), slice(q, 2, nope, width - nope)], 2);
}

/**
 * Outputs of the absorbed form: each head's latent times the transposed rows of its weights from `start` on.
 * Differentiable, unless w is blocks of q8_0.
 * @param z [N, H, R]; @param w [H, A, R], f32 or q8_0
 * @returns [N, H, A - start]
 */
export function absorbOutput(z: Tensor, w: Tensor, start: number): Tensor {
  if (w.dtype === 'q8_0') return call('absorbOutputQuantized', [z, w], { start })[0] as Tensor;
  if (isFused('absorbOutput', z, w)) return call('absorbOutput', [z, w], { start })[0] as Tensor;
  const all = matmul(swapHeads(z), w, { transB: true });
  return swapHeads(slice(all, 2, start, (w.shape[1] as number) - start));
}

function isFused(op: 'absorbQuery' | 'absorbOutput', x: Tensor, w: Tensor): boolean {
  const { arena } = x;
  return arena.backend.supports(op) && !(arena.recordsGradients && (x.requiresGrad || w.requiresGrad));
}

/** [A, B, C] -> [B, A, C]; no copy when either is 1, as in the decoding of one token. */
function swapHeads(x: Tensor): Tensor {
  const [a, b, c] = x.shape as readonly [number, number, number];
  return a === 1 || b === 1 ? x.reshape([b, a, c]) : permute(x, [1, 0, 2]);
}
