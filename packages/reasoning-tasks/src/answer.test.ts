import { Random } from '@minke/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Answerable, verify, verifyAnswer } from './answer.ts';
import { familyNames, generate } from './families.ts';
import { completionText } from './solution.ts';

const sum: Answerable = { family: 'chain_sum', answer: '1325' };
const negative: Answerable = { family: 'chain_sum', answer: '-629' };
const product: Answerable = { family: 'products', answer: '4042' };
const sorted: Answerable = { family: 'number_sorting', answer: '12, 45, 300' };
const count: Answerable = { family: 'letter_counting', answer: '3' };
const larger: Answerable = { family: 'number_comparison', answer: '977' };

const right: [Answerable, string][] = [
  [sum, 'The answer is 1325.'],
  [sum, '\n\nThe answer is 1325.\n'],
  [sum, '1325'],
  [sum, '348 + 977 = 1325'],
  [sum, '348 + 977 = 1325.'],
  [sum, '348 + 977 = 1,325'],
  [sum, '**1325**'],
  [sum, 'The answer is **1,325**.'],
  [sum, '**Answer:** 1325'],
  [sum, 'Answer: 1325'],
  [sum, 'the answer is: $1325$'],
  [sum, 'We get $\\boxed{1325}$.'],
  [sum, 'So 8+7=15, and so on: \\boxed{1325}'],
  [sum, '+1325'],
  [sum, '\\boxed{1325} again: \\boxed{1325}'],
  [negative, 'The answer is -629.'],
  [negative, '348 - 977 = -629'],
  [negative, '348 − 977 = −629'],
  [negative, '\\boxed{-629}'],
  [product, '47 × 86 = 4042'],
  [product, '`4042`'],
  [sorted, 'The answer is 12, 45, 300.'],
  [sorted, '12, 45, 300'],
  [sorted, '[12, 45, 300]'],
  [sorted, '12 45 300'],
  [sorted, '12,45,300'],
  [sorted, '\\boxed{12, 45, 300}'],
  [count, 'The answer is 3.'],
  [count, '3'],
  [larger, 'The answer is 977.'],
];

const wrong: [Answerable, string][] = [
  [sum, ''],
  [sum, 'The answer is 1326.'],
  [sum, 'The answer is 13250.'],
  [sum, 'The answer is 325.'],
  [sum, 'The answer is -1325.'],
  [sum, 'The answer is 1325 or 1326.'],
  [sum, 'The answer is 1325. The answer is 1326.'],
  [sum, 'The answer is 1325, I think.'],
  [sum, 'The answer is 1325.5'],
  [sum, 'The answer is 13,25.'],
  [sum, 'The answer is 1325 1325.'],
  [sum, '348 + 977'],
  [sum, '1325 = 348 + 977'],
  [sum, '1300 + 25'],
  [sum, '1325 dollars'],
  [sum, 'It is one of 1324 1325 1326'],
  [sum, '\\boxed{1325} \\boxed{1326}'],
  [sum, '\\boxed{348+977}'],
  [sum, '\\boxed{}'],
  [sum, '1.325e3'],
  [sum, '0x52d'],
  [sum, '١٣٢٥'],
  [sum, 'The answer is 1325. I repeat: the answer is 1325.'],
  [negative, 'The answer is 629.'],
  [negative, 'The answer is - 629.'],
  [negative, '--629'],
  [product, '47 × 86 = 4024'],
  [sorted, 'The answer is 45, 12, 300.'],
  [sorted, 'The answer is 300, 45, 12.'],
  [sorted, 'The answer is 12, 45.'],
  [sorted, 'The answer is 12, 45, 300, 300.'],
  [sorted, 'The answer is 12, 45, 300, 561.'],
  [sorted, '12, 45, 300, ...'],
  [sorted, '12,, 45, 300'],
  [sorted, '1245300'],
  [count, 'The answer is three.'],
  [count, 'r appears 3 times in strawberry'],
  [count, '4'],
  [larger, '348'],
  [larger, '348 < 977'],
];

describe('verifyAnswer', () => {
  it.each(right)('accepts %j as %j', (problem, visible) => {
    expect(verifyAnswer(problem, visible)).toEqual({ score: 1, extracted: problem.answer });
  });

  it.each(wrong)('rejects %j as %j', (problem, visible) => {
    expect(verifyAnswer(problem, visible).score).toBe(0);
  });

  it('reads a page of digits without trying to compute with it', () => {
    expect(verifyAnswer(sum, '9'.repeat(1_000_000))).toEqual({ score: 0, extracted: null });
  });

  it('compares exactly beyond double precision', () => {
    const big = { family: 'products', answer: '90071992547409930' } as const;
    expect(verifyAnswer(big, 'The answer is 90071992547409930.').score).toBe(1);
    expect(verifyAnswer(big, 'The answer is 90071992547409931.').score).toBe(0);
  });

  it('gives null where there is no usable gold answer, still reading the completion', () => {
    for (const answer of [undefined, null, '', 'unknown', '1, x'])
      expect(verifyAnswer({ family: 'chain_sum', answer }, 'The answer is 5.')).toEqual({
        score: null,
        extracted: '5',
      });
  });

  it('never throws and never accepts text without the right digits', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const { score, extracted } = verifyAnswer(sum, text);
        expect(score).toBe(extracted === '1325' ? 1 : 0);
        if (score === 1) expect(text.replaceAll(/\D/g, '')).toContain('1325');
      }),
    );
  });
});

describe('verify', () => {
  it('looks only behind the one closing think tag', () => {
    expect(verify(sum, '348+977\n1325\n</think>\nThe answer is 1325.').score).toBe(1);
    expect(verify(sum, '<think>\nThe answer is 7.\n</think>\nThe answer is 1325.').score).toBe(1);
    expect(verify(sum, 'The answer is 1325.\n</think>\nThe answer is 7.').score).toBe(0);
    expect(verify(sum, 'The answer is 1325.\n</think>\n').score).toBe(0);
  });

  it('finds no answer in a thought that never ends or ends twice', () => {
    expect(verify(sum, 'The answer is 1325.')).toEqual({ score: 0, extracted: null });
    expect(verify(sum, '</think>7</think>The answer is 1325.')).toEqual({ score: 0, extracted: null });
    expect(verify({ family: 'chain_sum' }, 'The answer is 1325.')).toEqual({ score: null, extracted: null });
  });

  it('gives 1 to every solution and 0 to the solution of any other answer', () => {
    const random = new Random(11);
    for (const name of familyNames)
      for (let i = 0; i < 400; i++) {
        const problem = generate(name, random, ((i % 3) + 1) as 1 | 2 | 3);
        const other = generate(name, random, 3);
        expect(verify(problem, completionText(problem)).score).toBe(1);
        expect(verify(problem, completionText(problem, { verify: true })).score).toBe(1);
        expect(verify(problem, completionText(other)).score).toBe(problem.answer === other.answer ? 1 : 0);
      }
  });
});
