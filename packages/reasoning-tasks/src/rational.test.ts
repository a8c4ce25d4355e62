import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { evaluate, formatRational } from './rational.ts';

const value = (text: string) => {
  const found = evaluate(text);
  return found.ok ? formatRational(found.value) : found.problem;
};

describe('evaluate', () => {
  it.each([
    ['7', '7'],
    ['1+2*3', '7'],
    ['(1+2)*3', '9'],
    ['10-4-3', '3'],
    ['24/4/2', '3'],
    ['1/3+1/6', '1/2'],
    ['-2^2', '-4'],
    ['(-2)^2', '4'],
    ['2^3^2', '512'],
    ['2**10', '1024'],
    ['2^-2', '1/4'],
    ['2*-3', '-6'],
    ['--3', '3'],
    ['0.1+0.2', '3/10'],
    ['3 × 4 ÷ 2 − 1', '5'],
    ['1^99999999999999999999', '1'],
    ['(-1)^100000', '1'],
    ['(-1)^100001', '-1'],
    ['0^0', '1'],
  ])('computes %s exactly', (text, expected) => {
    expect(value(text)).toBe(expected);
  });

  it.each([
    ['', 'syntax'],
    ['1+', 'syntax'],
    ['(1', 'syntax'],
    ['1)', 'syntax'],
    ['1 2', 'syntax'],
    ['2(3)', 'syntax'],
    ['1e5', 'syntax'],
    ['process.exit()', 'syntax'],
    ['1/0', 'division-by-zero'],
    ['1/(2-2)', 'division-by-zero'],
    ['0^-1', 'division-by-zero'],
    ['2^0.5', 'syntax'],
    ['9^9^9', 'too-large'],
    ['9^99999999999999999999', 'too-large'],
    [`${'9'.repeat(250)}^9`, 'too-large'],
    ['1+'.repeat(200), 'too-long'],
    [`${'('.repeat(100)}1${')'.repeat(100)}`, 'too-deep'],
    ['-'.repeat(200), 'too-deep'],
    [`${'2^'.repeat(100)}1`, 'too-deep'],
  ])('refuses %s', (text, problem) => {
    expect(value(text)).toBe(problem);
  });

  it('is quick on hostile text', () => {
    const hostile = [
      '9'.repeat(1e7),
      '('.repeat(1e6),
      `${'9'.repeat(100)}*`.repeat(2),
      '9^9^9^9^9^9',
      '7*'.repeat(127),
      ' '.repeat(255),
      '99^600*'.repeat(20),
    ];
    const started = performance.now();
    for (const text of hostile) expect(evaluate(text).ok).toBe(false);
    expect(performance.now() - started).toBeLessThan(200);
  });

  it('agrees with the engine on whole numbers, and never throws', () => {
    const whole = fc.integer({ min: 0, max: 50 });
    fc.assert(
      fc.property(
        whole,
        whole,
        whole,
        fc.constantFrom('+', '-', '*'),
        fc.constantFrom('+', '-', '*'),
        (a, b, c, p, q) => {
          const apply = (x: number, sign: string, y: number) =>
            sign === '+' ? x + y : sign === '-' ? x - y : x * y;
          expect(value(`(${a}${p}${b})${q}${c}`)).toBe(String(apply(apply(a, p, b), q, c)));
          expect(value(`${a}${p}(${b}${q}${c})`)).toBe(String(apply(a, p, apply(b, q, c))));
        },
      ),
    );
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...'0123456789+-*/^(). x'), maxLength: 40 }),
        (text) => void evaluate(text),
      ),
    );
  });

  it('tells which numbers and operators were used', () => {
    expect(evaluate('(7 + 3) * 5')).toMatchObject({ numbers: ['7', '3', '5'], operators: '+*' });
  });
});
