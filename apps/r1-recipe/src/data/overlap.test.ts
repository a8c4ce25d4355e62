import { Random } from '@minke/core';
import { auditOverlap, type TrainingText } from '@minke/evaluation';
import { describe, expect, it } from 'vitest';
import { baseRows } from './base-mixture.ts';
import { curateTraces } from './curate-traces.ts';
import { generalRows } from './general-rows.ts';
import { preferenceRows, safetyRows } from './preferences.ts';
import type { ReasoningTask } from './task.ts';
import { type TaskSetName, taskSets } from './task-sets.ts';
import { heldOutProblems, tasksOf } from './task-stream.ts';
import { firstRows } from './testing/rows.ts';
import { sloppyHabits, sloppyThought } from './thoughts.ts';
import { completionOf, traceOf } from './trace.ts';

const count = 3000;
const names = Object.keys(taskSets) as TaskSetName[];
const ofTask = ({ prompt: text, canonical }: { prompt: string; canonical: string }) => ({ text, canonical });
const ofRow = ({ question: text, canonical }: { question: string; canonical: string }) => ({
  text,
  canonical,
});
const ofExtra = ({
  prompt,
  extra,
}: {
  prompt: readonly { content: string }[];
  extra: Readonly<Record<string, unknown>>;
}) => ({
  text: (prompt[0] as { content: string }).content,
  canonical: extra.canonical as string,
});

const curated = () =>
  curateTraces(
    (firstRows(tasksOf('reasoning', { seed: 9 }), count) as ReasoningTask[]).map(({ metadata }, i) =>
      traceOf(metadata, completionOf(sloppyThought(metadata, sloppyHabits, new Random(1, i)))),
    ),
  ).rows;

const generators: Readonly<Record<string, () => { text: string; canonical: string }[]>> = {
  ...Object.fromEntries(
    names.map((name) => [`tasks of ${name}`, () => firstRows(tasksOf(name, { seed: 1 }), count).map(ofTask)]),
  ),
  'base mixture': () => firstRows(baseRows({ seed: 1 }), count).map(ofRow),
  'curated traces': () => curated().map(ofRow),
  'general rows': () => firstRows(generalRows({ seed: 1 }), count).map(ofRow),
  preferences: () => firstRows(preferenceRows({ seed: 1 }), count).map(ofExtra),
  safety: () => firstRows(safetyRows({ seed: 1 }), count).map(ofExtra),
};

describe('training data', () => {
  const held = names.flatMap((name) =>
    heldOutProblems(name, 2000, 0).map(({ prompt: text, canonical, id }) => ({
      id: `${name} ${id}`,
      text,
      canonical,
    })),
  );

  it.each(Object.keys(generators))(
    'shares no problem and no question with any evaluation set: %s',
    async (name) => {
      const training = (generators[name] as () => TrainingText[])();
      expect(training.length).toBeGreaterThan(1000);
      expect((await auditOverlap(training, held)).exact).toEqual({ training: 0, evaluation: 0 });
      // Without canonical forms, equal wording counts.
      const texts = training.map((item) => (typeof item === 'string' ? item : item.text));
      const { exact } = await auditOverlap(
        texts,
        held.map(({ id, text }) => ({ id, text })),
      );
      expect(exact).toEqual({ training: 0, evaluation: 0 });
    },
  );

  it('would be found if it did', async () => {
    const report = await auditOverlap([held[0] as TrainingText], held);
    expect(report.exact.training).toBe(1);
  });
});
