/** Answers against slower ways to find them that share no code with the families. */
import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { verifyAnswer } from './answer.ts';
import { generate } from './families.ts';
import type { FactsOf, FamilyName, ProblemOf } from './problem.ts';

const upTo = (n: number) => Array.from({ length: n + 1 }, (_, i) => i);
const isPrime = (n: number) =>
  n > 1 &&
  upTo(n - 1)
    .slice(2)
    .every((d) => n % d !== 0);

const slow: { readonly [Name in FamilyName]?: (facts: FactsOf[Name], prompt: string) => string } = {
  gcd: ({ left, right }) =>
    String(
      upTo(left)
        .slice(1)
        .findLast((d) => left % d === 0 && right % d === 0),
    ),
  lcm: ({ left, right }) =>
    String(
      upTo(left * right)
        .slice(1)
        .find((m) => m % left === 0 && m % right === 0),
    ),
  basic_arithmetic: (_, prompt) => {
    const expression = (/[\d(][\d+\-* ()]*/.exec(prompt) as RegExpExecArray)[0].trim();
    // A reading by repeated replacement, innermost parentheses first.
    let text = expression.replaceAll(' ', '');
    while (!/^-?\d+$/.test(text)) {
      const before = text;
      text = text
        .replace(/\((-?\d+)\)/g, (_all, n: string) => n)
        .replaceAll('--', '+')
        .replaceAll('+-', '-');
      const inner = /\(([^()]*)\)/.exec(text)?.[1] ?? text;
      const step = /(\d+)\*(-?\d+)/.exec(inner) ?? /(?:^-)?\d+[-+]\d+/.exec(inner);
      if (step !== null) {
        const [, a, op, b] = /^(-?\d+)([-+*])(-?\d+)$/.exec(step[0]) as unknown as [
          string,
          string,
          string,
          string,
        ];
        const value =
          op === '*' ? Number(a) * Number(b) : op === '+' ? Number(a) + Number(b) : Number(a) - Number(b);
        text = text.replace(inner, inner.replace(step[0], String(value)));
      }
      if (text === before) return `stuck at ${text}`;
    }
    return text;
  },
  simple_equations: ({ factor, added, total }) => String(upTo(200).find((x) => factor * x + added === total)),
  modular_arithmetic: ({ operation, left, right, modulus }) => {
    let value = { '+': left + right, '-': left - right, '*': left * right }[operation];
    while (value >= modulus) value -= modulus;
    return String(value);
  },
  prime_factorization: ({ value }) => {
    const factors: number[] = [];
    let rest = value;
    for (const p of upTo(value).filter((n) => n > 1)) while (rest % p === 0 && factors.push(p)) rest /= p;
    return factors.join(' * ');
  },
  fraction_simplification: ({ numerator, denominator }) => {
    const q = upTo(denominator)
      .slice(1)
      .find((d) => (numerator * d) % denominator === 0) as number;
    return `${(numerator * q) / denominator}/${q}`;
  },
  base_conversion: ({ value, to }) => {
    let [digits, rest] = ['', value];
    for (; rest > 0; rest = Math.floor(rest / to)) digits = '0123456789abcdef'[rest % to] + digits;
    return digits;
  },
  count_bits: ({ value }) => String(upTo(12).filter((bit) => (value >> bit) & 1).length),
  parity: ({ bits }) => ([...bits].reduce((odd, bit) => odd !== (bit === '1'), false) ? 'odd' : 'even'),
  time_intervals: ({ start, end, days }) => {
    let minutes = 0;
    for (let at = start; at !== end + days * 1440; at++) minutes++;
    return String(minutes);
  },
  calendar_arithmetic: ({ start, days }) => {
    const date = new Date(Date.UTC(2024, 0, 1 + start));
    date.setUTCDate(date.getUTCDate() + days);
    return date.toLocaleDateString('en-US', { weekday: 'long', timeZone: 'UTC' });
  },
  count_primes: ({ from, to }) => String(upTo(to).filter((n) => n >= from && isPrime(n)).length),
  number_filtering: ({ numbers, bound, action, which }) =>
    numbers
      .filter((n) => {
        const hit = which === 'larger' ? n > bound : n < bound;
        return action === 'keep' ? hit : !hit;
      })
      .join(', '),
  word_sorting: ({ words }) => [...words].sort((a, b) => (a < b ? -1 : 1)).join(', '),
  spell_backward: ({ word }) => word.split('').reduce((text, letter) => letter + text, ''),
  caesar_cipher: ({ word }) => word,
  knights_knaves: ({ statements }) => {
    const fitting = upTo(2 ** statements.length - 1).filter((mask) => {
      const knight = (i: number) => Math.floor(mask / 2 ** i) % 2 === 1;
      return statements.every(({ claim, of: [a, b = 0] }, i) => {
        const first = knight(a as number);
        const said =
          claim === 'knight'
            ? first
            : claim === 'knave'
              ? !first
              : claim === 'same'
                ? first === knight(b)
                : first !== knight(b);
        return said === knight(i);
      });
    });
    expect(fitting).toHaveLength(1);
    return statements
      .map((_, i) => `${'ABCDE'[i]} ${Math.floor((fitting[0] as number) / 2 ** i) % 2 ? 'knight' : 'knave'}`)
      .join(', ');
  },
  mini_sudoku: ({ cells }) => {
    const found: string[] = [];
    const place = (grid: string) => {
      const at = grid.indexOf('0');
      if (at === -1) return void found.push(grid);
      for (const digit of '1234') {
        const clash = [...grid].some(
          (other, i) =>
            other === digit &&
            (i % 4 === at % 4 ||
              i >> 2 === at >> 2 ||
              (i >> 3 === at >> 3 && (i % 4) >> 1 === (at % 4) >> 1)),
        );
        if (!clash) place(grid.slice(0, at) + digit + grid.slice(at + 1));
      }
    };
    place(cells);
    expect(found).toHaveLength(1);
    return (found[0] as string).replaceAll(/(.{4})(?=.)/g, '$1 ');
  },
};

describe('answers', () => {
  it.each(Object.keys(slow) as FamilyName[])('%s: are those of a slower way', (name) => {
    const random = new Random(41);
    for (let i = 0; i < 120; i++) {
      const problem = generate(name, random, ((i % 4) + 1) as 1 | 2 | 3 | 4) as ProblemOf<typeof name>;
      const find = slow[name] as (facts: unknown, prompt: string) => string;
      expect(problem.answer, problem.prompt).toBe(find(problem.metadata, problem.prompt));
    }
  });

  it('of signed sums: every pattern of signs is judged by its sum', () => {
    const random = new Random(42);
    for (let i = 0; i < 60; i++) {
      const problem = generate('signed_sum', random, 3) as ProblemOf<'signed_sum'>;
      const { numbers, target } = problem.metadata;
      for (let mask = 0; mask < 2 ** (numbers.length - 1); mask++) {
        const signed = numbers.map((n, at) => (at > 0 && (mask >> (at - 1)) & 1 ? -n : n));
        const text = signed.map((n, at) => (at === 0 ? n : n < 0 ? ` - ${-n}` : ` + ${n}`)).join('');
        const sum = signed.reduce((a, b) => a + b);
        expect(verifyAnswer(problem, text).score, `${text} = ${target}`).toBe(sum === target ? 1 : 0);
      }
    }
  });

  it('of shortest paths: no shorter sequence of moves arrives, and every one of that length that does is right', () => {
    const random = new Random(43);
    for (let i = 0; i < 25; i++) {
      const problem = generate('shortest_path', random, 1) as ProblemOf<'shortest_path'>;
      const { cells } = problem.metadata;
      const arrives = (moves: string) => {
        let [row, column] = [Math.floor(cells.indexOf('S') / 3), cells.indexOf('S') % 3];
        for (const move of moves) {
          row += move === 'D' ? 1 : move === 'U' ? -1 : 0;
          column += move === 'R' ? 1 : move === 'L' ? -1 : 0;
          if (row < 0 || row > 2 || column < 0 || column > 2 || cells[row * 3 + column] === '#') return false;
        }
        return cells[row * 3 + column] === 'E';
      };
      const length = problem.answer.split(' ').length;
      let level = [''];
      for (let n = 1; n <= Math.min(length, 6); n++) {
        level = level.flatMap((moves) => [...'UDLR'].map((move) => moves + move));
        for (const moves of level)
          if (n === length || arrives(moves))
            expect(verifyAnswer(problem, moves).score, moves).toBe(n === length && arrives(moves) ? 1 : 0);
      }
    }
  });
});
