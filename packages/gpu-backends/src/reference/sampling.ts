/**
 * One token of each row: temperature, top-k, top-p and min-p in the order of Hugging Face transformers, then
 * one draw from the row's Philox stream.
 */
import { Random } from '@minke/core';
import type { Kernels } from './kernel.ts';
import { logSumExp } from './reductions.ts';

interface Settings {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
}

/** The first largest number's index; NaN never, unless there is nothing else (then 0). */
function argmax(row: ArrayLike<number>): number {
  let best = 0;
  let value = -Infinity;
  for (let i = 0; i < row.length; i++) {
    if (row[i]! > value) {
      value = row[i]!;
      best = i;
    }
  }
  return best;
}

/** The tokens that may be drawn, ranked where some are left out, with probabilities relative to the best. */
function candidates(row: ArrayLike<number>, { temperature, topK, topP, minP }: Settings) {
  const best = row[argmax(row)]!;
  const weights = Array.from(row, (x) => {
    const weight = Math.exp((x - best) / temperature);
    return Number.isFinite(weight) ? weight : 0;
  });
  const sum = (ids: readonly number[]) => ids.reduce((total, id) => total + weights[id]!, 0);
  let ids = weights.flatMap((weight, id) => (weight > 0 ? [id] : []));
  if (topK > 0 || topP < 1 || minP > 0) {
    ids.sort((a, b) => row[b]! - row[a]! || a - b);
    if (topK > 0) ids = ids.slice(0, topK);
    if (topP < 1) {
      const target = topP * sum(ids);
      let reached = 0;
      const last = ids.findIndex((id) => (reached += weights[id]!) >= target);
      if (last >= 0) ids = ids.slice(0, last + 1);
    }
    if (minP > 0) ids = ids.filter((id) => weights[id]! >= minP);
  }
  return { ids, weights, total: sum(ids) };
}

/** The uniform number at the row's position: seed and position are 64 bits in two words each. */
function uniform(stream: ArrayLike<number>): number {
  const word = (i: number) => stream[i]! >>> 0;
  const wide = (low: number) => word(low + 1) * 0x100000000 + word(low);
  return Random.from({ seed: wide(0), stream: word(2), position: wide(3) }).uniform();
}

export const sampling: Pick<Kernels, 'sample'> = {
  sample([logits, temperature, topK, topP, minP, stream, tokens, logProb, chosenLogProb]) {
    const width = logits.shape[1]!;
    for (let n = 0; n < tokens.data.length; n++) {
      const row = logits.data.subarray(n * width, (n + 1) * width) as Float64Array;
      let token = argmax(row);
      let chosen = 0;
      if (temperature.data[n] !== 0) {
        const { ids, weights, total } = candidates(row, {
          temperature: temperature.data[n]!,
          topK: topK.data[n]!,
          topP: topP.data[n]!,
          minP: minP.data[n]!,
        });
        if (ids.length > 0) {
          let threshold = uniform(stream.data.subarray(5 * n, 5 * n + 5)) * total;
          token = ids.find((id) => (threshold -= weights[id]!) < 0) ?? ids.at(-1)!;
          chosen = Math.log(weights[token]! / total);
        }
      }
      tokens.data[n] = token;
      logProb.data[n] = row[token]! - logSumExp(row);
      chosenLogProb.data[n] = chosen;
    }
  },
};
