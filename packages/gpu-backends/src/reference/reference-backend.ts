/**
 * The reference backend: plain TypeScript, one small function per op, the meaning of the op table.
 *
 * It computes in f64 and rounds once at each store, runs at once in the calling thread, and is strict where
 * the fast backends trust: fresh memory is NaN, an output that overlaps another tensor is refused, and
 * attributes bound at replay are checked again. With `bits: 64` f32 tensors are held as Float64Array, for
 * finite differences. It is not fast: for tests, and where neither native code nor WebAssembly is to be had.
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
  checkCall,
  type DType,
  dtypes,
  elementCount,
  formatShape,
  type HostArray,
  type MemoryUse,
  MinkeError,
  type OpName,
  opRow,
  rebind,
} from '@minke/core';
import { attention } from './attention.ts';
import { elementwise } from './elementwise.ts';
import { experts } from './experts.ts';
import { indexer } from './indexer.ts';
import type { Kernels, Tensor } from './kernel.ts';
import { latent } from './latent.ts';
import { losses } from './losses.ts';
import { matmul } from './matmul.ts';
import { memory } from './memory.ts';
import { normalisation } from './normalisation.ts';
import { optimisers } from './optimisers.ts';
import { quantized } from './quantized.ts';
import { recurrences } from './recurrences.ts';
import { reductions } from './reductions.ts';
import { rounded } from './rounded.ts';
import { routing } from './routing.ts';
import { sampling } from './sampling.ts';
import { splitAttention } from './split-attention.ts';

const kernels: Kernels = {
  ...memory,
  ...elementwise,
  ...reductions,
  ...matmul,
  ...normalisation,
  ...losses,
  ...optimisers,
  ...sampling,
  ...attention,
  ...splitAttention,
  ...indexer,
  ...routing,
  ...latent,
  ...experts,
  ...recurrences,
  ...quantized,
  ...rounded,
};

/** How the reference backend stores and computes. */
export interface ReferenceOptions {
  /** Storage of f32 tensors: 32 (default), or 64 to check formulas and gradients without rounding. */
  readonly bits?: 32 | 64;
  /** Why this backend was chosen, for `info.reason`. */
  readonly reason?: string;
}

/** A backend that can block: `readSync` is always there. */
export interface ReferenceBackend extends Backend {
  readSync(buffer: BackendBuffer, offset?: number, length?: number): HostArray;
}

class ReferenceBuffer implements BackendBuffer {
  constructor(
    readonly dtype: DType,
    readonly length: number,
    readonly data: HostArray,
  ) {}
}

/** A block of elements in units of `data`: numbers for f32 and i32, bytes for other types. */
function span(dtype: DType, offset: number, length: number): [start: number, end: number] {
  if (dtype === 'f32' || dtype === 'i32') return [offset, offset + length];
  const start = byteLength(dtype, offset);
  return [start, start + byteLength(dtype, length)];
}

/** Attributes by name, enumerations as their words: the inverse of `encodeAttributes`. */
function decodeAttributes<O extends OpName>(op: O, encoded: readonly number[]): Attributes<O> {
  const entries = Object.entries(opRow(op).attributes).map(([name, kind], i) => {
    const value = encoded[i];
    return [name, typeof kind === 'object' && value !== undefined ? kind[value] : value];
  });
  return Object.fromEntries(entries) as Attributes<O>;
}

/** Refuses a written tensor that shares memory with another tensor of the call. */
function checkOverlap(record: CommandRecord, tensors: readonly Tensor[]): void {
  const { inputs } = opRow(record.op);
  const range = ({ data }: Tensor) => [data.byteOffset, data.byteOffset + data.byteLength] as const;
  tensors.forEach((written, i) => {
    if (i < inputs.length && !inputs[i]!.inout) return;
    const [start, end] = range(written);
    tensors.forEach((other, j) => {
      const [otherStart, otherEnd] = range(other);
      const apart = i === j || written.data.buffer !== other.data.buffer;
      check(
        apart || Math.max(start, otherStart) >= Math.min(end, otherEnd),
        () =>
          `${record.op}: expected written tensors apart from all others, got tensor ${i} ${formatShape(written.shape)} over tensor ${j} ${formatShape(other.shape)}`,
      );
    });
  });
}

/**
 * Creates the plain TypeScript backend.
 *
 * @example
 * const backend = createReference();
 * const x = backend.allocate('f32', 3);
 * backend.write(x, new Float32Array([1, 2, 3]));
 * backend.readSync(x, 1); // Float32Array [2, 3]
 */
export function createReference(options: ReferenceOptions = {}): ReferenceBackend {
  const bits = options.bits ?? 32;
  const info: BackendInfo = {
    name: 'reference',
    reason: options.reason ?? 'asked for: plain TypeScript, for checking',
    device: 'javascript',
    threads: 1,
    bits,
  };
  const live = new Set<ReferenceBuffer>();
  let disposed = false;

  function checkOpen(where: string): void {
    check(!disposed, () => `${where}: the backend is disposed; create a new one`);
  }

  function own(where: string, buffer: BackendBuffer): ReferenceBuffer {
    checkOpen(where);
    check(
      buffer instanceof ReferenceBuffer && live.has(buffer),
      () => `${where}: expected a live buffer of this backend, got one released or of another backend`,
    );
    return buffer;
  }

  function checkRange(where: string, buffer: BackendBuffer, offset: number, length: number): void {
    const { blockSize } = dtypes[buffer.dtype];
    const whole = (n: number) => Number.isInteger(n) && n >= 0 && n % blockSize === 0;
    check(
      whole(offset) && whole(length) && offset + length <= buffer.length,
      () =>
        `${where}: expected ${blockSize > 1 ? 'whole blocks' : 'elements'} within ${buffer.length} of ${buffer.dtype}, got ${length} from ${offset}`,
    );
  }

  function storage(dtype: DType, length: number): HostArray {
    if (dtype === 'f32')
      return bits === 64 ? new Float64Array(length).fill(NaN) : new Float32Array(length).fill(NaN);
    if (dtype === 'i32') return new Int32Array(length).fill(-0x80000000);
    return new Uint8Array(byteLength(dtype, length)).fill(0xff);
  }

  function run(record: CommandRecord, encoded: readonly number[], bindings: Bindings | undefined): void {
    const tensors = record.tensors.map((ref): Tensor => {
      const { data } = own('submit', rebind(ref, bindings?.buffers));
      return {
        dtype: ref.dtype,
        shape: ref.shape,
        data: data.subarray(...span(ref.dtype, ref.offset, elementCount(ref.shape))),
      };
    });
    checkOverlap(record, tensors);
    const kernel = kernels[record.op] as (tensors: readonly Tensor[], attributes: object) => void;
    kernel(tensors, decodeAttributes(record.op, encoded));
  }

  function copyOut(buffer: BackendBuffer, offset = 0, length = buffer.length - offset): HostArray {
    const { dtype, data } = own('read', buffer);
    checkRange('read', buffer, offset, length);
    return data.slice(...span(dtype, offset, length));
  }

  return {
    info,

    supports: (op) => Object.hasOwn(kernels, op),

    allocate(dtype, length) {
      checkOpen('allocate');
      check(
        Number.isSafeInteger(length) && length >= 0,
        () => `allocate: expected a whole number of elements, got ${length}`,
      );
      byteLength(dtype, length);
      let data: HostArray;
      try {
        data = storage(dtype, length);
      } catch (cause) {
        throw new MinkeError('out-of-memory', `allocate: no memory for ${length} elements of ${dtype}`, {
          cause,
        });
      }
      const buffer = new ReferenceBuffer(dtype, length, data);
      live.add(buffer);
      return buffer;
    },

    release(buffer) {
      live.delete(own('release', buffer));
    },

    write(buffer, source, offset = 0) {
      const { dtype, data } = own('write', buffer);
      const fits =
        dtype === 'f32'
          ? source instanceof Float32Array || source instanceof Float64Array
          : dtype === 'i32'
            ? source instanceof Int32Array
            : source instanceof Uint8Array;
      check(
        fits,
        () =>
          `write: expected ${dtype === 'f32' ? 'Float32Array' : dtype === 'i32' ? 'Int32Array' : 'Uint8Array'} for ${dtype}, got ${source.constructor.name}`,
      );
      const { blockSize, blockBytes } = dtypes[dtype];
      const length = source instanceof Uint8Array ? (source.length / blockBytes) * blockSize : source.length;
      checkRange('write', buffer, offset, length);
      data.set(source, span(dtype, offset, 0)[0]);
    },

    submit(list: CommandList, bindings) {
      checkOpen('submit');
      // Everything is checked before anything runs, so that a refused list changes nothing.
      for (const index of bindings?.attributes?.keys() ?? [])
        check(
          list.records[index] !== undefined,
          () => `submit: expected record indices below ${list.records.length}, got ${index}`,
        );
      list.records.forEach((record, i) => {
        for (const tensor of record.tensors) own('submit', rebind(tensor, bindings?.buffers));
        const rebound = bindings?.attributes?.get(i);
        if (rebound === undefined) return;
        const inputs = opRow(record.op).inputs.length;
        checkCall(
          record.op,
          record.tensors.slice(0, inputs),
          record.tensors.slice(inputs),
          decodeAttributes(record.op, rebound),
        );
      });
      list.records.forEach((record, i) => {
        run(record, bindings?.attributes?.get(i) ?? record.attributes, bindings);
      });
    },

    async read(buffer, offset, length) {
      return copyOut(buffer, offset, length);
    },

    readSync: copyOut,

    memoryUse(): MemoryUse {
      let bytes = 0;
      for (const { data } of live) bytes += data.byteLength;
      return { buffers: live.size, bytes };
    },

    dispose() {
      disposed = true;
      live.clear();
    },
  };
}
