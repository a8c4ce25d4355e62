/** A whole language model as a plain folder that transformers loads: `exportModel`, and what else belongs in it. */
import { resolveModelPath } from '@minke/checkpoints/model-path';
import { type ExportModelOptions, exportModel } from '@minke/transformer';
import { writeTextFiles } from './quantize-language-model.ts';

/**
 * Writes the model at `from`, a folder, a GGUF file or the hub id of a model in the cache, into the new folder `out`,
 * with its tokenizer, chat template and generation settings. Takes no more memory than a piece of a tensor.
 *
 * @returns the names of the weight files.
 * @throws MinkeError as `exportModel`; `invalid-file` for a GGUF file without a tokenizer.
 * @example
 * await exportLanguageModel('SmolLM2-135M-Instruct.Q4_1.gguf', 'SmolLM2-135M-Instruct');
 */
export function exportLanguageModel(
  from: string,
  out: string,
  options: ExportModelOptions = {},
): Promise<readonly string[]> {
  const path = resolveModelPath(from);
  return exportModel(path, out, { writeRest: (folder) => writeTextFiles(path, folder), ...options });
}
