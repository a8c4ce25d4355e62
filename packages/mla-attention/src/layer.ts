/**
 * What both attention layers share: how they are made, what their forward pass takes, and its checks.
 */
import { type Backend, check, Random } from '@minke/core';
import { Arena, normalInit, type Tensor } from '@minke/tensor';
import { type AttentionBatch, type AttentionForm, packSequences } from './batch.ts';
import type { AttentionCache } from './cache.ts';
import type { SequenceCache } from './sequence-cache.ts';

/** Where a new module's weights live and come from. */
export interface InitOptions {
  /** A persistent arena; or give `backend`, and the module makes its own. */
  readonly arena?: Arena;
  readonly backend?: Backend;
  /** Random stream, or a seed for one. */
  readonly random?: Random;
  readonly seed?: number;
  /** Standard deviation of the initial weights; DeepSeek trains with 0.006. */
  readonly std?: number;
}

export interface AttentionOptions {
  /** Positions and ranges of the tokens. Default: each row of x [B, T, D] (or all of [N, D]) is one sequence. */
  readonly batch?: AttentionBatch;
  /** Past tokens; the new ones are added. `batch` must then come from its `append`, or be left out. */
  readonly cache?: AttentionCache;
  /** Layer of the cache. Default 0. */
  readonly layer?: number;
  /** Pins the form. Default: by each token's role with a latent cache, else expanded. */
  readonly form?: AttentionForm;
}

/** The arena for a new layer's weights. */
export function initArena(options: InitOptions): Arena {
  if (options.arena) return options.arena;
  check(options.backend !== undefined, () => 'init: expected an arena or a backend, got neither');
  return new Arena(options.backend, { persistent: true, label: 'attention weights' });
}

/** Fresh parameters: norms of one, zero biases, all else normal. */
export function initParameters(
  arena: Arena,
  shapes: ReadonlyMap<string, readonly number[]>,
  options: InitOptions,
): Map<string, Tensor> {
  const random = options.random ?? new Random(options.seed ?? 0);
  const parameters = new Map<string, Tensor>();
  for (const [name, shape] of shapes) {
    const constant = name.includes('norm') ? 1 : name.endsWith('.bias') ? 0 : null;
    const parameter =
      constant === null
        ? normalInit(arena, random, shape, options.std ?? 0.006)
        : arena.parameter(new Float32Array(shape[0] as number).fill(constant), shape);
    parameters.set(name, parameter);
  }
  return parameters;
}

/** Throws unless every parameter is there, in its shape. */
export function checkParameters(
  where: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  parameters: ReadonlyMap<string, Tensor>,
): void {
  for (const [name, shape] of shapes) {
    const found = parameters.get(name)?.shape;
    check(
      found?.join() === shape.join(),
      () =>
        `${where}: expected ${name} [${shape.join(', ')}], got ${found ? `[${found.join(', ')}]` : 'none'}`,
    );
  }
}

/**
 * The rows of a layer's input and the batch they are of. Throws `invalid-argument` for another shape, and for a batch
 * that does not belong with the cache.
 * @param x [N, D] or [B, T, D], D = `width`
 * @returns rows [N, D]
 */
export function attentionInput(
  where: string,
  x: Tensor,
  width: number,
  { batch: given, cache }: { readonly batch?: AttentionBatch; readonly cache?: SequenceCache },
): { rows: Tensor; batch: AttentionBatch } {
  check(
    (x.rank === 2 || x.rank === 3) && x.shape.at(-1) === width,
    () => `${where}: expected x [N, ${width}] or [B, T, ${width}], got [${x.shape.join(', ')}]`,
  );
  const rows = x.reshape([-1, width]);
  const batch = given ?? defaultBatch(x, cache);
  checkBatch(batch, cache, rows);
  return { rows, batch };
}

/** One sequence per row of x [B, T, D], or one of all rows of [N, D]; appended to sequences 0 .. B - 1 of a cache. */
function defaultBatch(x: Tensor, cache?: SequenceCache): AttentionBatch {
  const count = x.shape.at(-2) as number;
  const sequences = x.rank === 3 ? (x.shape[0] as number) : 1;
  if (cache === undefined) return packSequences(x.arena, new Array<number>(sequences).fill(count));
  return cache.append(
    x.arena,
    Array.from({ length: sequences }, (_, sequence) => ({ sequence, count, role: 'generated' as const })),
  );
}

/** Throws unless the batch has a row for each token and belongs with the cache, or its absence. */
function checkBatch(batch: AttentionBatch, cache: SequenceCache | undefined, rows: Tensor): void {
  const count = rows.shape[0] as number;
  check(
    batch.positions.size === count && batch.ranges.size === 2 * count,
    () =>
      `attention: expected positions [${count}] and ranges [${count}, 2], got ${batch.positions.size} positions`,
  );
  check((cache === undefined) === (batch.cached === undefined), () =>
    cache === undefined
      ? 'attention: expected the cache this batch was appended to, got none'
      : "attention: expected a batch from the cache's append, got one without cache rows",
  );
  check(
    cache === undefined || batch.shared === undefined,
    () => 'attention: expected whole sequences without a cache where rows are shared, got a cache',
  );
  check(
    cache === undefined || !rows.arena.recordsGradients,
    () => 'attention: expected an arena without gradients beside a cache; train without one',
  );
}
