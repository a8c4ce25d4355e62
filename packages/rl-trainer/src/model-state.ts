/**
 * Parameters and optimiser moments as host arrays by name, and back: what a checkpoint holds of a model in training.
 */
import { MinkeError } from '@minke/core';
import type { AdamW, Tensor } from '@minke/tensor';
import type { DeepSeekModel } from '@minke/transformer';

export type HostTensors = Map<string, { shape: readonly number[]; data: Float32Array }>;

/** Parameters under their names, moments as `{name}.m` and `{name}.v`. */
export async function readState(model: DeepSeekModel, optimizer: AdamW): Promise<HostTensors> {
  const tensors: HostTensors = new Map();
  const put = async (name: string, tensor: Tensor) => {
    tensors.set(name, { shape: tensor.shape, data: (await tensor.read()) as Float32Array });
  };
  for (const [name, tensor] of model.parameters()) await put(name, tensor);
  for (const [name, { m, v }] of optimizer.state().moments) {
    await put(`${name}.m`, m);
    await put(`${name}.v`, v);
  }
  return tensors;
}

/** Writes a state back. Throws `invalid-file`, naming `where`, when a tensor is missing. */
export function writeState(
  where: string,
  model: DeepSeekModel,
  optimizer: AdamW,
  { tensors, step }: { tensors: ReadonlyMap<string, Float32Array>; step: number },
): void {
  const get = (name: string): Float32Array => {
    const data = tensors.get(name);
    if (data === undefined)
      throw new MinkeError(
        'invalid-file',
        `${where}: expected ${name} in the checkpoint, found none; it belongs to another model`,
      );
    return data;
  };
  for (const [name, tensor] of model.parameters()) tensor.write(get(name));
  const moments = new Map(
    [...optimizer.state().moments.keys()].map((name) => [name, { m: get(`${name}.m`), v: get(`${name}.v`) }]),
  );
  optimizer.restore({ stepCount: step, moments });
}
