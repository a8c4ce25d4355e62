/**
 * `coin_change`: pay an amount with an exact number of coins of given values, each usable again.
 *
 * Levels 1 to 4: 2 to 3 coins of 2 values; 3 to 4 of 3 values; 4 to 5 of 4 values; 5 to 7 of 4 values. The number
 * of coins is stated, so that a try can be checked without knowing every other way to pay. Any such choice is right.
 */
import type { Random } from '@minke/core';
import { makeFamily } from '../task.ts';
import { compared } from './number-facts.ts';
import { readDigits, readList } from './reading.ts';

/** The facts of a payment: `count` coins of `values` that make `amount`. */
export interface CoinChangeFacts {
  /** Different values, ascending. */
  readonly values: readonly number[];
  readonly count: number;
  readonly amount: number;
  /** One right choice, descending. */
  readonly solution: readonly number[];
}

const coins = (text: string) => text.split(', ').map(Number);
const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

function choose(random: Random, values: readonly number[], count: number): number[] {
  return Array.from({ length: count }, () => random.pick(values)).sort((a, b) => b - a);
}

export const coinChange = makeFamily<
  'coin_change',
  CoinChangeFacts,
  readonly [number, number, number, number]
>({
  name: 'coin_change',
  levels: [
    [2, 2, 3, 21],
    [3, 3, 4, 26],
    [4, 4, 5, 31],
    [4, 5, 7, 51],
  ],
  make(random, [kinds, least, most, below]) {
    const values = new Set<number>();
    while (values.size < kinds) values.add(random.integer(1, below));
    const ascending = [...values].sort((a, b) => a - b);
    const count = random.integer(least, most + 1);
    const solution = choose(random, ascending, count);
    return { values: ascending, count, amount: sum(solution), solution };
  },
  form: ({ values, count, amount }) => `${values.join(',')}*${count}>${amount}`,
  phrases: {
    en: [
      'Pay {amount} with {count} coins of {values}.',
      'Which {count} coins of {values} make {amount}?',
      'Coins are worth {values}. Choose {count} coins that add up to {amount}.',
    ],
    es: [
      'Paga {amount} con {count} monedas de {values}.',
      '¿Qué {count} monedas de {values} suman {amount}?',
    ],
  },
  slots: ({ values, count, amount }) => ({
    values: values.join(', '),
    count: String(count),
    amount: String(amount),
  }),
  answer: ({ solution }) => solution.join(', '),
  read(text) {
    const normal = readList(text.replaceAll(/\s*\+\s*/g, ', '), readDigits);
    return normal === null
      ? null
      : coins(normal)
          .sort((a, b) => b - a)
          .join(', ');
  },
  accepts({ values, count, amount }, normal) {
    const chosen = coins(normal);
    return chosen.length === count && sum(chosen) === amount && chosen.every((coin) => values.includes(coin));
  },
  steps: () => [],
  check: ({ amount }, candidate) => [
    `${coins(candidate).join('+')}=${sum(coins(candidate))}`,
    compared(sum(coins(candidate)), amount),
  ],
  guess: ({ values, count }, random) => choose(random, values, count).join(', '),
  vocabulary: ['+', ',', '=', '<', '>'],
});
