/**
 * The op table: every operation a backend may implement, with its tensors, attributes and shape rule.
 *
 * Nothing registers at run time. Dimension letters: N rows (flattened tokens), M key rows, H heads,
 * D width, E experts, K experts per token, R sorted expert rows (N x K), V vocabulary, C last axis.
 *
 * Rules that hold for every op: tensors are contiguous; arithmetic is f32; sums run in a fixed order
 * whatever the thread count; outputs never alias inputs unless a slot says `inout`; empty tensors are
 * valid. Index data is not trusted: an index outside its range reads as zeros and is skipped on writes.
 */
import { type DType, elementCount, formatShape, type Shape, sameShape } from './dtype.ts';

interface Slot {
  readonly name: string;
  readonly dtype: DType | 'any';
  /** Allowed ranks, inclusive. */
  readonly rank: readonly [number, number];
  /** Read and written in place. */
  readonly inout?: true;
}

type AttributeKind = 'int' | 'float' | readonly string[];

interface OpRow {
  /** One line of mathematics. */
  readonly doc: string;
  readonly inputs: readonly Slot[];
  readonly outputs: readonly Slot[];
  readonly attributes: Readonly<Record<string, AttributeKind>>;
  /** Output shapes from input shapes; throws a plain string naming what does not fit. */
  readonly shapes: (inputs: readonly Shape[], attributes: Readonly<Record<string, number>>) => Shape[];
}

const any = [0, 4] as const;
const f32 = (name: string, rank: number | readonly [number, number] = any): Slot => ({
  name,
  dtype: 'f32',
  rank: typeof rank === 'number' ? [rank, rank] : rank,
});
const i32 = (name: string, rank: number | readonly [number, number] = any): Slot => ({
  ...f32(name, rank),
  dtype: 'i32',
});
const bf16 = (name: string, rank: number | readonly [number, number]): Slot => ({
  ...f32(name, rank),
  dtype: 'bf16',
});
const inout = (slot: Slot): Slot => ({ ...slot, inout: true });
const anyType = (name: string): Slot => ({ name, dtype: 'any', rank: any });

const last = (shape: Shape): number => shape[shape.length - 1] ?? 1;
function expect(condition: boolean, message: string): void {
  if (!condition) throw message;
}
const at = (shape: Shape, axis: number): number => shape[axis] as number;
const replaceAt = (shape: Shape, axis: number, size: number): Shape =>
  shape.map((s, i) => (i === axis ? size : s));
function axisOf(shape: Shape, axis: number): number {
  expect(Number.isInteger(axis) && axis >= 0 && axis < shape.length, `axis ${axis} in rank ${shape.length}`);
  return axis;
}
const allSame = (shapes: readonly Shape[], names: string): void =>
  expect(
    shapes.every((shape) => sameShape(shape, shapes[0] as Shape)),
    `${names} of one shape`,
  );

/** How many consecutive elements of `a` share one element of `b`, for the broadcast rule of `binary`. */
export function broadcastDivisor(a: Shape, b: Shape): number {
  if (elementCount(b) === 1) return 1;
  const suffix = b.length <= a.length && b.every((size, i) => size === a[a.length - b.length + i]);
  if (suffix) return 1;
  const column = a.length === b.length && last(b) === 1 && b.slice(0, -1).every((size, i) => size === a[i]);
  if (column) return last(a);
  throw `b ${formatShape(b)} to be one element, a suffix of a ${formatShape(a)}, or a with last axis 1`;
}

function matmulShape(a: Shape, b: Shape, transA: number, transB: number): Shape {
  expect(
    a.length === b.length && (a.length === 2 || a.length === 3),
    'a and b both of rank 2 or both of rank 3',
  );
  if (a.length === 3) expect(a[0] === b[0], 'equal batch sizes');
  const o = a.length - 2;
  const [m, ka] = transA ? [at(a, o + 1), at(a, o)] : [at(a, o), at(a, o + 1)];
  const [kb, n] = transB ? [at(b, o + 1), at(b, o)] : [at(b, o), at(b, o + 1)];
  expect(ka === kb, `equal inner sizes, got ${ka} and ${kb}`);
  return o === 1 ? [at(a, 0), m, n] : [m, n];
}

/** Columns of one tile of packed weights. */
const PACKED_COLUMNS = 32;

/** [T, K, 32] of w [N, K], or [T, ceil(K / 2), 64] with `pairs` of k; E tiles' worth of each for w [E, N, K]. */
function packedShape(w: Shape, pairs: 1 | 2): Shape {
  const tiles = [
    Math.ceil(at(w, w.length - 2) / PACKED_COLUMNS),
    Math.ceil(last(w) / pairs),
    PACKED_COLUMNS * pairs,
  ];
  return w.length === 3 ? [at(w, 0), ...tiles] : tiles;
}

function packedCheck(x: Shape, packed: Shape, columns: number, pairs: 1 | 2): Shape {
  expect(columns >= 0, 'columns from 0 on');
  const tile = packedShape([columns, at(x, 1)], pairs);
  expect(sameShape(packed.slice(-3), tile), `w packed of [${columns}, ${at(x, 1)}], ${formatShape(tile)}`);
  return [at(x, 0), columns];
}

function groupedPackedCheck(x: Shape, w: Shape, offsets: Shape, columns: number, pairs: 1 | 2): Shape {
  expect(at(offsets, 0) === at(w, 0) + 1, 'offsets [E + 1]');
  return packedCheck(x, w, columns, pairs);
}

function attentionCheck(q: Shape, k: Shape, v: Shape, ranges: Shape): void {
  expect(at(k, 0) === at(v, 0) && at(k, 1) === at(v, 1), 'k and v with equal rows and heads');
  expect(at(q, 2) === at(k, 2), 'q and k of equal width');
  expect(at(k, 1) > 0 ? at(q, 1) % at(k, 1) === 0 : at(q, 1) === 0, 'query heads a multiple of key heads');
  expect(at(ranges, 0) === at(q, 0) && at(ranges, 1) === 2, 'ranges [N, 2]');
}

function groupedCheck(x: Shape, w: Shape, offsets: Shape, transW: number): Shape {
  const [k, n] = transW ? [at(w, 2), at(w, 1)] : [at(w, 1), at(w, 2)];
  expect(at(x, 1) === k, `x of width ${k}`);
  expect(at(offsets, 0) === at(w, 0) + 1, 'offsets [E + 1]');
  return [at(x, 0), n];
}

function selectedShape(scores: Shape, bias: Shape, k: number, groups: number, topGroups: number): Shape {
  const experts = at(scores, 1);
  expect(at(bias, 0) === experts, 'bias [E]');
  expect(groups >= 1 && experts % groups === 0, 'groups dividing the experts');
  expect(topGroups >= 1 && topGroups <= groups, 'topGroups from 1 to groups');
  expect(k >= 1 && k <= (experts / groups) * topGroups, 'k within the experts of the kept groups');
  return [at(scores, 0), k];
}

/** [N, R, F, S] of a mixture's feed-forward, from its mixing weights, its six matrices and its plan. */
function feedForwardSizes(
  weights: Shape,
  matrices: readonly Shape[],
  [offsets, rows, slots]: readonly Shape[],
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
  allSame([weights, slots!], 'weights and slots');
  expect(at(offsets!, 0) === experts + 1, 'offsets [E + 1]');
  expect(at(rows!, 0) === elementCount(slots!), 'rows [N K]');
  return [at(slots!, 0), at(rows!, 0), f, s];
}

const unaryKinds = [
  'neg',
  'exp',
  'log',
  'sqrt',
  'rsqrt',
  'square',
  'abs',
  'reciprocal',
  'sigmoid',
  'silu',
  'relu',
  'tanh',
  'softplus',
  'affine',
  'clamp',
] as const;

export const opTable = {
  // --- memory ---
  fill: {
    doc: 'x = value',
    inputs: [inout(anyType('x'))],
    outputs: [],
    attributes: { value: 'float' },
    shapes: () => [],
  },
  copyInto: {
    doc: 'destination = source, element by element (same type and count; shapes may differ)',
    inputs: [anyType('source'), inout(anyType('destination'))],
    outputs: [],
    attributes: {},
    shapes: ([s, d]) => {
      expect(elementCount(s!) === elementCount(d!), 'equal element counts');
      return [];
    },
  },
  cast: {
    doc: 'y = x in another storage type (f32, bf16, f16, i32), rounded to nearest even',
    inputs: [anyType('x')],
    outputs: [anyType('y')],
    attributes: { to: ['f32', 'i32', 'bf16', 'f16'] },
    shapes: ([x]) => [x!],
  },
  permute: {
    doc: 'y[i_p0, i_p1, ...] = x[i_0, i_1, ...]: output axis j is input axis p_j; p beyond the rank is ignored',
    inputs: [f32('x')],
    outputs: [f32('y')],
    attributes: { p0: 'int', p1: 'int', p2: 'int', p3: 'int' },
    shapes: ([x], a) => {
      const axes = [a.p0!, a.p1!, a.p2!, a.p3!].slice(0, x!.length);
      expect(
        new Set(axes).size === x!.length && axes.every((p) => p >= 0 && p < x!.length),
        'a permutation of the axes',
      );
      return [axes.map((p) => at(x!, p))];
    },
  },
  slice: {
    doc: 'y = x[..., start : start + size, ...] on `axis`',
    inputs: [f32('x')],
    outputs: [f32('y')],
    attributes: { axis: 'int', start: 'int', size: 'int' },
    shapes: ([x], a) => {
      const n = at(x!, axisOf(x!, a.axis!));
      expect(a.start! >= 0 && a.size! >= 0 && a.start! + a.size! <= n, `start + size within ${n}`);
      return [replaceAt(x!, a.axis!, a.size!)];
    },
  },
  place: {
    doc: 'y = zeros of `size` on `axis`, with x from `start` (the transpose of slice)',
    inputs: [f32('x')],
    outputs: [f32('y')],
    attributes: { axis: 'int', start: 'int', size: 'int' },
    shapes: ([x], a) => {
      const n = at(x!, axisOf(x!, a.axis!));
      expect(a.start! >= 0 && a.start! + n <= a.size!, `start + ${n} within size`);
      return [replaceAt(x!, a.axis!, a.size!)];
    },
  },
  concat: {
    doc: 'y = a then b along `axis`',
    inputs: [f32('a'), f32('b')],
    outputs: [f32('y')],
    attributes: { axis: 'int' },
    shapes: ([a, b], { axis }) => {
      axisOf(a!, axis!);
      expect(
        a!.length === b!.length && sameShape(replaceAt(a!, axis!, 0), replaceAt(b!, axis!, 0)),
        'equal sizes off the axis',
      );
      return [replaceAt(a!, axis!, at(a!, axis!) + at(b!, axis!))];
    },
  },
  repeat: {
    doc: 'y = x repeated `count` times along an axis of size 1',
    inputs: [f32('x')],
    outputs: [f32('y')],
    attributes: { axis: 'int', count: 'int' },
    shapes: ([x], a) => {
      expect(at(x!, axisOf(x!, a.axis!)) === 1 && a.count! >= 0, 'an axis of size 1');
      return [replaceAt(x!, a.axis!, a.count!)];
    },
  },
  gatherRows: {
    doc: 'y[n] = table[ids[n]]; zeros where ids[n] is out of range',
    inputs: [f32('table', 2), i32('ids', 1)],
    outputs: [f32('y', 2)],
    attributes: {},
    shapes: ([t, ids]) => [[at(ids!, 0), at(t!, 1)]],
  },
  scatterAddRows: {
    doc: 'table[ids[n]] += x[n] for ascending n',
    inputs: [f32('x', 2), i32('ids', 1), inout(f32('table', 2))],
    outputs: [],
    attributes: {},
    shapes: ([x, ids, t]) => {
      expect(at(x!, 0) === at(ids!, 0) && at(x!, 1) === at(t!, 1), 'x [N, D], ids [N], table [V, D]');
      return [];
    },
  },
  scatterRows: {
    doc: 'table[ids[n]] = x[n]; with duplicate ids the last wins (latent caches are written this way)',
    inputs: [f32('x', 2), i32('ids', 1), inout(f32('table', 2))],
    outputs: [],
    attributes: {},
    shapes: ([x, ids, t]) => {
      expect(at(x!, 0) === at(ids!, 0) && at(x!, 1) === at(t!, 1), 'x [N, D], ids [N], table [S, D]');
      return [];
    },
  },
  gatherLast: {
    doc: 'y[n, k] = x[n, indices[n, k]]; zero out of range',
    inputs: [f32('x', 2), i32('indices', 2)],
    outputs: [f32('y', 2)],
    attributes: {},
    shapes: ([x, indices]) => {
      expect(at(x!, 0) === at(indices!, 0), 'equal rows');
      return [indices!];
    },
  },
  scatterLast: {
    doc: 'y [N, size] = 0, then y[n, indices[n, k]] += x[n, k] for ascending k (the transpose of gatherLast)',
    inputs: [f32('x', 2), i32('indices', 2)],
    outputs: [f32('y', 2)],
    attributes: { size: 'int' },
    shapes: ([x, indices], a) => {
      allSame([x!, indices!], 'x and indices');
      return [[at(x!, 0), a.size!]];
    },
  },

  // --- elementwise ---
  unary: {
    doc: 'y = f(x); affine is a x + b, clamp is min(max(x, a), b); a and b are ignored by the others',
    inputs: [f32('x')],
    outputs: [f32('y')],
    attributes: { kind: unaryKinds, a: 'float', b: 'float' },
    shapes: ([x]) => [x!],
  },
  unaryGrad: {
    doc: "dx = dy f'(x); clamp passes the gradient where a <= x <= b, relu where x > 0, and both give 0 elsewhere",
    inputs: [f32('x'), f32('dy')],
    outputs: [f32('dx')],
    attributes: { kind: unaryKinds, a: 'float', b: 'float' },
    shapes: ([x, dy]) => {
      allSame([x!, dy!], 'x and dy');
      return [x!];
    },
  },
  binary: {
    doc: "y = a op b; b has one element, or is a suffix of a's shape, or is a's shape with last axis 1",
    inputs: [f32('a'), f32('b')],
    outputs: [f32('y')],
    attributes: { kind: ['add', 'sub', 'mul', 'div', 'max', 'min'] },
    shapes: ([a, b]) => {
      broadcastDivisor(a!, b!);
      return [a!];
    },
  },
  accumulate: {
    doc: 'sum += scale x',
    inputs: [f32('x'), inout(f32('sum'))],
    outputs: [],
    attributes: { scale: 'float' },
    shapes: ([x, sum]) => {
      expect(elementCount(x!) === elementCount(sum!), 'equal element counts');
      return [];
    },
  },

  // --- reductions ---
  reduce: {
    doc: 'y = sum, mean or max of x over `axis`, which is removed; of nothing: 0, 0, -inf; of NaN: NaN',
    inputs: [f32('x', [1, 4])],
    outputs: [f32('y')],
    attributes: { kind: ['sum', 'mean', 'max'], axis: 'int' },
    shapes: ([x], a) => {
      axisOf(x!, a.axis!);
      return [x!.filter((_, i) => i !== a.axis)];
    },
  },
  sumSquares: {
    doc: 'sum[0] += x . x, in f64 or compensated f32, over fixed blocks',
    inputs: [f32('x'), inout(f32('sum', 1))],
    outputs: [],
    attributes: {},
    shapes: ([, sum]) => {
      expect(at(sum!, 0) === 1, 'sum [1]');
      return [];
    },
  },
  softmax: {
    doc: 'over the last axis: exp(x - max) / sum, or its logarithm; a row of only -inf gives zeros (log: -inf)',
    inputs: [f32('x', [1, 4])],
    outputs: [f32('y')],
    attributes: { kind: ['softmax', 'log'] },
    shapes: ([x]) => [x!],
  },
  softmaxGrad: {
    doc: 'from y and dy: softmax y (dy - sum(dy y)); log dy - exp(y) sum(dy)',
    inputs: [f32('y', [1, 4]), f32('dy', [1, 4])],
    outputs: [f32('dx')],
    attributes: { kind: ['softmax', 'log'] },
    shapes: ([y, dy]) => {
      allSame([y!, dy!], 'y and dy');
      return [y!];
    },
  },
  topK: {
    doc: 'the k largest of each row, descending; ties to the lowest index; NaN counts as -inf',
    inputs: [f32('x', 2)],
    outputs: [f32('values', 2), i32('indices', 2)],
    attributes: { k: 'int' },
    shapes: ([x], { k }) => {
      expect(k! >= 1 && k! <= at(x!, 1), `k from 1 to ${at(x!, 1)}`);
      return [
        [at(x!, 0), k!],
        [at(x!, 0), k!],
      ];
    },
  },

  // --- linear algebra ---
  matmul: {
    doc: 'c = op(a) op(b), rank 2 or batched rank 3; each output is one chain of fused multiply-adds over ascending k',
    inputs: [f32('a', [2, 3]), f32('b', [2, 3])],
    outputs: [f32('c', [2, 3])],
    attributes: { transA: 'int', transB: 'int' },
    shapes: ([a, b], { transA, transB }) => [matmulShape(a!, b!, transA!, transB!)],
  },
  matmulInto: {
    doc: 'c += op(a) op(b)',
    inputs: [f32('a', [2, 3]), f32('b', [2, 3]), inout(f32('c', [2, 3]))],
    outputs: [],
    attributes: { transA: 'int', transB: 'int' },
    shapes: ([a, b, c], { transA, transB }) => {
      expect(sameShape(matmulShape(a!, b!, transA!, transB!), c!), "c of the product's shape");
      return [];
    },
  },

  matmulBf16: {
    doc:
      'c = op(a) op(b) with b bf16 and a rounded to bf16 (nearest even); sums in f32, in an order that shapes do not change; on ' +
      'both sides numbers below 2^-126 count as zero',
    inputs: [f32('a', [2, 3]), bf16('b', [2, 3])],
    outputs: [f32('c', [2, 3])],
    attributes: { transA: 'int', transB: 'int' },
    shapes: ([a, b], { transA, transB }) => [matmulShape(a!, b!, transA!, transB!)],
  },
  packWeight: {
    doc:
      'w [N, K] of a linear layer (or [E, N, K]) as T = ceil(N / 32) tiles of columns, k-major: packed[t, k, c] = w[32 t + c, k], ' +
      'zeros beyond N',
    inputs: [f32('w', [2, 3])],
    outputs: [f32('packed', [3, 4])],
    attributes: {},
    shapes: ([w]) => [packedShape(w!, 1)],
  },
  packWeightBf16: {
    doc: 'packWeight of bf16, two k beside each other: packed[t, p, 2 c + i] = w[32 t + c, 2 p + i], zeros beyond N and K',
    inputs: [bf16('w', [2, 3])],
    outputs: [bf16('packed', [3, 4])],
    attributes: {},
    shapes: ([w]) => [packedShape(w!, 2)],
  },
  matmulPacked: {
    doc: 'y = x w^T with w [columns, K] packed by packWeight; the bits of matmul',
    inputs: [f32('x', 2), f32('w', 3)],
    outputs: [f32('y', 2)],
    attributes: { columns: 'int' },
    shapes: ([x, w], { columns }) => [packedCheck(x!, w!, columns!, 1)],
  },
  matmulPackedBf16: {
    doc: 'y = x w^T with w [columns, K] packed by packWeightBf16; the bits of matmulBf16',
    inputs: [f32('x', 2), bf16('w', 3)],
    outputs: [f32('y', 2)],
    attributes: { columns: 'int' },
    shapes: ([x, w], { columns }) => [packedCheck(x!, w!, columns!, 2)],
  },

  // --- fused: normalisation, rotation, activation, loss, optimiser ---
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

  // --- attention ---
  rangeMask: {
    doc: 'y[n, m] = 0 where ranges[n, 0] <= m < ranges[n, 1], else -inf',
    inputs: [i32('ranges', 2)],
    outputs: [f32('y', 2)],
    attributes: { size: 'int' },
    shapes: ([ranges], { size }) => {
      expect(at(ranges!, 1) === 2, 'ranges [N, 2]');
      return [[at(ranges!, 0), size!]];
    },
  },
  attention: {
    doc:
      'query n, head h attends to key rows ranges[n, 0] <= m < ranges[n, 1] (clamped to the rows there are) of key head ' +
      'floor(h Hk / H): o = sum p v with p = softmax(scale q.k); lse = log sum exp(scale q.k); an empty range gives 0 and -inf',
    inputs: [f32('q', 3), f32('k', 3), f32('v', 3), i32('ranges', 2)],
    outputs: [f32('o', 3), f32('lse', 2)],
    attributes: { scale: 'float' },
    shapes: ([q, k, v, ranges]) => {
      attentionCheck(q!, k!, v!, ranges!);
      return [
        [at(q!, 0), at(q!, 1), at(v!, 2)],
        [at(q!, 0), at(q!, 1)],
      ];
    },
  },
  attentionGrad: {
    doc: 'gradients of attention by q, k and v, probabilities recomputed from lse',
    inputs: [
      f32('q', 3),
      f32('k', 3),
      f32('v', 3),
      i32('ranges', 2),
      f32('o', 3),
      f32('lse', 2),
      f32('do', 3),
    ],
    outputs: [f32('dq', 3), f32('dk', 3), f32('dv', 3)],
    attributes: { scale: 'float' },
    shapes: ([q, k, v, ranges, o, , dout]) => {
      attentionCheck(q!, k!, v!, ranges!);
      allSame([o!, dout!], 'o and do');
      return [q!, k!, v!];
    },
  },
  latentAttention: {
    doc:
      'attention in the absorbed form: q [N, H, C] against one shared key row cache[m] [C], whose first `valueWidth` entries ' +
      'are also the value; ranges as in attention',
    inputs: [f32('q', 3), f32('cache', 2), i32('ranges', 2)],
    outputs: [f32('o', 3)],
    attributes: { scale: 'float', valueWidth: 'int' },
    shapes: ([q, cache, ranges], { valueWidth }) => {
      expect(at(q!, 2) === at(cache!, 1), 'q and cache of equal width');
      expect(valueWidth! >= 0 && valueWidth! <= at(cache!, 1), 'valueWidth within the cache width');
      expect(at(ranges!, 0) === at(q!, 0) && at(ranges!, 1) === 2, 'ranges [N, 2]');
      return [[at(q!, 0), at(q!, 1), valueWidth!]];
    },
  },
  expandKeys: {
    doc:
      'keys and values of every head from their joint projection: k[m, h] = up[m, h, : nope] then shared[m], ' +
      'v[m, h] = up[m, h, nope :]',
    inputs: [f32('up', 3), f32('shared', 2)],
    outputs: [f32('k', 3), f32('v', 3)],
    attributes: { nope: 'int' },
    shapes: ([up, shared], { nope }) => {
      const [rows, heads, width] = [at(up!, 0), at(up!, 1), at(up!, 2)];
      expect(at(shared!, 0) === rows, 'up and shared of equal rows');
      expect(nope! >= 0 && nope! <= width, `nope from 0 to ${width}`);
      return [
        [rows, heads, nope! + at(shared!, 1)],
        [rows, heads, width - nope!],
      ];
    },
  },
  expandKeysGrad: {
    doc: 'dup[m, h] = dk[m, h, : nope] then dv[m, h]; dshared[m] = sum over ascending h of dk[m, h, nope :]',
    inputs: [f32('dk', 3), f32('dv', 3)],
    outputs: [f32('dup', 3), f32('dshared', 2)],
    attributes: { nope: 'int' },
    shapes: ([dk, dv], { nope }) => {
      expect(at(dk!, 0) === at(dv!, 0) && at(dk!, 1) === at(dv!, 1), 'dk and dv with equal rows and heads');
      expect(nope! >= 0 && nope! <= at(dk!, 2), `nope from 0 to ${at(dk!, 2)}`);
      return [
        [at(dk!, 0), at(dk!, 1), nope! + at(dv!, 2)],
        [at(dk!, 0), at(dk!, 2) - nope!],
      ];
    },
  },
  absorbQuery: {
    doc:
      'queries of the absorbed form: y[n, h] = sum over ascending i < nope of q[n, h, i] w[h, i], then q[n, h, nope :]; ' +
      'w [H, A, R] with A at least nope',
    inputs: [f32('q', 3), f32('w', 3)],
    outputs: [f32('y', 3)],
    attributes: { nope: 'int' },
    shapes: ([q, w], { nope }) => {
      expect(at(q!, 1) === at(w!, 0), 'a matrix of w for each head');
      expect(nope! >= 0 && nope! <= at(q!, 2) && nope! <= at(w!, 1), 'nope within the widths of q and w');
      return [[at(q!, 0), at(q!, 1), at(w!, 2) + at(q!, 2) - nope!]];
    },
  },
  absorbOutput: {
    doc: 'values of the absorbed form: y[n, h, j] = z[n, h] . w[h, start + j] for every row of w [H, A, R] from start on',
    inputs: [f32('z', 3), f32('w', 3)],
    outputs: [f32('y', 3)],
    attributes: { start: 'int' },
    shapes: ([z, w], { start }) => {
      expect(at(z!, 1) === at(w!, 0) && at(z!, 2) === at(w!, 2), 'z [N, H, R] and w [H, A, R]');
      expect(start! >= 0 && start! <= at(w!, 1), `start from 0 to ${at(w!, 1)}`);
      return [[at(z!, 0), at(z!, 1), at(w!, 1) - start!]];
    },
  },

  // --- mixture of experts ---
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
} as const satisfies Record<string, OpRow>;

export type OpName = keyof typeof opTable;

type AttributeValue<A> = A extends 'int' | 'float' ? number : A extends readonly (infer S)[] ? S : never;

/** An op's attributes by name, enumerations as their words. */
export type Attributes<O extends OpName> = {
  readonly [A in keyof (typeof opTable)[O]['attributes']]: AttributeValue<
    (typeof opTable)[O]['attributes'][A]
  >;
};

/** All op names in table order; the index is the op's code in encoded lists. */
export const opNames = Object.keys(opTable) as readonly OpName[];

/** The table row of an op, without its literal types. */
export function opRow(op: OpName): OpRow {
  return opTable[op];
}
