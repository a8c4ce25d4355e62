/** What every task family has alike, whatever its facts are: levels, questions, answers and thoughts. */
import type { Random } from '@minke/core';
import type { Language } from './language.ts';
import type { Reasoning } from './reasoning.ts';

/**
 * 1 easy, 2 medium, 3 hard; what a level means is said at each family. 4 lies beyond what is trained, for
 * out-of-distribution measurements; the five core families have no level 4.
 */
export type Difficulty = 1 | 2 | 3 | 4;

/**
 * Options of a chain of thought. The five core families give their compact thoughts, without words, as long as
 * `language`, `length`, `wrongTries` and `giveUp` are left out and the question is English.
 */
export interface ThoughtOptions {
  /** Adds a check of the result after it was found. Default false. */
  readonly verify?: boolean;
  /** Language of the step words; `mixed` draws it for every word. Default: that of the question. */
  readonly language?: Language | 'mixed';
  /**
   * `long`: the derivation; `short`: only tries and the result; `none`: an empty thought. Default `long`, but
   * `short` with wrong tries, which make little sense after a derivation.
   */
  readonly length?: 'none' | 'short' | 'long';
  /**
   * How many wrong candidates to try, check and reject before the right one; includes `verify`. Fewer where a
   * problem has not that many. Default 0.
   */
  readonly wrongTries?: number;
  /** Stops after the wrong tries, without an answer. Default false. */
  readonly giveUp?: boolean;
  /** Decides the wrong candidates and the mixing, together with the problem. Integer in [0, 2^53). Default 0. */
  readonly seed?: number;
}

/** One task family: draws facts, words them, answers them and explains the answer step by step. */
export interface TaskFamily<Name extends string, Facts> {
  readonly name: Name;
  /** The hardest level: 3 or 4. */
  readonly levels: 3 | 4;
  /** How the task is explained and its answers are read and judged; in the core families, the form with words. */
  readonly reasoning: Reasoning<Facts>;
  /** Draws the facts of a problem. */
  draw(random: Random, difficulty: Difficulty): Facts;
  /** All facts of a level up to symmetry, where there are few enough to list; null where there are not. */
  all(difficulty: Difficulty): Iterable<Facts> | null;
  /** The problem without its phrasing, the input of the split hash; symmetric problems share it. */
  canonical(facts: Facts): string;
  /** Words the question; the random stream chooses among several phrasings. */
  ask(facts: Facts, random: Random, language?: Language): string;
  /** An exact right answer. */
  answer(facts: Facts, language?: Language): string;
  /** The chain of thought, lines joined by newlines, ending with the result. */
  think(facts: Facts, options: ThoughtOptions & { readonly answerLanguage?: Language }): string;
  /**
   * Every phrasing and every shape of line with `0` in the place of content. For core families `words` adds what
   * only Spanish questions and thoughts with words have.
   */
  templateTexts(words?: boolean): string[];
}

/** What the file of a core family defines; `in-words.ts` adds questions in Spanish and thoughts with words. */
export interface CoreFamily<Name extends string, Facts>
  extends Pick<TaskFamily<Name, Facts>, 'name' | 'draw' | 'all' | 'canonical'> {
  ask(facts: Facts, random: Random): string;
  answer(facts: Facts): string;
  think(facts: Facts, options: Pick<ThoughtOptions, 'verify'>): string;
  templateTexts(): string[];
}
