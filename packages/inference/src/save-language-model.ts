/**
 * The other direction of `loadLanguageModel`: a folder that this package and transformers load.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { plainModel, type SaveOptions, saveModel, type TransformerModel } from '@minke/transformer';
import type { LanguageModel } from './language-model.ts';

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
  const { model, tokenizer, template, stopTokenIds, sampling } = language;
  await mkdir(folder, { recursive: true });
  await saveModel(model, folder, options);
  const { config } = plainModel(model);
  const put = (name: string, json: unknown) =>
    writeFile(join(folder, name), `${JSON.stringify(json, null, 2)}\n`);
  await put('tokenizer.json', tokenizer.toJson());
  await put('tokenizer_config.json', {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: config.maxPositions,
    clean_up_tokenization_spaces: false,
    ...(template.bosToken !== '' && { bos_token: template.bosToken }),
    ...(template.eosToken !== '' && { eos_token: template.eosToken }),
    chat_template: template.source,
  });
  const { temperature, topP, topK, minP } = sampling;
  await put('generation_config.json', {
    ...(config.bosTokenId !== null && { bos_token_id: config.bosTokenId }),
    eos_token_id: stopTokenIds,
    do_sample: temperature > 0,
    ...(temperature > 0 && { temperature, top_p: topP, top_k: topK, min_p: minP }),
  });
}
