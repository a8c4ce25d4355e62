/**
 * Optimiser steps: AdamW (Loshchilov and Hutter 2019, algorithm 2), Muon's momentum and normalisation (Jordan et
 * al. 2024), and the sum of two tensors with factors.
 */
import type { Kernels, Tensor } from './kernel.ts';

/** What clipping by global norm multiplies gradients with. */
function clipFactor(normSquared: Tensor, maxNorm: number): number {
  return maxNorm === 0 ? 1 : Math.min(1, maxNorm / (Math.sqrt(normSquared.data[0]!) + 1e-6));
}

export const optimisers: Pick<Kernels, 'adamW' | 'blend' | 'muonDirection'> = {
  adamW(
    [grad, normSquared, p, m, v],
    { lr, beta1, beta2, eps, weightDecay, correction1, correction2, maxNorm },
  ) {
    const clip = clipFactor(normSquared, maxNorm);
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

  blend([x, y], { a, b }) {
    for (let i = 0; i < y.data.length; i++) y.data[i] = a * x.data[i]! + b * y.data[i]!;
  },

  muonDirection([grad, normSquared, m, x], { beta, nesterov, eps, maxNorm }) {
    const clip = clipFactor(normSquared, maxNorm);
    const batch = grad.shape.length === 3 ? grad.shape[0]! : 1;
    const size = batch === 0 ? 0 : grad.data.length / batch;
    for (let k = 0; k < batch; k++) {
      const u = Float64Array.from({ length: size }, (_, j) => {
        const i = k * size + j;
        const g = (1 - beta) * clip * grad.data[i]!;
        const moved = beta * m.data[i]! + g;
        m.data[i] = moved;
        return nesterov ? beta * moved + g : moved;
      });
      const norm = Math.sqrt(u.reduce((sum, value) => sum + value * value, 0));
      x.data.set(
        u.map((value) => value / Math.max(norm, eps)),
        k * size,
      );
    }
  },
};
