// `pnpm bench prefill [--quick] [--only PATTERN]`: prompt tokens a second of a DeepSeek-shaped model of 4 and 8 bits, in
// pieces of 512 tokens as llama.cpp takes them, beside node-llama-cpp and the plain loop over its library, each with its
// better number of threads. `--quick` takes a smaller model of the same shape.
//
// The share is of the f32 multiply-add rate; products of integers may pass it.

import { benchGeneration } from '../generation/cases.mjs';
import { flopsOfPrompt } from '../generation/shapes.mjs';

const cases = [
  { name: 'prefill 512', phase: 'prefill', tokens: 512, batch: 1, cacheTypes: ['f32', 'bf16'] },
  { name: 'prefill 4096', phase: 'prefill', tokens: 4096, batch: 1, cacheTypes: ['f32', 'bf16'] },
];

await benchGeneration('prefill', cases, ({ shape, tokens }) => ({
  unit: 'tok/s',
  work: tokens,
  flops: flopsOfPrompt(shape, tokens),
}));
