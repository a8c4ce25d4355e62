/**
 * The gradient of attention: probabilities are computed again from lse (Dao 2023, FlashAttention-2, section 3.1), one
 * workgroup a query and head for dq, one a key and head for dk and dv; sums run in a fixed order, without atomics.
 */
import type { Dispatcher } from '../dispatcher.ts';
import type { Tensor } from '../kernel.ts';
import { reads, type Slot, shader, writes } from '../shader.ts';
import { shapesOf, sizes } from './attention-forward.ts';

/** What differs between the ops. */
export interface BackwardForm {
  readonly op: string;
  /** Declares `first` and `end` of query n's keys, i32; with `biased` also `near`. */
  readonly range: string;
  /** Whether scores of keys before `near` have a bias for each query and head, whose gradient is wanted too. */
  readonly biased: boolean;
}

/** The tensors of a backward pass, by the names that the ops of core's table have; `bias` and `dbias` with `biased`. */
export type BackwardTensors = Readonly<
  Record<'q' | 'k' | 'v' | 'ranges' | 'o' | 'lse' | 'dout' | 'dq' | 'dk' | 'dv', Tensor> &
    Partial<Record<'bias' | 'dbias', Tensor>>
>;

/** The backward pass of one op. */
export function backwardPass({ op, range, biased }: BackwardForm) {
  // Of each query and head: lse, do . o, and its bias.
  const [stride, far] = biased ? ['3u', ', m < near'] : ['2u', ''];
  const optional = (part: Record<string, Slot>): Record<string, Slot> => (biased ? part : {});

  const statistics = shader(
    `${op} statistics`,
    { o: reads(), lse: reads(), dout: reads(), ...optional({ bias: reads() }), stats: writes() },
    { n: 'u32', value_width: 'u32' },
    `
  if (i >= P.n) { return; }
  var delta = 0.0;
  for (var c = 0u; c < P.value_width; c++) {
    delta = fma(dout[dout_at + i * P.value_width + c], o[o_at + i * P.value_width + c], delta);
  }
  stats[stats_at + ${stride} * i] = lse[lse_at + i];
  stats[stats_at + ${stride} * i + 1u] = delta;
  ${biased ? 'stats[stats_at + 3u * i + 2u] = bias[bias_at + i];' : ''}`,
  );

  /** Probability and gradient of the score of query row `g` (n H + h) and key row `m` of `key_head`. */
  const pairText = /* wgsl */ `
var<workgroup> scores: array<f32, 64>;
var<workgroup> second_scores: array<f32, 64>;
fn pair_of(g: u32, m: u32, key_head: u32${biased ? ', far: bool' : ''}) -> vec2f {
  let own = P.stats_at + ${stride} * g;
  if (is_minus_inf(stats[own])) { return vec2f(); }
  let query = P.q_at + g * P.width;
  let key = P.k_at + (m * P.key_heads + key_head) * P.width;
  var score = 0.0;
  for (var c = 0u; c < P.width; c++) { score = fma(q[query + c], k[key + c], score); }
  score = P.scale * score${biased ? ' + select(0.0, stats[own + 2u], far)' : ''};
  let output = P.dout_at + g * P.value_width;
  let value = P.v_at + (m * P.key_heads + key_head) * P.value_width;
  var slope = 0.0;
  for (var c = 0u; c < P.value_width; c++) { slope = fma(dout[output + c], v[value + c], slope); }
  let p = exp_(score - stats[own]);
  return vec2f(p, p * (slope - stats[own + 1u]));
}`;

  const inputs = {
    ...{ q: reads(), k: reads(), v: reads(), ranges: reads('i32'), stats: reads(), dout: reads() },
  };

  const sumOfBias = `
  second_scores[t] = bias_sum;
  workgroupBarrier();
  if (t == 0u) {
    var sum = 0.0;
    for (var j = 0u; j < 64u; j++) { sum += second_scores[j]; }
    dbias[dbias_at + group] = sum;
  }`;
  const gradQuery = shader(
    `${op} of q`,
    { ...inputs, dq: writes(), ...optional({ dbias: writes() }) },
    sizes,
    `
  if (group >= P.rows * P.heads) { return; }
  let n = group / P.heads;${range}
  let key_head = ((group % P.heads) * P.key_heads) / P.heads;
  let to = dq_at + group * P.width;
  for (var c = t; c < P.width; c += 64u) { dq[to + c] = 0.0; }
  ${biased ? 'var bias_sum = 0.0;' : ''}
  for (var base = first; base < end; base += 64) {
    let m = base + i32(t);
    if (m < end) {
      let slope = pair_of(group, u32(m), key_head${far}).y;
      scores[t] = slope * P.scale;
      ${biased ? 'if (m < near) { bias_sum += slope; }' : ''}
    }
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
  }
  ${biased ? sumOfBias : ''}`,
    pairText,
  );

  /** Adds to a gradient the sum over queries of `weights` times their rows of `from`, 64 queries of this key at a time. */
  const sumOfQueries = (to: string, weights: string, from: string, width: string) => `
    for (var c = t; c < P.${width}; c += 64u) {
      var sum = ${to}[to_${to} + c];
      for (var j = 0u; j < count; j++) {
        if (${weights}[j] == 0.0) { continue; }
        let g = ((base + j) / shared_by) * P.heads + key_head * shared_by + (base + j) % shared_by;
        sum = fma(${weights}[j], ${from}[${from}_at + g * P.${width} + c], sum);
      }
      ${to}[to_${to} + c] = sum;
    }`;
  const gradKey = shader(
    `${op} of k and v`,
    { ...inputs, dk: writes(), dv: writes() },
    sizes,
    `
  if (group >= u32(P.keys) * P.key_heads) { return; }
  let row = group / P.key_heads;
  let m = i32(row);
  let key_head = group % P.key_heads;
  let shared_by = P.heads / P.key_heads;
  let to_dk = dk_at + group * P.width;
  let to_dv = dv_at + group * P.value_width;
  for (var c = t; c < P.width; c += 64u) { dk[to_dk + c] = 0.0; }
  for (var c = t; c < P.value_width; c += 64u) { dv[to_dv + c] = 0.0; }
  // All queries of the heads that share this key, 64 at a time.
  let queries = P.rows * shared_by;
  for (var base = 0u; base < queries; base += 64u) {
    let mine = base + t;
    var pair = vec2f();
    if (mine < queries) {
      let n = mine / shared_by;${range}
      if (m >= first && m < end) {
        pair = pair_of(n * P.heads + key_head * shared_by + mine % shared_by, row, key_head${far});
      }
    }
    scores[t] = pair.x;
    second_scores[t] = pair.y * P.scale;
    workgroupBarrier();
    let count = min(queries - base, 64u);${sumOfQueries('dv', 'scores', 'dout', 'value_width')}${sumOfQueries('dk', 'second_scores', 'q', 'width')}
    workgroupBarrier();
  }`,
    pairText,
  );

  return (d: Dispatcher, tensors: BackwardTensors, scale: number): void => {
    const { q, k, v, ranges, o, lse, dout, dq, dk, dv, bias, dbias } = tensors;
    const shapes = shapesOf(q, k, v, scale);
    const { rows, heads, keys, key_heads, value_width } = shapes;
    d.scratch((biased ? 3 : 2) * rows * heads, (stats) => {
      const read = { q, k, v, ranges, stats, dout };
      const n = rows * heads;
      d.each(statistics, { o, lse, dout, ...(bias && { bias }), stats }, { n, value_width }, n);
      d.groups(gradQuery, { ...read, dq, ...(dbias && { dbias }) }, shapes, n);
      d.groups(gradKey, { ...read, dk, dv }, shapes, keys * key_heads);
    });
  };
}
