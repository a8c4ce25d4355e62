export { createWebgpu, type WebgpuOptions } from './create-webgpu.ts';
