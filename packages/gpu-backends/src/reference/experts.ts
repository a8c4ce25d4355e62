/**
 * Mixture of experts over a plan: products over each expert's rows, the weighted combination, the whole SwiGLU
 * feed-forward with its shared expert, and their gradients.
 *
 * The plan's arrays are index data and not trusted: row ranges are clamped, slots out of range are skipped.
 */
import { sigmoid, silu, siluSlope } from './elementwise.ts';
import type { Kernels, Tensor } from './kernel.ts';
import { bfloatOperand, unpack } from './weights.ts';

/** Expert e's rows, clamped to the `rows` there are. */
function rowsOf(offsets: Tensor, e: number, rows: number): [first: number, end: number] {
  return [Math.max(offsets.data[e]!, 0), Math.min(offsets.data[e + 1]!, rows)];
}

type Numbers = Tensor['data'] | readonly number[];

/** x[at .. at + width] as plain numbers. */
const row = (x: Tensor, r: number, width: number): number[] =>
  Array.from(x.data.subarray(r * width, (r + 1) * width) as Float64Array);
const dot = (a: Numbers, b: Numbers): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
};

/** One matrix [rows, columns] of a packed or plain weight. */
interface Matrix {
  readonly data: Tensor['data'];
  readonly rows: number;
  readonly columns: number;
}
function matrixOf(w: Tensor, e = 0): Matrix {
  const [rows, columns] = w.shape.slice(-2) as [number, number];
  return { data: w.data.subarray(e * rows * columns, (e + 1) * rows * columns), rows, columns };
}
/** w x */
const times = ({ data, rows, columns }: Matrix, x: readonly number[]): number[] =>
  Array.from({ length: rows }, (_, i) =>
    dot(data.subarray(i * columns, (i + 1) * columns) as Float64Array, x),
  );
/** w^T y */
const transposedTimes = ({ data, rows, columns }: Matrix, y: readonly number[]): number[] =>
  Array.from({ length: columns }, (_, j) => {
    let sum = 0;
    for (let i = 0; i < rows; i++) sum += data[i * columns + j]! * y[i]!;
    return sum;
  });
const addInto = (to: number[], from: readonly number[], scale = 1): void => {
  from.forEach((value, i) => {
    to[i] = to[i]! + scale * value;
  });
};

/** Which expert has each sorted row; -1 beyond the plan. */
function expertOfRow(offsets: Tensor, experts: number, rows: number): number[] {
  const owner = Array.from({ length: rows }, () => -1);
  for (let e = 0; e < experts; e++) {
    const [first, end] = rowsOf(offsets, e, rows);
    owner.fill(e, first, Math.max(first, end));
  }
  return owner;
}

/** SwiGLU back from dh, the gradient of the hidden row: gradients of gate and up, and the hidden row itself. */
function gatedGrad(gates: readonly number[], ups: readonly number[], dh: readonly number[]) {
  return {
    dgate: dh.map((d, i) => d * ups[i]! * siluSlope(gates[i]!)),
    dup: dh.map((d, i) => d * gates[i]! * sigmoid(gates[i]!)),
    hidden: gates.map((g, i) => silu(g) * ups[i]!),
  };
}

function grouped(x: Tensor, w: Tensor, offsets: Tensor, y: Tensor, transW: number): void {
  const [rows, k, n] = [x.shape[0]!, x.shape[1]!, y.shape[1]!];
  y.data.fill(0);
  for (let e = 0; e < w.shape[0]!; e++) {
    const [first, end] = rowsOf(offsets, e, rows);
    for (let r = first; r < end; r++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let p = 0; p < k; p++)
          sum += x.data[r * k + p]! * w.data[e * n * k + (transW ? j * k + p : p * n + j)]!;
        y.data[r * n + j] = sum;
      }
    }
  }
}

export const experts: Pick<
  Kernels,
  | 'groupedMatmul'
  | 'groupedMatmulBf16'
  | 'groupedMatmulPacked'
  | 'groupedMatmulPackedBf16'
  | 'groupedMatmulGradWeight'
  | 'moeCombine'
  | 'moeCombineGrad'
  | 'moeFeedForward'
  | 'moeFeedForwardGrad'
  | 'moeFeedForwardGradWeight'
  | 'moeFeedForwardPacked'
> = {
  groupedMatmul([x, w, offsets, y], { transW }) {
    grouped(x, w, offsets, y, transW);
  },

  groupedMatmulBf16([x, w, offsets, y], { transW }) {
    grouped(bfloatOperand(x), bfloatOperand(w), offsets, y, transW);
  },

  groupedMatmulPacked([x, w, offsets, y], { columns }) {
    grouped(x, unpack(w, columns, x.shape[1]!), offsets, y, 1);
  },

  groupedMatmulPackedBf16([x, w, offsets, y], { columns }) {
    grouped(bfloatOperand(x), unpack(w, columns, x.shape[1]!), offsets, y, 1);
  },

  groupedMatmulGradWeight([dy, x, offsets, dw]) {
    const [rows, n, k] = [x.shape[0]!, dy.shape[1]!, x.shape[1]!];
    for (let e = 0; e < dw.shape[0]!; e++) {
      const [first, end] = rowsOf(offsets, e, rows);
      for (let j = 0; j < n; j++) {
        for (let p = 0; p < k; p++) {
          let sum = 0;
          for (let r = first; r < end; r++) sum += dy.data[r * n + j]! * x.data[r * k + p]!;
          const to = (e * n + j) * k + p;
          dw.data[to] = dw.data[to]! + sum;
        }
      }
    }
  },

  moeCombine([y, weights, slots, out]) {
    const [rows, width] = [y.shape[0]!, y.shape[1]!];
    const [tokens, perToken] = [slots.shape[0]!, slots.shape[1]!];
    for (let n = 0; n < tokens; n++) {
      for (let d = 0; d < width; d++) {
        let sum = 0;
        for (let k = 0; k < perToken; k++) {
          const slot = slots.data[n * perToken + k]!;
          if (slot >= 0 && slot < rows) sum += weights.data[n * perToken + k]! * y.data[slot * width + d]!;
        }
        out.data[n * width + d] = sum;
      }
    }
  },

  moeCombineGrad([y, weights, slots, dout, dy, dweights]) {
    const [rows, width] = [y.shape[0]!, y.shape[1]!];
    const perToken = slots.shape[1]!;
    dy.data.fill(0);
    slots.data.forEach((slot, pair) => {
      const n = Math.floor(pair / perToken);
      let sum = 0;
      if (slot >= 0 && slot < rows) {
        for (let d = 0; d < width; d++) {
          dy.data[slot * width + d] = weights.data[pair]! * dout.data[n * width + d]!;
          sum += y.data[slot * width + d]! * dout.data[n * width + d]!;
        }
      }
      dweights.data[pair] = sum;
    });
  },

  moeFeedForward([
    x,
    weights,
    gate,
    up,
    down,
    sharedGate,
    sharedUp,
    sharedDown,
    offsets,
    rows,
    slots,
    out,
    gates,
    ups,
    sharedGates,
    sharedUps,
  ]) {
    const [count, width] = [x.shape[0]!, x.shape[1]!];
    const perToken = slots.shape[1]!;
    const owner = expertOfRow(offsets, gate.shape[0]!, rows.data.length);
    const forward = (
      input: number[],
      g: Matrix,
      u: Matrix,
      d: Matrix,
      r: number,
      saved: [Tensor, Tensor],
    ) => {
      const [gated, upped] = [times(g, input), times(u, input)];
      saved[0].data.set(gated, r * g.rows);
      saved[1].data.set(upped, r * g.rows);
      return times(
        d,
        gated.map((value, i) => silu(value) * upped[i]!),
      );
    };
    gates.data.fill(0);
    ups.data.fill(0);
    const y = owner.map((e, r) => {
      const n = rows.data[r]!;
      if (e < 0) return Array.from({ length: width }, () => 0);
      const token = n >= 0 && n < count ? row(x, n, width) : Array.from({ length: width }, () => 0);
      return forward(token, matrixOf(gate, e), matrixOf(up, e), matrixOf(down, e), r, [gates, ups]);
    });
    for (let n = 0; n < count; n++) {
      const sum = Array.from({ length: width }, () => 0);
      for (let k = 0; k < perToken; k++) {
        const slot = slots.data[n * perToken + k]!;
        if (slot >= 0 && slot < y.length) addInto(sum, y[slot]!, weights.data[n * perToken + k]!);
      }
      const shared: [Tensor, Tensor] = [sharedGates, sharedUps];
      addInto(
        sum,
        forward(row(x, n, width), matrixOf(sharedGate), matrixOf(sharedUp), matrixOf(sharedDown), n, shared),
      );
      out.data.set(sum, n * width);
    }
  },

  moeFeedForwardGrad([
    weights,
    gate,
    up,
    down,
    sharedGate,
    sharedUp,
    sharedDown,
    offsets,
    ,
    slots,
    gates,
    ups,
    sharedGates,
    sharedUps,
    dout,
    dx,
    dweights,
    dgates,
    dups,
    hidden,
    dsharedGates,
    dsharedUps,
    sharedHidden,
  ]) {
    const [count, width] = [dout.shape[0]!, dout.shape[1]!];
    const [perToken, f, s] = [slots.shape[1]!, gate.shape[1]!, sharedGate.shape[0]!];
    const owner = expertOfRow(offsets, gate.shape[0]!, gates.shape[0]!);
    for (const cleared of [dgates, dups, hidden]) cleared.data.fill(0);
    for (let n = 0; n < count; n++) {
      const dy = row(dout, n, width);
      const sum = Array.from({ length: width }, () => 0);
      for (let k = 0; k < perToken; k++) {
        const pair = n * perToken + k;
        const r = slots.data[pair]!;
        const e = owner[r] ?? -1;
        dweights.data[pair] = 0;
        if (e < 0) continue;
        const w = weights.data[pair]!;
        const dh = transposedTimes(matrixOf(down, e), dy);
        const grad = gatedGrad(row(gates, r, f), row(ups, r, f), dh);
        dweights.data[pair] = dot(grad.hidden, dh);
        const scaled = (values: number[]) => values.map((value) => w * value);
        dgates.data.set(scaled(grad.dgate), r * f);
        dups.data.set(scaled(grad.dup), r * f);
        hidden.data.set(scaled(grad.hidden), r * f);
        addInto(sum, transposedTimes(matrixOf(gate, e), grad.dgate), w);
        addInto(sum, transposedTimes(matrixOf(up, e), grad.dup), w);
      }
      const dh = transposedTimes(matrixOf(sharedDown), dy);
      const grad = gatedGrad(row(sharedGates, n, s), row(sharedUps, n, s), dh);
      dsharedGates.data.set(grad.dgate, n * s);
      dsharedUps.data.set(grad.dup, n * s);
      sharedHidden.data.set(grad.hidden, n * s);
      addInto(sum, transposedTimes(matrixOf(sharedGate), grad.dgate));
      addInto(sum, transposedTimes(matrixOf(sharedUp), grad.dup));
      dx.data.set(sum, n * width);
    }
  },

  moeFeedForwardGradWeight(
    [x, dout, offsets, rows, dgates, dups, hidden, dgate, dup, ddown],
    { accumulate },
  ) {
    const [count, width, f] = [x.shape[0]!, x.shape[1]!, dgates.shape[1]!];
    const owner = expertOfRow(offsets, dgate.shape[0]!, rows.data.length);
    const outer = (to: Tensor, e: number, a: Tensor, i: number, b: Tensor, j: number) => {
      const [m, n] = [a.shape[1]!, b.shape[1]!];
      for (let p = 0; p < m; p++)
        for (let q = 0; q < n; q++) {
          const at = (e * m + p) * n + q;
          to.data[at] = to.data[at]! + a.data[i * m + p]! * b.data[j * n + q]!;
        }
    };
    // Summed apart and rounded once.
    const sums = [dgate, dup, ddown].map((t) => ({ ...t, data: new Float64Array(t.data.length) }));
    owner.forEach((e, r) => {
      const n = rows.data[r]!;
      if (e < 0 || n < 0 || n >= count || width * f === 0) return;
      outer(sums[0]!, e, dgates, r, x, n);
      outer(sums[1]!, e, dups, r, x, n);
      outer(sums[2]!, e, dout, n, hidden, r);
    });
    [dgate, dup, ddown].forEach((t, i) => {
      sums[i]!.data.forEach((value, j) => {
        t.data[j] = (accumulate ? t.data[j]! : 0) + value;
      });
    });
  },

  moeFeedForwardPacked([x, weights, gate, up, down, sharedGate, sharedUp, sharedDown, ...rest]) {
    const [offsets, rows, slots, out] = rest;
    const [width, f, s] = [x.shape[1]!, down.shape[2]!, sharedDown.shape[1]!];
    const first = [unpack(gate, f, width), unpack(up, f, width), unpack(down, width, f)] as const;
    const shared = [
      unpack(sharedGate, s, width),
      unpack(sharedUp, s, width),
      unpack(sharedDown, width, s),
    ] as const;
    const saved = (height: number, across: number): Tensor => ({
      dtype: 'f32',
      shape: [height, across],
      data: new Float64Array(height * across),
    });
    const [sorted, tokens] = [rows.data.length, x.shape[0]!];
    const kept = [saved(sorted, f), saved(sorted, f), saved(tokens, s), saved(tokens, s)] as const;
    experts.moeFeedForward([x, weights, ...first, ...shared, offsets, rows, slots, out, ...kept], {});
  },
};
