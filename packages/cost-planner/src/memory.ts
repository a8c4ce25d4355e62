/**
 * Memory of generation: weights held in a storage type, and the cache of a conversation.
 *
 * In 8 and 4 bits (GGUF's q8_0 and q4_0: 34 and 18 bytes for 32 numbers) are the matrices whose rows are whole blocks, but
 * for what decides (gates, indexers), which stays f32 with the norms, the table that looks tokens up, which stays in the
 * bf16 it is published in, and the up-projection of latents, which has 8 bits in two layouts: as the engine has it. A head
 * that is the table is a matrix of its own then. Activations are not counted.
 */
import {
  attentionCacheBytes,
  isLatentProjection,
  type ModelCacheSize,
  type ModelConfig,
  parameterShapes,
  quantizableParameters,
  tokenTable,
} from '@minke/transformer';

/** How weights are held. */
export type WeightStorage = 'f32' | 'bf16' | 'q8_0' | 'q4_0';

export const weightStorages: readonly WeightStorage[] = ['f32', 'bf16', 'q8_0', 'q4_0'];

const bytesPerBlock = { q8_0: 34, q4_0: 18 } as const;
const blockSize = 32;

/** Bytes of all weights, MTP modules left out. */
export function weightBytes(config: ModelConfig, storage: WeightStorage): number {
  const main = { ...config, mtpLayers: 0 } as ModelConfig;
  const shapes = parameterShapes(main);
  if (storage === 'f32' || storage === 'bf16') {
    let numbers = 0;
    for (const shape of shapes.values()) numbers += sizeOf(shape);
    return numbers * (storage === 'f32' ? 4 : 2);
  }
  // Of a head that is the table, the engine holds both: the table as it is, and the head in blocks.
  const blocks = quantizableParameters(main);
  const inBlocks = (shape: readonly number[], type: 'q8_0' | 'q4_0') =>
    (sizeOf(shape) / blockSize) * bytesPerBlock[type];
  let bytes = 0;
  for (const [name, shape] of shapes) {
    if (blocks.has(name)) continue;
    if (name === tokenTable) bytes += 2 * sizeOf(shape);
    else if (isLatentProjection(name) && (shape.at(-1) as number) % blockSize === 0)
      bytes += 2 * inBlocks(shape, 'q8_0');
    else bytes += 4 * sizeOf(shape);
  }
  for (const shape of blocks.values()) bytes += inBlocks(shape, storage);
  return bytes;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

/**
 * Bytes of the weights and of the cache of one sequence.
 *
 * @param tokens of the sequence, prompt included
 * @param cacheType how past tokens are kept; default f32
 * @example
 * generationBytes(presets['DeepSeek-V2-Lite'], { storage: 'q4_0', tokens: 4096 }); // 10.0e9
 */
export function generationBytes(
  config: ModelConfig,
  {
    storage,
    tokens,
    cacheType,
  }: {
    readonly storage: WeightStorage;
    readonly tokens: number;
    readonly cacheType?: ModelCacheSize['cacheType'];
  },
): number {
  const cache = attentionCacheBytes(config, { maxTokens: tokens, sequences: 1, cacheType });
  return weightBytes(config, storage) + cache;
}
