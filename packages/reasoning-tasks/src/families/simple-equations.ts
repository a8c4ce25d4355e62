/**
 * `simple_equations`: a linear equation in one unknown with a whole solution, `3*x + 4 = 25`.
 *
 * Levels 1 to 4: factor below 6, 10, 13, 21 and solution below 10, 20, 50, 100; from level 2 on the added number
 * may be negative. A candidate is put in and compared.
 */
import { makeFamily } from '../task.ts';
import { compared, divided, operand } from './number-facts.ts';
import { readInteger } from './reading.ts';

/** The facts of `factor * unknown + added = total`. */
export interface SimpleEquationsFacts {
  readonly factor: number;
  readonly added: number;
  readonly total: number;
  /** A lower-case letter. */
  readonly unknown: string;
}

const unknowns = [...'xyznwk'];

export const simpleEquations = makeFamily<
  'simple_equations',
  SimpleEquationsFacts,
  readonly [number, number, number, number]
>({
  name: 'simple_equations',
  levels: [
    [6, 10, 1, 20],
    [10, 20, -20, 30],
    [13, 50, -50, 100],
    [21, 100, -200, 300],
  ],
  make(random, [factorBelow, below, least, most]) {
    const [factor, solution] = [random.integer(2, factorBelow), random.integer(1, below)];
    const added = random.integer(least, most) || 1;
    return { factor, added, total: factor * solution + added, unknown: random.pick(unknowns) };
  },
  form: ({ factor, added, total }) => `${factor}*x+${added}=${total}`,
  phrases: {
    en: [
      'Solve {equation} for {x}.',
      'Find {x} if {equation}.',
      'Determine the value of {x} in {equation}.',
      'What is {x} when {equation}?',
    ],
    es: ['Resuelve {equation}.', 'Halla {x} si {equation}.', '¿Cuánto vale {x} si {equation}?'],
  },
  slots: ({ factor, added, total, unknown }) => ({
    x: unknown,
    equation: `${factor}*${unknown} ${added < 0 ? '-' : '+'} ${Math.abs(added)} = ${total}`,
  }),
  answer: ({ factor, added, total }) => String((total - added) / factor),
  read: readInteger,
  steps({ factor, added, total }) {
    const rest = total - added;
    return [added < 0 ? `${total}+${-added}=${rest}` : `${total}-${added}=${rest}`, divided(rest, factor)];
  },
  check({ factor, added, total }, candidate) {
    const product = factor * Number(candidate);
    const value = product + added;
    return [
      `${factor}*${operand(Number(candidate))}=${product}`,
      `${product}${added < 0 ? '-' : '+'}${Math.abs(added)}=${value}`,
      compared(value, total),
    ];
  },
  guess({ factor, added, total }, random) {
    return String(Math.max(0, (total - added) / factor + random.integer(-4, 5)));
  },
  vocabulary: ['*', '+', '-', '/', '=', '<', '>'],
});
