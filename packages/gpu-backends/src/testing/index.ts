/**
 * Backends for tests of what computes on Minke: every one that runs here, and ones that lack ops. Node only.
 *
 * @example
 * for (const [name, backend] of await availableBackends())
 *   it(`agrees on ${name}`, () => expect(compute(backend)).toEqual(expected));
 */
import { pathToFileURL } from 'node:url';
import type { Backend, OpName } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '../cpu/index.ts';
import { createReference } from '../reference/index.ts';
import { createWebgpu } from '../webgpu/index.ts';

interface Dawn {
  create(flags: readonly string[]): GPU;
}

/** The entry is kept: Dawn crashes when it is collected as garbage while it has devices. */
let dawnEntry: GPU | undefined;

/**
 * Every backend there is, by name: `reference`, `wasm`, `native` on two threads where the add-on is there, and `webgpu`
 * where the environment variable MINKE_DAWN names the main file of the npm package webgpu. Dispose them when done.
 * Throws where Dawn has no adapter.
 */
export async function availableBackends(): Promise<[name: string, backend: Backend][]> {
  const backends: [string, Backend][] = [
    ['reference', createReference()],
    ['wasm', await createWasm({ threads: 1 })],
  ];
  if (nativeAvailable().available) backends.push(['native', await createNative({ threads: 2 })]);
  const dawn = process.env.MINKE_DAWN;
  if (dawn) {
    const { create } = (await import(/* @vite-ignore */ pathToFileURL(dawn).href)) as Dawn;
    dawnEntry ??= create([]);
    const adapter = await dawnEntry.requestAdapter();
    if (!adapter) throw new Error(`availableBackends: expected a WebGPU adapter from ${dawn}, got none`);
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
