/**
 * Conformance of everything in the `Backend` contract that is not an op's formula: order, replay, host copies,
 * offsets, lifetimes, memory, and the promises of the engine about equal bits.
 */
import {
  type Backend,
  type BackendBuffer,
  byteLength,
  CommandList,
  type DType,
  dtypes,
  encodeAttributes,
  type Shape,
  type TensorRef,
} from '@minke/core';
import type { ContractCheck } from './contract-check.ts';
import { Draw } from './draw.ts';
import { equalBitsChecks } from './equal-bits.ts';

function demand(condition: boolean, message: () => string): void {
  if (!condition) throw new Error(message());
}

async function refuses(what: string, action: () => unknown): Promise<void> {
  let refused = false;
  try {
    await action();
  } catch {
    refused = true;
  }
  demand(refused, () => `expected ${what} to throw`);
}

function equal(what: string, got: ArrayLike<number>, want: readonly number[]): void {
  const same = got.length === want.length && want.every((value, i) => Object.is(got[i], value));
  demand(same, () => `${what}: expected ${want.slice(0, 8)}, got ${Array.from(got).slice(0, 8)}`);
}

/** Buffers of one check, all released at its end. */
class Scope {
  readonly #buffers = new Set<BackendBuffer>();

  constructor(readonly backend: Backend) {}

  empty(length: number, dtype: DType = 'f32'): BackendBuffer {
    const buffer = this.backend.allocate(dtype, length);
    this.#buffers.add(buffer);
    return buffer;
  }

  vector(...values: number[]): TensorRef {
    const buffer = this.empty(values.length);
    this.backend.write(buffer, Float32Array.from(values));
    return { buffer, dtype: 'f32', shape: [values.length], offset: 0 };
  }

  release(buffer: BackendBuffer): void {
    this.#buffers.delete(buffer);
    this.backend.release(buffer);
  }

  close(): void {
    for (const buffer of this.#buffers) this.backend.release(buffer);
  }
}

function scoped(
  name: string,
  run: (scope: Scope, backend: Backend, reference: Backend) => Promise<void>,
): ContractCheck {
  return {
    name,
    async run(backend, reference) {
      const scope = new Scope(backend);
      try {
        await run(scope, backend, reference);
      } finally {
        scope.close();
      }
    },
  };
}

/** y = a x + b as a list of one command. */
function affine(x: TensorRef, y: TensorRef, a: number, b: number): CommandList {
  const list = new CommandList();
  list.record('unary', [x], [y], { kind: 'affine', a, b });
  return list;
}

/** sum += scale x */
function add(x: TensorRef, sum: TensorRef, scale = 1): CommandList {
  const list = new CommandList();
  list.record('accumulate', [x, sum], [], { scale });
  return list;
}

const whole = (buffer: BackendBuffer): TensorRef => ({
  buffer,
  dtype: buffer.dtype,
  shape: [buffer.length],
  offset: 0,
});

const semantics: ContractCheck[] = [
  scoped('lists and their commands run in order', async (scope, backend) => {
    const x = scope.vector(1, 2, 3);
    const y = scope.vector(0, 0, 0);
    backend.submit(affine(x, y, 2, 1));
    backend.submit(affine(y, x, 10, 0));
    const list = new CommandList();
    list.record('accumulate', [y, x], [], { scale: 1 });
    list.record('unary', [x], [y], { kind: 'neg', a: 0, b: 0 });
    backend.submit(list);
    equal('y', await backend.read(y.buffer), [-33, -55, -77]);
  }),

  scoped('a thousand dependent commands and a hundred submits', async (scope, backend) => {
    const one = scope.vector(1, 1, 1, 1, 1);
    const sum = scope.vector(0, 1, 2, 3, 4);
    const list = new CommandList();
    for (let i = 0; i < 1000; i++) list.record('accumulate', [one, sum], [], { scale: 1 });
    backend.submit(list);
    for (let i = 0; i < 100; i++) backend.submit(add(one, sum));
    equal('sum', await backend.read(sum.buffer), [1100, 1101, 1102, 1103, 1104]);
  }),

  scoped(
    'an empty list, an open list submitted twice, and a list extended between submits',
    async (scope, backend) => {
      backend.submit(new CommandList());
      backend.submit(new CommandList().close());
      const one = scope.vector(1);
      const sum = scope.vector(0);
      const list = add(one, sum);
      backend.submit(list);
      backend.submit(list);
      list.record('accumulate', [one, sum], [], { scale: 10 });
      backend.submit(list);
      equal('sum', await backend.read(sum.buffer), [13]);
    },
  ),

  scoped(
    'a closed list replays with other buffers and attributes, and stays as recorded',
    async (scope, backend) => {
      const [x, y] = [scope.vector(1, 2), scope.vector(0, 0)];
      const list = affine(x, y, 2, 0).close();
      backend.submit(list);
      const [otherX, otherY] = [scope.empty(3), scope.empty(2)];
      backend.write(otherX, Float32Array.of(5, 6, 7));
      const buffers = new Map([
        [x.buffer, otherX],
        [y.buffer, otherY],
      ]);
      const attributes = new Map([[0, encodeAttributes('unary', { kind: 'affine', a: 3, b: 1 })]]);
      backend.submit(list, { buffers });
      equal('other buffers', await backend.read(otherY), [10, 12]);
      backend.submit(list, { buffers, attributes });
      equal('other buffers and attributes', await backend.read(otherY), [16, 19]);
      backend.submit(list, { attributes });
      equal('other attributes', await backend.read(y.buffer), [4, 7]);
      backend.submit(list);
      equal('as recorded', await backend.read(y.buffer), [2, 4]);
    },
  ),

  scoped(
    'replay refuses buffers too small or of another type, and changes nothing',
    async (scope, backend) => {
      const [x, y] = [scope.vector(1, 2), scope.vector(8, 9)];
      const list = affine(x, y, 2, 0).close();
      const [small, integers] = [scope.empty(1), scope.empty(2, 'i32')];
      await refuses('a small buffer', () => backend.submit(list, { buffers: new Map([[x.buffer, small]]) }));
      await refuses('another type', () => backend.submit(list, { buffers: new Map([[y.buffer, integers]]) }));
      equal('y', await backend.read(y.buffer), [8, 9]);
    },
  ),

  scoped('replay refuses attributes that do not fit the recorded shapes', async (scope, backend) => {
    const [x, y] = [scope.vector(1, 2, 3), scope.vector(8, 9)];
    const list = new CommandList();
    list.record('slice', [x], [y], { axis: 0, start: 0, size: 2 });
    list.close();
    const rebound = (start: number) => new Map([[0, encodeAttributes('slice', { axis: 0, start, size: 2 })]]);
    await refuses('a slice beyond its tensor', () => backend.submit(list, { attributes: rebound(1000) }));
    await refuses('missing attributes', () => backend.submit(list, { attributes: new Map([[0, [0]]]) }));
    const beyond = new Map([[7, encodeAttributes('slice', { axis: 0, start: 0, size: 2 })]]);
    await refuses('attributes of no record', () => backend.submit(list, { attributes: beyond }));
    backend.submit(list, { attributes: rebound(1) });
    equal('y', await backend.read(y.buffer), [2, 3]);
  }),

  scoped('a read sees the work submitted before it and nothing after', async (scope, backend) => {
    const [one, sum] = [scope.vector(1, 1), scope.vector(0, 5)];
    const reads: Promise<ArrayLike<number>>[] = [];
    for (let i = 0; i < 5; i++) {
      backend.submit(add(one, sum));
      reads.push(backend.read(sum.buffer));
    }
    backend.write(sum.buffer, Float32Array.of(-1, -1));
    const results = await Promise.all(reads);
    for (const [i, result] of results.entries()) equal(`read ${i}`, result, [i + 1, i + 6]);
    equal('after the write', await backend.read(sum.buffer), [-1, -1]);
  }),

  scoped('a write comes after the work submitted before it', async (scope, backend) => {
    const [x, y] = [scope.vector(1, 2), scope.vector(0, 0)];
    for (let i = 0; i < 50; i++) {
      backend.write(x.buffer, Float32Array.of(i, -i));
      backend.submit(affine(x, y, 2, 1));
      backend.write(x.buffer, Float32Array.of(1e6, 1e6));
    }
    equal('y', await backend.read(y.buffer), [99, -97]);
  }),

  scoped('host arrays are copied, in and out', async (scope, backend) => {
    const data = Float32Array.of(1, 2, 3);
    const buffer = scope.empty(3);
    backend.write(buffer, data);
    data.fill(9);
    const copy = await backend.read(buffer);
    equal('what was written', copy, [1, 2, 3]);
    copy.fill(7);
    equal('after changing the copy', await backend.read(buffer), [1, 2, 3]);
    if (backend.readSync) equal('readSync', backend.readSync(buffer, 1), [2, 3]);
  }),

  scoped('parts are written and read at offsets; views of larger arrays too', async (scope, backend) => {
    const buffer = scope.empty(7);
    backend.write(buffer, new Float32Array(7));
    backend.write(buffer, Float32Array.of(1, 2, 3, 4, 5).subarray(1, 4), 3);
    backend.write(buffer, new Float32Array(0), 7);
    equal('all', await backend.read(buffer), [0, 0, 0, 2, 3, 4, 0]);
    equal('a part', await backend.read(buffer, 4, 2), [3, 4]);
    equal('the rest', await backend.read(buffer, 5), [4, 0]);
    equal('nothing', await backend.read(buffer, 7), []);
  }),

  scoped('writes and reads outside a buffer, or of another type, are refused', async (scope, backend) => {
    const buffer = scope.vector(1, 2, 3).buffer;
    await refuses('a write past the end', () => backend.write(buffer, new Float32Array(2), 2));
    await refuses('a negative write offset', () => backend.write(buffer, new Float32Array(1), -1));
    await refuses('a fractional write offset', () => backend.write(buffer, new Float32Array(1), 0.5));
    await refuses('integers into f32', () => backend.write(buffer, new Int32Array(3)));
    await refuses('bytes into f32', () => backend.write(buffer, new Uint8Array(12)));
    await refuses('a read past the end', () => backend.read(buffer, 1, 3));
    await refuses('a negative read offset', () => backend.read(buffer, -1, 1));
    await refuses('a negative length', () => backend.read(buffer, 0, -1));
    const blocks = scope.empty(64, 'q8_0');
    await refuses('a read inside a block', () => backend.read(blocks, 16, 32));
    await refuses('half a block', () => backend.write(blocks, new Uint8Array(17)));
    equal('afterwards', await backend.read(buffer), [1, 2, 3]);
  }),

  scoped('every storage type is held byte for byte', async (scope, backend) => {
    const draw = new Draw(0, 77);
    for (const dtype of Object.keys(dtypes) as DType[]) {
      const count = 96;
      const bytes = draw.bytes('u8', [byteLength(dtype, count)]).data as Uint8Array;
      const data =
        dtype === 'f32' ? draw.normal([count]).data : dtype === 'i32' ? new Int32Array(bytes.buffer) : bytes;
      const buffer = scope.empty(count, dtype);
      backend.write(buffer, data);
      equal(dtype, await backend.read(buffer), Array.from(data));
      const unit = dtype === 'f32' || dtype === 'i32' ? 32 : byteLength(dtype, 32);
      equal(`${dtype} from 32`, await backend.read(buffer, 32, 32), Array.from(data.slice(unit, 2 * unit)));
    }
  }),

  scoped('tensors of one buffer work together', async (scope, backend) => {
    const buffer = scope.empty(12);
    backend.write(
      buffer,
      Float32Array.from({ length: 12 }, (_, i) => i),
    );
    const view = (offset: number, shape: Shape): TensorRef => ({ buffer, dtype: 'f32', shape, offset });
    const list = new CommandList();
    list.record('binary', [view(0, [3]), view(3, [3])], [view(6, [3])], { kind: 'add' });
    list.record('binary', [view(6, [3]), view(1, [1])], [view(9, [3])], { kind: 'mul' });
    backend.submit(list);
    equal('buffer', await backend.read(buffer), [0, 1, 2, 3, 4, 5, 3, 5, 7, 3, 5, 7]);
  }),

  scoped('buffers of no elements', async (scope, backend) => {
    const empty = scope.empty(0);
    backend.write(empty, new Float32Array(0));
    backend.submit(affine(whole(empty), whole(scope.empty(0)), 2, 0));
    equal('empty', await backend.read(empty), []);
  }),

  scoped('a released buffer is refused everywhere, and a second release too', async (scope, backend) => {
    const [x, y] = [scope.vector(1), scope.vector(2)];
    scope.release(x.buffer);
    await refuses('release', () => backend.release(x.buffer));
    await refuses('write', () => backend.write(x.buffer, Float32Array.of(1)));
    await refuses('read', () => backend.read(x.buffer));
    if (backend.readSync) await refuses('readSync', () => backend.readSync!(x.buffer));
    await refuses('submit', () => backend.submit(affine(x, y, 1, 0)));
    await refuses('submit of an output', () => backend.submit(affine(y, x, 1, 0)));
    const live = affine(y, scope.vector(0), 1, 0).close();
    await refuses('replay', () => backend.submit(live, { buffers: new Map([[y.buffer, x.buffer]]) }));
    equal('another buffer', await backend.read(y.buffer), [2]);
  }),

  scoped("another backend's buffer is refused", async (_, backend, reference) => {
    const foreign = reference.allocate('f32', 1);
    try {
      await refuses('read', () => backend.read(foreign));
      await refuses('write', () => backend.write(foreign, Float32Array.of(1)));
      await refuses('release', () => backend.release(foreign));
    } finally {
      reference.release(foreign);
    }
  }),

  scoped('a buffer released after a submit still serves that submit', async (scope, backend) => {
    const y = scope.vector(0, 0);
    for (let i = 1; i <= 20; i++) {
      const x = scope.vector(i, -i);
      backend.submit(add(x, y));
      scope.release(x.buffer);
      scope.vector(1e6, 1e6);
    }
    equal('y', await backend.read(y.buffer), [210, -210]);
  }),

  {
    name: 'memory is counted and comes back',
    async run(backend) {
      const before = backend.memoryUse();
      const types = ['f32', 'i32', 'bf16', 'q4_0'] as const;
      const buffers = types.map((dtype) => backend.allocate(dtype, 320));
      const during = backend.memoryUse();
      const least = types.reduce((sum, dtype) => sum + byteLength(dtype, 320), 0);
      demand(during.buffers === before.buffers + types.length, () => `counted ${during.buffers} buffers`);
      demand(during.bytes >= before.bytes + least, () => `counted ${during.bytes} bytes for ${least}`);
      for (const buffer of buffers) backend.release(buffer);
      const after = backend.memoryUse();
      demand(
        after.buffers === before.buffers && after.bytes === before.bytes,
        () => `expected ${JSON.stringify(before)} again, got ${JSON.stringify(after)}`,
      );
    },
  },

  {
    name: 'lengths that are no lengths are refused',
    async run(backend) {
      await refuses('a negative length', () => backend.allocate('f32', -1));
      await refuses('a fractional length', () => backend.allocate('f32', 1.5));
      await refuses('a part of a block', () => backend.allocate('q8_0', 33));
    },
  },
];

/** All checks beyond the ops' formulas. */
export function contractChecks(seed: number): ContractCheck[] {
  return [...semantics, ...equalBitsChecks(seed)];
}
