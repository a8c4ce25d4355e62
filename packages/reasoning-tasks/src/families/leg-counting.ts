/**
 * `leg_counting`: how many legs some animals have in all.
 *
 * Levels 1 to 4: 2, 3, 4 and 5 kinds of animals, up to 5, 9, 12 and 15 of each. The derivation multiplies kind by
 * kind with a running total; a candidate is checked by taking the kinds off from it.
 */
import { makeFamily } from '../task.ts';
import { compared, operand } from './number-facts.ts';
import { readInteger } from './reading.ts';

/** The facts of a count of legs: how many of which animal; the kinds are different. */
export interface LegCountingFacts {
  readonly animals: readonly { readonly kind: string; readonly count: number }[];
}

const kinds: Readonly<Record<string, readonly [legs: number, many: string, es: string, manyEs: string]>> = {
  ant: [6, 'ants', 'hormiga', 'hormigas'],
  bee: [6, 'bees', 'abeja', 'abejas'],
  cat: [4, 'cats', 'gato', 'gatos'],
  cow: [4, 'cows', 'vaca', 'vacas'],
  crab: [10, 'crabs', 'cangrejo', 'cangrejos'],
  dog: [4, 'dogs', 'perro', 'perros'],
  duck: [2, 'ducks', 'pato', 'patos'],
  hen: [2, 'hens', 'gallina', 'gallinas'],
  snake: [0, 'snakes', 'serpiente', 'serpientes'],
  spider: [8, 'spiders', 'araña', 'arañas'],
};

const legsOf = (kind: string) => (kinds[kind] as readonly [number, ...string[]])[0];
const total = ({ animals }: LegCountingFacts) =>
  animals.reduce((sum, { kind, count }) => sum + legsOf(kind) * count, 0);

export const legCounting = makeFamily<'leg_counting', LegCountingFacts, readonly [number, number]>({
  name: 'leg_counting',
  levels: [
    [2, 5],
    [3, 9],
    [4, 12],
    [5, 15],
  ],
  make(random, [different, most]) {
    const chosen = random.shuffle(Object.keys(kinds)).slice(0, different);
    return { animals: chosen.map((kind) => ({ kind, count: random.integer(1, most + 1) })) };
  },
  form: ({ animals }) =>
    animals
      .map(({ kind, count }) => `${count} ${kind}`)
      .sort()
      .join(','),
  phrases: {
    en: [
      'How many legs are there in total if you have {list}?',
      'How many legs do {list} have in all?',
      'Count the legs of {list}.',
    ],
    es: ['¿Cuántas patas tienen en total {list}?', 'Cuenta las patas de {list}.'],
  },
  slots: ({ animals }, language) => ({
    list: animals
      .map(({ kind, count }) => {
        const [, many, es, manyEs] = kinds[kind] as readonly [number, string, string, string];
        return `${count} ${language === 'en' ? (count === 1 ? kind : many) : count === 1 ? es : manyEs}`;
      })
      .join(', '),
  }),
  answer: (facts) => String(total(facts)),
  read: readInteger,
  steps({ animals }) {
    let sum = 0;
    return animals.flatMap(({ kind, count }, i) => {
      const legs = legsOf(kind);
      const lines = [`${count}*${legs}=${count * legs}`];
      if (i > 0) lines.push(`${sum}+${count * legs}=${sum + count * legs}`);
      sum += count * legs;
      return lines;
    });
  },
  check({ animals }, candidate) {
    let rest = Number(candidate);
    const lines = animals.map(({ kind, count }) => {
      const legs = legsOf(kind);
      const line = `${operand(rest)}-${count}*${legs}=${rest - count * legs}`;
      rest -= count * legs;
      return line;
    });
    return [...lines, compared(rest, 0)];
  },
  guess: (facts, random) => String(Math.max(0, total(facts) + random.pick([-10, -4, -2, 2, 4, 6, 10]))),
  vocabulary: [
    '*',
    '+',
    '-',
    '=',
    '<',
    '>',
    '(',
    ',',
    ...Object.entries(kinds).flatMap(([kind, [, ...names]]) => [kind, ...names]),
  ],
});
