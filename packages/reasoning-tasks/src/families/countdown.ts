/**
 * `countdown`: use each of the given numbers once, with `+ - * /` and parentheses, to make the target.
 *
 * Levels 1 to 4: 3 numbers below 10, target below 50; 3 below 25, target below 100; 4 below 25; 5 below 25. Every
 * problem is made from a solution; any expression whose exact value is the target and which uses each number once
 * is right (the rule of TinyZero, https://github.com/Jiayi-Pan/TinyZero, without its partial score). Unary signs
 * are allowed, as they use no number. Thoughts try expressions built like the solution: one operation a line.
 */
import type { Random } from '@minke/core';
import { makeFamily } from '../task.ts';
import { exactValue, readExpression } from './expression-reading.ts';
import { compared } from './number-facts.ts';

/** The facts of a countdown problem. */
export interface CountdownFacts {
  readonly numbers: readonly number[];
  readonly target: number;
  /** One expression that makes the target. */
  readonly solution: string;
}

interface Part {
  readonly value: number;
  readonly text: string;
  /** Sums and differences need parentheses inside a product or quotient. */
  readonly loose: boolean;
}

function combine(random: Random, a: Part, b: Part): Part {
  const [large, small] = a.value >= b.value ? [a, b] : [b, a];
  const whole = small.value > 1 && large.value % small.value === 0;
  const operation = random.pick(
    whole ? ['+', '-', '*', '/'] : a.value * b.value <= 400 ? ['+', '-', '*'] : ['+', '-'],
  );
  const tight = ({ text, loose }: Part) => (loose ? `(${text})` : text);
  // What stands right of a minus or a quotient keeps its own parentheses, whatever it is.
  const last = ({ text }: Part) => (/^\d+$/.test(text) ? text : `(${text})`);
  if (operation === '+')
    return { value: large.value + small.value, text: `${large.text} + ${small.text}`, loose: true };
  if (operation === '-')
    return { value: large.value - small.value, text: `${large.text} - ${last(small)}`, loose: true };
  if (operation === '*')
    return { value: large.value * small.value, text: `${tight(large)} * ${tight(small)}`, loose: false };
  return { value: large.value / small.value, text: `${tight(large)} / ${last(small)}`, loose: false };
}

/** A random expression over the numbers in which every intermediate value is a whole number, never negative. */
function build(random: Random, numbers: readonly number[]): Part {
  const parts = random.shuffle(numbers.map((value): Part => ({ value, text: String(value), loose: false })));
  while (parts.length > 1) {
    const [first] = parts.splice(random.integer(0, parts.length), 1) as [Part];
    const [second] = parts.splice(random.integer(0, parts.length), 1) as [Part];
    parts.push(combine(random, first, second));
  }
  return parts[0] as Part;
}

/** The operations of an expression in the order in which they are carried out, one a line. */
function carriedOut(expression: string): string[] {
  const lines: string[] = [];
  let text = expression.replaceAll(' ', '');
  for (;;) {
    // The innermost group first, in it products and quotients before sums, from the left.
    const group = /\(([^()]+)\)/.exec(text);
    const inner = group?.[1] ?? text;
    const step = /(\d+)([*/])(\d+)/.exec(inner) ?? /(\d+)([-+])(\d+)/.exec(inner);
    if (step === null) {
      if (group === null) return lines;
      text = text.replace(group[0], inner);
      continue;
    }
    const [operation, a, b] = [step[2], Number(step[1]), Number(step[3])];
    const value = operation === '*' ? a * b : operation === '/' ? a / b : operation === '+' ? a + b : a - b;
    lines.push(`${step[0]}=${value}`);
    const reduced = inner.slice(0, step.index) + value + inner.slice(step.index + step[0].length);
    text =
      group === null
        ? reduced
        : text.slice(0, group.index) +
          (/^\d+$/.test(reduced) ? reduced : `(${reduced})`) +
          text.slice(group.index + group[0].length);
  }
}

export const countdown = makeFamily<'countdown', CountdownFacts, readonly [number, number, number]>({
  name: 'countdown',
  levels: [
    [3, 10, 50],
    [3, 25, 100],
    [4, 25, 100],
    [5, 25, 200],
  ],
  make(random, [count, below, targetBelow]) {
    for (;;) {
      const numbers = Array.from({ length: count }, () => random.integer(1, below));
      const { value: target, text: solution } = build(random, numbers);
      if (target > 0 && target < targetBelow) return { numbers, target, solution };
    }
  },
  form: ({ numbers, target }) => `${[...numbers].sort((a, b) => a - b).join(',')}>${target}`,
  phrases: {
    en: [
      'Using the numbers {numbers}, create an expression that equals {target}.',
      'Make {target} from {numbers}, using each number once.',
      'Use {numbers} once each with + - * / to get {target}.',
      'Combine {numbers} to reach {target}.',
    ],
    es: [
      'Usa los números {numbers} una vez cada uno para obtener {target}.',
      'Forma {target} con {numbers}.',
    ],
  },
  slots: ({ numbers, target }) => ({ numbers: numbers.join(', '), target: String(target) }),
  answer: ({ solution }) => solution,
  read: readExpression,
  accepts({ numbers, target }, normal) {
    const found = exactValue(normal);
    const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b).join(',');
    return found?.value === String(target) && sorted(found.numbers) === sorted(numbers);
  },
  steps: () => [],
  check({ target }, candidate) {
    const lines = carriedOut(candidate);
    const value = lines.at(-1)?.split('=')[1] ?? candidate;
    return [...lines, compared(Number(value), target)];
  },
  guess: ({ numbers }, random) => build(random, numbers).text,
  vocabulary: ['+', '-', '*', '/', '=', '<', '>', '(', ')', ','],
});
