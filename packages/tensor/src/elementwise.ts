/**
 * Elementwise functions and their gradients.
 *
 * Two-operand functions follow the op `binary`: the second operand has one element, or is a suffix of the
 * first one's shape, or is its shape with last axis 1; its gradient is summed over what was broadcast. Where
 * two operands are equal, `maximum` and `minimum` give the gradient to the second (PyTorch halves it).
 */
import { type Attributes, elementCount, type Shape, sameShape } from '@minke/core';
import { trackOne } from './autograd.ts';
import { borrow, callOne, renamed } from './call.ts';
import { isTensor, type Tensor } from './tensor.ts';

type UnaryKind = Attributes<'unary'>['kind'];
type BinaryKind = Attributes<'binary'>['kind'];

function unary(kind: UnaryKind, x: Tensor, a = 0, b = 0): Tensor {
  const y = callOne('unary', [x], { kind, a, b });
  return trackOne(kind, [x], y, (dy) => [callOne('unaryGrad', [x, dy], { kind, a, b })]);
}

/** -x. */
export const neg = (x: Tensor): Tensor => unary('neg', x);
/** e^x. */
export const exp = (x: Tensor): Tensor => unary('exp', x);
/** Natural logarithm. */
export const log = (x: Tensor): Tensor => unary('log', x);
export const sqrt = (x: Tensor): Tensor => unary('sqrt', x);
/** 1 / sqrt(x). */
export const rsqrt = (x: Tensor): Tensor => unary('rsqrt', x);
/** x^2. */
export const square = (x: Tensor): Tensor => unary('square', x);
/** |x|. */
export const abs = (x: Tensor): Tensor => unary('abs', x);
/** 1 / x. */
export const reciprocal = (x: Tensor): Tensor => unary('reciprocal', x);
/** 1 / (1 + e^-x). */
export const sigmoid = (x: Tensor): Tensor => unary('sigmoid', x);
/** x sigmoid(x). */
export const silu = (x: Tensor): Tensor => unary('silu', x);
/** max(x, 0). */
export const relu = (x: Tensor): Tensor => unary('relu', x);
export const tanh = (x: Tensor): Tensor => unary('tanh', x);
/** log(1 + e^x). */
export const softplus = (x: Tensor): Tensor => unary('softplus', x);
/** scale x + shift, with host numbers. */
export const affine = (x: Tensor, scale: number, shift: number): Tensor => unary('affine', x, scale, shift);
/** min(max(x, low), high); the gradient passes where low <= x <= high. */
export const clamp = (x: Tensor, low: number, high: number): Tensor => unary('clamp', x, low, high);

const binary = (kind: BinaryKind, a: Tensor, b: Tensor): Tensor => callOne('binary', [a, b], { kind });

/** `grad`, of shape `a`, summed over what the broadcast of `b` to `a` repeated. */
export function sumToShape(grad: Tensor, shape: Shape): Tensor {
  if (sameShape(grad.shape, shape)) return grad;
  const { size } = grad;
  const count = elementCount(shape);
  const suffix = shape.every((s, i) => s === grad.shape[grad.rank - shape.length + i]);
  const column = count !== 1 && !suffix;
  const folded = borrow(
    grad,
    column ? [count, count === 0 ? 0 : size / count] : [count === 0 ? 0 : size / count, count],
  );
  return renamed(callOne('reduce', [folded], { kind: 'sum', axis: column ? 1 : 0 }), shape);
}

/** a + b. */
export function add(a: Tensor, b: Tensor | number): Tensor {
  if (!isTensor(b)) return affine(a, 1, b);
  return trackOne('add', [a, b], binary('add', a, b), (dy) => [
    dy,
    b.requiresGrad ? sumToShape(dy, b.shape) : null,
  ]);
}

/** a - b. */
export function sub(a: Tensor, b: Tensor | number): Tensor {
  if (!isTensor(b)) return affine(a, 1, -b);
  return trackOne('sub', [a, b], binary('sub', a, b), (dy) => [
    dy,
    b.requiresGrad ? callOne('unary', [sumToShape(dy, b.shape)], { kind: 'neg', a: 0, b: 0 }) : null,
  ]);
}

/** a b, element by element. */
export function mul(a: Tensor, b: Tensor | number): Tensor {
  if (!isTensor(b)) return affine(a, b, 0);
  return trackOne('mul', [a, b], binary('mul', a, b), (dy) => [
    a.requiresGrad ? binary('mul', dy, b) : null,
    b.requiresGrad ? sumToShape(binary('mul', dy, a), b.shape) : null,
  ]);
}

/** a / b, element by element; a number divides as multiplication by its reciprocal. */
export function div(a: Tensor, b: Tensor | number): Tensor {
  if (!isTensor(b)) return affine(a, 1 / b, 0);
  const y = binary('div', a, b);
  return trackOne('div', [a, b], y, (dy) => {
    const da = binary('div', dy, b);
    if (!b.requiresGrad) return [da, null];
    const product = sumToShape(binary('mul', da, y), b.shape);
    return [da, callOne('unary', [product], { kind: 'neg', a: 0, b: 0 })];
  });
}

/** The larger one, element by element. */
export function maximum(a: Tensor, b: Tensor | number): Tensor {
  return isTensor(b) ? extremum('max', a, b) : clamp(a, b, Number.POSITIVE_INFINITY);
}

/** The smaller one, element by element. */
export function minimum(a: Tensor, b: Tensor | number): Tensor {
  return isTensor(b) ? extremum('min', a, b) : clamp(a, Number.NEGATIVE_INFINITY, b);
}

function extremum(kind: 'max' | 'min', a: Tensor, b: Tensor): Tensor {
  return trackOne(kind, [a, b], binary(kind, a, b), (dy) => {
    const lead =
      kind === 'max'
        ? binary('sub', a, b)
        : callOne('unary', [binary('sub', a, b)], { kind: 'neg', a: 0, b: 0 });
    const da = callOne('unaryGrad', [lead, dy], { kind: 'relu', a: 0, b: 0 });
    return [da, b.requiresGrad ? sumToShape(binary('sub', dy, da), b.shape) : null];
  });
}
