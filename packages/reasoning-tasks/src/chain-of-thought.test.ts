import { Random } from '@minke/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chainOfThought, familyNames, generate, pose } from './families.ts';
import type { CoreFamilyName, Problem, ProblemOf } from './problem.ts';
import type { Difficulty } from './task-family.ts';

/**
 * An independent reading of thoughts: every arithmetic line is recomputed from its text alone, as a calculator
 * tape (each `=` states the running total of its line), and no code of the families is used.
 */
function checkTape(line: string): void {
  const tokens = line.match(/\d+|[-+*=]/g) ?? [];
  expect(tokens.join('')).toBe(line);
  let total = Number(tokens[0]);
  for (let i = 1; i < tokens.length; i += 2) {
    const operand = Number(tokens[i + 1]);
    if (tokens[i] === '+') total += operand;
    else if (tokens[i] === '-') total -= operand;
    else if (tokens[i] === '*') total *= operand;
    else expect(operand, line).toBe(total);
  }
  expect(line).toContain('=');
}

function checkComparison(line: string): '<' | '>' | '=' {
  const match = /^(\d)-(\d)([<=>])0$/.exec(line);
  expect(match, line).not.toBeNull();
  const [, left, right, sign] = match as unknown as [string, string, string, '<' | '>' | '='];
  expect(Math.sign(Number(left) - Number(right)), line).toBe({ '<': -1, '=': 0, '>': 1 }[sign]);
  return sign;
}

const at = (lines: readonly string[], index: number) => lines.at(index) as string;

/** Reads a thought and returns the answer it arrives at, failing on any untrue line. */
function readThought(given: Problem): string {
  const problem = given as { [Name in CoreFamilyName]: ProblemOf<Name> }[CoreFamilyName];
  const lines = chainOfThought(problem).split('\n');
  const last = at(lines, -1);
  if (problem.family === 'chain_sum' && problem.metadata.operation === 'add') {
    const [a, b] = at(lines, 0).split('+') as [string, string];
    expect([Number(a), Number(b)]).toEqual([problem.metadata.left, problem.metadata.right]);
    const columns = lines.slice(1, -1);
    expect(columns).toHaveLength(3);
    columns.forEach((line, i) => {
      checkTape(line);
      const carry = i === 0 ? '' : `+${at(columns, i - 1).slice(-2, -1)}`;
      expect(line.startsWith(`${a.at(-1 - i)}+${b.at(-1 - i)}${carry}=`)).toBe(true);
    });
    const digits = columns.map((line) => line.at(-1)).reverse();
    expect(last).toBe(at(columns, 2).slice(-2, -1) + digits.join(''));
    return String(BigInt(last));
  }
  if (problem.family === 'chain_sum') {
    const [a, b] = at(lines, 0).split('-') as [string, string];
    expect([Number(a), Number(b)]).toEqual([problem.metadata.left, problem.metadata.right]);
    const signs = lines.filter((line) => /^\d-\d[<=>]0$/.test(line)).map(checkComparison);
    const sign = at(signs, -1);
    expect(signs.slice(0, -1).every((s) => s === '=')).toBe(true);
    expect(at(lines, 1 + signs.length)).toBe(sign === '<' ? `${b}-${a}` : `${a}-${b}`);
    const columns = lines.slice(2 + signs.length, -1);
    expect(columns).toHaveLength(3);
    columns.forEach((line, i) => {
      checkTape(line);
      const [top, bottom] = sign === '<' ? [b, a] : [a, b];
      const borrow = i === 0 ? '' : at(columns, i - 1).slice(-2, -1) === '0' ? '-1' : '-0';
      expect(line.slice(0, -2)).toBe(`1${top.at(-1 - i)}-${bottom.at(-1 - i)}${borrow}=`);
    });
    expect(at(columns, 2).slice(-2, -1)).toBe('1');
    const digits = columns.map((line) => line.at(-1)).reverse();
    expect(last).toBe((sign === '<' ? '-' : '') + digits.join(''));
    return String(BigInt(last.replace('-', ''))).replace(/^(?=[1-9])/, last.startsWith('-') ? '-' : '');
  }
  if (problem.family === 'products') {
    expect(at(lines, 0)).toMatch(/^\d\d\*\d\d$/);
    lines.slice(1, -1).forEach(checkTape);
    const [a, b, c, d] = lines.slice(1, 5).map((line) => line.slice(4)) as [string, string, string, string];
    const tail = (index: number) => at(lines, index).slice(-2);
    expect(at(lines, 5).replaceAll(/=\d\d/g, '')).toBe([a[0], b[1], c[1]].join('+'));
    expect(at(lines, 6).replaceAll(/=\d\d/g, '')).toBe([b[0], c[0], d[1], tail(5)[0]].join('+'));
    expect(at(lines, 7).replaceAll(/=\d\d/g, '')).toBe([d[0], tail(6)[0]].join('+'));
    expect(last).toBe(`${tail(7)[1]}${tail(6)[1]}${tail(5)[1]}${a[1]}`);
    return String(BigInt(last));
  }
  if (problem.family === 'number_comparison') {
    const [a, b] = at(lines, 0).split(' ').map(Number) as [number, number];
    const signs = lines.slice(1, -1).map(checkComparison);
    const leftIsLarger = at(signs, -1) === '>';
    const picked = leftIsLarger === (problem.metadata.wanted === 'larger') ? a : b;
    expect(Number(last)).toBe(picked);
    return String(picked);
  }
  if (problem.family === 'number_sorting')
    return readSorting(problem.metadata.numbers, lines, problem.metadata.direction);
  const [letter, spelled] = lines as [string, string];
  const pairs = [...spelled.matchAll(/([a-z])(\d+)/g)].map((match) => [match[1], Number(match[2])] as const);
  expect(pairs.map(([l]) => l).join('')).toBe(problem.metadata.word);
  let seen = 0;
  for (const [l, stated] of pairs) {
    if (l === letter) seen++;
    expect(stated).toBe(seen);
  }
  return String(seen);
}

function readSorting(numbers: readonly number[], lines: readonly string[], direction: string): string {
  const [given, first, ...whole] = lines as [string, string, ...string[]];
  expect(given.split(' ').map(Number)).toEqual(numbers);
  const full = (whole[0] as string).split(' ');
  expect([...full].sort()).toEqual(given.split(' ').sort());
  for (let i = 1; i < full.length; i++) expect(Number(full[i - 1])).toBeLessThan(Number(full[i]));
  expect(full.map((digits) => digits[0]).join('')).toBe(first);
  expect(whole).toHaveLength(direction === 'descending' ? 2 : 1);
  if (direction === 'descending') expect((whole[1] as string).split(' ').reverse()).toEqual(full);
  return (whole.at(-1) as string).split(' ').map(Number).join(', ');
}

describe('chainOfThought', () => {
  it('states only true steps that follow from each other and end in the answer', () => {
    const random = new Random(17);
    for (const name of familyNames)
      for (let i = 0; i < 3000; i++) {
        const problem = generate(name, random, ((i % 3) + 1) as Difficulty);
        expect(readThought(problem), problem.prompt).toBe(problem.answer);
      }
  });

  it('is right for every sum, difference, product and comparison of edge numbers', () => {
    const random = new Random(1);
    const edges = [0, 1, 5, 9, 10, 11, 19, 90, 99, 100, 101, 109, 190, 199, 900, 909, 990, 999];
    for (const left of edges)
      for (const right of edges) {
        for (const operation of ['add', 'subtract'] as const) {
          const problem = pose('chain_sum', { operation, left, right }, 3, random);
          expect(readThought(problem)).toBe(String(operation === 'add' ? left + right : left - right));
        }
        if (left < 100 && right < 100)
          expect(readThought(pose('products', { left, right }, 3, random))).toBe(String(left * right));
        if (left !== right)
          for (const wanted of ['larger', 'smaller'] as const)
            readThought(pose('number_comparison', { left, right, wanted }, 3, random));
      }
  });

  it('gives the documented lines', () => {
    const random = new Random(1);
    const think = (...facts: Parameters<typeof pose>) => chainOfThought(pose(...facts)).split('\n');
    expect(think('chain_sum', { operation: 'add', left: 348, right: 977 }, 3, random)).toEqual([
      '348+977',
      '8+7=15',
      '4+7+1=12',
      '3+9+1=13',
      '1325',
    ]);
    expect(think('chain_sum', { operation: 'subtract', left: 348, right: 977 }, 3, random)).toEqual([
      '348-977',
      '3-9<0',
      '977-348',
      '17-8=09',
      '17-4-1=12',
      '19-3-0=16',
      '-629',
    ]);
    expect(think('products', { left: 47, right: 86 }, 3, random)).toEqual([
      '47*86',
      '7*6=42',
      '4*6=24',
      '7*8=56',
      '4*8=32',
      '4+4=08+6=14',
      '2+5=07+2=09+1=10',
      '3+1=04',
      '4042',
    ]);
    expect(
      think('number_sorting', { numbers: [561, 45, 977, 300, 12], direction: 'ascending' }, 3, random),
    ).toEqual(['561 045 977 300 012', '00359', '012 045 300 561 977']);
    expect(think('letter_counting', { letter: 'r', word: 'strawberry' }, 3, random)).toEqual([
      'r',
      's0t0r1a1w1b1e1r2r3y3',
    ]);
    expect(think('number_comparison', { left: 45, right: 48, wanted: 'larger' }, 3, random)).toEqual([
      '045 048',
      '0-0=0',
      '4-4=0',
      '5-8<0',
      '048',
    ]);
  });

  it('gives the result of sorting in words from the whole numbers in ascending order, whichever way they go', () => {
    const numbers = [561, 45, 977, 300, 12];
    const random = new Random(29);
    const inWords = (direction: 'ascending' | 'descending', language: 'en' | 'es' | 'mixed') =>
      chainOfThought(pose('number_sorting', { numbers, direction }, 3, random), { language }).split('\n');
    const derived = ['561 045 977 300 012', '00359', '012 045 300 561 977'];
    expect(inWords('ascending', 'en')).toEqual([...derived, 'so 12, 45, 300, 561, 977']);
    expect(inWords('descending', 'es')).toEqual([...derived, 'luego 977, 561, 300, 45, 12']);
    expect(inWords('descending', 'mixed').slice(0, 3)).toEqual(derived);
  });

  it('can add a check, true by its own reading, and changes nothing else', () => {
    const random = new Random(23);
    const kept = new Map<string, number>();
    for (const name of familyNames)
      for (let i = 0; i < 600; i++) {
        const problem = generate(name, random, ((i % 3) + 1) as Difficulty);
        const plain = chainOfThought(problem);
        const checked = chainOfThought(problem, { verify: true });
        expect(checked.startsWith(`${plain}\n`)).toBe(true);
        const check = checked.slice(plain.length + 1);
        expect(check).toMatch(/^check .* ok$/);
        const nines = /^check (\d)([+*])(\d)=(\d\d) (\d) ok$/.exec(check);
        if (nines) {
          const [p, q, r, root] = [nines[1], nines[3], nines[4], nines[5]].map(Number) as [
            number,
            number,
            number,
            number,
          ];
          expect(r).toBe(nines[2] === '+' ? p + q : p * q);
          expect(r % 9).toBe(root);
        } else if (name === 'number_sorting') {
          const values = check.slice(6, -3).split('<').map(Number);
          expect(values).toEqual([...values].sort((a, b) => a - b));
        } else if (name === 'letter_counting') {
          expect([...check.matchAll(/\d+/g)].map(Number)).toEqual(
            Array.from({ length: Number(problem.answer) }, (_, n) => n + 1),
          );
        } else checkComparison(check.slice(6, -3));
        kept.set(name, (kept.get(name) ?? 0) + 1);
      }
    expect([...kept.values()]).toEqual(familyNames.map(() => 600));
  });

  it('states the same thing for the same facts whatever the phrasing', () => {
    fc.assert(
      fc.property(fc.nat(1e9), fc.constantFrom(...familyNames), (seed, name) => {
        const random = new Random(seed);
        const problem = generate(name, random);
        const again = pose(name, problem.metadata as never, 3, random);
        expect(chainOfThought(again)).toBe(chainOfThought(problem));
        expect(again.answer).toBe(problem.answer);
      }),
    );
  });
});
