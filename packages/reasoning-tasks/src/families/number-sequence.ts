/**
 * `number_sequence`: the next number of a sequence.
 *
 * Levels 1 to 4: equal small differences; equal differences, up or down; also equal ratios 2 and 3 and differences
 * that grow evenly; also sums of the two before. The kind is not told. The derivation takes differences until they
 * are equal, or shows ratio or sum; a candidate is put at the end and the rule applied to it.
 */
import type { Random } from '@minke/core';
import { makeFamily } from '../task.ts';
import { compared, operand } from './number-facts.ts';
import { readInteger } from './reading.ts';

/** The facts of a sequence: the numbers shown and the rule that makes the next one. */
export interface NumberSequenceFacts {
  readonly terms: readonly number[];
  readonly rule: 'difference' | 'ratio' | 'growing' | 'sum';
}

type Rule = NumberSequenceFacts['rule'];

interface Level {
  readonly rules: readonly Rule[];
  readonly shown: number;
  readonly first: number;
  readonly step: number;
}

function last(terms: readonly number[], back = 1): number {
  return terms.at(-back) as number;
}

function next({ terms, rule }: NumberSequenceFacts): number {
  const [c, b, a] = [last(terms), last(terms, 2), last(terms, 3)];
  if (rule === 'difference') return c + (c - b);
  if (rule === 'ratio') return c * (c / b);
  if (rule === 'sum') return c + b;
  return c + (c - b) + (c - b - (b - a));
}

function build(random: Random, rule: Rule, { shown, first, step }: Level): number[] {
  if (rule === 'ratio') {
    const [start, ratio] = [random.integer(1, 10), random.pick([2, 3])];
    return Array.from({ length: shown }, (_, i) => start * ratio ** i);
  }
  const terms = [random.integer(0, first)];
  let difference = random.integer(1, step) * (rule === 'difference' && step > 10 ? random.pick([-1, 1]) : 1);
  const growth = rule === 'growing' ? random.integer(1, 6) : 0;
  if (rule === 'sum') terms.push(random.integer(1, first));
  while (terms.length < shown) {
    terms.push(rule === 'sum' ? last(terms) + last(terms, 2) : last(terms) + difference);
    difference += growth;
  }
  return terms;
}

export const numberSequence = makeFamily<'number_sequence', NumberSequenceFacts, Level>({
  name: 'number_sequence',
  levels: [
    { rules: ['difference'], shown: 4, first: 30, step: 10 },
    { rules: ['difference'], shown: 5, first: 100, step: 30 },
    { rules: ['difference', 'ratio', 'growing'], shown: 5, first: 150, step: 60 },
    { rules: ['difference', 'ratio', 'growing', 'sum'], shown: 6, first: 300, step: 100 },
  ],
  make(random, level) {
    const rule = random.pick(level.rules);
    return { terms: build(random, rule, level), rule };
  },
  form: ({ terms }) => terms.join(','),
  phrases: {
    en: [
      'What number comes next: {terms}, ?',
      'Continue the sequence {terms}.',
      'What is the next number in {terms}?',
    ],
    es: ['¿Qué número sigue: {terms}?', 'Continúa la sucesión {terms}.'],
  },
  slots: ({ terms }) => ({ terms: terms.join(', ') }),
  answer: (facts) => String(next(facts)),
  read: readInteger,
  steps(facts) {
    const { terms, rule } = facts;
    const value = next(facts);
    const pairs = terms.slice(1).map((term, i) => [terms[i] as number, term] as const);
    if (rule === 'ratio')
      return [
        ...pairs.map(([a, b]) => `${b}/${a}=${b / a}`),
        `${last(terms)}*${last(terms) / last(terms, 2)}=${value}`,
      ];
    if (rule === 'sum')
      return [
        ...terms.slice(2).map((term, i) => `${terms[i]}+${terms[i + 1]}=${term}`),
        `${last(terms, 2)}+${last(terms)}=${value}`,
      ];
    const lines = pairs.map(([a, b]) => `${operand(b)}-${operand(a)}=${b - a}`);
    const difference = value - last(terms);
    if (rule === 'growing') {
      const before = last(terms) - last(terms, 2);
      lines.push(`${before}+${difference - before}=${difference}`);
    }
    return [...lines, `${operand(last(terms))}+${operand(difference)}=${value}`];
  },
  check(facts, candidate) {
    const [value, given] = [next(facts), Number(candidate)];
    const end = last(facts.terms);
    return [
      `${operand(given)}-${operand(end)}=${given - end}`,
      `${operand(value)}-${operand(end)}=${value - end}`,
      compared(given - end, value - end),
    ];
  },
  guess: (facts, random) => String(next(facts) + random.pick([-10, -2, -1, 1, 2, 10])),
  vocabulary: ['+', '-', '*', '/', '=', '<', '>', '(', ',', '?', ':'],
});
