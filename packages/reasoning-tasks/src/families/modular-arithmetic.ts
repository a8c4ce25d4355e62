/**
 * `modular_arithmetic`: a sum, difference or product modulo a small number.
 *
 * Levels 1 to 4: operands below 10, 30, 100, 300 and modulus below 8, 13, 21, 50. The derivation computes, then
 * writes the result as `quotient*modulus+remainder`. A candidate is taken off and divided.
 */
import { makeFamily } from '../task.ts';
import { compared, operand } from './number-facts.ts';
import { readInteger } from './reading.ts';

/** The facts of `left operation right` modulo `modulus`; the result of the operation is not negative. */
export interface ModularArithmeticFacts {
  readonly operation: '+' | '-' | '*';
  readonly left: number;
  readonly right: number;
  readonly modulus: number;
}

function result({ operation, left, right }: ModularArithmeticFacts): number {
  return operation === '+' ? left + right : operation === '-' ? left - right : left * right;
}

export const modularArithmetic = makeFamily<
  'modular_arithmetic',
  ModularArithmeticFacts,
  readonly [number, number]
>({
  name: 'modular_arithmetic',
  levels: [
    [10, 8],
    [30, 13],
    [100, 21],
    [300, 50],
  ],
  make(random, [below, modulusBelow]) {
    const operation = random.pick(['+', '-', '*'] as const);
    let [left, right] = [random.integer(0, below), random.integer(0, below)];
    if (operation === '-' && left < right) [left, right] = [right, left];
    return { operation, left, right, modulus: random.integer(2, modulusBelow) };
  },
  form({ operation, left, right, modulus }) {
    const [small, large] = [Math.min(left, right), Math.max(left, right)];
    return `${operation === '-' ? `${large}-${small}` : `${small}${operation}${large}`} mod ${modulus}`;
  },
  phrases: {
    en: [
      'What is ({expression}) mod {m}?',
      'Compute {expression} modulo {m}.',
      'What is the remainder of {expression} divided by {m}?',
      '({expression}) mod {m} = ?',
    ],
    es: ['¿Cuánto es ({expression}) mod {m}?', 'Calcula {expression} módulo {m}.'],
  },
  slots: ({ operation, left, right, modulus }) => ({
    expression: `${left} ${operation} ${right}`,
    m: String(modulus),
  }),
  answer: (facts) => String(result(facts) % facts.modulus),
  read: readInteger,
  steps(facts) {
    const [value, { modulus }] = [result(facts), facts];
    return [
      `${facts.left}${facts.operation}${facts.right}=${value}`,
      `${value}=${Math.floor(value / modulus)}*${modulus}+${value % modulus}`,
    ];
  },
  check(facts, candidate) {
    const [value, { modulus }] = [result(facts), facts];
    const remainder = Number(candidate);
    const rest = value - remainder;
    const quotient = Math.floor(rest / modulus);
    return [
      compared(remainder, modulus),
      `${value}-${remainder}=${rest}`,
      `${rest}=${operand(quotient)}*${modulus}+${rest - quotient * modulus}`,
    ];
  },
  guess(facts, random) {
    const right = result(facts) % facts.modulus;
    return String(random.pick([random.integer(0, facts.modulus), right + facts.modulus, right + 1]));
  },
  vocabulary: ['+', '-', '*', '=', '<', '>'],
});
