import {
  auditOverlap,
  bitsPerByte,
  collectSamples,
  compareSystems,
  evaluate,
  formatReport,
  passAtK,
  type SampleRecord,
  type ScoringWindow,
  sampleReportMarkdown,
  scoredDocument,
  summariseSamples,
  taskJudge,
  wilson,
} from '@minke/evaluation';
import { dataset, heldOut, type Problem } from '@minke/reasoning-tasks';

const problems = heldOut('number_comparison', 'test', { seed: 0, count: 200 });

// A model is any function from prompts to completions; this one always names the first number it sees.
const complete = async (prompts: string[]) =>
  prompts.map((prompt) => `It was named first.\n</think>\nThe answer is ${/\d+/.exec(prompt)?.[0]}.`);

const report = await evaluate({ problems, complete, batchSize: 50 });
console.log(formatReport(report)); // about half of the answers are right
console.log(report.families.number_comparison?.failures[0]);

console.log(wilson(90, 100)); // { value: 0.9, low: 0.8256..., high: 0.9447... }
console.log(passAtK(10, 3, 5)); // 0.9166...: five of ten samples, three of them right

// Four samples a problem, from models that name one of the numbers, the first more or less often.
const sampled = async (firstOften: (k: number) => boolean) => {
  const records: SampleRecord[] = [];
  const sample = async (prompts: string[], count: number) =>
    prompts.map((prompt) =>
      Array.from({ length: count }, (_, k) => {
        const numbers = prompt.match(/\d+/g) ?? [];
        return { completion: `hm</think>The answer is ${firstOften(k) ? numbers[0] : numbers[1]}.` };
      }),
    );
  for await (const record of collectSamples({ problems, sample, samples: 4, strict: taskJudge }))
    records.push(record); // plain JSON; write it to a file of JSON lines
  return records;
};
const always = await sampled(() => true);
const sometimes = await sampled((k) => k % 2 === 0);
console.log(sampleReportMarkdown(summariseSamples(sometimes, { seed: 1 }))); // pass@1 50, pass@4 100
console.log(compareSystems(always, sometimes)); // pass@1 of the second minus the first, paired by problem

const items = (of: readonly Problem[]) =>
  of.map(({ id, prompt, canonical }) => ({ id, text: prompt, canonical }));
const training = [...dataset('number_comparison', 'train', { seed: 0, count: 200 })];
const audit = await auditOverlap(items(training), items(problems), { n: 10, templateShare: 0.01 });
console.log(audit.exact); // { training: 0, evaluation: 0 }

// Bits per byte of texts. A scorer is any function; of a loaded model it is `modelScorer(model)`.
const bytes = { encode: (text: string) => new TextEncoder().encode(text) };
const documents = ['a rose', 'is a rose'].map((text, i) => scoredDocument(`text ${i}`, text, bytes, 256));
const uniform = async (windows: readonly ScoringWindow[]) =>
  windows.map(({ ids, from }) => ids.slice(from).map(() => -Math.log(256)));
const bits = await bitsPerByte({ documents, score: uniform, context: 8, stride: 4 });
console.log(bits.bitsPerByte.value); // 8: nothing is known of any byte
