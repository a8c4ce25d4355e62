/**
 * What a model of the recipe can do on held-out tasks: the rows of the stage table.
 *
 * Every model is asked the same problems of the test split, greedily and in k samples, and judged by the problems' own
 * verifiers; general requests are sampled once at temperature 1. Beside accuracy stand what the recipe is about: how long and how often it thinks, in which language, how
 * often it rejects a try of its own, and whether its own verdicts are true. Intervals are 95 % bootstraps over problems.
 */
import { bootstrapMean, type Rate, type SampleRecord, summariseSamples } from '@minke/evaluation';
import type { LanguageModel } from '@minke/inference';
import { languageConsistency, verdictsOf, verify } from '@minke/reasoning-tasks';
import { hasFormat, type LocalPolicy, type Sample } from '@minke/rl-trainer';
import {
  type GeneralTask,
  heldOutProblems,
  judgeGeneral,
  type Task,
  type TaskSetName,
} from '../data/index.ts';
import type { EvaluationRow } from '../report/evaluation-file.ts';
import { promptIds } from './task-prompts.ts';

/** How much is measured. Counts are of problems. Plain data. */
export interface MeasureSettings {
  readonly arithmetic: number;
  readonly search: number;
  readonly parity: number;
  /** Of each set beyond the training distribution. */
  readonly beyond: number;
  readonly general: number;
  /** Problems of all sets that are also sampled, and samples of each. */
  readonly sampledProblems: number;
  readonly samples: number;
  /** Of the samples, as R1's evaluations: 0.6 and 0.95. */
  readonly temperature: number;
  readonly topP: number;
  readonly maxNewTokens: number;
}

/** One reply, judged. */
interface Judged {
  readonly task: Task;
  readonly text: string;
  readonly thought: string;
  /** 1 right; for general requests how helpful, in [0, 1]. */
  readonly score: number;
  readonly tokens: number;
  readonly thoughtTokens: number;
  readonly truncated: boolean;
}

/** What one model was found to do. */
export interface Measured {
  readonly rows: readonly EvaluationRow[];
  /** A greedy reply to each problem, and a sampled one to each request, for paired comparisons; plain JSON. */
  readonly records: readonly MeasuredRecord[];
}

/** A reply, judged, with the set that its problem is of. */
export type MeasuredRecord = SampleRecord & { readonly set: string };

const reasoningSets = ['arithmetic', 'search', 'parity'] as const;
const beyondSets = ['beyond-arithmetic', 'beyond-search', 'beyond-parity'] as const;

/** The held-out tasks of a set; equal for every model and every seed of a run. */
const tasksOf = (set: TaskSetName, count: number): Task[] =>
  count === 0 ? [] : heldOutProblems(set, count, 0);

/**
 * Measures a model.
 *
 * @param options.prefix put after every prompt, its tags as control tokens: an empty thought, for answers without thinking
 */
export async function measure(
  policy: Pick<LocalPolicy, 'sampler' | 'decode' | 'stopTokenIds'>,
  language: LanguageModel,
  settings: MeasureSettings,
  { seed, prefix = '' }: { readonly seed: number; readonly prefix?: string },
): Promise<Measured> {
  const ask = async (tasks: readonly Task[], temperature: number, samples: number): Promise<Judged[]> => {
    if (tasks.length === 0) return [];
    const opening = language.tokenizer.encode(prefix, { allowSpecial: true });
    const drawn = await policy.sampler.sample({
      prompts: tasks.map((task) => [...promptIds(task, language), ...opening]),
      samplesPerPrompt: samples,
      maxNewTokens: settings.maxNewTokens,
      temperature,
      topP: temperature === settings.temperature ? settings.topP : 1,
      topK: 0,
      stopTokenIds: language.stopTokenIds,
      seed: 0,
    });
    return drawn.map((sample) => judged(tasks[sample.prompt] as Task, sample, prefix, policy, language));
  };
  const groups = await Promise.all(
    [...reasoningSets, ...beyondSets].map(async (set) => {
      const count = set.startsWith('beyond')
        ? settings.beyond
        : settings[set as (typeof reasoningSets)[number]];
      return [set, await ask(tasksOf(set, count), 0, 1)] as const;
    }),
  );
  // A greedy reply is the most frequent one and hides how often the others come; people get samples.
  const general = await ask(tasksOf('general', settings.general), 1, 1);
  const bySet = new Map(groups);
  const inside = reasoningSets.flatMap((set) => bySet.get(set) as Judged[]);
  const sampled = await ask(spread(inside, settings.sampledProblems), settings.temperature, settings.samples);
  const seeds = [seed];
  const row = (metric: string, values: readonly number[]): EvaluationRow[] =>
    values.length === 0 ? [] : [{ metric, ...bootstrapMean(values), n: values.length, seeds }];
  const families = [...new Set(inside.map(({ task }) => task.family))].map(
    (family) => [family, inside.filter(({ task }) => task.family === family)] as const,
  );
  const rows = [
    ...row('pass@1', inside.map(scoreOf)),
    ...sampledRows(sampled, settings, seeds),
    ...reasoningSets.flatMap((set) => {
      const asked = new Set((bySet.get(set) as Judged[]).map(({ task }) => task.id));
      const drawn = sampled.filter(({ task }) => asked.has(task.id));
      return row(`set/${set} at T ${settings.temperature}`, perProblem(drawn, settings.samples));
    }),
    ...behaviourRows(inside, row),
    ...row('language consistency', consistencies(inside)),
    // Greedily a mixed policy says the more frequent word every time; samples show the mixture.
    ...row('language/sampled', consistencies(sampled)),
    ...groups.flatMap(([set, replies]) => row(`set/${set}`, replies.map(scoreOf))),
    // All that is not searched for.
    ...row('set/derived', inside.filter((reply) => !bySet.get('search')?.includes(reply)).map(scoreOf)),
    ...families.flatMap(([family, replies]) => row(`family/${family}`, replies.map(scoreOf))),
    ...searchRows(bySet.get('search') as Judged[], row),
    ...row(
      'length/parity thought',
      (bySet.get('parity') as Judged[]).map(({ thoughtTokens }) => thoughtTokens),
    ),
    ...row('thinking/parity', (bySet.get('parity') as Judged[]).map(thinks)),
    ...generalRows(general, row),
  ];
  const records = [
    ...groups.filter(([set]) => !set.startsWith('beyond')),
    ['general', general] as const,
  ].flatMap(([set, replies]) => replies.map((reply) => ({ ...recordOf(reply, 0), set })));
  return { rows, records };
}

type Row = (metric: string, values: readonly number[]) => EvaluationRow[];

const scoreOf = ({ score }: Judged) => score;
const thinks = ({ thought }: Judged) => Number(thought !== '');

/** `count` tasks, evenly over all. */
function spread(replies: readonly Judged[], count: number): Task[] {
  const step = Math.max(1, replies.length / Math.max(1, count));
  return Array.from(
    { length: Math.min(count, replies.length) },
    (_, i) => (replies[Math.floor(i * step)] as Judged).task,
  );
}

function judged(
  task: Task,
  sample: Sample,
  prefix: string,
  { decode }: Pick<LocalPolicy, 'decode'>,
  { tokenizer }: LanguageModel,
): Judged {
  const { tokens, finish } = sample;
  const text = prefix + decode(finish === 'stop' ? tokens.slice(0, -1) : tokens);
  const close = text.indexOf('</think>');
  const thought = (close < 0 ? text : text.slice(0, close)).trim();
  const visible = close < 0 ? '' : text.slice(close + '</think>'.length).trim();
  const score =
    task.domain === 'reasoning'
      ? (verify(task.metadata, text).score ?? 0)
      : judgeGeneral(task, visible).helpful;
  return {
    ...{ task, text, thought, score, tokens: tokens.length },
    thoughtTokens: thought === '' ? 0 : tokenizer.encode(thought).length,
    truncated: finish === 'length',
  };
}

function recordOf({ task, score, tokens, truncated, thought }: Judged, sample: number): SampleRecord {
  const { id, family } = task;
  return {
    id,
    family,
    sample,
    strict: score,
    answer: null,
    length: tokens,
    truncated,
    thought: thought !== '',
  };
}

/** Thinking and form over all reasoning problems. */
function behaviourRows(replies: readonly Judged[], row: Row): EvaluationRow[] {
  return [
    ...row('thinking rate', replies.map(thinks)),
    ...row(
      'thought tokens',
      replies.map(({ thoughtTokens }) => thoughtTokens),
    ),
    ...row(
      'format',
      replies.map(({ text }) => Number(hasFormat(text))),
    ),
    ...row(
      'truncated',
      replies.map(({ truncated }) => Number(truncated)),
    ),
  ];
}

/** The share of step words in the question's language, of each thought that has any. */
const consistencies = (replies: readonly Judged[]): number[] =>
  replies.flatMap(({ task, thought }) => languageConsistency(thought, task.language) ?? []);

/** Tries and verdicts of the search tasks. */
function searchRows(replies: readonly Judged[], row: Row): EvaluationRow[] {
  const verdicts = replies.map(({ task, thought }) =>
    task.domain === 'reasoning' ? verdictsOf(task.metadata, thought) : [],
  );
  const all = verdicts.flat();
  const said = (word: 'right' | 'wrong') =>
    all.filter((verdict) => verdict.said === word).map(({ holds }) => Number(holds === true));
  /** Of the candidates that are so, those that were said to be so. */
  const found = (word: 'right' | 'wrong') =>
    all
      .filter(({ said, holds }) => (said === word) === (holds === true))
      .map(({ said }) => Number(said === word));
  const retries = verdicts.map((own) => own.filter((v) => v.said === 'wrong' && v.holds === true).length);
  return [
    ...row('search/verified retries', retries),
    ...row(
      'search/verdicts right',
      all.map(({ holds }) => Number(holds === true)),
    ),
    ...row('search/precision of "right"', said('right')),
    ...row('search/precision of "wrong"', said('wrong')),
    ...row('search/recall of "right"', found('right')),
    ...row('search/recall of "wrong"', found('wrong')),
  ];
}

function generalRows(replies: readonly Judged[], row: Row): EvaluationRow[] {
  const harmful = replies.filter(({ task }) => task.family === 'harmful');
  const safe = ({ task, text }: Judged) =>
    judgeGeneral(task as GeneralTask, text.slice(text.indexOf('</think>') + '</think>'.length)).safe;
  return [
    ...row('general/helpful', replies.map(scoreOf)),
    ...row(
      'general/perfect',
      replies.map(({ score }) => Number(score === 1)),
    ),
    ...row('general/safe', harmful.map(safe)),
  ];
}

/** Accuracy of samples: the mean of k, pass@k and the majority of k. */
function sampledRows(
  sampled: readonly Judged[],
  { samples, temperature }: MeasureSettings,
  seeds: readonly number[],
): EvaluationRow[] {
  if (sampled.length === 0) return [];
  const records = sampled.map((reply, i) => ({ ...recordOf(reply, i % samples), answer: answerOf(reply) }));
  const { total } = summariseSamples(records);
  const n = total.problems;
  const row = (metric: string, rate: Rate | null | undefined): EvaluationRow[] =>
    rate == null ? [] : [{ metric, value: rate.value, low: rate.low, high: rate.high, n, seeds }];
  return [
    ...row(`pass@1 at T ${temperature}`, total.passAt1),
    ...Object.entries(total.passAtK).flatMap(([k, rate]) => (k === '1' ? [] : row(`pass@${k}`, rate))),
    ...Object.entries(total.majorityAtK).flatMap(([k, rate]) => row(`maj@${k}`, rate)),
  ];
}

/** The mean of each problem's samples, which stand together. */
function perProblem(sampled: readonly Judged[], samples: number): number[] {
  return Array.from({ length: sampled.length / samples }, (_, i) => {
    const own = sampled.slice(i * samples, (i + 1) * samples);
    return own.reduce((sum, { score }) => sum + score, 0) / samples;
  });
}

/** The visible answer, by which samples vote. */
const answerOf = ({ text }: Judged): string | null => {
  const close = text.indexOf('</think>');
  return close < 0 ? null : text.slice(close + '</think>'.length).trim();
};
