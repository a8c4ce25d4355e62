import { Random } from '@minke/core';
import { completionText, heldOut, type Problem } from '@minke/reasoning-tasks';
import { describe, expect, it } from 'vitest';
import { passAtK } from './intervals.ts';
import { majorityAtK, type Vote } from './majority.ts';
import { compareSystems, sampleReportMarkdown, summariseSamples } from './sample-report.ts';
import { collectSamples, hasThought, type SampleRecord, taskJudge } from './samples.ts';

describe('passAtK', () => {
  it("equals human-eval's estimator", () => {
    for (const [n, c, k, expected] of [
      [200, 13, 10, 0.4975511147306061],
      [64, 1, 8, 0.125],
      [1024, 700, 1, 0.68359375],
      [1000, 3, 256, 0.5885949436410358],
      [10, 10, 3, 1],
      [256, 5, 100, 0.9180824204039713],
    ] as const)
      expect(passAtK(n, c, k)).toBeCloseTo(expected, 12);
  });
});

describe('majorityAtK', () => {
  const votes = (text: string): Vote[] =>
    [...text].map((answer) => ({ answer: answer === '-' ? null : answer, correct: answer === 'a' }));

  it('counts ties as breaking them at random would', () => {
    for (const [text, expected] of [
      ['aab', 1],
      ['abb', 0],
      ['ab', 0.5],
      ['abc', 1 / 3],
      ['bc', 0],
      ['aabbc', 0.5],
      ['---', 0],
      ['-a-', 1],
      ['a', 1],
    ] as const)
      expect(majorityAtK(votes(text), text.length)).toBeCloseTo(expected, 12);
    expect(majorityAtK(votes('ba'), 2, 'first')).toBe(0);
    expect(majorityAtK(votes('ab'), 2, 'first')).toBe(1);
  });

  it('is right on average over random orders, by listing all groups', () => {
    const bag = votes('aaabbcd-');
    let sum = 0;
    let groups = 0;
    for (let mask = 0; mask < 256; mask++) {
      const chosen = bag.filter((_, i) => (mask >> i) & 1);
      if (chosen.length !== 4) continue;
      sum += majorityAtK(chosen, 4);
      groups++;
    }
    const random = new Random(4);
    let estimate = 0;
    for (let round = 0; round < 20_000; round++)
      estimate += majorityAtK(random.shuffle([...bag]), 4) / 20_000;
    expect(Math.abs(estimate - sum / groups)).toBeLessThan(0.01);
  });

  it('says what is inconsistent', () => {
    expect(() => majorityAtK(votes('ab'), 3)).toThrow(/1 <= k <= 2 samples, got 3/);
    expect(() =>
      majorityAtK(
        [
          { answer: '4', correct: true },
          { answer: '4', correct: false },
        ],
        2,
      ),
    ).toThrow(/normal form/);
  });
});

const record = (
  id: string,
  sample: number,
  strict: number | null,
  rest: Partial<SampleRecord> = {},
): SampleRecord => ({
  id,
  family: 'sums',
  sample,
  strict,
  answer: strict === null ? null : String(strict),
  length: 100,
  truncated: false,
  thought: true,
  ...rest,
});

describe('summariseSamples', () => {
  it('computes each number as one would by hand', () => {
    const records = [
      ...[1, 1, 0, 0].map((strict, i) => record('p', i, strict, { lenient: 1, length: 10 * (i + 1) })),
      ...[0, 0, 0, 1].map((strict, i) =>
        record('q', i, strict, { lenient: strict, length: 100, thought: false }),
      ),
      ...[1, null, 1, 1].map((strict, i) =>
        record('r', i, strict, {
          family: 'odd',
          length: 5000,
          truncated: i === 0,
          answer: i === 0 ? null : '7',
        }),
      ),
    ];
    const { total, families, lengths } = summariseSamples(records, {
      passAt: [1, 2, 4, 8],
      lengthEdges: [50, 1000],
    });
    expect(total).toMatchObject({ problems: 3, samples: 12, unjudged: 1 });
    expect(total.passAt1?.value).toBeCloseTo((0.5 + 0.25 + 1) / 3, 12);
    expect(total.lenientPassAt1?.value).toBeCloseTo((1 + 0.25) / 2, 12);
    expect(Object.keys(total.passAtK)).toEqual(['1', '2', '4']);
    expect(total.passAtK['1']?.value).toBeCloseTo(0.375, 12);
    expect(total.passAtK['2']?.value).toBeCloseTo((passAtK(4, 2, 2) + passAtK(4, 1, 2)) / 2, 12);
    expect(total.majorityAtK['4']?.value).toBeCloseTo(0.25, 12);
    expect(total.unanswered).toBeCloseTo(1 / 11, 12);
    expect(total.truncated).toBeCloseTo(1 / 12, 12);
    expect(total.thought).toBeCloseTo(8 / 12, 12);
    expect(total.length).toMatchObject({
      max: 5000,
      meanRight: (10 + 20 + 100 + 15_000) / 6,
      meanWrong: (30 + 40 + 300) / 5,
    });
    expect(families.odd?.passAt1?.value).toBe(1);
    expect(families.odd?.passAtK).toEqual({});
    expect(lengths).toEqual([
      { from: 0, to: 50, samples: 4, right: 2, accuracy: 0.5 },
      { from: 50, to: 1000, samples: 4, right: 1, accuracy: 0.25 },
      { from: 1000, to: null, samples: 3, right: 3, accuracy: 1 },
    ]);
  });

  it("gives Wilson's interval for one sample a problem", () => {
    const records = Array.from({ length: 100 }, (_, i) => record(`p${i}`, 0, i < 90 ? 1 : 0));
    const { total } = summariseSamples(records);
    expect(total.passAt1?.low).toBeCloseTo(0.825634, 6);
    expect(total.majorityAtK).toEqual({});
  });

  it('does not depend on the order of records, and is plain JSON', () => {
    const random = new Random(1);
    const records = Array.from({ length: 160 }, (_, i) =>
      record(`p${Math.floor(i / 8)}`, i % 8, random.integer(0, 2), { length: i }),
    );
    const report = summariseSamples(records, { seed: 2 });
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    const again = summariseSamples(random.shuffle([...records]), { seed: 2 });
    expect(again.total.passAt1?.value).toBeCloseTo(report.total.passAt1?.value as number, 12);
    expect(again.total.majorityAtK['8']?.value).toBeCloseTo(
      report.total.majorityAtK['8']?.value as number,
      12,
    );
  });

  it('prints Markdown, and has nothing to say about nothing', () => {
    const lines = sampleReportMarkdown(
      summariseSamples([record('p', 0, 1, { family: 'a|b' }), record('p', 1, 0, { family: 'a|b' })]),
    ).split('\n');
    expect(lines[0]).toBe('Percent, with 95 % intervals over problems.');
    expect(lines[2]).toBe(
      '| family | problems | samples | pass@1 | lenient | pass@2 | maj@2 | length | cut | thinks | no answer | unjudged |',
    );
    expect(lines[4]).toBe(
      '| a\\|b | 1 | 2 | 50.0 (50.0 to 50.0) | - | 100.0 (20.7 to 100.0) | 50.0 (50.0 to 50.0) | 100.0 | 0.0 | 100.0 | 0.0 | 0 |',
    );
    expect(lines.at(-1)).toBe('| 64 to 128 | 2 | 50.0 |');
    const empty = summariseSamples([]);
    expect(empty.total).toMatchObject({ problems: 0, passAt1: null, length: null, thought: null });
    expect(sampleReportMarkdown(empty)).toContain('| all | 0 | 0 | - | - |');
    const unjudged = summariseSamples([record('p', 0, null)]).total;
    expect(unjudged).toMatchObject({ passAt1: null, unjudged: 1, passAtK: {}, majorityAtK: {} });
  });
});

describe('compareSystems', () => {
  it('pairs by id over problems judged on both sides', () => {
    const a = [record('p', 0, 0), record('q', 0, 1), record('x', 0, 1)];
    const b = [record('q', 0, 1), record('p', 0, 1), record('p', 1, 0), record('x', 0, null)];
    expect(compareSystems(a, b)).toMatchObject({ n: 2, value: 0.25 });
    expect(() => compareSystems(a, [record('z', 0, 1)])).toThrow(
      /common judged problems, got none of 3 and 1/,
    );
  });
});

describe('collectSamples', () => {
  const problems = heldOut('products', 'test', { seed: 1, count: 10 }) as Problem[];
  const byPrompt = new Map(problems.map((problem) => [problem.prompt, problem]));
  const sample = async (prompts: string[], count: number) =>
    prompts.map((prompt) =>
      Array.from({ length: count }, (_, k) => ({
        completion: k === 0 ? completionText(byPrompt.get(prompt) as Problem) : '</think>\nThe answer is -5.',
        length: 10 + k,
        truncated: k === 2,
      })),
    );

  it('judges every sample, batch after batch, and keeps no text', async () => {
    const records: SampleRecord[] = [];
    for await (const row of collectSamples({
      problems,
      sample,
      samples: 3,
      batchSize: 4,
      strict: taskJudge,
      lenient: () => ({ score: 1, extracted: null }),
    }))
      records.push(row);
    expect(records).toHaveLength(30);
    expect(
      records
        .slice(0, 3)
        .map(({ strict, lenient, length, truncated, thought }) => [
          strict,
          lenient,
          length,
          truncated,
          thought,
        ]),
    ).toEqual([
      [1, 1, 10, false, true],
      [0, 1, 11, false, false],
      [0, 1, 12, true, false],
    ]);
    expect(summariseSamples(records).total.passAtK['1']?.value).toBeCloseTo(1 / 3, 12);
  });

  it('refuses short answers and repeated problems', async () => {
    const drain = async (options: Parameters<typeof collectSamples<Problem>>[0]) => {
      for await (const _ of collectSamples(options));
    };
    await expect(drain({ problems, sample: async () => [], strict: taskJudge })).rejects.toThrow(
      /8 completions for each of 10 prompts, got \[\]/,
    );
    await expect(drain({ problems: [...problems, ...problems], sample, strict: taskJudge })).rejects.toThrow(
      /20 problems, got 10 ids/,
    );
  });

  it('knows a thought when it sees one', () => {
    for (const text of ['x</think>4', '<think>x</think>4', '<think>never ends'])
      expect(hasThought(text)).toBe(true);
    for (const text of ['4', '</think>4', '<think>\n</think>4', ' \n</think>\n4'])
      expect(hasThought(text)).toBe(false);
  });
});
