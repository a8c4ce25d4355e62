/**
 * The experts of a mixture: choosing them, sorting tokens by expert, one product for all experts, mixing their
 * outputs.
 *
 * The gates are those of DeepSeek-V2 and V3 (https://arxiv.org/abs/2412.19437, section 2.1.2).
 */
import { elementCount, type Shape } from '../dtype.ts';
import { packedCheck } from './linear-algebra.ts';
import { allSame, at, bf16, expect, f32, i32, inout, type OpRow } from './op-row.ts';

function groupedCheck(x: Shape, w: Shape, offsets: Shape, transW: number): Shape {
  const [k, n] = transW ? [at(w, 2), at(w, 1)] : [at(w, 1), at(w, 2)];
  expect(at(x, 1) === k, `x of width ${k}`);
  expect(at(offsets, 0) === at(w, 0) + 1, 'offsets [E + 1]');
  return [at(x, 0), n];
}

function groupedPackedCheck(x: Shape, w: Shape, offsets: Shape, columns: number, pairs: 1 | 2): Shape {
  expect(at(offsets, 0) === at(w, 0) + 1, 'offsets [E + 1]');
  return packedCheck(x, w, columns, pairs);
}

function selectedShape(scores: Shape, bias: Shape, k: number, groups: number, topGroups: number): Shape {
  const experts = at(scores, 1);
  expect(at(bias, 0) === experts, 'bias [E]');
  expect(groups >= 1 && experts % groups === 0, 'groups dividing the experts');
  expect(topGroups >= 1 && topGroups <= groups, 'topGroups from 1 to groups');
  expect(k >= 1 && k <= (experts / groups) * topGroups, 'k within the experts of the kept groups');
  return [at(scores, 0), k];
}

/** Rows of the op table: routing and grouped products. */
export const expertOps = {
  routeSelect: {
    doc:
      'choice = scores + bias; a group scores its largest choice (max) or the sum of its two largest (top2Sum); the topGroups ' +
      'best groups stay, the others count as -inf; the k largest choices that stay, listed in ascending expert order; ties to the ' +
      'lowest index; NaN counts as -inf',
    inputs: [f32('scores', 2), f32('bias', 1)],
    outputs: [i32('indices', 2)],
    attributes: { k: 'int', groups: 'int', topGroups: 'int', groupScore: ['max', 'top2Sum'] },
    shapes: ([scores, bias], { k, groups, topGroups }) => [
      selectedShape(scores!, bias!, k!, groups!, topGroups!),
    ],
  },
  expertPlan: {
    doc:
      "sorts the N x K (token, slot) pairs by expert, stably: offsets [E + 1] where each expert's rows begin; rows [N K] the token " +
      'of each sorted row (-1 beyond offsets[E]); slots [N, K] the sorted row of each pair (-1 for an index out of range)',
    inputs: [i32('indices', 2)],
    outputs: [i32('offsets', 1), i32('rows', 1), i32('slots', 2)],
    attributes: { experts: 'int' },
    shapes: ([indices], { experts }) => {
      expect(experts! >= 1, 'at least one expert');
      return [[experts! + 1], [elementCount(indices!)], indices!];
    },
  },
  histogram: {
    doc: 'counts[e] = how many ids equal e, as f32',
    inputs: [i32('ids')],
    outputs: [f32('counts', 1)],
    attributes: { size: 'int' },
    shapes: (_, { size }) => [[size!]],
  },
  groupedMatmul: {
    doc:
      'rows offsets[e] .. offsets[e + 1] of x times w[e]: w [E, N, K] when transW (a linear layer), [E, K, N] otherwise; rows beyond ' +
      'offsets[E] give zeros',
    inputs: [f32('x', 2), f32('w', 3), i32('offsets', 1)],
    outputs: [f32('y', 2)],
    attributes: { transW: 'int' },
    shapes: ([x, w, offsets], { transW }) => [groupedCheck(x!, w!, offsets!, transW!)],
  },
  groupedMatmulBf16: {
    doc: 'groupedMatmul with w bf16: rounding and sums as in matmulBf16',
    inputs: [f32('x', 2), bf16('w', 3), i32('offsets', 1)],
    outputs: [f32('y', 2)],
    attributes: { transW: 'int' },
    shapes: ([x, w, offsets], { transW }) => [groupedCheck(x!, w!, offsets!, transW!)],
  },
  groupedMatmulPacked: {
    doc: 'groupedMatmul with w [E, columns, K] packed by packWeight; the bits of groupedMatmul with transW',
    inputs: [f32('x', 2), f32('w', 4), i32('offsets', 1)],
    outputs: [f32('y', 2)],
    attributes: { columns: 'int' },
    shapes: ([x, w, offsets], { columns }) => [groupedPackedCheck(x!, w!, offsets!, columns!, 1)],
  },
  groupedMatmulPackedBf16: {
    doc: 'groupedMatmul with w [E, columns, K] packed by packWeightBf16; the bits of groupedMatmulBf16 with transW',
    inputs: [f32('x', 2), bf16('w', 4), i32('offsets', 1)],
    outputs: [f32('y', 2)],
    attributes: { columns: 'int' },
    shapes: ([x, w, offsets], { columns }) => [groupedPackedCheck(x!, w!, offsets!, columns!, 2)],
  },
  groupedMatmulGradWeight: {
    doc: 'dw[e] += dy^T x over the rows of expert e, with dw [E, N, K], dy [R, N], x [R, K]',
    inputs: [f32('dy', 2), f32('x', 2), i32('offsets', 1), inout(f32('dw', 3))],
    outputs: [],
    attributes: {},
    shapes: ([dy, x, offsets, dw]) => {
      expect(
        at(dy!, 0) === at(x!, 0) && at(dw!, 1) === at(dy!, 1) && at(dw!, 2) === at(x!, 1),
        'dw [E, N, K]',
      );
      expect(at(offsets!, 0) === at(dw!, 0) + 1, 'offsets [E + 1]');
      return [];
    },
  },
  moeCombine: {
    doc: 'out[n] = sum over ascending k of weights[n, k] y[slots[n, k]]',
    inputs: [f32('y', 2), f32('weights', 2), i32('slots', 2)],
    outputs: [f32('out', 2)],
    attributes: {},
    shapes: ([y, weights, slots]) => {
      allSame([weights!, slots!], 'weights and slots');
      return [[at(slots!, 0), at(y!, 1)]];
    },
  },
  moeCombineGrad: {
    doc: 'dy[slots[n, k]] = weights[n, k] dout[n] (zeros for rows no slot names); dweights[n, k] = y[slots[n, k]] . dout[n]',
    inputs: [f32('y', 2), f32('weights', 2), i32('slots', 2), f32('dout', 2)],
    outputs: [f32('dy', 2), f32('dweights', 2)],
    attributes: {},
    shapes: ([y, weights, slots, dout]) => {
      allSame([weights!, slots!], 'weights and slots');
      expect(at(dout!, 0) === at(slots!, 0) && at(dout!, 1) === at(y!, 1), 'dout [N, D]');
      return [y!, weights!];
    },
  },
  route: {
    doc:
      'scores = softmax or sigmoid of the logits; indices = routeSelect of scores and bias; weights[n, k] = scale ' +
      's[n, k] / (sum over k of s + 1e-20) with s the chosen scores, or scale s[n, k] when not normalised',
    inputs: [f32('logits', 2), f32('bias', 1)],
    outputs: [f32('scores', 2), i32('indices', 2), f32('weights', 2)],
    attributes: {
      scoring: ['softmax', 'sigmoid'],
      k: 'int',
      groups: 'int',
      topGroups: 'int',
      groupScore: ['max', 'top2Sum'],
      normalise: 'int',
      scale: 'float',
    },
    shapes: ([logits, bias], { k, groups, topGroups }) => {
      const indices = selectedShape(logits!, bias!, k!, groups!, topGroups!);
      return [logits!, indices, indices];
    },
  },
  routeGrad: {
    doc: 'dlogits of route from the gradients of its weights and of its scores; the choice has none',
    inputs: [f32('scores', 2), i32('indices', 2), f32('dweights', 2), f32('dscores', 2)],
    outputs: [f32('dlogits', 2)],
    attributes: { scoring: ['softmax', 'sigmoid'], normalise: 'int', scale: 'float' },
    shapes: ([scores, indices, dweights, dscores]) => {
      allSame([scores!, dscores!], 'scores and dscores');
      allSame([indices!, dweights!], 'indices and dweights');
      expect(at(scores!, 0) === at(indices!, 0), 'equal rows');
      return [scores!];
    },
  },
} as const satisfies Readonly<Record<string, OpRow>>;
