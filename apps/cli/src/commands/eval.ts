/**
 * `minke eval`: greedy pass@1 with its 95 % interval on held-out problems of the reasoning tasks.
 */
import { evaluate, formatReport } from '@minke/evaluation';
import { complete, Engine, loadLanguageModel } from '@minke/inference';
import { type FamilyName, heldOut, type Split } from '@minke/reasoning-tasks';
import { interruptible } from '../interrupt.ts';
import { type BackendOptions, modelOrEmbedded, openBackend } from '../options.ts';

export interface EvalOptions extends BackendOptions {
  readonly families: readonly FamilyName[];
  /** Problems a family at most; a split with fewer is taken whole. */
  readonly count: number;
  readonly split: Split;
  readonly seed: number;
  readonly maxTokens?: number;
  /** Problems computed together. */
  readonly batchSize: number;
  readonly json?: boolean;
}

export async function evaluation(folder: string | undefined, options: EvalOptions): Promise<void> {
  const { families, count, split, seed, maxTokens, batchSize } = options;
  const from = modelOrEmbedded(folder);
  const backend = await openBackend(options);
  try {
    const language = await loadLanguageModel(from, { backend });
    const problems = families.flatMap((family) => heldOut(family, split, { seed, count }));
    const engine = new Engine(language.model, { maxSequences: batchSize, maxWaiting: problems.length });
    const result = await interruptible((signal) =>
      evaluate({
        problems,
        // Four batches at once: a place that becomes free is taken by the next problem.
        batchSize: 4 * batchSize,
        complete: (prompts) =>
          Promise.all(
            prompts.map(async (content) => {
              const settings = { temperature: 0, maxTokens, signal };
              const { text } = await complete(engine, language, [{ role: 'user', content }], settings);
              return text;
            }),
          ),
        lengthOf: (text) => language.tokenizer.encode(text, { allowSpecial: true }).length,
        onProgress: ({ done, total, correct }) =>
          process.stderr.write(`${done}/${total} problems, ${correct} right\n`),
      }),
    ).finally(() => engine.dispose());
    process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : `${formatReport(result)}\n`);
  } finally {
    backend.dispose();
  }
}
