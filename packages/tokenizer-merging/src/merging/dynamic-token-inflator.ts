/**
 * Dynamic token inflation: every token gets back what the middle layers changed about the entry it belongs to.
 *
 * The name and the aim are those of Yuan et al. (CVPR 2024 workshops); smoothing, confidence and straight-through
 * gradient are H-Net's (arXiv 2507.07955, equations 5 to 9). Ours is the change: with d = middle(e) - e,
 * z[k] = P[k] d[k] + (1 - P[k]) z[k - 1], and out[t] = h[t] + (1 + rho[lag]) z[k], k the latest entry at or before t.
 * Tokens keep their own stream, so details are not lost, and nothing looks ahead. rho, with `offsets`, is zero at first
 * and none at the boundary itself. P is 1 where the router did not decide, else its probability, kept 1e-4 away from 0 and 1. The
 * confidence c (p at a boundary, 1 - p elsewhere) multiplies z with the value 1 and its own gradient.
 *
 * A token that is an entry by itself, by a decision other than the router's, takes the middle layers' output by choice:
 * h + (middle(h) - h) has other bits. So with every token a boundary the whole is the stack without merging, bit for
 * bit, whatever the parameters are.
 */
import { check, formatShape } from '@minke/core';
import {
  add,
  affine,
  clamp,
  concat,
  constantInit,
  linear,
  type Module,
  mul,
  scatterRows,
  sigmoid,
  sub,
  type Tensor,
} from '@minke/tensor';
import { type InflatorConfig, resolveInflatorConfig } from './config.ts';
import { type MergeBatch, sequencesOf } from './past.ts';
import type { MergePlan } from './plan.ts';
import { chooseRows, column, indices, takeRows } from './rows.ts';
import { smooth } from './smoothing.ts';
import { type InitOptions, initArena } from './soft-token-merger.ts';

/** How far a probability that smooths stays from 0 and 1. */
const MARGIN = 1e-4;

/**
 * @example
 * const { entries, plan } = await merger.forward(h, batch);
 * const y = inflator.forward(h, entries, middle(entries), plan, batch); // [T, D]
 */
export class DynamicTokenInflator implements Module {
  readonly config: Required<InflatorConfig>;
  readonly #parameters: ReadonlyMap<string, Tensor>;

  /** @param parameters by the names that `parameters()` returns them under */
  constructor(config: InflatorConfig, parameters: ReadonlyMap<string, Tensor>) {
    this.config = resolveInflatorConfig(config);
    this.#parameters = parameters;
    for (const [name, shape] of inflatorParameterShapes(config)) {
      const found = parameters.get(name)?.shape;
      check(
        found?.join() === shape.join(),
        () =>
          `DynamicTokenInflator: expected ${name} ${formatShape(shape)}, got ${found ? formatShape(found) : 'none'}`,
      );
    }
  }

  /** All zeros: the change is repeated, and nothing refined. Throws `invalid-config`. */
  static init(config: InflatorConfig, options: InitOptions): DynamicTokenInflator {
    const shapes = inflatorParameterShapes(config);
    const arena = initArena(options);
    return new DynamicTokenInflator(
      config,
      new Map([...shapes].map(([name, shape]) => [name, constantInit(arena, shape, 0)])),
    );
  }

  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  /**
   * @param h what was merged, [T, D]
   * @param entries what it was merged into, [E, D]
   * @param middle the middle layers' output for them, [E, D]
   * @param batch the batch that was merged; a state in it moves on
   */
  forward(h: Tensor, entries: Tensor, middle: Tensor, plan: MergePlan, batch: MergeBatch = {}): Tensor {
    const T = plan.boundary.length;
    const E = plan.size.length;
    check(
      h.shape[0] === T && entries.shape[0] === E && middle.shape.join() === entries.shape.join(),
      () =>
        `DynamicTokenInflator: expected h [${T}, D], entries and middle [${E}, D], got ${[h, entries, middle].map((t) => formatShape(t.shape)).join(', ')}`,
    );
    const { arena } = h;
    const lag = Array.from(plan.lag);
    let z = this.#changes(sub(middle, entries), plan, batch);
    if (this.config.offsets && this.config.maxRun > 1 && lag.some((x) => x > 0)) {
      const scale = takeRows(
        this.#get('offset_scale'),
        plan.lag.map((x) => x - 1),
        arena,
      ); // lag 0: none
      z = add(z, mul(z, scale));
    }
    const { probability } = plan;
    if (probability) {
      const sign = Array.from(plan.boundary, (b, t) => (plan.forced[t] ? 0 : b ? 1 : -1));
      const moved = mul(sub(probability, probability.detach()), arena.tensor(sign, [T]));
      z = mul(z, affine(moved, 1, 1).reshape([T, 1]));
    }
    let out = add(h, z);
    if (this.config.refine) {
      const gate = sigmoid(linear(concat([h, z], 1), this.#get('refine_gate.weight')));
      const beyond = column(
        arena,
        lag.map((x) => (x > 0 ? 1 : 0)),
      );
      out = add(out, mul(mul(gate, linear(h, this.#get('refine.weight'))), beyond));
    }
    return this.#keepAlone(out, middle, plan);
  }

  /** Rows that are an entry by themselves take its output as it is. */
  #keepAlone(out: Tensor, middle: Tensor, plan: MergePlan): Tensor {
    const source = Array.from(plan.entryOfToken, (entry, t) =>
      plan.boundary[t] && plan.forced[t] && plan.size[entry] === 1 ? entry : -1,
    );
    if (source.every((entry) => entry < 0)) return out;
    const own = takeRows(middle, source);
    return chooseRows(
      source.map((entry) => Number(entry >= 0)),
      own,
      out,
    );
  }

  /** The smoothed change each token receives, [T, D]. */
  #changes(delta: Tensor, plan: MergePlan, batch: MergeBatch): Tensor {
    const { arena } = delta;
    const { state } = batch;
    const sequences = sequencesOf(batch, plan);
    // Each sequence's latest change stands before its entries.
    const order: number[] = [];
    const starts: number[] = [];
    const past: number[] = [];
    /** Where each of `order` is kept, -1 for nowhere. */
    const kept: number[] = [];
    const rowOfToken = new Int32Array(plan.boundary.length);
    plan.starts.forEach(({ position, entries }, b) => {
      const sequence = sequences[b] as number;
      if (state && position > 0) {
        order.push(-1 - past.length);
        starts.push(1);
        past.push(state.change.row(sequence, entries - 1));
        kept.push(-1);
      }
      const [first, end] = [plan.entryOffsets[b] as number, plan.entryOffsets[b + 1] as number];
      const shift = order.length - first;
      for (let e = first; e < end; e++) {
        order.push(e);
        const lasts = state !== undefined && end - e <= state.rollback + 1;
        kept.push(lasts ? state.change.row(sequence, entries + e - first) : -1);
        starts.push(Number(!this.config.smoothing || plan.forced[plan.entryRow[e] as number] === 1));
      }
      for (let t = plan.tokenOffsets[b] as number; t < (plan.tokenOffsets[b + 1] as number); t++) {
        const entry = plan.entryOfToken[t] as number;
        rowOfToken[t] = entry < 0 ? first + shift - 1 : entry + shift;
      }
    });
    const place = order.map((n) => (n < 0 ? -1 - n : past.length + n));
    let x = delta;
    if (state && past.length > 0)
      x = takeRows(concat([takeRows(state.change.table, past, arena), delta], 0), place);
    const z = starts.every(Boolean) ? x : smooth(x, this.#weights(plan, order), starts);
    if (state && kept.some((row) => row >= 0)) scatterRows(z, indices(arena, kept), state.change.table);
    return takeRows(z, rowOfToken);
  }

  /** P of each row to be smoothed, [N, 1]; that of rows where a chain begins is not used. */
  #weights({ probability, entryRow }: MergePlan, order: readonly number[]): Tensor {
    const p = (probability as Tensor).reshape([-1, 1]);
    const rows = order.map((entry) => (entry < 0 ? -1 : (entryRow[entry] as number)));
    return clamp(takeRows(p, rows), MARGIN, 1 - MARGIN);
  }

  #get(name: string): Tensor {
    return this.#parameters.get(name) as Tensor;
  }
}

/** Names and shapes of an inflator's parameters. Throws `invalid-config`. */
export function inflatorParameterShapes(config: InflatorConfig): Map<string, readonly number[]> {
  const { hiddenSize: D, maxRun, offsets, refine } = resolveInflatorConfig(config);
  const shapes = new Map<string, readonly number[]>();
  if (offsets && maxRun > 1) shapes.set('offset_scale', [maxRun - 1, D]);
  if (refine) {
    shapes.set('refine.weight', [D, D]);
    shapes.set('refine_gate.weight', [D, 2 * D]);
  }
  return shapes;
}
