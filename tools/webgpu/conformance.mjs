// Every op with a kernel, and the contract itself, on WebGPU against the plain TypeScript reference. Ops without one
// are those that the backend names; callers use their composed forms.

import { runConformance } from '../../packages/gpu-backends/dist/conformance.js';
import { createBackend } from '../../packages/gpu-backends/dist/index.js';
import { composedOps } from '../../packages/gpu-backends/dist/webgpu/index.js';

const backend = await createBackend('webgpu');
console.log(`${backend.info.name} on ${backend.info.device}`);
const { cases, failures, unsupported } = await runConformance(backend, { hostile: false });
for (const { name, worst, tolerance, detail } of failures)
  console.log(`FAILED ${name}: ${worst} > ${tolerance}, ${detail}`);
const missing = unsupported.filter((op) => !composedOps.includes(op));
for (const op of missing) console.log(`FAILED ${op}: not supported`);
console.log(`left to their composed forms: ${composedOps.join(', ')}`);
const left = backend.memoryUse();
if (left.buffers > 0) console.log(`FAILED: ${left.buffers} buffers of ${left.bytes} bytes left`);
backend.dispose();
const failed = failures.length + missing.length + (left.buffers > 0 ? 1 : 0);
console.log(`${cases - failures.length} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
