/**
 * FP8 checkpoints of the DeepSeek-V3 releases: weights of linear layers as F8_E4M3, each block of rows and columns with
 * one scale, `<weight>_scale_inv`, that the stored numbers are multiplied by (DeepSeek-V3, arXiv 2412.19437, section
 * 3.3.2; README_WEIGHTS.md of the release). Blocks at the edges are smaller: 576 rows have scales for 5 blocks of 128.
 *
 * Scales are F32 (V3, R1), powers of two in F32 (V3.1, V3.2), or powers of two of a byte (F8_E8M0, or U8 where
 * `scale_fmt` is ue8m0). Weights are dequantised tensor by tensor as they are read, in float32. Does not do: FP8
 * arithmetic, scales for activations, one scale for a whole tensor, other methods (AWQ, GPTQ, compressed-tensors...).
 */
import type { TensorReader } from '@minke/checkpoints';
import { e4m3ToFloat32, e8m0ToFloat32, elementCount, MinkeError, type Shape, sameShape } from '@minke/core';
import { show } from './show.ts';
import type { WeightSource } from './weight-source.ts';

/** How a checkpoint's weights are stored. */
export interface Fp8Quantization {
  /** Rows and columns that share a scale. */
  readonly block: readonly [rows: number, columns: number];
  /** Scales are powers of two. */
  readonly powersOfTwo: boolean;
  /** Modules that are not quantised: their names, or parts of them. */
  readonly kept: readonly string[];
}

/**
 * `quantization_config` of a parsed config.json; null where there is none, or one that `openCheckpoint` itself reads.
 *
 * @throws MinkeError 'unsupported' for any other method or setting, naming what is read.
 * @example
 * parseQuantization({ quantization_config: { quant_method: 'fp8', weight_block_size: [128, 128] } })?.block; // [128, 128]
 */
export function parseQuantization(config: unknown): Fp8Quantization | null {
  const given = (config as { quantization_config?: unknown } | null)?.quantization_config ?? null;
  if (given === null) return null;
  const fields: Readonly<Record<string, unknown>> = typeof given === 'object' ? { ...given } : {};
  if (fields.quant_method === 'minke') return null;
  if (fields.quant_method !== 'fp8')
    throw refused(`quant_method fp8, got ${show(fields.quant_method ?? fields)}`);
  // What decides how the weights are stored; null stands for the first.
  const settings: Readonly<Record<string, readonly string[]>> = {
    fmt: ['e4m3'],
    activation_scheme: ['dynamic'],
    scale_fmt: ['float', 'ue8m0'],
    expert_dtype: ['fp8'],
  };
  const problems: string[] = [];
  for (const [name, values] of Object.entries(settings)) {
    const value = fields[name] ?? values[0];
    if (!values.includes(value as string))
      problems.push(`${name} ${values.join(' or ')}, got ${show(value)}`);
  }
  const block = fields.weight_block_size;
  const isSize = (size: unknown) => Number.isSafeInteger(size) && (size as number) > 0;
  if (!Array.isArray(block) || block.length !== 2 || !block.every(isSize))
    problems.push(`weight_block_size [rows, columns], as [128, 128], got ${show(block)}`);
  const kept = fields.modules_to_not_convert ?? fields.ignored_layers ?? [];
  if (!Array.isArray(kept) || !kept.every((name) => typeof name === 'string'))
    problems.push(`modules_to_not_convert a list of names, got ${show(kept)}`);
  if (problems.length > 0) throw refused(problems.join('; '));
  return {
    block: block as [number, number],
    powersOfTwo: fields.scale_fmt === 'ue8m0',
    kept: kept as string[],
  };
}

const refused = (problem: string) =>
  new MinkeError(
    'unsupported',
    `config: expected no quantization_config, or DeepSeek's FP8 (quant_method fp8, fmt e4m3, weight_block_size, scale_fmt float or ue8m0): expected ${problem}; use the original weights, or a GGUF file`,
  );

const suffix = '_scale_inv';

/**
 * The weights of an FP8 checkpoint as if they were plain; scales are not among them. All are checked at once.
 *
 * @throws MinkeError 'invalid-file' for weights without scales or the other way round, scales of another shape or type,
 * and FP8 in a module that is not quantised; when a weight is read, for scales that are NaN or infinite.
 * @example
 * const weights = fp8Weights(checkpoint, { block: [128, 128], powersOfTwo: false, kept: [] });
 * await weights.readFloat32('model.layers.0.self_attn.o_proj.weight');
 */
export function fp8Weights(
  checkpoint: WeightSource & Pick<TensorReader, 'read'>,
  { block, powersOfTwo, kept }: Fp8Quantization,
): WeightSource {
  const stored = checkpoint.tensors;
  const scaleTypes = ['F32', 'BF16', 'F16', 'F8_E8M0', ...(powersOfTwo ? ['U8'] : [])];
  const problems: string[] = [];
  const tensors = new Map<string, { readonly dtype: string; readonly shape: Shape }>();
  for (const [name, info] of stored) {
    if (name.endsWith(suffix)) {
      const weight = name.slice(0, -suffix.length);
      if (stored.get(weight)?.dtype !== 'F8_E4M3')
        problems.push(`${name} is there without FP8 numbers in ${weight}`);
      continue;
    }
    tensors.set(name, info.dtype === 'F8_E4M3' ? { dtype: 'F32', shape: info.shape } : info);
    if (info.dtype !== 'F8_E4M3') continue;
    const scale = stored.get(name + suffix);
    const expected = scaleShape(info.shape, block);
    const keeper = kept.find((module) => namesModule(name, module));
    if (keeper !== undefined)
      problems.push(`${name} is F8_E4M3, although modules_to_not_convert names ${keeper}`);
    else if (scale === undefined) problems.push(`${name} is F8_E4M3, but ${name}${suffix} is missing`);
    else if (!scaleTypes.includes(scale.dtype))
      problems.push(`${name}${suffix} is ${scale.dtype} instead of ${scaleTypes.join(', ')}`);
    else if (expected === null || !sameShape(scale.shape, expected))
      problems.push(
        `${name}${suffix} is [${scale.shape.join(', ')}] instead of ${expected ? `[${expected.join(', ')}]` : 'scales of a matrix'}`,
      );
  }
  if (problems.length > 0)
    throw new MinkeError(
      'invalid-file',
      `loadModel: expected FP8 weights with a scale for each block of ${block.join(' x ')}, but ${problems.slice(0, 8).join('; ')}${problems.length > 8 ? `; and ${problems.length - 8} more` : ''}`,
      { details: { problems } },
    );
  const scalesOf = async (name: string): Promise<Float32Array> => {
    const exponents = ['F8_E8M0', 'U8'].includes(stored.get(name)?.dtype ?? '');
    const scales = exponents
      ? e8m0ToFloat32(await checkpoint.read(name))
      : await checkpoint.readFloat32(name);
    const wrong = scales.findIndex((scale) => !Number.isFinite(scale));
    if (wrong >= 0)
      throw new MinkeError(
        'invalid-file',
        `loadModel: expected finite scales, got ${scales[wrong]} in ${name} (element ${wrong}); the file is damaged`,
      );
    return scales;
  };
  return {
    tensors,
    async readFloat32(name, part) {
      const info = stored.get(name);
      if (info?.dtype !== 'F8_E4M3') return checkpoint.readFloat32(name, part);
      const scales = await scalesOf(name + suffix);
      const { start, count } = part ?? { start: 0, count: elementCount(info.shape) };
      const width = Math.max(1, info.shape.at(-1) as number);
      const row = Math.floor(start / width);
      const whole = { start: row * width, count: Math.ceil((start + count) / width) * width - row * width };
      const codes = e4m3ToFloat32(await checkpoint.read(name, whole));
      const values = multiplyBlocks(codes, row, info.shape, scales, block);
      return values.subarray(start - whole.start, start - whole.start + count);
    },
  };
}

/** [.., ceil(rows / block rows), ceil(columns / block columns)]; null for less than a matrix. */
function scaleShape(shape: Shape, [rows, columns]: readonly [number, number]): Shape | null {
  const [height, width] = shape.slice(-2);
  if (height === undefined || width === undefined) return null;
  return [...shape.slice(0, -2), Math.ceil(height / rows), Math.ceil(width / columns)];
}

/** Whether a tensor is of a module of this name, or of one whose path has it as a part. */
function namesModule(tensor: string, module: string): boolean {
  return module !== '' && `.${tensor}.`.includes(`.${module.replace(/\.weight$/, '')}.`);
}

/** Each number of rows from `start` on times its block's scale, in place; the last two sizes are those of the matrices. */
function multiplyBlocks(
  values: Float32Array,
  start: number,
  shape: Shape,
  scales: Float32Array,
  [blockRows, blockColumns]: readonly [number, number],
): Float32Array {
  const [height, width] = shape.slice(-2) as [number, number];
  const across = Math.ceil(width / blockColumns);
  const down = Math.ceil(height / blockRows);
  const rows = values.length / Math.max(width, 1);
  for (let row = 0; row < rows; row++) {
    const matrix = Math.floor((start + row) / height);
    const first = (matrix * down + Math.floor(((start + row) % height) / blockRows)) * across;
    for (let block = 0; block < across; block++) {
      const scale = scales[first + block] as number;
      const from = row * width + block * blockColumns;
      const to = row * width + Math.min((block + 1) * blockColumns, width);
      for (let i = from; i < to; i++) values[i] = (values[i] as number) * scale;
    }
  }
  return values;
}
