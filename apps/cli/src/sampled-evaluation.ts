/**
 * Sampled evaluation of `minke eval`: k samples a problem, of a local model or a server, judged strictly and leniently,
 * written as records, compared with an earlier run's records problem by problem.
 *
 * Every sample has a seed of its own, made of the run's seed, the prompt and the sample's number: results do not
 * depend on what is computed together.
 */
import { closeSync, createReadStream, openSync, writeSync } from 'node:fs';
import { MinkeError } from '@minke/core';
import {
  type CollectOptions,
  collectSamples,
  compareSystems,
  type Difference,
  endpointSampler,
  lenientTaskJudge,
  readRecords,
  type SampleRecord,
  type SampleReport,
  sampleReportMarkdown,
  summariseSamples,
  taskJudge,
} from '@minke/evaluation';
import { complete, type Engine, type TextFormat } from '@minke/inference';
import { hash64, type Problem } from '@minke/reasoning-tasks';
import { progressLine } from './eval-progress.ts';

/** Completions of prompts. */
export type Sample = CollectOptions<Problem>['sample'];

/** How to sample. */
export interface SamplingSettings {
  readonly samples: number;
  readonly temperature: number;
  readonly topP: number;
  readonly maxTokens?: number;
  readonly seed: number;
}

/** Samples of a model in this process. */
export function localSampler(
  engine: Engine,
  language: TextFormat,
  settings: SamplingSettings,
  signal: AbortSignal,
): Sample {
  const { temperature, topP, maxTokens } = settings;
  const one = async (content: string, sample: number) => {
    const seed = Number(hash64(`${settings.seed} ${sample} ${content}`) & 0x1f_ffff_ffff_ffffn);
    const options = { temperature, topP, topK: 0, minP: 0, maxTokens, seed, signal };
    const { text, finish, tokens } = await complete(engine, language, [{ role: 'user', content }], options);
    return { completion: text, length: tokens, truncated: finish === 'length' };
  };
  return (prompts, count) =>
    Promise.all(
      prompts.map((prompt) => Promise.all(Array.from({ length: count }, (_, k) => one(prompt, k)))),
    );
}

/** Samples of a server. */
export async function remoteSampler(
  endpoint: { readonly baseURL: string; readonly model: string; readonly concurrency: number },
  settings: SamplingSettings,
  signal: AbortSignal,
): Promise<Sample> {
  const { temperature, topP, maxTokens, seed } = settings;
  await expectServer(endpoint.baseURL, signal);
  const apiKey = process.env.OPENAI_API_KEY;
  return endpointSampler({
    ...endpoint,
    ...(apiKey ? { apiKey } : {}),
    temperature,
    topP,
    ...(maxTokens === undefined ? {} : { maxTokens }),
    seed,
    signal,
  });
}

/** Says at once that nothing answers, instead of asking again and again as during a run. */
async function expectServer(baseURL: string, signal: AbortSignal): Promise<void> {
  try {
    const response = await fetch(`${baseURL.replace(/\/+$/, '')}/models`, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(30_000)]),
    });
    await response.body?.cancel();
  } catch (cause) {
    if (signal.aborted) throw new MinkeError('aborted', 'eval: interrupted');
    const { cause: reason = cause } = cause as { cause?: unknown };
    throw new MinkeError(
      'invalid-argument',
      `eval: expected a server at ${baseURL}, got ${(reason as { code?: string }).code ?? reason}; is it up, and does the URL end in /v1?`,
      { cause },
    );
  }
}

/** What to evaluate, and where records go and come from. */
export interface SampledEvaluation {
  readonly problems: readonly Problem[];
  readonly sample: Sample;
  readonly settings: SamplingSettings;
  /** Problems a call. */
  readonly batchSize: number;
  readonly recordsFile?: string;
  readonly compareFile?: string;
}

/** pass@1 of this run minus that of the records compared with. */
export interface Comparison {
  readonly with: string;
  readonly strict: Difference;
  readonly lenient: Difference | null;
  readonly families: Readonly<Record<string, Difference>>;
}

/** What `minke eval --json` prints for samples. */
export interface SampledReport extends SampleReport {
  readonly sampling: SamplingSettings;
  readonly comparison?: Comparison;
  readonly seconds: number;
}

/** Samples, judges, writes and compares. */
export async function evaluateSamples(run: SampledEvaluation): Promise<SampledReport> {
  const { problems, sample, settings, recordsFile, compareFile } = run;
  // Before the records are opened: both may be one file.
  const before = compareFile === undefined ? undefined : await readEarlier(compareFile);
  const output = recordsFile === undefined ? undefined : openRecords(recordsFile);
  const started = performance.now();
  const progress = progressLine();
  const records: SampleRecord[] = [];
  let right = 0;
  try {
    for await (const record of collectSamples({
      problems,
      sample,
      samples: settings.samples,
      batchSize: run.batchSize,
      strict: taskJudge,
      lenient: lenientTaskJudge,
    })) {
      records.push(record);
      if (record.strict === 1) right++;
      if (output !== undefined) writeSync(output, `${JSON.stringify(record)}\n`);
      progress.show(`${records.length}/${problems.length * settings.samples} samples, ${right} right`);
    }
  } finally {
    progress.end();
    if (output !== undefined) closeSync(output);
  }
  return {
    ...summariseSamples(records, { seed: settings.seed, passAt: passAt(settings.samples) }),
    sampling: settings,
    ...(before === undefined
      ? {}
      : { comparison: compared(compareFile as string, before, records, settings.seed) }),
    seconds: (performance.now() - started) / 1000,
  };
}

/** Powers of 2, and all samples. */
function passAt(samples: number): number[] {
  const powers = Array.from({ length: 17 }, (_, i) => 2 ** i).filter((k) => k < samples);
  return [...powers, samples];
}

async function readEarlier(file: string): Promise<SampleRecord[]> {
  try {
    return await readRecords(createReadStream(file), file);
  } catch (cause) {
    if (MinkeError.isInstance(cause)) throw cause;
    throw new MinkeError(
      'invalid-file',
      `--compare: expected a file of records, got ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
}

function openRecords(file: string): number {
  try {
    return openSync(file, 'w');
  } catch (cause) {
    throw new MinkeError(
      'invalid-argument',
      `--records: expected a file to write, got ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
}

function compared(
  file: string,
  before: readonly SampleRecord[],
  now: readonly SampleRecord[],
  seed: number,
): Comparison {
  const strict = compareSystems(before, now, { seed });
  const judgedLeniently = before.some(({ lenient }) => lenient !== undefined && lenient !== null);
  const of = (rows: readonly SampleRecord[], family: string) => rows.filter((row) => row.family === family);
  const ids = new Set(before.filter((row) => row.strict !== null).map(({ id }) => id));
  const shared = now.filter((row) => row.strict !== null && ids.has(row.id));
  const families = [...new Set(shared.map(({ family }) => family))];
  return {
    with: file,
    strict,
    lenient: judgedLeniently ? compareSystems(before, now, { seed, scoring: 'lenient' }) : null,
    families: Object.fromEntries(
      families.map((family) => [family, compareSystems(of(before, family), of(now, family), { seed })]),
    ),
  };
}

/** The report as Markdown; the comparison, where there is one, last. */
export function sampledMarkdown(report: SampledReport): string {
  const { samples, temperature, topP } = report.sampling;
  const how =
    temperature === 0 ? 'greedy' : `${samples} samples a problem, temperature ${temperature}, top-p ${topP}`;
  const parts = [`${how[0]?.toUpperCase()}${how.slice(1)}.`, sampleReportMarkdown(report)];
  if (report.comparison !== undefined) parts.push(comparisonMarkdown(report.comparison));
  return parts.join('\n\n');
}

function comparisonMarkdown({ with: file, strict, lenient, families }: Comparison): string {
  const points = (value: number) => `${value < 0 ? '' : '+'}${(100 * value).toFixed(1)}`;
  const row = (name: string, { value, low, high, p, n }: Difference) =>
    `| ${name} | ${n} | ${points(value)} | ${points(low)} to ${points(high)} | ${p.toFixed(4)} |`;
  return [
    `pass@1 here minus that of ${file}, in points, paired by problem.`,
    '',
    '| family | problems | difference | 95 % interval | p |',
    '| --- | ---: | ---: | ---: | ---: |',
    ...Object.entries(families).map(([name, difference]) => row(name, difference)),
    row('all', strict),
    ...(lenient === null ? [] : [row('all, lenient', lenient)]),
  ].join('\n');
}
