/**
 * The backend over a machine that runs whole programs: the native add-on or the WebAssembly module.
 *
 * Work runs inside `submit`, on the calling thread and the machine's own; nothing is pending afterwards, so
 * reads never wait and a released buffer's memory can be used again at once.
 */
import {
  type Backend,
  type BackendBuffer,
  type BackendInfo,
  type Bindings,
  byteLength,
  type CommandList,
  type CommandTiming,
  check,
  type DType,
  dtypes,
  type HostArray,
  type MemoryUse,
  MinkeError,
  type OpName,
  opNames,
} from '@minke/core';
import { checkPart, hostForm } from '../host-data.ts';
import { Encoder, recordWords } from './encode.ts';

/** Memory and execution of one kernel build. Addresses are plain numbers. */
export interface Machine {
  /** 0 when there is no memory. */
  allocate(bytes: number): number;
  release(address: number, bytes: number): void;
  write(address: number, data: HostArray): void;
  read(address: number, into: HostArray): void;
  /** False when memory ran out. */
  run(program: Float64Array): boolean;
  dispose(): void;
}

class CpuBuffer implements BackendBuffer {
  readonly dtype: DType;
  readonly length: number;
  readonly bytes: number;
  readonly owner: CpuBackend;
  /** 0 once released. */
  address: number;

  constructor(owner: CpuBackend, dtype: DType, length: number, bytes: number, address: number) {
    this.owner = owner;
    this.dtype = dtype;
    this.length = length;
    this.bytes = bytes;
    this.address = address;
  }
}

const names = new Set<string>(opNames);

export class CpuBackend implements Backend {
  readonly info: BackendInfo;
  readonly #machine: Machine;
  readonly #live = new Set<CpuBuffer>();
  readonly #encoder = new Encoder((buffer) => this.#own(buffer, 'submit').address);
  #bytes = 0;
  #disposed = false;
  #observer: ((timing: CommandTiming) => void) | null = null;

  constructor(info: BackendInfo, machine: Machine) {
    this.info = info;
    this.#machine = machine;
  }

  supports(op: OpName): boolean {
    return names.has(op);
  }

  allocate(dtype: DType, length: number): BackendBuffer {
    this.#alive('allocate');
    check(
      Number.isSafeInteger(length) && length >= 0,
      () => `allocate: expected a length from 0, got ${length}`,
    );
    const bytes = byteLength(dtype, length);
    const address = this.#machine.allocate(bytes);
    if (address === 0)
      throw new MinkeError(
        'out-of-memory',
        `allocate: expected ${bytes} bytes for ${length} ${dtype}, got none`,
        {
          details: { bytes, held: this.#bytes },
        },
      );
    const buffer = new CpuBuffer(this, dtype, length, bytes, address);
    this.#live.add(buffer);
    this.#bytes += bytes;
    return buffer;
  }

  release(buffer: BackendBuffer): void {
    const own = this.#own(buffer, 'release');
    this.#machine.release(own.address, own.bytes);
    own.address = 0;
    this.#live.delete(own);
    this.#bytes -= own.bytes;
  }

  write(buffer: BackendBuffer, data: HostArray, offset = 0): void {
    const own = this.#own(buffer, 'write');
    const host = hostForm(own.dtype, data);
    const { blockSize, blockBytes } = dtypes[own.dtype];
    const count = (host.byteLength / blockBytes) * blockSize;
    checkPart('write', own, offset, count);
    this.#machine.write(own.address + byteLength(own.dtype, offset), host);
  }

  submit(list: CommandList, bindings?: Bindings): void {
    this.#alive('submit');
    if (list.records.length === 0) return;
    const program = this.#encoder.program(list, bindings);
    if (this.#observer === null) this.#run(program);
    else this.#runObserved(list, program, this.#observer);
  }

  observe(observer: ((timing: CommandTiming) => void) | null): void {
    this.#alive('observe');
    this.#observer = observer;
  }

  read(buffer: BackendBuffer, offset?: number, length?: number): Promise<HostArray> {
    return new Promise((resolve) => resolve(this.readSync(buffer, offset, length)));
  }

  readSync(buffer: BackendBuffer, offset = 0, length = buffer.length - offset): HostArray {
    const own = this.#own(buffer, 'read');
    checkPart('read', own, offset, length);
    const { dtype } = own;
    const into =
      dtype === 'f32'
        ? new Float32Array(length)
        : dtype === 'i32'
          ? new Int32Array(length)
          : new Uint8Array(byteLength(dtype, length));
    this.#machine.read(own.address + byteLength(dtype, offset), into);
    return into;
  }

  memoryUse(): MemoryUse {
    return { buffers: this.#live.size, bytes: this.#bytes };
  }

  dispose(): void {
    this.#alive('dispose');
    this.#disposed = true;
    for (const buffer of this.#live) {
      this.#machine.release(buffer.address, buffer.bytes);
      buffer.address = 0;
    }
    this.#live.clear();
    this.#bytes = 0;
    this.#machine.dispose();
  }

  #run(program: Float64Array): void {
    if (!this.#machine.run(program))
      throw new MinkeError('out-of-memory', 'submit: expected memory for intermediate results, got none', {
        details: { held: this.#bytes },
      });
  }

  #runObserved(list: CommandList, program: Float64Array, observer: (timing: CommandTiming) => void): void {
    let at = 0;
    for (const record of list.records) {
      const words = recordWords(record);
      const start = performance.now();
      this.#run(program.subarray(at, at + words));
      observer({ record, start, end: performance.now() });
      at += words;
    }
  }

  #alive(where: string): void {
    check(!this.#disposed, () => `${where}: expected a live backend, got a disposed one`);
  }

  #own(buffer: BackendBuffer, where: string): CpuBuffer {
    this.#alive(where);
    check(
      buffer instanceof CpuBuffer && buffer.owner === this,
      () => `${where}: expected a buffer of this ${this.info.name} backend, got one of another backend`,
    );
    check(buffer.address !== 0, () => `${where}: expected a live buffer, got a released one`);
    return buffer;
  }
}
