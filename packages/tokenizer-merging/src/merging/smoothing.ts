/**
 * The exponential smoothing of entries: y[n] = g[n] x[n] + (1 - g[n]) y[n - 1], and y[n] = x[n] where a chain begins.
 *
 * H-Net, arXiv 2507.07955, equation 5. Each row is computed from the row before by the same operations, whether the
 * rows come at once or one by one, so training and generation agree bit for bit. Backends without the fused op take
 * the rows of all chains in waves.
 */
import { add, affine, call, concat, customOp, mul, type Tensor } from '@minke/tensor';
import { indices, takeRows } from './rows.ts';

/**
 * Smooths rows.
 * @param x [N, D]
 * @param g [N, 1]; not read where a chain begins
 * @param starts 1 where a chain begins; the first row always does
 */
export function smooth(x: Tensor, g: Tensor, starts: ArrayLike<number>): Tensor {
  const { backend } = x.arena;
  return backend.supports('smoothRows') && backend.supports('smoothRowsGrad')
    ? fused(x, g, starts)
    : inWaves(x, g, starts);
}

function fused(x: Tensor, g: Tensor, starts: ArrayLike<number>): Tensor {
  const weights = g.reshape([starts.length]);
  const begins = indices(x.arena, starts);
  return customOp({
    name: 'smooth',
    inputs: [x, weights],
    forward: () => call('smoothRows', [x, weights, begins], {}),
    backward: ([dy], [y]) => call('smoothRowsGrad', [x, weights, begins, y as Tensor, dy as Tensor], {}),
  })[0] as Tensor;
}

/** Wave j holds the j-th row of every chain. */
function inWaves(x: Tensor, g: Tensor, starts: ArrayLike<number>): Tensor {
  const waves: number[][] = [];
  const depths: number[] = [];
  for (let n = 0; n < starts.length; n++) {
    const depth = n === 0 || starts[n] ? 0 : (depths[n - 1] as number) + 1;
    depths.push(depth);
    (waves[depth] ??= []).push(n);
  }
  if (waves.length <= 1) return x;
  const place = new Int32Array(starts.length);
  let placed = 0;
  let before = new Map<number, number>();
  const parts: Tensor[] = [];
  for (const wave of waves) {
    const own = takeRows(x, wave);
    const last = parts.at(-1);
    if (last === undefined) parts.push(own);
    else {
      const weight = takeRows(g, wave);
      const earlier = takeRows(
        last,
        wave.map((n) => before.get(n - 1) as number),
      );
      parts.push(add(mul(own, weight), mul(earlier, affine(weight, -1, 1))));
    }
    before = new Map(wave.map((n, i) => [n, i]));
    wave.forEach((n, i) => {
      place[n] = placed + i;
    });
    placed += wave.length;
  }
  return takeRows(concat(parts, 0), place);
}
