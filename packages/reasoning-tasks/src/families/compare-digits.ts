/**
 * Comparing two integers below 1000 as a sequence of digit comparisons, from the left up to the first difference:
 * 348 and 351 give `3-3=0`, `4-5<0`. The sign comes after both digits, so it is a look-up in a table of 100
 * entries on what was just written; `3<5` would ask for the sign before the second digit is there.
 */
import { pad } from './digits.ts';

/** The comparison lines of two integers in [0, 999]; equal numbers give three `=` lines. */
export function compareDigits(left: number, right: number): string[] {
  const [a, b] = [pad(left, 3), pad(right, 3)];
  const lines: string[] = [];
  for (let place = 0; place < 3; place++) {
    const [p, q] = [a[place] as string, b[place] as string];
    lines.push(`${p}-${q}${p < q ? '<' : p > q ? '>' : '='}0`);
    if (p !== q) break;
  }
  return lines;
}
