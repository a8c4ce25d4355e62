/**
 * A whole mixture feed-forward as one op, its gradients by what flows through, and its gradients by the matrices.
 */
import { elementCount, type Shape, sameShape } from '../dtype.ts';
import { packedCheck } from './linear-algebra.ts';
import { allSame, at, expect, f32, i32, inout, type OpRow } from './op-row.ts';

/** Checks a mixture's weights [N, K] and its plan: offsets, rows and slots. */
export function checkPlan(weights: Shape, [offsets, rows, slots]: readonly Shape[], experts: number): void {
  allSame([weights, slots!], 'weights and slots');
  expect(at(offsets!, 0) === experts + 1, 'offsets [E + 1]');
  expect(at(rows!, 0) === elementCount(slots!), 'rows [N K]');
}

/** [N, R, F, S] of a mixture's feed-forward, from its mixing weights, its six matrices and its plan. */
function feedForwardSizes(
  weights: Shape,
  matrices: readonly Shape[],
  plan: readonly Shape[],
): [number, number, number, number] {
  const [gate, up, down, sharedGate, sharedUp, sharedDown] = matrices as [
    Shape,
    Shape,
    Shape,
    Shape,
    Shape,
    Shape,
  ];
  const [experts, f, d] = [at(gate, 0), at(gate, 1), at(gate, 2)];
  const s = at(sharedGate, 0);
  allSame([gate, up], 'gate and up');
  expect(sameShape(down, [experts, d, f]), 'gate [E, F, D] and down [E, D, F]');
  allSame([sharedGate, sharedUp], 'sharedGate and sharedUp');
  expect(at(sharedGate, 1) === d && sameShape(sharedDown, [d, s]), 'sharedGate [S, D] and sharedDown [D, S]');
  checkPlan(weights, plan, experts);
  return [at(weights, 0), at(plan[1]!, 0), f, s];
}

/** Rows of the op table: the fused mixture feed-forward. */
export const expertFeedForwardOps = {
  moeFeedForward: {
    doc:
      'SwiGLU experts over a plan: for sorted row r of expert e and token n = rows[r], gates[r] = gate[e] x[n], ups[r] = up[e] x[n], ' +
      'y[r] = down[e] (silu(gates[r]) ups[r]); out[n] = sum over ascending k of weights[n, k] y[slots[n, k]], plus the shared ' +
      'expert of width S (0 for none) applied to x[n]; rows beyond offsets[E] give zeros',
    inputs: [
      f32('x', 2),
      f32('weights', 2),
      f32('gate', 3),
      f32('up', 3),
      f32('down', 3),
      f32('sharedGate', 2),
      f32('sharedUp', 2),
      f32('sharedDown', 2),
      i32('offsets', 1),
      i32('rows', 1),
      i32('slots', 2),
    ],
    outputs: [f32('out', 2), f32('gates', 2), f32('ups', 2), f32('sharedGates', 2), f32('sharedUps', 2)],
    attributes: {},
    shapes: ([x, weights, gate, up, down, sharedGate, sharedUp, sharedDown, offsets, rows, slots]) => {
      const [n, r, f, s] = feedForwardSizes(
        weights!,
        [gate!, up!, down!, sharedGate!, sharedUp!, sharedDown!],
        [offsets!, rows!, slots!],
      );
      expect(at(x!, 0) === n && at(x!, 1) === at(gate!, 2), 'x [N, D]');
      return [x!, [r, f], [r, f], [n, s], [n, s]];
    },
  },
  moeFeedForwardGrad: {
    doc:
      'gradients of moeFeedForward by x, by weights and by the saved gates and ups; hidden[r] = w[r] silu(gates[r]) ups[r] with ' +
      'w[r] the weight of the pair in row r, and sharedHidden without weight: with dout they make the gradients of the matrices',
    inputs: [
      f32('weights', 2),
      f32('gate', 3),
      f32('up', 3),
      f32('down', 3),
      f32('sharedGate', 2),
      f32('sharedUp', 2),
      f32('sharedDown', 2),
      i32('offsets', 1),
      i32('rows', 1),
      i32('slots', 2),
      f32('gates', 2),
      f32('ups', 2),
      f32('sharedGates', 2),
      f32('sharedUps', 2),
      f32('dout', 2),
    ],
    outputs: [
      f32('dx', 2),
      f32('dweights', 2),
      f32('dgates', 2),
      f32('dups', 2),
      f32('hidden', 2),
      f32('dsharedGates', 2),
      f32('dsharedUps', 2),
      f32('sharedHidden', 2),
    ],
    attributes: {},
    shapes: ([weights, gate, up, down, sharedGate, sharedUp, sharedDown, ...rest]) => {
      const [offsets, rows, slots, gates, ups, sharedGates, sharedUps, dout] = rest;
      const [n, r, f, s] = feedForwardSizes(
        weights!,
        [gate!, up!, down!, sharedGate!, sharedUp!, sharedDown!],
        [offsets!, rows!, slots!],
      );
      expect(at(gates!, 0) === r && at(gates!, 1) === f, 'gates [N K, F]');
      allSame([gates!, ups!], 'gates and ups');
      expect(at(sharedGates!, 0) === n && at(sharedGates!, 1) === s, 'sharedGates [N, S]');
      allSame([sharedGates!, sharedUps!], 'sharedGates and sharedUps');
      expect(at(dout!, 0) === n && at(dout!, 1) === at(gate!, 2), 'dout [N, D]');
      return [dout!, weights!, gates!, gates!, gates!, sharedGates!, sharedGates!, sharedGates!];
    },
  },
  moeFeedForwardGradWeight: {
    doc:
      'over the sorted rows r of expert e with token n = rows[r]: dgate[e] += dgates[r]^T x[n], dup[e] += dups[r]^T x[n], ' +
      'ddown[e] += dout[n]^T hidden[r]; = in place of += when accumulate is 0',
    inputs: [
      f32('x', 2),
      f32('dout', 2),
      i32('offsets', 1),
      i32('rows', 1),
      f32('dgates', 2),
      f32('dups', 2),
      f32('hidden', 2),
      inout(f32('dgate', 3)),
      inout(f32('dup', 3)),
      inout(f32('ddown', 3)),
    ],
    outputs: [],
    attributes: { accumulate: 'int' },
    shapes: ([x, dout, offsets, rows, dgates, dups, hidden, dgate, dup, ddown]) => {
      allSame([x!, dout!], 'x and dout');
      allSame([dgates!, dups!, hidden!], 'dgates, dups and hidden');
      allSame([dgate!, dup!], 'dgate and dup');
      expect(at(rows!, 0) === at(dgates!, 0), 'rows [R]');
      expect(at(offsets!, 0) === at(dgate!, 0) + 1, 'offsets [E + 1]');
      expect(at(dgate!, 1) === at(dgates!, 1) && at(dgate!, 2) === at(x!, 1), 'dgate [E, F, D]');
      expect(sameShape(ddown!, [at(dgate!, 0), at(x!, 1), at(dgates!, 1)]), 'ddown [E, D, F]');
      return [];
    },
  },
  moeFeedForwardPacked: {
    doc: 'out of moeFeedForward, bit for bit, with each of the six matrices packed by packWeight; for inference',
    inputs: [
      f32('x', 2),
      f32('weights', 2),
      f32('gate', 4),
      f32('up', 4),
      f32('down', 4),
      f32('sharedGate', 3),
      f32('sharedUp', 3),
      f32('sharedDown', 3),
      i32('offsets', 1),
      i32('rows', 1),
      i32('slots', 2),
    ],
    outputs: [f32('out', 2)],
    attributes: {},
    shapes: ([x, weights, gate, up, down, sharedGate, sharedUp, sharedDown, offsets, rows, slots]) => {
      const [n, d] = [at(x!, 0), at(x!, 1)];
      const [experts, f, s] = [at(gate!, 0), at(down!, 2), at(sharedDown!, 1)];
      allSame([gate!, up!], 'gate and up');
      allSame([sharedGate!, sharedUp!], 'sharedGate and sharedUp');
      packedCheck(x!, gate!, f, 1);
      packedCheck([0, f], down!, d, 1);
      packedCheck(x!, sharedGate!, s, 1);
      packedCheck([0, s], sharedDown!, d, 1);
      expect(at(down!, 0) === experts, 'down of E experts');
      expect(at(slots!, 0) === n, 'slots [N, K]');
      checkPlan(weights!, [offsets!, rows!, slots!], experts);
      return [x!];
    },
  },
} as const satisfies Readonly<Record<string, OpRow>>;
