/**
 * The other direction of `loadLanguageModel`: a folder that this package and transformers load.
 */
import { mkdir } from 'node:fs/promises';
import { plainModel, type SaveOptions, saveModel, type TransformerModel } from '@minke/transformer';
import type { LanguageModel } from './language-model.ts';
import { saveTextFormat } from './save-text-format.ts';

/**
 * Writes config.json, safetensors, tokenizer.json, tokenizer_config.json with the chat template, and
 * generation_config.json. The folder is made if need be; files of the same names are replaced.
 *
 * @example
 * await saveLanguageModel(language, 'my-reasoner', { dtype: 'bf16' });
 */
export async function saveLanguageModel(
  language: LanguageModel<TransformerModel>,
  folder: string,
  options: SaveOptions = {},
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await saveModel(language.model, folder, options);
  await saveTextFormat(language, plainModel(language.model).config, folder);
}
