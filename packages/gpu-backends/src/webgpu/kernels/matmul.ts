/**
 * Matrix products: each thread computes 4 x 4 results, or 1 x 4 where the left side is a single row, from
 * registers. A result is one chain of multiply-adds over ascending k in either form, so a row has the same bits
 * in every batch. Rows and columns beyond the end repeat the last and are not stored.
 */
import type { Kernels, Tensor } from '../kernel.ts';
import { reads, shader, writes } from '../shader.ts';

const indices = [0, 1, 2, 3];

function productShader(rows: 1 | 4, adds: boolean) {
  const r = indices.slice(0, rows);
  const lines = (text: (r: number) => string) => r.map(text).join('\n  ');
  return shader(
    `matmul ${rows} x 4${adds ? ' into' : ''}`,
    { a: reads(), b: reads(), c: writes() },
    {
      batches: 'u32',
      m: 'u32',
      n: 'u32',
      k: 'u32',
      row_a: 'u32',
      step_a: 'u32',
      column_b: 'u32',
      step_b: 'u32',
    },
    `
  let tiles_n = (P.n + 3u) / 4u;
  let tiles_m = (P.m + ${rows - 1}u) / ${rows}u;
  if (i >= P.batches * tiles_m * tiles_n) { return; }
  let column = (i % tiles_n) * 4u;
  let row = ((i / tiles_n) % tiles_m) * ${rows}u;
  let batch = i / (tiles_n * tiles_m);
  let base_a = a_at + batch * P.m * P.k;
  let base_b = b_at + batch * P.k * P.n;
  ${lines((j) => `var at_a${j} = base_a + min(row + ${j}u, P.m - 1u) * P.row_a;`)}
  ${indices.map((j) => `var at_b${j} = base_b + min(column + ${j}u, P.n - 1u) * P.column_b;`).join('\n  ')}
  ${lines((j) => `var sum${j} = vec4f();`)}
  for (var p = 0u; p < P.k; p++) {
    let right = vec4f(b[at_b0], b[at_b1], b[at_b2], b[at_b3]);
    ${lines((j) => `sum${j} = fma(vec4f(a[at_a${j}]), right, sum${j}); at_a${j} += P.step_a;`)}
    ${indices.map((j) => `at_b${j} += P.step_b;`).join(' ')}
  }
  let count = min(P.n - column, 4u);
  ${lines(
    (j) => `if (row + ${j}u < P.m) {
    let to = c_at + (batch * P.m + row + ${j}u) * P.n + column;
    for (var q = 0u; q < count; q++) { c[to + q] = ${adds ? 'c[to + q] + ' : ''}sum${j}[q]; }
  }`,
  )}`,
  );
}

const shaders = {
  set: { 1: productShader(1, false), 4: productShader(4, false) },
  add: { 1: productShader(1, true), 4: productShader(4, true) },
};

function product(
  d: Parameters<Kernels['matmul']>[0],
  { a, b, c }: Record<'a' | 'b' | 'c', Tensor>,
  { transA, transB }: { transA: number; transB: number },
  mode: 'set' | 'add',
): void {
  const batched = c.shape.length === 3 ? 1 : 0;
  const batches = batched ? c.shape[0]! : 1;
  const [m, n] = [c.shape[batched]!, c.shape[batched + 1]!];
  const k = a.shape[batched + (transA ? 0 : 1)]!;
  const [row_a, step_a] = transA ? [1, m] : [k, 1];
  const [column_b, step_b] = transB ? [k, 1] : [1, n];
  const rows = m < 4 ? 1 : 4;
  const parameters = { batches, m, n, k, row_a, step_a, column_b, step_b };
  d.each(shaders[mode][rows], { a, b, c }, parameters, batches * Math.ceil(m / rows) * Math.ceil(n / 4));
}

export const matmul: Pick<Kernels, 'matmul' | 'matmulInto'> = {
  matmul(d, [a, b, c], attributes) {
    product(d, { a, b, c }, attributes, 'set');
  },

  matmulInto(d, [a, b, c], attributes) {
    product(d, { a, b, c }, attributes, 'add');
  },
};
