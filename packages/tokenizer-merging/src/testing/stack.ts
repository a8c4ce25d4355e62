/**
 * A small stack: mix neighbours where a kernel is given, merge, a causal middle layer over entries, inflate; every parameter random. The middle layer mixes
 * each entry with the one before it, so it has a state of its own, as attention has its cache.
 */
import type { Backend } from '@minke/core';
import { Arena, add, concat, gatherRows, linear, type Tensor, tanh } from '@minke/tensor';
import {
  CausalConvolution,
  DynamicTokenInflator,
  type InflatorConfig,
  type MergeBatch,
  type MergePlan,
  type MergerConfig,
  type MergeState,
  type MergeStateSize,
  SoftTokenMerger,
} from '../merging/index.ts';
import { normals } from './numbers.ts';

export const D = 6;

/** What the middle layer remembers of each sequence: its last entry. */
export type Memory = Map<number, ArrayLike<number>>;

export interface Result {
  /** What was merged: the tokens, mixed where there is a convolution. */
  readonly mixed: Tensor;
  readonly output: Tensor;
  readonly entries: Tensor;
  readonly middle: Tensor;
  readonly plan: MergePlan;
}

export class Stack {
  readonly convolution: CausalConvolution | null;
  readonly merger: SoftTokenMerger;
  readonly inflator: DynamicTokenInflator;
  readonly own: Tensor;
  readonly earlier: Tensor;
  readonly backend: Backend;

  constructor(
    backend: Backend,
    { kernel = 1, ...config }: Partial<MergerConfig> & { kernel?: number } = {},
    inflation: Partial<InflatorConfig> = {},
  ) {
    this.backend = backend;
    const arena = new Arena(backend, { persistent: true });
    this.convolution =
      kernel > 1 ? CausalConvolution.init({ hiddenSize: config.hiddenSize ?? D, kernel }, { arena }) : null;
    this.merger = SoftTokenMerger.init({ hiddenSize: D, maxRun: 4, ...config }, { arena });
    this.inflator = DynamicTokenInflator.init(
      { hiddenSize: D, maxRun: config.maxRun ?? 4, offsets: true, refine: true, ...inflation },
      { arena },
    );
    const width = this.merger.config.hiddenSize;
    this.own = arena.parameter(normals(width * width, 90, 0.4), [width, width]);
    this.earlier = arena.parameter(normals(width * width, 91, 0.4), [width, width]);
    let seed = 100;
    for (const parameter of this.parameters().values()) {
      const noise = normals(parameter.size, seed++, 0.3);
      const square = parameter.shape.join() === `${width},${width}`;
      parameter.write(noise.map((x, i) => Math.fround(square && i % (width + 1) === 0 ? x + 1 : x)));
    }
  }

  parameters(): Map<string, Tensor> {
    return new Map([
      ...[...(this.convolution?.parameters() ?? [])].map(([name, t]) => [`convolution.${name}`, t] as const),
      ...[...this.merger.parameters()].map(([name, t]) => [`merger.${name}`, t] as const),
      ...[...this.inflator.parameters()].map(([name, t]) => [`inflator.${name}`, t] as const),
    ]);
  }

  /** New sequences. */
  createState(size: Omit<MergeStateSize, 'kernel'> = {}): MergeState {
    const kernel = this.convolution?.config.kernel ?? 1;
    return this.merger.createState({ backend: this.backend, kernel, ...size });
  }

  /** e[k] + tanh(own e[k] + earlier e[k - 1]). */
  middle(
    entries: Tensor,
    offsets: ArrayLike<number>,
    memory?: Memory,
    sequences?: readonly number[],
  ): Tensor {
    const { arena } = entries;
    const D = this.merger.config.hiddenSize;
    const B = offsets.length - 1;
    const last: number[] = [];
    const previous: number[] = [];
    for (let b = 0; b < B; b++) {
      last.push(...Array.from(memory?.get(sequences?.[b] ?? b) ?? new Array<number>(D).fill(0)));
      for (let e = offsets[b] as number; e < (offsets[b + 1] as number); e++)
        previous.push(e === offsets[b] ? b : B + e - 1);
    }
    const table = concat([arena.tensor(last, [B, D]), entries], 0);
    const before = gatherRows(table, arena.tensor(previous, [previous.length], 'i32'));
    return add(entries, tanh(add(linear(entries, this.own), linear(before, this.earlier))));
  }

  async forward(h: Tensor, batch: MergeBatch = {}, memory?: Memory): Promise<Result> {
    const mixed = this.convolution?.forward(h, batch) ?? h;
    const { entries, plan } = await this.merger.forward(mixed, batch);
    const sequences = batch.sequences ?? plan.starts.map((_, b) => b);
    const middle = this.middle(entries, plan.entryOffsets, memory, sequences);
    const output = this.inflator.forward(mixed, entries, middle, plan, batch);
    if (memory) {
      const rows = await entries.read();
      for (const [b, sequence] of sequences.entries()) {
        const end = plan.entryOffsets[b + 1] as number;
        if (end > (plan.entryOffsets[b] as number)) memory.set(sequence, rows.slice((end - 1) * D, end * D));
      }
    }
    return { mixed, output, entries, middle, plan };
  }

  /** Output numbers of whole sequences. */
  async numbers(data: ArrayLike<number>, batch: MergeBatch = {}): Promise<number[]> {
    using arena = new Arena(this.backend);
    const { output } = await this.forward(arena.tensor(data, [data.length / D, D]), batch);
    return Array.from(await output.read());
  }
}
