import { describe, expect, it } from 'vitest';
import { choiceVerifier, normalText, textVerifier } from './strings.ts';

describe('textVerifier', () => {
  const right: [string, string][] = [
    ['Tuesday', 'tuesday'],
    ['Tuesday', '<answer>Tuesday</answer>'],
    ['Tuesday', 'It is \\boxed{Tuesday}.'],
    ['Tuesday', '\\boxed{\\text{Tuesday}}'],
    ['Tuesday', ' “Tuesday.” '],
    ['New York', '<answer>new\n  york!</answer>'],
    ['caf\u00e9', 'cafe\u0301'],
    ['\uff21\uff22', 'ab'],
    ['red', '<answer>red</answer> <answer>Red</answer>'],
  ];
  const wrong: [string, string][] = [
    ['Tuesday', ''],
    ['Tuesday', 'Monday'],
    ['Tuesday', 'I think it is Tuesday'],
    ['Tuesday', '<answer>Monday</answer> <answer>Tuesday</answer>'],
    ['Tuesday', '<answer>Tuesday or Monday</answer>'],
    ['Tuesday', '<answer></answer>'],
    ['cat', 'cat cat'],
    ['cat', 'ca t'],
    ['cat', 'x'.repeat(10_000)],
  ];

  it.each(right)('takes %j from %j', (gold, text) => expect(textVerifier()(text, gold).score).toBe(1));
  it.each(wrong)('does not take %j from %j', (gold, text) =>
    expect(textVerifier()(text, gold).score).toBe(0),
  );

  it('is lenient with articles, punctuation and phrases where asked', () => {
    const lenient = textVerifier({ mode: 'lenient' });
    expect(lenient('The answer is: the red-brown fox.', 'red brown fox').score).toBe(1);
    expect(lenient('<answer>a fox</answer>', 'The Fox').score).toBe(1);
    expect(lenient('a dog', 'fox')).toEqual({ score: 0, extracted: 'dog' });
  });

  it('cannot judge against nothing', () => {
    expect(textVerifier()('x', ' ').score).toBeNull();
    expect(textVerifier()('x', '...').score).toBeNull();
    expect(normalText('y'.repeat(5000), 'strict')).toBe('');
  });
});

describe('choiceVerifier', () => {
  const right = [
    'B',
    'b',
    '(B)',
    'B.',
    '[B]',
    'Answer: B',
    'The answer is (B).',
    '**Answer:** B',
    '\\boxed{B}',
    '\\boxed{\\text{(B)}}',
    '<answer>B</answer>',
    'A is wrong. Answer: B',
    'answer is option B',
    'Answer: B\nAnswer: b',
  ];
  const wrong = [
    '',
    'A',
    'AB',
    'A or B',
    'I like B and C',
    'Answer: A',
    'Answer: A\nAnswer: B',
    '\\boxed{A} \\boxed{B}',
    '\\boxed{AB}',
    'E',
    '<answer>B</answer><answer>C</answer>',
    'Answer: Bob',
    'BBBB',
  ];

  it.each(right)('takes %j', (text) =>
    expect(choiceVerifier()(text, 'B')).toEqual({ score: 1, extracted: 'B' }),
  );
  it.each(wrong)('does not take %j', (text) => expect(choiceVerifier()(text, 'B').score).toBe(0));

  it('reads the last statement, or the only standing letter, where it may be lenient', () => {
    const lenient = choiceVerifier({ mode: 'lenient' });
    expect(lenient('Answer: A\nAnswer: B', 'B').score).toBe(1);
    expect(lenient('so it must be B here', '(B)').score).toBe(1);
    expect(lenient('B beats C', 'B')).toEqual({ score: 0, extracted: null });
  });

  it('cannot judge against a gold answer that is no letter of the set', () => {
    for (const gold of ['', 'E', 'AB', '2']) expect(choiceVerifier()('B', gold).score).toBeNull();
    expect(choiceVerifier({ letters: 'ABCDE' })('E', 'E').score).toBe(1);
    expect(() => choiceVerifier({ letters: 'A' })).toThrow(/different capital letters, got "A"/);
  });
});
