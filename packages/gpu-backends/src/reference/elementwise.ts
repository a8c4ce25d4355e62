/** Elementwise maths: functions of one number and their derivatives, broadcast arithmetic, scaled sums. */
import { broadcastDivisor } from '@minke/core';
import type { Kernels } from './kernel.ts';

type UnaryKind = Parameters<Kernels['unary']>[1]['kind'];
type BinaryKind = Parameters<Kernels['binary']>[1]['kind'];
type Function1 = (x: number, a: number, b: number) => number;

/** 1 / (1 + exp(-x)) without overflow. */
export function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x));
  const e = Math.exp(x);
  return e / (1 + e);
}

/** x sigmoid(x); 0 at -inf. */
export function silu(x: number): number {
  return x === -Infinity ? 0 : x * sigmoid(x);
}

/** silu'(x) = s (1 + x (1 - s)), s = sigmoid(x); 0 at -inf, 1 at inf. */
export function siluSlope(x: number): number {
  if (!Number.isFinite(x)) return sigmoid(x);
  return sigmoid(x) * (1 + x * sigmoid(-x));
}

const functions: Record<UnaryKind, Function1> = {
  neg: (x) => -x,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  square: (x) => x * x,
  abs: Math.abs,
  reciprocal: (x) => 1 / x,
  sigmoid,
  silu,
  relu: (x) => Math.max(x, 0),
  tanh: Math.tanh,
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  affine: (x, a, b) => a * x + b,
  clamp: (x, a, b) => Math.min(Math.max(x, a), b),
};

const slopes: Record<UnaryKind, Function1> = {
  neg: () => -1,
  exp: Math.exp,
  log: (x) => 1 / x,
  sqrt: (x) => 0.5 / Math.sqrt(x),
  rsqrt: (x) => -0.5 / (x * Math.sqrt(x)),
  square: (x) => 2 * x,
  abs: Math.sign,
  reciprocal: (x) => -1 / (x * x),
  sigmoid: (x) => sigmoid(x) * sigmoid(-x),
  silu: siluSlope,
  relu: (x) => (x > 0 ? 1 : 0),
  tanh: (x) => 1 / Math.cosh(x) ** 2,
  softplus: sigmoid,
  affine: (_, a) => a,
  clamp: (x, a, b) => (x >= a && x <= b ? 1 : 0),
};

const operators: Record<BinaryKind, (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  max: Math.max,
  min: Math.min,
};

export const elementwise: Pick<Kernels, 'unary' | 'unaryGrad' | 'binary' | 'accumulate'> = {
  unary([x, y], { kind, a, b }) {
    const f = functions[kind];
    for (let i = 0; i < y.data.length; i++) y.data[i] = f(x.data[i]!, a, b);
  },

  unaryGrad([x, dy, dx], { kind, a, b }) {
    const slope = slopes[kind];
    const passes = kind === 'relu' || kind === 'clamp'; // all of dy or nothing, whatever it is
    for (let i = 0; i < dx.data.length; i++) {
      const factor = slope(x.data[i]!, a, b);
      dx.data[i] = passes && factor === 0 ? 0 : dy.data[i]! * factor;
    }
  },

  binary([a, b, y], { kind }) {
    const divisor = broadcastDivisor(a.shape, b.shape);
    const count = b.data.length;
    const operator = operators[kind];
    for (let i = 0; i < y.data.length; i++)
      y.data[i] = operator(a.data[i]!, b.data[Math.floor(i / divisor) % count]!);
  },

  accumulate([x, sum], { scale }) {
    for (let i = 0; i < sum.data.length; i++) sum.data[i] = sum.data[i]! + scale * x.data[i]!;
  },
};
