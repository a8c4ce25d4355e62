/**
 * From a source of weights into the memory of a backend, a piece at a time: the host holds some megabytes of a model,
 * whatever its size. Weights become f32, or blocks of 8 or 4 bits: rounded where that is asked for, as they are where the
 * source has such blocks. In a model of blocks the table of tokens stays what it is in the source, and the up-projection
 * of latents has 8 bits in both forms of attention.
 */
import {
  type Backend,
  dtypes,
  elementCount,
  float32ToBfloat16,
  float32ToFloat16,
  MinkeError,
  type Shape,
} from '@minke/core';
import { Arena, attachTiles, quantizedWeight, type Tensor, writeQuantized } from '@minke/tensor';
import type { ModelConfig } from './config.ts';
import { parameterShapes } from './names.ts';
import {
  expertSiblings,
  headName,
  isLatentProjection,
  quantizableParameters,
  tokenTable,
} from './quantizable.ts';
import type { WeightSource } from './weight-source.ts';

/** A run of a source's numbers that fills as many of a parameter from `offset` on. */
export interface Read {
  readonly source: string;
  readonly start: number;
  readonly count: number;
  readonly offset: number;
}

export type BlockType = 'q8_0' | 'q4_0';
type NarrowType = 'bf16' | 'f16';

export interface LoadOptions {
  readonly backend: Backend;
  /** Arena that will own the weights. Default: a new persistent one. */
  readonly arena?: Arena;
  /**
   * Rounds the matrices of linear layers to blocks of 8 or 4 bits as they are read (`isQuantizable` says which), so that
   * memory never holds them in f32; blocks of this type in a GGUF file are taken as they are. A quantised folder
   * (`minke quantize`) has its own choice, without being asked. The table of tokens stays in the source's bf16, f16 or
   * blocks, whichever; blocks of a tied one are the head's, too. Such a model generates; it does not train or save.
   * Throws `unsupported` on a backend without these products.
   */
  readonly quantize?: BlockType | undefined;
  /** Called after each parameter, counted in numbers of the model. */
  readonly onProgress?: (progress: { loaded: number; total: number; name: string }) => void;
}

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
    await this.#readAll(reads, (values, offset) => tensor.write(values, offset));
    return tensor;
  }

  /** Pieces of a parameter, checked, with their places in it. */
  async #readAll(
    reads: readonly Read[],
    write: (values: Float32Array, offset: number) => void,
  ): Promise<void> {
    for (const { source, start, count, offset } of reads)
      for (let done = 0; done < count; done += pieceSize) {
        const part = { start: start + done, count: Math.min(pieceSize, count - done) };
        const values = await this.#weights.readFloat32(source, part);
        expectFinite(source, values, part.start);
        write(values, offset + done);
      }
  }

  /** A parameter in the two bytes a number that its source has. */
  async narrow(shape: Shape, type: NarrowType, reads: readonly Read[]): Promise<Tensor> {
    const tensor = this.#arena.empty(shape, type);
    const { buffer, offset: at } = tensor.ref;
    const narrowed = type === 'bf16' ? float32ToBfloat16 : float32ToFloat16;
    await this.#readAll(reads, (values, offset) => {
      const { buffer: bytes, byteOffset, byteLength } = narrowed(values);
      this.#arena.backend.write(buffer, new Uint8Array(bytes, byteOffset, byteLength), at + offset);
    });
    return tensor;
  }

  /** A parameter in blocks. */
  async blocks(
    shape: Shape,
    type: BlockType,
    reads: readonly Read[],
    options: { readonly rows?: boolean } = {},
  ): Promise<Tensor> {
    const tensor = quantizedWeight(this.#arena, shape, type, options);
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
          if (data instanceof Float32Array) expectFinite(source, data, part.start);
          else expectFiniteScales(source, data, type, part.start);
          writeQuantized(tensor, data, { staging: this.#staging, expert, row });
        }
      }
    }
  }
}

/** @internal A model's parameters, in the memory of the arena. */
export async function fillParameters(
  config: ModelConfig,
  plan: ReadonlyMap<string, readonly Read[]>,
  weights: WeightSource,
  arena: Arena,
  { quantize, onProgress }: LoadOptions,
): Promise<Map<string, Tensor>> {
  const shapes = parameterShapes(config);
  const types = storageTypes(config, plan, weights, quantize, arena.backend);
  const parameters = new Map<string, Tensor>();
  let total = 0;
  for (const shape of shapes.values()) total += elementCount(shape);
  let loaded = 0;
  const filler = new ParameterFiller(weights, arena, types.size === 0);
  try {
    for (const [name, shape] of shapes) {
      const [reads, type] = [plan.get(name) as readonly Read[], types.get(name)];
      const fill = async () => {
        if (type === undefined) return filler.plain(name, shape, reads);
        return type === 'bf16' || type === 'f16'
          ? filler.narrow(shape, type, reads)
          : filler.blocks(shape, type, reads, { rows: isLatentProjection(name) });
      };
      parameters.set(name, await fill());
      loaded += elementCount(shape);
      onProgress?.({ loaded, total, name });
    }
    const head = types.get(headName);
    if (config.tieEmbeddings && head !== undefined) {
      const source = weights.tensors.has(headName) ? headName : tokenTable;
      const count = elementCount(shapes.get(tokenTable) as Shape);
      const table = parameters.get(tokenTable) as Tensor;
      await filler.blocksBeside(table, head as BlockType, [{ source, start: 0, count, offset: 0 }]);
    }
  } finally {
    filler.dispose();
  }
  // A GPU says late that it was lost or had no memory: now rather than in the first answer.
  await (parameters.get('model.norm.weight') as Tensor).read();
  return parameters;
}

/**
 * The parameters that will not be f32, with their types; the head too where it is the table of tokens and has blocks of
 * its own.
 */
function storageTypes(
  config: ModelConfig,
  plan: ReadonlyMap<string, readonly Read[]>,
  weights: WeightSource,
  asked: BlockType | undefined,
  backend: Backend,
): Map<string, BlockType | NarrowType> {
  const types = new Map<string, BlockType | NarrowType>();
  for (const name of quantizableParameters(config).keys()) {
    const own = { source: headName, start: 0, count: 0, offset: 0 };
    const type = storageOf(name, plan.get(name) ?? [own], weights, asked);
    if (type !== null) types.set(name, type);
  }
  for (const name of types.keys()) {
    const missing = expertSiblings(name).find((other) => !types.has(other));
    if (missing !== undefined)
      throw new MinkeError(
        'invalid-file',
        `loadModel: expected all matrices of a layer's routed experts in blocks or none, but ${missing} is not; quantise the model again`,
      );
  }
  if (types.size === 0) return types;
  if (backend.supports('absorbQueryQuantized'))
    for (const [name, shape] of parameterShapes(config))
      if (isLatentProjection(name) && (shape.at(-1) as number) % 32 === 0) types.set(name, 'q8_0');
  const [{ source }] = plan.get(tokenTable) as readonly [Read];
  const dtype = weights.tensors.get(source)?.dtype ?? '';
  const blocks = blockTypeOf(dtype);
  if (blocks !== null && weights.readBlocks !== undefined && backend.supports('gatherRowsQuantized')) {
    types.set(tokenTable, blocks);
    // A head without blocks of its own is the table, and reads the same ones.
    if (config.tieEmbeddings && !weights.tensors.has(headName)) types.delete(headName);
  } else if (!config.tieEmbeddings || types.has(headName)) {
    if (dtype === 'BF16') types.set(tokenTable, 'bf16');
    if (dtype === 'F16') types.set(tokenTable, 'f16');
  }
  return types;
}

/**
 * The type that a parameter is to have in memory: what is asked for, else blocks where the source keeps them; null for f32.
 * @throws MinkeError 'invalid-file' where parts of it are of different types of blocks
 */
function storageOf(
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

/** A model with NaN or infinity among its weights answers nothing but NaN: better said here than found out later. */
function expectFinite(name: string, values: Float32Array, first: number): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (value - value !== 0) throw notFinite(name, String(value), first + i);
  }
}

/** Blocks hold nothing that is not finite but scales: float16 whose exponent is all ones. */
function expectFiniteScales(name: string, blocks: Uint8Array, type: BlockType, first: number): void {
  const { blockBytes, blockSize } = dtypes[type];
  for (let at = 1; at < blocks.length; at += blockBytes)
    if (((blocks[at] as number) & 0x7c) === 0x7c)
      throw notFinite(name, 'a scale of NaN or Infinity', first + ((at - 1) / blockBytes) * blockSize);
}

function notFinite(name: string, got: string, element: number): MinkeError {
  return new MinkeError(
    'invalid-file',
    `loadModel: expected finite weights, got ${got} in ${name} (element ${element}); the file is damaged, or the training that wrote it diverged`,
  );
}
