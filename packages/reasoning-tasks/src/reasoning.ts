/** How the tasks of a family are explained, and their answers read and judged. */
import type { Random } from '@minke/core';
import type { Language, Say } from './language.ts';

/** How a task is explained and tried; the part that does not draw problems. */
export interface Reasoning<Facts> {
  /** The exact answer in normal form. */
  answer(facts: Facts): string;
  /** The normal form of a stated answer, or null where the text is none. Bounded time on any text. */
  read(text: string, facts: Facts): string | null;
  /** Whether an answer in normal form is right, where more than the gold answer is. */
  accepts?(facts: Facts, normal: string): boolean;
  /** A normal form in words of a language. Default: as it is. */
  show?(normal: string, language: Language): string;
  /** The derivation: true lines that lead to the answer. */
  steps(facts: Facts, say: Say): string[];
  /** True lines from which follows whether the candidate (in normal form) is right. */
  check(facts: Facts, candidate: string, say: Say): string[];
  /** A candidate that could be mistaken for the answer, in normal form; may by chance be right. */
  guess(facts: Facts, random: Random): string;
}

/** A normal form in words of a language. */
export function shown<Facts>(reasoning: Reasoning<Facts>, normal: string, language: Language): string {
  return reasoning.show === undefined ? normal : reasoning.show(normal, language);
}

/** Whether an answer in normal form is right. */
export function isRight<Facts>(reasoning: Reasoning<Facts>, facts: Facts, normal: string): boolean {
  return normal === reasoning.answer(facts) || (reasoning.accepts?.(facts, normal) ?? false);
}
