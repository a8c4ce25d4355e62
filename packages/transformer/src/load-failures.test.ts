import { pathToFileURL } from 'node:url';
import { openSafetensors } from '@minke/checkpoints';
import type { Backend } from '@minke/core';
import { availableBackends } from '@minke/gpu-backends/testing';
import { createWebgpu } from '@minke/gpu-backends/webgpu';
import { afterAll, describe, expect, it } from 'vitest';
import { loadModel, readConfig } from './load.ts';
import { fixtureFolder } from './testing/fixtures.ts';

const backends = await availableBackends();
afterAll(() => {
  for (const [, backend] of backends) backend.dispose();
});

describe.each(backends)('a load that fails on %s', (name, backend) => {
  it('gives its memory back', async () => {
    const folder = fixtureFolder('v3-base');
    const file = await openSafetensors(`${folder}/model.safetensors`);
    const last = 'lm_head.weight';
    const weights = {
      ...file,
      readFloat32: async (tensor: string) => {
        const values = await file.readFloat32(tensor);
        return tensor === last ? values.fill(Number.NaN, 5, 6) : values;
      },
    };
    const before = backend.memoryUse().bytes;
    const loading = loadModel({ config: await readConfig(folder), weights }, { backend });
    await expect(loading).rejects.toMatchObject({
      code: 'invalid-file',
      message: expect.stringMatching(/got NaN in lm_head.weight \(element 5\)/),
    });
    expect(backend.memoryUse().bytes).toBe(before);
    await file.close();
  });

  it('for want of memory in JavaScript says so', async () => {
    const folder = fixtureFolder('v3-base');
    const file = await openSafetensors(`${folder}/model.safetensors`);
    for (const length of [2 ** 53 - 1, 2 ** 40]) {
      const weights = { ...file, readFloat32: async () => new Float32Array(length) };
      const loading = loadModel({ config: await readConfig(folder), weights }, { backend });
      await expect(loading).rejects.toMatchObject({
        code: 'out-of-memory',
        message: expect.stringMatching(/expected memory for the next tensor/),
      });
    }
    await file.close();
  });

  if (name === 'webgpu') {
    it('because the device was lost says so', async () => {
      const device = await requestDevice();
      const own = await createWebgpu({ device });
      let steps = 0;
      const loading = loadModel(fixtureFolder('v3-base'), {
        backend: own,
        onProgress: () => {
          if (steps++ === 3) device.destroy();
        },
      });
      await expect(loading).rejects.toMatchObject({
        name: 'MinkeError',
        message: expect.stringMatching(/got it lost .*create a new backend/),
      });
    });

    it('because a tensor is larger than a buffer may be names the limit', async () => {
      const device = await requestDevice();
      const own: Backend = await createWebgpu({ device: withBufferLimit(device, 10_000) });
      await expect(loadModel(fixtureFolder('v3-base'), { backend: own })).rejects.toMatchObject({
        code: 'out-of-memory',
        message: expect.stringMatching(/at most 10000 bytes in one buffer/),
      });
      expect(own.memoryUse().bytes).toBe(0);
      own.dispose();
    });
  }
});

async function requestDevice(): Promise<GPUDevice> {
  const { create } = await import(pathToFileURL(process.env.MINKE_DAWN as string).href);
  gpu ??= create([]) as GPU;
  const adapter = (await gpu.requestAdapter()) as GPUAdapter;
  return adapter.requestDevice();
}
/** Kept: Dawn crashes when its entry is collected as garbage while it has devices. */
let gpu: GPU | undefined;

/** The device as one whose buffers may hold no more: a device cannot be asked for less than WebGPU's least limits. */
function withBufferLimit(device: GPUDevice, maxStorageBufferBindingSize: number): GPUDevice {
  return new Proxy(device, {
    get(target, key) {
      if (key === 'limits') return { maxStorageBufferBindingSize };
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
