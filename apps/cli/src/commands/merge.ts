/** `minke merge`: a model folder from a base and an adapter in PEFT format. */
import { loadLanguageModel, saveLanguageModel } from '@minke/inference';
import { loadLora } from '@minke/transformer';
import { type Command, Option } from 'commander';
import { addBackendOptions, type BackendOptions, openBackend } from '../options.ts';

interface Options extends BackendOptions {
  readonly out: string;
  readonly dtype: 'bf16' | 'f32';
}

export function addMerge(program: Command): void {
  const command = program
    .command('merge')
    .description('merge a low-rank adapter into its base and write the model')
    .argument('<base>', 'model folder (config.json, safetensors, tokenizer.json)')
    .argument('<adapter>', 'adapter folder (adapter_config.json, adapter_model.safetensors)')
    .requiredOption('--out <folder>', 'model folder to write')
    .addOption(
      new Option('--dtype <type>', 'storage type of the weights').choices(['bf16', 'f32']).default('bf16'),
    );
  addBackendOptions(command).action(async (base: string, adapter: string, options: Options) => {
    const backend = await openBackend(options);
    const language = await loadLanguageModel(base, { backend });
    const model = language.model.withLora(await loadLora(language.model, adapter));
    await saveLanguageModel({ ...language, model }, options.out, { dtype: options.dtype });
    process.stderr.write(`model written to ${options.out}\n`);
    backend.dispose();
  });
}
