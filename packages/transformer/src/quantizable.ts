/**
 * Which weights of a model may be rounded to blocks of 8 or 4 bits: every matrix of a linear layer whose inputs are a
 * multiple of 32, but for what decides (gates, routers, indexers, biases of scores), the up-projection of latents, which
 * both forms of attention must have alike, and the table that looks tokens up. Routed experts of a layer are one
 * operation: all three of their matrices or none.
 */
import type { Shape } from '@minke/core';
import type { ModelConfig } from './config.ts';
import { parameterShapes } from './names.ts';

const exact = /\.mlp\.gate\.weight$|\.kv_b_proj\.|\.indexer\.|\.far_bias\.|^merging\./;

/** Whether a parameter is the up-projection of latents, which is kept exact on the disk and in 8 bits in memory. */
export const isLatentProjection = (name: string): boolean => name.endsWith('.kv_b_proj.weight');

/** The name of the table that looks tokens up. */
export const tokenTable = 'model.embed_tokens.weight';
/** The name of the matrix behind the logits; of a model that ties it to the table, in quantised folders only. */
export const headName = 'lm_head.weight';

/** Whether a weight may be rounded, by its name and shape alone. */
export function isQuantizable(name: string, shape: Shape): boolean {
  return (
    (shape.length === 2 || shape.length === 3) &&
    (shape.at(-1) as number) % 32 === 0 &&
    name !== tokenTable &&
    !exact.test(name)
  );
}

/** Names and shapes of a model's weights that may be rounded; the head is among them where it is the table too. */
export function quantizableParameters(config: ModelConfig): Map<string, Shape> {
  const shapes = parameterShapes(config);
  const fit = new Map([...shapes].filter(([name, shape]) => isQuantizable(name, shape)));
  for (const name of fit.keys()) {
    const others = expertSiblings(name);
    if (others.some((other) => !fit.has(other))) for (const other of [name, ...others]) fit.delete(other);
  }
  const table = shapes.get(tokenTable) as Shape;
  if (config.tieEmbeddings && isQuantizable(headName, table)) fit.set(headName, table);
  return fit;
}

/** The matrices of a layer's routed experts, of which this parameter is one; else none. */
export function expertSiblings(name: string): string[] {
  const match = /^(.*\.mlp\.experts\.)(gate|up|down)_proj$/.exec(name);
  return match === null ? [] : ['gate', 'up', 'down'].map((part) => `${match[1]}${part}_proj`);
}
