/** Cross-entropy over logits with its gradient, and AdamW (Loshchilov and Hutter 2019, algorithm 2). */
import type { Kernels } from './kernel.ts';
import { logSumExp } from './reductions.ts';

export const losses: Pick<Kernels, 'crossEntropy' | 'crossEntropyGrad' | 'adamW'> = {
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

  adamW(
    [grad, normSquared, p, m, v],
    { lr, beta1, beta2, eps, weightDecay, correction1, correction2, maxNorm },
  ) {
    const norm = Math.sqrt(normSquared.data[0]!);
    const clip = maxNorm === 0 ? 1 : Math.min(1, maxNorm / (norm + 1e-6));
    for (let i = 0; i < p.data.length; i++) {
      const g = clip * grad.data[i]!;
      const first = beta1 * m.data[i]! + (1 - beta1) * g;
      const second = beta2 * v.data[i]! + (1 - beta2) * g * g;
      const old = p.data[i]!;
      m.data[i] = first;
      v.data[i] = second;
      p.data[i] =
        old -
        ((lr * (first / correction1)) / (Math.sqrt(second / correction2) + eps) + lr * weightDecay * old);
    }
  },
};
