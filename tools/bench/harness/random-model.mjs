// A checkpoint with random weights, for sides of other languages to read.

import { createWasm } from '../../../packages/gpu-backends/dist/cpu/index.js';
import { Arena } from '../../../packages/tensor/dist/index.js';
import { DeepSeekModel, parseConfig, saveModel } from '../../../packages/transformer/dist/index.js';

/** @param {object} hfConfig config.json of the model @param {string} path its folder, not there yet */
export async function writeRandomModel(hfConfig, path) {
  const arena = new Arena(await createWasm(), { persistent: true, label: 'weights' });
  await saveModel(DeepSeekModel.init(parseConfig(hfConfig), { arena, seed: 0 }), path, { dtype: 'f32' });
  arena.dispose();
}
