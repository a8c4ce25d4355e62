/**
 * The tensors of a quantised checkpoint as weights: integers and their scales are one tensor again, of type Q8_0 or
 * Q4_0 and the weight's own shape, as a GGUF file has them. Plain tensors are as they are.
 */
import { check, dequantizeBlocks, elementCount, MinkeError } from '@minke/core';
import { asTyped } from './dtypes.ts';
import type { TensorInfo } from './header.ts';
import { joinBlocks } from './quantized-blocks.ts';
import {
  type QuantizationConfig,
  type QuantizedType,
  quantizedGroup,
  quantizedSpecs,
  scaleName,
  typeFinder,
} from './quantized-format.ts';
import type { TensorPart, TensorReader } from './safetensors.ts';

/** A weight: type `Q8_0`, `Q4_0` or a plain one of safetensors. */
export interface WeightInfo {
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** Weights by name, read when asked for. */
export interface QuantizedReader {
  readonly tensors: ReadonlyMap<string, WeightInfo>;
  /** A weight, or a part of it, as float32. */
  readFloat32(name: string, part?: TensorPart): Promise<Float32Array>;
  /** A weight of blocks, or a part in whole blocks, as GGUF's blocks of its type. */
  readBlocks(name: string, part?: TensorPart): Promise<Uint8Array>;
}

const ggufType = { q8_0: 'Q8_0', q4_0: 'Q4_0' } as const;
const plain = new Set(['F64', 'F32', 'F16', 'BF16']);

/**
 * The weights of an open checkpoint, which stays open.
 *
 * @throws MinkeError 'invalid-file' naming every tensor that is not as the config says (at most 8 of them): scales that
 * are missing, of another shape or of nothing, integers of another type, names of no tensor or of two types.
 */
export function quantizedReader(
  checkpoint: Pick<TensorReader<TensorInfo>, 'tensors' | 'read' | 'readFloat32'>,
  config: QuantizationConfig,
): QuantizedReader {
  const problems: string[] = [];
  const typeOf = typeFinder(config);
  const types = new Map<string, QuantizedType>();
  const used = new Set<string>();
  for (const name of checkpoint.tensors.keys()) {
    try {
      const found = typeOf(name);
      if (found === null) continue;
      types.set(name, found.type);
      used.add(found.pattern);
    } catch (problem) {
      problems.push(problem as string);
    }
  }
  for (const pattern of Object.values(config.tensors).flat())
    if (!used.has(pattern) && problems.length === 0) problems.push(`there is no tensor ${pattern}`);

  const tensors = new Map<string, WeightInfo>();
  for (const [name, info] of checkpoint.tensors) {
    const type = types.get(name);
    if (type !== undefined) {
      const shape = weightShape(info, type);
      const problem = shape === null ? 'is no such weight' : differing(checkpoint.tensors, name, shape, type);
      if (problem !== undefined || shape === null)
        problems.push(`${name}, ${type}, ${info.dtype} [${info.shape.join(', ')}], ${problem}`);
      else tensors.set(name, { dtype: ggufType[type], shape });
    } else if (!isScale(name, types)) {
      if (plain.has(info.dtype)) tensors.set(name, info);
      else problems.push(`${name} is ${info.dtype}, and the config does not name it`);
    }
  }
  if (problems.length > 0)
    throw new MinkeError(
      'invalid-file',
      `quantised checkpoint: expected the tensors of quantization_config, but ${problems.slice(0, 8).join('; ')}${problems.length > 8 ? `; and ${problems.length - 8} more` : ''}; quantise the model again`,
      { details: { problems } },
    );

  const readBlocks = async (name: string, part?: TensorPart): Promise<Uint8Array> => {
    const type = types.get(name);
    check(type !== undefined, () => `readBlocks: expected a quantised tensor, got ${name}`);
    if (part === undefined) {
      const integers = await checkpoint.read(name);
      return joinBlocks(type, { integers, scales: halves(await checkpoint.read(scaleName(name))) });
    }
    const { start, count } = part;
    check(
      start % quantizedGroup === 0 && count % quantizedGroup === 0,
      () => `readBlocks: expected whole blocks of ${name}, got ${count} numbers from ${start} on`,
    );
    const scaled = (by: number) => ({ start: start / by, count: count / by });
    const integers = await checkpoint.read(name, scaled(type === 'q4_0' ? 2 : 1));
    const scales = halves(await checkpoint.read(scaleName(name), scaled(quantizedGroup)));
    return joinBlocks(type, { integers, scales });
  };
  return {
    tensors,
    readBlocks,
    async readFloat32(name, part) {
      const type = types.get(name);
      if (type === undefined) return checkpoint.readFloat32(name, part);
      return dequantizeBlocks(ggufType[type], await readBlocks(name, part));
    },
  };
}

const halves = (bytes: Uint8Array) => asTyped('F16', bytes, 'scales') as Uint16Array;

/** The shape of the weight whose integers these are, or null. */
function weightShape({ dtype, shape }: TensorInfo, type: QuantizedType): number[] | null {
  const packing = type === 'q4_0' ? 2 : 1;
  const width = (shape.at(-1) ?? 0) * packing;
  if (dtype !== (type === 'q4_0' ? 'U8' : 'I8') || shape.length === 0 || width % quantizedGroup !== 0)
    return null;
  return [...shape.slice(0, -1), width];
}

/** What is wrong with the two tensors of a weight, undefined where nothing is. */
function differing(
  tensors: ReadonlyMap<string, TensorInfo>,
  name: string,
  shape: readonly number[],
  type: QuantizedType,
): string | undefined {
  if (!Number.isSafeInteger(elementCount(shape))) return 'is too large';
  const [, [scale, wanted]] = quantizedSpecs(name, shape, type) as [
    unknown,
    [string, { dtype: string; shape: readonly number[] }],
  ];
  const found = tensors.get(scale);
  if (found === undefined) return `has no ${scale}`;
  if (found.dtype === wanted.dtype && found.shape.join() === wanted.shape.join()) return undefined;
  return `has scales ${found.dtype} [${found.shape.join(', ')}] instead of ${wanted.dtype} [${wanted.shape.join(', ')}]`;
}

function isScale(name: string, types: ReadonlyMap<string, QuantizedType>): boolean {
  return name.endsWith('_scale') && types.has(name.slice(0, -'_scale'.length));
}
