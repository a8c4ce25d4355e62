import { allFamilyNames, completionText, heldOut, type Problem } from '@minke/reasoning-tasks';
import { describe, expect, it } from 'vitest';
import { lenientTaskJudge } from './lenient-judge.ts';
import { taskJudge } from './samples.ts';

const problems = allFamilyNames.flatMap((name) => heldOut(name, 'test', { seed: 2, count: 5 }));
const sum = heldOut('chain_sum', 'test', { seed: 2, count: 1 })[0] as Problem;

describe('lenientTaskJudge', () => {
  it('agrees with the strict judge on answers in the form asked for', () => {
    for (const problem of problems) {
      const completion = completionText(problem);
      expect(lenientTaskJudge(problem, completion)).toEqual(taskJudge(problem, completion));
    }
  });

  it('finds answers that stand where a reader would look', () => {
    const { answer } = sum;
    for (const completion of [
      `hm\n</think>\nLet me see. 1 and 2.\n${answer}`,
      `hm\n</think>\nIt follows that the answer is ${answer}. Hope that helps!`,
      `hm\n</think>\nSo we get ${answer} in the end`,
      `I think that the answer: ${answer}`,
      `a</think>b</think>The answer is ${answer}.`,
      `first \\boxed{12345}, no: \\boxed{${answer}}, as I said`,
    ])
      expect(lenientTaskJudge(sum, completion), completion).toEqual({ score: 1, extracted: answer });
    expect(taskJudge(sum, `I think that the answer: ${answer}`).score).toBe(0);
  });

  it('finds nothing where there is nothing, and a wrong answer where it is wrong', () => {
    for (const completion of ['', '</think>', 'I do not know.', 'no\n</think>\nno idea'])
      expect(lenientTaskJudge(sum, completion)).toEqual({ score: 0, extracted: null });
    expect(lenientTaskJudge(sum, 'x</think>It is 123456.')).toEqual({ score: 0, extracted: '123456' });
    expect(lenientTaskJudge({ ...sum, answer: 'seven' } as Problem, 'x</think>It is 7.').score).toBeNull();
  });

  it('takes linear time on long text', () => {
    const started = performance.now();
    for (const part of ['answer ', '\\boxed{', '1,', '= ', '{'])
      lenientTaskJudge(sum, part.repeat(200_000 / part.length));
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
