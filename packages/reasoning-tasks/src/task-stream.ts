/**
 * An endless seeded mixture of problems for a trainer, with random access and resume by position.
 *
 * The problem at a position depends on seed, split, weights and position only: each position has its own
 * counter-based random stream, so a run resumed from `state()` sees exactly the problems it would have seen.
 */
import { check, MinkeError, Random } from '@minke/core';
import { allFamilyNames, family, pose } from './families.ts';
import type { CoreFamilyName, FamilyName, Problem } from './problem.ts';
import { type Split, split } from './split.ts';
import type { Difficulty } from './task-family.ts';

/** Relative frequencies of levels 1, 2, 3 and perhaps 4. */
export type LevelWeights = readonly [number, number, number] | readonly [number, number, number, number];

/** What a stream is made of; everything but the seed has a default. Plain JSON. */
export interface MixtureOptions {
  /** Integer in [0, 2^53). */
  readonly seed: number;
  /** Default `train`. */
  readonly split?: Split;
  /** Relative frequency of each family; one left out has frequency 0. Default `defaultWeights`. */
  readonly weights?: Readonly<Partial<Record<FamilyName, number>>>;
  /**
   * Relative frequency of levels 1, 2, 3 and, where given, 4 within a family. Level 4 is for measuring out of
   * distribution, and the core families have none. Default `defaultLevels`.
   */
  readonly levels?: LevelWeights;
  /** Share of questions in Spanish, in [0, 1]. Default: none. */
  readonly spanish?: number;
}

/** The options of a stream with their defaults; `spanish` only where it was given. */
export type MixtureSettings = Required<Omit<MixtureOptions, 'spanish'>> & Pick<MixtureOptions, 'spanish'>;

/** Where a stream stands. Plain JSON; unchanged by a round trip through `JSON`. */
export interface TaskStreamState extends MixtureSettings {
  /** Problems taken so far. */
  readonly position: number;
}

/**
 * The default family mixture. `chain_sum` holds two operations and was the slowest to learn, letter counting and
 * comparison the fastest.
 */
export const defaultWeights: Readonly<Record<CoreFamilyName, number>> = {
  chain_sum: 0.34,
  products: 0.22,
  number_sorting: 0.23,
  letter_counting: 0.16,
  number_comparison: 0.05,
};

/** The default level mixture: mostly the level that is measured, the rest for breadth. */
export const defaultLevels: readonly [number, number, number] = [0.1, 0.2, 0.7];

/**
 * One of the items, with the given relative frequencies.
 *
 * @param weights one an item, at least 0, one of them above
 */
export function pickWeighted<T>(random: Random, items: readonly T[], weights: readonly number[]): T {
  let left = random.uniform() * weights.reduce((sum, weight) => sum + weight, 0);
  for (let i = 0; i < items.length; i++) {
    left -= weights[i] as number;
    if (left < 0) return items[i] as T;
  }
  return items[weights.findLastIndex((weight) => weight > 0)] as T; // rounding left the sum a hair short
}

const levels: readonly Difficulty[] = [1, 2, 3, 4];

/** Draws in vain before a split counts as empty; the smallest level has several problems in each split. */
const patience = 50_000;

/** A problem of one family, split and level; in Spanish with the given probability. */
export function drawFrom(
  random: Random,
  name: FamilyName,
  part: Split,
  difficulty: Difficulty,
  spanish = 0,
): Problem {
  const language = spanish > 0 && random.uniform() < spanish ? 'es' : 'en';
  const { draw, canonical } = family(name);
  for (let vain = 0; vain < patience; vain++) {
    const facts = draw(random, difficulty);
    if (split({ canonical: canonical(facts) }) === part)
      return pose(name, facts, difficulty, random, language);
  }
  throw new MinkeError(
    'internal',
    `drawFrom: expected problems in ${name} ${part} ${difficulty}, got none; report it`,
  );
}

/**
 * An endless stream of problems of one split.
 *
 * @example
 * const stream = new TaskStream({ seed: 7 });
 * const first = stream.next();
 * const resumed = TaskStream.fromState(JSON.parse(JSON.stringify(stream.state())));
 */
export class TaskStream implements Iterable<Problem> {
  readonly options: MixtureSettings;
  #position = 0;

  constructor(options: MixtureOptions) {
    const {
      seed,
      split: part = 'train',
      weights = defaultWeights,
      levels: levelWeights = defaultLevels,
      spanish,
    } = options;
    for (const name of Object.keys(weights)) family(name as FamilyName);
    for (const [what, values] of [
      ['family', Object.values(weights)],
      ['level', levelWeights],
    ] as const)
      check(
        values.every((weight) => weight >= 0 && Number.isFinite(weight)) &&
          values.some((weight) => weight > 0),
        () =>
          `TaskStream: expected ${what} weights >= 0, one of them > 0, got ${values.join(', ')}; fix them`,
      );
    const easy = Object.entries(weights).filter(
      ([name, weight]) => weight > 0 && family(name as FamilyName).levels < levelWeights.length,
    );
    check(
      !((levelWeights[3] ?? 0) > 0 && easy.length > 0),
      () =>
        `TaskStream: expected families with level 4, got ${easy.map(([name]) => name).join(', ')}; give level 4 weight 0 or leave them out`,
    );
    check(
      spanish === undefined || (spanish >= 0 && spanish <= 1),
      () => `TaskStream: expected spanish to be a share in [0, 1], got ${spanish}; fix it`,
    );
    this.options = {
      seed,
      split: part,
      weights,
      levels: levelWeights,
      ...(spanish === undefined ? {} : { spanish }),
    };
  }

  /** A stream that continues where `state` was taken. */
  static fromState(state: TaskStreamState): TaskStream {
    const { position, ...options } = state;
    check(
      Number.isSafeInteger(position) && position >= 0,
      () => `TaskStream: expected a position >= 0, got ${position}; pass what state() returned`,
    );
    const stream = new TaskStream(options);
    stream.#position = position;
    return stream;
  }

  /** The position to resume from, with the mixture. */
  state(): TaskStreamState {
    return { ...this.options, position: this.#position };
  }

  /** The next problem. */
  next(): Problem {
    return this.at(this.#position++);
  }

  /** The problem at a position in [0, 2^32), independent of what was taken. */
  at(position: number): Problem {
    const random = new Random(this.options.seed, position);
    const names = allFamilyNames;
    const name = pickWeighted(
      random,
      names,
      names.map((key) => this.options.weights[key] ?? 0),
    );
    const weights = this.options.levels;
    const difficulty = pickWeighted(random, levels.slice(0, weights.length), weights);
    return drawFrom(random, name, this.options.split, difficulty, this.options.spanish);
  }

  /** Endless; each step takes the next problem. */
  *[Symbol.iterator](): Generator<Problem> {
    for (;;) yield this.next();
  }
}

/** `new TaskStream(...)` in one line: an endless mixture of a split. */
export function mixture(
  seed: number,
  part: Split,
  weights: NonNullable<MixtureOptions['weights']> = defaultWeights,
): TaskStream {
  return new TaskStream({ seed, split: part, weights });
}
