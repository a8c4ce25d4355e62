/**
 * Log-probabilities of windows of text under a model of this process: the whole window at once, as in training.
 *
 * Attention has the expanded form, which training has too. A model that merges tokens decides about each window as
 * about a new sequence. Logits are made for the rows that are scored alone.
 */
import type { Backend } from '@minke/core';
import { Arena, crossEntropy, gatherRows, linear, type Tensor } from '@minke/tensor';
import type { HiddenResult, ModelBatch } from '@minke/transformer';
import type { WindowScorer } from './bits-per-byte.ts';

/** What is asked of a model: `DeepSeekModel` and `MergingTransformer` have it. */
export interface ScoredModel {
  readonly backend: Backend;
  /** [V, D]: logits are `linear(hidden, headWeight)`. */
  readonly headWeight: Tensor;
  batch(arena: Arena, sequences: readonly (readonly number[])[]): ModelBatch;
  hidden(batch: ModelBatch, options: { form: 'expanded' }): HiddenResult | Promise<HiddenResult>;
}

/**
 * A scorer for `bitsPerByte`.
 *
 * @example
 * const model = await loadModel('my-model', { backend });
 * const report = await bitsPerByte({ documents, score: modelScorer(model), context: 1024, stride: 512 });
 */
export function modelScorer(model: ScoredModel): WindowScorer {
  return async (windows) => {
    using arena = new Arena(model.backend, { label: 'scoring' });
    const rows: number[] = [];
    const targets: number[] = [];
    let start = 0;
    for (const { ids, from } of windows) {
      for (let t = from; t < ids.length; t++) {
        rows.push(start + t - 1);
        targets.push(ids[t] as number);
      }
      start += ids.length;
    }
    const batch = model.batch(
      arena,
      windows.map(({ ids }) => ids),
    );
    const { hidden } = await model.hidden(batch, { form: 'expanded' });
    const upload = (numbers: number[]) => arena.tensor(numbers, [numbers.length], 'i32');
    const logits = linear(gatherRows(hidden, upload(rows)), model.headWeight);
    const losses = await crossEntropy(logits, upload(targets)).read();
    let next = 0;
    return windows.map(({ ids, from }) =>
      Float64Array.from({ length: ids.length - from }, () => -Math.max(0, losses[next++] as number)),
    );
  };
}
