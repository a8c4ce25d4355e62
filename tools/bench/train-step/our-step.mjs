// One training step of ours as train-step's sides run it: the loss of a recorded forward pass, backward, the optimiser's
// update, and the loss read back.

import { Arena } from '../../../packages/tensor/dist/index.js';

/**
 * @param {import('@minke/core').Backend} backend
 * @param {import('@minke/tensor').AdamW} optimizer
 * @param {(arena: import('@minke/tensor').Arena) => import('@minke/tensor').Tensor} lossOf records the forward pass
 * @returns {() => number} runs a step and returns its loss
 */
export function trainingStep(backend, optimizer, lossOf) {
  const arena = new Arena(backend, { grad: true });
  return () => {
    const loss = lossOf(arena);
    loss.backward();
    optimizer.step(arena);
    optimizer.zeroGrad(arena);
    arena.submit();
    const [value] = loss.readSync();
    arena.reset();
    return value;
  };
}
