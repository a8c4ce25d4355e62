import { Random } from '@minke/core';
import { type Problem, verdictsOf, verify } from '@minke/reasoning-tasks';
import { describe, expect, it } from 'vitest';
import { tasksOf } from './task-stream.ts';
import { firstRows } from './testing/rows.ts';
import { sloppyHabits, sloppyThought } from './thoughts.ts';
import { completionOf } from './trace.ts';

const problems = firstRows(tasksOf('reasoning', { seed: 11 }), 2000).map(
  ({ metadata }) => metadata as Problem,
);
const made = problems.map((problem, i) => ({
  problem,
  ...sloppyThought(problem, sloppyHabits, new Random(1, i)),
}));

describe('sloppyThought', () => {
  it('is right where it derives, checks or finds, and wrong where it slips, believes or gives up', () => {
    const wrongStyles = ['slip', 'false-verdict', 'give-up'];
    for (const { problem, style, reasoning, answer } of made)
      expect(verify(problem, completionOf({ reasoning, answer })).score, `${style}: ${reasoning}`).toBe(
        wrongStyles.includes(style) ? 0 : 1,
      );
    expect(new Set(made.map(({ style }) => style))).toEqual(
      new Set([...wrongStyles, 'thought', 'checked', 'search']),
    );
  });

  it('tells the truth in its verdicts, except where it believes a wrong candidate', () => {
    for (const { problem, style, reasoning } of made) {
      const lies = verdictsOf(problem, reasoning).filter(({ holds }) => holds !== true).length;
      expect(lies > 0, reasoning).toBe(style === 'false-verdict');
    }
  });

  it('says every word in one language without the habits that mix them', () => {
    const tidy = { ...sloppyHabits, codeSwitching: 0, foreign: 0 };
    for (const [i, problem] of problems.slice(0, 300).entries()) {
      const { reasoning } = sloppyThought(problem, tidy, new Random(1, i));
      expect(reasoning).not.toMatch(problem.language === 'es' ? /\b(?:so|try)\b/ : /\b(?:luego|prueba)\b/);
    }
  });
});
