// `pnpm bench decode [--quick] [--only PATTERN]`: tokens a second of a DeepSeek-shaped and a dense model of 4 and 8 bits,
// one sequence behind 512 and 4,096 tokens (exact caches and smaller ones) and 16 sequences together, beside
// node-llama-cpp and the plain loop over its library, each with its better number of threads. `--quick` takes a smaller
// DeepSeek-shaped model.
//
// The share is of the time that reading the bytes of a step takes at the bandwidth of memory, measured in the same run.

import { benchGeneration } from '../generation/cases.mjs';
import { bytesOfStep } from '../generation/shapes.mjs';

const cases = [
  { name: 'decode 512', phase: 'decode', tokens: 512, batch: 1, cacheTypes: ['f32', 'bf16'] },
  { name: 'decode 4096', phase: 'decode', tokens: 4096, batch: 1, cacheTypes: ['f32', 'bf16', 'q8_0'] },
  { name: 'decode 128 batch 16', phase: 'decode', tokens: 128, batch: 16, cacheTypes: ['f32', 'bf16'] },
];

await benchGeneration('decode', cases, ({ shape, type, tokens, batch, seconds, bandwidth }) => ({
  unit: 'tok/s',
  work: batch,
  share: seconds && bandwidth ? bytesOfStep(shape, type, tokens, batch) / 1e9 / seconds / bandwidth : null,
}));
