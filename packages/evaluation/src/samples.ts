/**
 * k samples of each problem, judged and measured: the raw material of every number in a report.
 *
 * Records are plain JSON and small (no completions), so that they can be kept as JSON lines, summarised again and
 * compared with another system's. `collectSamples` is a generator: at most one batch is held.
 */
import { check, MinkeError } from '@minke/core';
import { type Problem, verify } from '@minke/reasoning-tasks';

/** What came back for one sample. */
export interface SampledText {
  /** Everything after the prompt: the thought (after `<think>`, which may be missing), `</think>`, the answer. */
  readonly completion: string;
  /** Length in tokens; absent: characters are counted. */
  readonly length?: number;
  /** True where the length limit cut it. */
  readonly truncated?: boolean;
}

/** A judgement: 1 right, 0 wrong, null could not be judged; and the answer in a normal form. */
export interface Judgement {
  readonly score: number | null;
  readonly extracted: string | null;
}

/** One judged sample. Plain JSON. */
export interface SampleRecord {
  readonly id: string;
  readonly family: string;
  readonly sample: number;
  readonly strict: number | null;
  /** Absent where only one way of scoring was asked for. */
  readonly lenient?: number | null;
  readonly answer: string | null;
  readonly length: number;
  readonly truncated: boolean;
  /** True where there is a thought that is not blank. */
  readonly thought: boolean;
}

/** A problem as far as sampling is concerned. */
export interface Question {
  readonly id: string;
  readonly family: string;
  readonly prompt: string;
}

/** What to sample and how to judge. */
export interface CollectOptions<P extends Question> {
  readonly problems: readonly P[];
  /** `count` completions of each prompt, in order. Temperature and the rest are the caller's, and go in the report. */
  readonly sample: (prompts: string[], count: number) => Promise<readonly (readonly SampledText[])[]>;
  /** Samples a problem. Default 8. */
  readonly samples?: number;
  /** Problems a call. Default 16. */
  readonly batchSize?: number;
  readonly strict: (problem: P, completion: string) => Judgement | Promise<Judgement>;
  readonly lenient?: (problem: P, completion: string) => Judgement | Promise<Judgement>;
}

/** The strict judge of generated tasks. */
export const taskJudge = (problem: Problem, completion: string): Judgement => verify(problem, completion);

/** True where a completion has a thought: text before `</think>`, or an open thought that never ends. */
export function hasThought(completion: string): boolean {
  const close = completion.indexOf('</think>');
  if (close < 0) return completion.includes('<think>');
  return (
    completion
      .slice(0, close)
      .replace(/^\s*<think>/, '')
      .trim() !== ''
  );
}

/**
 * Samples and judges, a record at a time, in the order of the problems.
 *
 * @throws MinkeError `invalid-argument` for bad counts and repeated ids, `internal` where `sample` answers another
 * number of prompts
 */
export async function* collectSamples<P extends Question>(
  options: CollectOptions<P>,
): AsyncGenerator<SampleRecord> {
  const { problems, sample, samples = 8, batchSize = 16, strict, lenient } = options;
  check(
    Number.isSafeInteger(samples) && samples >= 1 && Number.isSafeInteger(batchSize) && batchSize >= 1,
    () => `collectSamples: expected samples >= 1 and batchSize >= 1, got ${samples} and ${batchSize}`,
  );
  const ids = new Set(problems.map(({ id }) => id));
  check(
    ids.size === problems.length,
    () =>
      `collectSamples: expected an id of its own for each of ${problems.length} problems, got ${ids.size} ids; drop repeats`,
  );
  for (let from = 0; from < problems.length; from += batchSize) {
    const batch = problems.slice(from, from + batchSize);
    const texts = await sample(
      batch.map(({ prompt }) => prompt),
      samples,
    );
    const got = texts.map((row) => row.length);
    if (got.length !== batch.length || got.some((count) => count !== samples))
      throw new MinkeError(
        'internal',
        `collectSamples: expected ${samples} completions for each of ${batch.length} prompts, got [${got.join(', ')}]; sample() must answer all`,
      );
    for (const [i, problem] of batch.entries())
      for (const [k, text] of (texts[i] as readonly SampledText[]).entries()) {
        const judged = await strict(problem, text.completion);
        const leniently = lenient === undefined ? undefined : await lenient(problem, text.completion);
        yield {
          id: problem.id,
          family: problem.family,
          sample: k,
          strict: judged.score,
          ...(leniently === undefined ? {} : { lenient: leniently.score }),
          answer: judged.extracted,
          length: text.length ?? text.completion.length,
          truncated: text.truncated ?? false,
          thought: hasThought(text.completion),
        };
      }
  }
}
