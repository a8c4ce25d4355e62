/**
 * Training data of the two reward models, by position: preference pairs for helpfulness, labelled replies for safety.
 *
 * After DeepSeek-R1 (https://arxiv.org/abs/2501.12948, supplementary B.2): a pair is judged several times in both orders,
 * the judgments are averaged, pairs with too small a gap are dropped, and lengths are balanced against length bias;
 * safety is pointwise. The labelling judge is noisy on purpose: it sees the rules' score with Gaussian noise and a
 * bias towards the reply it reads first, and a stated share of labels is flipped at the end. Rows of the train split
 * only.
 */
import { MinkeError, Random } from '@minke/core';
import type { Message, PreferenceRow } from '@minke/reasoning-tasks';
import { corrupted, corruptions } from './corruptions.ts';
import type { GeneralKind } from './general-facts.ts';
import { generalKinds } from './general-tasks.ts';
import { judgeGeneral } from './judge-general.ts';
import type { GeneralTask } from './task.ts';
import { taskSets } from './task-sets.ts';
import { drawTask, seedOf } from './task-stream.ts';

/** How pairs are made and labelled. */
export interface PreferenceSettings {
  /** Judgments in each order. */
  readonly judgments: number;
  /** Standard deviation of a judgment's score. */
  readonly judgeNoise: number;
  /** What a judgment adds to the score of the reply it reads first. */
  readonly firstBias: number;
  /** Pairs whose mean scores differ by less are dropped. */
  readonly gap: number;
  /** Share of labels flipped after all, in [0, 1). */
  readonly labelNoise: number;
}

/** The recipe's pairs: four judgments a pair, one label in twenty flipped. */
export const preferenceSettings: PreferenceSettings = {
  judgments: 2,
  judgeNoise: 0.15,
  firstBias: 0.05,
  gap: 0.2,
  labelNoise: 0.05,
};

/** How labelled replies are made. Shares in [0, 1]. */
export interface SafetySettings {
  /** Harmful requests. */
  readonly harmful: number;
  /** Of these, replies that comply. */
  readonly complies: number;
  /** Of the harmless ones, needless refusals; they are safe, so that refusing is not what safety means. */
  readonly needlessRefusals: number;
  readonly labelNoise: number;
}

/** The recipe's labelled replies. */
export const safetySettings: SafetySettings = {
  harmful: 0.7,
  complies: 0.6,
  needlessRefusals: 0.4,
  labelNoise: 0.02,
};

/** A reply with a label: TRL's unpaired preference. */
export interface SafetyRow {
  readonly prompt: readonly Message[];
  readonly completion: readonly Message[];
  /** True for safe. */
  readonly label: boolean;
  readonly extra: Readonly<Record<string, unknown>>;
}

const asked = ({ prompt }: GeneralTask): Message[] => [{ role: 'user', content: prompt }];
const said = (content: string): Message[] => [{ role: 'assistant', content }];

const manners = corruptions.filter(({ name }) => name === 'rude' || name === 'rambling');

/** A reply of some quality: good, spoilt once, or spoilt and said badly. */
function candidate(task: GeneralTask, random: Random): string {
  const faults = random.pick([0, 0, 1, 1, 2]);
  if (faults === 0) return task.answer;
  const { reply, name } = corrupted(task, task.answer, random);
  if (faults === 1) return reply;
  return random.pick(manners.filter((manner) => manner.name !== name)).apply(task, reply, random);
}

/** The mean difference of the scores of two replies over judgments in both orders. */
function judgedGap(
  task: GeneralTask,
  pair: readonly [string, string],
  settings: PreferenceSettings,
  random: Random,
) {
  const { judgments, judgeNoise, firstBias } = settings;
  const [a, b] = pair.map((reply) => judgeGeneral(task, reply).helpful) as [number, number];
  let sum = 0;
  for (let i = 0; i < judgments; i++)
    for (const bias of [firstBias, -firstBias])
      sum += a + bias + judgeNoise * random.normal() - (b + judgeNoise * random.normal());
  return sum / (2 * judgments);
}

function generalTask(random: Random): GeneralTask {
  return drawTask(random, taskSets.general, 'train') as GeneralTask;
}

const columns = ({ id, canonical, family, language }: GeneralTask) => ({ id, canonical, family, language });

/** Draws in vain before a position counts as hopeless; about one in three draws is kept. */
const patience = 1_000;

/**
 * Preference pairs. `extra` holds the task's columns, the judged `gap`, and whether the label was `flipped`.
 * Of pairs of different lengths, the chosen reply is the longer one in half.
 *
 * @example
 * const at = preferenceRows({ seed: 1 });
 * at(0).chosen[0].content;
 */
export function preferenceRows({
  seed,
  settings = preferenceSettings,
}: {
  readonly seed: number;
  readonly settings?: PreferenceSettings;
}): (position: number) => PreferenceRow {
  const stream = seedOf(seed, 'preferences');
  return (position) => {
    const random = new Random(stream, position);
    const longerWins = random.integer(0, 2) === 0;
    for (let vain = 0; vain < patience; vain++) {
      const task = generalTask(random);
      const pair: readonly [string, string] = [candidate(task, random), candidate(task, random)];
      const gap = judgedGap(task, pair, settings, random);
      if (Math.abs(gap) < settings.gap || pair[0] === pair[1]) continue;
      const flipped = random.uniform() < settings.labelNoise;
      const [chosen, rejected] = gap > 0 !== flipped ? pair : [pair[1], pair[0]];
      const longer = chosen.length - rejected.length;
      if (longer !== 0 && longer > 0 !== longerWins) continue;
      return {
        prompt: asked(task),
        chosen: said(chosen),
        rejected: said(rejected),
        extra: { ...columns(task), gap: Math.abs(gap), flipped },
      };
    }
    throw new MinkeError(
      'invalid-argument',
      `preferenceRows: expected pairs with a gap of ${settings.gap}, got none in ${patience} draws; lower the gap`,
    );
  };
}

function taskOf(kinds: readonly GeneralKind[], random: Random): GeneralTask {
  for (;;) {
    const task = generalTask(random);
    if (kinds.includes(task.family)) return task;
  }
}

/** Labelled replies. `extra` holds the task's columns, the `style` of the reply, and whether the label was `flipped`. */
export function safetyRows({
  seed,
  settings = safetySettings,
}: {
  readonly seed: number;
  readonly settings?: SafetySettings;
}): (position: number) => SafetyRow {
  const stream = seedOf(seed, 'safety');
  const harmless = generalKinds.filter((kind) => kind !== 'harmful');
  return (position) => {
    const random = new Random(stream, position);
    const task = taskOf(random.uniform() < settings.harmful ? ['harmful'] : harmless, random);
    const wanted =
      task.family === 'harmful'
        ? random.uniform() < settings.complies && 'complies'
        : random.uniform() < settings.needlessRefusals && 'needless-refusal';
    const { reply, style } = replyInStyle(task, wanted, random);
    const flipped = random.uniform() < settings.labelNoise;
    return {
      prompt: asked(task),
      completion: said(reply),
      label: (judgeGeneral(task, reply).safe === 1) !== flipped,
      extra: { ...columns(task), style, flipped },
    };
  };
}

/** A reply spoilt by the operator of a name, or one that is good or spoilt by any other. */
function replyInStyle(
  task: GeneralTask,
  wanted: string | false,
  random: Random,
): { reply: string; style: string } {
  if (wanted === false && random.integer(0, 2) === 0) return { reply: task.answer, style: 'good' };
  for (;;) {
    const { reply, name: style } = corrupted(task, task.answer, random);
    if (wanted === false ? !['complies', 'needless-refusal'].includes(style) : style === wanted)
      return { reply, style };
  }
}
