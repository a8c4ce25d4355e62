export type {
  Backend,
  BackendBuffer,
  BackendInfo,
  Bindings,
  CommandTiming,
  HostArray,
  MemoryUse,
  TensorRef,
} from './backend.ts';
export { dequantizeBlocks, quantizeBlocks } from './block-codecs.ts';
export { type BlockLayout, type BlockType, blockTypes, isBlockType } from './block-types.ts';
export { type ByteSource, fileSource, memorySource } from './byte-source.ts';
export { CommandList, type CommandRecord, rebind } from './command-list.ts';
export { byteLength, type DType, dtypes, elementCount, formatShape, type Shape, sameShape } from './dtype.ts';
export { check, type ErrorCode, MinkeError } from './errors.ts';
export { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from './float-codecs.ts';
export { e4m3ToFloat32, e8m0ToFloat32 } from './float8-codecs.ts';
export { checkCall, encodeAttributes, inferOutputs } from './op-calls.ts';
export { type Attributes, broadcastDivisor, type OpName, opNames, opRow, opTable } from './ops.ts';
export { philox4x32, Random, type RandomState } from './philox.ts';
