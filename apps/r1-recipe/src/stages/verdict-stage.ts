/** The causal test of a stage's model's verdicts, as a stage of its own: its rows join the model's in the report. */
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import { localPolicy } from '@minke/rl-trainer';
import type { Stage } from '../run/index.ts';
import { writeJson } from '../run/json-file.ts';
import type { MeasureSettings } from './measure.ts';
import { withModel } from './model-folder.ts';
import { contextLength } from './train-stages.ts';
import { testVerdicts } from './verdict-test.ts';

/**
 * Tests the model of a stage.
 *
 * @param options.label the model's name in the table; default: the stage's
 */
export function verdictStage(
  of: string,
  options: { readonly settings: MeasureSettings; readonly backend: Backend; readonly label?: string },
): Stage {
  const { backend, label = of } = options;
  const { search, maxNewTokens } = options.settings;
  const settings = { search, maxNewTokens };
  return {
    ...{ name: `verdicts-${label}`, version: 1, inputs: { model: of }, settings: { ...settings, label } },
    run: (context) =>
      withModel(context.input('model'), backend, async (language) => {
        const policy = await localPolicy(language, { contextLength, reference: false });
        try {
          const rows = await context.time('evaluation', () =>
            testVerdicts(policy, language, settings, context.seed),
          );
          writeJson(join(context.folder, 'evaluation.json'), { stage: label, rows });
        } finally {
          await policy.dispose();
        }
      }),
  };
}
