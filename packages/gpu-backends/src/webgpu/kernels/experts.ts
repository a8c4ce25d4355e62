/**
 * Mixture of experts: the published gates' selection, the stable sort of tokens by expert, products of expert rows
 * with expert weights, and the weighted return (DeepSeek-V3, arXiv 2412.19437, section 2.1.2).
 *
 * Offsets and slots stay on the device and are clamped where they are used. The only atomic is a maximum of
 * integers, whose order does not matter.
 */
import type { Kernels } from '../kernel.ts';
import { reads, shader, writes } from '../shader.ts';

/** One thread a token. Scratch of a token: choices as keys, group scores as keys, then flags of both. */
const routeSelect = shader(
  'routeSelect',
  { scores: reads(), bias: reads(), scratch: writes('u32'), indices: writes('i32') },
  { rows: 'u32', experts: 'u32', k: 'u32', groups: 'u32', top_groups: 'u32', best_two: 'u32' },
  `
  if (i >= P.rows) { return; }
  let size = P.experts / P.groups;
  let choice = scratch_at + i * 2u * (P.experts + P.groups);
  let group_score = choice + P.experts;
  let chosen = group_score + P.groups;
  let kept = chosen + P.experts;
  for (var g = 0u; g < P.groups; g++) {
    var best = -infinity();
    var next = -infinity();
    for (var e = g * size; e < (g + 1u) * size; e++) {
      var value = scores[scores_at + i * P.experts + e] + bias[bias_at + e];
      if (is_nan(value)) { value = -infinity(); }
      scratch[choice + e] = order_key(value);
      scratch[chosen + e] = 0u;
      if (value > best) { next = best; best = value; } else if (value > next) { next = value; }
    }
    var score = best;
    if (P.best_two != 0u && size > 1u) { score = select(best + next, -infinity(), is_minus_inf(next)); }
    scratch[group_score + g] = order_key(score);
    scratch[kept + g] = 0u;
  }
  for (var round_ = 0u; round_ < P.top_groups; round_++) {
    var found = P.groups;
    for (var g = 0u; g < P.groups; g++) {
      if (scratch[kept + g] == 0u && (found == P.groups || scratch[group_score + g] > scratch[group_score + found])) { found = g; }
    }
    scratch[kept + found] = 1u;
  }
  for (var round_ = 0u; round_ < P.k; round_++) {
    var found = P.experts;
    for (var e = 0u; e < P.experts; e++) {
      if (scratch[kept + e / size] == 0u || scratch[chosen + e] != 0u) { continue; }
      if (found == P.experts || scratch[choice + e] > scratch[choice + found]) { found = e; }
    }
    scratch[chosen + found] = 1u;
  }
  var to = indices_at + i * P.k;
  for (var e = 0u; e < P.experts; e++) {
    if (scratch[chosen + e] != 0u) { indices[to] = i32(e); to += 1u; }
  }`,
);

const fillIntegers = shader(
  'fill integers',
  { x: writes('i32') },
  { n: 'u32', value: 'i32' },
  'if (i < P.n) { x[x_at + i] = P.value; }',
);

/** One thread an expert: counts the pairs of the experts before it, then places its own. */
const expertPlan = shader(
  'expertPlan',
  { indices: reads('i32'), offsets: writes('i32'), rows: writes('i32'), slots: writes('i32') },
  { pairs: 'u32', per_token: 'u32', experts: 'u32' },
  `
  if (i >= P.experts) { return; }
  var next = 0;
  for (var pair = 0u; pair < P.pairs; pair++) {
    let index = indices[indices_at + pair];
    if (index >= 0 && index < i32(i)) { next += 1; }
  }
  offsets[offsets_at + i] = next;
  for (var pair = 0u; pair < P.pairs; pair++) {
    if (indices[indices_at + pair] == i32(i)) {
      rows[rows_at + u32(next)] = i32(pair / P.per_token);
      slots[slots_at + pair] = next;
      next += 1;
    }
  }
  if (i == P.experts - 1u) { offsets[offsets_at + P.experts] = next; }`,
);

const histogram = shader(
  'histogram',
  { ids: reads('i32'), counts: writes() },
  { n: 'u32', size: 'u32' },
  `
  if (i >= P.size) { return; }
  var count = 0u;
  for (var j = 0u; j < P.n; j++) { if (ids[ids_at + j] == i32(i)) { count += 1u; } }
  counts[counts_at + i] = f32(count);`,
);

const expertOfRow = shader(
  'expert of each row',
  { offsets: reads('i32'), owner: writes('i32') },
  { rows: 'u32', experts: 'u32' },
  `
  if (i >= P.rows) { return; }
  var expert = -1;
  for (var e = 0u; e < P.experts; e++) {
    if (offsets[offsets_at + e] <= i32(i) && i32(i) < offsets[offsets_at + e + 1u]) { expert = i32(e); }
  }
  owner[owner_at + i] = expert;`,
);

const four = [0, 1, 2, 3];
const each = (text: (j: number) => string, separator = '\n    ') => four.map(text).join(separator);

/** 4 rows x 4 columns a thread when one expert owns the rows, else row by row: the same chains over k. */
const groupedMatmul = shader(
  'groupedMatmul',
  { x: reads(), w: reads(), owner: reads('i32'), y: writes() },
  { rows: 'u32', n: 'u32', k: 'u32', column_w: 'u32', step_w: 'u32' },
  `
  let tiles_n = (P.n + 3u) / 4u;
  let row = (i / tiles_n) * 4u;
  if (row >= P.rows) { return; }
  let column = (i % tiles_n) * 4u;
  let end = min(row + 4u, P.rows);
  let expert = owner[owner_at + row];
  var together = expert >= 0 && row + 4u <= P.rows;
  for (var r = row; r < end; r++) { together = together && owner[owner_at + r] == expert; }
  let count = min(P.n - column, 4u);
  if (together) {
    let base = w_at + u32(expert) * P.n * P.k;
    ${each((j) => `var at_w${j} = base + min(column + ${j}u, P.n - 1u) * P.column_w;`)}
    let begin = x_at + row * P.k;
    ${each((j) => `var sum${j} = vec4f();`, ' ')}
    for (var p = 0u; p < P.k; p++) {
      let right = vec4f(w[at_w0], w[at_w1], w[at_w2], w[at_w3]);
      ${each((j) => `sum${j} = fma(vec4f(x[begin + ${j}u * P.k + p]), right, sum${j}); at_w${j} += P.step_w;`)}
    }
    let to = y_at + row * P.n + column;
    for (var q = 0u; q < count; q++) {
      ${each((j) => `y[to + ${j}u * P.n + q] = sum${j}[q];`, ' ')}
    }
    return;
  }
  for (var r = row; r < end; r++) {
    let e = owner[owner_at + r];
    var sum = vec4f();
    if (e >= 0) {
      let base = w_at + u32(e) * P.n * P.k;
      ${each((j) => `var at_w${j} = base + min(column + ${j}u, P.n - 1u) * P.column_w;`)}
      for (var p = 0u; p < P.k; p++) {
        sum = fma(vec4f(x[x_at + r * P.k + p]), vec4f(w[at_w0], w[at_w1], w[at_w2], w[at_w3]), sum);
        ${each((j) => `at_w${j} += P.step_w;`, ' ')}
      }
    }
    for (var q = 0u; q < count; q++) { y[y_at + r * P.n + column + q] = sum[q]; }
  }`,
);

const groupedGradWeight = shader(
  'groupedMatmulGradWeight',
  { dy: reads(), x: reads(), offsets: reads('i32'), dw: writes() },
  { rows: 'i32', experts: 'u32', n: 'u32', k: 'u32' },
  `
  let tiles_k = (P.k + 3u) / 4u;
  let tiles_n = (P.n + 3u) / 4u;
  let expert = i / (tiles_k * tiles_n);
  if (expert >= P.experts) { return; }
  let column = (i % tiles_k) * 4u;
  let row = ((i / tiles_k) % tiles_n) * 4u;
  let first = max(offsets[offsets_at + expert], 0);
  let end = min(offsets[offsets_at + expert + 1u], P.rows);
  if (end <= first) { return; }
  ${each((j) => `let at_x${j} = x_at + min(column + ${j}u, P.k - 1u); let at_y${j} = dy_at + min(row + ${j}u, P.n - 1u);`)}
  ${each((j) => `var sum${j} = vec4f();`, ' ')}
  for (var r = u32(first); r < u32(end); r++) {
    let begin = r * P.k;
    let right = vec4f(x[at_x0 + begin], x[at_x1 + begin], x[at_x2 + begin], x[at_x3 + begin]);
    ${each((j) => `sum${j} = fma(vec4f(dy[at_y${j} + r * P.n]), right, sum${j});`)}
  }
  let count = min(P.k - column, 4u);
  ${each(
    (j) => `if (row + ${j}u < P.n) {
    let to = dw_at + (expert * P.n + row + ${j}u) * P.k + column;
    for (var q = 0u; q < count; q++) { dw[to + q] += sum${j}[q]; }
  }`,
  )}`,
);

const moeCombine = shader(
  'moeCombine',
  { y: reads(), weights: reads(), slots: reads('i32'), out: writes() },
  { n: 'u32', width: 'u32', per_token: 'u32', rows: 'i32' },
  `
  if (i >= P.n) { return; }
  let pair = (i / P.width) * P.per_token;
  var sum = 0.0;
  for (var k = 0u; k < P.per_token; k++) {
    let slot = slots[slots_at + pair + k];
    if (slot >= 0 && slot < P.rows) {
      sum = fma(weights[weights_at + pair + k], y[y_at + u32(slot) * P.width + i % P.width], sum);
    }
  }
  out[out_at + i] = sum;`,
);

const pairOfSlot = shader(
  'pair of each slot',
  { slots: reads('i32'), pairs: writes('atomic<i32>') },
  { n: 'u32', rows: 'i32' },
  `
  if (i >= P.n) { return; }
  let slot = slots[slots_at + i];
  if (slot >= 0 && slot < P.rows) { atomicMax(&pairs[pairs_at + u32(slot)], i32(i)); }`,
);

const combineGradRows = shader(
  'moeCombineGrad of y',
  { weights: reads(), dout: reads(), pairs: reads('i32'), dy: writes() },
  { n: 'u32', width: 'u32', per_token: 'u32' },
  `
  if (i >= P.n) { return; }
  let pair = pairs[pairs_at + i / P.width];
  var value = 0.0;
  if (pair >= 0) {
    value = weights[weights_at + u32(pair)] * dout[dout_at + (u32(pair) / P.per_token) * P.width + i % P.width];
  }
  dy[dy_at + i] = value;`,
);

const combineGradWeights = shader(
  'moeCombineGrad of the weights',
  { y: reads(), slots: reads('i32'), dout: reads(), dweights: writes() },
  { n: 'u32', width: 'u32', per_token: 'u32', rows: 'i32' },
  `
  if (i >= P.n) { return; }
  let slot = slots[slots_at + i];
  var sum = 0.0;
  if (slot >= 0 && slot < P.rows) {
    let begin = y_at + u32(slot) * P.width;
    let out = dout_at + (i / P.per_token) * P.width;
    for (var c = 0u; c < P.width; c++) { sum = fma(y[begin + c], dout[out + c], sum); }
  }
  dweights[dweights_at + i] = sum;`,
);

export const experts: Pick<
  Kernels,
  | 'routeSelect'
  | 'expertPlan'
  | 'histogram'
  | 'groupedMatmul'
  | 'groupedMatmulGradWeight'
  | 'moeCombine'
  | 'moeCombineGrad'
> = {
  routeSelect(d, [scores, bias, indices], { k, groups, topGroups, groupScore }) {
    const [rows, count] = [scores.shape[0]!, scores.shape[1]!];
    const best_two = groupScore === 'top2Sum' ? 1 : 0;
    d.scratch(2 * rows * (count + groups), (scratch) => {
      const parameters = { rows, experts: count, k, groups, top_groups: topGroups, best_two };
      d.each(routeSelect, { scores, bias, scratch, indices }, parameters, rows);
    });
  },

  expertPlan(d, [indices, offsets, rows, slots], { experts: count }) {
    const pairs = indices.count;
    d.each(fillIntegers, { x: rows }, { n: pairs, value: -1 }, pairs);
    d.each(fillIntegers, { x: slots }, { n: pairs, value: -1 }, pairs);
    const parameters = { pairs, per_token: indices.shape[1]!, experts: count };
    d.each(expertPlan, { indices, offsets, rows, slots }, parameters, count);
  },

  histogram(d, [ids, counts], { size }) {
    d.each(histogram, { ids, counts }, { n: ids.count, size }, size);
  },

  groupedMatmul(d, [x, w, offsets, y], { transW }) {
    const [rows, k, n] = [x.shape[0]!, x.shape[1]!, y.shape[1]!];
    const [column_w, step_w] = transW ? [k, 1] : [1, n];
    d.scratch(rows, (owner) => {
      d.each(expertOfRow, { offsets, owner }, { rows, experts: w.shape[0]! }, rows);
      const threads = Math.ceil(rows / 4) * Math.ceil(n / 4);
      d.each(groupedMatmul, { x, w, owner, y }, { rows, n, k, column_w, step_w }, threads);
    });
  },

  groupedMatmulGradWeight(d, [dy, x, offsets, dw]) {
    const [rows, count, n, k] = [x.shape[0]!, dw.shape[0]!, dy.shape[1]!, x.shape[1]!];
    const threads = count * Math.ceil(n / 4) * Math.ceil(k / 4);
    d.each(groupedGradWeight, { dy, x, offsets, dw }, { rows, experts: count, n, k }, threads);
  },

  moeCombine(d, [y, weights, slots, out]) {
    const [rows, width, per_token] = [y.shape[0]!, y.shape[1]!, slots.shape[1]!];
    d.each(moeCombine, { y, weights, slots, out }, { n: out.count, width, per_token, rows }, out.count);
  },

  moeCombineGrad(d, [y, weights, slots, dout, dy, dweights]) {
    const [rows, width, per_token] = [y.shape[0]!, y.shape[1]!, slots.shape[1]!];
    const n = slots.count;
    d.scratch(rows, (pairs) => {
      d.each(fillIntegers, { x: pairs }, { n: rows, value: -1 }, rows);
      d.each(pairOfSlot, { slots, pairs }, { n, rows }, n);
      d.each(combineGradRows, { weights, dout, pairs, dy }, { n: dy.count, width, per_token }, dy.count);
    });
    d.each(combineGradWeights, { y, slots, dout, dweights }, { n, width, per_token, rows }, n);
  },
};
