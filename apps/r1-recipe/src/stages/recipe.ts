/**
 * The stages of DeepSeek-R1's recipe (https://arxiv.org/abs/2501.12948, figure 2) on a small model: base, R1-Zero, cold
 * start, first reinforcement, self-evolution, rejection sampling, second supervised stage from the base, reward models,
 * second reinforcement, distillation; each followed by its measurement on held-out tasks.
 *
 * Differences from the paper: self-evolution is a stage of its own, on tasks with tries, so that its effect can be
 * measured apart; the student has a base model of its own, so that distilling it and reinforcing it start equal.
 */
import { join } from 'node:path';
import { type Backend, MinkeError } from '@minke/core';
import type { LanguageModel } from '@minke/inference';
import type { Problem } from '@minke/reasoning-tasks';
import {
  conversationSource,
  type ExampleSource,
  encodeExample,
  type RewardTerm,
  readConversations,
  readKept,
  ShuffledSource,
} from '@minke/rl-trainer';
import {
  atMost,
  type BaseMixture,
  baseRows,
  curateTraces,
  generalRows,
  RowSource,
  seedOf,
  type TaskSet,
  type TaskSetName,
  type TraceFilter,
  taskSets,
  tasksOf,
  traceFilters,
  traceOf,
} from '../data/index.ts';
import { hashOf } from '../run/content-hash.ts';
import type { Stage } from '../run/index.ts';
import { writeJson } from '../run/json-file.ts';
import { comparisonStage, controlPairs, linePairs } from './comparisons.ts';
import { controlStages } from './controls.ts';
import { inside } from './inside.ts';
import { measureStage } from './measure-stage.ts';
import { withModel, withNewModel } from './model-folder.ts';
import type { ModelShape } from './model-shapes.ts';
import { plantedEffects } from './planted.ts';
import { fitRewardModel } from './reward-models.ts';
import { accuracy, format, language } from './rewards.ts';
import { writeRows } from './row-files.ts';
import { sampleRows } from './sampled-rows.ts';
import { secondReinforcement } from './second-reinforcement.ts';
import type { FitSettings, RecipeSettings, RlSettings } from './settings.ts';
import { fit, reinforce } from './train-stages.ts';
import { verdictStage } from './verdict-stage.ts';

/** What a mixture gives, by a hash of its first rows: where families or habits write something else, it is another. */
function rowsHash(mixture: BaseMixture): string {
  const at = baseRows({ seed: 0, mixture });
  return hashOf(
    Array.from({ length: 512 }, (_, position) => {
      const { question, reasoning, answer } = at(position);
      return { question, reasoning, answer };
    }),
  );
}

/** A new model, trained on the base mixture. */
function base(
  name: string,
  shape: ModelShape,
  {
    settings,
    mixture,
    backend,
  }: { readonly settings: FitSettings; readonly mixture: BaseMixture; readonly backend: Backend },
): Stage {
  return {
    ...{
      name,
      version: 1,
      inputs: {},
      settings: {
        ...{ shape, ...settings, mixture, tasks: [taskSets.reasoning, taskSets.general] },
        rows: rowsHash(mixture),
      },
    },
    async run(context) {
      const { seed, folder } = context;
      writeJson(join(folder, 'planted.json'), { effects: plantedEffects(mixture) });
      await withNewModel(shape, { backend, seed }, (model) => {
        const rows = baseRows({ seed: seedOf(seed, name), mixture });
        return fit(model, new RowSource(rows, model.tokenizer, model.template), settings, context);
      });
    },
  };
}

/** Reinforcement on a set of problems. `terms` are named in the settings, so that another sum is another stage. */
function reinforcement(
  name: string,
  from: string,
  options: {
    readonly settings: RlSettings;
    readonly tasks: TaskSetName | TaskSet;
    readonly terms: (seed: number) => readonly RewardTerm[];
    readonly backend: Backend;
  },
): Stage {
  const { settings, tasks, terms, backend } = options;
  const rewards = terms(0).map(({ name: term, weight = 1 }) => ({ term, weight }));
  return {
    ...{
      name,
      version: 1,
      inputs: { policy: from },
      settings: { ...settings, tasks: typeof tasks === 'string' ? taskSets[tasks] : tasks, rewards },
    },
    run: (context) =>
      withModel(context.input('policy'), backend, (model) => {
        const seed = seedOf(context.seed, name);
        return reinforce(model, { tasks: tasksOf(tasks, { seed }), rewards: terms(seed), settings }, context);
      }),
  };
}

/** Supervised training of the model of stage `from` on the rows of another stage. */
function supervised(
  name: string,
  inputs: { readonly model: string; readonly data: string },
  options: {
    /** What rows depend on besides the training's settings is in them too. */
    readonly settings: FitSettings & { readonly chat?: object };
    readonly rows: (data: string, model: LanguageModel, seed: number) => Promise<ExampleSource>;
    readonly backend: Backend;
  },
): Stage {
  const { settings, rows, backend } = options;
  return {
    ...{ name, version: 1, inputs, settings },
    run: (context) =>
      withModel(context.input('model'), backend, async (model) =>
        fit(model, await rows(context.input('data'), model, context.seed), settings, context),
      ),
  };
}

/** The problems of the stages that train on all of them. */
const problemsOf = ({ problems = taskSets.reasoning }: BaseMixture): TaskSet => problems;

/**
 * Samples of R1-Zero, filtered and rewritten: the cold start's rows. On what is derived, as R1-Zero was trained; what
 * searches with many tries teach is left to self-evolution.
 */
function coldStartData({ coldStart, zero, mixture }: RecipeSettings, backend: Backend): Stage {
  const { traces, rows } = coldStart;
  const { maxCompletionLength: maxNewTokens } = zero.config;
  return {
    ...{ name: 'cold-start-data', version: 1, inputs: { policy: 'zero' } },
    settings: { traces, rows, maxNewTokens, tasks: mixture.problems ?? taskSets.derived },
    async run(context) {
      const samples = inside(context, 'samples');
      const tasks = tasksOf(mixture.problems ?? 'derived', { seed: seedOf(context.seed, 'cold start') });
      await withModel(context.input('policy'), backend, (model) =>
        sampleRows(model, tasks, { settings: traces, filters: [], maxNewTokens }, samples),
      );
      const kept = await readKept(join(samples.folder, 'kept.jsonl'));
      const { rows: clean, ...curation } = curateTraces(
        kept.map(({ row }) => traceOf((row as unknown as { problem: Problem }).problem, row.completion)),
      );
      if (clean.length === 0)
        throw new MinkeError(
          'invalid-argument',
          `cold-start-data: expected samples of R1-Zero that are right and readable, got none of ${kept.length}: ${JSON.stringify(curation.reasons)}; train the base or R1-Zero for longer, or sample more`,
        );
      writeRows(join(context.folder, 'rows.jsonl'), clean.slice(0, rows));
      writeJson(join(context.folder, 'curation.json'), curation);
    },
  };
}

/** Longest trace of rejection sampling, characters: searches with all their tries. */
const longestSearch = 700;

/** The filters of traces, with room for searches. */
const rejectionFilters: readonly TraceFilter[] = [...traceFilters.slice(0, -1), atMost(longestSearch)];

/** Samples of the last policy that are worth learning from. */
function rejection({ rejection: settings, selfEvolution, mixture }: RecipeSettings, backend: Backend): Stage {
  const { maxCompletionLength: maxNewTokens } = selfEvolution.config;
  return {
    ...{ name: 'rejection', version: 1, inputs: { policy: 'self-evolution' } },
    settings: {
      prompts: settings.prompts,
      samples: settings.samples,
      keep: settings.keep,
      ...(settings.promptsPerBatch !== undefined && { promptsPerBatch: settings.promptsPerBatch }),
      maxNewTokens,
      longestSearch,
      tasks: problemsOf(mixture),
    },
    run: (context) =>
      withModel(context.input('policy'), backend, async (model) => {
        const tasks = tasksOf(mixture.problems ?? 'reasoning', { seed: seedOf(context.seed, 'rejection') });
        await sampleRows(model, tasks, { settings, filters: rejectionFilters, maxNewTokens }, context);
      }),
  };
}

/** Rows of rejection sampling and chat: what the second supervised stage and the student learn from. */
const distillationRows =
  ({ rejection: { general, goodReplies } }: RecipeSettings) =>
  async (data: string, model: LanguageModel, seed: number): Promise<ExampleSource> => {
    const chat = generalRows({ seed: seedOf(seed, 'chat'), goodReplies });
    const rows = Array.from({ length: general }, (_, i) =>
      encodeExample(model.tokenizer, model.template, chat(i)),
    );
    const kept = await readKept(join(data, 'kept.jsonl'));
    return new ShuffledSource([...kept, ...rows], seedOf(seed, 'rows'));
  };

/** Both reward models, on the weights of the second supervised stage. */
function rewardModels({ rewardModel: settings }: RecipeSettings, backend: Backend): Stage {
  return {
    ...{ name: 'reward-model', version: 1, inputs: { policy: 'sft-2' }, settings },
    async run(context) {
      const rows = [];
      for (const name of ['helpful', 'safe'] as const)
        rows.push(
          ...(await withModel(context.input('policy'), backend, (model) =>
            fitRewardModel(name, model, settings, context),
          )),
        );
      writeJson(join(context.folder, 'evaluation.json'), { stage: 'reward-model', rows });
    },
  };
}

function grpo2(
  name: string,
  from: string,
  { grpo2: settings }: RecipeSettings,
  backend: Backend,
  over: boolean,
): Stage {
  return {
    ...{
      name,
      version: 1,
      inputs: { policy: from, rewards: 'reward-model' },
      settings: { ...settings, over },
    },
    run: (context) =>
      withModel(context.input('policy'), backend, (model) => {
        const rewardModels = context.input('rewards');
        return secondReinforcement(model, { settings, rewardModels, backend, over }, context);
      }),
  };
}

/**
 * The recipe's stages, in order.
 *
 * @param options.controls adds what the stages are compared with, in `controls.ts`
 */
export function recipeStages(
  settings: RecipeSettings,
  { backend, controls }: { readonly backend: Backend; readonly controls: boolean },
): Stage[] {
  const { measure: settingsOfMeasure, measureWidely, mixture } = settings;
  const measured = (of: string) => measureStage(of, { settings: settingsOfMeasure, backend });
  const reasoningTerms = (languageWeight: number) => () => [
    accuracy,
    format(0.5),
    ...(languageWeight > 0 ? [language(languageWeight)] : []),
  ];
  const coldStartRows = async (data: string, { tokenizer, template }: LanguageModel, seed: number) =>
    conversationSource(
      await readConversations(join(data, 'rows.jsonl')),
      tokenizer,
      template,
      seedOf(seed, 'cold start'),
    );
  const rl = (
    name: string,
    from: string,
    of: RlSettings,
    tasks: TaskSetName | TaskSet,
    terms: () => readonly RewardTerm[],
  ) => reinforcement(name, from, { settings: of, tasks, terms, backend });
  const rows = distillationRows(settings);
  const { general, goodReplies } = settings.rejection;
  const chat = { general, goodReplies };
  const { problems = 'reasoning' } = mixture;
  const line: Stage[] = [
    base('base', settings.policy, { settings: settings.base, mixture, backend }),
    measureStage('base', { settings: measureWidely, backend }),
    rl('zero', 'base', settings.zero, mixture.problems ?? 'derived', reasoningTerms(0)),
    measured('zero'),
    coldStartData(settings, backend),
    supervised(
      'cold-start',
      { model: 'base', data: 'cold-start-data' },
      { settings: settings.coldStart.fit, rows: coldStartRows, backend },
    ),
    measured('cold-start'),
    rl('grpo-1', 'cold-start', settings.grpo1, 'derived', reasoningTerms(0.5)),
    measured('grpo-1'),
    rl('self-evolution', 'grpo-1', settings.selfEvolution, 'evolution', reasoningTerms(0.5)),
    measured('self-evolution'),
    verdictStage('self-evolution', { settings: settingsOfMeasure, backend }),
    rejection(settings, backend),
    supervised(
      'sft-2',
      { model: 'base', data: 'rejection' },
      { settings: { ...settings.sft2, chat }, rows, backend },
    ),
    measured('sft-2'),
    rewardModels(settings, backend),
    grpo2('grpo-2', 'sft-2', settings, backend, false),
    measureStage('grpo-2', { settings: measureWidely, backend, label: 'final' }),
    verdictStage('grpo-2', { settings: settingsOfMeasure, backend, label: 'final' }),
    measureStage('grpo-2', {
      settings: settingsOfMeasure,
      backend,
      label: 'final-without-thinking',
      thinks: false,
    }),
    base('student-base', settings.student, { settings: settings.studentBase, mixture, backend }),
    supervised(
      'distill',
      { model: 'student-base', data: 'rejection' },
      { settings: { ...settings.distill, chat }, rows, backend },
    ),
    measured('distill'),
    rl('student-rl', 'student-base', settings.studentRl, problems, reasoningTerms(0)),
    measured('student-rl'),
  ];
  if (!controls) return [...line, comparisonStage(linePairs)];
  return [
    ...line,
    ...controlStages(settings, {
      ...{ backend, measured, rl, supervised, coldStartRows, reasoningTerms },
      overOptimised: grpo2('over-optimised', 'grpo-2', settings, backend, true),
    }),
    comparisonStage([...linePairs, ...controlPairs]),
  ];
}
