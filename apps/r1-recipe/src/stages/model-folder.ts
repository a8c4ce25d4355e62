/**
 * Models of the recipe on disk: the folder `model` of a stage's outputs, in Hugging Face's layout, f32.
 *
 * A model lives as long as the work that is done with it; its memory is given back afterwards, so that a recipe of a
 * dozen stages needs no more than its largest one.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import {
  defaultSampling,
  joinLanguageModel,
  type LanguageModel,
  loadTextFormat,
  saveLanguageModel,
} from '@minke/inference';
import { Arena } from '@minke/tensor';
import { deepseekR1Template, deepseekTokens } from '@minke/tokenizer-merging/chat';
import { DeepSeekModel, loadModel } from '@minke/transformer';
import { recipeTokenizer } from '../data/index.ts';
import { type ModelShape, modelShape } from './model-shapes.ts';

/** Where a stage keeps its model. */
export const modelFolder = (stageFolder: string): string => join(stageFolder, 'model');

/** Does work with the model of a stage's folder, then gives its memory back. */
export async function withModel<T>(
  stageFolder: string,
  backend: Backend,
  work: (language: LanguageModel) => Promise<T>,
): Promise<T> {
  const arena = new Arena(backend, { persistent: true, label: 'model' });
  try {
    const folder = modelFolder(stageFolder);
    const [format, model] = [await loadTextFormat(folder), await loadModel(folder, { backend, arena })];
    return await work(joinLanguageModel(model, format));
  } finally {
    arena.dispose();
  }
}

/** Does work with a new model of random weights, then gives its memory back. */
export async function withNewModel<T>(
  shape: ModelShape,
  { backend, seed }: { readonly backend: Backend; readonly seed: number },
  work: (language: LanguageModel) => Promise<T>,
): Promise<T> {
  const arena = new Arena(backend, { persistent: true, label: 'model' });
  try {
    const tokenizer = recipeTokenizer();
    const model = DeepSeekModel.init(modelShape(shape, tokenizer.vocabSize), { arena, seed });
    const stopTokenIds = [tokenizer.tokenToId(deepseekTokens.eos) as number];
    return await work({
      ...{ model, tokenizer, template: deepseekR1Template, stopTokenIds },
      sampling: { ...defaultSampling, temperature: 0 },
    });
  } finally {
    arena.dispose();
  }
}

/** Writes the model into a stage's folder, in full precision. */
export async function saveStageModel(language: LanguageModel, stageFolder: string): Promise<void> {
  const folder = modelFolder(stageFolder);
  mkdirSync(folder, { recursive: true });
  await saveLanguageModel(language, folder, { dtype: 'f32' });
}
