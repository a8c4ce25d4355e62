import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { nativeAvailable } from './cpu/index.ts';
import { auto, type BackendName, backendInfo, createBackend } from './index.ts';

const names = ['native', 'wasm', 'webgpu', 'reference'];

beforeEach(() => {
  vi.stubEnv('MINKE_BACKEND', '');
});
afterEach(() => {
  vi.unstubAllEnvs();
});

describe('auto', () => {
  it('takes the fastest available backend and says why', async () => {
    const { picked, backends } = await backendInfo();
    const backend = await auto();
    expect(backend.info.name).toBe(picked);
    expect(backends.map(({ name }) => name)).toEqual(names);
    expect(backends.find(({ available }) => available)!.name).toBe(picked);
    if (nativeAvailable().available) expect(backend.info.reason).toContain('the fastest here');
    else expect(backend.info.reason).toContain('not native: ');
    backend.dispose();
  });

  it('takes a preferred backend first', async () => {
    const backend = await auto({ prefer: 'reference' });
    expect(backend.info).toMatchObject({ name: 'reference', reason: 'plain TypeScript; preferred' });
    await expect(auto({ prefer: 'cuda' as BackendName })).rejects.toThrow(
      'auto: expected one of native, wasm, webgpu, reference, got cuda',
    );
  });

  it('never takes WebGPU unasked in Node, and says how to get it where it is missing', async () => {
    const { backends, picked } = await backendInfo();
    expect(picked).not.toBe('webgpu');
    const { available, reason } = backends.find(({ name }) => name === 'webgpu')!;
    if (!available) {
      expect(reason).toMatch(/npm install webgpu|graphics driver/);
      await expect(createBackend('webgpu')).rejects.toMatchObject({ code: 'unsupported' });
    }
  });

  it('passes threads and device on', async () => {
    const wasm = await createBackend('wasm', { threads: 2, device: 'simd128' });
    expect(wasm.info).toMatchObject({ threads: 2, device: 'simd128' });
    wasm.dispose();
    if (!nativeAvailable().available) return expect(createBackend('native')).rejects.toThrow('native add-on');
    const backend = await auto({ prefer: 'native', threads: 2 });
    expect(backend.info.threads).toBe(2);
    backend.dispose();
    await expect(auto({ prefer: 'native', device: 'altivec' })).rejects.toThrow('altivec');
  });

  it('obeys MINKE_BACKEND over any preference', async () => {
    vi.stubEnv('MINKE_BACKEND', 'reference');
    const backend = await auto({ prefer: 'wasm' });
    expect(backend.info.name).toBe('reference');
    expect(backend.info.reason).toContain('MINKE_BACKEND=reference');
    expect((await backendInfo()).picked).toBe('reference');
  });

  it('refuses an unknown MINKE_BACKEND, listing the choices', async () => {
    vi.stubEnv('MINKE_BACKEND', 'gpu');
    await expect(auto()).rejects.toThrow(
      'MINKE_BACKEND: expected one of native, wasm, webgpu, reference, got gpu',
    );
    expect(await backendInfo()).toMatchObject({ picked: null, reason: expect.stringContaining('got gpu') });
  });

  it('does not fall back when the forced backend cannot run', async () => {
    vi.stubEnv('MINKE_BACKEND', 'wasm');
    vi.stubGlobal('WebAssembly', undefined);
    try {
      vi.resetModules();
      const fresh = await import('./index.ts');
      await expect(fresh.auto()).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringContaining('auto: MINKE_BACKEND=wasm, but'),
      });
      const info = await fresh.backendInfo();
      expect(info.picked).toBeNull();
      expect(info.backends.find(({ name }) => name === 'wasm')).toMatchObject({ available: false });
    } finally {
      vi.unstubAllGlobals();
    }
  });
});
