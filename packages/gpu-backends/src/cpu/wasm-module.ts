/**
 * The WebAssembly modules of the package: the kernels with SIMD128, and with relaxed SIMD where the engine has it.
 *
 * They stand in files of their own (base64), loaded when they are asked for. Which one runs is decided by whether the
 * engine validates a module of one relaxed instruction: Node from 22 and browsers since 2023 or later do.
 */

/** What is used of the global of that name, which type libraries for Node leave out. */
export interface WebAssemblyApi {
  validate(bytes: Uint8Array): boolean;
  compile(bytes: Uint8Array): Promise<object>;
  instantiate(module: object, imports: object): Promise<{ readonly exports: object }>;
  readonly Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => WasmMemory;
}

/** Linear memory of a module. */
export interface WasmMemory {
  /** An `ArrayBuffer`, or a `SharedArrayBuffer`; another one after the memory has grown. */
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

/** Instructions that a build of the kernels uses. */
export type WasmInstructionSet = 'relaxed-simd' | 'simd128';

/** A generated file. */
interface EmbeddedModule {
  readonly wasmBase64: string;
  readonly memoryPages: number;
  readonly sharedFlagAt: number;
}

const embedded: Record<WasmInstructionSet, () => Promise<EmbeddedModule>> = {
  'relaxed-simd': () => import('./minke-wasm-relaxed.gen.ts'),
  simd128: () => import('./minke-wasm.gen.ts'),
};

/** All of them, the fastest first. */
export const wasmInstructionSets = Object.keys(embedded) as WasmInstructionSet[];

/** The global `WebAssembly`; throws where there is none. */
export function webAssembly(): WebAssemblyApi {
  const { WebAssembly: api } = globalThis as { WebAssembly?: WebAssemblyApi };
  if (api === undefined) throw new Error('an environment without WebAssembly');
  return api;
}

/** (func (param v128 v128 v128) (result v128) (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2))) */
const relaxedProbe = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // magic, version
  ...[0x01, 0x08, 0x01, 0x60, 0x03, 0x7b, 0x7b, 0x7b, 0x01, 0x7b], // types
  ...[0x03, 0x02, 0x01, 0x00], // functions
  ...[0x0a, 0x0d, 0x01, 0x0b, 0x00, 0x20, 0x00, 0x20, 0x01, 0x20, 0x02, 0xfd, 0x85, 0x02, 0x0b], // code
);

/** Whether this engine has relaxed SIMD. Not kept: Node 20 has it once a flag is set. */
export function hasRelaxedSimd(): boolean {
  return webAssembly().validate(relaxedProbe);
}

/** A compiled module and the memory it needs at least, in pages of 64 KiB. */
export interface WasmModule {
  readonly module: object;
  readonly memoryPages: number;
}

const compiled = new Map<string, Promise<WasmModule>>();

/** The module with these instructions for memory that threads share, or not; compiled once. */
export function compileModule(set: WasmInstructionSet, shared: boolean): Promise<WasmModule> {
  const key = `${set} ${shared}`;
  const known = compiled.get(key);
  if (known !== undefined) return known;
  const started = compile(set, shared);
  started.catch(() => compiled.delete(key));
  compiled.set(key, started);
  return started;
}

async function compile(set: WasmInstructionSet, shared: boolean): Promise<WasmModule> {
  const { wasmBase64, memoryPages, sharedFlagAt } = await embedded[set]();
  const bytes = Uint8Array.from(atob(wasmBase64), (c) => c.charCodeAt(0));
  if (!shared) bytes[sharedFlagAt] = 1;
  return { module: await webAssembly().compile(bytes), memoryPages };
}
