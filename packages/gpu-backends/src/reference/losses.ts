/** Cross-entropy over logits with its gradient. */
import type { Kernels } from './kernel.ts';
import { logSumExp } from './reductions.ts';

export const losses: Pick<Kernels, 'crossEntropy' | 'crossEntropyGrad'> = {
  crossEntropy([logits, targets, loss, lse]) {
    const width = logits.shape[1]!;
    targets.data.forEach((target, n) => {
      const row = logits.data.subarray(n * width, (n + 1) * width);
      const total = logSumExp(row);
      lse.data[n] = total;
      loss.data[n] = target >= 0 && target < width ? total - row[target]! : 0;
    });
  },

  crossEntropyGrad([logits, targets, lse, dloss, dlogits]) {
    const width = logits.shape[1]!;
    targets.data.forEach((target, n) => {
      const valid = target >= 0 && target < width;
      for (let v = 0; v < width; v++) {
        const i = n * width + v;
        const probability = Math.exp(logits.data[i]! - lse.data[n]!);
        dlogits.data[i] = valid ? dloss.data[n]! * (probability - (v === target ? 1 : 0)) : 0;
      }
    });
  },
};
