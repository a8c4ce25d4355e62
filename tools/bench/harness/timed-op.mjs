// One operation of ours as `serve` takes it: what is timed is recording and running it, and with gradients its
// backward pass from a given output gradient, with no loss around it. The check numbers are <output, weighting> and
// the squared norm of the gradient by each input, which a peer computes too.

import { customOp } from '../../../packages/tensor/dist/index.js';

/**
 * @param {object} op
 * @param {import('@minke/tensor').Arena} op.arena a step's arena, with `grad` if the backward pass is timed too
 * @param {import('@minke/tensor').Tensor[]} op.inputs parameters; `compute` gets them as inputs that are no leaves,
 *   so that their gradients are made and not accumulated
 * @param {(...inputs: object[]) => object} op.compute records the operation and returns its output
 * @param {import('@minke/tensor').Tensor} op.weighting the output's gradient, in its shape
 */
export function timedOp({ arena, inputs, compute, weighting }) {
  const run = (observe) => {
    const sources = inputs.map((input, i) =>
      sourceOf(arena, input, (gradient) => observe?.gradient(i, gradient)),
    );
    const output = compute(...sources);
    if (arena.grad) seed(output, weighting).backward();
    arena.submit();
    observe?.output(output);
    arena.reset();
  };
  const check = [0];
  run({
    output: (output) => {
      const weights = weighting.readSync();
      check[0] = output.readSync().reduce((sum, x, i) => sum + x * weights[i], 0);
    },
    gradient: (i, gradient) => {
      check[i + 1] = gradient.readSync().reduce((sum, x) => sum + x * x, 0);
    },
  });
  return { check, call: () => run(null) };
}

/** The input as a tensor whose gradient goes to `observe` and no further. */
function sourceOf(arena, input, observe) {
  const [source] = customOp({
    inputs: [input],
    arena,
    forward: () => [arena.adopt(input)],
    backward: ([gradient]) => {
      observe(gradient);
      return [null];
    },
  });
  return source;
}

/** One element, whose backward pass gives `gradient` to `output`. */
function seed(output, gradient) {
  const { arena } = output;
  const [loss] = customOp({
    inputs: [output],
    forward: () => [arena.empty([1])],
    backward: () => [arena.adopt(gradient)],
  });
  return loss;
}
