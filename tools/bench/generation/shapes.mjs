// Models that the generation benchmarks write and run: random weights in DeepSeek-V3's shape (latent attention, sigmoid
// gate with bias, shared experts, the first layer dense), as llama.cpp's `deepseek2`, and in that of SmolLM2-135M (grouped
// heads, the head tied to the table), as its `llama`; and the arithmetic of a token.

const full = {
  kind: 'deepseek2',
  hidden: 1024,
  layers: 12,
  denseLayers: 1,
  denseSize: 2816,
  experts: 64,
  topK: 6,
  sharedExperts: 2,
  expertSize: 512,
  heads: 16,
  queryRank: 384,
  latent: 256,
  nope: 64,
  rope: 32,
  value: 64,
  vocabulary: 32768,
  context: 8192,
};

/** https://huggingface.co/HuggingFaceTB/SmolLM2-135M/blob/main/config.json */
const dense = {
  kind: 'llama',
  hidden: 576,
  layers: 30,
  denseSize: 1536,
  heads: 9,
  keyHeads: 3,
  headSize: 64,
  vocabulary: 49152,
  context: 8192,
};

/**
 * `deepseek2`: 1.25 billion parameters, 0.216 of them active. `deepseek2-small`: a quarter of its layers and experts.
 * `smollm2`: 135 million parameters.
 */
export const shapes = {
  deepseek2: full,
  'deepseek2-small': { ...full, layers: 3, experts: 16 },
  smollm2: dense,
};

/** Experts of each of the models `curve-experts-<count>`, six of them active. */
export const expertCounts = [8, 32, 64, 128, 256];

/** Two layers of `deepseek2`, the first one dense, for `pnpm bench curves`: a long context, and many experts. */
export const curveShapes = {
  'curve-context': { ...full, layers: 2, experts: 16, context: 36864 },
  ...Object.fromEntries(
    expertCounts.map((experts) => [`curve-experts-${experts}`, { ...full, layers: 2, experts }]),
  ),
};

/** Bytes of a number in each type that a file may have. */
export const bytesPerNumber = { Q4_0: 18 / 32, Q8_0: 34 / 32 };

/** Numbers of the matrices that one token is multiplied by: those stored as blocks, and those that are not. */
export function activeNumbers(s) {
  const head = s.hidden * s.vocabulary;
  if (s.kind === 'llama') {
    const attention = 2 * s.hidden * s.headSize * (s.heads + s.keyHeads);
    return { layers: s.layers * (attention + 3 * s.hidden * s.denseSize), head, gates: 0 };
  }
  const attention =
    s.hidden * (s.queryRank + s.latent + s.rope + s.heads * s.value) +
    s.queryRank * s.heads * (s.nope + s.rope) +
    s.latent * s.heads * (s.nope + s.value);
  const moe = 3 * s.hidden * s.expertSize * (s.topK + s.sharedExperts);
  const sparse = s.layers - s.denseLayers;
  const blocks = s.layers * attention + sparse * moe + s.denseLayers * 3 * s.hidden * s.denseSize;
  return { layers: blocks, head, gates: sparse * s.hidden * s.experts };
}

/**
 * Bytes that a decoding step must read at least: each matrix once, experts as often as `batch` rows with random choices
 * use different ones, and every row's past latents, or keys and values, as f16, which is what llama.cpp keeps.
 */
export function bytesOfStep(s, type, context, batch) {
  const { layers, head, gates } = activeNumbers(s);
  if (s.kind === 'llama') {
    const past = 2 * batch * context * s.layers * 2 * s.keyHeads * s.headSize;
    return (layers + head) * bytesPerNumber[type] + past;
  }
  const expert = 3 * s.hidden * s.expertSize;
  const sparse = s.layers - s.denseLayers;
  const used = s.experts * (1 - (1 - s.topK / s.experts) ** batch);
  const weights = layers + head + sparse * expert * (used - s.topK);
  const latents = 2 * batch * context * s.layers * (s.latent + s.rope);
  return weights * bytesPerNumber[type] + 4 * gates + latents;
}

/** FLOPs of `tokens` prompt tokens in the expanded form, the vocabulary for the last one only. */
export function flopsOfPrompt(s, tokens) {
  const { layers, head, gates } = activeNumbers(s);
  const perHead = s.kind === 'llama' ? 2 * s.headSize : s.nope + s.rope + s.value;
  const perKey = 2 * s.layers * s.heads * perHead;
  return 2 * tokens * (layers + gates) + 2 * head + (perKey * tokens * (tokens + 1)) / 2;
}
