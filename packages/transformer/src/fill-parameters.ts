/**
 * From a source of weights into the memory of a backend, a piece at a time: the host holds some megabytes of a model,
 * whatever its size. Weights become f32, or blocks of 8 or 4 bits: rounded where that is asked for, as they are where the
 * source has such blocks.
 */
import { MinkeError, type Shape } from '@minke/core';
import { Arena, attachTiles, quantizedWeight, type Tensor, writeQuantized } from '@minke/tensor';
import type { WeightSource } from './weight-source.ts';

/** A run of a source's numbers that fills as many of a parameter from `offset` on. */
export interface Read {
  readonly source: string;
  readonly start: number;
  readonly count: number;
  readonly offset: number;
}

export type BlockType = 'q8_0' | 'q4_0';

/** Numbers that the host holds at once, about. */
const pieceSize = 1 << 21;

/** The type of a GGUF name of blocks that products take, else null. */
export const blockTypeOf = (dtype: string): BlockType | null =>
  dtype === 'Q8_0' ? 'q8_0' : dtype === 'Q4_0' ? 'q4_0' : null;

export class ParameterFiller {
  readonly #weights: WeightSource;
  readonly #arena: Arena;
  readonly #staging: Arena;
  readonly #trained: boolean;

  /**
   * @param arena persistent, owns what is made
   * @param trained whether f32 weights are leaves
   */
  constructor(weights: WeightSource, arena: Arena, trained: boolean) {
    this.#weights = weights;
    this.#arena = arena;
    this.#trained = trained;
    this.#staging = new Arena(arena.backend, { label: 'loading' });
  }

  dispose(): void {
    this.#staging.dispose();
  }

  /** A parameter in f32. */
  async plain(name: string, shape: Shape, reads: readonly Read[]): Promise<Tensor> {
    const trained = this.#trained && !name.endsWith('e_score_correction_bias');
    const tensor = trained ? this.#arena.parameter(null, shape) : this.#arena.empty(shape);
    for (const { source, start, count, offset } of reads)
      for (let done = 0; done < count; done += pieceSize) {
        const part = { start: start + done, count: Math.min(pieceSize, count - done) };
        tensor.write(await this.#weights.readFloat32(source, part), offset + done);
      }
    return tensor;
  }

  /** A parameter in blocks. */
  async blocks(shape: Shape, type: BlockType, reads: readonly Read[]): Promise<Tensor> {
    const tensor = quantizedWeight(this.#arena, shape, type);
    await this.#writeBlocks(tensor, type, reads);
    return tensor;
  }

  /** Blocks beside a parameter in f32. */
  async blocksBeside(tensor: Tensor, type: BlockType, reads: readonly Read[]): Promise<void> {
    attachTiles(tensor, type);
    await this.#writeBlocks(tensor, type, reads);
  }

  /** Every read fills whole experts of [experts, out, in], or all of [out, in]. */
  async #writeBlocks(tensor: Tensor, type: BlockType, reads: readonly Read[]): Promise<void> {
    const [height, width] = tensor.shape.slice(-2) as [number, number];
    const tallest = Math.max(32, Math.floor(pieceSize / width / 32) * 32);
    for (const { source, start, count, offset } of reads) {
      const info = this.#weights.tensors.get(source) as { dtype: string };
      const asTheyAre = this.#weights.readBlocks !== undefined && blockTypeOf(info.dtype) === type;
      for (let from = 0; from < count; from += height * width) {
        const expert = (offset + from) / (height * width);
        for (let row = 0; row < height; row += tallest) {
          const rows = Math.min(tallest, height - row);
          const part = { start: start + from + row * width, count: rows * width };
          const data = asTheyAre
            ? await (this.#weights.readBlocks as NonNullable<WeightSource['readBlocks']>)(source, part)
            : await this.#weights.readFloat32(source, part);
          writeQuantized(tensor, data, { staging: this.#staging, expert, row });
        }
      }
    }
  }
}

/**
 * The type that a parameter is to have in memory: what is asked for, else blocks where the source keeps them; null for f32.
 * @throws MinkeError 'invalid-file' where parts of it are of different types of blocks
 */
export function storageOf(
  name: string,
  reads: readonly Read[],
  weights: WeightSource,
  asked: BlockType | undefined,
): BlockType | null {
  if (!weights.keepsBlocks) return asked ?? null;
  const types = new Set(reads.map(({ source }) => blockTypeOf(weights.tensors.get(source)?.dtype ?? '')));
  if (types.size > 1)
    throw new MinkeError(
      'invalid-file',
      `loadModel: expected one type in all parts of ${name}, got ${[...types].map((type) => type ?? 'plain').join(' and ')}; quantise the model again`,
    );
  return [...types][0] ?? asked ?? null;
}
