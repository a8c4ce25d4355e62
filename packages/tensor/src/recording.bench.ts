// What recording costs the host: one training step of 40 blocks on a backend that runs nothing.
import { createReference } from '@minke/gpu-backends/reference';
import { bench } from 'vitest';
import { AdamW, Arena, add, linear, mean, mul, rmsNorm, silu, square, type Tensor } from './index.ts';

let commands = 0;
const backend = {
  ...createReference(),
  submit: (list: { readonly records: readonly unknown[] }) => {
    commands = list.records.length;
  },
};
const owner = new Arena(backend, { persistent: true });
const arena = new Arena(backend, { grad: true });
const blocks = Array.from({ length: 40 }, () => ({
  w: owner.parameter(new Float32Array(64), [8, 8]),
  norm: owner.parameter(new Float32Array(8), [8]),
}));
const parameters = new Map<string, Tensor>(
  blocks.flatMap(({ w, norm }, i) => [[`${i}.w`, w] as const, [`${i}.norm`, norm] as const]),
);
const optimizer = new AdamW(parameters, { lr: 1e-3, maxGradNorm: 1 });

function step(): void {
  let x = arena.tensor(new Float32Array(32), [4, 8]);
  for (const { w, norm } of blocks) {
    const h = rmsNorm(x, norm, 1e-6);
    x = add(x, mul(silu(linear(h, w)), h));
  }
  mean(square(x)).backward();
  optimizer.step(arena);
  optimizer.zeroGrad(arena);
  arena.reset();
}
step();
bench(`forward, backward and AdamW: ${commands} commands`, step);
