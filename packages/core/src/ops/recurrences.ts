/**
 * Recurrences over rows: what each row takes from the row before it.
 *
 * The exponential smoothing of H-Net (https://arxiv.org/abs/2507.07955, equation 5), over chains of any length.
 */
import { allSame, at, expect, f32, i32, type OpRow } from './op-row.ts';

/** Rows of the op table: recurrences. */
export const recurrenceOps = {
  smoothRows: {
    doc: 'y[n] = x[n] where starts[n] is not 0, and for n = 0; else g[n] x[n] + (1 - g[n]) y[n - 1]',
    inputs: [f32('x', 2), f32('g', 1), i32('starts', 1)],
    outputs: [f32('y', 2)],
    attributes: {},
    shapes: ([x, g, starts]) => {
      allSame([g!, starts!], 'g and starts');
      expect(at(g!, 0) === at(x!, 0), 'x [N, D], g and starts [N]');
      return [x!];
    },
  },
  smoothRowsGrad: {
    doc:
      'with c[n] = dy[n] + (1 - g[n + 1]) c[n + 1], the second term only where row n + 1 continues: dx[n] = g[n] c[n] and ' +
      'dg[n] = c[n] . (x[n] - y[n - 1]); dx[n] = c[n] and dg[n] = 0 where a chain starts',
    inputs: [f32('x', 2), f32('g', 1), i32('starts', 1), f32('y', 2), f32('dy', 2)],
    outputs: [f32('dx', 2), f32('dg', 1)],
    attributes: {},
    shapes: ([x, g, starts, y, dy]) => {
      allSame([x!, y!, dy!], 'x, y and dy');
      allSame([g!, starts!], 'g and starts');
      expect(at(g!, 0) === at(x!, 0), 'x [N, D], g and starts [N]');
      return [x!, g!];
    },
  },
} as const satisfies Readonly<Record<string, OpRow>>;
