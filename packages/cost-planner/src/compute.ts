/**
 * Arithmetic and cache memory of a token.
 *
 * A multiply-add is two FLOPs; a backward pass is two forward passes. Attention over a causal sequence of S tokens
 * costs a token S / 2 keys on average. These formulas give the 250 GFLOP a training token of DeepSeek-V3 that
 * "Insights into DeepSeek-V3", arXiv 2505.09343, table 2, publishes, and the cache bytes of its table 1.
 *
 * Layers that look locally or at what an indexer selects attend to as many keys as they need, not to those that an
 * implementation may mask; the indexer scores all keys. Middle layers of a model that merges have a row for each entry.
 */
import {
  isDenseConfig,
  type MergingConfig,
  type ModelConfig,
  mergingParameterShapes,
  middleLayers,
} from '@minke/transformer';
import { activeByLayer, countParameters } from './parameters.ts';

/** Of a model that merges tokens: its settings, and how much it merges. */
export interface MergedTokens {
  readonly merging: MergingConfig;
  /** Tokens an entry of the middle layers, 1 or more. */
  readonly tokensPerEntry: number;
}

/**
 * FLOPs of one training token in sequences of `sequenceLength`: 6 N_act + 6 L H (d_qk + d_v) keys, with S / 2 keys where
 * a layer sees all, W - W^2 / 2S where it sees W of them. With `merged` the middle layers have 1 / N of the rows, each
 * with 1 / N of the keys, and the router's and inflator's matrices are added.
 *
 * @example
 * trainingFlopsPerToken(config, 1024, { merging: { preLayers: 2, postLayers: 2 }, tokensPerEntry: 2 });
 */
export function trainingFlopsPerToken(
  config: ModelConfig,
  sequenceLength: number,
  merged?: MergedTokens,
): number {
  const { numLayers, numHeads } = config;
  const middle = new Set(merged ? middleLayers(config, merged.merging) : []);
  const perEntry = merged?.tokensPerEntry ?? 1;
  const layers = activeByLayer(config);
  let active = countParameters(config).activeWithoutEmbedding;
  let keys = 0;
  for (let layer = 0; layer < numLayers; layer++) {
    const share = middle.has(layer) ? 1 / perEntry : 1;
    active -= (1 - share) * (layers[layer] as number);
    keys += share * meanAttention(config, layer, share * sequenceLength);
  }
  if (merged) active += mergingMatrices(config, merged.merging);
  return 6 * active + 6 * numHeads * headWidth(config) * keys;
}

/** FLOPs of one forward token that attends to `context` keys in the expanded form: 2 N_act + 2 L H (d_qk + d_v) n. */
export function forwardFlopsPerToken(config: ModelConfig, context: number): number {
  const { numHeads } = config;
  const width = numHeads * headWidth(config);
  return (
    2 * countParameters(config).activeWithoutEmbedding + 2 * width * attendedKeys(config, context, width)
  );
}

/**
 * FLOPs of a prompt that is taken in pieces of `chunk` tokens, the vocabulary for its last token only: what products with
 * weights take, and attention in the expanded form, for which every piece makes keys and values of all latents before
 * its end anew, 2 H R (d_nope + d_v) a row. The two run at different rates where weights are integers.
 * @param size tokens, 0 or more, and those of a piece, 1 or more; throws RangeError for others
 */
export function promptFlops(
  config: ModelConfig,
  { tokens, chunk }: { readonly tokens: number; readonly chunk: number },
): { products: number; attention: number } {
  if (!(Number.isSafeInteger(tokens) && tokens >= 0 && Number.isSafeInteger(chunk) && chunk >= 1))
    throw new RangeError(
      `promptFlops: expected whole tokens >= 0 and chunk >= 1, got ${tokens} and ${chunk}`,
    );
  const { numLayers, numHeads } = config;
  const dense = isDenseConfig(config);
  const expansion = dense ? 0 : numHeads * config.kvLoraRank * (config.qkNopeHeadDim + config.vHeadDim);
  const head = config.vocabSize * config.hiddenSize;
  const each = countParameters(config).activeWithoutEmbedding - head - numLayers * expansion;
  let [keys, rows] = [0, 0];
  for (let layer = 0; layer < numLayers; layer++) {
    const most = reach(config, layer);
    const growing = Math.min(tokens, most);
    keys += (growing * (growing + 1)) / 2 + (tokens - growing) * growing;
    keys += tokens * indexedKeys(config, (tokens + 1) / 2, numHeads * headWidth(config));
    for (let start = 0; start < tokens; start += chunk) {
      const size = Math.min(chunk, tokens - start);
      rows += Math.min(start + size, most + size);
    }
  }
  return {
    products: 2 * (tokens * each + head),
    attention: 2 * numHeads * headWidth(config) * keys + 2 * expansion * rows,
  };
}

/**
 * FLOPs of decoding one token, latents in the absorbed form: 2 N_act + 2 L H (2 R + P) n. More arithmetic than the expanded
 * form, for much less memory to read.
 */
export function decodeFlopsPerToken(config: ModelConfig, context: number): number {
  if (isDenseConfig(config)) return forwardFlopsPerToken(config, context);
  const { numHeads, kvLoraRank, qkRopeHeadDim } = config;
  const width = numHeads * (2 * kvLoraRank + qkRopeHeadDim);
  return (
    2 * countParameters(config).activeWithoutEmbedding + 2 * width * attendedKeys(config, context, width)
  );
}

/** Keys that all layers attend to, of `context`; an indexer's scores count as keys of the same arithmetic. */
function attendedKeys(config: ModelConfig, context: number, width: number): number {
  let keys = 0;
  for (let layer = 0; layer < config.numLayers; layer++)
    keys += Math.min(context, reach(config, layer)) + indexedKeys(config, context, width);
  return keys;
}

/** Keys a query attends to on average in a layer, over a causal sequence. */
function meanAttention(config: ModelConfig, layer: number, length: number): number {
  const most = reach(config, layer);
  const seen = length <= most ? length / 2 : most - most ** 2 / (2 * length);
  return seen + indexedKeys(config, length / 2, config.numHeads * headWidth(config));
}

/** Keys that a layer can see at most. */
function reach(config: ModelConfig, layer: number): number {
  if (isDenseConfig(config)) return Number.POSITIVE_INFINITY;
  const { layerPlan, indexer } = config;
  if (indexer !== undefined) return indexer.topK;
  return layerPlan?.layerTypes[layer] === 'local' ? layerPlan.window : Number.POSITIVE_INFINITY;
}

/** An indexer's scores of so many keys, in keys of attention of a width. */
function indexedKeys(config: ModelConfig, keys: number, width: number): number {
  const indexer = isDenseConfig(config) ? undefined : config.indexer;
  return indexer === undefined ? 0 : (keys * indexer.heads * indexer.headDim) / width;
}

/** Weights that merging multiplies every token with. */
function mergingMatrices(config: ModelConfig, merging: MergingConfig): number {
  let size = 0;
  for (const [name, shape] of mergingParameterShapes(config, merging))
    if (name.endsWith('.weight')) size += shape.reduce((product, n) => product * n, 1);
  return size;
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
