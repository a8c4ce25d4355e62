export { createWebgpu, type WebgpuOptions } from './create-webgpu.ts';
export { composedOps } from './kernel.ts';
