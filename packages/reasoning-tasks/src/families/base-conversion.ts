/**
 * `base_conversion`: an integer from decimal to another base or back.
 *
 * Levels 1 to 4: below 100 in bases 2 to 4; below 400 in bases 2 to 6; below 1000 in bases 2 to 9;
 * below 4096 in bases 2 to 16.
 * Towards a base the number is divided again and again, `13=6*2+1`; towards decimal the digits are taken in by
 * Horner's rule, which is also the check. Digits above 9 are lower-case letters.
 */
import { makeFamily } from '../task.ts';
import { compared } from './number-facts.ts';

/** The facts of a conversion; one of the bases is 10. */
export interface BaseConversionFacts {
  readonly value: number;
  readonly from: number;
  readonly to: number;
}

function horner(digits: string, base: number): string[] {
  const lines: string[] = [];
  let total = Number.parseInt(digits[0] as string, base);
  for (const letter of digits.slice(1)) {
    const digit = Number.parseInt(letter, base);
    lines.push(`${total}*${base}+${digit}=${total * base + digit}`);
    total = total * base + digit;
  }
  return lines;
}

function divisions(value: number, base: number): string[] {
  const lines: string[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / base))
    lines.push(`${rest}=${Math.floor(rest / base)}*${base}+${rest % base}`);
  return lines;
}

export const baseConversion = makeFamily<'base_conversion', BaseConversionFacts, readonly [number, number]>({
  name: 'base_conversion',
  levels: [
    [100, 4],
    [400, 6],
    [1000, 9],
    [4096, 16],
  ],
  make(random, [below, largest]) {
    let base = random.integer(2, largest + 1);
    if (base === 10) base = 2;
    const value = random.integer(Math.max(2, Math.floor(below / 20)), below);
    return random.integer(0, 2) === 0 ? { value, from: 10, to: base } : { value, from: base, to: 10 };
  },
  form: ({ value, from, to }) => `${value} ${Math.max(from === 10 ? 0 : from, to === 10 ? 0 : to)}`,
  phrases: {
    en: [
      'Convert {n} from base {from} to base {to}.',
      'What is {n} (base {from}) in base {to}?',
      'Write the base-{from} number {n} in base {to}.',
    ],
    es: ['Convierte {n} de base {from} a base {to}.', '¿Cuánto es {n} (base {from}) en base {to}?'],
  },
  slots: ({ value, from, to }) => ({ n: value.toString(from), from: String(from), to: String(to) }),
  answer: ({ value, to }) => value.toString(to),
  read(text) {
    const bare = text.toLowerCase().replace(/^0[xb](?=.)/, '');
    return /^[\da-f]{1,32}$/.test(bare) ? bare.replace(/^0+(?=.)/, '') : null;
  },
  steps: ({ value, from, to }) => (to === 10 ? horner(value.toString(from), from) : divisions(value, to)),
  check({ value, from, to }, candidate) {
    if (to === 10)
      return [...divisions(Number(candidate), from), `${candidate} ${Number(candidate).toString(from)}`];
    return [...horner(candidate, to), compared(Number.parseInt(candidate, to), value)];
  },
  guess({ value, to }, random) {
    return Math.max(1, value + random.pick([-to, -1, 1, to, random.integer(1, 10)])).toString(to);
  },
  vocabulary: ['*', '+', '=', '<', '>', '(', ')', '-'],
});
