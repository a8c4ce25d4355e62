/**
 * The fair control of distillation: the same student trained by GRPO for as many FLOPs as distilling it took, sampling
 * the teacher's rows included, at several learning rates and weights of the KL term, of which problems of the
 * validation split choose one. Every setting stays in the report.
 *
 * A setting ends with the rollout that spends its budget, so its rate does not decay: how many steps there will be is
 * known at the end only, as completions grow.
 */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import { bootstrapMean } from '@minke/evaluation';
import { verify } from '@minke/reasoning-tasks';
import { constantAfter, localPolicy, type RewardTerm, type TokenWork } from '@minke/rl-trainer';
import { heldOutProblems, type ReasoningTask, recipeTokenizer, seedOf, tasksOf } from '../data/index.ts';
import { flopsOf, stageWork } from '../logs/token-work.ts';
import type { Evaluation } from '../report/evaluation-file.ts';
import type { Stage, StageContext } from '../run/index.ts';
import { readJson, writeJson } from '../run/json-file.ts';
import { inside } from './inside.ts';
import { modelFolder, withModel } from './model-folder.ts';
import { modelShape } from './model-shapes.ts';
import type { RecipeSettings, RlSettings } from './settings.ts';
import { promptIds } from './task-prompts.ts';
import { contextLength, reinforce } from './train-stages.ts';

/** One setting of the sweep. */
interface Setting {
  readonly learningRate: number;
  readonly beta: number;
}

/** What came of it. */
interface Outcome extends Setting {
  /** 1 or 0 for each validation problem, greedily. */
  readonly scores: readonly number[];
  readonly flops: number;
}

const advice = 'run the stage afresh with --force student-rl-swept';

/** Steps that no budget of the recipe reaches. */
const mostSteps = 100_000;

/** The stage; its model is that of the setting that validation chose. */
export function studentSweep(
  recipe: RecipeSettings,
  { backend, terms }: { readonly backend: Backend; readonly terms: () => readonly RewardTerm[] },
): Stage {
  const { studentRl, studentSweep: sweep, measure } = recipe;
  const settings = { ...sweep, config: studentRl.config, maxNewTokens: measure.maxNewTokens };
  const rewards = terms().map(({ name: term, weight = 1 }) => ({ term, weight }));
  return {
    ...{ name: 'student-rl-swept', version: 1, settings: { ...settings, rewards } },
    inputs: { policy: 'student-base', distilled: 'distill', rows: 'rejection' },
    async run(context) {
      const { vocabSize } = recipeTokenizer();
      const [student, teacher] = (['student', 'policy'] as const).map((of) =>
        modelShape(recipe[of], vocabSize),
      ) as [ReturnType<typeof modelShape>, ReturnType<typeof modelShape>];
      const cost = (work: TokenWork) => flopsOf(work, student);
      const budget = {
        flops:
          cost(stageWork(context.input('distilled'))) + flopsOf(stageWork(context.input('rows')), teacher),
        of: cost,
      };
      const outcomes: { readonly name: string; readonly outcome: Outcome }[] = [];
      for (const setting of settingsOf(sweep)) {
        const name = `lr-${setting.learningRate}-kl-${setting.beta}`;
        const own = inside(context, name);
        const path = join(own.folder, 'outcome.json');
        const read = () => readJson(path, advice) as unknown as Outcome | undefined;
        if (read() === undefined) {
          await train(setting, { studentRl, budget, terms, backend }, own);
          const { validation: count } = sweep;
          const scores = await validate(own, { count, maxNewTokens: measure.maxNewTokens, backend });
          writeJson(path, { ...setting, scores, flops: cost(stageWork(own.folder)) });
        }
        outcomes.push({ name, outcome: read() as Outcome });
      }
      const best = outcomes.reduce((a, b) => (mean(b.outcome) > mean(a.outcome) ? b : a));
      cpSync(modelFolder(join(context.folder, best.name)), modelFolder(context.folder), { recursive: true });
      writeJson(
        join(context.folder, 'evaluation.json'),
        outcomes.map(({ name, outcome }) =>
          evaluationOf(outcome, budget.flops, name === best.name, context.seed),
        ),
      );
    },
  };
}

const settingsOf = ({ learningRates, betas }: RecipeSettings['studentSweep']): Setting[] =>
  learningRates.flatMap((learningRate) => betas.map((beta) => ({ learningRate, beta })));

const mean = ({ scores }: Outcome) => scores.reduce((sum, score) => sum + score, 0) / scores.length;

async function train(
  { learningRate, beta }: Setting,
  options: {
    readonly studentRl: RlSettings;
    readonly budget: { readonly flops: number; readonly of: (work: TokenWork) => number };
    readonly terms: () => readonly RewardTerm[];
    readonly backend: Backend;
  },
  context: StageContext,
): Promise<void> {
  const { config: published } = options.studentRl;
  const config = {
    ...published,
    learningRate,
    schedule: constantAfter(published.schedule.warmupSteps),
    objective: { ...published.objective, beta },
  };
  const tasks = tasksOf('reasoning', { seed: seedOf(context.seed, 'student sweep') });
  await withModel(context.input('policy'), options.backend, (model) =>
    reinforce(
      model,
      { tasks, rewards: options.terms(), settings: { config, steps: mostSteps }, budget: options.budget },
      context,
    ),
  );
}

/** Greedy scores on problems of the validation split: the test set chooses nothing. */
async function validate(
  context: StageContext,
  {
    count,
    maxNewTokens,
    backend,
  }: { readonly count: number; readonly maxNewTokens: number; readonly backend: Backend },
): Promise<number[]> {
  const tasks = heldOutProblems('reasoning', count, 0, 'validation') as ReasoningTask[];
  return withModel(context.folder, backend, async (language) => {
    const policy = await localPolicy(language, { contextLength, reference: false });
    try {
      const samples = await context.time('evaluation', () =>
        policy.sampler.sample({
          prompts: tasks.map((task) => promptIds(task, language)),
          ...{ samplesPerPrompt: 1, maxNewTokens, temperature: 0, topP: 1, topK: 0, seed: 0 },
          stopTokenIds: language.stopTokenIds,
        }),
      );
      return samples.map(({ prompt, tokens, finish }) => {
        const text = policy.decode(finish === 'stop' ? tokens.slice(0, -1) : tokens);
        return verify((tasks[prompt] as ReasoningTask).metadata, text).score ?? 0;
      });
    } finally {
      await policy.dispose();
    }
  });
}

function evaluationOf(
  { learningRate, beta, scores, flops }: Outcome,
  budget: number,
  chosen: boolean,
  seed: number,
): Evaluation {
  const rest = { n: scores.length, seeds: [seed] };
  const plain = (metric: string, value: number) => ({ metric, value, low: null, high: null, ...rest });
  return {
    stage: `student-rl at rate ${learningRate}, KL ${beta}`,
    rows: [
      {
        ...{ metric: 'student sweep/pass@1 on validation', ...bootstrapMean(scores), ...rest },
        ...(chosen && { note: 'the setting that was chosen; measured on test problems as student-rl-swept' }),
      },
      plain('student sweep/TFLOP', flops / 1e12),
      plain('student sweep/share of the budget', flops / budget),
    ],
  };
}
