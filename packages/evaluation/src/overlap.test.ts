import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { auditOverlap } from './overlap.ts';

describe('auditOverlap', () => {
  const evaluation = [
    { id: 'e1', text: 'A train leaves at 9:00 and runs at 60 km an hour. When has it run 90 km?' },
    { id: 'e2', text: 'What is 17 + 25?', canonical: '17+25' },
  ];

  it('finds equal problems whatever their case and white space, or by canonical form', async () => {
    const report = await auditOverlap(
      [
        '  a TRAIN leaves at 9:00 and runs at 60 km an hour; when has it run 90 km',
        { text: 'Add 25 and 17.', canonical: '17+25' },
        'else',
      ],
      evaluation,
    );
    expect(report.exact).toEqual({ training: 2, evaluation: 2 });
    expect(report).toMatchObject({ trainingItems: 3, evaluationItems: 2, withoutNGrams: 1 });
    expect(report.examples.find(({ training }) => training === 1)).toEqual({
      training: 1,
      evaluation: 'e2',
      kind: 'exact',
      text: '17+25',
    });
  });

  it('agrees with brute force on random texts', async () => {
    const random = new Random(9);
    const text = (length: number) =>
      Array.from({ length }, () => random.pick(['a', 'b', 'c', 'd'])).join(' ');
    const items = Array.from({ length: 30 }, (_, i) => ({ id: `e${i}`, text: text(12) }));
    const training = Array.from({ length: 200 }, () => text(15));
    const shares = (a: string, b: string, n: number) => {
      const grams = (of: string) =>
        of.split(' ').flatMap((_, i, all) => (i + n <= all.length ? [all.slice(i, i + n).join(' ')] : []));
      const own = new Set(grams(a));
      return grams(b).some((gram) => own.has(gram));
    };
    for (const n of [3, 5, 7]) {
      const report = await auditOverlap(training, items, { n });
      expect(report.nGram).toEqual({
        training: training.filter((row) => items.some((item) => shares(item.text, row, n))).length,
        evaluation: items.filter((item) => training.some((row) => shares(item.text, row, n))).length,
      });
    }
  });

  it('leaves out the phrases all problems share', async () => {
    const asked = (a: string) =>
      `Please work out with care and show each step of it now: ${a} and tell me the one final value that you have found`;
    const items = Array.from({ length: 20 }, (_, i) => ({
      id: `${i}`,
      text: asked(`${i} plus ${i + 1} plus ${i + 2} minus ${i}`),
    }));
    const training = [asked('500 times 600')];
    expect((await auditOverlap(training, items)).nGram.training).toBe(1);
    const audited = await auditOverlap(training, items, { templateShare: 0.5 });
    expect(audited.nGram).toEqual({ training: 0, evaluation: 0 });
    expect(audited.boilerplate).toBeGreaterThan(0);
    const leaked = await auditOverlap([`so ${items[3]?.text} ok`], items, { templateShare: 0.5 });
    expect(leaked.nGram).toEqual({ training: 1, evaluation: 1 });
  });

  it('streams training text and keeps few examples', async () => {
    async function* many() {
      for (let i = 0; i < 5000; i++) yield i % 2 ? (evaluation[0]?.text as string) : `nothing ${i}`;
    }
    const report = await auditOverlap(many(), evaluation, { maxExamples: 3 });
    expect(report).toMatchObject({
      trainingItems: 5000,
      exact: { training: 2500, evaluation: 1 },
      nGram: { training: 2500, evaluation: 1 },
    });
    expect(report.examples).toHaveLength(3);
  });

  it('cuts Chinese into characters and names bad settings', async () => {
    const items = [{ id: 'z', text: '小明有三个苹果又买了五个现在有几个' }];
    expect((await auditOverlap(['题目：小明有三个苹果又买了五个！'], items)).nGram.evaluation).toBe(1);
    await expect(auditOverlap([], items, { n: 0 })).rejects.toThrow(/n >= 1/);
  });
});
