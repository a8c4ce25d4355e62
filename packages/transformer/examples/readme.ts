import { auto } from '@minke/gpu-backends';
import { Arena } from '@minke/tensor';
import { DeepSeekModel, loadModel, presets, saveModel } from '@minke/transformer';

const backend = await auto();
const v3 = presets['DeepSeek-V3'];
const moe = { ...v3.moe!, experts: 8, groups: 1, topGroups: 1, topK: 2, expertSize: 64 };
const width = { vocabSize: 512, hiddenSize: 96, intermediateSize: 256, qLoraRank: 48, kvLoraRank: 32 };
const heads = { numHeads: 4, qkNopeHeadDim: 16, qkRopeHeadDim: 8, vHeadDim: 16, maxPositions: 256 };
const depth = { numLayers: 3, firstDenseLayers: 1, mtpLayers: 0, yarn: null };
const weights = new Arena(backend, { persistent: true });
const fresh = DeepSeekModel.init({ ...v3, ...width, ...heads, ...depth, moe }, { arena: weights, seed: 0 });

await saveModel(fresh, 'tiny-v3', { dtype: 'f32' }); // transformers loads this folder too
const model = await loadModel('tiny-v3', { backend });

using step = new Arena(backend);
const prompt = [1, 42, 7, 300];
const cache = model.createCache({ maxTokens: 64 });
const batch = cache.append(step, [{ sequence: 0, count: prompt.length, role: 'prompt' }]);
const ids = step.tensor(prompt, [prompt.length], 'i32');
const { logits } = model.forward({ ids, ...batch }, { cache, outputs: 'last' });
console.log('next-token logits', logits.shape, (await logits.read()).slice(0, 3));
