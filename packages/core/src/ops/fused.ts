/**
 * Fused ops that every decoder has: normalisation, rotation, activation, loss, optimiser, sampler.
 */
import { elementCount } from '../dtype.ts';
import { allSame, at, expect, f32, i32, inout, type OpRow } from './op-row.ts';

/** Rows of the op table: fused ops of a decoder. */
export const fusedOps = {
  rmsNorm: {
    doc: 'rstd[n] = 1 / sqrt(mean(x[n]^2) + eps); y = x rstd w',
    inputs: [f32('x', 2), f32('w', 1)],
    outputs: [f32('y', 2), f32('rstd', 1)],
    attributes: { eps: 'float' },
    shapes: ([x, w]) => {
      expect(at(x!, 1) === at(w!, 0), 'x [N, C] and w [C]');
      return [x!, [at(x!, 0)]];
    },
  },
  rmsNormGrad: {
    doc: 'dx = rstd (w dy - x rstd^2 mean(w dy x)); dw = sum over n of dy x rstd',
    inputs: [f32('x', 2), f32('w', 1), f32('rstd', 1), f32('dy', 2)],
    outputs: [f32('dx', 2), f32('dw', 1)],
    attributes: {},
    shapes: ([x, w, rstd, dy]) => {
      allSame([x!, dy!], 'x and dy');
      expect(at(x!, 1) === at(w!, 0) && at(rstd!, 0) === at(x!, 0), 'w [C], rstd [N]');
      return [x!, w!];
    },
  },
  rope: {
    doc:
      'rotates columns start .. start + P of each head by the angles of row positions[n] of cos and sin [S, P / 2]; ' +
      'pair i is (2i, 2i + 1) when interleaved, (i, i + P / 2) when half; inverse rotates back; other columns are copied; ' +
      'a position outside the table gives zeros in the rotated columns',
    inputs: [f32('x', 3), f32('cos', 2), f32('sin', 2), i32('positions', 1)],
    outputs: [f32('y', 3)],
    attributes: { start: 'int', layout: ['interleaved', 'half'], inverse: 'int' },
    shapes: ([x, cos, sin, positions], a) => {
      allSame([cos!, sin!], 'cos and sin');
      expect(
        a.start! >= 0 && a.start! + 2 * at(cos!, 1) <= at(x!, 2),
        `start + ${2 * at(cos!, 1)} within ${at(x!, 2)} columns`,
      );
      expect(at(positions!, 0) === at(x!, 0), 'positions [N]');
      return [x!];
    },
  },
  swiglu: {
    doc: 'y = silu(gate) up',
    inputs: [f32('gate'), f32('up')],
    outputs: [f32('y')],
    attributes: {},
    shapes: ([gate, up]) => {
      allSame([gate!, up!], 'gate and up');
      return [gate!];
    },
  },
  swigluGrad: {
    doc: "dgate = dy up silu'(gate); dup = dy silu(gate)",
    inputs: [f32('gate'), f32('up'), f32('dy')],
    outputs: [f32('dgate'), f32('dup')],
    attributes: {},
    shapes: ([gate, up, dy]) => {
      allSame([gate!, up!, dy!], 'gate, up and dy');
      return [gate!, gate!];
    },
  },
  crossEntropy: {
    doc: 'lse[n] = log sum exp(logits[n]); loss[n] = lse[n] - logits[n, targets[n]], 0 where the target is out of range',
    inputs: [f32('logits', 2), i32('targets', 1)],
    outputs: [f32('loss', 1), f32('lse', 1)],
    attributes: {},
    shapes: ([logits, targets]) => {
      expect(at(targets!, 0) === at(logits!, 0), 'targets [N]');
      return [[at(logits!, 0)], [at(logits!, 0)]];
    },
  },
  crossEntropyGrad: {
    doc: 'dlogits[n] = dloss[n] (exp(logits[n] - lse[n]) - onehot(targets[n])), 0 where the target is out of range',
    inputs: [f32('logits', 2), i32('targets', 1), f32('lse', 1), f32('dloss', 1)],
    outputs: [f32('dlogits', 2)],
    attributes: {},
    shapes: ([logits, targets, lse, dloss]) => {
      allSame([targets!, lse!, dloss!], 'targets, lse and dloss');
      expect(at(targets!, 0) === at(logits!, 0), 'targets [N]');
      return [logits!];
    },
  },
  adamW: {
    doc:
      'g = c grad with c = min(1, maxNorm / (sqrt(normSquared) + 1e-6)), or 1 when maxNorm is 0; m = beta1 m + (1 - beta1) g; ' +
      'v = beta2 v + (1 - beta2) g^2; p -= lr (m / correction1) / (sqrt(v / correction2) + eps) + lr weightDecay p (the old p)',
    inputs: [f32('grad'), f32('normSquared', 1), inout(f32('p')), inout(f32('m')), inout(f32('v'))],
    outputs: [],
    attributes: {
      lr: 'float',
      beta1: 'float',
      beta2: 'float',
      eps: 'float',
      weightDecay: 'float',
      correction1: 'float',
      correction2: 'float',
      maxNorm: 'float',
    },
    shapes: ([grad, norm, p, m, v]) => {
      allSame([grad!, p!, m!, v!], 'grad, p, m and v');
      expect(at(norm!, 0) === 1, 'normSquared [1]');
      return [];
    },
  },
  blend: {
    doc: 'y = a x + b y',
    inputs: [f32('x'), inout(f32('y'))],
    outputs: [],
    attributes: { a: 'float', b: 'float' },
    shapes: ([x, y]) => {
      expect(elementCount(x!) === elementCount(y!), 'equal element counts');
      return [];
    },
  },
  muonDirection: {
    doc:
      'g = c grad with c as in adamW; m = beta m + (1 - beta) g; u = beta m + (1 - beta) g with the new m when nesterov, else m; ' +
      'x = u / max(|u|, eps) with the Frobenius norm of each matrix, those of rank 3 being a batch',
    inputs: [f32('grad', [2, 3]), f32('normSquared', 1), inout(f32('m', [2, 3]))],
    outputs: [f32('x', [2, 3])],
    attributes: { beta: 'float', nesterov: 'int', eps: 'float', maxNorm: 'float' },
    shapes: ([grad, norm, m]) => {
      allSame([grad!, m!], 'grad and m');
      expect(at(norm!, 0) === 1, 'normSquared [1]');
      return [grad!];
    },
  },
  sample: {
    doc:
      'one token of each row: temperature, then the topK best, the smallest set of probability topP among those, those of at ' +
      'least minP times the best probability (topK 0, topP 1, minP 0: all); ranked by logit, ties to the lowest index; drawn ' +
      'where the running sum of probabilities (by rank; by index when all are kept) passes a uniform of 53 bits from the two ' +
      'Philox4x32-10 words at the position in stream[n] = (seed low, seed high, stream, position low, position high); temperature 0 takes the ' +
      'largest logit and no random number; NaN is never chosen unless all are NaN (then token 0); logProb is under the ' +
      'softmax of the logits, chosenLogProb under the distribution drawn from',
    inputs: [
      f32('logits', 2),
      f32('temperature', 1),
      i32('topK', 1),
      f32('topP', 1),
      f32('minP', 1),
      i32('stream', 2),
    ],
    outputs: [i32('tokens', 1), f32('logProb', 1), f32('chosenLogProb', 1)],
    attributes: {},
    shapes: ([logits, temperature, topK, topP, minP, stream]) => {
      const rows = at(logits!, 0);
      allSame([[rows], temperature!, topK!, topP!, minP!], 'temperature, topK, topP and minP [N]');
      expect(at(stream!, 0) === rows && at(stream!, 1) === 5, 'stream [N, 5]');
      expect(at(logits!, 1) >= 1, 'at least one token');
      return [[rows], [rows], [rows]];
    },
  },
} as const satisfies Readonly<Record<string, OpRow>>;
