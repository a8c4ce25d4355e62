/** The measurement of a stage's model as a stage of its own: measuring more does not train again. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import { localPolicy } from '@minke/rl-trainer';
import type { Stage } from '../run/index.ts';
import { writeJson } from '../run/json-file.ts';
import { type MeasureSettings, measure } from './measure.ts';
import { withModel } from './model-folder.ts';
import { contextLength } from './train-stages.ts';

/** What a model writes before its answer when it does not think. */
export const emptyThought = '\n</think>\n\n';

/**
 * Measures the model of a stage.
 *
 * @param options.label the model's name in the table; default: the stage's
 * @param options.thinks false puts an empty thought before every answer
 */
export function measureStage(
  of: string,
  options: {
    readonly settings: MeasureSettings;
    readonly backend: Backend;
    readonly label?: string;
    readonly thinks?: boolean;
  },
): Stage {
  const { settings, backend, label = of, thinks = true } = options;
  return {
    ...{
      name: `measure-${label}`,
      // Until 4 the tag of the empty thought was spelt in letters.
      version: thinks ? 4 : 5,
      inputs: { model: of },
      settings: { ...settings, label, thinks },
    },
    run: (context) =>
      withModel(context.input('model'), backend, async (language) => {
        const policy = await localPolicy(language, { contextLength, reference: false });
        try {
          const prefix = thinks ? '' : emptyThought;
          const { rows, records } = await context.time('evaluation', () =>
            measure(policy, language, settings, { seed: context.seed, prefix }),
          );
          writeJson(join(context.folder, 'evaluation.json'), { stage: label, rows });
          const lines = records.map((record) => `${JSON.stringify(record)}\n`);
          writeFileSync(join(context.folder, 'records.jsonl'), lines.join(''));
        } finally {
          await policy.dispose();
        }
      }),
  };
}
