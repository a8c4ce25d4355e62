/** What a model is loaded from: tensors by name, whatever the container. `TensorReader` of `@minke/checkpoints` is one. */
import type { Shape } from '@minke/core';

export interface WeightSource {
  /** Type and shape of every tensor there is. */
  readonly tensors: ReadonlyMap<string, { readonly dtype: string; readonly shape: Shape }>;
  /** A tensor as float32; the array belongs to the caller. @throws MinkeError 'unsupported' for types it cannot convert. */
  readFloat32(name: string): Promise<Float32Array>;
}
