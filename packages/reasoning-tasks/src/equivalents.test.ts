/** True and false positives of the verifiers that judge by the facts, and texts made to hurt them. */
import { Random } from '@minke/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { verifyAnswer } from './answer.ts';
import { allFamilyNames, generate, pose } from './families.ts';
import type { FactsOf, FamilyName } from './problem.ts';

function judge<Name extends FamilyName>(name: Name, facts: FactsOf[Name], visible: string) {
  return verifyAnswer(pose(name, facts, 2, new Random(1)), visible).score;
}

/** Facts, texts that answer, texts that do not. */
function corpus<Name extends FamilyName>(name: Name, facts: FactsOf[Name], right: string[], wrong: string[]) {
  return { name, right, wrong, score: (text: string) => judge(name, facts, text) };
}

const cases = [
  corpus(
    'countdown',
    { numbers: [3, 5, 7], target: 50, solution: '(7 + 3) * 5' },
    [
      '(7 + 3) * 5',
      '(3+7)*5',
      '5*(7+3)',
      '5 × (3 + 7)',
      '(3 + 7) × 5 = 50',
      'The answer is 5 * (3 + 7).',
      'The answer is **5*(3+7)**.',
      '$5*(3+7)$',
      'So \\boxed{5*(3+7)}',
      '((3)+(7))*5',
      '+(3+7)*5',
      'La respuesta es 5 * (3 + 7).',
    ],
    [
      '50',
      '5*7+5*3',
      '(7+3)*5*1',
      '(7+3)*5+0',
      '7+3*5',
      '(7+3)**5',
      '(7+3)*5 or 5*(7+3)',
      '73*5',
      '(7+3)*50/10',
      '(7+3)*5)',
      '5(7+3)',
      '(7.0+3)*5',
      'The answer is (7+3)*5. The answer is 50.',
      '\\boxed{(7+3)*5} \\boxed{50}',
      `${'('.repeat(60)}(7+3)*5${')'.repeat(60)}`,
      '(7+3)*5^1',
    ],
  ),
  corpus(
    'signed_sum',
    { numbers: [5, 3, 3, 1], target: 6, solution: '5+3-3+1' },
    ['5+3-3+1', '5-3+3+1', '5 - 3 + 3 + 1', '5-3+3+1 = 6', 'The answer is 5-3+3+1.'],
    ['3+5-3+1', '5+3-3-1', '5+3+1-3', '6', '5-3+3+1+0', '5*3-3*3'],
  ),
  corpus(
    'coin_change',
    { values: [1, 5, 10], count: 3, amount: 15, solution: [5, 5, 5] },
    ['5, 5, 5', '5+5+5', '[5, 5, 5]', 'The answer is 5, 5, 5.'],
    ['10, 5', '5, 10, 0', '15', '10, 4, 1', '5, 5, 5, 0', '-5, 10, 10'],
  ),
  corpus(
    'prime_factorization',
    { value: 60 },
    [
      '2 * 2 * 3 * 5',
      '5*3*2*2',
      '2 × 2 × 3 × 5',
      '60 = 2 * 2 * 3 * 5',
      '2, 2, 3, 5',
      '2 \\times 2 \\times 3 \\times 5',
    ],
    ['4 * 15', '2 * 2 * 15', '2 * 3 * 5', '60', '1 * 2 * 2 * 3 * 5', '2^2 * 3 * 5', '-2 * -2 * 3 * 5'],
  ),
  corpus(
    'fraction_simplification',
    { numerator: 6, denominator: 8 },
    ['3/4', '3 / 4', '\\frac{3}{4}', '\\boxed{\\frac{3}{4}}', '$\\dfrac{3}{4}$'],
    ['6/8', '9/12', '0.75', '4/3', '-3/4', '3/4/1', '3'],
  ),
  corpus(
    'simple_equations',
    { factor: 3, added: 4, total: 25, unknown: 'x' },
    ['7', 'x = 7', 'x=7', 'The answer is x = 7.', '\\boxed{7}'],
    ['8', '7x', '3*7+4=25', 'x', '-7', 'x = 7 or x = 8'],
  ),
  corpus(
    'palindrome_generation',
    { letters: 'abbac' },
    ['abcba', 'bacab', 'a b c b a', '"abcba"', 'BACAB'],
    ['abba', 'abcab', 'abccba', 'aabbc', 'abcbaa', ''],
  ),
  corpus(
    'tower_of_hanoi',
    { start: 'AA', goal: 'CC' },
    ['AB AC BC', 'A->B, A->C, B->C', 'AB BA AB AC BC', 'ab ac bc'],
    ['AC AC', 'AB AC', 'BC AC AB', 'AA', 'AB AC BC CA', 'AC', 'AB '.repeat(200)],
  ),
  corpus(
    'shortest_path',
    { size: 3, cells: 'S...#...E' },
    ['R R D D', 'D D R R', 'RRDD', 'r, r, d, d'],
    ['R D D R', 'R R D', 'R R D D U D', 'right right down down', 'R L R R D D', 'X'],
  ),
  corpus(
    'mini_sudoku',
    { cells: '1234341221434320' },
    ['1234 3412 2143 4321', '1234341221434321', '1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1'],
    ['1234 3412 2143 4322', '4321 2143 3412 1234', '1', '1234 3412 2143 4320'],
  ),
  corpus(
    'knights_knaves',
    {
      statements: [
        { claim: 'different', of: [1, 2] },
        { claim: 'different', of: [0, 1] },
        { claim: 'knave', of: [0] },
      ],
    },
    [
      'A knave, B knight, C knight',
      'A is a knave, B is a knight and C is a knight',
      'A knave; B knight; C knight',
      'A bribón, B caballero, C caballero',
    ],
    [
      'A knight, B knight, C knight',
      'A knave, B knight',
      'B knight, A knave, C knight',
      'A knave',
      'knave knight knight',
    ],
  ),
  corpus(
    'calendar_arithmetic',
    { start: 0, days: 8 },
    ['Tuesday', 'tuesday', 'martes', 'The answer is Tuesday.'],
    ['Monday', '1', 'Tuesday or Monday', 'Tuesdays'],
  ),
  corpus(
    'base_conversion',
    { value: 10, from: 10, to: 2 },
    ['1010', '0b1010', '01010'],
    ['10', '1011', '-1010', '1010.0'],
  ),
  corpus(
    'parity',
    { bits: '1101' },
    ['odd', 'Odd', 'impar', 'The answer is odd.'],
    ['even', 'par', '3', 'odd or even'],
  ),
  corpus(
    'truth_value',
    { values: [true, false], formula: ['and', 0, 1] },
    ['false', 'falso', 'False'],
    ['true', 'no', '0'],
  ),
  corpus(
    'word_sorting',
    { words: ['bob', 'abe'] },
    ['abe, bob', 'abe bob', '[abe, bob]', '"abe", "bob"'],
    ['bob, abe', 'abe', 'abe, bob, bob'],
  ),
  corpus(
    'number_filtering',
    { numbers: [3, 9, 5], bound: 4, action: 'keep', which: 'larger' },
    ['9, 5', '9 5', '[9, 5]'],
    ['5, 9', '9', '3', '9, 5, 5'],
  ),
  corpus(
    'time_intervals',
    { start: 60, end: 125, days: 0 },
    ['65', '65 minutes', '65 min'],
    ['1:05', '66', '65 hours'],
  ),
];

describe('verifyAnswer by facts', () => {
  it.each(cases.flatMap(({ name, right, score }) => right.map((text) => [name, text, score] as const)))(
    '%s accepts %j',
    (_, text, score) => expect(score(text)).toBe(1),
  );

  it.each(cases.flatMap(({ name, wrong, score }) => wrong.map((text) => [name, text, score] as const)))(
    '%s rejects %j',
    (_, text, score) => expect(score(text)).toBe(0),
  );

  it('cannot judge without facts what may be right in several ways, but knows the gold answer', () => {
    const row = { family: 'countdown', answer: '(7 + 3) * 5' } as const;
    expect(verifyAnswer(row, '(7 + 3) * 5').score).toBe(1);
    expect(verifyAnswer(row, '5 * (7 + 3)')).toEqual({ score: null, extracted: '5 * (7 + 3)' });
    expect(verifyAnswer({ family: 'gcd', answer: '12' }, '13').score).toBe(0);
    expect(verifyAnswer({ family: 'gcd' }, '13')).toEqual({ score: null, extracted: '13' });
  });

  it('cannot judge by facts that are not those of the family', () => {
    for (const metadata of [{}, { numbers: 3 }, [], { cells: 7 }])
      expect(verifyAnswer({ family: 'countdown', answer: '1', metadata }, '1').score).not.toBe(1);
    expect(verifyAnswer({ family: 'signed_sum', metadata: {} }, '5+3').score).toBeNull();
    expect(
      verifyAnswer({ family: 'mini_sudoku', metadata: { cells: 5 } }, '1234341221434321').score,
    ).toBeNull();
  });

  it('is bounded in time on every family, and scores hostile answers 0', () => {
    const random = new Random(5);
    const hostile = [
      '9'.repeat(1e6),
      `${'('.repeat(390)}`,
      '9^9^9^9^9',
      '\\boxed{'.repeat(1100),
      'answer is '.repeat(700),
      '{'.repeat(8000),
      ', '.repeat(3900),
      '*'.repeat(390),
      ' '.repeat(7999),
      'a:'.repeat(190),
      '-'.repeat(390),
      'A knave, '.repeat(40),
      '\u0000\uffff\ud800',
    ];
    const started = performance.now();
    for (const name of allFamilyNames) {
      const problem = generate(name, random, 3);
      for (const text of hostile)
        expect(verifyAnswer(problem, text).score, `${name} ${text.slice(0, 20)}`).toBe(0);
    }
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it('never throws, and judges any text', () => {
    const random = new Random(6);
    const problems = allFamilyNames.map((name) => generate(name, random, 3));
    fc.assert(
      fc.property(
        fc.constantFrom(...problems),
        fc.string({ unit: 'binary', maxLength: 30 }),
        (problem, text) => {
          const { score, extracted } = verifyAnswer(problem, text);
          expect(score === 1 ? extracted : null).toBe(score === 1 ? extracted : null);
          expect([0, 1]).toContain(score);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
