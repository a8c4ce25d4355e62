import { MinkeError } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { expect, test } from 'vitest';
import {
  Arena,
  add,
  customOp,
  exp,
  gradBuffer,
  linear,
  max,
  mul,
  square,
  sub,
  sum,
  type Tensor,
} from './index.ts';

const backend = createReference();
const owner = new Arena(backend, { persistent: true });
const numbers = (t: Tensor | null) => Array.from(t!.readSync());

test('gradients accumulate over backward passes and over steps until they are zeroed', () => {
  const step = new Arena(backend, { grad: true });
  const w = owner.parameter([1, 2], [2]);
  expect(w.grad).toBeNull();
  const loss = sum(square(step.adopt(w)));
  loss.backward();
  expect(numbers(w.grad)).toEqual([2, 4]);
  loss.backward();
  expect(numbers(w.grad)).toEqual([4, 8]);
  step.reset();
  sum(square(step.adopt(w))).backward();
  expect(numbers(w.grad)).toEqual([6, 12]);
  w.grad!.write([0, 0]);
  expect(numbers(w.grad)).toEqual([0, 0]);
});

test('aliases and views of a parameter share its gradient', () => {
  const step = new Arena(backend, { grad: true });
  const w = owner.parameter([1, 2, 3, 4, 5, 6], [3, 2]);
  const alias = step.adopt(w);
  const view = alias.rows(1, 2).reshape([2]);
  sum(square(view)).backward();
  expect(numbers(w.grad)).toEqual([0, 0, 6, 8, 0, 0]);
  expect(numbers(view.grad)).toEqual([6, 8]);
  expect(alias.grad).toBe(w.grad);
  expect(gradBuffer(w)).toBe(w.grad);
});

test('nothing is recorded in arenas without grad, without need, or after detach', () => {
  const w = owner.parameter([1], [1]);
  const inference = new Arena(backend);
  expect(exp(inference.adopt(w)).requiresGrad).toBe(false);
  const step = new Arena(backend, { grad: true });
  expect(exp(step.zeros([1])).requiresGrad).toBe(false);
  expect(exp(step.adopt(w)).requiresGrad).toBe(true);
  expect(exp(step.adopt(w).detach()).requiresGrad).toBe(false);
  expect(max(step.adopt(w), 0).requiresGrad).toBe(false);
  expect(step.withoutGrad(() => exp(step.adopt(w))).requiresGrad).toBe(false);
});

test('detach stops a gradient and leaves the rest', () => {
  const step = new Arena(backend, { grad: true });
  const w = owner.parameter([3], [1]);
  const x = step.adopt(w);
  sum(mul(x, square(x).detach())).backward();
  expect(numbers(w.grad)).toEqual([9]);
});

test('outputs that the loss does not use give null gradients, unused parameters none', () => {
  const step = new Arena(backend, { grad: true });
  const w = owner.parameter([3], [1]);
  const unused = owner.parameter([1], [1]);
  const seen: unknown[] = [];
  const [used] = customOp({
    inputs: [step.adopt(w)],
    forward: () => [square(step.adopt(w)), exp(step.adopt(w))],
    backward: (grads) => {
      seen.push(grads.map((g) => g === null));
      return [null];
    },
  });
  add(used!, step.adopt(unused).detach());
  sum(used!).backward();
  expect(seen).toEqual([[false, true]]);
  expect([w.grad, unused.grad]).toEqual([null, null]);
});

test('an operation may accumulate into a leaf it does not return a gradient for', () => {
  const step = new Arena(backend, { grad: true });
  const w = owner.parameter([3], [1]);
  const x = step.adopt(w);
  const [y] = customOp({
    inputs: [x],
    forward: () => [square(x)],
    backward: ([dy]) => {
      gradBuffer(x).write([40]);
      return [dy!];
    },
  });
  sum(y!).backward();
  expect(numbers(w.grad)).toEqual([41]);
});

test('mistakes in backward are named', () => {
  const step = new Arena(backend, { grad: true });
  const w = owner.parameter([1, 2], [2]);
  const x = step.adopt(w);
  expect(() => exp(x).backward()).toThrow(/backward: expected one element, got \[2\]/);
  expect(() => step.zeros([1]).backward()).toThrow(/depends on a parameter/);
  expect(() => gradBuffer(exp(x))).toThrow(
    /gradBuffer: expected a parameter or a view of one, got \[2\] from exp/,
  );
  const bad = (gradient: () => (Tensor | null)[]) =>
    sum(customOp({ name: 'mine', inputs: [x], forward: () => [exp(x)], backward: gradient })[0]!).backward();
  expect(() => bad(() => [])).toThrow(/mine: expected backward to return 1 gradients, got 0/);
  expect(() => bad(() => [step.zeros([3])])).toThrow(
    /mine: expected a gradient of shape \[2\] for input 0, got \[3\]/,
  );
  const foreign = new Arena(backend);
  expect(() =>
    customOp({ name: 'mine', inputs: [x], forward: () => [foreign.zeros([1])], backward: () => [null] }),
  ).toThrow(/mine: expected outputs in arena "step"/);
  expect(() => foreign.adopt(exp(x))).toThrow(/adopt: expected a leaf .* result of exp; detach/);
  const y = exp(x);
  const loss = sum(mul(y, y));
  y.dispose();
  expect(() => loss.backward()).toThrow(MinkeError);
});

test('memory of gradients between is reused during the backward pass', () => {
  const step = new Arena(createReference(), { grad: true });
  const weights = new Arena(step.backend, { persistent: true });
  const w = weights.parameter(new Float32Array(1024).fill(0.01), [32, 32]);
  let x = step.zeros([32, 32]);
  for (let i = 0; i < 40; i++) x = linear(x, w);
  const forward = step.bytes;
  sum(sub(x, 1)).backward();
  expect(step.bytes - forward).toBeLessThanOrEqual(8 * 1024 * 4);
});
