/**
 * Where the embedded model lies: a folder in Hugging Face's layout (config.json, model.safetensors in bf16,
 * tokenizer.json), made by this repository's own recipe. The README is its model card.
 */
import { fileURLToPath } from 'node:url';

/**
 * Absolute path of the model's folder.
 *
 * @example
 * const language = await loadLanguageModel(modelFolder, { backend });
 */
export const modelFolder: string = fileURLToPath(new URL('../model', import.meta.url));
