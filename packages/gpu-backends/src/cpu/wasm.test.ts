/** What sets WebAssembly apart from the other CPU builds: two sets of instructions, threads without an operating system. */
import { MinkeError, type OpName, opNames } from '@minke/core';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { conformanceCases } from '../conformance.ts';
import { wasmBuilds } from '../testing/cpu-builds.ts';
import { createWasm, hasRelaxedSimd } from './index.ts';

wasmBuilds();
const sets = ['simd128', 'relaxed-simd'] as const;

afterEach(() => {
  vi.unstubAllGlobals();
});

/** Every op with the first build; with the second those that differ most: sums of products in all their forms. */
const compared = {
  simd128: opNames,
  'relaxed-simd': ['matmul', 'matmulQuantized', 'attention', 'attentionGrad', 'moeFeedForward', 'routeGrad'],
} as const satisfies Record<string, readonly OpName[]>;

describe.each(sets)('%s', (instructionSet) => {
  it('gives the same bits on any number of threads', { timeout: 300_000 }, async () => {
    const one = await createWasm({ threads: 1, instructionSet });
    const three = await createWasm({ threads: 3, instructionSet });
    expect(three.info).toMatchObject({ name: 'wasm', device: instructionSet, threads: 3 });
    const differing: string[] = [];
    for (const { name, run } of conformanceCases({ ops: compared[instructionSet] })) {
      if ((await run(three, one)).worst !== 0) differing.push(name);
    }
    expect(differing).toEqual([]);
    one.dispose();
    three.dispose();
  });

  it('runs on one thread where memory cannot be shared, and says so', async () => {
    vi.stubGlobal('SharedArrayBuffer', undefined);
    const backend = await createWasm({ threads: 2, instructionSet });
    expect(backend.info.threads).toBe(1);
    expect(backend.info.reason).toContain('on one thread: the page is not cross-origin isolated');
    const buffer = backend.allocate('f32', 3);
    backend.write(buffer, Float32Array.of(1, 2, 3));
    expect(backend.readSync!(buffer)).toEqual(Float32Array.of(1, 2, 3));
    backend.dispose();
  });
});

describe('createWasm', () => {
  it('takes relaxed SIMD where the engine validates it, else SIMD128', async () => {
    const relaxed = await createWasm({ threads: 1 });
    expect(relaxed.info.device).toBe('relaxed-simd');
    relaxed.dispose();
    const { WebAssembly: api } = globalThis as unknown as { WebAssembly: object };
    vi.stubGlobal('WebAssembly', Object.create(api, { validate: { value: () => false } }));
    expect(hasRelaxedSimd()).toBe(false);
    const plain = await createWasm({ threads: 1 });
    expect(plain.info).toMatchObject({ device: 'simd128', threads: 1 });
    plain.dispose();
    await expect(createWasm({ instructionSet: 'relaxed-simd' })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('without relaxed SIMD'),
    });
  });

  it('refuses options that do not exist', async () => {
    for (const options of [
      { threads: 0 },
      { threads: 65 },
      { threads: 1.5 },
      { instructionSet: 'sse' as never },
    ])
      await expect(createWasm(options)).rejects.toSatisfy(
        (error) => MinkeError.isInstance(error) && error.code === 'invalid-argument',
      );
  });
});
