// A policy whose routing can be seen and given: what a pass chose, sequence by sequence, and what it has to choose.

import { DeepSeekModel } from '../../../packages/transformer/dist/index.js';

/** A model that writes down the experts of each pass while it is watched, and takes those it is given. */
export class ObservedModel extends DeepSeekModel {
  /** Sequences of the pass, to be told apart; undefined: nobody looks. */
  watched;
  /** Choices by the tokens of a sequence, one array [T x K] a layer, to use instead of the router's own. */
  replayed;
  /** Choices of the watched passes, likewise. */
  seen = new Map();

  hidden(batch, options = {}) {
    if (this.watched === undefined) return super.hidden(batch, options);
    const { topK } = this.config.moe;
    const rows = batch.ids.shape[0];
    const rowOf = batch.shared?.rowOf ?? Array.from({ length: rows }, (_, row) => row);
    const layers = this.replayed?.get(this.watched[0].tokens)?.length ?? 0;
    const choices = Array.from({ length: layers }, (_, layer) => {
      const all = new Int32Array(rows * topK);
      this.#walk(rowOf, (tokens, t, row) => {
        const own = this.replayed.get(tokens)[layer].subarray(t * topK, (t + 1) * topK);
        all.set(own, row * topK);
      });
      return batch.ids.arena.tensor(all, [rows, topK], 'i32');
    });
    const result = super.hidden(batch, layers > 0 ? { ...options, choices } : options);
    for (const [layer, { indices }] of result.routings.entries()) {
      const chosen = indices.readSync();
      this.#walk(rowOf, (tokens, t, row) => {
        const of = this.seen.get(tokens) ?? [];
        if (t === 0) of[layer] = new Int32Array(tokens.length * topK);
        of[layer].set(chosen.subarray(row * topK, (row + 1) * topK), t * topK);
        this.seen.set(tokens, of);
      });
    }
    return result;
  }

  #walk(rowOf, visit) {
    let at = 0;
    for (const { tokens } of this.watched)
      for (let t = 0; t < tokens.length; t++) visit(tokens, t, rowOf[at++]);
  }
}

/** A learner whose passes are watched; `around` gets each pass of an update, with the choices at the rollout. */
export class WatchedLearner {
  #inner;
  #model;
  #replays;
  #onUpdate;
  /** Choices at the rollout, of the sequences whose update comes after another. */
  #atRollout = new Map();

  /**
   * @param inner a `LocalLearner` of `model`; @param replays whether updates use the rollout's choices
   * @param onUpdate told the sequences, the update's log-probabilities and choices, the choices at the rollout, and
   *   the log-probabilities of the other way of routing at the same weights
   */
  constructor(inner, model, { replays, onUpdate }) {
    this.#inner = inner;
    this.#model = model;
    this.#replays = replays;
    this.#onUpdate = onUpdate;
  }

  async forward(sequences, options) {
    const { result, seen } = await this.#watch(sequences, undefined, () =>
      this.#inner.forward(sequences, options),
    );
    for (const [tokens, choices] of seen) this.#atRollout.set(tokens, choices);
    return result;
  }

  async forwardBackward(sequences, loss, totals) {
    if (!sequences.every(({ tokens }) => this.#atRollout.has(tokens)))
      return this.#inner.forwardBackward(sequences, loss, totals);
    const kept = this.#atRollout;
    const own = this.#replays ? kept : undefined;
    const other = this.#replays ? undefined : kept;
    const { temperature } = loss;
    const alternative = await this.#watch(sequences, other, () =>
      this.#inner.forward(sequences, { temperature }),
    );
    const { result, seen } = await this.#watch(sequences, own, () =>
      this.#inner.forwardBackward(sequences, loss, totals),
    );
    // The router's own choice, whichever of the two passes had it.
    const free = this.#replays ? alternative.seen : seen;
    this.#onUpdate({ sequences, kept, free, logProbs: result.logProbs, alternative: alternative.result });
    for (const { tokens } of sequences) kept.delete(tokens);
    return result;
  }

  optimStep(options) {
    return this.#inner.optimStep(options);
  }
  saveState(folder) {
    return this.#inner.saveState(folder);
  }
  loadState(folder) {
    return this.#inner.loadState(folder);
  }
  exportForSampler() {
    return this.#inner.exportForSampler();
  }

  async #watch(sequences, replayed, pass) {
    const model = this.#model;
    model.watched = sequences;
    model.replayed = replayed;
    model.seen = new Map();
    try {
      return { result: await pass(), seen: model.seen };
    } finally {
      model.watched = undefined;
      model.replayed = undefined;
    }
  }
}
