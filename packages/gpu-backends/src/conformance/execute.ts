/**
 * Runs one call on a backend under hostile conditions, and compares two runs.
 *
 * Every tensor lies inside its own buffer between guard elements: NaN in f32, so that a stray read spoils the
 * result, and checked afterwards, so that a stray write shows. Outputs start as NaN, so that an element not
 * written shows too.
 */
import {
  type Attributes,
  type Backend,
  byteLength,
  CommandList,
  type DType,
  dtypes,
  elementCount,
  type HostArray,
  inferOutputs,
  MinkeError,
  type OpName,
  opRow,
  type Shape,
  type TensorRef,
} from '@minke/core';
import type { HostTensor } from './draw.ts';
import type { Tolerance } from './tolerances.ts';

/** A tensor a call wrote (in-out inputs, then outputs), by its name in the op table. */
export interface Written {
  readonly name: string;
  readonly dtype: DType;
  readonly data: HostArray;
}

const guardNumber = { f32: NaN, i32: -559038737 } as const;
const guardByte = 0xa5;

/** Below it f32 has a fixed step, so errors relative to the number itself mean nothing. */
const smallestNormal = 2 ** -126;

interface Placed {
  readonly ref: TensorRef;
  readonly before: number;
}

function guarded(dtype: DType, length: number): Float32Array | Int32Array | Uint8Array {
  if (dtype === 'f32') return new Float32Array(length).fill(guardNumber.f32);
  if (dtype === 'i32') return new Int32Array(length).fill(guardNumber.i32);
  return new Uint8Array(byteLength(dtype, length)).fill(guardByte);
}

/** Elements to array positions: numbers for f32 and i32, bytes for other types. */
const position = (dtype: DType, elements: number) =>
  dtype === 'f32' || dtype === 'i32' ? elements : byteLength(dtype, elements);

function place(
  backend: Backend,
  dtype: DType,
  shape: Shape,
  guards: number,
  data: HostTensor['data'] | undefined,
): Placed {
  const { blockSize } = dtypes[dtype];
  const before = guards * blockSize;
  const after = (guards + 1) * blockSize;
  const count = elementCount(shape);
  const whole = guarded(dtype, before + count + after);
  if (data !== undefined) whole.set(data, position(dtype, before));
  const buffer = backend.allocate(dtype, before + count + after);
  backend.write(buffer, whole);
  return { ref: { buffer, dtype, shape, offset: before }, before };
}

async function take(backend: Backend, name: string, { ref, before }: Placed): Promise<Written> {
  const { buffer, dtype, shape } = ref;
  const whole = await backend.read(buffer);
  const start = position(dtype, before);
  const end = start + position(dtype, elementCount(shape));
  const guard = guarded(dtype, dtypes[dtype].blockSize)[0];
  for (let i = 0; i < whole.length; i++) {
    if (i === start) i = end;
    if (i < whole.length && !Object.is(whole[i], guard))
      throw new MinkeError(
        'internal',
        `${name}: wrote outside the tensor, at ${i - start} of ${end - start}`,
      );
  }
  return { name, dtype, data: whole.slice(start, end) };
}

/** Runs one call and returns what it wrote. `guards` elements (blocks) lie before each tensor, one more after. */
export async function execute<O extends OpName>(
  backend: Backend,
  op: O,
  inputs: readonly HostTensor[],
  attributes: Attributes<O>,
  guards = 0,
): Promise<Written[]> {
  const row = opRow(op);
  const placed: Placed[] = [];
  try {
    for (const { dtype, shape, data } of inputs) placed.push(place(backend, dtype, shape, guards, data));
    const refs = placed.map(({ ref }) => ref);
    const outputs = inferOutputs(op, refs, attributes).map(({ dtype, shape }) => {
      const output = place(backend, dtype, shape, guards, undefined);
      placed.push(output);
      return output.ref;
    });
    const list = new CommandList();
    list.record(op, refs, outputs, attributes);
    backend.submit(list);
    const slots = [...row.inputs, ...row.outputs];
    const results: Written[] = [];
    for (let i = 0; i < slots.length; i++) {
      const written = await take(backend, slots[i]!.name, placed[i]!);
      if (i >= row.inputs.length || slots[i]!.inout) results.push(written);
      else if (!sameBits(written.data, inputs[i]!.data))
        throw new MinkeError('internal', `${written.name}: an input changed`);
    }
    return results;
  } finally {
    for (const { ref } of placed) backend.release(ref.buffer);
  }
}

/** True when both hold the same numbers (NaN equals NaN, 0 equals -0) in f32 or bytes. */
export function sameBits(a: HostArray, b: HostArray): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [Math.fround(a[i]!), Math.fround(b[i]!)];
    if (x !== y && !(Number.isNaN(x) && Number.isNaN(y))) return false;
  }
  return true;
}

function largestFinite(tensors: readonly { readonly dtype: DType; readonly data: HostArray }[]): number {
  let most = 0;
  for (const { dtype, data } of tensors) {
    if (dtype !== 'f32') continue;
    for (const value of data) if (Number.isFinite(value)) most = Math.max(most, Math.abs(value));
  }
  return most;
}

/** The inputs and attributes whose result is the magnitude of a sum: no sign, nothing cancels. */
export function absolute<O extends OpName>(
  op: O,
  inputs: readonly HostTensor[],
  attributes: Attributes<O>,
): { inputs: HostTensor[]; attributes: Attributes<O> } {
  const kinds = opRow(op).attributes;
  const positive = Object.entries(attributes).map(([name, value]) => [
    name,
    kinds[name] === 'float' ? Math.abs(value as number) : value,
  ]);
  return {
    inputs: inputs.map((input) => {
      if (input.dtype === 'f32') return { ...input, data: (input.data as Float32Array).map(Math.abs) };
      // The sign of a bf16 number is the top bit of its second byte.
      if (input.dtype === 'bf16')
        return { ...input, data: input.data.map((byte, i) => (i % 2 ? byte & 0x7f : byte)) };
      return input;
    }),
    attributes: Object.fromEntries(positive) as Attributes<O>,
  };
}

/**
 * The largest error of `got` in units of its magnitude (see `tolerances.ts`); Infinity where exact agreement
 * is required and missing.
 */
export function compare(
  got: readonly Written[],
  want: readonly Written[],
  inputs: readonly HostTensor[],
  tolerance: Tolerance,
  absolutes: readonly Written[],
): { worst: number; detail: string } {
  let result = { worst: 0, detail: 'equal' };
  const callLargest = largestFinite([...inputs, ...want]);
  want.forEach(({ name, dtype, data }, t) => {
    const tensorLargest = largestFinite([{ dtype, data }]);
    const actual = got[t]!.data;
    for (let i = 0; i < data.length; i++) {
      const [x, y] = [Math.fround(actual[i]!), Math.fround(data[i]!)];
      if (Object.is(x, y) || x === y) continue;
      let error = Infinity;
      let magnitude = 0;
      if (dtype === 'f32' && Number.isFinite(x) && Number.isFinite(y)) {
        magnitude = {
          element: () => Math.abs(y),
          absolute: () => Math.abs(absolutes[t]!.data[i]!),
          tensor: () => tensorLargest,
          inputs: () => callLargest,
        }[tolerance.magnitude]();
        magnitude = Math.max(magnitude, tolerance.floor ?? 0, smallestNormal);
        error = tolerance.relative > 0 ? Math.abs(x - y) / magnitude : Infinity;
      }
      if (error > result.worst)
        result = { worst: error, detail: `${name}[${i}]: expected ${y}, got ${x}, magnitude ${magnitude}` };
    }
  });
  return result;
}
