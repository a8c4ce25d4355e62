/**
 * DeepSeek-V4's attention: queries see the last raw tokens, pooled entries of closed windows before them (all of them
 * in HCA, those that a lightning indexer selects in CSA) and a sink, in one softmax.
 *
 * Source: DeepSeek-V4's report, arXiv 2606.19348, section 2.3, as Hugging Face's `deepseek_v4` computes it: one row is
 * key and value of every head, its last entries rotated, and those of the output are rotated back by the query's
 * position; an entry is seen from the last token of its window on (the paper: from the next one). While gradients are
 * recorded, what is seen is a mask over all pairs; else each query names its rows and only those are read. The choice
 * of entries carries no gradient. Where no window is closed and the raw one holds all tokens, this is dense attention.
 */
import { check } from '@minke/core';
import {
  type Arena,
  add,
  affine,
  call,
  clamp,
  concat,
  div,
  gatherRows,
  linear,
  type Module,
  matmul,
  permute,
  repeat,
  rmsNorm,
  slice,
  softmax,
  sum,
  type Tensor,
} from '@minke/tensor';
import type { AttentionBatch, Segment } from '../batch.ts';
import { gatheredAttention } from '../gathered-attention.ts';
import { attentionInput, checkParameters, type InitOptions, initArena, initParameters } from '../layer.ts';
import { RopeTable } from '../rope.ts';
import type { CompressedCache } from './compressed-cache.ts';
import {
  type CompressedAttentionConfig,
  compressedParameterShapes,
  validateCompressedAttention,
} from './compressed-config.ts';
import { CompressedIndexer, type IndexerQueries } from './compressed-indexer.ts';
import { indexerLoss } from './indexer-loss.ts';
import { selectionMask } from './selection-mask.ts';
import type { IndexerStage } from './sparse-attention.ts';
import { WindowPool } from './window-pool.ts';

export interface CompressedAttentionOptions {
  /** Positions of the tokens. Default: each row of x is one sequence. */
  readonly batch?: AttentionBatch;
  /** Past tokens; the batch must come from its `append`. */
  readonly cache?: CompressedCache;
  /** Layer of the cache. Default 0. */
  readonly layer?: number;
}

/** The rotary tables of a layer, for its heads, its entries and its indexer alike. */
export function compressedRope(config: CompressedAttentionConfig, arena: Arena): RopeTable {
  const { ropeDim: width, ropeTheta: theta, yarn = null, maxPositions = 4096 } = config;
  return RopeTable.create(arena, { width, theta, layout: 'interleaved', yarn }, maxPositions);
}

/**
 * @example
 * const attention = CompressedAttention.init({ ...config, compression: { kind: 'heavy', ratio: 128 } }, { backend });
 * const y = attention.forward(x); // [B, T, D]
 */
export class CompressedAttention implements Module {
  readonly config: CompressedAttentionConfig;
  readonly #parameters: Map<string, Tensor>;
  readonly #rope: RopeTable;
  readonly #pool: WindowPool | null;
  readonly #indexer: CompressedIndexer | null;

  /** Throws `invalid-config`. */
  constructor(config: CompressedAttentionConfig, parameters: ReadonlyMap<string, Tensor>, rope: RopeTable) {
    this.config = validateCompressedAttention(config);
    checkParameters('compressedAttention', compressedParameterShapes(config), parameters);
    this.#parameters = new Map(parameters);
    this.#rope = rope;
    const { compression: c } = config;
    const below = (prefix: string) => (name: string) => this.#get(`${prefix}${name}`);
    this.#pool = c && new WindowPool(c, below('compressor.'), rope, this.#eps);
    this.#indexer =
      c?.kind === 'sparse' ? new CompressedIndexer(c, below('compressor.indexer.'), rope, this.#eps) : null;
  }

  /** A fresh layer, its sinks and position biases zero. Throws `invalid-config`. */
  static init(config: CompressedAttentionConfig, options: InitOptions): CompressedAttention {
    validateCompressedAttention(config);
    const arena = initArena(options);
    const parameters = initParameters(arena, compressedParameterShapes(config), options);
    for (const [name, p] of parameters)
      if (/sinks|position_bias/.test(name)) p.write(new Float32Array(p.size));
    return new CompressedAttention(config, parameters, compressedRope(config, arena));
  }

  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  /**
   * @param x [N, D] or [B, T, D] in a transient arena
   * @returns in the shape of x
   */
  forward(x: Tensor, options: CompressedAttentionOptions = {}): Tensor {
    return this.#run(x, options, null).output;
  }

  /**
   * The forward pass of a layer whose indexer learns, and its loss: KL(p || softmax(I)) over the entries that a query
   * sees (`warm-up`, where it attends to all of them) or selects (`sparse`), p the weights of attention summed over
   * heads and scaled to one. The indexer learns from this loss only, and nothing else does. As for DeepSeek-V3.2's.
   * @param x [N, D] or [B, T, D] in an arena that records gradients
   */
  learn(
    x: Tensor,
    { stage, ...options }: Pick<CompressedAttentionOptions, 'batch'> & { readonly stage: IndexerStage },
  ): { output: Tensor; loss: Tensor } {
    check(
      this.#indexer !== null && x.arena.recordsGradients,
      () =>
        'compressedAttention: expected a sparse compression and an arena with gradients to learn in, got others',
    );
    const { output, losses } = this.#run(x, options, stage);
    check(
      losses.length > 0,
      () => 'compressedAttention: expected a sequence that closes a window to learn from, got shorter ones',
    );
    return {
      output,
      loss: affine(
        losses.reduce((a, b) => add(a, b)),
        1 / losses.length,
        0,
      ),
    };
  }

  #run(
    x: Tensor,
    options: CompressedAttentionOptions,
    stage: IndexerStage | null,
  ): { output: Tensor; losses: Tensor[] } {
    const { hiddenSize: D, numHeads: H, headDim: C, ropeDim: P } = this.config;
    const { cache, layer = 0 } = options;
    const { rows, batch } = attentionInput('compressedAttention', x, D, options);
    check(
      batch.segments !== undefined && batch.shared === undefined,
      () => 'compressedAttention: expected a batch of whole or cached sequences, got one of another kind',
    );
    const { arena } = x;
    const count = rows.shape[0] as number;
    const latent = rmsNorm(
      linear(rows, this.#get('q_a_proj.weight')),
      this.#get('q_a_norm.weight'),
      this.#eps,
    );
    const heads = linear(latent, this.#get('q_b_proj.weight')).reshape([count * H, C]);
    const unit = rmsNorm(heads, arena.full([C], 1), this.#eps).reshape([count, H, C]);
    const q = this.#rope.apply(unit, batch.positions, C - P);
    const raw = rmsNorm(linear(rows, this.#get('kv_proj.weight')), this.#get('kv_norm.weight'), this.#eps);
    const kv = this.#rope.apply(raw.reshape([count, 1, C]), batch.positions, C - P).reshape([count, C]);
    const asks = () => this.#indexer?.queries(rows.detach(), latent.detach(), batch.positions) ?? null;
    const index = stage === null ? arena.withoutGrad(asks) : asks();
    const losses: Tensor[] = [];
    const outputs = batch.segments.map((segment) => {
      const own = <T extends Tensor>(t: T) => t.rows(segment.start, segment.start + segment.count);
      const parts = { segment, x: own(rows), q: own(q), kv: own(kv), index: index && mapValues(index, own) };
      if (cache !== undefined) return this.#cached(parts, cache, layer);
      return this.#whole(parts, stage, losses);
    });
    const o = outputs.length === 0 ? q : outputs.length === 1 ? outputs[0]! : concat(outputs, 0);
    const output = this.#output(this.#rope.applyBack(o, batch.positions, C - P));
    return { output: output.reshape(x.shape), losses };
  }

  get #eps(): number {
    return this.config.normEps ?? 1e-6;
  }

  get #scale(): number {
    return this.config.headDim ** -0.5;
  }

  #get(name: string): Tensor {
    return this.#parameters.get(name) as Tensor;
  }

  /** A sequence from its first token on. */
  #whole({ segment, x, q, kv, index }: Parts, stage: IndexerStage | null, losses: Tensor[]): Tensor {
    const { count } = segment;
    const end = this.#closed(count);
    const pool = this.#pool;
    const keys = pool ? concat([pool.entries(pool.rows(x), 0, end), kv], 0) : kv;
    const pooled = () => this.#indexer?.entries(this.#indexer.rows(x.detach()), 0, end) ?? null;
    const indexKeys = stage === null ? x.arena.withoutGrad(pooled) : pooled();
    const { backend, recordsGradients } = x.arena;
    if (recordsGradients || !backend.supports('gatheredAttention'))
      return this.#masked(q, keys, index, indexKeys, end, stage, losses);
    return this.#named(q, keys, index, indexKeys, { segment, slot: (position) => end + position });
  }

  /** A piece of a sequence whose past a cache holds. */
  #cached({ segment, x, q, kv, index }: Parts, cache: CompressedCache, layer: number): Tensor {
    const { sequence, context, count } = segment;
    const [first, end] = [this.#closed(context), this.#closed(context + count)];
    const pools = [this.#pool, this.#indexer];
    pools.forEach((pool, i) => {
      if (!pool) return;
      const rows = pool.rows(x);
      if (end > first) {
        const known = this.#past(x.arena, cache, layer, 2 * i + 1, segment, pool.needs(first));
        const all = known === null ? rows : concat([known, rows], 0);
        cache.writeEntries(layer, 2 * i, sequence, pool.entries(all, first, end), first);
      }
      cache.writeRing(layer, 2 * i + 1, sequence, rows, context);
    });
    const table = cache.rows(layer, 0, sequence);
    const indexKeys = this.#indexer ? cache.rows(layer, 2, sequence).rows(0, end) : null;
    if (count === 1) {
      cache.writeRing(layer, 0, sequence, kv, context);
      const slot = (position: number) => cache.slot(layer, 0, position);
      return this.#named(q, table, index, indexKeys, { segment, slot });
    }
    // Later tokens of the piece take the slots of earlier ones: the keys are put together first.
    const start = Math.max(0, context - this.config.window + 1);
    const past = this.#past(x.arena, cache, layer, 0, segment, start);
    const pieces = [x.arena.adopt(table).rows(0, end), ...(past ? [past] : []), kv];
    const keys = concat(pieces, 0);
    cache.writeRing(layer, 0, sequence, kv, context);
    return this.#named(q, keys, index, indexKeys, { segment, slot: (position) => end + position - start });
  }

  /** Rows of positions from `from` to the segment's first one, of a ring; null where there are none. */
  #past(
    arena: Arena,
    cache: CompressedCache,
    layer: number,
    table: number,
    segment: Segment,
    from: number,
  ): Tensor | null {
    const { context, sequence } = segment;
    if (from >= context) return null;
    const ring = cache.rows(layer, table, sequence);
    const slots = Array.from({ length: context - from }, (_, i) => cache.slot(layer, table, from + i));
    return gatherRows(arena.adopt(ring), arena.tensor(slots, [slots.length], 'i32'));
  }

  /** Windows that `tokens` tokens close. */
  #closed(tokens: number): number {
    return this.config.compression ? Math.floor(tokens / this.config.compression.ratio) : 0;
  }

  /** All pairs of a whole sequence, with a mask; keys are `end` entries, then all tokens. */
  #masked(
    q: Tensor,
    keys: Tensor,
    index: IndexerQueries | null,
    indexKeys: Tensor | null,
    end: number,
    stage: IndexerStage | null,
    losses: Tensor[],
  ): Tensor {
    const { arena } = q;
    const [count, heads] = q.shape as readonly [number, number];
    const rangeMask = (range: (position: number) => readonly [number, number], size: number) => {
      const numbers = Array.from({ length: count }, (_, position) => range(position)).flat();
      return call('rangeMask', [arena.tensor(numbers, [count, 2], 'i32')], { size })[0] as Tensor;
    };
    const closed = rangeMask((position) => [0, this.#closed(position + 1)], end);
    const liking = index && indexKeys && end > 0 ? this.#indexer!.scores(index, indexKeys) : null;
    const entries =
      liking === null || stage === 'warm-up' ? closed : selectionMask(liking, closed, this.#indexer!.topK);
    const tokens = rangeMask((position) => [position - this.config.window + 1, position + 1], count);
    const scores = affine(
      matmul(permute(q, [1, 0, 2]), keysOfHeads(keys, heads), { transB: true }),
      this.#scale,
      0,
    );
    const sinks = repeat(arena.adopt(this.#get('sinks')).reshape([heads, 1]), 1, count);
    const all = concat([add(scores, concat([entries, tokens], 1)), sinks.reshape([heads, count, 1])], 2);
    const p = slice(softmax(all), 2, 0, keys.shape[0] as number);
    if (stage !== null && liking !== null)
      losses.push(entryLoss(liking, slice(p.detach(), 2, 0, end), entries));
    return permute(matmul(p, keysOfHeads(keys, heads)), [1, 0, 2]);
  }

  /** Each query's rows by name: its entries, then its window in order of position; -1 where there are fewer. */
  #named(
    q: Tensor,
    keys: Tensor,
    index: IndexerQueries | null,
    indexKeys: Tensor | null,
    { segment, slot }: { segment: Segment; slot: (position: number) => number },
  ): Tensor {
    const { arena } = q;
    const { window, headDim: valueWidth } = this.config;
    const { context, count } = segment;
    const selecting = index !== null && indexKeys !== null && this.#indexer !== null;
    const before = (position: number) => (selecting ? 0 : this.#closed(position + 1));
    const width = before(context + count - 1) + window;
    const rows = new Int32Array(count * width).fill(-1);
    for (let i = 0; i < count; i++) {
      const position = context + i;
      const entries = before(position);
      for (let e = 0; e < entries; e++) rows[i * width + e] = e;
      const first = Math.max(0, position - window + 1);
      for (let p = first; p <= position; p++) rows[i * width + entries + p - first] = slot(p);
    }
    let named = arena.tensor(rows, [count, width], 'i32');
    if (selecting) {
      const ends = Array.from({ length: count }, (_, i) => [0, this.#closed(context + i + 1)]);
      const ranges = arena.tensor(ends.flat(), [count, 2], 'i32');
      named = besides(this.#indexer.select(index, indexKeys, ranges), named);
    }
    const options = { scale: this.#scale, valueWidth, sink: arena.adopt(this.#get('sinks')) };
    return gatheredAttention(q, arena.adopt(keys), named, options);
  }

  /** Each group of heads through its own projection, then all of them together: [N, D]. */
  #output(o: Tensor): Tensor {
    const { numHeads, headDim, outputGroups: G, outputLoraRank: O } = this.config;
    const width = (numHeads * headDim) / G;
    const groups = permute(o.reshape([-1, G, width]), [1, 0, 2]);
    const down = matmul(groups, o.arena.adopt(this.#get('o_a_proj.weight')).reshape([G, O, width]), {
      transB: true,
    });
    return linear(permute(down, [1, 0, 2]).reshape([-1, G * O]), this.#get('o_b_proj.weight'));
  }
}

interface Parts {
  readonly segment: Segment;
  readonly x: Tensor;
  readonly q: Tensor;
  readonly kv: Tensor;
  readonly index: IndexerQueries | null;
}

/** KL of an indexer's scores [N, E] to the weights of entries [H, N, E], under a mask; none for queries without any. */
function entryLoss(scores: Tensor, weights: Tensor, mask: Tensor): Tensor {
  const { arena } = scores;
  const target = arena.withoutGrad(() => {
    const summed = sum(weights, 0);
    const whole = affine(sum(summed, 1), 1, 1e-30).reshape([summed.shape[0] as number, 1]);
    return div(summed, repeat(whole, 1, summed.shape[1] as number));
  });
  return indexerLoss(scores, target, clamp(mask, -1e30, 0));
}

/** The one row of every head, [H, M, C]. */
const keysOfHeads = (keys: Tensor, heads: number): Tensor =>
  repeat(keys.reshape([1, ...keys.shape]), 0, heads);

/** Two tables of row numbers side by side; rows are exact in f32 below 2^24. */
function besides(a: Tensor, b: Tensor): Tensor {
  const float = (t: Tensor) => call('cast', [t], { to: 'f32' })[0] as Tensor;
  return call('cast', [concat([float(a), float(b)], 1)], { to: 'i32' })[0] as Tensor;
}

function mapValues(queries: IndexerQueries, f: (t: Tensor) => Tensor): IndexerQueries {
  return { q: f(queries.q), weights: f(queries.weights) };
}
