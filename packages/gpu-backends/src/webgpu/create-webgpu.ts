/**
 * Finds a GPU device: the caller's, the browser's, or in Node that of Dawn, the npm package `webgpu`.
 *
 * Dawn is an optional peer: 130 MB that only those who ask for it install. It is imported when it is needed, under
 * a name that bundlers leave alone.
 */
import { type Backend, MinkeError } from '@minke/core';
import { waitForDawn } from './wait-for-dawn.ts';
import { WebgpuBackend } from './webgpu-backend.ts';

/** Where the backend runs. */
export interface WebgpuOptions {
  /** A device of the caller's, who also destroys it; by default one is requested. */
  readonly device?: GPUDevice;
}

/** Dawn's entry, made once and kept: with SwiftShader the process crashes when one is collected as garbage
 *  while another has devices. It does not keep Node from exiting. */
let dawnEntry: GPU | undefined;

const ownGpu = (): GPU | undefined => (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
const inNode = (): boolean => typeof process !== 'undefined' && Boolean(process.versions?.node);

/** The entry of WebGPU: `navigator.gpu`, or Dawn's in Node. */
async function findGpu(): Promise<GPU> {
  const own = ownGpu();
  if (own !== undefined) return own;
  if (!inNode())
    throw new MinkeError(
      'unsupported',
      'webgpu: expected navigator.gpu, got none; use a browser with WebGPU',
    );
  if (dawnEntry !== undefined) return dawnEntry;
  const name = 'webgpu';
  let dawn: { create(flags: readonly string[]): GPU };
  try {
    dawn = await import(/* @vite-ignore */ /* webpackIgnore: true */ name);
  } catch (cause) {
    throw new MinkeError(
      'unsupported',
      'webgpu: expected the package webgpu (Dawn) in Node, got none; npm install webgpu',
      { cause },
    );
  }
  dawnEntry ??= dawn.create([]);
  return dawnEntry;
}

/** Requests a device with the adapter's largest buffers. */
async function requestDevice(gpu: GPU): Promise<GPUDevice> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter === null)
    throw new MinkeError('unsupported', 'webgpu: expected an adapter, got none; check the graphics driver');
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  return adapter.requestDevice({ requiredLimits: { maxBufferSize, maxStorageBufferBindingSize } });
}

/**
 * Creates the WebGPU backend: f32, every op forward and backward, on whatever adapter there is.
 *
 * `read` waits for the device and there is no `readSync`. In Node the package `webgpu` must be installed, and the event loop
 * rests up to a millisecond a turn while something is read. Throws `unsupported` when there is no WebGPU, no adapter, or the
 * package is missing.
 *
 * @example
 * const backend = await createWebgpu();
 * console.log(backend.info.device); // for example: google swiftshader
 */
export async function createWebgpu(options: WebgpuOptions = {}): Promise<Backend> {
  const device = options.device ?? (await requestDevice(await findGpu()));
  const { vendor, architecture, description } = device.adapterInfo;
  const name = [vendor, architecture || description].filter((part) => part !== '').join(' ');
  const reason = options.device === undefined ? 'asked for: WebGPU' : 'the device given';
  const info = { name: 'webgpu', reason, device: name || 'unnamed adapter', threads: 1, bits: 32 } as const;
  const close = () => {
    if (options.device === undefined) device.destroy();
  };
  const ofDawn = ownGpu() === undefined && inNode();
  return new WebgpuBackend(device, info, { close, wait: ofDawn ? waitForDawn : (work) => work });
}
