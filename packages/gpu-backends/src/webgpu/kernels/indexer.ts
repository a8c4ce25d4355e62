/** The lightning indexer of sparse attention: one thread a score; the choice of the largest, one workgroup a row. */
import type { Kernels } from '../kernel.ts';
import { reads, shader, writes } from '../shader.ts';

const indexerScores = shader(
  'indexerScores',
  { q: reads(), weights: reads(), keys: reads(), ranges: reads('i32'), y: writes() },
  { n: 'u32', heads: 'u32', width: 'u32', size: 'u32' },
  `
  if (i >= P.n) { return; }
  let row = i / P.size;
  let m = i % P.size;
  let range = ranges_at + 2u * row;
  if (i32(m) < ranges[range] || i32(m) >= ranges[range + 1u]) { y[y_at + i] = -infinity(); return; }
  var sum = 0.0;
  for (var h = 0u; h < P.heads; h++) {
    let query = q_at + (row * P.heads + h) * P.width;
    let key = keys_at + m * P.width;
    var product = 0.0;
    for (var c = 0u; c < P.width; c++) { product = fma(q[query + c], keys[key + c], product); }
    sum = fma(weights[weights_at + row * P.heads + h], select(product, 0.0, product <= 0.0), sum);
  }
  y[y_at + i] = sum;`,
);

/** The k-th largest bit by bit, by counting; then each thread writes what its share of the row holds. */
const selectLargest = shader(
  'selectLargest',
  { x: reads(), indices: writes('i32') },
  { rows: 'u32', width: 'u32', k: 'u32' },
  `
  if (group >= P.rows) { return; }
  let begin = x_at + group * P.width;
  let to = indices_at + group * P.k;
  let lowest = order_key(-infinity());
  var mine = 0.0;
  for (var c = t; c < P.width; c += 64u) { mine += select(0.0, 1.0, order_key(x[begin + c]) > lowest); }
  let count = min(P.k, u32(group_sum(t, mine)));
  var least = 0u;
  for (var bit = 0u; bit < 32u; bit++) {
    let candidate = least | (0x80000000u >> bit);
    var above = 0.0;
    for (var c = t; c < P.width; c += 64u) { above += select(0.0, 1.0, order_key(x[begin + c]) >= candidate); }
    let reached = u32(group_sum(t, above));
    if (reached >= count) { least = candidate; }
  }
  let share = (P.width + 63u) / 64u;
  let end = min((t + 1u) * share, P.width);
  var own = vec2u();
  for (var c = t * share; c < end; c++) {
    let key = order_key(x[begin + c]);
    own += vec2u(select(0u, 1u, key > least), select(0u, 1u, key == least));
  }
  workgroupBarrier();
  shares[t] = own;
  workgroupBarrier();
  var before = vec2u();
  var all_above = 0u;
  for (var j = 0u; j < 64u; j++) {
    if (j < t) { before += shares[j]; }
    all_above += shares[j].x;
  }
  let equals = select(0u, count - all_above, count > all_above);
  var equal = before.y;
  var at = before.x + min(equal, equals);
  for (var c = t * share; c < end && count > 0u; c++) {
    let key = order_key(x[begin + c]);
    if (key < least || key <= lowest) { continue; }
    if (key == least) {
      equal++;
      if (equal > equals) { continue; }
    }
    indices[to + at] = i32(c);
    at++;
  }
  for (var c = count + t; c < P.k; c += 64u) { indices[to + c] = -1; }`,
  `
var<workgroup> shares: array<vec2u, 64>;`,
);

export const indexer: Pick<Kernels, 'indexerScores' | 'selectLargest'> = {
  indexerScores(d, [q, weights, keys, ranges, y]) {
    const [heads, width, size] = [q.shape[1]!, q.shape[2]!, keys.shape[0]!];
    d.each(indexerScores, { q, weights, keys, ranges, y }, { n: y.count, heads, width, size }, y.count);
  },

  selectLargest(d, [x, indices], { k }) {
    const [rows, width] = [x.shape[0]!, x.shape[1]!];
    d.groups(selectLargest, { x, indices }, { rows, width, k }, rows);
  },
};
