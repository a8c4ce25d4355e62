/**
 * The backend over one GPU device.
 *
 * A submit becomes one command buffer. Writes and submits go to the queue, which keeps their order; reads copy
 * into a staging buffer at once and wait for it. What WebGPU reports late (a lost device, memory that was not
 * there) is thrown by the next submit or read.
 */
import {
  type Attributes,
  type Backend,
  type BackendBuffer,
  type BackendInfo,
  type Bindings,
  byteLength,
  type CommandList,
  type CommandRecord,
  check,
  type DType,
  dtypes,
  elementCount,
  type HostArray,
  type MemoryUse,
  MinkeError,
  type OpName,
  opRow,
  rebind,
  type TensorRef,
} from '@minke/core';
import { checkPart, hostForm } from '../host-data.ts';
import { checkAttributes, checkTypes } from '../record-checks.ts';
import { Dispatcher } from './dispatcher.ts';
import type { Kernels, Tensor } from './kernel.ts';
import { attention } from './kernels/attention.ts';
import { elementwise } from './kernels/elementwise.ts';
import { experts } from './kernels/experts.ts';
import { indexer } from './kernels/indexer.ts';
import { latent } from './kernels/latent.ts';
import { layer } from './kernels/layer.ts';
import { matmul } from './kernels/matmul.ts';
import { copyBytes, memory } from './kernels/memory.ts';
import { recurrences } from './kernels/recurrences.ts';
import { reductions } from './kernels/reductions.ts';
import { splitAttention } from './kernels/split-attention.ts';
import { type Block, GPUBufferUsageFlags, MemoryPool } from './memory-pool.ts';

const kernels: Kernels = {
  ...memory,
  ...elementwise,
  ...reductions,
  ...matmul,
  ...layer,
  ...attention,
  ...splitAttention,
  ...indexer,
  ...latent,
  ...experts,
  ...recurrences,
};

class WebgpuBuffer implements BackendBuffer {
  readonly dtype: DType;
  readonly length: number;
  readonly bytes: number;
  readonly owner: WebgpuBackend;
  /** Undefined once released. */
  block: Block | undefined;

  constructor(owner: WebgpuBackend, dtype: DType, length: number, bytes: number, block: Block) {
    this.owner = owner;
    this.dtype = dtype;
    this.length = length;
    this.bytes = bytes;
    this.block = block;
  }
}

const unitOf = (dtype: DType): number => (dtypes[dtype].blockSize === 1 ? dtypes[dtype].blockBytes : 1);

/** Attributes by name, enumerations as their words: the inverse of `encodeAttributes`. */
function decodeAttributes<O extends OpName>(op: O, encoded: readonly number[]): Attributes<O> {
  const entries = Object.entries(opRow(op).attributes).map(([name, kind], i) => {
    const value = encoded[i]!;
    return [name, typeof kind === 'object' ? kind[value] : value];
  });
  return Object.fromEntries(entries) as Attributes<O>;
}

/** What a backend needs of where it runs. */
interface Host {
  /** Called once the backend is disposed. */
  readonly close: () => void;
  /** Waits for what the device is to do. */
  readonly wait: (work: Promise<undefined>) => Promise<undefined>;
}

export class WebgpuBackend implements Backend {
  readonly info: BackendInfo;
  readonly #device: GPUDevice;
  readonly #pool: MemoryPool;
  readonly #dispatcher: Dispatcher;
  readonly #live = new Set<WebgpuBuffer>();
  readonly #host: Host;
  #bytes = 0;
  #disposed = false;
  #failure: MinkeError | undefined;

  constructor(device: GPUDevice, info: BackendInfo, host: Host) {
    this.info = info;
    this.#device = device;
    this.#host = host;
    this.#pool = new MemoryPool(device);
    this.#dispatcher = new Dispatcher(device, this.#pool);
    device.addEventListener('uncapturederror', ({ error }) => {
      const noMemory = error.constructor.name === 'GPUOutOfMemoryError';
      this.#failure ??= new MinkeError(
        noMemory ? 'out-of-memory' : 'internal',
        `webgpu: expected the device to carry out its work, got ${error.message}`,
        { details: { held: this.#bytes } },
      );
    });
    void device.lost.then(({ reason, message }) => {
      if (this.#disposed) return;
      this.#failure ??= new MinkeError(
        'internal',
        `webgpu: expected a working device, got it lost (${reason}): ${message}; create a new backend`,
      );
    });
  }

  supports(op: OpName): boolean {
    return Object.hasOwn(kernels, op);
  }

  allocate(dtype: DType, length: number): BackendBuffer {
    this.#alive('allocate');
    check(
      Number.isSafeInteger(length) && length >= 0,
      () => `allocate: expected a length from 0, got ${length}`,
    );
    const bytes = byteLength(dtype, length);
    const most = this.#device.limits.maxStorageBufferBindingSize;
    if (bytes > most)
      throw new MinkeError(
        'out-of-memory',
        `allocate: expected at most ${most} bytes in one buffer (maxStorageBufferBindingSize of ${this.info.device}), got ${bytes}`,
        { details: { bytes, limit: most } },
      );
    const buffer = new WebgpuBuffer(this, dtype, length, bytes, this.#pool.acquire(bytes));
    this.#live.add(buffer);
    this.#bytes += bytes;
    return buffer;
  }

  release(buffer: BackendBuffer): void {
    const [own, block] = this.#own(buffer, 'release');
    this.#pool.release(block);
    own.block = undefined;
    this.#live.delete(own);
    this.#bytes -= own.bytes;
  }

  write(buffer: BackendBuffer, data: HostArray, offset = 0): void {
    const [own, block] = this.#own(buffer, 'write');
    const host = hostForm(own.dtype, data);
    const { blockSize, blockBytes } = dtypes[own.dtype];
    checkPart('write', own, offset, (host.byteLength / blockBytes) * blockSize);
    const at = byteLength(own.dtype, offset);
    if (host.byteLength === 0) return;
    if (at % 4 === 0 && host.byteLength % 4 === 0) {
      this.#device.queue.writeBuffer(block.gpu, at, host.buffer, host.byteOffset, host.byteLength);
      return;
    }
    const padded = new Uint8Array(Math.ceil(host.byteLength / 4) * 4);
    padded.set(new Uint8Array(host.buffer, host.byteOffset, host.byteLength));
    const staged = this.#pool.acquire(padded.length);
    this.#device.queue.writeBuffer(staged.gpu, 0, padded);
    const n = host.byteLength;
    this.#dispatcher.each(
      copyBytes,
      { x: { block: staged, at: 0, length: n, unit: 1 }, y: { block, at, length: n, unit: 1 } },
      { n },
      Math.floor(n / 4) + 2,
    );
    this.#dispatcher.flush();
    this.#pool.release(staged);
  }

  submit(list: CommandList, bindings?: Bindings): void {
    this.#alive('submit');
    this.#throwFailure();
    for (const index of bindings?.attributes?.keys() ?? [])
      check(
        list.records[index] !== undefined,
        () => `submit: expected record indices below ${list.records.length}, got ${index}`,
      );
    // Everything is checked before anything is sent, so that a refused list changes nothing.
    const calls = list.records.map((record, index) => this.#resolve(record, index, bindings));
    try {
      for (const { op, tensors, attributes } of calls) {
        const kernel = kernels[op as keyof Kernels] as (
          d: Dispatcher,
          t: readonly Tensor[],
          a: object,
        ) => void;
        kernel(this.#dispatcher, tensors, attributes);
      }
    } catch (error) {
      this.#dispatcher.discard();
      throw error;
    }
    this.#dispatcher.flush();
  }

  async read(buffer: BackendBuffer, offset = 0, length = buffer.length - offset): Promise<HostArray> {
    const [own, block] = this.#own(buffer, 'read');
    this.#throwFailure();
    checkPart('read', own, offset, length);
    const { dtype } = own;
    const from = byteLength(dtype, offset);
    const bytes = byteLength(dtype, length);
    const start = from - (from % 4);
    const size = Math.ceil((from + bytes - start) / 4) * 4;
    let copy = new ArrayBuffer(0);
    if (bytes > 0) {
      const staging = this.#device.createBuffer({
        size,
        usage: GPUBufferUsageFlags.mapRead | GPUBufferUsageFlags.copyTarget,
      });
      const encoder = this.#device.createCommandEncoder();
      encoder.copyBufferToBuffer(block.gpu, start, staging, 0, size);
      this.#device.queue.submit([encoder.finish()]);
      try {
        await this.#host.wait(staging.mapAsync(1)); // GPUMapMode.READ
        copy = staging.getMappedRange().slice(from - start, from - start + bytes);
      } catch (cause) {
        this.#alive('read');
        this.#throwFailure();
        throw new MinkeError('internal', 'read: expected the copied numbers, got an error of the device', {
          cause,
        });
      } finally {
        staging.destroy();
      }
      this.#throwFailure();
    }
    if (dtype === 'f32') return new Float32Array(copy);
    return dtype === 'i32' ? new Int32Array(copy) : new Uint8Array(copy);
  }

  memoryUse(): MemoryUse {
    return { buffers: this.#live.size, bytes: this.#bytes };
  }

  dispose(): void {
    this.#alive('dispose');
    this.#disposed = true;
    for (const buffer of this.#live) {
      buffer.block?.gpu.destroy();
      buffer.block = undefined;
    }
    this.#live.clear();
    this.#bytes = 0;
    this.#pool.dispose();
    this.#dispatcher.dispose();
    this.#host.close();
  }

  #resolve(record: CommandRecord, index: number, bindings: Bindings | undefined) {
    if (!this.supports(record.op))
      throw new MinkeError(
        'unsupported',
        `submit: expected ops with a WebGPU kernel, got ${record.op}; ask supports(op) and use the composed form`,
      );
    checkTypes(record);
    const encoded = bindings?.attributes?.get(index);
    if (encoded !== undefined) checkAttributes(record, index, encoded);
    const tensors = record.tensors.map((ref) => this.#tensor(ref, bindings));
    return { op: record.op, tensors, attributes: decodeAttributes(record.op, encoded ?? record.attributes) };
  }

  #tensor(ref: TensorRef, bindings: Bindings | undefined): Tensor {
    const [, block] = this.#own(rebind(ref, bindings?.buffers), 'submit');
    const { dtype, shape } = ref;
    const unit = unitOf(dtype);
    const count = elementCount(shape);
    return {
      block,
      dtype,
      shape,
      count,
      unit,
      at: byteLength(dtype, ref.offset) / unit,
      length: byteLength(dtype, count) / unit,
    };
  }

  #alive(where: string): void {
    check(!this.#disposed, () => `${where}: expected a live backend, got a disposed one`);
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #own(buffer: BackendBuffer, where: string): [WebgpuBuffer, Block] {
    this.#alive(where);
    check(
      buffer instanceof WebgpuBuffer && buffer.owner === this,
      () => `${where}: expected a buffer of this ${this.info.name} backend, got one of another backend`,
    );
    const own = buffer as WebgpuBuffer;
    check(own.block !== undefined, () => `${where}: expected a live buffer, got a released one`);
    return [own, own.block as Block];
  }
}
