/**
 * A source of problems that gets harder: by a schedule over positions, or by the success rate that is reported back.
 *
 * By success, every family stands at a level of its own; once `window` results of that level are in, a rate of at
 * least `raise` moves it up, one of at most `lower` moves it down, and the count starts anew (the staged curricula of
 * reasoning-gym, https://arxiv.org/abs/2505.24760). A share `review` of the problems comes from easier levels, so
 * that these are not forgotten. The problem at a position depends on options, position and levels only; `state()` is
 * plain data and restores exactly.
 */
import { check, Random } from '@minke/core';
import { allFamilyNames, family } from './families.ts';
import type { FamilyName, Problem } from './problem.ts';
import type { Split } from './split.ts';
import type { Difficulty } from './task-family.ts';
import { defaultWeights, drawFrom, pickWeighted } from './task-stream.ts';

/** From a position on, the relative frequency of levels 1 to 4. */
export interface CurriculumStage {
  readonly from: number;
  readonly levels: readonly number[];
}

/** How the levels move. */
export type Pacing =
  | { readonly by: 'schedule'; readonly stages: readonly CurriculumStage[] }
  | {
      readonly by: 'success';
      /** Results that decide a move. Default 64. */
      readonly window?: number;
      /** Success rate from which a family moves up. Default 0.8. */
      readonly raise?: number;
      /** Success rate down to which a family moves down. Default 0.2. */
      readonly lower?: number;
      /** Share of problems of easier levels. Default 0.2. */
      readonly review?: number;
      /** The hardest level. Default 3. */
      readonly hardest?: Difficulty;
    };

/** What a curriculum is made of. Plain JSON. */
export interface CurriculumOptions {
  /** Integer in [0, 2^53). */
  readonly seed: number;
  readonly pacing: Pacing;
  /** Default `train`. */
  readonly split?: Split;
  /** Relative frequency of each family. Default `defaultWeights`. */
  readonly weights?: Readonly<Partial<Record<FamilyName, number>>>;
  /** Share of questions in Spanish. Default 0. */
  readonly spanish?: number;
}

/** Where one family stands. */
export interface FamilyProgress {
  readonly level: Difficulty;
  /** Results at this level so far, and how many of them were right. */
  readonly results: number;
  readonly right: number;
}

/** Where a curriculum stands. Plain JSON; unchanged by a round trip through `JSON`. */
export interface CurriculumState {
  readonly options: CurriculumOptions;
  readonly position: number;
  readonly progress: Readonly<Partial<Record<FamilyName, FamilyProgress>>>;
}

const start: FamilyProgress = { level: 1, results: 0, right: 0 };

function checkOptions({ pacing, weights = defaultWeights }: CurriculumOptions): void {
  for (const name of Object.keys(weights)) family(name as FamilyName);
  const positive = (values: readonly number[]) =>
    values.every((value) => Number.isFinite(value) && value >= 0) && values.some((value) => value > 0);
  check(
    positive(Object.values(weights)),
    () => 'Curriculum: expected family weights >= 0, one of them > 0; fix them',
  );
  if (pacing.by === 'schedule') {
    check(
      pacing.stages[0]?.from === 0 &&
        pacing.stages.every(({ from }, i, all) => i === 0 || from > (all[i - 1] as CurriculumStage).from),
      () => 'Curriculum: expected stages with `from` ascending from 0; order them',
    );
    for (const { from, levels } of pacing.stages)
      check(
        levels.length >= 1 && levels.length <= 4 && positive(levels),
        () =>
          `Curriculum: expected 1 to 4 level weights >= 0, one of them > 0, at ${from}, got ${levels.join(', ')}`,
      );
    return;
  }
  const { window = 64, raise = 0.8, lower = 0.2, review = 0.2 } = pacing;
  check(
    Number.isSafeInteger(window) && window >= 1 && lower < raise && review >= 0 && review <= 1,
    () =>
      `Curriculum: expected window >= 1, lower < raise and review in [0, 1], got ${window}, ${lower}, ${raise}, ${review}`,
  );
}

/**
 * An endless stream of problems whose levels move.
 *
 * @example
 * const curriculum = new Curriculum({ seed: 1, weights: { countdown: 1, gcd: 1 }, pacing: { by: 'success' } });
 * const problem = curriculum.next();
 * curriculum.report(problem, verify(problem, completion).score);
 */
export class Curriculum {
  readonly options: CurriculumOptions;
  #position = 0;
  #progress: Partial<Record<FamilyName, FamilyProgress>> = {};

  constructor(options: CurriculumOptions) {
    checkOptions(options);
    this.options = options;
  }

  /** A curriculum that continues where `state` was taken. */
  static fromState({ options, position, progress }: CurriculumState): Curriculum {
    check(
      Number.isSafeInteger(position) && position >= 0,
      () => `Curriculum: expected a position >= 0, got ${position}; pass what state() returned`,
    );
    const curriculum = new Curriculum(options);
    curriculum.#position = position;
    curriculum.#progress = { ...progress };
    return curriculum;
  }

  /** Everything needed to continue. */
  state(): CurriculumState {
    return { options: this.options, position: this.#position, progress: { ...this.#progress } };
  }

  /** The level a family stands at; 1 before anything was reported, and always 1 under a schedule. */
  level(name: FamilyName): Difficulty {
    return (this.#progress[name] ?? start).level;
  }

  /** The next problem. */
  next(): Problem {
    const { seed, split = 'train', weights = defaultWeights, spanish } = this.options;
    const random = new Random(seed, this.#position);
    const name = pickWeighted(
      random,
      allFamilyNames,
      allFamilyNames.map((key) => (weights as Partial<Record<FamilyName, number>>)[key] ?? 0),
    );
    const level = this.#draw(random, name);
    this.#position++;
    return drawFrom(random, name, split, level, spanish);
  }

  /**
   * Tells how a problem went: 1 right, 0 wrong, anything between counts as its part; null (could not be judged) counts
   * as nothing. Only results at the family's present level move it. Under a schedule nothing moves.
   */
  report(problem: Pick<Problem, 'family' | 'difficulty'>, score: number | null): void {
    const { pacing } = this.options;
    if (score === null || pacing.by === 'schedule') return;
    check(score >= 0 && score <= 1, () => `Curriculum: expected a score in [0, 1], got ${score}`);
    const { window = 64, raise = 0.8, lower = 0.2, hardest = 3 } = pacing;
    const before = this.#progress[problem.family] ?? start;
    if (before.level !== problem.difficulty) return;
    const results = before.results + 1;
    const right = before.right + score;
    const most = Math.min(hardest, family(problem.family).levels);
    let { level } = before;
    if (results >= window && right / results >= raise && level < most) level = (level + 1) as Difficulty;
    else if (results >= window && right / results <= lower && level > 1) level = (level - 1) as Difficulty;
    this.#progress[problem.family] =
      results >= window ? { level, results: 0, right: 0 } : { level, results, right };
  }

  #draw(random: Random, name: FamilyName): Difficulty {
    const { pacing } = this.options;
    if (pacing.by === 'success') {
      const level = this.level(name);
      const easier = random.uniform() < (pacing.review ?? 0.2) && level > 1;
      return easier ? (random.integer(1, level) as Difficulty) : level;
    }
    const { levels } = pacing.stages.findLast(({ from }) => from <= this.#position) as CurriculumStage;
    const level = pickWeighted(random, [1, 2, 3, 4].slice(0, levels.length), levels);
    return Math.min(level, family(name).levels) as Difficulty;
  }
}
