/**
 * Reductions over an axis, sums of squares, softmax with its gradient, and the k largest of a row.
 *
 * A long row belongs to one workgroup, whose threads take every 64th number and join in a fixed order; the order
 * depends on the row's length alone. Sums of squares carry the rounding error of every addition along (Knuth,
 * TAOCP 2, 4.2.2, theorem B).
 */
import { around, type Kernels, rowsOf } from '../kernel.ts';
import { groupReduction } from '../maths.ts';
import { reads, type Shader, shader, writes } from '../shader.ts';

type ReduceKind = 'sum' | 'mean' | 'max';
type ReduceShader = Shader<'x' | 'y', 'n' | 'size' | 'inner'>;

/** Rows from this length are shared by a workgroup. */
const longRow = 128;

function step(kind: ReduceKind, value: string): string {
  return kind === 'max' ? `result = max(result, ${value});` : `result += ${value};`;
}
const start = (kind: ReduceKind) => (kind === 'max' ? '-infinity()' : '0.0');
const finish = (kind: ReduceKind, result: string) =>
  kind === 'mean' ? `${result} / max(f32(P.size), 1.0)` : result;

function reduceColumn(kind: ReduceKind): ReduceShader {
  return shader(
    `reduce ${kind}`,
    { x: reads(), y: writes() },
    { n: 'u32', size: 'u32', inner: 'u32' },
    `
  if (i >= P.n) { return; }
  let begin = x_at + (i / P.inner) * P.size * P.inner + i % P.inner;
  var result = ${start(kind)};
  for (var s = 0u; s < P.size; s++) { ${step(kind, 'x[begin + s * P.inner]')} }
  y[y_at + i] = ${finish(kind, 'result')};`,
  );
}

function reduceRow(kind: ReduceKind): ReduceShader {
  return shader(
    `reduce rows ${kind}`,
    { x: reads(), y: writes() },
    { n: 'u32', size: 'u32', inner: 'u32' },
    `
  if (group >= P.n) { return; }
  let begin = x_at + group * P.size;
  var result = ${start(kind)};
  for (var s = t; s < P.size; s += 64u) { ${step(kind, 'x[begin + s]')} }
  let all = ${kind === 'max' ? 'group_max' : 'group_sum'}(t, result);
  if (t == 0u) { y[y_at + group] = ${finish(kind, 'all')}; }`,
  );
}

const reduceShaders = {
  sum: { column: reduceColumn('sum'), row: reduceRow('sum') },
  mean: { column: reduceColumn('mean'), row: reduceRow('mean') },
  max: { column: reduceColumn('max'), row: reduceRow('max') },
};

const squaresBlock = 8192;

const pairText = /* wgsl */ `
// A sum and the part of it that did not fit.
fn add_to(pair: vec2f, value: f32) -> vec2f {
  let sum = pair.x + value;
  let back = sum - pair.x;
  return vec2f(sum, pair.y + ((pair.x - (sum - back)) + (value - back)));
}
var<workgroup> pairs: array<vec2f, 64>;
fn join_pairs() -> vec2f {
  var all = vec2f();
  for (var j = 0u; j < 64u; j++) { all = add_to(all, pairs[j].x); all.y += pairs[j].y; }
  return all;
}`;

const squaresOfBlocks = shader(
  'sumSquares of blocks',
  { x: reads(), parts: writes() },
  { n: 'u32' },
  `
  let first = group * ${squaresBlock}u;
  if (first >= P.n) { return; }
  let end = min(first + ${squaresBlock}u, P.n);
  var sum = vec2f();
  for (var j = first + t; j < end; j += 64u) { let v = x[x_at + j]; sum = add_to(sum, v * v); }
  pairs[t] = sum;
  workgroupBarrier();
  if (t == 0u) {
    let all = join_pairs();
    parts[parts_at + 2u * group] = all.x;
    parts[parts_at + 2u * group + 1u] = all.y;
  }`,
  pairText,
);

const squaresJoined = shader(
  'sumSquares',
  { parts: reads(), sum: writes() },
  { n: 'u32' },
  `
  var mine = vec2f();
  for (var j = t; j < P.n; j += 64u) {
    mine = add_to(mine, parts[parts_at + 2u * j]);
    mine.y += parts[parts_at + 2u * j + 1u];
  }
  pairs[t] = mine;
  workgroupBarrier();
  if (t == 0u) {
    let all = add_to(join_pairs(), sum[sum_at]);
    sum[sum_at] = all.x + all.y;
  }`,
  pairText,
);

/** Sets `most` (-inf for a row of only -inf) and `total`, the sum of exp(x - most). */
export const rowExponentials = /* wgsl */ `
  var mine = -infinity();
  for (var c = t; c < P.width; c += 64u) { mine = max(mine, x[begin + c]); }
  let most = group_max(t, mine);
  let shift = select(most, 0.0, is_minus_inf(most));
  var part = 0.0;
  for (var c = t; c < P.width; c += 64u) { part += exp_(x[begin + c] - shift); }
  let total = group_sum(t, part);`;

function softmaxShader(kind: 'softmax' | 'log') {
  return shader(
    `softmax ${kind}`,
    { x: reads(), y: writes() },
    { rows: 'u32', width: 'u32' },
    `
  if (group >= P.rows) { return; }
  let begin = x_at + group * P.width;
  ${rowExponentials}
  let to = y_at + group * P.width;
  let log_total = log_(total);
  let empty = is_minus_inf(most);
  for (var c = t; c < P.width; c += 64u) {
    let v = x[begin + c];
    ${
      kind === 'log'
        ? 'y[to + c] = select(v - most - log_total, -infinity(), empty || is_minus_inf(v));'
        : 'y[to + c] = select(exp_(v - shift) / total, 0.0, empty);'
    }
  }`,
  );
}

function softmaxGradShader(kind: 'softmax' | 'log') {
  const log = kind === 'log';
  return shader(
    `softmaxGrad ${kind}`,
    { y: reads(), dy: reads(), dx: writes() },
    { rows: 'u32', width: 'u32' },
    `
  if (group >= P.rows) { return; }
  let begin = group * P.width;
  var part = 0.0;
  for (var c = begin + t; c < begin + P.width; c += 64u) {
    part += dy[dy_at + c]${log ? '' : ' * y[y_at + c]'};
  }
  let sum = group_sum(t, part);
  for (var c = begin + t; c < begin + P.width; c += 64u) {
    dx[dx_at + c] = ${log ? 'dy[dy_at + c] - exp_(y[y_at + c]) * sum' : 'y[y_at + c] * (dy[dy_at + c] - sum)'};
  }`,
  );
}

const softmaxShaders = { softmax: softmaxShader('softmax'), log: softmaxShader('log') };
const softmaxGradShaders = { softmax: softmaxGradShader('softmax'), log: softmaxGradShader('log') };

/** Each of k rounds finds the largest number after the one found before, in the order (value, index). */
const topK = shader(
  'topK',
  { x: reads(), values: writes('u32'), indices: writes('i32') },
  { rows: 'u32', width: 'u32', k: 'u32' },
  `
  if (group >= P.rows) { return; }
  let begin = x_at + group * P.width;
  var last_key = 0xffffffffu;
  var last_index = -1;
  for (var round_ = 0u; round_ < P.k; round_++) {
    var best = vec2u(0u, 0xffffffffu);
    for (var c = t; c < P.width; c += 64u) {
      let key = order_key(x[begin + c]);
      let open = key < last_key || (key == last_key && i32(c) > last_index);
      if (open && (best.y == 0xffffffffu || key > best.x)) { best = vec2u(key, c); }
    }
    best = best_of_all(t, best);
    last_key = best.x;
    last_index = i32(best.y);
    if (t == 0u) {
      let to = group * P.k + round_;
      let bits = select(best.x & 0x7fffffffu, ~best.x, best.x < 0x80000000u);
      values[values_at + to] = bits;
      indices[indices_at + to] = last_index;
    }
  }`,
  `
${groupReduction('best_of_all', 'vec2u', (a, b) => `better(${a}, ${b})`)}
fn better(a: vec2u, b: vec2u) -> vec2u {
  let second = a.y == 0xffffffffu || (b.y != 0xffffffffu && (b.x > a.x || (b.x == a.x && b.y < a.y)));
  return select(a, b, second);
}`,
);

export const reductions: Pick<Kernels, 'reduce' | 'sumSquares' | 'softmax' | 'softmaxGrad' | 'topK'> = {
  reduce(d, [x, y], { kind, axis }) {
    const [, size, inner] = around(x.shape, axis);
    const shaders = reduceShaders[kind];
    const parameters = { n: y.count, size, inner };
    if (inner === 1 && size >= longRow) d.groups(shaders.row, { x, y }, parameters, y.count);
    else d.each(shaders.column, { x, y }, parameters, y.count);
  },

  sumSquares(d, [x, sum]) {
    const blocks = Math.ceil(x.count / squaresBlock);
    d.scratch(2 * blocks, (parts) => {
      d.groups(squaresOfBlocks, { x, parts }, { n: x.count }, blocks);
      d.groups(squaresJoined, { parts, sum }, { n: blocks }, Math.min(blocks, 1));
    });
  },

  softmax(d, [x, y], { kind }) {
    const [rows, width] = rowsOf(x);
    d.groups(softmaxShaders[kind], { x, y }, { rows, width }, rows);
  },

  softmaxGrad(d, [y, dy, dx], { kind }) {
    const [rows, width] = rowsOf(y);
    d.groups(softmaxGradShaders[kind], { y, dy, dx }, { rows, width }, rows);
  },

  topK(d, [x, values, indices], { k }) {
    const [rows, width] = [x.shape[0]!, x.shape[1]!];
    d.groups(topK, { x, values, indices }, { rows, width, k }, rows);
  },
};
