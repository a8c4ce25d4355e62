import { createReference } from '@minke/gpu-backends/reference';
import { expect, test } from 'vitest';
import { AdamW, Arena, square, sum } from './index.ts';

const backend = createReference();

function setup() {
  const owner = new Arena(backend, { persistent: true });
  const arena = new Arena(backend, { grad: true });
  const w = owner.parameter([1, -2, 3], [3]);
  const idle = owner.parameter([5], [1]);
  const optimizer = new AdamW(
    new Map([
      ['w', w],
      ['idle', idle],
    ]),
    { lr: 0.1, weightDecay: 0.5, decay: () => true },
  );
  const step = () => {
    sum(square(arena.adopt(w))).backward();
    optimizer.step(arena);
    optimizer.zeroGrad(arena);
    arena.reset();
    return Array.from(w.readSync());
  };
  return { owner, w, idle, optimizer, step };
}

test('a run continued from saved state is the same bit for bit', async () => {
  const whole = setup();
  const first = setup();
  for (let i = 0; i < 3; i++) expect(first.step()).toEqual(whole.step());
  const { stepCount, moments } = first.optimizer.state();
  const saved = new Map<string, { m: ArrayLike<number>; v: ArrayLike<number> }>();
  for (const [name, { m, v }] of moments) saved.set(name, { m: await m.read(), v: await v.read() });
  const second = setup();
  second.w.write(await first.w.read());
  second.optimizer.restore({ stepCount, moments: saved });
  for (let i = 0; i < 3; i++) expect(second.step()).toEqual(whole.step());
  expect(second.optimizer.stepCount).toBe(6);
});

test('a parameter without gradient is left alone, and the norm is of gradients before clipping', () => {
  const { idle, step } = setup();
  step();
  expect(Array.from(idle.readSync())).toEqual([5]);
});

test('a rate of its own is a learning rate of its own, decay with it', () => {
  const of = (lr: number, rate?: (name: string) => number) => {
    const owner = new Arena(backend, { persistent: true });
    const arena = new Arena(backend, { grad: true });
    const leaves = ['slow', 'fast'].map((name) => [name, owner.parameter([1, -2, 3], [3])] as const);
    const settings = { lr, weightDecay: 0.5, decay: () => true, ...(rate && { rate }) };
    const optimizer = new AdamW(new Map(leaves), settings);
    for (let i = 0; i < 3; i++) {
      for (const [, leaf] of leaves) sum(square(arena.adopt(leaf))).backward();
      optimizer.step(arena);
      optimizer.zeroGrad(arena);
      arena.reset();
    }
    return leaves.map(([, leaf]) => Array.from(leaf.readSync()));
  };
  const [slow, fast] = of(0.1, (name) => (name === 'slow' ? 0.25 : 1));
  expect(slow).toEqual(of(0.025)[0]);
  expect(fast).toEqual(of(0.1)[0]);
  expect(of(0.1, () => 0)[0]).toEqual([1, -2, 3]);
});

test('wrong parameters and wrong state are named', () => {
  const { owner, optimizer } = setup();
  expect(() => new AdamW(new Map([['x', owner.zeros([1])]]), { lr: 1 })).toThrow(/"x", which is none/);
  expect(() => optimizer.restore({ stepCount: 1, moments: new Map([['y', { m: [], v: [] }]]) })).toThrow(
    /2 missing \(w, idle\) and 1 unknown \(y\)/,
  );
});
