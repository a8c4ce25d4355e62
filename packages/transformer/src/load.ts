/**
 * Models from and to checkpoint folders in the Hugging Face layout, config.json and safetensors; and from GGUF files.
 *
 * Read: F32, F16, BF16 and F64 weights, FP8 in blocks (fp8-weights.ts) and GGUF's blocks, which become f32; quantised
 * folders (quantize-model.ts), whose blocks stay what they are; routed experts one by one or packed. Every tensor's name
 * and shape is checked before any is read; all problems are reported together. MTP modules that the config announces and
 * the files lack are left out, as transformers writes such checkpoints. Checkpoints of models that merge are refused:
 * merging-files.ts loads them. `loadModel` from a folder and `saveModel` need Node.
 */

import {
  type Checkpoint,
  fromFloat32,
  openCheckpoint,
  openGguf,
  parseQuantizationConfig,
  quantizedReader,
  type TensorData,
  writeCheckpoint,
} from '@minke/checkpoints';
import { resolveModelPath } from '@minke/checkpoints/model-path';
import { check, MinkeError, type Shape, sameShape } from '@minke/core';
import { Arena, type LowRank, lowRankSum, type Tensor } from '@minke/tensor';
import { type ModelConfig, validateConfig } from './config.ts';
import { DeepSeekModel } from './deepseek.ts';
import { fillParameters, type LoadOptions, type Read } from './fill-parameters.ts';
import { fp8Weights, parseQuantization } from './fp8-weights.ts';
import { configFromGguf } from './gguf-config.ts';
import { ggufWeights } from './gguf-weights.ts';
import { huggingFaceConfigText, parseConfig } from './hugging-face-config.ts';
import { toMergingFields } from './merging-fields.ts';
import type { MergingTransformer } from './merging-transformer.ts';
import { mtpCopies, packedSource, parameterShapes, publishedTensors } from './names.ts';
import { headName, tokenTable } from './quantizable.ts';
import type { WeightSource } from './weight-source.ts';

/** An open checkpoint and its configuration: what `loadModel` takes besides a folder. */
export interface OpenModel {
  /** Parsed config.json, or our own configuration. */
  readonly config: ModelConfig;
  readonly weights: WeightSource;
}

/**
 * A model from a folder with config.json and safetensors files, from a GGUF file (`.gguf`; of a split one the first part)
 * or a folder that holds only one, from the hub id of a model that is in the cache, or from an open checkpoint (which
 * stays open).
 * @throws MinkeError `invalid-config`, `invalid-file` (names, shapes), `unsupported` (dtypes), `out-of-memory`
 *
 * @example
 * const model = await loadModel('DeepSeek-V2-Lite', { backend, onProgress: ({ loaded, total }) => show(loaded / total) });
 */
export async function loadModel(from: string | OpenModel, options: LoadOptions): Promise<DeepSeekModel> {
  if (typeof from !== 'string') return load(from, options);
  const opened = await openModel(from);
  try {
    return await load(opened, options);
  } finally {
    await opened.close();
  }
}

/** @internal A model's configuration and weights, open. */
export interface OpenedModel extends OpenModel {
  /** config.json as it is; null of a GGUF file. */
  readonly json: Readonly<Record<string, unknown>> | null;
  /** Paths of the weight files. */
  readonly files: readonly string[];
  close(): Promise<void>;
}

/** @internal Opens what `loadModel` loads. Throws as it does. */
export async function openModel(from: string): Promise<OpenedModel> {
  const folder = resolveModelPath(from);
  if (isGgufPath(folder)) {
    const file = await openGguf(folder);
    try {
      const config = await configFromGguf(file);
      return { config, json: null, files: file.files, weights: ggufWeights(file, config), close: file.close };
    } catch (error) {
      await file.close();
      throw error;
    }
  }
  const { join } = await import('node:path');
  const json = await readConfigJson(folder);
  const config = parseConfig(json);
  const checkpoint: Checkpoint = await openCheckpoint(folder);
  try {
    return {
      config,
      json: json as Record<string, unknown>,
      files: checkpoint.files.map((file) => join(folder, file)),
      weights: weightsOf(json, checkpoint),
      close: checkpoint.close,
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** The weights of a folder, by what its config.json says of their storage. */
function weightsOf(config: unknown, checkpoint: Checkpoint): WeightSource {
  const blocks = parseQuantizationConfig(config, 'loadModel');
  if (blocks !== null) return { ...quantizedReader(checkpoint, blocks), keepsBlocks: true };
  const fp8 = parseQuantization(config);
  return fp8 === null ? checkpoint : fp8Weights(checkpoint, fp8);
}

/** Whether a path is read as a GGUF file. */
export function isGgufPath(path: string): boolean {
  return path.endsWith('.gguf');
}

async function load({ config, weights }: OpenModel, options: LoadOptions): Promise<DeepSeekModel> {
  expectNoMerging('loadModel', weights);
  return loadWeights(weights, config, options);
}

/** @internal Throws `unsupported` for a model that merges tokens. */
export function expectNoMerging(where: string, weights: WeightSource): void {
  const merging = [...weights.tensors.keys()].find((name) => name.startsWith('merging.'));
  if (merging !== undefined)
    throw new MinkeError(
      'unsupported',
      `${where}: expected a model that does not merge tokens, got ${merging}${where === 'loadModel' ? '; use loadMergingModel' : ''}`,
    );
}

/** Largest config.json read: published ones take some kilobytes. */
const maxConfigBytes = 1 << 24;

/** The configuration in a folder's config.json. Throws `invalid-file` or `invalid-config`. See `configFromGguf`. */
export async function readConfig(folder: string): Promise<ModelConfig> {
  return parseConfig(await readConfigJson(folder));
}

/** @internal A folder's config.json, parsed. Throws `invalid-file`. */
export async function readConfigJson(folder: string): Promise<unknown> {
  const { join } = await import('node:path');
  const { readText } = await import('@minke/checkpoints/files');
  const path = join(folder, 'config.json');
  try {
    return JSON.parse(await readText(path, maxConfigBytes));
  } catch (cause) {
    throw new MinkeError('invalid-file', `loadModel: cannot read ${path}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** @internal The model in an open checkpoint, whatever else that holds. */
export async function loadWeights(
  weights: WeightSource,
  announced: ModelConfig,
  options: LoadOptions,
): Promise<DeepSeekModel> {
  const config = withPresentMtp(validateConfig(announced), weights);
  const plan = planReads(config, weights);
  const arena = options.arena ?? new Arena(options.backend, { persistent: true, label: 'model' });
  check(arena.persistent, () => 'loadModel: expected a persistent arena, got one of a step');
  try {
    return new DeepSeekModel(config, await fillParameters(config, plan, weights, arena, options));
  } catch (error) {
    if (options.arena === undefined) arena.dispose();
    throw isAllocation(error) ? noMemory(error) : error;
  }
}

/** What JavaScript says where there is no room for an array, or none can be as long. */
const isAllocation = (error: unknown): error is RangeError =>
  error instanceof RangeError && /allocation|array length/i.test(error.message);

const noMemory = (cause: RangeError) =>
  new MinkeError(
    'out-of-memory',
    `loadModel: expected memory for the next tensor, got none (${cause.message}); use a smaller model or a machine with more`,
    { cause },
  );

/** @internal The config without MTP modules of which the checkpoint has nothing. */
export function withPresentMtp(config: ModelConfig, weights: WeightSource): ModelConfig {
  const present = weights.tensors.has(`model.layers.${config.numLayers}.eh_proj.weight`);
  return present ? config : { ...config, mtpLayers: 0 };
}

/** @internal Which reads fill each parameter; throws naming everything that is missing or of the wrong shape. */
export function planReads(config: ModelConfig, weights: WeightSource): Map<string, Read[]> {
  const problems: string[] = [];
  const fits = (name: string, shape: Shape): boolean => {
    const found = weights.tensors.get(name);
    if (found === undefined) problems.push(`${name} is missing`);
    else if (found.dtype.startsWith('F8'))
      problems.push(
        `${name} is ${found.dtype}, which takes a quantization_config in config.json that says where its scales are`,
      );
    else if (!sameShape(found.shape, shape)) {
      problems.push(`${name} is [${found.shape.join(', ')}] instead of [${shape.join(', ')}]`);
    } else return true;
    return false;
  };
  const plan = new Map<string, Read[]>([...parameterShapes(config).keys()].map((name) => [name, []]));
  const packed = new Set<string>();
  for (const [name, shape] of parameterShapes(config)) {
    const own = name.includes('.mlp.experts.') && weights.tensors.has(name);
    const source = own ? { name, half: null } : packedSource(name);
    if (source === null || !weights.tensors.has(source.name)) continue;
    packed.add(name);
    const [experts, rows, columns] = shape as readonly [number, number, number];
    const { half } = source;
    if (!fits(source.name, half === null ? shape : [experts, 2 * rows, columns])) continue;
    const size = rows * columns;
    for (let e = 0; e < experts; e++)
      plan.get(name)!.push({
        source: source.name,
        start: (half === null ? e : 2 * e + half) * size,
        count: size,
        offset: e * size,
      });
  }
  for (const { name, shape, target } of publishedTensors(config)) {
    if (packed.has(target.name) || !fits(name, shape)) continue;
    const offset = (target.expert ?? 0) * count(shape);
    plan.get(target.name)!.push({ source: name, start: 0, count: count(shape), offset });
  }
  if (config.tieEmbeddings && weights.keepsBlocks && weights.tensors.has(headName))
    fits(headName, parameterShapes(config).get(tokenTable) as Shape);
  if (problems.length > 0) {
    const shown = problems.slice(0, 8).join('; ');
    const rest = problems.length > 8 ? `; and ${problems.length - 8} more` : '';
    throw new MinkeError(
      'invalid-file',
      `loadModel: expected the tensors of the configuration, but ${shown}${rest}`,
      {
        details: { problems },
      },
    );
  }
  return plan;
}

export type { LoadOptions } from './fill-parameters.ts';

export interface SaveOptions {
  /** Storage type of the weights; the correction bias and what merges are always f32. Default `bf16`. */
  readonly dtype?: 'f32' | 'bf16';
  /** As of `writeCheckpoint`. Default 5e9. */
  readonly maxShardBytes?: number;
}

/**
 * Writes config.json and safetensors that transformers loads as DeepseekV2ForCausalLM or DeepseekV3ForCausalLM.
 * An adapter is merged into the weights (`saveLora` writes it alone). The folder is made if need be. bf16 rounds to
 * nearest even; f32 loses nothing. What merges tokens is saved with its settings; `loadMergingModel` loads it.
 *
 * @example
 * await saveModel(model, 'my-reasoner', { dtype: 'bf16' });
 */
export async function saveModel(
  model: DeepSeekModel | MergingTransformer,
  folder: string,
  options: SaveOptions = {},
): Promise<void> {
  const { mkdir, writeFile } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const { dtype = 'bf16', maxShardBytes } = options;
  await mkdir(folder, { recursive: true });
  await writeCheckpoint(
    folder,
    publishedWeights(model, dtype),
    maxShardBytes === undefined ? {} : { maxShardBytes },
  );
  const { config } = 'merger' in model ? model.model : model;
  const further = 'merger' in model ? { merging: toMergingFields(model.config) } : {};
  const text = huggingFaceConfigText(config, dtype === 'bf16' ? 'bfloat16' : 'float32', further);
  await writeFile(join(folder, 'config.json'), text);
}

/**
 * A model's weights under published names, for writers other than `saveModel`. Each tensor is read from the backend
 * when its `data` is called. An adapter is merged: the weights hold its additions.
 */
export function publishedWeights(
  from: DeepSeekModel | MergingTransformer,
  dtype: 'f32' | 'bf16' = 'f32',
): Map<string, TensorData> {
  const model = 'merger' in from ? from.model : from;
  const parameters = model.parameters();
  const tensors = new Map<string, TensorData>();
  const put = (name: string, shape: Shape, source: Tensor, addition?: LowRank) => {
    const exact = name.endsWith('e_score_correction_bias') || name.startsWith('merging.');
    const type = dtype === 'f32' || exact ? 'F32' : 'BF16';
    const data = async () => fromFloat32(type, await numbers(source, addition));
    tensors.set(name, { dtype: type, shape, data });
  };
  for (const { name, shape, target } of publishedTensors(model.config)) {
    const parameter = parameters.get(target.name)!;
    const addition = model.lora?.pairs.get(target.name.replace(/\.weight$/, ''));
    const { expert } = target;
    if (expert === undefined) put(name, shape, parameter, addition);
    else {
      const part = (t: Tensor) => t.rows(expert, expert + 1);
      const own = addition && { ...addition, a: part(addition.a), b: part(addition.b) };
      put(name, shape, part(parameter), own);
    }
  }
  for (const [name, source] of mtpCopies(model.config))
    put(name, parameters.get(source)!.shape, parameters.get(source)!);
  if ('merger' in from)
    for (const [name, source] of from.mergingParameters()) put(name, source.shape, source);
  return tensors;
}

async function numbers(source: Tensor, addition: LowRank | undefined): Promise<Float32Array> {
  if (addition === undefined) return Float32Array.from(await source.read());
  using arena = new Arena(source.arena.backend, { label: 'merge' });
  return Float32Array.from(await lowRankSum(arena, source, addition).read());
}

function count(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}
