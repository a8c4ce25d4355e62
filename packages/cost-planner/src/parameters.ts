/**
 * Exact parameter counts of DeepSeek-shaped models, from shapes alone: nothing is allocated.
 *
 * Counted is every tensor of the main model (embedding, head, norms, correction biases, indexer). A
 * multi-token-prediction module shares the embedding and head; published checkpoints store copies of both.
 */
import type { ModelConfig } from '@minke/transformer';
import { parameterShapes } from '@minke/transformer';

export interface ParameterCounts {
  /** The main model, without MTP modules. */
  readonly total: number;
  /** Parameters a token uses: all but the experts it is not sent to. */
  readonly active: number;
  /** `active` without the input embedding, which is a look-up and no arithmetic: N_act of the FLOP formulas. */
  readonly activeWithoutEmbedding: number;
  /** MTP modules without the embedding and head they share. */
  readonly mtp: number;
  /** MTP modules with the copies of the embedding and head that published checkpoints carry. */
  readonly mtpStored: number;
  /** Attention of one layer, without an indexer. */
  readonly attentionPerLayer: number;
  /** The indexer of one layer; 0 where there is none. */
  readonly indexerPerLayer: number;
  /** One routed expert; 0 in a dense model. */
  readonly expert: number;
  /** The feed-forward part of a mixture-of-experts layer, gate included; 0 in a dense model. */
  readonly moePerLayer: number;
}

/**
 * @example
 * countParameters(presets['DeepSeek-V3']).total; // 671026419200
 */
export function countParameters(config: ModelConfig): ParameterCounts {
  const sizes = new Map<string, number>();
  for (const [name, shape] of parameterShapes(config))
    sizes.set(
      name,
      shape.reduce((product, n) => product * n, 1),
    );
  const sum = (chosen: (name: string) => boolean) => {
    let total = 0;
    for (const [name, size] of sizes) if (chosen(name)) total += size;
    return total;
  };
  const { numLayers, moe } = config;
  const inMain = (name: string) => layerOf(name) < numLayers;
  const total = sum(inMain);
  const used = moe === null ? 0 : moe.topK / moe.experts;
  const active =
    sum((name) => inMain(name) && !routed(name)) + sum((name) => inMain(name) && routed(name)) * used;
  const embedding = config.vocabSize * config.hiddenSize;
  const mtp = sum((name) => !inMain(name));
  const last = `model.layers.${numLayers - 1}.`;
  const indexer = sum((name) => name.startsWith(`${last}self_attn.indexer.`));
  return {
    total,
    active,
    activeWithoutEmbedding: config.tieEmbeddings ? active : active - embedding,
    mtp,
    mtpStored: mtp + config.mtpLayers * 2 * embedding,
    attentionPerLayer: sum((name) => name.startsWith(`${last}self_attn.`)) - indexer,
    indexerPerLayer: indexer,
    expert: moe === null ? 0 : 3 * config.hiddenSize * moe.expertSize,
    moePerLayer: moe === null ? 0 : sum((name) => name.startsWith(`${last}mlp.`)),
  };
}

/** Parameters a token uses in each layer; MTP modules, numbered from `numLayers`, come last. */
export function activeByLayer(config: DeepSeekConfig): number[] {
  const { moe } = config;
  const used = moe === null ? 0 : moe.topK / moe.experts;
  const active: number[] = [];
  for (const [name, shape] of parameterShapes(config)) {
    const layer = layerOf(name);
    if (layer < 0) continue;
    const size = shape.reduce((product, n) => product * n, 1);
    active[layer] = (active[layer] ?? 0) + size * (routed(name) ? used : 1);
  }
  return active;
}

/** The layer of a parameter, -1 for those of none. */
const layerOf = (name: string): number => Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1);

const routed = (name: string): boolean => name.includes('.mlp.experts.');
