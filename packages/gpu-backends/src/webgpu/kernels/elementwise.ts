/** Elementwise maths: functions of one number and their derivatives, broadcast arithmetic, scaled sums, SwiGLU. */
import { broadcastDivisor, opTable } from '@minke/core';
import type { Kernels } from '../kernel.ts';
import { reads, shader, writes } from '../shader.ts';

type UnaryKind = Parameters<Kernels['unary']>[2]['kind'];
type BinaryKind = Parameters<Kernels['binary']>[2]['kind'];

const functions: Record<UnaryKind, string> = {
  neg: '-v',
  exp: 'exp_(v)',
  log: 'log_(v)',
  sqrt: 'sqrt(v)',
  rsqrt: '1.0 / sqrt(v)',
  square: 'v * v',
  abs: 'abs(v)',
  reciprocal: '1.0 / v',
  sigmoid: 'sigmoid_(v)',
  silu: 'silu_(v)',
  relu: 'max(v, 0.0)',
  tanh: 'tanh_(v)',
  softplus: 'max(v, 0.0) + log_(1.0 + exp_(-abs(v)))',
  affine: 'P.a * v + P.b',
  clamp: 'min(max(v, P.a), P.b)',
};

const slopes: Record<UnaryKind, string> = {
  neg: '-1.0',
  exp: 'exp_(v)',
  log: '1.0 / v',
  sqrt: '0.5 / sqrt(v)',
  rsqrt: '-0.5 / (v * sqrt(v))',
  square: '2.0 * v',
  abs: 'sign(v)',
  reciprocal: '-1.0 / (v * v)',
  sigmoid: 'sigmoid_(v) * sigmoid_(-v)',
  silu: 'silu_slope(v)',
  relu: 'select(0.0, 1.0, v > 0.0)',
  tanh: '1.0 - tanh_(v) * tanh_(v)',
  softplus: 'sigmoid_(v)',
  affine: 'P.a',
  clamp: 'select(0.0, 1.0, v >= P.a && v <= P.b)',
};

const operators: Record<BinaryKind, string> = {
  add: 'u + v',
  sub: 'u - v',
  mul: 'u * v',
  div: 'u / v',
  max: 'max(u, v)',
  min: 'min(u, v)',
};

function unaryShader(kind: UnaryKind) {
  return shader(
    `unary ${kind}`,
    { x: reads(), y: writes() },
    { n: 'u32', a: 'f32', b: 'f32' },
    `if (i < P.n) { let v = x[x_at + i]; y[y_at + i] = ${functions[kind]}; }`,
  );
}

function unaryGradShader(kind: UnaryKind) {
  return shader(
    `unaryGrad ${kind}`,
    { x: reads(), dy: reads(), dx: writes() },
    { n: 'u32', a: 'f32', b: 'f32' },
    `if (i < P.n) { let v = x[x_at + i]; dx[dx_at + i] = dy[dy_at + i] * (${slopes[kind]}); }`,
  );
}

function binaryShader(kind: BinaryKind) {
  return shader(
    `binary ${kind}`,
    { a: reads(), b: reads(), y: writes() },
    { n: 'u32', divisor: 'u32', count: 'u32' },
    `if (i < P.n) { let u = a[a_at + i]; let v = b[b_at + (i / P.divisor) % P.count]; y[y_at + i] = ${operators[kind]}; }`,
  );
}

function perKind<K extends string, S>(kinds: readonly K[], make: (kind: K) => S): Record<K, S> {
  return Object.fromEntries(kinds.map((kind) => [kind, make(kind)])) as Record<K, S>;
}

const unaryShaders = perKind(opTable.unary.attributes.kind, unaryShader);
const unaryGradShaders = perKind(opTable.unary.attributes.kind, unaryGradShader);
const binaryShaders = perKind(opTable.binary.attributes.kind, binaryShader);

const accumulate = shader(
  'accumulate',
  { x: reads(), sum: writes() },
  { n: 'u32', scale: 'f32' },
  'if (i < P.n) { sum[sum_at + i] = fma(P.scale, x[x_at + i], sum[sum_at + i]); }',
);

const swiglu = shader(
  'swiglu',
  { gate: reads(), up: reads(), y: writes() },
  { n: 'u32' },
  'if (i < P.n) { y[y_at + i] = silu_(gate[gate_at + i]) * up[up_at + i]; }',
);

const swigluGrad = shader(
  'swigluGrad',
  { gate: reads(), up: reads(), dy: reads(), dgate: writes(), dup: writes() },
  { n: 'u32' },
  `
  if (i >= P.n) { return; }
  let g = gate[gate_at + i];
  let d = dy[dy_at + i];
  dgate[dgate_at + i] = d * up[up_at + i] * silu_slope(g);
  dup[dup_at + i] = d * silu_(g);`,
);

export const elementwise: Pick<
  Kernels,
  'unary' | 'unaryGrad' | 'binary' | 'accumulate' | 'swiglu' | 'swigluGrad'
> = {
  unary(d, [x, y], { kind, a, b }) {
    d.each(unaryShaders[kind], { x, y }, { n: x.count, a, b }, x.count);
  },

  unaryGrad(d, [x, dy, dx], { kind, a, b }) {
    d.each(unaryGradShaders[kind], { x, dy, dx }, { n: x.count, a, b }, x.count);
  },

  binary(d, [a, b, y], { kind }) {
    const divisor = broadcastDivisor(a.shape, b.shape);
    d.each(binaryShaders[kind], { a, b, y }, { n: a.count, divisor, count: b.count }, a.count);
  },

  accumulate(d, [x, sum], { scale }) {
    d.each(accumulate, { x, sum }, { n: x.count, scale }, x.count);
  },

  swiglu(d, [gate, up, y]) {
    d.each(swiglu, { gate, up, y }, { n: y.count }, y.count);
  },

  swigluGrad(d, [gate, up, dy, dgate, dup]) {
    d.each(swigluGrad, { gate, up, dy, dgate, dup }, { n: dy.count }, dy.count);
  },
};
