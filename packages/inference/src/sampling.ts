/**
 * From logits to a token: temperature, then top-k, top-p and min-p on the tempered distribution, then one
 * seeded draw. Each request has its own random stream, so its tokens do not depend on its batch neighbours.
 *
 * Order as in Hugging Face transformers (temperature, top-k, top-p, min-p). Ties in the ranking go to the
 * lowest token id.
 */
import { MinkeError, Random, type RandomState } from '@minke/core';

export interface SamplingParams {
  /** 0 is greedy; at most 2 is useful, any finite non-negative number is allowed. */
  readonly temperature: number;
  /** Smallest set of tokens with at least this probability, in (0, 1]. */
  readonly topP: number;
  /** Only the k best; 0 for all. */
  readonly topK: number;
  /** Only tokens at least this fraction as probable as the best, in [0, 1]. */
  readonly minP: number;
}

export const defaultSampling: SamplingParams = { temperature: 0.6, topP: 0.95, topK: 0, minP: 0 };

/** Throws `invalid-argument` naming every value out of range. */
export function validateSampling(params: SamplingParams): SamplingParams {
  const problems: string[] = [];
  const { temperature, topP, topK, minP } = params;
  if (!(Number.isFinite(temperature) && temperature >= 0))
    problems.push(`temperature >= 0, got ${temperature}`);
  if (!(topP > 0 && topP <= 1)) problems.push(`topP in (0, 1], got ${topP}`);
  if (!(Number.isSafeInteger(topK) && topK >= 0)) problems.push(`topK a non-negative integer, got ${topK}`);
  if (!(minP >= 0 && minP <= 1)) problems.push(`minP in [0, 1], got ${minP}`);
  if (problems.length > 0)
    throw new MinkeError('invalid-argument', `sampling: expected ${problems.join('; ')}`);
  return params;
}

/** The largest logit's id; ties to the lowest, NaN never chosen unless all are NaN (then 0). */
export function argmax(logits: ArrayLike<number>): number {
  let best = 0;
  let value = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] as number;
    if (logit > value) {
      value = logit;
      best = id;
    }
  }
  return best;
}

/**
 * Draws one token.
 * @param logits [V]; @param random advanced by one draw, or not at all when greedy
 */
export function sampleToken(logits: ArrayLike<number>, params: SamplingParams, random: Random): number {
  if (params.temperature === 0) return argmax(logits);
  const kept = candidates(logits, params);
  let threshold = random.uniform() * kept.total;
  for (let i = 0; i < kept.ids.length; i++) {
    threshold -= kept.weights[i] as number;
    if (threshold < 0) return kept.ids[i] as number;
  }
  return kept.ids[kept.ids.length - 1] as number;
}

/** A token with its natural log-probabilities. */
export interface DrawnToken {
  readonly token: number;
  /** Under softmax(logits), or softmax(logits / temperature) of an engine that was told so: cuts not applied. */
  readonly logProb: number;
  /** Under the distribution it was drawn from: temperature and cuts applied; 0 when greedy. */
  readonly drawnLogProb: number;
}

/** `sampleToken` with log-probabilities, at a point of a random stream: what the `sample` op does on a device. */
export function drawToken(logits: ArrayLike<number>, params: SamplingParams, state: RandomState): DrawnToken {
  const token = sampleToken(logits, params, Random.from(state));
  const best = logits[argmax(logits)] as number;
  let sum = 0;
  for (let id = 0; id < logits.length; id++) sum += Math.exp((logits[id] as number) - best);
  const logProb = (logits[token] as number) - best - Math.log(sum);
  if (params.temperature === 0) return { token, logProb, drawnLogProb: 0 };
  const { ids, weights, total } = candidates(logits, params);
  return { token, logProb, drawnLogProb: Math.log((weights[ids.indexOf(token)] as number) / total) };
}

/** Words of its stream that a draw takes. */
export function wordsOfDraw({ temperature }: SamplingParams): number {
  return temperature === 0 ? 0 : 2;
}

/** The tokens that may be drawn, best first, with unnormalised probabilities. */
export function candidates(
  logits: ArrayLike<number>,
  { temperature, topP, topK, minP }: SamplingParams,
): { ids: number[]; weights: number[]; total: number } {
  const best = logits[argmax(logits)] as number;
  const weightOf = (id: number): number => {
    const weight = Math.exp(((logits[id] as number) - best) / temperature);
    return Number.isFinite(weight) ? weight : 0;
  };
  let ids: number[] = [];
  const weights = new Float64Array(logits.length);
  let total = 0;
  for (let id = 0; id < logits.length; id++) {
    const weight = weightOf(id);
    weights[id] = weight;
    if (weight > 0) {
      ids.push(id);
      total += weight;
    }
  }
  if (ids.length === 0) return { ids: [argmax(logits)], weights: [1], total: 1 };
  if (topK > 0 || topP < 1 || minP > 0) {
    ids.sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b);
    if (topK > 0 && topK < ids.length) ids = ids.slice(0, topK);
    if (topP < 1) ids = ids.slice(0, nucleusSize(ids, weights, topP));
    if (minP > 0) {
      const floor = minP * (weights[ids[0] as number] as number);
      ids = ids.filter((id) => (weights[id] as number) >= floor);
    }
    total = ids.reduce((sum, id) => sum + (weights[id] as number), 0);
  }
  return { ids, weights: ids.map((id) => weights[id] as number), total };
}

/** How many of the ranked ids reach probability `topP` among themselves; at least one. */
function nucleusSize(ids: readonly number[], weights: Float64Array, topP: number): number {
  const total = ids.reduce((sum, id) => sum + (weights[id] as number), 0);
  let sum = 0;
  for (let i = 0; i < ids.length; i++) {
    sum += weights[ids[i] as number] as number;
    if (sum >= topP * total) return i + 1;
  }
  return ids.length;
}
