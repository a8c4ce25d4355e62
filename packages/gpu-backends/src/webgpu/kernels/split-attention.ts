/**
 * Attention with ranges in parts, a bias on the far one and a sink, its gradient, and attention to named rows: the
 * kernels of attention.ts with another range, test or score.
 */
import type { Kernels } from '../kernel.ts';
import { reads, shader, writes } from '../shader.ts';
import { backwardPass } from './attention-backward.ts';
import { forwardBody, forwardText, groupsOf, shapesOf, sizes } from './attention-forward.ts';

/** Rows before `first` weigh nothing: they are passed over. */
const parts = `
  let part = ranges_at + 4u * n;
  let first = max(max(ranges[part], ranges[part + 1u]), 0);
  let near = ranges[part + 2u];
  let end = min(ranges[part + 3u], P.keys);`;

const split = shader(
  'splitAttention',
  {
    q: reads(),
    k: reads(),
    v: reads(),
    ranges: reads('i32'),
    bias: reads(),
    sink: reads(),
    o: writes(),
    lse: writes(),
  },
  { ...sizes, value_stride: 'u32' },
  forwardBody({
    keyAt: 'k_at + (u32(m) * P.key_heads + key_head) * P.width',
    valueAt: 'v_at + ((u32(base) + j) * P.key_heads + key_head) * P.value_stride',
    ...{ key: 'k', value: 'v', lanes: 1 },
    range: parts,
    shift: `
      if (m < near) { score += bias[bias_at + group]; }`,
    sink: (head) => `sink[sink_at + ${head}]`,
    lse: 'if (t == 0u) { lse[lse_at + group] = select(top + log_(whole), -infinity(), is_minus_inf(top)); }',
  }),
  forwardText(1),
);

const gathered = shader(
  'gatheredAttention',
  { q: reads(), cache: reads(), rows: reads('i32'), sink: reads(), o: writes() },
  { ...sizes, count: 'i32' },
  forwardBody({
    before: `
      let row = rows[rows_at + n * u32(P.count) + u32(m)];`,
    keyAt: 'cache_at + select(0u, u32(row), is_there(row)) * P.width',
    valueAt: 'cache_at + u32(rows[rows_at + n * u32(P.count) + u32(base) + j]) * P.width',
    skip: `
        if (!is_there(rows[rows_at + n * u32(P.count) + u32(base) + j])) { continue; }`,
    ...{ key: 'cache', value: 'cache', lanes: 4 },
    range: `
  let first = 0;
  let end = select(P.count, 0, P.keys == 0);`,
    shift: `
      if (!is_there(row)) { score = vec4f(-infinity()); }`,
    sink: (head) => `sink[sink_at + ${head}]`,
  }),
  `${forwardText(4)}
fn is_there(row: i32) -> bool { return row >= 0 && row < P.keys; }`,
);

const backward = backwardPass({ op: 'splitAttentionGrad', range: parts, biased: true });

export const splitAttention: Pick<Kernels, 'splitAttention' | 'splitAttentionGrad' | 'gatheredAttention'> = {
  splitAttention(d, [q, k, v, ranges, bias, sink, o, lse], { scale, valueWidth }) {
    const shapes = { ...shapesOf(q, k, v, scale), value_width: valueWidth, value_stride: v.shape[2]! };
    d.groups(split, { q, k, v, ranges, bias, sink, o, lse }, shapes, shapes.rows * shapes.heads);
  },

  splitAttentionGrad(d, [q, k, v, ranges, bias, o, lse, dout, dq, dk, dv, dbias], { scale }) {
    backward(d, { q, k, v, ranges, bias, o, lse, dout, dq, dk, dv, dbias }, scale);
  },

  gatheredAttention(d, [q, cache, rows, sink, o], { scale, valueWidth }) {
    const [queries, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    const sizes_ = {
      rows: queries,
      heads,
      key_heads: 1,
      keys: cache.shape[0]!,
      width,
      value_width: valueWidth,
    };
    const parameters = { ...sizes_, scale, count: rows.shape[1]! };
    d.groups(gathered, { q, cache, rows, sink, o }, parameters, groupsOf(4, queries, heads));
  },
};
