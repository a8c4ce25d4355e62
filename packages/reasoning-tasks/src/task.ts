/**
 * What a task family is made of besides its facts: a ladder of levels, questions in two languages, a derivation,
 * and a way to try a candidate and see whether it holds.
 *
 * `makeFamily` turns such a description into a `TaskFamily`. Levels 1 to 3 are for training and its measurement;
 * level 4 lies one step beyond them (one more number, one more digit) for out-of-distribution rows and is drawn by
 * no stream unless asked for by name.
 */
import type { Random } from '@minke/core';
import { type Language, stepWords } from './language.ts';
import { type Reasoning, shown } from './reasoning.ts';
import type { TaskFamily } from './task-family.ts';
import { compose } from './thought.ts';

/** A task family with its ladder of levels. */
export interface Task<Name extends string, Facts, Level> extends Reasoning<Facts> {
  readonly name: Name;
  /** What is drawn at levels 1 to 4. */
  readonly levels: readonly [Level, Level, Level, Level];
  make(random: Random, level: Level): Facts;
  /** The problem without its phrasing and without the name; symmetric problems share it. */
  form(facts: Facts): string;
  /** Questions with `{slot}` in the place of content. */
  readonly phrases: Readonly<Record<Language, readonly string[]>>;
  slots(facts: Facts, language: Language): Readonly<Record<string, string>>;
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
export function makeFamily<Name extends string, Facts, Level>(
  task: Task<Name, Facts, Level>,
): TaskFamily<Name, Facts> {
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
