/**
 * Native sparse attention (NSA, arXiv 2502.11089, section 3): every query attends to compressed blocks of all the past,
 * to the tokens of a few blocks that it selects by what compressed attention found, and to a window; gates add the
 * three up. Each branch has keys and values of its own.
 *
 * The paper leaves some to the reader. Here keys are rotated before they are compressed, the perceptron that compresses
 * a block is W2 silu(W1 (rows + positions)), the gates are sigmoids of one linear layer, by head. While gradients are
 * recorded, blocks and window are masks over all pairs; else only the rows that a query names are read. The selection
 * carries no gradient. Where all blocks are selected that branch is dense attention, and so is the window where it
 * holds all tokens; a query before the first whole block has nothing from the compressed branch.
 */
import { check } from '@minke/core';
import {
  type Arena,
  add,
  affine,
  call,
  concat,
  gatherRows,
  linear,
  type Module,
  matmul,
  mul,
  permute,
  repeat,
  sigmoid,
  silu,
  slice,
  softmax,
  sum,
  type Tensor,
} from '@minke/tensor';
import { latentAttention } from '../attention.ts';
import type { AttentionBatch, Segment } from '../batch.ts';
import { gatheredAttention } from '../gathered-attention.ts';
import { attentionInput, checkParameters, type InitOptions, initArena, initParameters } from '../layer.ts';
import { RopeTable } from '../rope.ts';
import { chooseBlocks, maskOfBlocks, rowsOfBlocks } from './block-selection.ts';
import type { NativeSparseCache } from './native-cache.ts';
import {
  blocksWithin,
  branches,
  type NativeSparseConfig,
  nativeSparseParameterShapes,
  validateNativeSparse,
} from './native-config.ts';

export interface NativeSparseOptions {
  /** Positions of the tokens. Default: each row of x is one sequence. */
  readonly batch?: AttentionBatch;
  /** Past tokens; the batch must come from its `append`. */
  readonly cache?: NativeSparseCache;
  /** Layer of the cache. Default 0. */
  readonly layer?: number;
}

/** Rows [value, key] of one key head: of every branch, and the compressed blocks; the stretch's are the last ones. */
interface HeadRows {
  readonly selected: Tensor;
  readonly window: Tensor;
  readonly blocks: Tensor;
}

/** The rotary tables of a layer, in the half-split layout. */
export function nativeSparseRope(config: NativeSparseConfig, arena: Arena): RopeTable {
  const { headDim: width, ropeTheta: theta = 10000, maxPositions = 4096 } = config;
  return RopeTable.create(arena, { width, theta, layout: 'half' }, maxPositions);
}

/**
 * @example
 * const attention = NativeSparseAttention.init({ hiddenSize: 2560, numHeads: 64, numKeyValueHeads: 4, headDim: 192,
 *   valueDim: 128, compression: { size: 32, stride: 16, hidden: 192 }, window: 512,
 *   selection: { size: 64, count: 16, initial: 1, local: 2 } }, { backend, seed: 0 });
 * const y = attention.forward(x); // [B, T, D]
 */
export class NativeSparseAttention implements Module {
  readonly config: NativeSparseConfig;
  readonly #parameters: Map<string, Tensor>;
  readonly #rope: RopeTable;

  /** Throws `invalid-config`. */
  constructor(config: NativeSparseConfig, parameters: ReadonlyMap<string, Tensor>, rope: RopeTable) {
    this.config = validateNativeSparse(config);
    checkParameters('nativeSparseAttention', nativeSparseParameterShapes(config), parameters);
    this.#parameters = new Map(parameters);
    this.#rope = rope;
  }

  /** A fresh layer. Throws `invalid-config`. */
  static init(config: NativeSparseConfig, options: InitOptions): NativeSparseAttention {
    validateNativeSparse(config);
    const arena = initArena(options);
    const parameters = initParameters(arena, nativeSparseParameterShapes(config), options);
    return new NativeSparseAttention(config, parameters, nativeSparseRope(config, arena));
  }

  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  /**
   * @param x [N, D] or [B, T, D] in a transient arena
   * @returns in the shape of x
   */
  forward(x: Tensor, options: NativeSparseOptions = {}): Tensor {
    const { hiddenSize: D, numHeads: H, numKeyValueHeads: G, headDim: C, valueDim: V } = this.config;
    const { cache, layer = 0 } = options;
    const { rows, batch } = attentionInput('nativeSparseAttention', x, D, options);
    const { segments, positions } = batch;
    check(
      segments !== undefined && batch.shared === undefined,
      () => 'nativeSparseAttention: expected a batch of whole or cached sequences, got one of another kind',
    );
    const project = (name: string, heads: number, width: number) =>
      linear(rows, this.#get(name)).reshape([-1, heads, width]);
    const q = this.#rope.apply(project('q_proj.weight', H, C), positions);
    const pairs = branches.map((branch) => {
      const k = this.#rope.apply(project(`${branch}.k_proj.weight`, G, C), positions);
      return concat([project(`${branch}.v_proj.weight`, G, V), k], 2);
    });
    const gates = sigmoid(linear(rows, this.#get('gate_proj.weight'), this.#get('gate_proj.bias')));
    const gate = gates.reshape([-1, H, branches.length]);
    const each = H / G;
    const outputs = segments.map((segment) => {
      const own = (t: Tensor) => t.rows(segment.start, segment.start + segment.count);
      const heads = Array.from({ length: G }, (_, head) => {
        const news = pairs.map((pair) => slice(own(pair), 1, head, 1).reshape([segment.count, V + C]));
        const held = this.#rows(news, segment, cache && { cache, layer, head });
        const query = slice(own(q), 1, head * each, each);
        const weights = slice(own(gate), 1, head * each, each);
        const gated = this.#attend(query, held, segment).map((o, branch) =>
          o === null ? null : mul(o, repeat(slice(weights, 2, branch, 1), 2, V)),
        );
        return gated.filter((o) => o !== null).reduce((a, b) => add(a, b));
      });
      return heads.length === 1 ? heads[0]! : concat(heads, 1);
    });
    const o =
      outputs.length === 0
        ? x.arena.zeros([0, H, V])
        : outputs.length === 1
          ? outputs[0]!
          : concat(outputs, 0);
    return linear(o.reshape([-1, H * V]), this.#get('o_proj.weight')).reshape(x.shape);
  }

  #get(name: string): Tensor {
    return this.#parameters.get(name) as Tensor;
  }

  /** All rows of a sequence's key head, whose new ones are `news` by branch; those of a cache are stored in it. */
  #rows(
    news: readonly Tensor[],
    { context, count, sequence }: Segment,
    held: { cache: NativeSparseCache; layer: number; head: number } | undefined,
  ): HeadRows {
    const [compressed, selected, window] = news as [Tensor, Tensor, Tensor];
    const [first, end] = [blocksWithin(this.config, context), blocksWithin(this.config, context + count)];
    if (held === undefined) return { selected, window, blocks: this.#compress(compressed, 0, end) };
    const { cache, layer, head } = held;
    const { arena } = selected;
    const table = (index: number, size: number) =>
      arena.adopt(cache.rows(layer, head, index, sequence)).rows(0, size);
    for (const [branch, rows] of news.entries()) cache.write(layer, head, branch, sequence, rows, context);
    const begin = first * this.config.compression.stride;
    if (end > first) {
      const whole = arena.adopt(cache.rows(layer, head, 0, sequence)).rows(begin, context + count);
      cache.write(layer, head, branches.length, sequence, this.#compress(whole, first, end), first);
    }
    return {
      ...{ selected: table(1, context + count), window: table(2, context + count) },
      blocks: table(branches.length, end),
    };
  }

  /** Compressed blocks first .. end as rows [value, key]; `rows` begin with the first one's first token. */
  #compress(rows: Tensor, first: number, end: number): Tensor {
    const { headDim: C, valueDim: V, compression } = this.config;
    const { size, stride } = compression;
    const { arena } = rows;
    const count = end - first;
    if (count <= 0) return arena.zeros([0, V + C]);
    const tokens = Array.from({ length: count * size }, (_, i) => Math.floor(i / size) * stride + (i % size));
    const blocks = gatherRows(rows, arena.tensor(tokens, [tokens.length], 'i32'));
    const perceptron = (name: 'k' | 'v', start: number, width: number) => {
      const own = slice(blocks, 1, start, width).reshape([count, size, width]);
      const placed = add(own, arena.adopt(this.#get(`compressor.${name}.position`)));
      const inner = linear(placed.reshape([count, size * width]), this.#get(`compressor.${name}.up.weight`));
      return linear(silu(inner), this.#get(`compressor.${name}.down.weight`));
    };
    return concat([perceptron('v', 0, V), perceptron('k', V, C)], 1);
  }

  /** What each branch gives queries [N, H / G, C] of one key head: [N, H / G, V], or null. */
  #attend(q: Tensor, rows: HeadRows, segment: Segment): (Tensor | null)[] {
    const { arena } = q;
    const { config } = this;
    const { headDim: C, valueDim: V } = config;
    const { context, count } = segment;
    const scale = C ** -0.5;
    const ranges = (of: (position: number) => readonly [number, number]) =>
      arena.tensor(Array.from({ length: count }, (_, i) => of(context + i)).flat(), [count, 2], 'i32');
    const mask = (range: Tensor, size: number) => call('rangeMask', [range], { size })[0] as Tensor;
    const whole = ranges((position) => [0, blocksWithin(config, position + 1)]);
    const near = ranges((position) => [Math.max(0, position - config.window + 1), position + 1]);
    const keysFirst = permute(q, [1, 0, 2]);
    /** Probabilities [H / G, N, M] of rows under a mask [N, M]. */
    const weigh = (table: Tensor, visible: Tensor) => {
      const keys = everyHead(slice(table, 1, V, C), q.shape[1] as number);
      return softmax(add(affine(matmul(keysFirst, keys, { transB: true }), scale, 0), visible));
    };
    const mix = (p: Tensor, table: Tensor) =>
      permute(matmul(p, everyHead(slice(table, 1, 0, V), p.shape[0] as number)), [1, 0, 2]);
    const blocks = rows.blocks.shape[0] as number;
    const p = blocks > 0 ? weigh(rows.blocks, mask(whole, blocks)) : null;
    const stretch = { context, count };
    const chosen = arena.withoutGrad(() => chooseBlocks(arena, p && sum(p.detach(), 0), config, stretch));
    const { size } = config.selection;
    const { backend, recordsGradients } = arena;
    if (recordsGradients || !backend.supports('gatheredAttention') || !backend.supports('latentAttention')) {
      const tokens = context + count;
      const past = mask(
        ranges((position) => [0, position + 1]),
        tokens,
      );
      const masks = [add(maskOfBlocks(chosen, size, stretch), past), mask(near, tokens)];
      const tables = [rows.selected, rows.window];
      return [p && mix(p, rows.blocks), ...tables.map((table, i) => mix(weigh(table, masks[i]!), table))];
    }
    // Values come first in a row, so the query has zeros before its own numbers.
    const query = concat([arena.zeros([count, q.shape[1] as number, V]), q], 2);
    const options = { scale, valueWidth: V };
    return [
      blocks > 0 ? latentAttention(query, rows.blocks, whole, options) : null,
      gatheredAttention(query, rows.selected, rowsOfBlocks(chosen, size, stretch), options),
      latentAttention(query, rows.window, near, options),
    ];
  }
}

const everyHead = (x: Tensor, heads: number): Tensor => repeat(x.reshape([1, ...x.shape]), 0, heads);
