import { defineConfig } from 'tsup';

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    'parquet-worker': 'src/stages/parquet-worker.ts',
    'sampler-worker': 'src/sampler-worker.ts',
    'code-sandbox-worker': 'src/verifiers/code-sandbox-worker.js',
  },
  format: 'esm',
  target: 'node20',
  sourcemap: true,
  clean: true,
});
