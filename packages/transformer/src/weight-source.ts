/** What a model is loaded from: tensors by name, whatever the container. `TensorReader` of `@minke/checkpoints` is one. */
import type { TensorPart } from '@minke/checkpoints';
import type { Shape } from '@minke/core';

export interface WeightSource {
  /** Type and shape of every tensor there is. */
  readonly tensors: ReadonlyMap<string, { readonly dtype: string; readonly shape: Shape }>;
  /**
   * A tensor, or a part of it, as float32; the array belongs to the caller.
   * @throws MinkeError 'unsupported' for types it cannot convert.
   */
  readFloat32(name: string, part?: TensorPart): Promise<Float32Array>;
  /** A tensor of type `Q8_0` or `Q4_0`, or a part in whole blocks, as these blocks; absent where there are none. */
  readBlocks?(name: string, part?: TensorPart): Promise<Uint8Array>;
  /** Whether tensors of blocks are meant to stay what they are in memory, without being asked for it. */
  readonly keepsBlocks?: boolean;
}
