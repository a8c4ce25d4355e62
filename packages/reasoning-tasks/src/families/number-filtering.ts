/**
 * `number_filtering`: keep or remove the numbers of a list above or below a bound.
 *
 * Levels 1 to 4: 4, 5, 6 and 8 numbers below 50, 100, 500 and 1000; at least one stays and one goes, none equals the
 * bound. The derivation compares number by number; a candidate is checked by what it keeps and what it leaves out.
 */
import { makeFamily } from '../task.ts';
import { compared } from './number-facts.ts';
import { readDigits, readList } from './reading.ts';

/** The facts of a filter. */
export interface NumberFilteringFacts {
  /** Different numbers in the order of the question. */
  readonly numbers: readonly number[];
  readonly bound: number;
  readonly action: 'keep' | 'remove';
  readonly which: 'larger' | 'smaller';
}

function stays({ bound, action, which }: NumberFilteringFacts, value: number): boolean {
  return (which === 'larger' ? value > bound : value < bound) === (action === 'keep');
}

const words = {
  en: { keep: 'Keep', remove: 'Remove', larger: 'larger', smaller: 'smaller' },
  es: { keep: 'Deja', remove: 'Quita', larger: 'mayores', smaller: 'menores' },
} as const;

export const numberFiltering = makeFamily<
  'number_filtering',
  NumberFilteringFacts,
  readonly [number, number]
>({
  name: 'number_filtering',
  levels: [
    [4, 50],
    [5, 100],
    [6, 500],
    [8, 1000],
  ],
  make(random, [count, below]) {
    for (;;) {
      const numbers = new Set<number>();
      while (numbers.size < count) numbers.add(random.integer(0, below));
      const facts: NumberFilteringFacts = {
        numbers: [...numbers],
        bound: random.integer(1, below),
        action: random.pick(['keep', 'remove'] as const),
        which: random.pick(['larger', 'smaller'] as const),
      };
      const left = facts.numbers.filter((value) => stays(facts, value)).length;
      if (!numbers.has(facts.bound) && left > 0 && left < count) return facts;
    }
  },
  form: ({ numbers, bound, action, which }) =>
    `${[...numbers].sort((a, b) => a - b).join(',')} ${bound} ${(action === 'keep') === (which === 'larger') ? '>' : '<'}`,
  phrases: {
    en: [
      '{action} all numbers {which} than {bound} in this list: {list}',
      '{action} the numbers {which} than {bound}: {list}',
      '{action} what is {which} than {bound} in {list}.',
    ],
    es: [
      '{action} los números {which} que {bound} en esta lista: {list}',
      '{action} los {which} que {bound}: {list}',
    ],
  },
  slots: ({ numbers, bound, action, which }, language) => ({
    list: numbers.join(', '),
    bound: String(bound),
    action: words[language][action],
    which: words[language][which],
  }),
  answer: (facts) => facts.numbers.filter((value) => stays(facts, value)).join(', '),
  read: (text) => readList(text, readDigits),
  steps: (facts, say) =>
    facts.numbers.map(
      (value) => `${compared(value, facts.bound)} ${say(stays(facts, value) ? 'keep' : 'drop')}`,
    ),
  check(facts, candidate) {
    const chosen = candidate.split(', ').map(Number);
    const groups = [chosen, facts.numbers.filter((value) => !chosen.includes(value))];
    return groups
      .filter((group) => group.length > 0)
      .map((group) => group.map((value) => compared(value, facts.bound)).join(' '));
  },
  guess(facts, random) {
    const flipped = random.pick(facts.numbers);
    const chosen = facts.numbers.filter((value) => stays(facts, value) !== (value === flipped));
    return (chosen.length > 0 ? chosen : facts.numbers).join(', ');
  },
  vocabulary: [...Object.values(words.en), ...Object.values(words.es), ',', '<', '>', ':'],
});
