/**
 * Which layers of a model look how far: plain data and its validation.
 *
 * Interleaved local and global layers are Gemma's and Command A's (arXiv 2503.19786, 2501.18795); a hybrid layer sees
 * everything, with a learned bias on what lies beyond the window. A window counts the token itself, as in gpt-oss.
 */
import { MinkeError } from '@minke/core';

/** `local`: the window only. `global`: everything. `hybrid`: everything, far keys with a learned bias. */
export type LayerType = 'local' | 'global' | 'hybrid';

export interface LayerPlan {
  /** One entry a layer. */
  readonly layerTypes: readonly LayerType[];
  /** Tokens of the window, the query's own among them. */
  readonly window: number;
  /** A learnt score a head without a value, in every softmax (gpt-oss). Default false. */
  readonly sinks?: boolean;
  /** The bias on far keys stays within plus and minus this. Default 30. */
  readonly farBiasLimit?: number;
}

/** `LayerPlan.farBiasLimit` where none is given: e^-30 is below the rounding of f32. */
export const defaultFarBiasLimit = 30;

const layerTypes: readonly LayerType[] = ['local', 'global', 'hybrid'];

/** What is wrong with a plan for so many layers, each as "expected" continues it. */
export function layerPlanProblems(plan: LayerPlan, layers: number): string[] {
  const problems: string[] = [];
  if (plan.layerTypes.length !== layers || layers < 1) {
    problems.push(`layerTypes for each of ${layers} layers, got ${plan.layerTypes.length}`);
  }
  const unknown = plan.layerTypes.filter((type) => !layerTypes.includes(type));
  if (unknown.length > 0)
    problems.push(`layerTypes among ${layerTypes.join(', ')}, got ${[...new Set(unknown)].join(', ')}`);
  if (!Number.isSafeInteger(plan.window) || plan.window < 1)
    problems.push(`window a positive integer, got ${plan.window}`);
  const { farBiasLimit = defaultFarBiasLimit } = plan;
  if (!(farBiasLimit > 0)) problems.push(`farBiasLimit above 0, got ${farBiasLimit}`);
  return problems;
}

/** Returns the plan; throws `invalid-config` naming everything that is wrong with it. */
export function validateLayerPlan(plan: LayerPlan, layers = plan.layerTypes.length): LayerPlan {
  const problems = layerPlanProblems(plan, layers);
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `layerPlan: expected ${problems.join('; ')}`);
  return plan;
}

/**
 * The plan to begin with: the first layer local, then three local ones and one that sees far, the last layer global.
 *
 * @example
 * interleavedPlan(8, { window: 1024 }).layerTypes; // local, local, local, local, global, local, local, global
 */
export function interleavedPlan(
  layers: number,
  options: { readonly window: number; readonly far?: 'global' | 'hybrid'; readonly localPerFar?: number },
): LayerPlan {
  const { window, far = 'global', localPerFar = 3 } = options;
  const types = Array.from({ length: layers }, (_, i): LayerType => {
    if (i === layers - 1) return 'global';
    return i > 0 && i % (localPerFar + 1) === 0 ? far : 'local';
  });
  return validateLayerPlan({ layerTypes: types, window }, layers);
}
