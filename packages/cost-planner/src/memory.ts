/**
 * Memory of generation: weights held in a storage type, and the cache of a conversation.
 *
 * In 8 and 4 bits (GGUF's q8_0 and q4_0: 34 and 18 bytes for 32 numbers) are the matrices whose rows are whole blocks, but
 * for what decides (gates, indexers), the up-projection of latents and the table that looks tokens up; those and norms
 * stay f32, as the engine has it, and a head that is the table is a matrix of its own then. Activations are not counted.
 */
import { attentionCacheBytes, type ModelConfig, parameterShapes } from '@minke/transformer';

/** How weights are held. */
export type WeightStorage = 'f32' | 'bf16' | 'q8_0' | 'q4_0';

export const weightStorages: readonly WeightStorage[] = ['f32', 'bf16', 'q8_0', 'q4_0'];

const bytesPerBlock = { q8_0: 34, q4_0: 18 } as const;
const blockSize = 32;
const exact = /\.mlp\.gate\.weight$|\.kv_b_proj\.|\.indexer\./;

/** Bytes of all weights, MTP modules left out. */
export function weightBytes(config: ModelConfig, storage: WeightStorage): number {
  const main = { ...config, mtpLayers: 0 } as ModelConfig;
  let bytes = 0;
  for (const [name, shape] of parameterShapes(main)) {
    const size = shape.reduce((product, n) => product * n, 1);
    const matrix = shape.length >= 2 && (shape.at(-1) as number) % blockSize === 0;
    const table = name === 'model.embed_tokens.weight';
    if (storage === 'f32' || storage === 'bf16') {
      bytes += size * (storage === 'f32' ? 4 : 2);
      continue;
    }
    const blocks = (size / blockSize) * bytesPerBlock[storage];
    if (!matrix || exact.test(name)) bytes += size * 4;
    else if (!table) bytes += blocks;
    else bytes += size * 4 + (config.tieEmbeddings ? blocks : 0);
  }
  return bytes;
}

/**
 * Bytes of the weights and of the f32 cache of one sequence.
 *
 * @param tokens of the sequence, prompt included
 * @example
 * generationBytes(presets['DeepSeek-V2-Lite'], { storage: 'q4_0', tokens: 4096 }); // 10.0e9
 */
export function generationBytes(
  config: ModelConfig,
  { storage, tokens }: { readonly storage: WeightStorage; readonly tokens: number },
): number {
  return weightBytes(config, storage) + attentionCacheBytes(config, { maxTokens: tokens, sequences: 1 });
}
