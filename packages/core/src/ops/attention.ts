/**
 * Attention: expanded (queries, keys, values a head) and absorbed (one latent row for all heads; DeepSeek-V2,
 * https://arxiv.org/abs/2405.04434, section 2.1), and the projections between the two forms.
 */
import type { Shape } from '../dtype.ts';
import { holdsRows, roundedTypes } from './memory.ts';
import { allSame, anyOf, at, expect, f32, i32, type OpRow } from './op-row.ts';

function attentionCheck(q: Shape, k: Shape, v: Shape, ranges: Shape, ends = 2): void {
  expect(at(k, 0) === at(v, 0) && at(k, 1) === at(v, 1), 'k and v with equal rows and heads');
  expect(at(q, 2) === at(k, 2), 'q and k of equal width');
  expect(at(k, 1) > 0 ? at(q, 1) % at(k, 1) === 0 : at(q, 1) === 0, 'query heads a multiple of key heads');
  expect(at(ranges, 0) === at(q, 0) && at(ranges, 1) === ends, `ranges [N, ${ends}]`);
}

/** Shape of absorbQuery's result, whatever w is stored as. */
export function absorbedQueryShape(q: Shape, w: Shape, nope: number): Shape[] {
  expect(at(q, 1) === at(w, 0), 'a matrix of w for each head');
  expect(nope >= 0 && nope <= at(q, 2) && nope <= at(w, 1), 'nope within the widths of q and w');
  return [[at(q, 0), at(q, 1), at(w, 2) + at(q, 2) - nope]];
}

/** Shape of absorbOutput's result. */
export function absorbedOutputShape(z: Shape, w: Shape, start: number): Shape[] {
  expect(at(z, 1) === at(w, 0) && at(z, 2) === at(w, 2), 'z [N, H, R] and w [H, A, R]');
  expect(start >= 0 && start <= at(w, 1), `start from 0 to ${at(w, 1)}`);
  return [[at(z, 0), at(z, 1), at(w, 1) - start]];
}

/** Shape of latentAttention's result, of q and a cache whose widths fit. */
function latentShape([q, , ranges]: readonly Shape[], valueWidth: number): Shape[] {
  expect(valueWidth >= 0 && valueWidth <= at(q!, 2), 'valueWidth within the width of q');
  expect(at(ranges!, 0) === at(q!, 0) && at(ranges!, 1) === 2, 'ranges [N, 2]');
  return [[at(q!, 0), at(q!, 1), valueWidth]];
}

/** Rows of the op table: attention. */
export const attentionOps = {
  rangeMask: {
    doc: 'y[n, m] = 0 where ranges[n, 0] <= m < ranges[n, 1], else -inf',
    inputs: [i32('ranges', 2)],
    outputs: [f32('y', 2)],
    attributes: { size: 'int' },
    shapes: ([ranges], { size }) => {
      expect(at(ranges!, 1) === 2, 'ranges [N, 2]');
      return [[at(ranges!, 0), size!]];
    },
  },
  attention: {
    doc:
      'query n, head h attends to key rows ranges[n, 0] <= m < ranges[n, 1] (clamped to the rows there are) of key head ' +
      'floor(h Hk / H): o = sum p v with p = softmax(scale q.k); lse = log sum exp(scale q.k); an empty range gives 0 and -inf',
    inputs: [f32('q', 3), f32('k', 3), f32('v', 3), i32('ranges', 2)],
    outputs: [f32('o', 3), f32('lse', 2)],
    attributes: { scale: 'float' },
    shapes: ([q, k, v, ranges]) => {
      attentionCheck(q!, k!, v!, ranges!);
      return [
        [at(q!, 0), at(q!, 1), at(v!, 2)],
        [at(q!, 0), at(q!, 1)],
      ];
    },
  },
  attentionGrad: {
    doc: 'gradients of attention by q, k and v, probabilities recomputed from lse',
    inputs: [
      f32('q', 3),
      f32('k', 3),
      f32('v', 3),
      i32('ranges', 2),
      f32('o', 3),
      f32('lse', 2),
      f32('do', 3),
    ],
    outputs: [f32('dq', 3), f32('dk', 3), f32('dv', 3)],
    attributes: { scale: 'float' },
    shapes: ([q, k, v, ranges, o, , dout]) => {
      attentionCheck(q!, k!, v!, ranges!);
      allSame([o!, dout!], 'o and do');
      return [q!, k!, v!];
    },
  },
  prefixedAttention: {
    doc:
      'attention, without gradient, of samples that share a beginning: query n attends to key rows ranges[n, 0] <= m < ' +
      'ranges[n, 1] and then ranges[n, 2] <= m < ranges[n, 3], as if they lay one after the other',
    inputs: [f32('q', 3), f32('k', 3), f32('v', 3), i32('ranges', 2)],
    outputs: [f32('o', 3)],
    attributes: { scale: 'float' },
    shapes: ([q, k, v, ranges]) => {
      attentionCheck(q!, k!, v!, ranges!, 4);
      return [[at(q!, 0), at(q!, 1), at(v!, 2)]];
    },
  },
  latentAttention: {
    doc:
      'attention in the absorbed form: q [N, H, C] against one shared key row cache[m] [C], whose first `valueWidth` entries ' +
      'are also the value; ranges as in attention',
    inputs: [f32('q', 3), f32('cache', 2), i32('ranges', 2)],
    outputs: [f32('o', 3)],
    attributes: { scale: 'float', valueWidth: 'int' },
    shapes: (inputs, { valueWidth }) => {
      expect(at(inputs[0]!, 2) === at(inputs[1]!, 1), 'q and cache of equal width');
      return latentShape(inputs, valueWidth!);
    },
  },
  latentAttentionRounded: {
    doc:
      'latentAttention to a cache that storeRounded wrote, without gradient: each number is what it stands for, in bf16, or in ' +
      'q8_0 its scale times its integer; the rest is f32. With bfloat 1 products are of bf16 numbers: queries, what the cache ' +
      'stands for and probabilities are rounded to them; sums are f32',
    inputs: [f32('q', 3), anyOf('cache', roundedTypes, 2), i32('ranges', 2)],
    outputs: [f32('o', 3)],
    attributes: { scale: 'float', valueWidth: 'int', bfloat: 'int' },
    shapes: (inputs, { valueWidth }) => {
      expect(holdsRows(inputs[1]!, at(inputs[0]!, 2)), 'cache as wide as q, or up to whole blocks of 32');
      return latentShape(inputs, valueWidth!);
    },
  },
  attentionRounded: {
    doc:
      'attention, without gradient, to keys and values that storeRounded wrote, each as latentAttentionRounded reads it: query ' +
      'n, head h attends to key head i = floor(h keyHeads / H), whose key in row m is k[m, i C : (i + 1) C] and whose value ' +
      'v[m, i W : (i + 1) W] with W = valueWidth; ranges as in attention',
    inputs: [f32('q', 3), anyOf('k', roundedTypes, 2), anyOf('v', roundedTypes, 2), i32('ranges', 2)],
    outputs: [f32('o', 3)],
    attributes: { scale: 'float', keyHeads: 'int', valueWidth: 'int' },
    shapes: ([q, k, v, ranges], { keyHeads, valueWidth }) => {
      const [N, H, C] = [at(q!, 0), at(q!, 1), at(q!, 2)];
      expect(keyHeads! > 0 ? H % keyHeads! === 0 : H === 0, 'query heads a multiple of keyHeads');
      expect(valueWidth! >= 0, 'valueWidth of 0 or more');
      expect(at(k!, 0) === at(v!, 0), 'k and v with equal rows');
      expect(holdsRows(k!, keyHeads! * C), 'k [M, keyHeads C], or [M, keyHeads C up to whole blocks of 32]');
      expect(holdsRows(v!, keyHeads! * valueWidth!), 'v likewise, of keyHeads valueWidth');
      expect(at(ranges!, 0) === N && at(ranges!, 1) === 2, 'ranges [N, 2]');
      return [[N, H, valueWidth!]];
    },
  },
  expandedAttention: {
    doc:
      'attention in the expanded form over latents, without gradient: of row m of cache [M, R + P] the key of head h is ' +
      'cache[m, : R] . w[h, i] for i < nope, then cache[m, R :]; its value the same products for every i from nope on; w f32, ' +
      'or blocks of 8 bits along R, each number its scale times its integer; cache f32 or as in latentAttentionRounded; ranges ' +
      'as in attention. With bfloat 1 products are of bf16 numbers, latents and weights, keys and values among them',
    inputs: [
      f32('q', 3),
      anyOf('cache', ['f32', ...roundedTypes], 2),
      anyOf('w', ['f32', 'q8_0'], 3),
      i32('ranges', 2),
    ],
    outputs: [f32('o', 3)],
    attributes: { scale: 'float', nope: 'int', bfloat: 'int' },
    shapes: ([q, cache, w, ranges], { nope }) => {
      expect(at(w!, 0) === at(q!, 1), 'a matrix of w for each head');
      expect(nope! >= 0 && nope! <= at(q!, 2) && nope! <= at(w!, 1), 'nope within the widths of q and w');
      const width = at(w!, 2) + at(q!, 2) - nope!;
      expect(holdsRows(cache!, width), 'cache [M, R + P], or [M, R + P up to whole blocks of 32]');
      expect(at(ranges!, 0) === at(q!, 0) && at(ranges!, 1) === 2, 'ranges [N, 2]');
      return [[at(q!, 0), at(q!, 1), at(w!, 1) - nope!]];
    },
  },
  splitAttention: {
    doc:
      'attention whose ranges have parts: ranges[n] = [low, first, near, end]; query n, head h attends to key rows first <= m ' +
      '< end, with bias[n, h] added to the scores of rows m < near and sink[h] as one more score without a value; rows low ' +
      '<= m < first are read with weight zero (tiles of keys begin at low); scores that are all -inf give 0 whatever the sink; ' +
      'values are the first `valueWidth` entries of v',
    inputs: [f32('q', 3), f32('k', 3), f32('v', 3), i32('ranges', 2), f32('bias', 2), f32('sink', 1)],
    outputs: [f32('o', 3), f32('lse', 2)],
    attributes: { scale: 'float', valueWidth: 'int' },
    shapes: ([q, k, v, ranges, bias, sink], { valueWidth }) => {
      attentionCheck(q!, k!, v!, ranges!, 4);
      expect(at(bias!, 0) === at(q!, 0) && at(bias!, 1) === at(q!, 1), 'bias [N, H]');
      expect(at(sink!, 0) === at(q!, 1), 'sink [H]');
      const part = at(v!, 1) === 1 && valueWidth! >= 0 && valueWidth! <= at(v!, 2);
      expect(
        part || valueWidth! === at(v!, 2),
        'valueWidth the width of v, or with one key head a part of it',
      );
      return [
        [at(q!, 0), at(q!, 1), valueWidth!],
        [at(q!, 0), at(q!, 1)],
      ];
    },
  },
  splitAttentionGrad: {
    doc: 'gradients of splitAttention by q, k, v (all of its width) and bias, probabilities recomputed from lse; scale not 0',
    inputs: [
      f32('q', 3),
      f32('k', 3),
      f32('v', 3),
      i32('ranges', 2),
      f32('bias', 2),
      f32('o', 3),
      f32('lse', 2),
      f32('do', 3),
    ],
    outputs: [f32('dq', 3), f32('dk', 3), f32('dv', 3), f32('dbias', 2)],
    attributes: { scale: 'float' },
    shapes: ([q, k, v, ranges, bias, o, , dout]) => {
      attentionCheck(q!, k!, v!, ranges!, 4);
      allSame([o!, dout!], 'o and do');
      expect(at(o!, 2) === at(v!, 2), 'o and v of equal width');
      return [q!, k!, v!, bias!];
    },
  },
  gatheredAttention: {
    doc:
      'attention in the absorbed form to rows that each query names: q [N, H, C] against cache[rows[n, i]] [C] for every i, ' +
      'whose first `valueWidth` entries are also the value; a row that is not there does not count; sink as in splitAttention',
    inputs: [f32('q', 3), f32('cache', 2), i32('rows', 2), f32('sink', 1)],
    outputs: [f32('o', 3)],
    attributes: { scale: 'float', valueWidth: 'int' },
    shapes: ([q, cache, rows, sink], { valueWidth }) => {
      expect(at(q!, 2) === at(cache!, 1), 'q and cache of equal width');
      expect(at(rows!, 0) === at(q!, 0), 'rows [N, K]');
      expect(at(sink!, 0) === at(q!, 1), 'sink [H]');
      expect(valueWidth! >= 0 && valueWidth! <= at(cache!, 1), 'valueWidth within the cache width');
      return [[at(q!, 0), at(q!, 1), valueWidth!]];
    },
  },
  indexerScores: {
    doc:
      'how a lightning indexer likes key rows: y[n, m] = sum over ascending h of weights[n, h] relu(q[n, h] . keys[m]) where ' +
      'ranges[n, 0] <= m < ranges[n, 1], else -inf',
    inputs: [f32('q', 3), f32('weights', 2), f32('keys', 2), i32('ranges', 2)],
    outputs: [f32('y', 2)],
    attributes: {},
    shapes: ([q, weights, keys, ranges]) => {
      expect(
        at(q!, 0) === at(weights!, 0) && at(q!, 1) === at(weights!, 1),
        'weights [N, H] for q [N, H, C]',
      );
      expect(at(q!, 2) === at(keys!, 1), 'q and keys of equal width');
      expect(at(ranges!, 0) === at(q!, 0) && at(ranges!, 1) === 2, 'ranges [N, 2]');
      return [[at(q!, 0), at(keys!, 0)]];
    },
  },
  selectLargest: {
    doc:
      'columns of the k largest numbers of each row, ascending, then -1 where there are fewer; of equal numbers the first ' +
      'ones; -inf and NaN are never chosen',
    inputs: [f32('x', 2)],
    outputs: [i32('indices', 2)],
    attributes: { k: 'int' },
    shapes: ([x], { k }) => {
      expect(Number.isInteger(k) && k! >= 0, 'k a count');
      return [[at(x!, 0), k!]];
    },
  },
  expandKeys: {
    doc:
      'keys and values of every head from their joint projection: k[m, h] = up[m, h, : nope] then shared[m], ' +
      'v[m, h] = up[m, h, nope :]',
    inputs: [f32('up', 3), f32('shared', 2)],
    outputs: [f32('k', 3), f32('v', 3)],
    attributes: { nope: 'int' },
    shapes: ([up, shared], { nope }) => {
      const [rows, heads, width] = [at(up!, 0), at(up!, 1), at(up!, 2)];
      expect(at(shared!, 0) === rows, 'up and shared of equal rows');
      expect(nope! >= 0 && nope! <= width, `nope from 0 to ${width}`);
      return [
        [rows, heads, nope! + at(shared!, 1)],
        [rows, heads, width - nope!],
      ];
    },
  },
  expandKeysGrad: {
    doc: 'dup[m, h] = dk[m, h, : nope] then dv[m, h]; dshared[m] = sum over ascending h of dk[m, h, nope :]',
    inputs: [f32('dk', 3), f32('dv', 3)],
    outputs: [f32('dup', 3), f32('dshared', 2)],
    attributes: { nope: 'int' },
    shapes: ([dk, dv], { nope }) => {
      expect(at(dk!, 0) === at(dv!, 0) && at(dk!, 1) === at(dv!, 1), 'dk and dv with equal rows and heads');
      expect(nope! >= 0 && nope! <= at(dk!, 2), `nope from 0 to ${at(dk!, 2)}`);
      return [
        [at(dk!, 0), at(dk!, 1), nope! + at(dv!, 2)],
        [at(dk!, 0), at(dk!, 2) - nope!],
      ];
    },
  },
  absorbQuery: {
    doc:
      'queries of the absorbed form: y[n, h] = sum over ascending i < nope of q[n, h, i] w[h, i], then q[n, h, nope :]; ' +
      'w [H, A, R] with A at least nope',
    inputs: [f32('q', 3), f32('w', 3)],
    outputs: [f32('y', 3)],
    attributes: { nope: 'int' },
    shapes: ([q, w], { nope }) => absorbedQueryShape(q!, w!, nope!),
  },
  absorbOutput: {
    doc: 'values of the absorbed form: y[n, h, j] = z[n, h] . w[h, start + j] for every row of w [H, A, R] from start on',
    inputs: [f32('z', 3), f32('w', 3)],
    outputs: [f32('y', 3)],
    attributes: { start: 'int' },
    shapes: ([z, w], { start }) => absorbedOutputShape(z!, w!, start!),
  },
} as const satisfies Readonly<Record<string, OpRow>>;
