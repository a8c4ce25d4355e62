/** The backends that tests of merging models run on. */
import { pathToFileURL } from 'node:url';
import type { Backend } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { createWebgpu } from '@minke/gpu-backends/webgpu';

interface Dawn {
  create(flags: readonly string[]): GPU;
}

/** The entry is kept: Dawn crashes when it is collected as garbage while it has devices. */
let entry: GPU | undefined;

/** Every backend there is; WebGPU where MINKE_DAWN names the main file of the npm package webgpu (CI's step webgpu). */
export async function testBackends(): Promise<[name: string, backend: Backend][]> {
  const backends: [string, Backend][] = [
    ['reference', createReference()],
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
