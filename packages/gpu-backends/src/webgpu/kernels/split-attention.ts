/**
 * Attention with ranges in parts, a bias on the far one and a sink, its gradient, and attention to named rows: the
 * kernels of attention.ts with another range, test or score.
 */
import type { Kernels } from '../kernel.ts';
import { reads, shader, writes } from '../shader.ts';
import { forwardBody, shapesOf, sizes, tileText } from './attention.ts';

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
    ...{ key: 'k', value: 'v' },
    range: parts,
    shift: `
      if (m < near) { score += bias[bias_at + group]; }`,
    sink: 'sink[sink_at + group % P.heads]',
    lse: 'if (t == 0u) { lse[lse_at + group] = select(top + log_(whole), -infinity(), is_minus_inf(top)); }',
  }),
  tileText,
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
    ...{ key: 'cache', value: 'cache' },
    range: `
  let first = 0;
  let end = select(P.count, 0, P.keys == 0);`,
    shift: `
      if (!is_there(row)) { score = -infinity(); }`,
    sink: 'sink[sink_at + group % P.heads]',
  }),
  `${tileText}
fn is_there(row: i32) -> bool { return row >= 0 && row < P.keys; }`,
);

/** lse, do . o and the bias of each query and head. */
const statistics = shader(
  'splitAttentionGrad statistics',
  { o: reads(), lse: reads(), dout: reads(), bias: reads(), stats: writes() },
  { n: 'u32', value_width: 'u32' },
  `
  if (i >= P.n) { return; }
  var delta = 0.0;
  for (var c = 0u; c < P.value_width; c++) {
    delta = fma(dout[dout_at + i * P.value_width + c], o[o_at + i * P.value_width + c], delta);
  }
  stats[stats_at + 3u * i] = lse[lse_at + i];
  stats[stats_at + 3u * i + 1u] = delta;
  stats[stats_at + 3u * i + 2u] = bias[bias_at + i];`,
);

/** Probability and score gradient of query row `g` (n H + h) and key row `m` of `key_head`. */
const pairText = /* wgsl */ `
${tileText}
fn pair_of(g: u32, m: u32, key_head: u32, far: bool) -> vec2f {
  let own = P.stats_at + 3u * g;
  if (is_minus_inf(stats[own])) { return vec2f(); }
  let query = P.q_at + g * P.width;
  let key = P.k_at + (m * P.key_heads + key_head) * P.width;
  var score = 0.0;
  for (var c = 0u; c < P.width; c++) { score = fma(q[query + c], k[key + c], score); }
  score = P.scale * score + select(0.0, stats[own + 2u], far);
  let output = P.dout_at + g * P.value_width;
  let value = P.v_at + (m * P.key_heads + key_head) * P.value_width;
  var slope = 0.0;
  for (var c = 0u; c < P.value_width; c++) { slope = fma(dout[output + c], v[value + c], slope); }
  let p = exp_(score - stats[own]);
  return vec2f(p, p * (slope - stats[own + 1u]));
}`;

const backwardBuffers = {
  q: reads(),
  k: reads(),
  v: reads(),
  ranges: reads('i32'),
  stats: reads(),
  dout: reads(),
} as const;

const gradQuery = shader(
  'splitAttentionGrad of q and bias',
  { ...backwardBuffers, dq: writes(), dbias: writes() },
  sizes,
  `
  if (group >= P.rows * P.heads) { return; }
  let n = group / P.heads;${parts}
  let key_head = ((group % P.heads) * P.key_heads) / P.heads;
  let to = dq_at + group * P.width;
  for (var c = t; c < P.width; c += 64u) { dq[to + c] = 0.0; }
  var bias_sum = 0.0;
  for (var base = first; base < end; base += 64) {
    let m = base + i32(t);
    if (m < end) {
      let slope = pair_of(group, u32(m), key_head, m < near).y;
      scores[t] = slope;
      if (m < near) { bias_sum += slope; }
    }
    workgroupBarrier();
    let count = u32(min(end - base, 64));
    for (var c = t; c < P.width; c += 64u) {
      var sum = dq[to + c];
      for (var j = 0u; j < count; j++) {
        sum = fma(scores[j] * P.scale, k[k_at + ((u32(base) + j) * P.key_heads + key_head) * P.width + c], sum);
      }
      dq[to + c] = sum;
    }
    workgroupBarrier();
  }
  second_scores[t] = bias_sum;
  workgroupBarrier();
  if (t == 0u) {
    var sum = 0.0;
    for (var j = 0u; j < 64u; j++) { sum += second_scores[j]; }
    dbias[dbias_at + group] = sum;
  }`,
  pairText,
);

/** The sum over queries of `factor` times their rows of `from`, 64 queries of this key at a time. */
const sumOfQueries = (to: string, weights: string, factor: string, from: string, width: string) => `
    for (var c = t; c < P.${width}; c += 64u) {
      var sum = ${to}[to_${to} + c];
      for (var j = 0u; j < count; j++) {
        if (${weights}[j] == 0.0) { continue; }
        let g = ((base + j) / shared_by) * P.heads + key_head * shared_by + (base + j) % shared_by;
        sum = fma(${factor}, ${from}[${from}_at + g * P.${width} + c], sum);
      }
      ${to}[to_${to} + c] = sum;
    }`;

const gradKey = shader(
  'splitAttentionGrad of k and v',
  { ...backwardBuffers, dk: writes(), dv: writes() },
  sizes,
  `
  if (group >= u32(P.keys) * P.key_heads) { return; }
  let m = group / P.key_heads;
  let key_head = group % P.key_heads;
  let shared_by = P.heads / P.key_heads;
  let to_dk = dk_at + group * P.width;
  let to_dv = dv_at + group * P.value_width;
  for (var c = t; c < P.width; c += 64u) { dk[to_dk + c] = 0.0; }
  for (var c = t; c < P.value_width; c += 64u) { dv[to_dv + c] = 0.0; }
  let queries = P.rows * shared_by;
  for (var base = 0u; base < queries; base += 64u) {
    let mine = base + t;
    var pair = vec2f();
    if (mine < queries) {
      let n = mine / shared_by;${parts}
      if (i32(m) >= first && i32(m) < end) {
        let g = n * P.heads + key_head * shared_by + mine % shared_by;
        pair = pair_of(g, m, key_head, i32(m) < near);
      }
    }
    scores[t] = pair.x;
    second_scores[t] = pair.y;
    workgroupBarrier();
    let count = min(queries - base, 64u);${sumOfQueries('dv', 'scores', 'scores[j]', 'dout', 'value_width')}${sumOfQueries('dk', 'second_scores', 'second_scores[j] * P.scale', 'q', 'width')}
    workgroupBarrier();
  }`,
  pairText,
);

export const splitAttention: Pick<Kernels, 'splitAttention' | 'splitAttentionGrad' | 'gatheredAttention'> = {
  splitAttention(d, [q, k, v, ranges, bias, sink, o, lse], { scale, valueWidth }) {
    const shapes = { ...shapesOf(q, k, v, scale), value_width: valueWidth, value_stride: v.shape[2]! };
    d.groups(split, { q, k, v, ranges, bias, sink, o, lse }, shapes, shapes.rows * shapes.heads);
  },

  splitAttentionGrad(d, [q, k, v, ranges, bias, o, lse, dout, dq, dk, dv, dbias], { scale }) {
    const shapes = shapesOf(q, k, v, scale);
    const { rows, heads, keys, key_heads, value_width } = shapes;
    d.scratch(3 * rows * heads, (stats) => {
      d.each(statistics, { o, lse, dout, bias, stats }, { n: rows * heads, value_width }, rows * heads);
      d.groups(gradQuery, { q, k, v, ranges, stats, dout, dq, dbias }, shapes, rows * heads);
      d.groups(gradKey, { q, k, v, ranges, stats, dout, dk, dv }, shapes, keys * key_heads);
    });
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
    d.groups(gathered, { q, cache, rows, sink, o }, parameters, queries * heads);
  },
};
