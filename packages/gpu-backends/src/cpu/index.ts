export { createNative, type NativeAvailability, type NativeOptions, nativeAvailable } from './native.ts';
export { createWasm, type WasmOptions } from './wasm.ts';
export { hasRelaxedSimd, type WasmInstructionSet } from './wasm-module.ts';
