/**
 * A model's folder in blocks of 8 or 4 bits, from a folder, a GGUF file or the hub id of one in the cache: read, rounded
 * and written a piece of a tensor at a time, whatever the size of tensors and model. The format is that of
 * `@minke/checkpoints`; rounding is the op `quantize`, so the blocks are those of an engine that rounds the original.
 */
import {
  type CheckpointStream,
  fromFloat32,
  quantizationConfig,
  quantizedSpecs,
  scaleName,
  splitBlocks,
  streamCheckpoint,
  type TensorSpec,
} from '@minke/checkpoints';
import { newFolder } from '@minke/checkpoints/new-folder';
import { type Backend, dequantizeBlocks, elementCount, MinkeError } from '@minke/core';
import { Arena, call, type Tensor } from '@minke/tensor';
import { validateConfig } from './config.ts';
import { type BlockType, blockTypeOf } from './fill-parameters.ts';
import { huggingFaceConfigText } from './hugging-face-config.ts';
import { expectNoMerging, type OpenedModel, openModel, planReads, withPresentMtp } from './load.ts';
import { type Choice, chooseTypes, isBlocks, type QuantizationRule } from './quantize-choices.ts';
import { errorsOf, groupsOf, type QuantizationReport, type QuantizedTensor, sum } from './quantize-report.ts';
import type { WeightSource } from './weight-source.ts';

export interface QuantizeModelOptions {
  /** Rounds: the bits are the same on all. */
  readonly backend: Backend;
  /** What matrices of linear layers become. */
  readonly type: BlockType;
  /** Other types for some tensors. Default none. */
  readonly rules?: readonly QuantizationRule[];
  /** As of `writeCheckpoint`. Default 5e9. */
  readonly maxShardBytes?: number;
  /** Called before a tensor and within it, counted in numbers. */
  readonly onProgress?: (progress: {
    readonly done: number;
    readonly total: number;
    readonly name: string;
  }) => void;
  /** Writes what else belongs in the folder (a tokenizer), before it gets its name. */
  readonly writeRest?: (folder: string) => Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

/** Numbers that are read, rounded and written at once: a multiple of all blocks. */
const pieceSize = 1 << 20;
/** Bytes of the disk that are left alone. */
const spareBytes = 1 << 26;

/**
 * Quantises the model at `from` into the new folder `out`, which `loadModel` loads. Nothing is left of it on failure.
 *
 * @throws MinkeError as `loadModel`; `invalid-argument` for rules that do not fit and where there is something at `out`;
 * `out-of-memory` where the disk has no room; `invalid-file` for weights that are not finite; `aborted`.
 * @example
 * const report = await quantizeModel('DeepSeek-V2-Lite', 'V2-Lite-int4', { backend, type: 'q4_0' });
 * console.log(formatQuantization(report));
 */
export async function quantizeModel(
  from: string,
  out: string,
  options: QuantizeModelOptions,
): Promise<QuantizationReport> {
  const { backend } = options;
  if (!backend.supports('quantize'))
    throw new MinkeError(
      'unsupported',
      `quantizeModel: expected a backend that rounds to blocks, got ${backend.info.name}; use the native, wasm or reference backend`,
    );
  const opened = await openModel(from);
  try {
    const { weights } = opened;
    expectNoMerging('quantizeModel', weights);
    const config = withPresentMtp(validateConfig(opened.config), weights);
    const plan = planReads(config, weights);
    const choices = chooseTypes(config, plan, weights, options.type, options.rules ?? []);
    const { stat } = await import('node:fs/promises');
    let bytesBefore = 0;
    for (const file of opened.files) bytesBefore += (await stat(file)).size;
    return await newFolder(out, async (folder) => {
      const specs = specsOf(choices);
      await expectRoom(
        folder,
        [...specs.values()].reduce((total, spec) => total + bytesOf(spec), 0),
      );
      await writeConfig(folder, opened, choices);
      await options.writeRest?.(folder);
      const { maxShardBytes } = options;
      const stream = await streamCheckpoint(
        folder,
        specs,
        maxShardBytes === undefined ? {} : { maxShardBytes },
      );
      try {
        const tensors = await writeTensors(stream, weights, choices, options);
        await stream.finish();
        const used = new Set(choices.map(({ source }) => source));
        return {
          ...reportOf(tensors),
          folder: out,
          files: stream.files,
          bytesBefore,
          bytesAfter: stream.byteLength,
          leftOut: [...weights.tensors.keys()].filter((name) => !used.has(name)),
        };
      } finally {
        await stream.close();
      }
    });
  } finally {
    await opened.close();
  }
}

function specsOf(choices: readonly Choice[]): Map<string, TensorSpec> {
  const names = { bf16: 'BF16', f16: 'F16', f32: 'F32' } as const;
  return new Map(
    choices.flatMap(({ name, shape, type }): [string, TensorSpec][] =>
      isBlocks(type) ? quantizedSpecs(name, shape, type) : [[name, { dtype: names[type], shape }]],
    ),
  );
}

const widths = { I8: 1, U8: 1, F16: 2, BF16: 2, F32: 4 } as const;
const bytesOf = ({ dtype, shape }: TensorSpec): number =>
  widths[dtype as keyof typeof widths] * elementCount(shape);

async function expectRoom(folder: string, bytes: number): Promise<void> {
  const { statfs } = await import('node:fs/promises');
  const { bavail, bsize } = await statfs(folder);
  const [free, needed] = [bavail * bsize, bytes + spareBytes];
  if (needed <= free) return;
  const gigabytes = (count: number) => `${(count / 1e9).toFixed(2)} GB`;
  throw new MinkeError(
    'out-of-memory',
    `quantize: expected ${gigabytes(needed)} free on the disk, got ${gigabytes(free)}; make room or name a folder on another disk`,
    { details: { needed, free } },
  );
}

/** config.json: that of the source, where it has one, with what is quantised. */
async function writeConfig(
  folder: string,
  { json, config }: OpenedModel,
  choices: readonly Choice[],
): Promise<void> {
  const { writeFile } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const quantized = choices.filter(({ type }) => isBlocks(type));
  const others = choices.filter(({ type }) => !isBlocks(type)).map(({ name }) => name);
  const quantization_config = quantizationConfig(
    new Map(quantized.map(({ name, type }) => [name, type as BlockType])),
    others,
  );
  const text =
    json === null
      ? huggingFaceConfigText(config, 'bfloat16', { quantization_config })
      : `${JSON.stringify({ ...json, quantization_config }, null, 2)}\n`;
  await writeFile(join(folder, 'config.json'), text, { flush: true });
}

async function writeTensors(
  stream: CheckpointStream,
  weights: WeightSource,
  choices: readonly Choice[],
  { backend, onProgress, signal }: QuantizeModelOptions,
): Promise<QuantizedTensor[]> {
  using staging = new Arena(backend, { label: 'quantising' });
  const total = choices.reduce((count, { shape }) => count + elementCount(shape), 0);
  const tensors: QuantizedTensor[] = [];
  let done = 0;
  for (const { name, source, shape, type } of choices) {
    const parameters = elementCount(shape);
    const from = (weights.tensors.get(source) as { dtype: string }).dtype;
    const sums = { squares: 0, errorSquares: 0 };
    for (let start = 0; start < parameters || start === 0; start += pieceSize) {
      if (signal?.aborted) throw new MinkeError('aborted', 'quantize: stopped; nothing was written');
      onProgress?.({ done: done + start, total, name });
      const part = { start, count: Math.min(pieceSize, parameters - start) };
      const piece = await pieceOf(weights, source, type, part, staging, sums);
      if (!Number.isFinite(sums.squares + sums.errorSquares))
        throw new MinkeError(
          'invalid-file',
          `quantize: expected finite weights within the range of ${type}, got others in ${source} from number ${start} on; the file is damaged, or the training that wrote it diverged`,
        );
      if (piece.scales === null) await stream.append(name, piece.data);
      else {
        await stream.append(name, piece.data);
        await stream.append(scaleName(name), piece.scales);
      }
    }
    done += parameters;
    const bytes = [...specsOf([{ name, source, shape, type }]).values()].reduce(
      (n, spec) => n + bytesOf(spec),
      0,
    );
    tensors.push({ name, type, from, parameters, bytes, ...sums });
  }
  onProgress?.({ done: total, total, name: '' });
  return tensors;
}

/** A piece as it is stored; adds up its squares and those of what rounding changed. */
async function pieceOf(
  weights: WeightSource,
  source: string,
  type: Choice['type'],
  part: { readonly start: number; readonly count: number },
  staging: Arena,
  sums: { squares: number; errorSquares: number },
): Promise<{ data: ArrayBufferView; scales: Uint16Array | null }> {
  const { dtype } = weights.tensors.get(source) as { dtype: string };
  if (!isBlocks(type)) {
    const values = await weights.readFloat32(source, part);
    addSquares(values, values, sums);
    const names = { bf16: 'BF16', f16: 'F16', f32: 'F32' } as const;
    return { data: fromFloat32(names[type], values), scales: null };
  }
  const gguf = type === 'q8_0' ? 'Q8_0' : 'Q4_0';
  let blocks: Uint8Array;
  if (blockTypeOf(dtype) === type && weights.readBlocks !== undefined) {
    blocks = await weights.readBlocks(source, part);
    const values = dequantizeBlocks(gguf, blocks);
    addSquares(values, values, sums);
  } else {
    const values = await weights.readFloat32(source, part);
    const rounded = call(
      'quantize',
      [staging.tensor(values, [part.count / 32, 32])],
      { to: type },
      staging,
    )[0] as Tensor;
    blocks = (await rounded.read()) as Uint8Array;
    staging.reset();
    addSquares(values, dequantizeBlocks(gguf, blocks), sums);
  }
  const { integers, scales } = splitBlocks(type, blocks);
  return { data: integers, scales };
}

function addSquares(
  values: Float32Array,
  stored: Float32Array,
  sums: { squares: number; errorSquares: number },
): void {
  let squares = 0;
  let errors = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    const error = value - (stored[i] as number);
    squares += value * value;
    errors += error * error;
  }
  sums.squares += squares;
  sums.errorSquares += errors;
}

function reportOf(tensors: readonly QuantizedTensor[]) {
  const parameters = sum(tensors, 'parameters');
  const rounded = tensors.filter(({ errorSquares }) => errorSquares > 0);
  const errors = rounded.length === 0 ? { error: 0, worstError: 0, worst: null } : errorsOf(rounded);
  return {
    groups: groupsOf(tensors),
    parameters,
    bitsPerWeight: (8 * sum(tensors, 'bytes')) / parameters,
    ...errors,
  };
}
