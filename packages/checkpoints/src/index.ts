export {
  type Checkpoint,
  type CheckpointTensorInfo,
  type OpenCheckpointOptions,
  openCheckpoint,
} from './checkpoint.ts';
export { type CheckpointStream, streamCheckpoint } from './checkpoint-stream.ts';
export {
  fromFloat32,
  isSafetensorsDType,
  type SafetensorsDType,
  safetensorsDTypes,
  type TypedArray,
} from './dtypes.ts';
export {
  encodeSafetensors,
  type NamedTensors,
  type TensorData,
  type TensorSpec,
  type WriteOptions,
} from './encode.ts';
export { type GgufFile, type GgufTensorInfo, type OpenGgufOptions, openGguf } from './gguf.ts';
export type { GgufValue } from './gguf-values.ts';
export type { TensorInfo } from './header.ts';
export { joinBlocks, type SplitBlocks, splitBlocks } from './quantized-blocks.ts';
export {
  parseQuantizationConfig,
  type QuantizationConfig,
  type QuantizedType,
  quantizationConfig,
  quantizedSpecs,
  quantizedTypes,
  scaleName,
} from './quantized-format.ts';
export { type QuantizedReader, quantizedReader, type WeightInfo } from './quantized-reader.ts';
export { openSafetensors, type SafetensorsFile, type TensorPart, type TensorReader } from './safetensors.ts';
export { type WriteCheckpointOptions, writeCheckpoint, writeSafetensors } from './writer.ts';
