/**
 * Attention: a workgroup a query and head, which walks its key range in tiles of 64, one key a thread, with the
 * running maximum and sum of Milakov and Gimelshein 2018; then threads share the value columns out. The tiles
 * begin at the range's first key, so nothing depends on other queries or on keys outside the range.
 *
 * Backward recomputes the probabilities from lse (Dao 2023, FlashAttention-2, section 3.1): one workgroup a query
 * and head for dq, one a key and head for dk and dv; sums run in a fixed order, without atomics.
 */
import type { Kernels, Tensor } from '../kernel.ts';
import { reads, shader, writes } from '../shader.ts';

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

export const tileText = /* wgsl */ `
var<workgroup> scores: array<f32, 64>;
var<workgroup> second_scores: array<f32, 64>;`;

/** Where a query's keys begin and end, for query n. */
const wholeRange = `
  let first = max(ranges[ranges_at + 2u * n], 0);
  let end = min(ranges[ranges_at + 2u * n + 1u], P.keys);`;

interface ForwardForm {
  /** Where key row m, and the value of the tile's key j, begin. */
  readonly keyAt: string;
  readonly valueAt: string;
  /** Names of the buffers that hold them. */
  readonly key: string;
  readonly value: string;
  /** Declares `first` and `end`, i32. Default: the query's range. */
  readonly range?: string;
  /** Comes before key m is read, and before the value of the tile's key j is. */
  readonly before?: string;
  readonly skip?: string;
  /** Changes `score`. */
  readonly shift?: string;
  /** A score without a value, or minus infinity. */
  readonly sink?: string;
  /** Writes `lse`. */
  readonly lse?: string;
}

/** All forward forms. */
export function forwardBody(form: ForwardForm): string {
  const {
    keyAt,
    valueAt,
    key,
    value,
    range = wholeRange,
    before = '',
    skip = '',
    shift = '',
    lse = '',
  } = form;
  // Beside the sink the sums shrink by `kept`.
  const sink = form.sink
    ? `
  let sink_ = ${form.sink};
  let top = max(most, sink_);
  let kept = select(exp_(most - top), 1.0, is_minus_inf(top));
  let whole = select(fma(total, kept, exp_(sink_ - top)), total, is_minus_inf(top));`
    : `
  let top = most;
  let kept = 1.0;
  let whole = total;`;
  return `
  if (group >= P.rows * P.heads) { return; }
  let n = group / P.heads;${range}
  let key_head = ((group % P.heads) * P.key_heads) / P.heads;
  let query = q_at + group * P.width;
  let to = o_at + group * P.value_width;
  for (var c = t; c < P.value_width; c += 64u) { o[to + c] = 0.0; }
  var most = -infinity();
  var total = 0.0;
  for (var base = first; base < end; base += 64) {
    let m = base + i32(t);
    var score = -infinity();
    if (m < end) {${before}
      let begin = ${keyAt};
      var dot_ = 0.0;
      for (var c = 0u; c < P.width; c++) { dot_ = fma(q[query + c], ${key}[begin + c], dot_); }
      score = P.scale * dot_;${shift}
    }
    let before = most;
    most = max(before, group_max(t, score));
    let shift = select(most, 0.0, is_minus_inf(most));
    let correction = exp_(before - shift);
    scores[t] = exp_(score - shift);
    workgroupBarrier();
    let count = u32(min(end - base, 64));
    var part = 0.0;
    for (var j = 0u; j < count; j++) { part += scores[j]; }
    total = fma(total, correction, part);
    for (var c = t; c < P.value_width; c += 64u) {
      var sum = 0.0;
      for (var j = 0u; j < count; j++) {${skip}
        sum = fma(scores[j], ${value}[${valueAt} + c], sum);
      }
      o[to + c] = fma(o[to + c], correction, sum);
    }
    workgroupBarrier();
  }
  let empty = total <= 0.0;${sink}
  for (var c = t; c < P.value_width; c += 64u) { o[to + c] = select(o[to + c] * kept / whole, 0.0, empty); }
  ${lse}`;
}

/** Parameters of every form. */
export const sizes = {
  rows: 'u32',
  heads: 'u32',
  key_heads: 'u32',
  keys: 'i32',
  width: 'u32',
  value_width: 'u32',
  scale: 'f32',
} as const;

const attention_ = shader(
  'attention',
  { q: reads(), k: reads(), v: reads(), ranges: reads('i32'), o: writes(), lse: writes() },
  sizes,
  forwardBody({
    keyAt: 'k_at + (u32(m) * P.key_heads + key_head) * P.width',
    valueAt: 'v_at + ((u32(base) + j) * P.key_heads + key_head) * P.value_width',
    ...{ key: 'k', value: 'v' },
    lse: 'if (t == 0u) { lse[lse_at + group] = select(most + log_(total), -infinity(), empty); }',
  }),
  tileText,
);

const latent = shader(
  'latentAttention',
  { q: reads(), cache: reads(), ranges: reads('i32'), o: writes() },
  sizes,
  forwardBody({
    keyAt: 'cache_at + u32(m) * P.width',
    valueAt: 'cache_at + (u32(base) + j) * P.width',
    ...{ key: 'cache', value: 'cache' },
  }),
  tileText,
);

/** lse and do . o of each query and head. */
const statistics = shader(
  'attentionGrad statistics',
  { o: reads(), lse: reads(), dout: reads(), stats: writes() },
  { n: 'u32', value_width: 'u32' },
  `
  if (i >= P.n) { return; }
  var delta = 0.0;
  for (var c = 0u; c < P.value_width; c++) {
    delta = fma(dout[dout_at + i * P.value_width + c], o[o_at + i * P.value_width + c], delta);
  }
  stats[stats_at + 2u * i] = lse[lse_at + i];
  stats[stats_at + 2u * i + 1u] = delta;`,
);

/** Probability and score gradient of query row `g` (n H + h) and key row `m` of `key_head`, when in range. */
const pairText = /* wgsl */ `
${tileText}
fn pair_of(g: u32, m: u32, key_head: u32) -> vec2f {
  let lse = stats_[P.stats_at + 2u * g];
  if (is_minus_inf(lse)) { return vec2f(); }
  let query = P.q_at + g * P.width;
  let key = P.k_at + (m * P.key_heads + key_head) * P.width;
  var score = 0.0;
  for (var c = 0u; c < P.width; c++) { score = fma(q[query + c], k[key + c], score); }
  let output = P.dout_at + g * P.value_width;
  let value = P.v_at + (m * P.key_heads + key_head) * P.value_width;
  var slope = 0.0;
  for (var c = 0u; c < P.value_width; c++) { slope = fma(dout[output + c], v[value + c], slope); }
  let p = exp_(P.scale * score - lse);
  return vec2f(p, p * (slope - stats_[P.stats_at + 2u * g + 1u]) * P.scale);
}`.replaceAll('stats_[', 'stats[');

const backwardBuffers = {
  q: reads(),
  k: reads(),
  v: reads(),
  ranges: reads('i32'),
  stats: reads(),
  dout: reads(),
} as const;

const gradQuery = shader(
  'attentionGrad of q',
  { ...backwardBuffers, dq: writes() },
  sizes,
  `
  if (group >= P.rows * P.heads) { return; }
  let n = group / P.heads;
  let first = max(ranges[ranges_at + 2u * n], 0);
  let end = min(ranges[ranges_at + 2u * n + 1u], P.keys);
  let key_head = ((group % P.heads) * P.key_heads) / P.heads;
  let to = dq_at + group * P.width;
  for (var c = t; c < P.width; c += 64u) { dq[to + c] = 0.0; }
  for (var base = first; base < end; base += 64) {
    let m = base + i32(t);
    if (m < end) { scores[t] = pair_of(group, u32(m), key_head).y; }
    workgroupBarrier();
    let count = u32(min(end - base, 64));
    for (var c = t; c < P.width; c += 64u) {
      var sum = dq[to + c];
      for (var j = 0u; j < count; j++) {
        sum = fma(scores[j], k[k_at + ((u32(base) + j) * P.key_heads + key_head) * P.width + c], sum);
      }
      dq[to + c] = sum;
    }
    workgroupBarrier();
  }`,
  pairText,
);

const gradKey = shader(
  'attentionGrad of k and v',
  { ...backwardBuffers, dk: writes(), dv: writes() },
  sizes,
  `
  if (group >= u32(P.keys) * P.key_heads) { return; }
  let m = group / P.key_heads;
  let key_head = group % P.key_heads;
  let shared_by = P.heads / P.key_heads;
  let to_k = dk_at + group * P.width;
  let to_v = dv_at + group * P.value_width;
  for (var c = t; c < P.width; c += 64u) { dk[to_k + c] = 0.0; }
  for (var c = t; c < P.value_width; c += 64u) { dv[to_v + c] = 0.0; }
  // All queries of the heads that share this key, 64 at a time.
  let queries = P.rows * shared_by;
  for (var base = 0u; base < queries; base += 64u) {
    let mine = base + t;
    var pair = vec2f();
    if (mine < queries) {
      let n = mine / shared_by;
      let in_range = i32(m) >= ranges[ranges_at + 2u * n] && i32(m) < ranges[ranges_at + 2u * n + 1u];
      if (in_range) { pair = pair_of(n * P.heads + key_head * shared_by + mine % shared_by, m, key_head); }
    }
    scores[t] = pair.x;
    second_scores[t] = pair.y;
    workgroupBarrier();
    let count = min(queries - base, 64u);
    for (var c = t; c < P.value_width; c += 64u) {
      var sum = dv[to_v + c];
      for (var j = 0u; j < count; j++) {
        if (scores[j] == 0.0) { continue; }
        let g = ((base + j) / shared_by) * P.heads + key_head * shared_by + (base + j) % shared_by;
        sum = fma(scores[j], dout[dout_at + g * P.value_width + c], sum);
      }
      dv[to_v + c] = sum;
    }
    for (var c = t; c < P.width; c += 64u) {
      var sum = dk[to_k + c];
      for (var j = 0u; j < count; j++) {
        if (second_scores[j] == 0.0) { continue; }
        let g = ((base + j) / shared_by) * P.heads + key_head * shared_by + (base + j) % shared_by;
        sum = fma(second_scores[j], q[q_at + g * P.width + c], sum);
      }
      dk[to_k + c] = sum;
    }
    workgroupBarrier();
  }`,
  pairText,
);

export function shapesOf(q: Tensor, k: Tensor, v: Tensor, scale: number) {
  return {
    rows: q.shape[0]!,
    heads: q.shape[1]!,
    key_heads: k.shape[1]!,
    keys: k.shape[0]!,
    width: q.shape[2]!,
    value_width: v.shape[2]!,
    scale,
  };
}

export const attention: Pick<Kernels, 'rangeMask' | 'attention' | 'attentionGrad' | 'latentAttention'> = {
  rangeMask(d, [ranges, y], { size }) {
    d.each(rangeMask, { ranges, y }, { n: y.count, size }, y.count);
  },

  attention(d, [q, k, v, ranges, o, lse], { scale }) {
    const parameters = shapesOf(q, k, v, scale);
    d.groups(attention_, { q, k, v, ranges, o, lse }, parameters, parameters.rows * parameters.heads);
  },

  attentionGrad(d, [q, k, v, ranges, o, lse, dout, dq, dk, dv], { scale }) {
    const parameters = shapesOf(q, k, v, scale);
    const { rows, heads, keys, key_heads, value_width } = parameters;
    d.scratch(2 * rows * heads, (stats) => {
      d.each(statistics, { o, lse, dout, stats }, { n: rows * heads, value_width }, rows * heads);
      d.groups(gradQuery, { q, k, v, ranges, stats, dout, dq }, parameters, rows * heads);
      d.groups(gradKey, { q, k, v, ranges, stats, dout, dk, dv }, parameters, keys * key_heads);
    });
  },

  latentAttention(d, [q, cache, ranges, o], { scale, valueWidth }) {
    const [rows, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    const keys = cache.shape[0]!;
    const parameters = { rows, heads, key_heads: 1, keys, width, value_width: valueWidth, scale };
    d.groups(latent, { q, cache, ranges, o }, parameters, rows * heads);
  },
};
