import { readFileSync } from 'node:fs';
import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { equalAnswers, unequalAnswers, unreadableGold } from '../testing/maths-corpus.ts';
import { gsm8kVerifier, mathsEqual, mathVerifier } from './maths.ts';
import { parseMaths } from './maths-parser.ts';
import { boxedContents, lastNumber } from './stated-answer.ts';

const strict = mathVerifier();
const lenient = mathVerifier({ mode: 'lenient' });

describe('mathVerifier on the corpus', () => {
  it.each(equalAnswers)('takes %j for %j', (gold, answer) => {
    expect(strict(`So \\boxed{${answer}}.`, gold)).toMatchObject({ score: 1 });
    expect(strict(`<answer>${answer}</answer>`, gold)).toMatchObject({ score: 1 });
    expect(lenient(`So \\boxed{${answer}}.`, gold)).toMatchObject({ score: 1 });
  });

  it.each(unequalAnswers)('does not take %j for %j', (gold, answer) => {
    expect(strict(`So \\boxed{${answer}}.`, gold)).toMatchObject({ score: 0 });
    expect(parseMaths(gold)).not.toBeNull();
  });

  it.each(unreadableGold)('cannot judge against %j', (gold) => {
    expect(strict('\\boxed{1}', gold).score).toBeNull();
    expect(lenient('1', gold).score).toBeNull();
    expect(strict('nothing', gold)).toEqual({ score: null, extracted: null });
  });

  it('agrees both ways round wherever nothing is left to compute', () => {
    for (const [a, b] of equalAnswers) {
      if (a.includes('boxed')) continue;
      expect(mathsEqual(a, b), `${a} = ${b}`).toBe(true);
      expect(mathsEqual(b, a), `${b} = ${a}`).toBe(true);
    }
  });
});

describe('mathVerifier', () => {
  it('is strict: a box or tag, all statements equal, nothing left to compute', () => {
    expect(strict('The answer is 42.', '42')).toEqual({ score: 0, extracted: null });
    expect(strict('\\boxed{42} and again \\boxed{42.0}', '42').score).toBe(1);
    expect(strict('\\boxed{41} no, \\boxed{42}', '42')).toEqual({ score: 0, extracted: null });
    expect(strict('\\boxed{42} \\boxed{?}', '42').score).toBe(0);
    expect(strict('\\boxed{6*7}', '42').score).toBe(0);
    expect(strict('\\boxed{\\boxed{42}}', '42').score).toBe(1);
    expect(strict('\\boxed{42', '42').score).toBe(0);
    expect(strict('\\boxed {\\frac{1}{2}}', '0.5').score).toBe(1);
  });

  it('is lenient where asked: it looks where a reader would', () => {
    for (const text of [
      'The answer is 42.',
      'Answer: **42**',
      'the answer is 42. I am sure.',
      'thus $x = 42$, done',
      'so \\(42\\)',
      '6*7\n= 42',
      'We have 42 apples left',
      '\\boxed{41} no, \\boxed{42}',
      '\\boxed{6*7}',
      '42\\%',
    ])
      expect(lenient(text, '42').score, text).toBe(1);
    expect(lenient('50', '50\\%').score).toBe(1);
    for (const text of ['43', 'The answer is 43, not 42.5', '', 'none'])
      expect(lenient(text, '42').score, text).toBe(0);
  });

  it('tells the normal form it read', () => {
    expect(strict('\\boxed{\\frac{6}{8}}', '1').extracted).toBe('3/4');
    expect(strict('\\boxed{2+\\sqrt{12}\\pi}', '1').extracted).toBe('2 + 2*sqrt(3)*pi^1');
    expect(strict('\\boxed{2, 1}', '1').extracted).toBe('{1, 2}');
  });

  it('agrees with sympy', () => {
    const file = new URL('../../fixtures/maths-equal.json', import.meta.url);
    const rows: [string, string, boolean][] = JSON.parse(readFileSync(file, 'utf8'));
    expect(rows).toHaveLength(300);
    for (const [a, b, equal] of rows) expect(mathsEqual(a, b), `${a} and ${b}`).toBe(equal);
  });

  it('agrees with floating point on random expressions', () => {
    const random = new Random(17);
    const write = () => {
      const n = random.integer(1, 20);
      return random.pick([`${n}`, `\\sqrt{${n}}`, `${n}\\pi`]);
    };
    const value = (text: string) =>
      text.includes('sqrt')
        ? Math.sqrt(Number(/\d+/.exec(text)?.[0]))
        : Number(/\d+/.exec(text)?.[0]) * (text.includes('pi') ? Math.PI : 1);
    const evaluated = (normal: string) =>
      normal === '0'
        ? 0
        : normal.split(' + ').reduce((sum, term) => {
            const [, n, d = '1', radicand = '1', power = '0'] =
              /^(-?\d+)(?:\/(\d+))?(?:\*sqrt\((\d+)\))?(?:\*pi\^(-?\d+))?$/.exec(term) as RegExpExecArray;
            return sum + (Number(n) / Number(d)) * Math.sqrt(Number(radicand)) * Math.PI ** Number(power);
          }, 0);
    for (let round = 0; round < 500; round++) {
      const [a, b, c, d] = [write(), write(), write(), write()];
      const sign = random.pick(['+', '-']);
      const times = random.pick(['*', '\\cdot', '\\times']);
      const text = `(${a} ${sign} ${b}) ${times} \\frac{${c}}{${d}}`;
      const expected = ((value(a) + (sign === '+' ? 1 : -1) * value(b)) * value(c)) / value(d);
      const parsed = parseMaths(text);
      expect(parsed, text).not.toBeNull();
      expect(evaluated(parsed?.normal as string), text).toBeCloseTo(expected, 6);
    }
  });
});

describe('hostile answers', () => {
  const hostile: [string, string][] = [
    ['9^9^9^9', '\\boxed{9^9^9^9}'],
    ['a tower in braces', '\\boxed{9^{9^{9^{9}}}}'],
    ['a large power', '\\boxed{9999999999^{1024}}'],
    ['powers of powers', `\\boxed{${'('.repeat(40)}2^{1000}${')^{1000}'.repeat(40)}}`],
    ['a million digits', `\\boxed{${'9'.repeat(1_000_000)}}`],
    ['a million digits bare', '9'.repeat(1_000_000)],
    ['a million commas', ','.repeat(1_000_000)],
    ['nested braces', `\\boxed{${'{'.repeat(10_000)}1${'}'.repeat(10_000)}}`],
    ['nested parentheses', `\\boxed{${'('.repeat(10_000)}1${')'.repeat(10_000)}}`],
    ['nested parentheses that fit', `\\boxed{${'('.repeat(2000)}1${')'.repeat(2000)}}`],
    ['nested fractions', `\\boxed{${'\\frac{1}{'.repeat(300)}1${'}'.repeat(300)}}`],
    ['nested roots', `\\boxed{${'\\sqrt{'.repeat(500)}2${'}'.repeat(500)}}`],
    ['open braces', '{'.repeat(1_000_000)],
    ['nested boxes', '\\boxed{'.repeat(100_000) + '}'.repeat(100_000)],
    ['open boxes', '\\boxed{'.repeat(100_000)],
    ['many boxes', Array.from({ length: 100_000 }, (_, i) => `\\boxed{${i}}`).join('')],
    ['many tags', '<answer>'.repeat(100_000)],
    ['many dollars', '$'.repeat(1_000_000)],
    ['spaces', `\\boxed{1${' '.repeat(4000)}x}`],
    ['many spaces', `The answer is${' '.repeat(1_000_000)}x`],
    ['many signs', `\\boxed{${'-'.repeat(4000)}1}`],
    ['a sum of roots', `\\boxed{${Array.from({ length: 300 }, (_, i) => `\\sqrt{${i + 2}}`).join('+')}}`],
    ['a product of sums', `\\boxed{${'(1+\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7}+\\pi)'.repeat(80)}}`],
    ['a root of a large number', `\\boxed{\\sqrt{${'7'.repeat(900)}}}`],
    ['a root of a large semiprime', '\\boxed{\\sqrt{1000000016000000063}}'],
    ['a long list', `\\boxed{${'1,'.repeat(2000)}1}`],
    ['a deep exponent', `\\boxed{2${'^2'.repeat(2000)}}`],
    ['factorial-like text', '\\boxed{100000!!!!}'],
    ['a large scientific exponent', '\\boxed{1e9999}'],
    ['code', '\\boxed{process.exit(1)}'],
    ['prototype words', '\\boxed{__proto__}'],
    ['control characters', '\\boxed{\u00011\u0001}'],
    ['lone surrogates', '\\boxed{\ud8001}'],
  ];

  it.each(hostile)('cost little and score nothing: %s', (_, text) => {
    const started = performance.now();
    expect(strict(text, '1000003').score).toBe(0);
    expect(lenient(text, '1000003').score).toBe(0);
    expect(gsm8kVerifier()(`#### ${text}`, '1000003')).toMatchObject({ score: 0 });
    expect(performance.now() - started).toBeLessThan(1500);
  });

  it('may be the gold answer too', () => {
    for (const [, text] of hostile) {
      const started = performance.now();
      strict('\\boxed{1}', text);
      expect(performance.now() - started).toBeLessThan(1500);
    }
  });

  it('never make it throw', () => {
    const random = new Random(23);
    const pieces = [
      '\\frac',
      '{',
      '}',
      '(',
      ')',
      '[',
      ']',
      '1',
      '2.5',
      ',',
      '^',
      '\\sqrt',
      '-',
      '+',
      '%',
      '\\{',
      '\\}',
      '\\pi',
      '\\cup',
      '\\pm',
      ' ',
      '/',
      '\\infty',
      '\\text{cm}',
      'x',
      '=',
      '\\overline{3}',
      '0.',
    ];
    for (let round = 0; round < 5000; round++) {
      const text = Array.from({ length: random.integer(1, 14) }, () => random.pick(pieces)).join('');
      expect([0, 1, null]).toContain(strict(`\\boxed{${text}}`, text).score);
      lenient(text, '2');
    }
  });
});

describe('boxedContents', () => {
  it('matches braces and takes the innermost box', () => {
    expect(boxedContents('a \\boxed{1} {b} \\fbox{\\frac{1}{2}} \\boxed{\\{1, 2\\}}')).toEqual([
      '1',
      '\\frac{1}{2}',
      '\\{1, 2\\}',
    ]);
    expect(boxedContents('\\boxed{a \\boxed{b} c}')).toEqual(['b']);
    expect(boxedContents('\\boxed 5, \\boxed{open, }} \\boxed{x}')).toEqual(['open, ', 'x']);
  });
});

describe('gsm8kVerifier', () => {
  const gold = 'She has 20 + 1,222 = 1,242.\n#### 1,242';
  const right = [
    '#### 1242',
    'so\n#### 1,242',
    '#### $1,242',
    '#### 1242.',
    '#### 1242.00',
    '####1242',
    '#### 1242\nBye',
    '#### +1242',
  ];
  const wrong = [
    '1242',
    '#### 1243',
    '####',
    '#### 1242 apples',
    '#### 1242\n#### 1242',
    '### 1242',
    '#### 12,42',
    '#### -1242',
    '',
  ];

  it.each(right)('takes %j', (text) => {
    expect(gsm8kVerifier()(text, gold)).toEqual({ score: 1, extracted: '1242' });
    expect(gsm8kVerifier({ mode: 'lenient' })(text, gold)).toMatchObject({ score: 1 });
  });

  it.each(wrong)('does not take %j', (text) => {
    expect(gsm8kVerifier()(text, gold)).toMatchObject({ score: 0 });
  });

  it('takes the last number only where it may be lenient', () => {
    const lenientVerifier = gsm8kVerifier({ mode: 'lenient' });
    expect(lenientVerifier('In all she has 1,242 apples.', gold)).toEqual({ score: 1, extracted: '1242' });
    expect(lenientVerifier('1242 then 7', gold)).toMatchObject({ score: 0, extracted: '7' });
    expect(lenientVerifier('#### 1242\nand 7', gold)).toMatchObject({ score: 1 });
    expect(lenientVerifier('no number', gold)).toEqual({ score: 0, extracted: null });
  });

  it('cannot judge against a gold answer without a number', () => {
    for (const unknown of ['', 'unknown', '#### ?', '#### 1 2'])
      expect(gsm8kVerifier()('#### 5', unknown)).toEqual({ score: null, extracted: '5' });
  });

  it('finds the last number as written', () => {
    expect(lastNumber('from 3-5 to -7.25, v2x')).toBe('-7.25');
    expect(lastNumber('1,234,567 or so')).toBe('1,234,567');
    expect(lastNumber('none')).toBeNull();
  });
});
