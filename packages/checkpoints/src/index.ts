export {
  type Checkpoint,
  type CheckpointTensorInfo,
  type OpenCheckpointOptions,
  openCheckpoint,
} from './checkpoint.ts';
export {
  fromFloat32,
  isSafetensorsDType,
  type SafetensorsDType,
  safetensorsDTypes,
  type TypedArray,
} from './dtypes.ts';
export { encodeSafetensors, type NamedTensors, type TensorData, type WriteOptions } from './encode.ts';
export { type GgufFile, type GgufTensorInfo, type OpenGgufOptions, openGguf } from './gguf.ts';
export type { GgufValue } from './gguf-values.ts';
export type { TensorInfo } from './header.ts';
export { openSafetensors, type SafetensorsFile, type TensorReader } from './safetensors.ts';
export { type WriteCheckpointOptions, writeCheckpoint, writeSafetensors } from './writer.ts';
