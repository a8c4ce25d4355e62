/** A second model with the weights of another: a reference that stays behind, a critic that begins as the policy. */
import { Arena, type Tensor } from '@minke/tensor';
import { DeepSeekModel, type ModelConfig, parameterShapes } from '@minke/transformer';

/** A copy, and the arena that owns its weights. */
export interface ModelCopy {
  readonly model: DeepSeekModel;
  readonly arena: Arena;
}

/**
 * Takes as much memory as the weights that it copies.
 * @param options.config of the copy, which may leave parts of the model out; default: all of it
 * @param options.trainable give it gradients where the model has them; default false
 */
export async function copyModel(
  source: DeepSeekModel,
  options: { readonly label: string; readonly config?: ModelConfig; readonly trainable?: boolean },
): Promise<ModelCopy> {
  const { label, config = source.config, trainable = false } = options;
  const arena = new Arena(source.backend, { persistent: true, label });
  const weights = source.parameters();
  const copies = new Map<string, Tensor>();
  for (const [name, shape] of parameterShapes(config)) {
    const weight = weights.get(name) as Tensor;
    const values = await weight.read();
    const learns = trainable && weight.requiresGrad;
    copies.set(name, learns ? arena.parameter(values, shape) : arena.tensor(values, shape));
  }
  return { model: new DeepSeekModel(config, copies), arena };
}
