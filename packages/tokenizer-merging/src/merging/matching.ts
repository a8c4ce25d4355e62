/**
 * Which tokens of an encoder merge with which: bipartite soft matching, and energies that protect what is unlike.
 *
 * ToMe (arXiv 2210.09461, section 3): tokens at even places propose to the most similar one at an odd place, and the
 * best proposals are taken. PiToMe (arXiv 2405.16148): a token's energy is the mean over all tokens of f(cos - m)
 * with f(x) = x from 0 on and e^x - 1 below; of the 2r of highest energy, in their order, every second one proposes.
 */
import {
  add,
  exp,
  matmul,
  maximum,
  mean,
  minimum,
  mul,
  rsqrt,
  square,
  sub,
  sum,
  type Tensor,
  topK,
} from '@minke/tensor';
import { takeRows } from './rows.ts';

/** How much merges: exactly one of the three. */
export interface MergeAmount {
  /** Tokens that disappear from each sequence; at most those that may propose. */
  readonly count?: number;
  /** The same as a share of the sequence's tokens, rounded down. */
  readonly ratio?: number;
  /** Every proposal above this cosine. */
  readonly threshold?: number;
}

/** A proposal that was accepted. */
export interface Match {
  readonly from: number;
  readonly into: number;
  readonly similarity: number;
}

/** Rows of x divided by their norm. */
export function unitRows(x: Tensor): Tensor {
  const inverse = rsqrt(maximum(sum(square(x), 1), 1e-24));
  return mul(x, inverse.reshape([-1, 1]));
}

/** Energy of each row of unit vectors [T, C]: high where many others are alike, [T]. */
export function energies(unit: Tensor, margin: number): Tensor {
  const over = sub(matmul(unit, unit, { transB: true }), margin);
  const below = sub(exp(minimum(over, 0)), 1);
  return mean(add(maximum(over, 0), below), 1);
}

/**
 * Matches rows of unit vectors [T, C].
 * @param free rows that may merge
 * @param energy of every row, to choose and order the rows by; null for places
 */
export async function matchRows(
  unit: Tensor,
  free: readonly number[],
  amount: MergeAmount,
  energy: ArrayLike<number> | null,
): Promise<Match[]> {
  const total = unit.shape[0] as number;
  const { threshold } = amount;
  const wanted = amount.count ?? Math.floor((amount.ratio ?? 1) * total);
  let proposers: readonly number[];
  let partners: readonly number[];
  if (energy) {
    const ordered = [...free].sort((a, b) => (energy[b] as number) - (energy[a] as number) || a - b);
    const chosen = ordered.slice(0, 2 * Math.min(wanted, Math.floor(free.length / 2)));
    [proposers, partners] = [0, 1].map((side) => chosen.filter((_, i) => i % 2 === side)) as [
      number[],
      number[],
    ];
  } else {
    [proposers, partners] = [0, 1].map((side) => free.filter((row) => row % 2 === side)) as [
      number[],
      number[],
    ];
  }
  if (proposers.length === 0 || partners.length === 0 || wanted === 0) return [];
  const similarity = matmul(takeRows(unit, proposers), takeRows(unit, partners), { transB: true });
  const { values, indices } = topK(similarity, 1);
  const [best, choice] = await Promise.all([values.read(), indices.read()]);
  return proposers
    .map((from, i) => ({
      from,
      into: partners[choice[i] as number] as number,
      similarity: best[i] as number,
    }))
    .filter((match) => threshold === undefined || match.similarity > threshold)
    .sort((a, b) => b.similarity - a.similarity || a.from - b.from)
    .slice(0, wanted);
}
