/**
 * The held-out problems of an evaluation, a share of them asked in Spanish.
 *
 * A problem keeps its facts, its id and its place whichever language it is asked in, so runs that differ in the share
 * can be compared problem by problem.
 */
import { Random } from '@minke/core';
import {
  type Difficulty,
  type FamilyName,
  hash64,
  heldOut,
  type Problem,
  pose,
  type Split,
} from '@minke/reasoning-tasks';

/** Which problems. */
export interface ProblemChoice {
  readonly families: readonly FamilyName[];
  /** Problems a family, or its whole split where that is smaller. */
  readonly count: number;
  readonly split: Split;
  readonly seed: number;
  readonly level: Difficulty;
  /** In [0, 1]. */
  readonly spanish: number;
}

/** @throws MinkeError `invalid-argument` for a family without the level */
export function evaluationProblems(choice: ProblemChoice): Problem[] {
  const { families, split, seed, count, level: difficulty, spanish } = choice;
  return families.flatMap((name) =>
    heldOut(name, split, { seed, count, difficulty }).map((problem) => {
      const random = new Random(seed, Number(hash64(problem.id) & 0xffffffffn));
      if (!(spanish > 0 && random.uniform() < spanish)) return problem;
      return pose(name, problem.metadata as never, difficulty, random, 'es');
    }),
  );
}
