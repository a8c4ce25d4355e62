/**
 * The contract between a backend and everything above it.
 *
 * Work is described as a list of commands over the static op table (`ops.ts`) and handed over in one
 * `submit`. Numbers come back through `read`, which waits for the work before it; backends that can block
 * also have `readSync`. No output shape depends on data.
 */
import type { BackendBuffer, HostArray } from './buffers.ts';
import type { CommandList, CommandRecord } from './command-list.ts';
import type { DType } from './dtype.ts';
import type { OpName } from './ops.ts';

/** What runs, and why. */
export interface BackendInfo {
  readonly name: 'reference' | 'native' | 'wasm' | 'webgpu' | (string & {});
  /** One sentence: why this one was chosen, or what was missing for a faster one. */
  readonly reason: string;
  /** Instruction set or adapter, for example `avx512`, `simd128`, `google swiftshader`. */
  readonly device: string;
  readonly threads: number;
  /** Precision of f32 arithmetic: 64 only for the reference backend in its checking mode. */
  readonly bits: 32 | 64;
}

/** New buffers and attributes for a replayed list; what is not named stays as recorded. */
export interface Bindings {
  readonly buffers?: ReadonlyMap<BackendBuffer, BackendBuffer>;
  /** Record index to a full set of encoded attributes (see `encodeAttributes`). */
  readonly attributes?: ReadonlyMap<number, readonly number[]>;
}

/** One command as it ran. */
export interface CommandTiming {
  readonly record: CommandRecord;
  /** Milliseconds on the clock of `performance.now()`. */
  readonly start: number;
  readonly end: number;
}

/** Bytes a backend holds. */
export interface MemoryUse {
  readonly buffers: number;
  readonly bytes: number;
}

export interface Backend {
  readonly info: BackendInfo;
  /** False when the op has no kernel here; callers then use its composed form. */
  supports(op: OpName): boolean;
  /** Fresh memory of unspecified content. Throws `out-of-memory`. */
  allocate(dtype: DType, length: number): BackendBuffer;
  /** Gives memory back once work already submitted no longer needs it. Releasing twice throws. */
  release(buffer: BackendBuffer): void;
  /** Copies host numbers in, ordered after work already submitted. `offset` in elements. */
  write(buffer: BackendBuffer, data: HostArray, offset?: number): void;
  /** Runs the list in order. Several submits run in order. The list may be kept and submitted again. */
  submit(list: CommandList, bindings?: Bindings): void;
  /** A copy of `length` elements from `offset`, after all submitted work. */
  read(buffer: BackendBuffer, offset?: number, length?: number): Promise<HostArray>;
  /** `read` without waiting for the event loop; only on backends that can block. */
  readSync?(buffer: BackendBuffer, offset?: number, length?: number): HostArray;
  memoryUse(): MemoryUse;
  /**
   * Calls `observer` after every command of later submits; null ends it. Commands then run one by one, which
   * costs a microsecond or two each. Only on backends that can time a single command.
   */
  observe?(observer: ((timing: CommandTiming) => void) | null): void;
  /** Releases everything; later calls throw. */
  dispose(): void;
}
