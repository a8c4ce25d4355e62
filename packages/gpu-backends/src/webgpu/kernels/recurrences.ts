/** Smoothing of rows along chains, H-Net's equation 5 (arXiv 2507.07955), and its gradient: a thread per column. */
import type { Kernels } from '../kernel.ts';
import { reads, shader, writes } from '../shader.ts';

const smoothRows = shader(
  'smoothRows',
  { x: reads(), g: reads(), starts: reads('i32'), y: writes() },
  { rows: 'u32', width: 'u32' },
  `
  if (i >= P.width) { return; }
  var last = 0.0;
  for (var n = 0u; n < P.rows; n++) {
    let v = x[x_at + n * P.width + i];
    let own = g[g_at + n];
    if (n == 0u || starts[starts_at + n] != 0) { last = v; } else { last = own * v + (1.0 - own) * last; }
    y[y_at + n * P.width + i] = last;
  }`,
);

/** What reaches each row, from the last to the first, in the place of dx. */
const carry = shader(
  'smoothRowsGrad carry',
  { g: reads(), starts: reads('i32'), dy: reads(), dx: writes() },
  { rows: 'u32', width: 'u32' },
  `
  if (i >= P.width) { return; }
  var later = 0.0;
  for (var k = 0u; k < P.rows; k++) {
    let n = P.rows - 1u - k;
    var total = dy[dy_at + n * P.width + i];
    if (k > 0u && starts[starts_at + n + 1u] == 0) { total += (1.0 - g[g_at + n + 1u]) * later; }
    later = total;
    dx[dx_at + n * P.width + i] = total;
  }`,
);

const share = shader(
  'smoothRowsGrad share',
  { x: reads(), g: reads(), starts: reads('i32'), y: reads(), dx: writes(), dg: writes() },
  { rows: 'u32', width: 'u32' },
  `
  if (group >= P.rows) { return; }
  let first = group == 0u || starts[starts_at + group] != 0;
  let own = g[g_at + group];
  var part = 0.0;
  if (!first) {
    for (var c = t; c < P.width; c += 64u) {
      let at = group * P.width + c;
      let total = dx[dx_at + at];
      part = fma(total, x[x_at + at] - y[y_at + at - P.width], part);
      dx[dx_at + at] = own * total;
    }
  }
  let sum = group_sum(t, part);
  if (t == 0u) { dg[dg_at + group] = select(sum, 0.0, first); }`,
);

export const recurrences: Pick<Kernels, 'smoothRows' | 'smoothRowsGrad'> = {
  smoothRows(d, [x, g, starts, y]) {
    const [rows, width] = [x.shape[0]!, x.shape[1]!];
    d.each(smoothRows, { x, g, starts, y }, { rows, width }, rows === 0 ? 0 : width);
  },

  smoothRowsGrad(d, [x, g, starts, y, dy, dx, dg]) {
    const [rows, width] = [x.shape[0]!, x.shape[1]!];
    d.each(carry, { g, starts, dy, dx }, { rows, width }, rows === 0 ? 0 : width);
    d.groups(share, { x, g, starts, y, dx, dg }, { rows, width }, rows);
  },
};
