/**
 * `truth_value`: the value of a formula of `and`, `or` and `not` when the values of its letters are given.
 *
 * Levels 1 to 4: 2, 3, 4 and 6 operations over 2, 3, 3 and 4 letters. The derivation reduces one operation a line,
 * inner before outer, written with values: `true and false: false`. Operands of `and` and `or` are ordered in the
 * canonical form.
 */
import type { Random } from '@minke/core';
import { type Language, meaning, type Say, speaker } from '../language.ts';
import { makeFamily } from '../task.ts';

/** A formula: a letter by index, a negation, or two formulas joined. */
export type Formula = number | readonly ['not', Formula] | readonly ['and' | 'or', Formula, Formula];

/** The facts of a formula to evaluate. */
export interface TruthValueFacts {
  /** The value of letters p, q, r, s. */
  readonly values: readonly boolean[];
  readonly formula: Formula;
}

const letters = 'pqrs';
const words = { en: { and: 'and', or: 'or', not: 'not' }, es: { and: 'y', or: 'o', not: 'no' } } as const;

function draw(random: Random, operations: number, count: number): Formula {
  if (operations === 0) return random.integer(0, count);
  if (random.integer(0, 4) === 0) return ['not', draw(random, operations - 1, count)];
  const left = random.integer(0, operations);
  return [
    random.pick(['and', 'or'] as const),
    draw(random, left, count),
    draw(random, operations - 1 - left, count),
  ];
}

function value(formula: Formula, values: readonly boolean[]): boolean {
  if (typeof formula === 'number') return values[formula] as boolean;
  if (formula[0] === 'not') return !value(formula[1], values);
  const [a, b] = [value(formula[1], values), value(formula[2], values)];
  return formula[0] === 'and' ? a && b : a || b;
}

function write(formula: Formula, language: Language, inner = false): string {
  if (typeof formula === 'number') return letters[formula] as string;
  if (formula[0] === 'not') return `${words[language].not} ${write(formula[1], language, true)}`;
  const text = `${write(formula[1], language, true)} ${words[language][formula[0]]} ${write(formula[2], language, true)}`;
  return inner ? `(${text})` : text;
}

function canonical(formula: Formula): string {
  if (typeof formula === 'number') return letters[formula] as string;
  if (formula[0] === 'not') return `!${canonical(formula[1])}`;
  return `(${[canonical(formula[1]), canonical(formula[2])].sort().join(formula[0] === 'and' ? '&' : '|')})`;
}

function used(formula: Formula): number[] {
  return typeof formula === 'number' ? [formula] : formula.slice(1).flatMap((part) => used(part as Formula));
}

function derive({ formula, values }: TruthValueFacts, say: Say): string[] {
  const lines: string[] = [];
  const language = say('true') === 'true' ? 'en' : 'es';
  const spoken = (truth: boolean) => say(truth ? 'true' : 'false');
  const reduce = (part: Formula): boolean => {
    if (typeof part === 'number') return values[part] as boolean;
    const result = value(part, values);
    const sides = part.slice(1).map((side) => reduce(side as Formula));
    const [a, b] = sides.map(spoken) as [string, string?];
    const word = words[language][part[0]];
    lines.push(`${b === undefined ? `${word} ${a}` : `${a} ${word} ${b}`}: ${spoken(result)}`);
    return result;
  };
  reduce(formula);
  return lines;
}

export const truthValue = makeFamily<'truth_value', TruthValueFacts, readonly [number, number]>({
  name: 'truth_value',
  levels: [
    [2, 2],
    [3, 3],
    [4, 3],
    [6, 4],
  ],
  make(random, [operations, count]) {
    for (;;) {
      const formula = draw(random, operations, count);
      if (new Set(used(formula)).size === 1) continue;
      return { values: Array.from({ length: count }, () => random.integer(0, 2) === 1), formula };
    }
  },
  form({ values, formula }) {
    const seen = new Set(used(formula));
    return `${values.map((truth, i) => (seen.has(i) ? Number(truth) : '-')).join('')} ${canonical(formula)}`;
  },
  phrases: {
    en: [
      '{values}. What is {formula}?',
      'If {values}, what is the value of {formula}?',
      'Evaluate {formula}, where {values}.',
    ],
    es: ['Si {values}, ¿cuánto vale {formula}?', 'Evalúa {formula}, donde {values}.'],
  },
  slots: ({ values, formula }, language) => ({
    values: values
      .flatMap((truth, i) =>
        used(formula).includes(i)
          ? [
              `${letters[i]} ${language === 'en' ? 'is' : 'es'} ${speaker(language)(truth ? 'true' : 'false')}`,
            ]
          : [],
      )
      .join(', '),
    formula: write(formula, language),
  }),
  answer: ({ values, formula }) => String(value(formula, values)),
  read: (text) => meaning(text.toLowerCase(), ['true', 'false']),
  show: (normal, language) => speaker(language)(normal as 'true' | 'false'),
  steps: derive,
  check(facts, _, say) {
    return derive(facts, say).slice(-1);
  },
  guess: (_, random) => random.pick(['true', 'false']),
  vocabulary: [
    ...letters,
    ...Object.values(words.en),
    ...Object.values(words.es),
    'is',
    'es',
    '(',
    ':',
    ',',
    '?',
  ],
});
