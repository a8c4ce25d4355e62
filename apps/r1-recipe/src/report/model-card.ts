/**
 * The card of a run's final model, as the Hub shows it (https://huggingface.co/docs/hub/model-cards): Markdown behind
 * front matter, made of the run's files alone. It has no times, so that a run that was killed has the same card.
 *
 * The final model is the one that was measured under the name `final`; a run without one has no card.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { countParameters } from '@minke/cost-planner';
import { parseConfig } from '@minke/transformer';
import { cardFile } from '../run/content-hash.ts';
import { computeCells, computeHeader, computeNote } from './compute-table.ts';
import type { EvaluationRow } from './evaluation-file.ts';
import { markdownTable, tableText } from './markdown-table.ts';
import { barHeader, barNote, plantedText, reportContents, tableNote } from './report-parts.ts';
import type { RunData, StageData } from './run-data.ts';
import { formatInterval, formatValue } from './stage-table.ts';
import { type TaskShare, taskShares } from './task-shares.ts';
import { shortNumber } from './words.ts';

/** A card, and where it belongs. */
export interface ModelCard {
  /** Relative to the run's folder. */
  readonly path: string;
  readonly text: string;
}

/** What the recipe's stages do, in the order in which they are told. */
const stageWords: Readonly<Record<string, string>> = {
  base: 'pre-training on the planted mixture, from random weights',
  zero: 'GRPO from the base: accuracy and format (R1-Zero); it only writes the cold start',
  'cold-start-data': 'samples of R1-Zero, filtered and rewritten',
  'cold-start': 'supervised, from the base, on these',
  'grpo-1': 'GRPO: accuracy, format, language',
  'self-evolution': 'GRPO on searches, where tries, verdicts and retries decide',
  rejection: 'samples that are right, in one language and honest, with chat beside them',
  'sft-2': 'supervised, from the base, on these',
  'reward-model': 'helpfulness from noisy pairs, safety from noisy labels',
  'grpo-2': 'GRPO on problems, in its last steps also on chat, rewarded by both models',
};

/** Tables of the report that a card repeats. */
const cardGroups = new Set(['', 'set', 'family', 'general']);

/** The card of the final model; undefined where none was measured. */
export function modelCard(data: RunData, run: string): ModelCard | undefined {
  const measured = data.stages.find(({ evaluations }) => evaluations.some(({ stage }) => stage === 'final'));
  const final = data.stages.find(({ view }) => view.name === measured?.view.inputs[0]);
  if (measured === undefined || final?.view.folder == null) return undefined;
  const path = `${final.view.folder}/${cardFile}`;
  const { evaluations, tables, notes, bars } = reportContents(data);
  const rows = evaluations.flatMap(({ stage, rows }) => (stage === 'final' ? rows : []));
  const lineage = ancestors(final, data);
  const compute = lineage.flatMap((stage) => stage.compute ?? []);
  const planted = plantedText(lineage.flatMap((stage) => stage.planted));
  const shares = taskShares(lineage.map(({ settings }) => settings));
  const { recipe, seed, commit, command } = data.state;
  const blocks = [
    frontMatter(recipe, rows),
    `# The final model of \`${recipe}\`, seed ${seed}`,
    aboutModel(join(run, dirname(path)), rows),
    '## How to run it',
    howToRun,
    ...(shares.length === 0 ? [] : ['## What it was trained on', tasksText(shares)]),
    ...(planted === undefined ? [] : [planted]),
    '## How it was trained',
    `\`${command.replaceAll('`', "'")}\` at commit ${commit}; the stages that lead to this model, in their order:`,
    markdownTable(
      ['stage', 'what it does'],
      lineage.map(({ view }) => [view.title, stageWords[view.name] ?? '']),
    ),
    ...(compute.length === 0 ? [] : [markdownTable(computeHeader, computeCells(compute)), computeNote]),
    '## Stages on held-out problems',
    ...tables.filter(({ group }) => cardGroups.has(group)).map(tableText),
    tableNote,
    ...(notes.length === 0 ? [] : [notes.map((note) => `- ${note}`).join('\n')]),
    ...(bars.length === 0 ? [] : ['## Bars', markdownTable(barHeader, bars), barNote]),
    '## Limits',
    limitsText(rows),
  ];
  return { path, text: `${blocks.join('\n\n')}\n` };
}

/** The stages that a stage's outputs are made from, itself the last, in the order of the recipe. */
function ancestors(last: StageData, { stages }: RunData): readonly StageData[] {
  const wanted = new Set([last.view.name]);
  for (const { view } of [...stages].reverse())
    if (wanted.has(view.name)) for (const input of view.inputs) wanted.add(input);
  return stages.filter(({ view }) => wanted.has(view.name));
}

function frontMatter(recipe: string, rows: readonly EvaluationRow[]): string {
  const shown = rows.filter(({ metric }) => metric === 'pass@1' || metric.startsWith('family/'));
  const results = shown.flatMap(({ metric, value }) => {
    const what = metric === 'pass@1' ? 'all held-out problems' : metric.slice('family/'.length);
    return [
      '  - task:',
      '      type: text-generation',
      '    dataset:',
      '      type: generated',
      `      name: ${JSON.stringify(what)}`,
      '    metrics:',
      '    - type: pass@1',
      '      name: "greedy pass@1"',
      `      value: ${formatValue(value)}`,
    ];
  });
  return [
    '---',
    'license: apache-2.0',
    'language:',
    '- en',
    '- es',
    'library_name: transformers',
    'pipeline_tag: text-generation',
    'tags:',
    '- deepseek_v3',
    '- mixture-of-experts',
    '- reasoning',
    '- minke',
    ...(results.length === 0
      ? []
      : ['model-index:', `- name: ${JSON.stringify(recipe)}`, '  results:', ...results]),
    '---',
  ].join('\n');
}

function aboutModel(folder: string, rows: readonly EvaluationRow[]): string {
  const text = readFileSync(join(folder, 'config.json'), 'utf8');
  const config = parseConfig(JSON.parse(text) as Record<string, unknown>);
  const { total, active } = countParameters(config);
  const { moe, numLayers, hiddenSize, maxPositions } = config;
  const experts =
    moe === null
      ? 'dense'
      : `${moe.experts} routed experts of which ${moe.topK} act, ${moe.sharedExperts} shared`;
  const accuracy = rows.find(({ metric }) => metric === 'pass@1');
  const interval = accuracy === undefined ? '' : formatInterval(accuracy);
  const found =
    accuracy === undefined
      ? ''
      : ` Greedy pass@1 on ${accuracy.n} held-out problems: ${formatValue(accuracy.value)}${interval === '' ? '' : ` (${interval})`}.`;
  return (
    `A model that thinks between \`<think>\` and \`</think>\`, then answers: ${shortNumber(total)} parameters, ` +
    `${shortNumber(active)} active a token. DeepSeek-V3's shape: multi-head latent attention, ${experts}, ` +
    `${numLayers} layers of width ${hiddenSize}, a context of ${maxPositions} tokens. Trained from random weights by ` +
    `DeepSeek-R1's recipe ([arXiv 2501.12948](https://arxiv.org/abs/2501.12948)) on generated tasks.${found}`
  );
}

const howToRun = `\`\`\`sh
npx minke serve <this folder> # a page to chat, and an OpenAI-compatible API, on a loopback address
npx minke chat <this folder>
\`\`\`

In a clone of the repository \`npm start -- <this folder>\` does all set-up first. The folder also loads in transformers as
\`DeepseekV3ForCausalLM\`.`;

function tasksText(shares: readonly TaskShare[]): string {
  const rows = shares.map(({ set, name, share }) => [set, name, `${(100 * share).toFixed(1)} %`]);
  return `${markdownTable(['kind', 'family', 'of its kind'], rows)}

All of it is generated from a seed. Which split a task belongs to goes by a hash of its canonical form, so no phrasing,
translation or mirror of a test problem is in the training data.`;
}

function limitsText(rows: readonly EvaluationRow[]): string {
  const beyond = rows.filter(({ metric }) => metric.startsWith('set/beyond-'));
  const found = beyond.map(({ metric, value }) => `${metric.slice('set/'.length)} ${formatValue(value)}`);
  return [
    '- It knows the tasks above and nothing else. Anything further off gets a confident wrong answer, or the sentence that it only knows these tasks.',
    ...(found.length === 0
      ? []
      : [`- One step beyond the training distribution it fails more often: ${found.join(', ')}.`]),
    '- A model of this size selects among what its base was shown; it discovers nothing.',
    '- Refusals are learnt from templated nonsense and protect nobody. It is a demonstration of a method, not an assistant.',
    '- One seed, one run. Intervals are over problems, not over runs.',
  ].join('\n');
}
