/** `minke export`: any model that Minke reads as a folder in Hugging Face's layout, which transformers loads. */
import { exportLanguageModel } from '@minke/inference';
import { type Command, Option } from 'commander';
import { addModelArgument } from '../options.ts';

interface Options {
  readonly out: string;
  readonly dtype: 'bf16' | 'f32';
}

export function addExport(program: Command): void {
  const command = program
    .command('export')
    .description(
      'write a model (safetensors, FP8, GGUF, 8 or 4 bits) as a folder that transformers loads, a piece of a tensor at a time',
    )
    .requiredOption('--out <folder>', 'model folder to write; nothing is replaced')
    .addOption(
      new Option('--dtype <type>', 'storage type of the weights').choices(['bf16', 'f32']).default('bf16'),
    );
  addModelArgument(command).action(async (from: string, { out, dtype }: Options) => {
    await exportLanguageModel(from, out, { dtype });
    process.stderr.write(`model written to ${out}\n`);
  });
}
