/** The backends that this package's tests run on. */
import { pathToFileURL } from 'node:url';
import { type Backend, type OpName, Random } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { createWebgpu } from '@minke/gpu-backends/webgpu';

interface Dawn {
  create(flags: readonly string[]): GPU;
}

/** The entry is kept: Dawn crashes when it is collected as garbage while it has devices. */
let entry: GPU | undefined;

/**
 * Every backend there is. WebGPU takes part where MINKE_DAWN names the main file of the npm package webgpu, which is
 * how the step webgpu of the CI runs these tests.
 */
export async function testBackends(): Promise<[name: string, backend: Backend][]> {
  const backends: [string, Backend][] = [
    ['reference', createReference()],
    ['reference in f64', createReference({ bits: 64 })],
    ['wasm', await createWasm()],
  ];
  if (nativeAvailable().available) backends.push(['native', await createNative({ threads: 2 })]);
  const dawn = process.env.MINKE_DAWN;
  if (dawn) {
    const { create } = (await import(/* @vite-ignore */ pathToFileURL(dawn).href)) as Dawn;
    entry ??= create([]);
    const adapter = await entry.requestAdapter();
    if (!adapter) throw new Error(`expected a WebGPU adapter from ${dawn}, got none`);
    backends.push(['webgpu', await createWebgpu({ device: await adapter.requestDevice() })]);
  }
  return backends;
}

/** The same backend, but for ops it says it lacks: what runs is then their composed form. */
export function withoutOps(backend: Backend, ...lacking: OpName[]): Backend {
  return new Proxy(backend, {
    get(target, key) {
      if (key === 'supports') return (op: OpName) => !lacking.includes(op) && target.supports(op);
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Standard normals that f32 holds exactly, seeded. */
export function normals(count: number, seed: number, scale = 1): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => Math.fround(scale * random.normal()));
}

/** Largest absolute difference of two lists of numbers; Infinity when their lengths differ. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Object.is(a[i], b[i]) ? 0 : Math.abs((a[i] as number) - (b[i] as number));
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return worst;
}
