/**
 * Models that merge, from and to checkpoint folders: those of the model, with a field `merging` in config.json and the
 * tensors `merging.*` in the safetensors files.
 *
 * `saveModel` writes them, always f32: rounding would move boundaries. transformers loads such a folder as the model
 * without merging; `loadModel` refuses it, because that model computes something else.
 */
import { openCheckpoint } from '@minke/checkpoints';
import { resolveModelPath } from '@minke/checkpoints/model-path';
import { check, MinkeError, sameShape } from '@minke/core';
import { Arena, type Tensor } from '@minke/tensor';
import { CausalConvolution, DynamicTokenInflator, SoftTokenMerger } from '@minke/tokenizer-merging/merging';
import { under } from './block.ts';
import { parseConfig } from './hugging-face-config.ts';
import {
  isGgufPath,
  type LoadOptions,
  loadModel,
  loadWeights,
  type OpenModel,
  readConfigJson,
} from './load.ts';
import {
  type MergingConfig,
  mergingParameterShapes,
  partConfigs,
  validateMerging,
} from './merging-config.ts';
import { mergingField, parseMergingConfig } from './merging-fields.ts';
import { MergingTransformer, type TransformerModel } from './merging-transformer.ts';

/** An open checkpoint of a model that merges, and its settings. */
export interface OpenMergingModel extends OpenModel {
  readonly merging: MergingConfig;
}

/**
 * A model that merges from a folder that `saveModel` wrote, or from an open checkpoint (which stays open).
 * @throws MinkeError `invalid-config`, `invalid-file` (names, shapes), `unsupported` (dtypes), `out-of-memory`
 *
 * @example
 * const merging = await loadMergingModel('my-merging-model', { backend });
 */
export async function loadMergingModel(
  from: string | OpenMergingModel,
  options: LoadOptions,
): Promise<MergingTransformer> {
  if (typeof from !== 'string') return load(from, options);
  const json = await readConfigJson(from);
  const config = parseConfig(json);
  const merging = parseMergingConfig(json, config);
  if (merging === null)
    throw new MinkeError(
      'invalid-config',
      `loadMergingModel: expected a field merging in ${from}/config.json, got none; use loadModel, or MergingTransformer.init on what it gives`,
    );
  const weights = await openCheckpoint(from);
  try {
    return await load({ config, merging, weights }, options);
  } finally {
    await weights.close();
  }
}

/**
 * A model that merges from a folder that says so, another one from any other place that `loadModel` reads.
 * @throws MinkeError as `loadMergingModel` and `loadModel`
 */
export async function loadTransformer(from: string, options: LoadOptions): Promise<TransformerModel> {
  const path = resolveModelPath(from);
  const merges = !isGgufPath(path) && mergingField(await readConfigJson(path)) !== null;
  return merges ? loadMergingModel(path, options) : loadModel(path, options);
}

async function load(
  { config, merging, weights }: OpenMergingModel,
  options: LoadOptions,
): Promise<MergingTransformer> {
  validateMerging(merging, config);
  const arena = options.arena ?? new Arena(options.backend, { persistent: true, label: 'model' });
  check(arena.persistent, () => 'loadMergingModel: expected a persistent arena, got one of a step');
  const shapes = mergingParameterShapes(config, merging);
  const problems = [...shapes].flatMap(([name, shape]) => {
    const found = weights.tensors.get(name);
    if (found === undefined) return [`${name} is missing`];
    if (sameShape(found.shape, shape)) return [];
    return [`${name} is [${found.shape.join(', ')}] instead of [${shape.join(', ')}]`];
  });
  for (const name of weights.tensors.keys())
    if (name.startsWith('merging.') && !shapes.has(name)) problems.push(`${name} is none of them`);
  if (problems.length > 0)
    throw new MinkeError(
      'invalid-file',
      `loadMergingModel: expected the tensors of config.json, but ${problems.join('; ')}`,
      { details: { problems } },
    );
  const model = await loadWeights(weights, config, { ...options, arena });
  const parameters = new Map<string, Tensor>();
  for (const [name, shape] of shapes)
    parameters.set(name, arena.parameter(await weights.readFloat32(name), shape));
  const { convolution, merger, inflator } = partConfigs(model.config, merging);
  return new MergingTransformer(model, merging, {
    ...(convolution && {
      convolution: new CausalConvolution(convolution, under(parameters, 'merging.convolution.')),
    }),
    merger: new SoftTokenMerger(merger, under(parameters, 'merging.merger.')),
    inflator: new DynamicTokenInflator(inflator, under(parameters, 'merging.inflator.')),
    sizeBias: [...under(parameters, 'merging.layers.').values()],
  });
}
