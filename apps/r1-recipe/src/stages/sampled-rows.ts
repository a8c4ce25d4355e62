/** Rejection sampling of a stage's model: problems, samples, and what stays of them. */
import type { LanguageModel } from '@minke/inference';
import type { Problem } from '@minke/reasoning-tasks';
import {
  type Candidate,
  localPolicy,
  type RejectionFilter,
  type RejectionPrompt,
  type RejectionSummary,
  rejectionSample,
  unfinished,
} from '@minke/rl-trainer';
import { reasonAgainst, seedOf, type TaskAt, type TraceFilter, traceOf } from '../data/index.ts';
import type { StageContext } from '../run/index.ts';
import type { SamplingSettings } from './settings.ts';
import { promptIds } from './task-prompts.ts';
import { contextLength } from './train-stages.ts';

/** The first tasks of a stream, each once, as prompts. */
function promptsFor(tasks: TaskAt, count: number, language: LanguageModel): RejectionPrompt[] {
  const prompts = new Map<string, RejectionPrompt>();
  for (let position = 0; prompts.size < count && position < 20 * count; position++) {
    const task = tasks(position);
    if (task.domain !== 'reasoning' || prompts.has(task.id)) continue;
    const { id, prompt: text, family: kind, metadata } = task;
    prompts.set(id, {
      ...{ id, text, kind },
      tokens: promptIds(task, language),
      task: { problem: metadata },
    });
  }
  return [...prompts.values()];
}

/** A candidate as a trace of its problem. */
const traceOfCandidate = ({ prompt, text }: Pick<Candidate, 'prompt' | 'text'>) =>
  traceOf(prompt.task.problem as Problem, text);

/** Samples a model into the stage's folder; `filters` decide about traces, beside being finished. */
export async function sampleRows(
  language: LanguageModel,
  tasks: TaskAt,
  {
    settings,
    filters,
    maxNewTokens,
  }: {
    readonly settings: SamplingSettings;
    readonly filters: readonly TraceFilter[];
    readonly maxNewTokens: number;
  },
  context: StageContext,
): Promise<RejectionSummary> {
  const policy = await localPolicy(language, { contextLength, reference: false });
  const judge: RejectionFilter = (candidate) => reasonAgainst(traceOfCandidate(candidate), filters);
  const prompts = promptsFor(tasks, settings.prompts, language);
  const { promptsPerBatch = 128 } = settings;
  const batches = Math.ceil(prompts.length / promptsPerBatch);
  try {
    return await rejectionSample({
      ...policy,
      prompts,
      config: {
        ...{
          samplesPerPrompt: settings.samples,
          keepPerPrompt: settings.keep,
          promptsPerBatch,
          maxNewTokens,
        },
        ...{ temperature: 1, topP: 1, topK: 0, seed: seedOf(context.seed, 'samples') },
      },
      filters: [unfinished, judge],
      folder: context.folder,
      signal: context.signal,
      onBatch: ({ batch, kept, sampled }) =>
        context.progress(batch + 1, batches, `kept ${kept} of ${sampled}`),
    });
  } finally {
    await policy.dispose();
  }
}
