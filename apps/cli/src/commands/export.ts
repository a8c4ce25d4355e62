/** `minke export`: any model that Minke reads as a folder in Hugging Face's layout, which transformers loads. */
import { loadLanguageModel, saveLanguageModel } from '@minke/inference';
import { type Command, Option } from 'commander';
import { addBackendOptions, addModelArgument, type BackendOptions, openBackend } from '../options.ts';

interface Options extends BackendOptions {
  readonly out: string;
  readonly dtype: 'bf16' | 'f32';
}

export function addExport(program: Command): void {
  const command = program
    .command('export')
    .description('write a model (safetensors, FP8, GGUF) as a folder that transformers loads')
    .requiredOption('--out <folder>', 'model folder to write')
    .addOption(
      new Option('--dtype <type>', 'storage type of the weights').choices(['bf16', 'f32']).default('bf16'),
    );
  addModelArgument(command);
  addBackendOptions(command).action(async (from: string, options: Options) => {
    const backend = await openBackend(options);
    const language = await loadLanguageModel(from, { backend });
    await saveLanguageModel(language, options.out, { dtype: options.dtype });
    process.stderr.write(`model written to ${options.out}\n`);
    backend.dispose();
  });
}
