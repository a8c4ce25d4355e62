/** Options of commands that train a low-rank adapter in place of a model. */
import { createLora, type DeepSeekModel, type LoraConfig } from '@minke/transformer';
import type { Command } from 'commander';
import { nonNegativeNumber, positiveInteger } from './options.ts';

export interface LoraOptions {
  readonly loraR?: number;
  readonly loraAlpha?: number;
  readonly loraTarget?: readonly string[];
  readonly loraRslora?: boolean;
}

export function addLoraOptions(command: Command): Command {
  return command
    .option(
      '--lora-r <n>',
      'train an adapter of this rank on the frozen model; written to <out>/adapter in PEFT format',
      positiveInteger,
    )
    .option(
      '--lora-alpha <a>',
      'scale of the adapter times its rank; default: twice the rank',
      nonNegativeNumber,
    )
    .option(
      '--lora-target <list>',
      'modules by the ends of their names, for example q_b_proj,experts.up_proj; or all-linear; default: attention',
      (text: string) => text.split(','),
    )
    .option('--lora-rslora', 'scale by alpha over the root of the rank');
}

/** The adapter asked for, or undefined where none was. Ends the program where options lack the rank. */
export function loraConfig(command: Command, options: LoraOptions): LoraConfig | undefined {
  const { loraR: r, loraAlpha, loraTarget, loraRslora } = options;
  if (r === undefined) {
    if (loraAlpha !== undefined || loraTarget !== undefined || loraRslora)
      command.error('error: expected --lora-r beside other options of an adapter');
    return undefined;
  }
  return {
    r,
    alpha: loraAlpha ?? 2 * r,
    targets: loraTarget ?? ['attention'],
    ...(loraRslora && { rslora: true }),
  };
}

/** The model with a new adapter, or as it is. */
export function withAdapter(model: DeepSeekModel, lora: LoraConfig | undefined, seed: number): DeepSeekModel {
  return lora === undefined ? model : model.withLora(createLora(model, lora, { seed }));
}
