import { auto } from '@minke/gpu-backends';
import { Arena } from '@minke/tensor';
import { entropyBoundaries, tokenBitmapText } from '@minke/tokenizer-merging/merging';
import { DeepSeekModel, MergingTransformer, presets } from '@minke/transformer';

const backend = await auto();
const width = { vocabSize: 512, hiddenSize: 96, intermediateSize: 256, qLoraRank: 48, kvLoraRank: 32 };
const heads = { numHeads: 4, qkNopeHeadDim: 16, qkRopeHeadDim: 8, vHeadDim: 16, maxPositions: 256 };
const depth = { numLayers: 6, moe: null, mtpLayers: 0, yarn: null };
const weights = new Arena(backend, { persistent: true });
const v3 = presets['DeepSeek-V3'];
const model = DeepSeekModel.init({ ...v3, ...width, ...heads, ...depth }, { arena: weights, seed: 0 });

// Entries of two tokens on average, which begin where the next one is hardest to foretell in text to train on.
const text = Array.from({ length: 2000 }, (_, i) => (i % 2 === 0 ? (i * i) % 13 : 7));
const boundaryTokens = tokenBitmapText(entropyBoundaries([text], { vocabSize: 512, maxRun: 3 }));
const router = { router: 'tokens', boundaryTokens, maxRun: 3 } as const;

// Two layers on tokens and a convolution over four of them, three on entries, one on tokens again.
const settings = { preLayers: 2, convKernel: 4, ...router, postLayers: 1 };
const merging = MergingTransformer.init(model, settings, { arena: weights });

// A prompt, three guesses behind it, two of them taken back.
using state = merging.createState({ maxTokens: 64 });
const feed = async (tokens: number[]) => {
  using step = new Arena(backend);
  const batch = state.append(step, [{ sequence: 0, count: tokens.length, role: 'prompt' }]);
  const ids = step.tensor(tokens, [tokens.length], 'i32');
  const { logits } = await merging.forward({ ids, ...batch }, { state, outputs: 'last' });
  return logits.read();
};
await feed([1, 42, 7, 7, 7, 7, 300, 300, 9]);
await feed([12, 13, 14]);
state.truncate(0, 10);
console.log(state.length(0), 'tokens as', state.entries(0), 'entries; next', (await feed([15])).slice(0, 3));
