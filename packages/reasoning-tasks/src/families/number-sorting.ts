/**
 * `number_sorting`: 3 to 5 different integers below 1000, ascending or (one in five) descending.
 *
 * Levels: 1, three numbers below 100; 2, three or four numbers of 1 to 3 digits; 3, five numbers below 1000.
 *
 * The thought copies the numbers with leading zeros, writes their first digits in ascending order, then the
 * whole numbers: `561 045 977 300 012`, `00359`, `012 045 300 561 977`. Ordering single digits is easy for a
 * transformer, and once the first digits are known each number is a look-up by prefix in the copied list, so no
 * step has to find the smallest of several numbers at once. A descending answer is the last line read from its
 * end, written out. The README compares this with other forms.
 */
import type { Random } from '@minke/core';
import type { CoreFamily, Difficulty } from '../task-family.ts';
import { pad, ranged } from './digits.ts';

/** The facts of a sorting problem: 3 to 5 different integers in [0, 999], in the order of the question. */
export interface NumberSortingFacts {
  readonly numbers: readonly number[];
  readonly direction: 'ascending' | 'descending';
}

const unordered: readonly ((list: string) => string)[] = [
  (list) => `Sort ${list}.`,
  (list) => `Sort these numbers: ${list}`,
  (list) => `Put these numbers in order: ${list}`,
];

const ordered: readonly ((list: string, direction: string) => string)[] = [
  (list, direction) => `Sort ${list} in ${direction} order.`,
  (list, direction) => `Sort in ${direction} order: ${list}`,
  (list, direction) => `Put ${list} in ${direction} order.`,
  (list, direction) => `Sort these numbers in ${direction} order: ${list}`,
];

const ranges: readonly ((list: string, from: string, to: string) => string)[] = [
  (list, from, to) => `Sort ${list} from ${from} to ${to}.`,
  (list, from, to) => `Arrange from ${from} to ${to}: ${list}`,
];

function draw(random: Random, difficulty: Difficulty): NumberSortingFacts {
  const length = difficulty === 1 ? 3 : difficulty === 2 ? random.integer(3, 5) : 5;
  const numbers = new Set<number>();
  while (numbers.size < length)
    numbers.add(
      difficulty === 1
        ? random.integer(0, 100)
        : difficulty === 2
          ? ranged(random, random.integer(1, 4))
          : random.integer(0, 1000),
    );
  return { numbers: [...numbers], direction: random.integer(0, 5) === 0 ? 'descending' : 'ascending' };
}

function ask({ numbers, direction }: NumberSortingFacts, random: Random): string {
  const list = numbers.join(random.integer(0, 4) === 0 ? ' ' : ', ');
  const [from, to] = direction === 'ascending' ? ['smallest', 'largest'] : ['largest', 'smallest'];
  const phrases = [
    ...(direction === 'ascending' ? unordered.map((phrase) => phrase(list)) : []),
    ...ordered.map((phrase) => phrase(list, direction)),
    ...ranges.map((phrase) => phrase(list, from as string, to as string)),
  ];
  return random.pick(phrases);
}

function sorted({ numbers, direction }: NumberSortingFacts): number[] {
  const ascending = [...numbers].sort((a, b) => a - b);
  return direction === 'ascending' ? ascending : ascending.reverse();
}

/** Three to five different integers below 1000 to be put in order. */
export const numberSorting: CoreFamily<'number_sorting', NumberSortingFacts> = {
  name: 'number_sorting',
  draw,
  all: () => null,
  canonical: ({ numbers }) => `number_sorting ${[...numbers].sort((a, b) => a - b).join(',')}`,
  ask,
  answer: (facts) => sorted(facts).join(', '),
  think(facts, { verify = false }) {
    const given = facts.numbers.map((value) => pad(value, 3));
    const ascending = [...given].sort();
    const lines = [given.join(' '), ascending.map((digits) => digits[0]).join(''), ascending.join(' ')];
    if (facts.direction === 'descending') lines.push(ascending.toReversed().join(' '));
    if (verify) lines.push(`check ${ascending.join('<')} ok`);
    return lines.join('\n');
  },
  templateTexts: () => [
    ...unordered.map((phrase) => phrase('0, 0 0')),
    ...ordered.flatMap((phrase) => ['ascending', 'descending'].map((way) => phrase('0, 0', way))),
    ...ranges.flatMap((phrase) => [
      phrase('0, 0', 'smallest', 'largest'),
      phrase('0, 0', 'largest', 'smallest'),
    ]),
    '000 000 000\n000\n000 000 000\ncheck 000<000 ok',
  ],
};
