/**
 * `basic_arithmetic`: an expression of sums, differences and products with parentheses.
 *
 * Levels 1 to 4: 3, 3, 4 and 5 numbers below 10, 20, 20 and 30. The derivation reduces one operation a line, inner
 * before outer, left before right. Products keep to one-digit factors, so that every step is a table or a sum.
 */
import type { Random } from '@minke/core';
import { makeFamily } from '../task.ts';
import { compared, operand } from './number-facts.ts';
import { readInteger } from './reading.ts';

/** An expression: a number, or an operation on two expressions. */
export type Expression = number | readonly [operation: '+' | '-' | '*', left: Expression, right: Expression];

/** The facts of an expression to evaluate. */
export interface BasicArithmeticFacts {
  readonly expression: Expression;
}

function value(expression: Expression): number {
  if (typeof expression === 'number') return expression;
  const [operation, left, right] = expression;
  const [a, b] = [value(left), value(right)];
  return operation === '+' ? a + b : operation === '-' ? a - b : a * b;
}

function draw(random: Random, terms: number, below: number): Expression {
  if (terms === 1) return random.integer(1, below);
  const leftTerms = random.integer(1, terms);
  const [left, right] = [draw(random, leftTerms, below), draw(random, terms - leftTerms, below)];
  const small = Math.abs(value(left)) < 10 && Math.abs(value(right)) < 10;
  return [random.pick(small ? (['+', '-', '*', '*'] as const) : (['+', '-'] as const)), left, right];
}

const strength = { '+': 1, '-': 1, '*': 2 } as const;

function write(expression: Expression, least = 0): string {
  if (typeof expression === 'number') return String(expression);
  const [operation, left, right] = expression;
  const own = strength[operation];
  const text = `${write(left, own)} ${operation} ${write(right, own + 1)}`;
  return own < least ? `(${text})` : text;
}

/** Operands of sums and products in a fixed order, so that mirrored expressions are one problem. */
function canonical(expression: Expression): string {
  if (typeof expression === 'number') return String(expression);
  const [operation, left, right] = expression;
  const sides = [canonical(left), canonical(right)];
  if (operation !== '-') sides.sort();
  return `(${sides.join(operation)})`;
}

function reduce(expression: Expression, lines: string[]): number {
  if (typeof expression === 'number') return expression;
  const [operation, left, right] = expression;
  const [a, b] = [reduce(left, lines), reduce(right, lines)];
  const total = value([operation, a, b]);
  lines.push(`${operand(a)}${operation}${operand(b)}=${total}`);
  return total;
}

function steps({ expression }: BasicArithmeticFacts): string[] {
  const lines: string[] = [];
  reduce(expression, lines);
  return lines;
}

export const basicArithmetic = makeFamily<
  'basic_arithmetic',
  BasicArithmeticFacts,
  readonly [number, number]
>({
  name: 'basic_arithmetic',
  levels: [
    [3, 10],
    [3, 20],
    [4, 20],
    [5, 30],
  ],
  make: (random, [terms, below]) => ({ expression: draw(random, terms, below) }),
  form: ({ expression }) => canonical(expression),
  phrases: {
    en: ['Calculate {e}.', 'What is {e}?', 'Evaluate {e}.', '{e} = ?', 'What is the value of {e}?'],
    es: ['Calcula {e}.', '¿Cuánto es {e}?', '{e} = ?'],
  },
  slots: ({ expression }) => ({ e: write(expression) }),
  answer: ({ expression }) => String(value(expression)),
  read: readInteger,
  steps,
  check: (facts, candidate) => [...steps(facts), compared(value(facts.expression), Number(candidate))],
  guess: ({ expression }, random) => String(value(expression) + random.pick([-10, -2, -1, 1, 2, 10])),
  vocabulary: ['+', '-', '*', '=', '<', '>', '(', ')'],
});
