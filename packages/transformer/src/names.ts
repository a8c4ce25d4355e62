/**
 * Parameter names and shapes: ours, and those of published checkpoints, both ways.
 *
 * Ours are Hugging Face's, but for routed experts, which are packed: `mlp.experts.gate_proj` [E, F, D] stands for
 * E tensors `mlp.experts.<e>.gate_proj.weight` [F, D]. Packed `experts.gate_up_proj` [E, 2F, D] (transformers 5 in
 * memory) is read too. An MTP module k is layer `numLayers + k`, as in the DeepSeek-V3 release; the copies of the
 * embedding and head it carries there are written but not read, since the model shares its own.
 */
import type { Shape } from '@minke/core';
import { isMoeLayer, type ModelConfig } from './config.ts';
import { attentionParameterShapes } from './layer-attention.ts';

/** Every parameter of the model by our name, with its shape, in forward order. Allocates nothing. */
export function parameterShapes(config: ModelConfig): Map<string, Shape> {
  const { hiddenSize: D, vocabSize: V, numLayers, mtpLayers } = config;
  const shapes = new Map<string, Shape>([['model.embed_tokens.weight', [V, D]]]);
  for (let layer = 0; layer < numLayers + mtpLayers; layer++) {
    const prefix = `model.layers.${layer}.`;
    if (layer >= numLayers) {
      shapes.set(`${prefix}enorm.weight`, [D]);
      shapes.set(`${prefix}hnorm.weight`, [D]);
      shapes.set(`${prefix}eh_proj.weight`, [D, 2 * D]);
    }
    for (const [name, shape] of blockShapes(config, layer)) shapes.set(prefix + name, shape);
    if (layer >= numLayers) shapes.set(`${prefix}shared_head.norm.weight`, [D]);
  }
  shapes.set('model.norm.weight', [D]);
  if (!config.tieEmbeddings) shapes.set('lm_head.weight', [V, D]);
  return shapes;
}

function blockShapes(config: ModelConfig, layer: number): Map<string, Shape> {
  const { hiddenSize: D, intermediateSize, moe } = config;
  const shapes = new Map<string, Shape>([['input_layernorm.weight', [D]]]);
  for (const [name, shape] of attentionParameterShapes(config, layer)) shapes.set(`self_attn.${name}`, shape);
  shapes.set('post_attention_layernorm.weight', [D]);
  const swiglu = (prefix: string, width: number) => {
    shapes.set(`${prefix}gate_proj.weight`, [width, D]);
    shapes.set(`${prefix}up_proj.weight`, [width, D]);
    shapes.set(`${prefix}down_proj.weight`, [D, width]);
  };
  if (moe === null || !isMoeLayer(config, layer)) {
    swiglu('mlp.', intermediateSize);
    return shapes;
  }
  const { experts: E, expertSize: F, sharedExperts, method } = moe;
  shapes.set('mlp.gate.weight', [E, D]);
  if (method === 'noaux_tc') shapes.set('mlp.gate.e_score_correction_bias', [E]);
  shapes.set('mlp.experts.gate_proj', [E, F, D]);
  shapes.set('mlp.experts.up_proj', [E, F, D]);
  shapes.set('mlp.experts.down_proj', [E, D, F]);
  if (sharedExperts > 0) swiglu('mlp.shared_experts.', sharedExperts * F);
  return shapes;
}

/** A parameter of ours, or one row of its first axis, that a published tensor fills. */
export interface Target {
  readonly name: string;
  /** Expert whose part of a packed parameter it is; absent for the whole parameter. */
  readonly expert?: number;
}

/** A published tensor that some checkpoints have in one form and some in another. */
export interface PublishedTensor {
  readonly name: string;
  readonly shape: Shape;
  readonly target: Target;
}

const packed = /^(.*\.mlp\.experts)\.(gate|up|down)_proj$/;

/** The tensors of a published checkpoint, in forward order, each with the parameter it is (a part of). */
export function publishedTensors(config: ModelConfig): PublishedTensor[] {
  const tensors: PublishedTensor[] = [];
  for (const [name, shape] of parameterShapes(config)) {
    const match = packed.exec(name);
    if (match === null) {
      tensors.push({ name, shape, target: { name } });
      continue;
    }
    const [, experts, part] = match;
    for (let expert = 0; expert < (shape[0] as number); expert++) {
      tensors.push({
        name: `${experts}.${expert}.${part}_proj.weight`,
        shape: shape.slice(1),
        target: { name, expert },
      });
    }
  }
  return tensors;
}

/** Names of the embedding and head copies that published MTP modules carry, with the parameter each repeats. */
export function mtpCopies(config: ModelConfig): Map<string, string> {
  const copies = new Map<string, string>();
  for (let layer = config.numLayers; layer < config.numLayers + config.mtpLayers; layer++) {
    copies.set(`model.layers.${layer}.embed_tokens.weight`, 'model.embed_tokens.weight');
    copies.set(
      `model.layers.${layer}.shared_head.head.weight`,
      config.tieEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight',
    );
  }
  return copies;
}

/**
 * The packed tensor that may stand in a file for our packed experts: `experts.gate_up_proj` holds each expert's gate
 * rows, then its up rows; `experts.down_proj` is ours. Null for other parameters.
 */
export function packedSource(name: string): { readonly name: string; readonly half: 0 | 1 | null } | null {
  const match = packed.exec(name);
  if (match === null) return null;
  const [, experts, part] = match;
  if (part === 'down') return { name, half: null };
  return { name: `${experts}.gate_up_proj`, half: part === 'gate' ? 0 : 1 };
}
