/**
 * Anchored importance pooling: what an entry takes from the tokens between its boundary and the one before.
 *
 * e = h + c (a - h + sum of w[i] (h[i] - a)), with h the boundary, a the first token of the tail, w the softmax of its
 * scores and c its share of the entry's tokens (times a gate). The anchor makes the mean of equal vectors exact, where
 * a plain f32 mean misses it by rounding. Entries without a tail are their boundary, by choice and not by arithmetic.
 */
import { add, mul, softmax, sub, type Tensor } from '@minke/tensor';
import type { KnownRows } from './past.ts';
import type { MergePlan } from './plan.ts';
import { chooseRows, column, segmentSum, takeRows } from './rows.ts';

/** Which known rows are in which tail. Rows and slots that are in none have -1. */
interface Tails {
  /** Rows of each entry's tail in order, [E, maxRun - 1]. */
  readonly members: Int32Array;
  /** Entry of each row. */
  readonly entryOf: Int32Array;
  /** Slot in `members` of each row. */
  readonly slotOf: Int32Array;
  /** First row of each row's tail. */
  readonly anchorOf: Int32Array;
  /** First row of each entry's tail. */
  readonly anchors: Int32Array;
}

function findTails(plan: MergePlan, { rows, offset, last }: KnownRows): Tails {
  const width = plan.maxRun - 1;
  const count = rows.shape[0] as number;
  const members = new Int32Array(plan.size.length * width).fill(-1);
  const [entryOf, slotOf, anchorOf] = [0, 1, 2].map(() => new Int32Array(count).fill(-1)) as [
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  const anchors = new Int32Array(plan.size.length).fill(-1);
  last.forEach((lastPast, b) => {
    const start = plan.tokenOffsets[b] as number;
    for (let e = plan.entryOffsets[b] as number; e < (plan.entryOffsets[b + 1] as number); e++) {
      const tail = (plan.size[e] as number) - 1;
      for (let j = 0; j < tail; j++) {
        const within = (plan.entryRow[e] as number) - tail + j - start;
        const row = within >= 0 ? offset + start + within : lastPast + 1 + within;
        if (j === 0) anchors[e] = row;
        members[e * width + j] = row;
        entryOf[row] = e;
        slotOf[row] = e * width + j;
        anchorOf[row] = anchors[e] as number;
      }
    }
  });
  return { members, entryOf, slotOf, anchorOf, anchors };
}

/**
 * Mixes tails into their boundaries.
 * @param boundaries rows of h at the boundaries, [E, D]
 * @param scores importance of each known row, [N, 1]
 * @param gate for each channel, [D]; null for the plain mean by count
 */
export function poolTails(
  known: KnownRows,
  boundaries: Tensor,
  plan: MergePlan,
  scores: Tensor,
  gate: Tensor | null,
): Tensor {
  const { rows } = known;
  const { arena } = rows;
  const E = plan.size.length;
  const width = plan.maxRun - 1;
  const { members, entryOf, slotOf, anchorOf, anchors } = findTails(plan, known);
  const mask = Float32Array.from(members, (row) => (row < 0 ? Number.NEGATIVE_INFINITY : 0));
  const padded = takeRows(scores, members).reshape([E, width]);
  const weights = softmax(add(padded, arena.tensor(mask, [E, width])));
  const weightOf = takeRows(weights.reshape([E * width, 1]), slotOf);
  const differences = sub(rows, takeRows(rows, anchorOf));
  const pooled = segmentSum(mul(differences, weightOf), entryOf, E);
  const shift = add(sub(takeRows(rows, anchors), boundaries), pooled);
  const share = column(
    arena,
    Float64Array.from(plan.size, (size) => (size - 1) / size),
  );
  const mixed = add(boundaries, mul(gate ? mul(shift, gate) : shift, share));
  const alone = Array.from(plan.size, (size) => Number(size === 1));
  return alone.includes(1) ? chooseRows(alone, boundaries, mixed) : mixed;
}
