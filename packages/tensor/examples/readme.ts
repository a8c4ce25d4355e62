import { createReference } from '@minke/gpu-backends/reference';
import { AdamW, Arena, linear, mean, square, sub } from '@minke/tensor';

const backend = createReference(); // plain TypeScript; faster: await auto() of @minke/gpu-backends
const weights = new Arena(backend, { persistent: true });
const step = new Arena(backend, { grad: true });
const w = weights.parameter([0, 0], [1, 2]);
const b = weights.parameter([0], [1]);
const optimizer = new AdamW(new Map(Object.entries({ w, b })), { lr: 0.1 });

for (let i = 0; i < 200; i++) {
  const x = step.tensor([1, 1, 1, -1, -1, 1, -1, -1], [4, 2]);
  const y = step.tensor([1.5, 3.5, -2.5, -0.5], [4, 1]); // 2 x0 - x1 + 0.5
  const loss = mean(square(sub(linear(x, w, b), y)));
  loss.backward();
  optimizer.step(step);
  optimizer.zeroGrad(step);
  step.reset(); // this step's tensors end here; their memory serves the next one
}
console.log(await w.read(), await b.read()); // close to [2, -1] and [0.5]
