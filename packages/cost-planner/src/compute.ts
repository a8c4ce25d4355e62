/**
 * Arithmetic and cache memory of a token.
 *
 * A multiply-add is two FLOPs; a backward pass is two forward passes. Attention over a causal sequence of S tokens
 * costs a token S / 2 keys on average. These formulas give the 250 GFLOP a training token of DeepSeek-V3 that
 * "Insights into DeepSeek-V3", arXiv 2505.09343, table 2, publishes, and the cache bytes of its table 1.
 */
import { isDenseConfig, type ModelConfig } from '@minke/transformer';
import { countParameters } from './parameters.ts';

/** FLOPs of one training token in sequences of `sequenceLength`: 6 N_act + 3 L H (d_qk + d_v) S. */
export function trainingFlopsPerToken(config: ModelConfig, sequenceLength: number): number {
  const { numLayers, numHeads } = config;
  return (
    6 * countParameters(config).activeWithoutEmbedding +
    3 * numLayers * numHeads * headWidth(config) * sequenceLength
  );
}

/** FLOPs of one forward token that attends to `context` keys in the expanded form: 2 N_act + 2 L H (d_qk + d_v) n. */
export function forwardFlopsPerToken(config: ModelConfig, context: number): number {
  const { numLayers, numHeads } = config;
  return (
    2 * countParameters(config).activeWithoutEmbedding +
    2 * numLayers * numHeads * headWidth(config) * context
  );
}

/**
 * FLOPs of decoding one token, latents in the absorbed form: 2 N_act + 2 L H (2 R + P) n. More arithmetic than the expanded
 * form, for much less memory to read.
 */
export function decodeFlopsPerToken(config: ModelConfig, context: number): number {
  if (isDenseConfig(config)) return forwardFlopsPerToken(config, context);
  const { numLayers, numHeads, kvLoraRank, qkRopeHeadDim } = config;
  const perKey = 2 * numLayers * numHeads * (2 * kvLoraRank + qkRopeHeadDim);
  return 2 * countParameters(config).activeWithoutEmbedding + perKey * context;
}

/** Bytes a token takes in the cache of all layers: latents, or keys and values; bf16 unless said otherwise. */
export function cacheBytesPerToken(config: ModelConfig, bytesPerNumber = 2): number {
  const width = isDenseConfig(config)
    ? 2 * config.numKeyValueHeads * config.headDim
    : config.kvLoraRank + config.qkRopeHeadDim;
  return width * config.numLayers * bytesPerNumber;
}

function headWidth(config: ModelConfig): number {
  if (isDenseConfig(config)) return 2 * config.headDim;
  return config.qkNopeHeadDim + config.qkRopeHeadDim + config.vHeadDim;
}
