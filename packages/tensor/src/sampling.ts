/**
 * Tokens drawn from rows of logits on the device, each row with its own settings and its own random stream.
 *
 * Temperature, top-k, top-p and min-p in the order of Hugging Face transformers; ties to the lowest token. A row's
 * token depends on that row alone. Probabilities are f32 relative to the best token, so a draw that falls within
 * about 1e-6 of the boundary between two tokens may give the other one in f64. `logProbs` has the bits of
 * `-crossEntropy(logits, tokens)`. There is no composed form: backends without the op sample on the host.
 */
import { check, type RandomState } from '@minke/core';
import type { Arena } from './arena.ts';
import { call } from './call.ts';
import type { Tensor } from './tensor.ts';

/** Settings and stream of each row, all of length N. */
export interface SamplingRows {
  /** 0 takes the largest logit and no random number. */
  readonly temperature: ArrayLike<number>;
  /** Only the k best; 0 for all. */
  readonly topK: ArrayLike<number>;
  /** Smallest set of tokens with at least this probability, in (0, 1]. */
  readonly topP: ArrayLike<number>;
  /** Only tokens at least this fraction as probable as the best, in [0, 1]. */
  readonly minP: ArrayLike<number>;
  /** Where each row's `Random` stands; a row with temperature advances it by one `uniform()`, two words. */
  readonly random: readonly RandomState[];
}

export interface SampledTokens {
  /** i32 [N] */
  readonly tokens: Tensor;
  /** Log-probability of each token under softmax(logits), [N]. */
  readonly logProbs: Tensor;
  /** The same under the distribution it was drawn from, [N]; 0 at temperature 0. */
  readonly chosenLogProbs: Tensor;
}

/** What `sampleTokens` reads, on the device: for plans, which write other rows into it and run again. */
export class SamplingInputs {
  readonly #tensors: readonly Tensor[];

  /** Throws `invalid-argument` unless every setting has as many rows. */
  constructor(arena: Arena, rows: SamplingRows, count = rows.random.length) {
    const [temperature, topK, topP, minP, streams] = encode(rows, count);
    this.#tensors = [
      arena.tensor(temperature, [count]),
      arena.tensor(topK, [count], 'i32'),
      arena.tensor(topP, [count]),
      arena.tensor(minP, [count]),
      arena.tensor(streams, [count, 5], 'i32'),
    ];
  }

  /** In the op's order: temperature, topK, topP, minP, stream. */
  get tensors(): readonly Tensor[] {
    return this.#tensors;
  }

  /** Overwrites the settings with those of as many other rows. */
  write(rows: SamplingRows): void {
    encode(rows, this.#tensors[0]!.size).forEach((data, i) => {
      this.#tensors[i]!.write(data);
    });
  }
}

function encode({ temperature, topK, topP, minP, random }: SamplingRows, count: number) {
  const settings = [temperature, topK, topP, minP, random];
  check(
    settings.every(({ length }) => length === count),
    () =>
      `sampleTokens: expected settings of ${count} rows, got ${settings.map(({ length }) => length).join(', ')}`,
  );
  const high = (x: number) => Math.floor(x / 0x100000000) | 0;
  const low = (x: number) => (x % 0x100000000) | 0;
  const streams = new Int32Array(5 * count);
  random.forEach(({ seed, stream, position }, n) => {
    streams.set([low(seed), high(seed), stream | 0, low(position), high(position)], 5 * n);
  });
  return [temperature, topK, topP, minP, streams] as const;
}

/**
 * Draws a token from each row of logits [N, V]. No gradient.
 *
 * @example
 * const states = requests.map(({ random }) => random.state());
 * const { tokens } = sampleTokens(logits, { temperature: [0.6], topK: [0], topP: [0.95], minP: [0], random: states });
 */
export function sampleTokens(logits: Tensor, rows: SamplingRows | SamplingInputs): SampledTokens {
  const count = logits.shape[0] ?? 0;
  const inputs = rows instanceof SamplingInputs ? rows : new SamplingInputs(logits.arena, rows, count);
  const [tokens, logProbs, chosenLogProbs] = call('sample', [logits, ...inputs.tensors], {}) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  if (inputs !== rows) for (const input of inputs.tensors) input.dispose();
  return { tokens, logProbs, chosenLogProbs };
}
