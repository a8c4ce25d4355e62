/**
 * What a task family is made of besides its facts: a ladder of levels, questions in two languages, a derivation,
 * and a way to try a candidate and see whether it holds.
 *
 * `makeFamily` turns such a description into a `Family`. Levels 1 to 3 are for training and its measurement;
 * level 4 lies one step beyond them (one more number, one more digit) for out-of-distribution rows and is drawn by
 * no stream unless asked for by name.
 */
import type { Random } from '@minke/core';
import { type Language, type Say, stepWords } from './language.ts';
import type { FactsOf, Family, FamilyName } from './problem.ts';
import { compose } from './thought.ts';

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

/** A task family with its ladder of levels. */
export interface Task<Name extends FamilyName, Level> extends Reasoning<FactsOf[Name]> {
  readonly name: Name;
  /** What is drawn at levels 1 to 4. */
  readonly levels: readonly [Level, Level, Level, Level];
  make(random: Random, level: Level): FactsOf[Name];
  /** The problem without its phrasing and without the name; symmetric problems share it. */
  form(facts: FactsOf[Name]): string;
  /** Questions with `{slot}` in the place of content. */
  readonly phrases: Readonly<Record<Language, readonly string[]>>;
  slots(facts: FactsOf[Name], language: Language): Readonly<Record<string, string>>;
  /** Words that slots and answers may hold, and every sign of the thoughts. */
  readonly vocabulary: readonly string[];
}

/** Puts content into the `{slot}`s of a phrase. */
export function fill(phrase: string, slots: Readonly<Record<string, string>>): string {
  return phrase.replaceAll(/\{(\w+)\}/g, (_, slot: string) => slots[slot] as string);
}

/** Fixed text of questions and thoughts with `0` in the place of content. */
export function fixedTexts(phrases: readonly string[], vocabulary: readonly string[]): string[] {
  const words = [...stepWords('en'), ...stepWords('es')];
  return [
    ...phrases.map((phrase) => phrase.replaceAll(/\{\w+\}/g, '0')),
    ...words.flatMap((word) => [`${word} 0\n`, `0 ${word}`]),
    ...vocabulary.map((word) => `0 ${word}`),
    ...vocabulary.map((word) => `${word} 0`),
  ];
}

/** The family of a description. */
export function makeFamily<Name extends FamilyName, Level>(task: Task<Name, Level>): Family<Name> {
  return {
    name: task.name,
    levels: 4,
    reasoning: task,
    draw: (random, difficulty) => task.make(random, task.levels[difficulty - 1] as Level),
    all: () => null,
    canonical: (facts) => `${task.name} ${task.form(facts)}`,
    ask: (facts, random, language = 'en') =>
      fill(random.pick(task.phrases[language]), task.slots(facts, language)),
    answer: (facts, language = 'en') => shown(task, task.answer(facts), language),
    think: (facts, options) => compose(task, facts, options),
    templateTexts: () => fixedTexts([...task.phrases.en, ...task.phrases.es], task.vocabulary),
  };
}

/** A normal form in words of a language. */
export function shown<Facts>(reasoning: Reasoning<Facts>, normal: string, language: Language): string {
  return reasoning.show === undefined ? normal : reasoning.show(normal, language);
}

/** Whether an answer in normal form is right. */
export function isRight<Facts>(reasoning: Reasoning<Facts>, facts: Facts, normal: string): boolean {
  return normal === reasoning.answer(facts) || (reasoning.accepts?.(facts, normal) ?? false);
}
