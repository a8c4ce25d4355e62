/**
 * The suite on every backend there is, and the suite itself: does it notice a backend that is wrong?
 *
 * A native add-on that was built must load: silence there would mean that nothing of it is tested.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  type Backend,
  type CommandList,
  dtypes,
  elementCount,
  type OpName,
  opNames,
  opRow,
  type TensorRef,
} from '@minke/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { conformanceCases, runConformance } from './conformance.ts';
import { createNative, nativeAvailable } from './cpu/index.ts';
import { createReference } from './reference/index.ts';
import { type Build, cpuBuilds } from './testing/cpu-builds.ts';

const addon = fileURLToPath(new URL('../build/minke.node', import.meta.url));
const native = nativeAvailable();

const builds: Build[] = [
  { name: 'reference in f64', create: async () => createReference({ bits: 64 }) },
  ...(await cpuBuilds()),
];

// Generated and solved by the reference once, then run on every build.
const cases = conformanceCases();
const reference = createReference();

it('a native add-on that was built loads', () => {
  if (existsSync(addon)) expect(native, native.reason).toMatchObject({ available: true });
  else console.warn(`native backend not tested: ${native.reason}`);
});

describe.each(builds)('$name conforms', ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(() => {
    expect(backend.memoryUse()).toEqual({ buffers: 0, bytes: 0 });
    backend.dispose();
    expect(() => backend.allocate('f32', 1)).toThrow();
  });

  it.each([...opNames, 'contract'] as const)('%s', async (op) => {
    if (op !== 'contract') expect(backend.supports(op)).toBe(true);
    const problems: string[] = [];
    for (const { name, run } of cases.filter((one) => one.op === op)) {
      const { worst, tolerance, detail } = await run(backend, reference);
      if (!(worst <= tolerance)) problems.push(`${name}: ${worst} > ${tolerance}, ${detail}`);
    }
    expect(problems.slice(0, 5)).toEqual([]);
  });
});

it('native results do not depend on the number of threads', async () => {
  if (!native.available) return console.warn(`threads not tested: ${native.reason}`);
  const one = await createNative({ threads: 1 });
  const three = await createNative({ threads: 3 });
  const differing: string[] = [];
  for (const { name, op, run } of cases) {
    if (op !== 'contract' && (await run(three, one)).worst !== 0) differing.push(name);
  }
  expect(differing).toEqual([]);
  one.dispose();
  three.dispose();
});

/** A reference whose `submit` is followed by `after` for each record. */
function tampered(after: (inner: Backend, op: OpName, written: readonly TensorRef[]) => void): Backend {
  const inner = createReference();
  return {
    ...inner,
    submit(list: CommandList, bindings) {
      inner.submit(list, bindings);
      for (const { op, tensors } of list.records) {
        const { inputs } = opRow(op);
        after(
          inner,
          op,
          tensors.filter((_, i) => i >= inputs.length || inputs[i]!.inout),
        );
      }
    },
  };
}

/** Adds to one stored number: a relative 2^-8 in f32, one in i32, a bit in bytes (of blocks, the first of the block). */
function disturb(backend: Backend, { buffer, dtype }: TensorRef, position: number): void {
  const length = dtypes[dtype].blockSize;
  const at = position - (position % length);
  if (at + length > buffer.length) return;
  const data = backend.readSync!(buffer, at, length);
  const value = data[0]!;
  if (dtype !== 'f32') data[0] = value + 1;
  else data[0] = Number.isFinite(value) && value !== 0 ? value * (1 + 2 ** -8) : 0.5;
  backend.write(buffer, data, at);
}

describe('the suite notices', () => {
  const failuresOf = async (backend: Backend, ops: readonly (OpName | 'contract')[]) =>
    (await runConformance(backend, { ops })).failures;

  /** The first case of `op` that `backend` fails. */
  const firstFailure = async (backend: Backend, op: OpName) => {
    for (const { name, run } of cases.filter((one) => one.op === op)) {
      const { worst, tolerance } = await run(backend, reference);
      if (!(worst <= tolerance)) return name;
    }
    return null;
  };

  it.each(opNames)('one wrong number among the results of %s', async (op) => {
    const backend = tampered((inner, name, written) => {
      const target = written.find(({ shape }) => elementCount(shape) > 0);
      if (name === op && target) disturb(inner, target, target.offset + elementCount(target.shape) - 1);
    });
    expect(await firstFailure(backend, op)).not.toBeNull();
  });

  it('a write behind a tensor, and a result that was never written', async () => {
    const behind = tampered((inner, _, written) => {
      for (const ref of written) disturb(inner, ref, ref.offset + elementCount(ref.shape));
    });
    expect((await failuresOf(behind, ['swiglu']))[0]!.detail).toContain('outside the tensor');
    const inner = createReference();
    const lazy: Backend = { ...inner, submit: () => {} };
    expect((await failuresOf(lazy, ['rope'])).length).toBeGreaterThan(0);
  });

  it('bindings that are ignored, reads that come late, and memory that is kept', async () => {
    const inner = createReference();
    const failed = async (backend: Partial<Backend>) =>
      (await failuresOf({ ...inner, ...backend } as Backend, ['contract'])).map(({ name }) => name).join();
    expect(await failed({ submit: (list) => inner.submit(list) })).toContain('replays with other buffers');
    const late: Backend['read'] = async (...range) => {
      await Promise.resolve();
      return inner.readSync(...range);
    };
    expect(await failed({ read: late })).toContain('nothing after');
    expect(await failed({ release: () => {} })).toContain('memory is counted');
  });
});

describe('conformanceCases', () => {
  it('has unique names, covers every op, and is the same for the same seed', () => {
    const names = cases.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(new Set(cases.map(({ op }) => op))).toEqual(new Set([...opNames, 'contract']));
    expect(conformanceCases().map(({ name }) => name)).toEqual(names);
  });
});
