/**
 * A model as a person has it: weights, tokenizer, chat template and generation defaults from one folder in
 * Hugging Face's layout, or from one GGUF file.
 */
import { resolveModelPath } from '@minke/checkpoints/model-path';
import { type Backend, MinkeError } from '@minke/core';
import { Arena } from '@minke/tensor';
import {
  type DeepSeekModel,
  type LoadOptions,
  loadModel,
  loadTransformer,
  plainModel,
  type TransformerModel,
} from '@minke/transformer';
import { loadTextFormat } from './load-text-format.ts';
import type { TextFormat } from './text-format.ts';

export interface LanguageModel<M extends TransformerModel = DeepSeekModel> extends TextFormat {
  readonly model: M;
}

/** How `loadLanguageModel` reads. */
export interface LoadLanguageModelOptions {
  readonly backend: Backend;
  /** Rounds weights as they are read, see `loadModel`. */
  readonly quantize?: LoadOptions['quantize'];
  /** Called after each parameter, counted in numbers of the model. */
  readonly onProgress?: LoadOptions['onProgress'];
}

/**
 * Loads a folder with config.json, safetensors and tokenizer.json, and where present tokenizer_config.json,
 * chat_template.jinja and generation_config.json; or a GGUF file, which holds all of them, or a folder of one; or the
 * hub id of a model that is in the cache. Throws `invalid-file`, `invalid-config` or `unsupported`, naming the file.
 *
 * @example
 * const language = await loadLanguageModel('model', { backend });
 */
export function loadLanguageModel(from: string, options: LoadLanguageModelOptions): Promise<LanguageModel> {
  return loadWith(loadModel, from, options);
}

/** As `loadLanguageModel`, and models that merge tokens in their middle layers: for programs that generate. */
export function loadAnyLanguageModel(
  from: string,
  options: LoadLanguageModelOptions,
): Promise<LanguageModel<TransformerModel>> {
  return loadWith(loadTransformer, from, options);
}

async function loadWith<M extends TransformerModel>(
  load: (folder: string, options: LoadOptions) => Promise<M>,
  from: string,
  { backend, quantize, onProgress }: LoadLanguageModelOptions,
): Promise<LanguageModel<M>> {
  const folder = resolveModelPath(from);
  const format = await loadTextFormat(folder);
  const arena = new Arena(backend, { persistent: true, label: 'model' });
  try {
    return joinLanguageModel(
      await load(folder, { backend, arena, quantize, ...(onProgress && { onProgress }) }),
      format,
    );
  } catch (error) {
    arena.dispose();
    throw error;
  }
}

/** A language model from its two halves. Throws `invalid-file` when they do not fit together. */
export function joinLanguageModel<M extends TransformerModel>(
  model: M,
  format: TextFormat,
): LanguageModel<M> {
  const { vocabSize } = plainModel(model).config;
  const { tokenizer, stopTokenIds } = format;
  if (tokenizer.vocabSize > vocabSize) {
    throw new MinkeError(
      'invalid-file',
      `loadLanguageModel: expected a tokenizer of at most ${vocabSize} tokens (the model's vocabulary), got ${tokenizer.vocabSize}; they belong to different models`,
    );
  }
  const outside = stopTokenIds.find((id) => id >= vocabSize);
  if (outside !== undefined) {
    throw new MinkeError(
      'invalid-file',
      `generation_config.json: expected eos_token_id below ${vocabSize} (the model's vocabulary), got ${outside}`,
    );
  }
  return { model, ...format };
}
