import { createReference } from '@minke/gpu-backends/reference';
import { expect, test } from 'vitest';
import { Arena, Muon, type MuonState, square, sum, type Tensor } from './index.ts';

const backend = createReference();
const numbers = (n: number, seed: number) => Array.from({ length: n }, (_, i) => Math.sin(seed + i * 1.7));

function setup() {
  const owner = new Arena(backend, { persistent: true });
  const arena = new Arena(backend, { grad: true });
  const parameters = new Map<string, Tensor>([
    ['up.weight', owner.parameter(numbers(12, 1), [4, 3])],
    ['experts', owner.parameter(numbers(24, 2), [2, 3, 4])],
    ['norm.weight', owner.parameter(numbers(3, 3), [3])],
    ['idle.weight', owner.parameter(numbers(4, 4), [2, 2])],
  ]);
  const optimizer = new Muon(parameters, { lr: 0.1, weightDecay: 0.5, maxGradNorm: 1 });
  const step = (): number[] => {
    for (const [name, p] of parameters)
      if (name !== 'idle.weight') sum(square(arena.adopt(p)).reshape([-1])).backward();
    optimizer.step(arena);
    optimizer.zeroGrad(arena);
    arena.reset();
    return [...parameters.values()].flatMap((p) => Array.from(p.readSync()));
  };
  return { owner, parameters, optimizer, step };
}

async function save({
  stepCount,
  momenta,
  moments,
}: MuonState<Tensor>): Promise<MuonState<ArrayLike<number>>> {
  const saved = { stepCount, momenta: new Map(), moments: new Map() };
  for (const [name, { momentum }] of momenta) saved.momenta.set(name, { momentum: await momentum.read() });
  for (const [name, { m, v }] of moments) saved.moments.set(name, { m: await m.read(), v: await v.read() });
  return saved;
}

test('a run continued from saved state is the same bit for bit', async () => {
  const whole = setup();
  const first = setup();
  for (let i = 0; i < 3; i++) expect(first.step()).toEqual(whole.step());
  const second = setup();
  for (const [name, p] of first.parameters) second.parameters.get(name)!.write(await p.read());
  second.optimizer.restore(await save(first.optimizer.state()));
  for (let i = 0; i < 3; i++) expect(second.step()).toEqual(whole.step());
  expect(second.optimizer.stepCount).toBe(6);
});

test('an update of full rank has singular values near one, times lr 0.2 sqrt(max(rows, columns))', () => {
  const owner = new Arena(backend, { persistent: true });
  const arena = new Arena(backend, { grad: true });
  const p = owner.parameter([3, 0, 0, 0.5], [2, 2]);
  const optimizer = new Muon(new Map([['w', p]]), { lr: 1, nesterov: false });
  sum(square(arena.adopt(p)).reshape([-1])).backward();
  optimizer.step(arena);
  const after = p.readSync();
  const updates = [3 - after[0]!, 0.5 - after[3]!].map((x) => x / (0.2 * Math.SQRT2));
  for (const value of updates) {
    expect(value).toBeGreaterThan(0.65);
    expect(value).toBeLessThan(1.25);
  }
  expect([after[1], after[2]]).toEqual([0, 0]);
});

test('a parameter without gradient is left alone', () => {
  const { parameters, step } = setup();
  step();
  expect(Array.from(parameters.get('idle.weight')!.readSync())).toEqual(
    Array.from(Float32Array.from(numbers(4, 4))),
  );
});

test('wrong parameters and wrong state are named', () => {
  const { owner, optimizer } = setup();
  expect(() => new Muon(new Map([['x', owner.zeros([1])]]), { lr: 1 })).toThrow(/Muon: .*"x", which is none/);
  const state = { stepCount: 1, momenta: new Map([['y', { momentum: [] }]]), moments: new Map() };
  expect(() => optimizer.restore(state)).toThrow(
    /Muon.restore: .*3 missing \(up.weight, experts, idle.weight\) and 1 unknown \(y\)/,
  );
});
