import { completionText, heldOut, type Problem } from '@minke/reasoning-tasks';
import { describe, expect, it } from 'vitest';
import { evaluate, formatReport } from './pass-at-1.ts';

const sums = heldOut('chain_sum', 'test', { seed: 1, count: 40 });
const counts = heldOut('letter_counting', 'test', { seed: 1, count: 20 });
const problems: Problem[] = [...sums, ...counts];

/** A solver that knows the solutions, except that it spoils those `spoil` picks. */
function solver(spoil: (problem: Problem) => string | null) {
  const byPrompt = new Map(problems.map((problem) => [problem.prompt, problem]));
  return async (prompts: string[]) =>
    prompts.map((prompt) => {
      const problem = byPrompt.get(prompt) as Problem;
      return spoil(problem) ?? completionText(problem);
    });
}

describe('evaluate', () => {
  it('gives 1 to a solver that is always right', async () => {
    const report = await evaluate({ problems, complete: solver(() => null) });
    expect(report.total).toMatchObject({ n: 60, correct: 60, unanswered: 0, unjudged: 0 });
    expect(report.families.chain_sum?.passAt1?.value).toBe(1);
    expect(report.families.letter_counting?.failures).toEqual([]);
    expect(report.families.products).toBeUndefined();
  });

  it('counts wrong and missing answers by family and keeps samples of them', async () => {
    const wrong = new Set(sums.slice(0, 4));
    const silent = new Set(sums.slice(4, 10));
    const complete = solver((problem) =>
      wrong.has(problem as (typeof sums)[number])
        ? 'hm\n</think>\nThe answer is 123456.'
        : silent.has(problem as (typeof sums)[number])
          ? 'thinking without end'
          : null,
    );
    const report = await evaluate({ problems, complete, maxFailures: 6 });
    const result = report.families.chain_sum;
    expect(result).toMatchObject({ n: 40, correct: 30, unanswered: 6 });
    expect(result?.passAt1?.value).toBe(0.75);
    expect(result?.failures).toHaveLength(6);
    expect(result?.failures[0]).toMatchObject({ extracted: '123456', expected: sums[0]?.answer });
    expect(result?.failures[5]).toMatchObject({ extracted: null, completion: 'thinking without end' });
    expect(report.families.letter_counting?.passAt1?.value).toBe(1);
  });

  it('leaves problems that cannot be judged out of the rate', async () => {
    const [first, ...rest] = sums as [Problem, ...Problem[]];
    const complete = solver(() => null);
    const report = await evaluate({ problems: [{ ...first, answer: '' }, ...rest], complete });
    expect(report.total).toMatchObject({ n: 39, correct: 39, unjudged: 1 });
  });

  it('batches in order, reports progress and measures lengths in the unit asked for', async () => {
    const sizes: number[] = [];
    const done: number[] = [];
    const solve = solver(() => null);
    const report = await evaluate({
      problems,
      batchSize: 25,
      complete: async (prompts) => {
        sizes.push(prompts.length);
        return solve(prompts);
      },
      onProgress: (progress) => done.push(progress.done),
      lengthOf: () => 7,
    });
    expect(sizes).toEqual([25, 25, 10]);
    expect(done).toEqual([25, 50, 60]);
    expect(report.total.meanLength).toBe(7);
  });

  it('says so when completions are missing', async () => {
    await expect(evaluate({ problems, complete: async () => [] })).rejects.toThrow(
      /expected 32 completions, got 0/,
    );
  });

  it('is plain JSON and prints one row a family', async () => {
    const report = await evaluate({ problems, complete: solver(() => null) });
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    const table = formatReport(report).split('\n');
    expect(table).toHaveLength(4);
    expect(table[1]).toMatch(/^chain_sum +40 +100\.0 +91\.2 to 100\.0 /);
    expect(new Set(table.map((line) => line.length)).size).toBe(1);
  });

  it('reports nothing measured on no problems', async () => {
    const report = await evaluate({ problems: [], complete: async () => [] });
    expect(report.total).toMatchObject({ n: 0, passAt1: null, meanLength: 0 });
    expect(formatReport(report)).toContain('-');
  });
});
