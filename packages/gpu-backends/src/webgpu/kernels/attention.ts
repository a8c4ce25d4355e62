/** Attention over one range of keys a query, expanded and latent, its gradient, and the range as a mask. */
import type { Kernels } from '../kernel.ts';
import { reads, shader, writes } from '../shader.ts';
import { backwardPass } from './attention-backward.ts';
import { forwardBody, forwardText, groupsOf, shapesOf, sizes, wholeRange } from './attention-forward.ts';

const rangeMask = shader(
  'rangeMask',
  { ranges: reads('i32'), y: writes() },
  { n: 'u32', size: 'u32' },
  `
  if (i >= P.n) { return; }
  let begin = ranges_at + 2u * (i / P.size);
  let m = i32(i % P.size);
  y[y_at + i] = select(-infinity(), 0.0, m >= ranges[begin] && m < ranges[begin + 1u]);`,
);

const attention_ = shader(
  'attention',
  { q: reads(), k: reads(), v: reads(), ranges: reads('i32'), o: writes(), lse: writes() },
  sizes,
  forwardBody({
    keyAt: 'k_at + (u32(m) * P.key_heads + key_head) * P.width',
    valueAt: 'v_at + ((u32(base) + j) * P.key_heads + key_head) * P.value_width',
    ...{ key: 'k', value: 'v', lanes: 1 },
    lse: 'if (t == 0u) { lse[lse_at + group] = select(most + log_(total), -infinity(), empty); }',
  }),
  forwardText(1),
);

const latent = shader(
  'latentAttention',
  { q: reads(), cache: reads(), ranges: reads('i32'), o: writes() },
  sizes,
  forwardBody({
    keyAt: 'cache_at + u32(m) * P.width',
    valueAt: 'cache_at + (u32(base) + j) * P.width',
    ...{ key: 'cache', value: 'cache', lanes: 4 },
  }),
  forwardText(4),
);

const backward = backwardPass({ op: 'attentionGrad', range: wholeRange, biased: false });

export const attention: Pick<Kernels, 'rangeMask' | 'attention' | 'attentionGrad' | 'latentAttention'> = {
  rangeMask(d, [ranges, y], { size }) {
    d.each(rangeMask, { ranges, y }, { n: y.count, size }, y.count);
  },

  attention(d, [q, k, v, ranges, o, lse], { scale }) {
    const parameters = shapesOf(q, k, v, scale);
    d.groups(attention_, { q, k, v, ranges, o, lse }, parameters, parameters.rows * parameters.heads);
  },

  attentionGrad(d, [q, k, v, ranges, o, lse, dout, dq, dk, dv], { scale }) {
    backward(d, { q, k, v, ranges, o, lse, dout, dq, dk, dv }, scale);
  },

  latentAttention(d, [q, cache, ranges, o], { scale, valueWidth }) {
    const [rows, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    const keys = cache.shape[0]!;
    const parameters = { rows, heads, key_heads: 1, keys, width, value_width: valueWidth, scale };
    d.groups(latent, { q, cache, ranges, o }, parameters, groupsOf(4, rows, heads));
  },
};
