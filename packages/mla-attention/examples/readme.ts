import { auto } from '@minke/gpu-backends';
import { MultiHeadLatentAttention } from '@minke/mla-attention';
import { Arena } from '@minke/tensor';

const backend = await auto();
const heads = { numHeads: 16, qkNopeHeadDim: 128, qkRopeHeadDim: 64, vHeadDim: 128 };
const shape = { hiddenSize: 256, qLoraRank: null, kvLoraRank: 512, ...heads };
const mla = MultiHeadLatentAttention.init(shape, { backend, seed: 0, std: 0.05 });

using step = new Arena(backend);
const x = step.tensor(
  Array.from({ length: 10 * 256 }, (_, i) => Math.sin(i)),
  [10, 256],
);
const whole = await mla.forward(x).read(); // expanded form: keys and values of every head

const cache = mla.createCache({ maxTokens: 4096 }); // 576 numbers a token instead of 5,120
mla.forward(x.rows(0, 9), { cache, form: 'expanded' });
const last = await mla.forward(x.rows(9, 10), { cache }).read(); // absorbed form: attends to the latents
console.log('largest difference', Math.max(...last.map((v, i) => Math.abs(v - (whole[9 * 256 + i] ?? 0)))));
