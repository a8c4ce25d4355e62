/**
 * The dense models that DeepSeek-R1 was distilled into: Qwen2 and Llama shapes, for counting and comparison.
 *
 * Sources: the config.json of each DeepSeek-R1-Distill release.
 */

export interface DenseConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  /** Bias on q, k and v (Qwen2). */
  readonly qkvBias: boolean;
  /** The head is the embedding. */
  readonly tieEmbeddings: boolean;
}

const qwen = { headDim: 128, qkvBias: true, tieEmbeddings: false } as const;
const llama = {
  headDim: 128,
  qkvBias: false,
  tieEmbeddings: false,
  vocabSize: 128256,
  numKeyValueHeads: 8,
} as const;

/** DeepSeek-R1-Distill models by name. */
export const distillPresets = {
  'R1-Distill-Qwen-1.5B': {
    ...qwen,
    vocabSize: 151936,
    hiddenSize: 1536,
    intermediateSize: 8960,
    numLayers: 28,
    numHeads: 12,
    numKeyValueHeads: 2,
  },
  'R1-Distill-Qwen-7B': {
    ...qwen,
    vocabSize: 152064,
    hiddenSize: 3584,
    intermediateSize: 18944,
    numLayers: 28,
    numHeads: 28,
    numKeyValueHeads: 4,
  },
  'R1-Distill-Qwen-14B': {
    ...qwen,
    vocabSize: 152064,
    hiddenSize: 5120,
    intermediateSize: 13824,
    numLayers: 48,
    numHeads: 40,
    numKeyValueHeads: 8,
  },
  'R1-Distill-Qwen-32B': {
    ...qwen,
    vocabSize: 152064,
    hiddenSize: 5120,
    intermediateSize: 27648,
    numLayers: 64,
    numHeads: 40,
    numKeyValueHeads: 8,
  },
  'R1-Distill-Llama-8B': { ...llama, hiddenSize: 4096, intermediateSize: 14336, numLayers: 32, numHeads: 32 },
  'R1-Distill-Llama-70B': {
    ...llama,
    hiddenSize: 8192,
    intermediateSize: 28672,
    numLayers: 80,
    numHeads: 64,
  },
} as const satisfies Record<string, DenseConfig>;

/** Parameters of a dense model; all of them are active. */
export function countDenseParameters(config: DenseConfig): number {
  const { vocabSize: V, hiddenSize: D, intermediateSize, numLayers, headDim, qkvBias } = config;
  const queries = config.numHeads * headDim;
  const keyValues = 2 * config.numKeyValueHeads * headDim;
  const attention = D * (2 * queries + keyValues) + (qkvBias ? queries + keyValues : 0);
  const layer = attention + 3 * D * intermediateSize + 2 * D;
  return numLayers * layer + D + (config.tieEmbeddings ? 1 : 2) * V * D;
}

/** Bytes of keys and values a token takes in the cache of all layers. */
export function denseCacheBytes(config: DenseConfig, bytesPerNumber = 2): number {
  return 2 * config.numKeyValueHeads * config.headDim * config.numLayers * bytesPerNumber;
}
