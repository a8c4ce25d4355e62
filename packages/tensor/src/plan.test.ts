import { createReference } from '@minke/gpu-backends/reference';
import { expect, test } from 'vitest';
import { Arena, add, affine, call, square, type Tensor } from './index.ts';

const backend = createReference();
const numbers = (t: Tensor) => Array.from(t.readSync());

test('a plan runs its step again on the numbers its inputs hold then', () => {
  using arena = new Arena(backend);
  const x = arena.tensor([1, 2], [2]);
  const y = add(square(x), arena.full([2], 1));
  const plan = arena.keep();
  expect([plan.size, numbers(y)]).toEqual([3, [2, 5]]);
  for (const values of [
    [3, 4],
    [0, -1],
  ]) {
    x.write(values);
    plan.run();
    expect(numbers(y)).toEqual(values.map((value) => value ** 2 + 1));
  }
});

test('a plan runs after what other arenas recorded on the memory it shares', () => {
  using owner = new Arena(backend, { persistent: true });
  using arena = new Arena(backend);
  using other = new Arena(backend);
  const [w, seen] = [owner.tensor([1], [1]), owner.tensor([0], [1])];
  call('copyInto', [affine(arena.adopt(w), 10, 0), seen], {});
  const plan = arena.keep();
  expect(numbers(seen)).toEqual([10]);
  call('accumulate', [other.tensor([1], [1]), w], { scale: 1 });
  const before = call('binary', [other.adopt(seen), other.full([1], 0)], { kind: 'add' });
  plan.run();
  expect([numbers(before[0]!), numbers(seen)]).toEqual([[10], [20]]);
});

test('what does not make a whole step is not kept', () => {
  using arena = new Arena(backend);
  const x = arena.tensor([1], [1]);
  numbers(square(x));
  expect(() => arena.keep()).toThrow(/keep: expected the commands of a whole step.*submitted already/);
  arena.reset();
  const released = arena.scope(() => square(arena.tensor([2], [1])));
  expect(() => arena.keep()).toThrow(/uploaded were released/);
  expect(numbers(released)).toEqual([4]);
});

test('a plan ends with its step, and with parameters it uses', () => {
  using arena = new Arena(backend);
  const owner = new Arena(backend, { persistent: true });
  add(arena.adopt(owner.tensor([1], [1])), arena.full([1], 1));
  const plan = arena.keep();
  owner.dispose();
  expect(() => plan.run()).toThrow(/plan: expected live parameters/);
  arena.reset();
  expect(() => plan.run()).toThrow(/plan: expected the plan of a live step.*was reset/);
});
