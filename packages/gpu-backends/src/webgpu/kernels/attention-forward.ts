/**
 * The forward pass of attention: a workgroup a query and head, which walks its key range in tiles of 64, one key a
 * thread, with the running maximum and sum of Milakov and Gimelshein 2018; then threads share the value columns out. The
 * tiles begin at the range's first key, so nothing depends on other queries or on keys outside the range.
 */
import type { Tensor } from '../kernel.ts';

export const tileText = /* wgsl */ `
var<workgroup> scores: array<f32, 64>;
var<workgroup> second_scores: array<f32, 64>;`;

/** Where a query's keys begin and end, for query n. */
export const wholeRange = `
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

/** What `sizes` takes, from q [N, H, C], k [M, G, C] and v [M, G, V]. */
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
