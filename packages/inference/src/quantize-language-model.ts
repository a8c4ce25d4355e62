/**
 * A whole language model in blocks of 8 or 4 bits: its weights (`quantizeModel`), and beside them what else its folder
 * has, or its GGUF file holds.
 */
import { copyFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openGguf } from '@minke/checkpoints';
import { resolveModelPath } from '@minke/checkpoints/model-path';
import {
  configFromGguf,
  isGgufPath,
  type QuantizationReport,
  type QuantizeModelOptions,
  quantizeModel,
} from '@minke/transformer';
import { ggufTextFormat } from './gguf-text-format.ts';
import { saveTextFormat } from './save-text-format.ts';

/** Files that stand beside weights: tokenizer, templates, settings, licence, model card. */
const beside = /\.(json|jinja|txt|md|model)$|^(LICENSE|NOTICE)/i;
/** Written anew, or about files that are not copied. */
const notCopied = /^config\.json$|\.index\.json$/;
/** Larger ones are not what their name says. */
const maxBytes = 1 << 27;

/**
 * Quantises the model at `from`, a folder, a GGUF file or the hub id of a model in the cache, into the new folder `out`,
 * which `loadLanguageModel` loads.
 *
 * @throws MinkeError as `quantizeModel`; `invalid-file` for a GGUF file without a tokenizer.
 * @example
 * await quantizeLanguageModel('DeepSeek-V2-Lite-Chat', 'V2-Lite-int4', { backend, type: 'q4_0' });
 */
export async function quantizeLanguageModel(
  from: string,
  out: string,
  options: QuantizeModelOptions,
): Promise<QuantizationReport> {
  const path = resolveModelPath(from);
  return quantizeModel(path, out, { writeRest: (folder) => writeTextFiles(path, folder), ...options });
}

/** @internal Everything of a language model's folder or GGUF file but configuration and weights, into a folder. */
export function writeTextFiles(path: string, folder: string): Promise<void> {
  return isGgufPath(path) ? writeGgufRest(path, folder) : copyRest(path, folder);
}

async function writeGgufRest(path: string, folder: string): Promise<void> {
  const format = await ggufTextFormat(path);
  const file = await openGguf(path);
  try {
    await saveTextFormat(format, await configFromGguf(file), folder);
  } finally {
    await file.close();
  }
}

async function copyRest(from: string, folder: string): Promise<void> {
  for (const name of await readdir(from)) {
    if (!beside.test(name) || notCopied.test(name)) continue;
    const found = await stat(join(from, name));
    if (found.isFile() && found.size <= maxBytes) await copyFile(join(from, name), join(folder, name));
  }
}
