/** RMSNorm (Zhang and Sennrich 2019) with its gradient, rotary positions (Su et al. 2021), cross-entropy with its
 *  gradient, and AdamW (Loshchilov and Hutter 2019, algorithm 2). Sums over rows run over fixed blocks of 64. */
import type { Kernels } from '../kernel.ts';
import { reads, shader, writes } from '../shader.ts';
import { rowExponentials } from './reductions.ts';

const rmsNorm = shader(
  'rmsNorm',
  { x: reads(), w: reads(), y: writes(), rstd: writes() },
  { rows: 'u32', width: 'u32', eps: 'f32' },
  `
  if (group >= P.rows) { return; }
  let begin = group * P.width;
  var part = 0.0;
  for (var c = t; c < P.width; c += 64u) { let v = x[x_at + begin + c]; part = fma(v, v, part); }
  let mean = group_sum(t, part) / max(f32(P.width), 1.0);
  let scale = 1.0 / sqrt(mean + P.eps);
  if (t == 0u) { rstd[rstd_at + group] = scale; }
  for (var c = t; c < P.width; c += 64u) { y[y_at + begin + c] = x[x_at + begin + c] * scale * w[w_at + c]; }`,
);

const rmsNormGrad = shader(
  'rmsNormGrad',
  { x: reads(), w: reads(), rstd: reads(), dy: reads(), dx: writes() },
  { rows: 'u32', width: 'u32' },
  `
  if (group >= P.rows) { return; }
  let begin = group * P.width;
  let scale = rstd[rstd_at + group];
  var part = 0.0;
  for (var c = t; c < P.width; c += 64u) { part += w[w_at + c] * dy[dy_at + begin + c] * x[x_at + begin + c]; }
  let mean = group_sum(t, part) / f32(P.width);
  for (var c = t; c < P.width; c += 64u) {
    let normal = x[x_at + begin + c] * scale;
    dx[dx_at + begin + c] = scale * (w[w_at + c] * dy[dy_at + begin + c] - normal * scale * mean);
  }`,
);

const rowBlock = 64;

const rmsNormGradWeight = shader(
  'rmsNormGrad of the weight',
  { x: reads(), rstd: reads(), dy: reads(), parts: writes() },
  { rows: 'u32', width: 'u32', blocks: 'u32' },
  `
  if (i >= P.blocks * P.width) { return; }
  let c = i % P.width;
  let first = (i / P.width) * ${rowBlock}u;
  let end = min(first + ${rowBlock}u, P.rows);
  var sum = 0.0;
  for (var n = first; n < end; n++) {
    sum = fma(dy[dy_at + n * P.width + c], x[x_at + n * P.width + c] * rstd[rstd_at + n], sum);
  }
  parts[parts_at + i] = sum;`,
);

const sumParts = shader(
  'sum of row blocks',
  { parts: reads(), y: writes() },
  { width: 'u32', blocks: 'u32' },
  `
  if (i >= P.width) { return; }
  var sum = 0.0;
  for (var b = 0u; b < P.blocks; b++) { sum += parts[parts_at + b * P.width + i]; }
  y[y_at + i] = sum;`,
);

const rope = shader(
  'rope',
  { x: reads(), cosines: reads(), sines: reads(), positions: reads('i32'), y: writes() },
  {
    n: 'u32',
    heads: 'u32',
    width: 'u32',
    start: 'u32',
    half: 'u32',
    rows: 'i32',
    sign: 'f32',
    interleaved: 'u32',
  },
  `
  if (i >= P.n) { return; }
  let c = i % P.width;
  let v = x[x_at + i];
  if (c < P.start || c >= P.start + 2u * P.half) { y[y_at + i] = v; return; }
  let position = positions[positions_at + i / (P.width * P.heads)];
  if (position < 0 || position >= P.rows) { y[y_at + i] = 0.0; return; }
  let r = c - P.start;
  var pair = r % P.half;
  var second = r >= P.half;
  var other = select(i + P.half, i - P.half, second);
  if (P.interleaved != 0u) {
    pair = r / 2u;
    second = r % 2u != 0u;
    other = select(i + 1u, i - 1u, second);
  }
  let angle = u32(position) * P.half + pair;
  let s = P.sign * sines[sines_at + angle];
  y[y_at + i] = fma(v, cosines[cosines_at + angle], select(-s, s, second) * x[x_at + other]);`,
);

const crossEntropy = shader(
  'crossEntropy',
  { x: reads(), targets: reads('i32'), loss: writes(), lse: writes() },
  { rows: 'u32', width: 'u32' },
  `
  if (group >= P.rows) { return; }
  let begin = x_at + group * P.width;
  ${rowExponentials}
  if (t != 0u) { return; }
  let all = select(most + log_(total), -infinity(), is_minus_inf(most));
  lse[lse_at + group] = all;
  let wanted = targets[targets_at + group];
  var value = 0.0;
  if (wanted >= 0 && wanted < i32(P.width)) { value = all - x[begin + u32(wanted)]; }
  loss[loss_at + group] = value;`,
);

const crossEntropyGrad = shader(
  'crossEntropyGrad',
  { x: reads(), targets: reads('i32'), lse: reads(), dloss: reads(), dx: writes() },
  { n: 'u32', width: 'u32' },
  `
  if (i >= P.n) { return; }
  let row = i / P.width;
  let wanted = targets[targets_at + row];
  var value = 0.0;
  if (wanted >= 0 && wanted < i32(P.width)) {
    let hit = select(0.0, 1.0, u32(wanted) == i % P.width);
    value = dloss[dloss_at + row] * (exp_(x[x_at + i] - lse[lse_at + row]) - hit);
  }
  dx[dx_at + i] = value;`,
);

const adamW = shader(
  'adamW',
  { grad: reads(), norm: reads(), p: writes(), m: writes(), v: writes() },
  {
    n: 'u32',
    lr: 'f32',
    beta1: 'f32',
    rest1: 'f32',
    beta2: 'f32',
    rest2: 'f32',
    eps: 'f32',
    decay: 'f32',
    correction1: 'f32',
    correction2: 'f32',
    max_norm: 'f32',
  },
  `
  if (i >= P.n) { return; }
  var clip = 1.0;
  if (P.max_norm != 0.0) { clip = min(1.0, P.max_norm / (sqrt(norm[norm_at]) + 1e-6)); }
  let g = clip * grad[grad_at + i];
  let first = P.beta1 * m[m_at + i] + P.rest1 * g;
  let second = P.beta2 * v[v_at + i] + P.rest2 * g * g;
  let old = p[p_at + i];
  m[m_at + i] = first;
  v[v_at + i] = second;
  p[p_at + i] = old - (P.lr * (first / P.correction1) / (sqrt(second / P.correction2) + P.eps) + P.decay * old);`,
);

export const layer: Pick<
  Kernels,
  'rmsNorm' | 'rmsNormGrad' | 'rope' | 'crossEntropy' | 'crossEntropyGrad' | 'adamW'
> = {
  rmsNorm(d, [x, w, y, rstd], { eps }) {
    const [rows, width] = [x.shape[0]!, x.shape[1]!];
    d.groups(rmsNorm, { x, w, y, rstd }, { rows, width, eps }, rows);
  },

  rmsNormGrad(d, [x, w, rstd, dy, dx, dw]) {
    const [rows, width] = [x.shape[0]!, x.shape[1]!];
    const blocks = Math.ceil(rows / rowBlock);
    d.groups(rmsNormGrad, { x, w, rstd, dy, dx }, { rows, width }, width === 0 ? 0 : rows);
    d.scratch(blocks * width, (parts) => {
      d.each(rmsNormGradWeight, { x, rstd, dy, parts }, { rows, width, blocks }, blocks * width);
      d.each(sumParts, { parts, y: dw }, { width, blocks }, width);
    });
  },

  rope(d, [x, cosines, sines, positions, y], { start, layout, inverse }) {
    const [heads, width] = [x.shape[1]!, x.shape[2]!];
    const [rows, half] = [cosines.shape[0]!, cosines.shape[1]!];
    const interleaved = layout === 'interleaved' ? 1 : 0;
    const parameters = { n: x.count, heads, width, start, half, rows, sign: inverse ? -1 : 1, interleaved };
    d.each(rope, { x, cosines, sines, positions, y }, parameters, x.count);
  },

  crossEntropy(d, [x, targets, loss, lse]) {
    const [rows, width] = [x.shape[0]!, x.shape[1]!];
    d.groups(crossEntropy, { x, targets, loss, lse }, { rows, width }, rows);
  },

  crossEntropyGrad(d, [x, targets, lse, dloss, dx]) {
    d.each(crossEntropyGrad, { x, targets, lse, dloss, dx }, { n: x.count, width: x.shape[1]! }, x.count);
  },

  adamW(d, [grad, norm, p, m, v], attributes) {
    const { lr, beta1, beta2, eps, weightDecay, correction1, correction2, maxNorm } = attributes;
    const rates = { lr, beta1, rest1: 1 - beta1, beta2, rest2: 1 - beta2, eps, decay: lr * weightDecay };
    const parameters = { n: p.count, ...rates, correction1, correction2, max_norm: maxNorm };
    d.each(adamW, { grad, norm, p, m, v }, parameters, p.count);
  },
};
