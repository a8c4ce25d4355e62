/** Keys and values of latent attention's heads, and the two products of its absorbed form (DeepSeek-V2, arXiv
 *  2405.04434, section 2.1). One thread an output; sums over ascending indices. */
import type { Kernels } from '../kernel.ts';
import { reads, shader, writes } from '../shader.ts';

const sizes = { n: 'u32', heads: 'u32', nope: 'u32', shared_width: 'u32', value_width: 'u32' } as const;

/** One thread for each number of k, then of v. */
const expandKeys = shader(
  'expandKeys',
  { up: reads(), rotary: reads(), k: writes(), v: writes() },
  sizes,
  `
  let key_width = P.nope + P.shared_width;
  let width = key_width + P.value_width;
  if (i >= P.n * P.heads * width) { return; }
  let row = i / width;
  let c = i % width;
  let base = up_at + row * (P.nope + P.value_width);
  if (c < P.nope) { k[k_at + row * key_width + c] = up[base + c]; }
  else if (c < key_width) {
    k[k_at + row * key_width + c] = rotary[rotary_at + row / P.heads * P.shared_width + c - P.nope];
  } else { v[v_at + row * P.value_width + c - key_width] = up[base + c - P.shared_width]; }`,
);

/** One thread for each number of dup. */
const expandKeysGrad = shader(
  'expandKeysGrad',
  { dk: reads(), dv: reads(), dup: writes() },
  sizes,
  `
  let width = P.nope + P.value_width;
  if (i >= P.n * P.heads * width) { return; }
  let row = i / width;
  let c = i % width;
  if (c < P.nope) { dup[dup_at + i] = dk[dk_at + row * (P.nope + P.shared_width) + c]; }
  else { dup[dup_at + i] = dv[dv_at + row * P.value_width + c - P.nope]; }`,
);

const expandKeysGradShared = shader(
  'expandKeysGrad of the shared key',
  { dk: reads(), y: writes() },
  sizes,
  `
  if (i >= P.n * P.shared_width) { return; }
  let row = i / P.shared_width * P.heads;
  let c = P.nope + i % P.shared_width;
  var sum = 0.0;
  for (var h = 0u; h < P.heads; h++) { sum += dk[dk_at + (row + h) * (P.nope + P.shared_width) + c]; }
  y[y_at + i] = sum;`,
);

const absorbQuery = shader(
  'absorbQuery',
  { q: reads(), w: reads(), y: writes() },
  { n: 'u32', heads: 'u32', nope: 'u32', width: 'u32', height: 'u32', rank: 'u32' },
  `
  let out_width = P.rank + P.width - P.nope;
  if (i >= P.n * P.heads * out_width) { return; }
  let row = i / out_width;
  let c = i % out_width;
  if (c >= P.rank) { y[y_at + i] = q[q_at + row * P.width + P.nope + c - P.rank]; return; }
  let base = w_at + row % P.heads * P.height * P.rank + c;
  var sum = 0.0;
  for (var j = 0u; j < P.nope; j++) { sum = fma(q[q_at + row * P.width + j], w[base + j * P.rank], sum); }
  y[y_at + i] = sum;`,
);

const absorbOutput = shader(
  'absorbOutput',
  { z: reads(), w: reads(), y: writes() },
  { n: 'u32', heads: 'u32', start: 'u32', height: 'u32', rank: 'u32' },
  `
  let width = P.height - P.start;
  if (i >= P.n * P.heads * width) { return; }
  let row = i / width;
  let base = w_at + (row % P.heads * P.height + P.start + i % width) * P.rank;
  var sum = 0.0;
  for (var r = 0u; r < P.rank; r++) { sum = fma(z[z_at + row * P.rank + r], w[base + r], sum); }
  y[y_at + i] = sum;`,
);

export const latent: Pick<Kernels, 'expandKeys' | 'expandKeysGrad' | 'absorbQuery' | 'absorbOutput'> = {
  expandKeys(d, [up, rotary, k, v], { nope }) {
    const [n, heads] = [up.shape[0]!, up.shape[1]!];
    const widths = { nope, shared_width: rotary.shape[1]!, value_width: v.shape[2]! };
    d.each(expandKeys, { up, rotary, k, v }, { n, heads, ...widths }, k.count + v.count);
  },

  expandKeysGrad(d, [dk, dv, dup, dshared], { nope }) {
    const [n, heads] = [dk.shape[0]!, dk.shape[1]!];
    const widths = { nope, shared_width: dshared.shape[1]!, value_width: dv.shape[2]! };
    d.each(expandKeysGrad, { dk, dv, dup }, { n, heads, ...widths }, dup.count);
    d.each(expandKeysGradShared, { dk, y: dshared }, { n, heads, ...widths }, dshared.count);
  },

  absorbQuery(d, [q, w, y], { nope }) {
    const [n, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    d.each(
      absorbQuery,
      { q, w, y },
      { n, heads, nope, width, height: w.shape[1]!, rank: w.shape[2]! },
      y.count,
    );
  },

  absorbOutput(d, [z, w, y], { start }) {
    const [n, heads] = [z.shape[0]!, z.shape[1]!];
    d.each(absorbOutput, { z, w, y }, { n, heads, start, height: w.shape[1]!, rank: w.shape[2]! }, y.count);
  },
};
