export { createNative, type NativeAvailability, type NativeOptions, nativeAvailable } from './native.ts';
export { createWasm } from './wasm.ts';
