/**
 * The forward pass of attention: a workgroup for a query and a head, or four heads that share their keys, which walks the
 * key range in tiles of 64, one key a thread, with the running maximum and sum of Milakov and Gimelshein 2018; then threads
 * share the value columns out. The tiles begin at the range's first key, so nothing depends on other queries or on keys
 * outside the range. The bits of a head are the same in both forms.
 */
import type { Tensor } from '../kernel.ts';
import { groupReduction, maximumOf } from '../maths.ts';

/** Heads that share the keys a workgroup reads: each number of a key or value is then read once for all of them. */
export type Lanes = 1 | 4;

const lanesOf = (lanes: Lanes) => [0, 1, 2, 3].slice(0, lanes);
const vector = (lanes: Lanes) => (lanes === 1 ? 'f32' : 'vec4f');
const packed = (lanes: Lanes, each: (lane: number) => string, type = 'f32') =>
  lanes === 1 ? each(0) : `vec4<${type}>(${lanesOf(lanes).map(each).join(', ')})`;
const component = (lanes: Lanes, name: string, lane: number) => (lanes === 1 ? name : `${name}[${lane}]`);

/** Declarations of a forward pass: workgroup memory, and functions of a number for each lane. */
export const forwardText = (lanes: Lanes) => {
  const type = vector(lanes);
  const x = (lane: number) => component(lanes, 'x', lane);
  return /* wgsl */ `
var<workgroup> scores: array<${type}, 64>;
fn exps(x: ${type}) -> ${type} { return ${packed(lanes, (lane) => `exp_(${x(lane)})`)}; }
fn are_minus_inf(x: ${type}) -> ${lanes === 1 ? 'bool' : 'vec4<bool>'} {
  return ${packed(lanes, (lane) => `is_minus_inf(${x(lane)})`, 'bool')};
}
${groupReduction('tile_max', type, maximumOf)}`;
};

/** Where a query's keys begin and end, for query n. */
export const wholeRange = `
  let first = max(ranges[ranges_at + 2u * n], 0);
  let end = min(ranges[ranges_at + 2u * n + 1u], P.keys);`;

interface ForwardForm {
  /** More than one only where all heads share one key head. */
  readonly lanes: Lanes;
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
  /** A score without a value, or minus infinity, of a head. */
  readonly sink?: (head: string) => string;
  /** Writes `lse`. */
  readonly lse?: string;
}

/** Workgroups of a call. */
export const groupsOf = (lanes: Lanes, rows: number, heads: number) => rows * Math.ceil(heads / lanes);

/** The body of a forward form; its declarations are `forwardText`'s. */
export function forwardBody(form: ForwardForm): string {
  const {
    lanes,
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
  const lines = (each: (lane: number) => string) => lanesOf(lanes).map(each).join('\n  ');
  const of = (each: (lane: number) => string) => packed(lanes, each);
  const type = vector(lanes);
  // Beside the sink the sums shrink by `kept`.
  const sink = form.sink
    ? `
  let sinks = ${of((lane) => form.sink?.(`head${lane}`) ?? '')};
  let top = max(most, sinks);
  let kept = select(exps(most - top), ${type}(1.0), are_minus_inf(top));
  let whole = select(fma(total, kept, exps(sinks - top)), total, are_minus_inf(top));`
    : `
  let top = most;
  let kept = ${type}(1.0);
  let whole = total;`;
  return `
  let blocks = (P.heads + ${lanes - 1}u) / ${lanes}u;
  if (group >= P.rows * blocks) { return; }
  let n = group / blocks;${range}
  ${lines((lane) => `let head${lane} = min(group % blocks * ${lanes}u + ${lane}u, P.heads - 1u);`)}
  let key_head = (head0 * P.key_heads) / P.heads;
  ${lines((lane) => `let query${lane} = q_at + (n * P.heads + head${lane}) * P.width;`)}
  ${lines((lane) => `let to${lane} = o_at + (n * P.heads + head${lane}) * P.value_width;`)}
  for (var c = t; c < P.value_width; c += 64u) {
    ${lines((lane) => `o[to${lane} + c] = 0.0;`)}
  }
  var most = ${type}(-infinity());
  var total = ${type}();
  for (var base = first; base < end; base += 64) {
    let m = base + i32(t);
    var score = ${type}(-infinity());
    if (m < end) {${before}
      let begin = ${keyAt};
      var dots = ${type}();
      for (var c = 0u; c < P.width; c++) {
        dots = fma(${of((lane) => `q[query${lane} + c]`)}, ${type}(${key}[begin + c]), dots);
      }
      score = P.scale * dots;${shift}
    }
    let before = most;
    most = max(before, tile_max(t, score));
    let shift = select(most, ${type}(), are_minus_inf(most));
    let correction = exps(before - shift);
    scores[t] = exps(score - shift);
    workgroupBarrier();
    let count = u32(min(end - base, 64));
    var part = ${type}();
    for (var j = 0u; j < count; j++) { part += scores[j]; }
    total = fma(total, correction, part);
    for (var c = t; c < P.value_width; c += 64u) {
      var sum = ${type}();
      for (var j = 0u; j < count; j++) {${skip}
        sum = fma(scores[j], ${type}(${value}[${valueAt} + c]), sum);
      }
      let kept_so_far = fma(${of((lane) => `o[to${lane} + c]`)}, correction, sum);
      ${lines((lane) => `o[to${lane} + c] = ${component(lanes, 'kept_so_far', lane)};`)}
    }
    workgroupBarrier();
  }
  let empty = total <= ${type}();${sink}
  for (var c = t; c < P.value_width; c += 64u) {
    let result = select(${of((lane) => `o[to${lane} + c]`)} * kept / whole, ${type}(), empty);
    ${lines((lane) => `o[to${lane} + c] = ${component(lanes, 'result', lane)};`)}
  }
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
