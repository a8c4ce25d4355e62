/**
 * What the stages are compared with (`--controls`): would something simpler, or something meaningless, have done as
 * well? Supervised training that goes on for as many FLOPs as reinforcement took; rewards by a coin and for format alone,
 * which are known to lift some models (Shao et al. 2025, https://arxiv.org/abs/2506.10947); no KL term; the cold start on
 * traces as they were sampled; the student by GRPO at the cost of distilling it; the deliberate over-optimisation.
 *
 * The base and decoding without thinking are measured in the recipe itself.
 */
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import type { LanguageModel } from '@minke/inference';
import {
  type ExampleSource,
  type RewardTerm,
  readConversations,
  readKept,
  ShuffledSource,
} from '@minke/rl-trainer';
import { seedOf, type TaskSetName } from '../data/index.ts';
import { flopsOf, stageWork } from '../logs/token-work.ts';
import type { Stage } from '../run/index.ts';
import { withModel } from './model-folder.ts';
import { coin, format } from './rewards.ts';
import type { FitSettings, RecipeSettings, RlSettings } from './settings.ts';
import { studentSweep } from './student-sweep.ts';
import { fit } from './train-stages.ts';

/** Rows of a stage's folder as examples. */
export type RowsOf = (data: string, model: LanguageModel, seed: number) => Promise<ExampleSource>;

/** What the recipe makes its stages of. */
export interface ControlParts {
  readonly backend: Backend;
  readonly measured: (of: string) => Stage;
  readonly rl: (
    name: string,
    from: string,
    settings: RlSettings,
    tasks: TaskSetName,
    terms: () => readonly RewardTerm[],
  ) => Stage;
  readonly supervised: (
    name: string,
    inputs: { readonly model: string; readonly data: string },
    options: { readonly settings: FitSettings; readonly rows: RowsOf; readonly backend: Backend },
  ) => Stage;
  readonly overOptimised: Stage;
  readonly coldStartRows: RowsOf;
  readonly reasoningTerms: (languageWeight: number) => () => readonly RewardTerm[];
}

/** The controls with their measurements, in an order in which inputs come first. */
export function controlStages(settings: RecipeSettings, parts: ControlParts): Stage[] {
  const { backend, measured, rl, supervised, overOptimised, coldStartRows, reasoningTerms } = parts;
  const { grpo1, coldStart } = settings;
  const { config } = grpo1;
  const noKl = { ...grpo1, config: { ...config, objective: { ...config.objective, beta: 0 } } };
  const trained: Stage[] = [
    continued(
      'cold-start-continued',
      { model: 'cold-start', data: 'cold-start-data', budget: 'grpo-1' },
      { settings: coldStart.fit, rows: coldStartRows, backend },
    ),
    supervised(
      'cold-start-raw',
      { model: 'base', data: 'cold-start-data' },
      { settings: coldStart.fit, rows: rawRows, backend },
    ),
    rl('grpo-1-random', 'cold-start', grpo1, 'derived', () => [coin(0)]),
    rl('grpo-1-format', 'cold-start', grpo1, 'derived', () => [format(1)]),
    rl('grpo-1-no-kl', 'cold-start', noKl, 'derived', reasoningTerms(0.5)),
    overOptimised,
    studentSweep(settings, { backend, terms: reasoningTerms(0) }),
  ];
  return trained.flatMap((stage) => [stage, measured(stage.name)]);
}

/** As many traces as curation kept, as they were sampled: finished, and nothing else asked of them. */
const rawRows: RowsOf = async (data, _model, seed) => {
  const kept = await readKept(join(data, 'samples', 'kept.jsonl'));
  const { length } = await readConversations(join(data, 'rows.jsonl'));
  return new ShuffledSource(kept.slice(0, length), seedOf(seed, 'cold start'));
};

/** Supervised training that goes on where a stage ended, for as many FLOPs as the stage `budget` took. */
function continued(
  name: string,
  inputs: { readonly model: string; readonly data: string; readonly budget: string },
  options: { readonly settings: FitSettings; readonly rows: RowsOf; readonly backend: Backend },
): Stage {
  const { settings, rows, backend } = options;
  return {
    ...{ name, version: 1, inputs, settings: { ...settings, steps: `the FLOPs of ${inputs.budget}` } },
    run: (context) =>
      withModel(context.input('model'), backend, async (model) => {
        const { config } = model.model;
        // Rows do not fill a step's tokens to the last one; the stage that goes on here had the same rows.
        const perStep = flopsOf(stageWork(context.input('model')), config) / settings.steps;
        const steps = Math.max(1, Math.round(flopsOf(stageWork(context.input('budget')), config) / perStep));
        const warmupSteps = Math.min(settings.warmupSteps, steps);
        const data = await rows(context.input('data'), model, context.seed);
        await fit(model, data, { ...settings, steps, warmupSteps }, context);
      }),
  };
}
