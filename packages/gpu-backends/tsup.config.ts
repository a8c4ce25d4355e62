import { defineConfig } from 'tsup';

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    conformance: 'src/conformance.ts',
    'reference/index': 'src/reference/index.ts',
    'cpu/index': 'src/cpu/index.ts',
    'testing/index': 'src/testing/index.ts',
    'webgpu/index': 'src/webgpu/index.ts',
  },
  format: 'esm',
  target: 'node20',
  sourcemap: true,
  clean: true,
});
