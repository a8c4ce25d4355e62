/**
 * The tokenizer, chat template and generation defaults of a model as the files of a folder that this package and
 * transformers load.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelConfig } from '@minke/transformer';
import type { TextFormat } from './text-format.ts';

/** Writes tokenizer.json, tokenizer_config.json with the chat template, and generation_config.json into a folder. */
export async function saveTextFormat(
  { tokenizer, template, stopTokenIds, sampling }: TextFormat,
  { maxPositions, bosTokenId, padTokenId }: Pick<ModelConfig, 'maxPositions' | 'bosTokenId' | 'padTokenId'>,
  folder: string,
): Promise<void> {
  const padToken = tokenizer.idToToken(padTokenId ?? -1);
  const put = (name: string, json: unknown) =>
    writeFile(join(folder, name), `${JSON.stringify(json, null, 2)}\n`);
  await put('tokenizer.json', tokenizer.toJson());
  await put('tokenizer_config.json', {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: maxPositions,
    clean_up_tokenization_spaces: false,
    ...(template.bosToken !== '' && { bos_token: template.bosToken }),
    ...(template.eosToken !== '' && { eos_token: template.eosToken }),
    ...(padToken !== undefined && { pad_token: padToken }),
    chat_template: template.source,
  });
  const { temperature, topP, topK, minP } = sampling;
  await put('generation_config.json', {
    ...(bosTokenId !== null && { bos_token_id: bosTokenId }),
    eos_token_id: stopTokenIds,
    do_sample: temperature > 0,
    ...(temperature > 0 && { temperature, top_p: topP, top_k: topK, min_p: minP }),
  });
}
